"""The tables of a page, of one run as of several: rows of cells in, columns of plain text out.

A table without rows is no columns, and its section is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Final

import pandas as pd

from bench.grid.spans import FORWARD, OTHER, SPANS
from bench.records import OutputCheck, Status, WarmupEnd
from bench.reporting.cells import (
    DIGITS,
    KINDS,
    PERCENT,
    Figure,
    axes_columns,
    bounds,
    column,
    columns_of,
    distinct,
    figures,
    in_bytes,
    in_one_unit,
    joined,
    measured,
    numbers,
    percent,
    percents,
    place_of,
    right,
    whole,
)
from bench.reporting.markdown import Column
from bench.results.convolution_kernels import Algorithm
from bench.results.tables import Row, Tables, rows_of
from bench.stats.intervals import IntervalKind
from bench.stats.stopping import Stop
from bench.units import FLOPS, significant, unit_for

Columns = list[Column]

PLACES: Final = 4
"""Cells that a row of the failures names one by one; more are counted."""

TOP: Final = 3
"""Kernels or operators that are shown of each cell; kernels.csv has all."""

NAME_LENGTH: Final = 60
"""Characters of a kernel's name that are shown: some are templates a thousand long."""

WITHIN: Final = "†"
"""The mark of ratios whose interval is within one process."""

_STOPS: Final = {
    Stop.COUNT: "as asked",
    Stop.TARGET: "target met",
    Stop.MAX: "most calls made",
    Stop.BUDGET: "time spent",
}
_WARMUPS: Final = {
    WarmupEnd.COUNT: "as asked",
    WarmupEnd.STEADY: "steady",
    WarmupEnd.GAVE_UP: "never steady",
}


def headline(cells: Sequence[Row]) -> Columns:
    """Return median time with its interval and its kind, calls, frames per second, and speedup.

    Of several runs also devices where they differ, the speed over the reference, and the output's rate.
    """
    rows = measured(cells)
    unit = unit_for(row["median_s"] for row in rows)
    beside: list[Figure] = []
    rates: list[Figure] = []
    if any("run" in row for row in rows):
        if len({row["device"] for row in rows}) > 1:
            beside.append(("device", "device", column))
        beside.append(("relative (×)", _relative, right))
        rates.append(("output MP/s", "output_megapixels_per_s", numbers))
    return figures(
        rows,
        cells,
        ("forward", "median_s", partial(in_one_unit, digits=DIGITS)),
        (
            f"{PERCENT} interval ({unit.name})",
            lambda row: bounds(row["low_s"], row["high_s"], unit.scale, DIGITS),
            right,
        ),
        ("its kind", _kind, column),
        (
            "rounds × calls",
            lambda row: f"{row['n_rounds']:.0f} × {round(row['n'] / row['n_rounds'], 1):g}",
            right,
        ),
        ("frames/s", "frames_per_s", numbers),
        *beside,
        ("speedup", _speedup, right),
        (
            f"{PERCENT} interval",
            lambda row: None if row["is_baseline"] else bounds(row["speedup_low"], row["speedup_high"]),
            right,
        ),
        *rates,
    )


def growth(scaling: pd.DataFrame) -> Columns:
    """Return the exponents of the forward, a column per axis of the grid that varies."""
    names = {"run": "run", "model": "network", "input": "input", "backend": "backend"}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    forward = scaling[scaling["stage"] == FORWARD]
    kept = [name for name in names if name in forward and (name == "backend" or forward[name].nunique() > 1)]
    for row in rows_of(forward):
        ends = None if row["low"] is None else f"{row['low']:.2f} … {row['high']:.2f}"
        text = f"{row['exponent']:.2f} ({ends or 'no interval'}; {row['points']})"
        found.setdefault(tuple(row[name] for name in kept), {})[row["axis"]] = text
    axes = distinct(axis for of in found.values() for axis in of)
    return [
        *(column(names[name], [key[place] for key in found]) for place, name in enumerate(kept)),
        *(right(axis, [of.get(axis) for of in found.values()]) for axis in axes),
    ]


def _kind(row: Row) -> str:
    return KINDS[IntervalKind(row["interval"])]


def _relative(row: Row) -> str | None:
    if row["relative_speed"] is None:
        return str(row["why_not"] or "")
    if row["is_reference"]:
        return "reference"
    ends = bounds(row["relative_speed_low"], row["relative_speed_high"])
    mark = f" {WITHIN}" if is_within(row) else ""
    return significant(row["relative_speed"]) + (f" ({ends})" if ends else "") + mark


def is_within(row: Row) -> bool:
    """Return whether the row's ratio to the reference has an interval within one process."""
    return not row.get("is_reference") and row.get("relative_speed_interval") == IntervalKind.WITHIN_PROCESS


def _speedup(row: Row) -> str:
    if row["status"] != Status.OK:
        return f"({row['status']})"
    if row["is_baseline"]:
        return "baseline"
    if row["speedup"] is None:
        return "no baseline"
    # A fast answer that no one looked at is not to pass for a right one.
    return f"{significant(row['speedup'])}×" + (" (output unchecked)" if row["unchecked"] else "")


def stages(summary: pd.DataFrame, cells: Sequence[Row]) -> list[Columns]:
    """Return seconds and share per stage, and the clock that they come from; a table per network."""
    tables = []
    for axes, found in _by_network(summary, cells):
        unit = unit_for(sum(row["median_s"] for row in of_cell.values()) for of_cell in found)
        first = [next(iter(of_cell.values())) for of_cell in found]
        clocks = [column(title, [row[title] for row in first]) for title in ("pass", "clock")]
        tables.append([*axes, *_of_stages(found, unit.name, partial(_stage, scale=unit.scale)), *clocks])
    return tables


def stage_memory(summary: pd.DataFrame, cells: Sequence[Row]) -> list[Columns]:
    """Return by how much memory rose in each stage and what the stage kept; a table per network."""
    known = summary[["host_growth_bytes", "device_growth_bytes"]].notna().any(axis=1)
    tables = []
    for axes, found in _by_network(summary[known], cells):
        places = column("memory of", [_place(next(iter(of_cell.values()))) for of_cell in found])
        tables.append([*axes, *_of_stages(found, "MiB", _grown), places])
    return tables


def _place(row: Row) -> str:
    return "host" if row["device_growth_bytes"] is None else "device"


def _grown(row: Row) -> str:
    # In whole MiB: the resident set is not known more closely.
    grown, kept = (row[f"{_place(row)}_{name}_bytes"] / 2**20 for name in ("growth", "kept"))
    return f"{grown:.0f} ({round(kept):+d})"


def _by_network(
    summary: pd.DataFrame, cells: Sequence[Row]
) -> Iterator[tuple[Columns, list[dict[str, Row]]]]:
    """Yield, network by network, what tells its cells apart, and the rows of each cell's stages by name."""
    staged: dict[str, dict[str, Row]] = {}
    for row in rows_of(summary[summary["stage"].notna()]):
        if row["stage"] == OTHER or row["stage"] not in SPANS:
            staged.setdefault(row["cell"], {})[row["stage"]] = row
    every = [cell for cell in cells if cell["cell"] in staged]
    for model in distinct(cell["model"] for cell in every):
        shown = [cell for cell in every if cell["model"] == model]
        yield axes_columns(shown, every), [staged[cell["cell"]] for cell in shown]


def _of_stages(found: Sequence[dict[str, Row]], unit: str, show: Callable[[Row], str]) -> Columns:
    """Return a column per stage."""
    return [
        right(f"{name} ({unit})", [show(of_cell[name]) if name in of_cell else None for of_cell in found])
        for name in distinct(name for of_cell in found for name in of_cell)
    ]


def _stage(row: Row, scale: float) -> str:
    return f"{significant(row['median_s'] / scale)} ({percent(row['share'] or 0.0)})"


def costs(tables: Tables, cells: Sequence[Row]) -> Columns:
    """Return what one forward takes, stage by stage, as traced: of each network and shape on one backend."""
    known = set(tables.costs["cell"]) if len(tables.costs) else set()
    places: dict[tuple[object, ...], Row] = {}
    for cell in cells:
        if cell["cell"] in known:
            places.setdefault(tuple(cell[name] for name in ("model", "size", "batch", "frames")), cell)
    shown = [*places.values()]
    rows = joined(tables.costs.to_dict("records"), shown)
    return figures(
        rows,
        shown,
        ("stage", "stage", column),
        ("work", lambda row: float(row["flops"]), partial(in_one_unit, units=FLOPS)),
        ("moved", lambda row: float(row["bytes"]), in_bytes),
        ("peak", lambda row: float(row["peak_bytes"]), in_bytes),
    )


def perturbation(tables: Tables, cells: Sequence[Row]) -> Columns:
    """Return what the stage probes cost, per cell and stage pass."""
    return figures(
        joined(rows_of(tables.perturbation), cells),
        cells,
        ("pass", "pass", column),
        ("pairs", "n", right),
        ("probes cost", lambda row: _change(row["ratio"]), right),
        (
            f"{PERCENT} interval",
            lambda row: (
                "none: too few"
                if row["low"] is None or row["high"] is None
                else f"{_change(row['low'])} … {_change(row['high'])}"
            ),
            right,
        ),
        ("its kind", _kind, column),
    )


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _any_of(cells: Sequence[Row], *shown: Figure) -> Columns:
    """Return figures of the cells that have any of them."""
    names = [of for _, of, _ in shown if isinstance(of, str)]
    return figures([row for row in cells if any(row[name] is not None for name in names)], cells, *shown)


def cold(cells: Sequence[Row]) -> Columns:
    """Return what a process pays once: imports, the device's context, moving the model, the first call."""

    def times_steady(row: Row) -> str | None:
        first, steady = row["first_forward_s"], row["median_s"]
        # Where first calls count and are all there is, the figure is the first call itself.
        return None if None in (first, steady) or first == steady else f"{significant(first / steady)}×"

    return _any_of(
        cells,
        ("import torch", "import_torch_s", in_one_unit),
        ("context", "context_s", in_one_unit),
        ("model to device", "model_to_device_s", in_one_unit),
        ("first forward", "first_forward_s", in_one_unit),
        ("first / steady", times_steady, right),
    )


def memory(cells: Sequence[Row]) -> Columns:
    """Return peaks and growth of host and device memory."""
    return _any_of(
        cells,
        ("host peak", "peak_host_bytes", in_bytes),
        ("host growth", "host_growth_bytes", in_bytes),
        ("device peak", "peak_device_bytes", in_bytes),
        ("device reserved", "peak_device_reserved_bytes", in_bytes),
        ("device peak until warm", "cold_peak_device_bytes", in_bytes),
    )


def machine(cells: Sequence[Row]) -> Columns:
    """Return what the machine did while samples were taken."""
    return _any_of(
        measured(cells),
        ("cores busy with others", "others_cores", partial(numbers, show="{:.2f}".format)),
        ("stolen time", "steal_share", percents),
        ("CPU clock (MHz)", "cpu_mhz", whole),
        ("SM clock (MHz)", "sm_clock_mhz", whole),
        ("power (W)", "power_w", numbers),
        ("hottest (°C)", "temperature_c", whole),
        ("energy per frame (J)", "energy_per_frame_j", numbers),
    )


def sampling(cells: Sequence[Row]) -> Columns:
    """Return why warm-up and sampling ended, and how the samples scatter."""
    return figures(
        measured(cells),
        cells,
        ("warm-up ended", lambda row: ", ".join(_WARMUPS[end] for end in row["warmup_end"]), column),
        ("tuning calls", "tuning_calls", whole),
        ("sampling ended", lambda row: ", ".join(_STOPS[end] for end in row["stop_end_to_end"]), column),
        ("interval reaches", _reach, right),
        ("spread within a process", "spread_within", percents),
        ("between processes", "spread_between", percents),
    )


def _reach(row: Row) -> str | None:
    low, high, middle = row["low_s"], row["high_s"], row["median_s"]
    if low is None or high is None or not middle:
        return None
    return f"±{percent(max(middle - low, high - middle) / middle)}"


def memory_cell(tables: Tables) -> str:
    """Return the cell that grew most in its first round, of those whose memory was read by line."""
    lines = tables.memory_lines
    if lines.empty:
        return ""
    levels = lines[lines["round"] == lines["round"].min()].groupby("cell")["host_bytes"]
    return str((levels.max() - levels.min()).astype(float).idxmax())


def memory_lines(tables: Tables) -> Columns:
    """Return memory_profiler's table of the cell that grew most."""
    lines = tables.memory_lines
    rows = rows_of(lines[(lines["cell"] == memory_cell(tables)) & (lines["round"] == lines["round"].min())])
    # memory_profiler counts what was there before as the first line's.
    rows[:1] = [row | {"increment_bytes": None} for row in rows[:1]]
    return columns_of(
        rows,
        ("line", "line", right),
        ("level after it", "host_bytes", in_bytes),
        ("increment", "increment_bytes", in_bytes),
        ("times", "occurrences", right),
        ("source", lambda row: row["source"].strip(), column),
    )


def output_check(cells: Sequence[Row]) -> Columns:
    """Return how far each output is from the CPU float32 one of the same weights and clip."""
    shown = measured(cells)
    if all(row["output_max_abs_error"] is None and row["output_psnr_db"] is None for row in shown):
        return []

    def error(row: Row) -> str:
        if row["output_max_abs_error"] is not None:
            return f"{row['output_max_abs_error']:.2e}"
        return "reference itself" if row["output_check"] == OutputCheck.REFERENCE else "not checked"

    return figures(
        shown,
        cells,
        ("max abs error", error, right),
        ("PSNR (dB)", "output_psnr_db", numbers),
        (
            "verdict",
            lambda row: "too far: inaccurate" if row["status"] == Status.INACCURATE else None,
            column,
        ),
    )


def profile(tables: Tables, cells: Sequence[Row]) -> tuple[Columns, Columns]:
    """Return how busy the device was in one call of each cell, and what took longest in it.

    That is kernels, or on a CPU operators.
    """
    first = {row["cell"]: row for row in rows_of(tables.cells.drop_duplicates("cell"))}
    own = ("round", "profile_wall_s", "profile_busy_s", "launch_bound_share", "profile_trace")
    shown = [cell | {name: first[cell["cell"]][name] for name in own} for cell in cells]
    shown = [row for row in shown if row["profile_wall_s"] is not None]
    calls = figures(
        shown,
        cells,
        ("device at work", "profile_busy_s", in_one_unit),
        ("launch-bound", lambda row: _share(row["launch_bound_share"]), right),
        ("call under the profiler", "profile_wall_s", in_one_unit),
        ("trace", "profile_trace", column),
    )
    longest = figures(
        [row for cell in shown for row in _longest(tables, cell)],
        cells,
        ("kernel or operator", "name", column),
        ("convolution by", "how", column),
        ("calls", "calls", right),
        ("time", "seconds", in_one_unit),
        ("of all", lambda row: _share(row["share"]), right),
    )
    return calls, longest


def _longest(tables: Tables, cell: Row) -> Iterable[Row]:
    uses = tables.kernels
    uses = uses[(uses["cell"] == cell["cell"]) & (uses["round"] == cell["round"])]
    seconds = uses["device_s"].astype(float).fillna(uses["cpu_s"].astype(float))
    whole_s = float(seconds.sum())
    by_name = uses.assign(seconds=seconds).groupby("name", sort=False)
    summed = by_name.agg(seconds=("seconds", "sum"), calls=("calls", "sum"), how=("algorithm", "first"))
    for name, row in summed.sort_values("seconds", ascending=False, kind="stable").head(TOP).iterrows():
        how = row["how"]
        yield cell | {
            "name": str(name) if len(str(name)) <= NAME_LENGTH else f"{str(name)[: NAME_LENGTH - 1]}…",
            "how": how.replace("_", " ") if isinstance(how, str) and how != Algorithm.OTHER else None,
            "calls": row["calls"],
            "seconds": row["seconds"],
            "share": row["seconds"] / whole_s if whole_s else None,
        }


def _share(value: float | None) -> str | None:
    return None if value is None else f"{significant(100 * value)} %"


def harness(tables: Tables) -> Columns:
    """Return what the tool itself costs, and what whole rounds take, by backend and of all."""
    rounds = tables.cells[tables.cells["harness_s"].notna()]
    by = ["backend"] + ["run"] * ("run" in rounds)
    groups = [([*map(str, key)], of_one) for key, of_one in rounds.groupby(by, sort=False)]
    if len(groups) > 1:
        groups.append((["all"] + [""] * (len(by) - 1), rounds))

    def figure(title: str, name: str, of: Callable[[list[float]], float] = median) -> Column:
        values = [[float(value) for value in of_one[name].dropna()] for _, of_one in groups]
        full = f"{title}, {'max' if of is max else 'median'}"
        return in_one_unit(full, [of(some) if some else None for some in values])

    return [
        *(column(name, [key[place] for key, _ in groups]) for place, name in enumerate(by)),
        right("rounds", [len(of_one) for _, of_one in groups]),
        figure("harness", "harness_s"),
        figure("harness", "harness_s", max),
        figure("of it: worker start", "worker_start_s"),
        figure("of it: set-up", "setup_s"),
        figure("whole round", "round_wall_s"),
    ]


def failures(rounds: pd.DataFrame, cells: Sequence[Row]) -> Columns:
    """Return rounds that did not end ok: a row per run, backend, status and reason, with the cells."""
    by_cell = {row["cell"]: row for row in cells}
    order = {name: place for place, name in enumerate(by_cell)}
    found: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    failed = rows_of(rounds[rounds["status"].map(str) != Status.OK])
    for row in sorted(failed, key=lambda row: order[row["cell"]]):
        key = (row.get("run", ""), row["backend"], str(row["status"]), row["reason"] or "")
        found.setdefault(key, {})[row["cell"]] = by_cell[row["cell"]]
    planned = [sum((row.get("run", ""), row["backend"]) == key[:2] for row in cells) for key in found]
    places = [_places(list(some.values()), n, cells) for some, n in zip(found.values(), planned, strict=True)]
    columns = [
        column(title, [key[place] for key in found])
        for place, title in enumerate(("run", "backend", "ended", "reason"))
    ]
    return [*columns[:2], column("cells", places), *columns[2:]] if found else []


def _places(some: Sequence[Row], planned: int, every: Sequence[Row]) -> str:
    names = [place_of(row, every) for row in some]
    if len(names) == planned:
        return f"all {planned}" if planned > 1 else names[0]
    rest = [f"and {len(names) - PLACES} more"] if len(names) > PLACES else []
    return "; ".join([*names[:PLACES], *rest])
