"""The tables of a page, of one run as of several: rows of cells in, columns of plain text out.

A table without rows is no columns, and its section is left out.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import pandas as pd

from bench.grid.spans import OTHER, SPANS
from bench.records import OutputCheck, Status, WarmupEnd
from bench.reporting.cells import (
    DIGITS,
    KINDS,
    PERCENT,
    Row,
    axes_columns,
    bounds,
    column,
    distinct,
    in_bytes,
    in_one_unit,
    joined,
    measured,
    numbers,
    percent,
    place_of,
    rows_of,
)
from bench.reporting.markdown import Column
from bench.results.tables import Tables
from bench.stats.intervals import IntervalKind
from bench.stats.stopping import Stop
from bench.units import FLOPS, significant, unit_for

Columns = list[Column]

PLACES: Final = 4
"""Cells that a row of the failures names one by one; more are counted."""

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


def times(rows: Sequence[Row], cells: Sequence[Row]) -> Columns:
    """Return median time with its interval and its kind, calls, and frames per second."""
    unit = unit_for(row["median_s"] for row in rows)
    return [
        *axes_columns(rows, cells),
        in_one_unit("forward", [row["median_s"] for row in rows], digits=DIGITS),
        column(
            f"{PERCENT} interval ({unit.name})",
            [bounds(row["low_s"], row["high_s"], unit.scale, DIGITS) for row in rows],
            numeric=True,
        ),
        column("its kind", [KINDS[IntervalKind(row["interval"])] for row in rows]),
        column(
            "rounds × calls",
            [f"{row['n_rounds']:.0f} × {round(row['n'] / row['n_rounds'], 1):g}" for row in rows],
            numeric=True,
        ),
        numbers("frames/s", [row["frames_per_s"] for row in rows]),
    ]


def speedups(rows: Sequence[Row]) -> Columns:
    """Return the speedup of each row over the baseline of its run, with its interval."""
    return [
        column("speedup", map(_speedup, rows), numeric=True),
        column(
            f"{PERCENT} interval",
            [None if row["is_baseline"] else bounds(row["speedup_low"], row["speedup_high"]) for row in rows],
            numeric=True,
        ),
    ]


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
    own = [
        row
        for row in rows_of(summary)
        if row["stage"] is not None and (row["stage"] == OTHER or row["stage"] not in SPANS)
    ]
    staged: dict[str, dict[str, Row]] = {}
    for row in own:
        staged.setdefault(row["cell"], {})[row["stage"]] = row
    every = [cell for cell in cells if cell["cell"] in staged]
    tables = []
    for model in distinct(cell["model"] for cell in every):
        shown = [cell for cell in every if cell["model"] == model]
        found = [staged[cell["cell"]] for cell in shown]
        unit = unit_for(sum(row["median_s"] for row in of_cell.values()) for of_cell in found)
        names = distinct(name for of_cell in found for name in of_cell)
        tables.append(
            [
                *axes_columns(shown, every),
                *(
                    column(
                        f"{name} ({unit.name})",
                        [_stage(of_cell.get(name), unit.scale) for of_cell in found],
                        numeric=True,
                    )
                    for name in names
                ),
                *(
                    column(title, [next(iter(of_cell.values()))[title] for of_cell in found])
                    for title in ("pass", "clock")
                ),
            ]
        )
    return tables


def _stage(row: Row | None, scale: float) -> str | None:
    if row is None:
        return None
    return f"{significant(row['median_s'] / scale)} ({percent(row['share'] or 0.0)})"


def costs(tables: Tables, cells: Sequence[Row]) -> Columns:
    """Return what one forward takes, stage by stage, as traced: of each network and shape on one backend."""
    known = set(tables.costs["cell"]) if len(tables.costs) else set()
    places: dict[tuple[object, ...], Row] = {}
    for cell in cells:
        if cell["cell"] in known:
            places.setdefault(tuple(cell[name] for name in ("model", "size", "batch", "frames")), cell)
    if not places:
        return []
    shown = [*places.values()]
    rows = joined(tables.costs.to_dict("records"), shown)
    return [
        *axes_columns(rows, shown),
        column("stage", [row["stage"] for row in rows]),
        in_one_unit("work", [float(row["flops"]) for row in rows], FLOPS),
        in_bytes("moved", [float(row["bytes"]) for row in rows]),
        in_bytes("peak", [float(row["peak_bytes"]) for row in rows]),
    ]


def perturbation(tables: Tables, cells: Sequence[Row]) -> Columns:
    """Return what the stage probes cost, per cell and stage pass."""
    rows = joined(rows_of(tables.perturbation), cells)
    if not rows:
        return []
    changes = [
        "none: too few"
        if row["low"] is None or row["high"] is None
        else f"{_change(row['low'])} … {_change(row['high'])}"
        for row in rows
    ]
    return [
        *axes_columns(rows, cells),
        column("pass", [row["pass"] for row in rows]),
        column("pairs", [row["n"] for row in rows], numeric=True),
        column("probes cost", [_change(row["ratio"]) for row in rows], numeric=True),
        column(f"{PERCENT} interval", changes, numeric=True),
        column("its kind", [KINDS[IntervalKind(row["interval"])] for row in rows]),
    ]


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _figures(
    cells: Sequence[Row], figures: Sequence[tuple[str, str, Callable[[str, list[float | None]], Column]]]
) -> Columns:
    """Return columns of figures of the cells that have any of them."""
    shown = [row for row in cells if any(row[name] is not None for _, name, _ in figures)]
    if not shown:
        return []
    return [
        *axes_columns(shown, cells),
        *(make(title, [row[name] for row in shown]) for title, name, make in figures),
    ]


def cold(cells: Sequence[Row]) -> Columns:
    """Return what a process pays once: imports, the device's context, moving the model, the first call."""
    names = {
        "import torch": "import_torch_s",
        "context": "context_s",
        "model to device": "model_to_device_s",
        "first forward": "first_forward_s",
    }
    found = _figures(cells, [(title, name, in_one_unit) for title, name in names.items()])
    shown = [row for row in cells if any(row[name] is not None for name in names.values())]
    # Where first calls count and are all there is, the figure is the first call itself.
    ratios = [
        None if None in (first, steady) or first == steady else f"{significant(first / steady)}×"
        for first, steady in ((row["first_forward_s"], row["median_s"]) for row in shown)
    ]
    return [*found, column("first / steady", ratios, numeric=True)] if found else []


def memory(cells: Sequence[Row]) -> Columns:
    """Return peaks and growth of host and device memory."""
    names = {
        "host peak": "peak_host_bytes",
        "host growth": "host_growth_bytes",
        "device peak": "peak_device_bytes",
        "device reserved": "peak_device_reserved_bytes",
        "device peak until warm": "cold_peak_device_bytes",
    }
    return _figures(cells, [(title, name, in_bytes) for title, name in names.items()])


def machine(cells: Sequence[Row]) -> Columns:
    """Return what the machine did while samples were taken."""

    def by(show: Callable[[float], str]) -> Callable[[str, list[float | None]], Column]:
        return lambda title, values: numbers(title, values, show)

    return _figures(
        measured(cells),
        [
            ("cores busy with others", "others_cores", by(lambda value: f"{value:.2f}")),
            ("stolen time", "steal_share", by(percent)),
            ("CPU clock (MHz)", "cpu_mhz", by(lambda value: f"{value:.0f}")),
            ("SM clock (MHz)", "sm_clock_mhz", by(lambda value: f"{value:.0f}")),
            ("power (W)", "power_w", by(significant)),
            ("hottest (°C)", "temperature_c", by(lambda value: f"{value:.0f}")),
            ("energy per frame (J)", "energy_per_frame_j", by(significant)),
        ],
    )


def sampling(cells: Sequence[Row]) -> Columns:
    """Return why warm-up and sampling ended, and how the samples scatter."""
    shown = measured(cells)
    if not shown:
        return []
    return [
        *axes_columns(shown, cells),
        column("warm-up ended", [", ".join(_WARMUPS[end] for end in row["warmup_end"]) for row in shown]),
        numbers("tuning calls", [row["tuning_calls"] for row in shown], lambda value: f"{value:.0f}"),
        column("sampling ended", [", ".join(_STOPS[end] for end in row["stop_end_to_end"]) for row in shown]),
        column("interval reaches", map(_reach, shown), numeric=True),
        numbers("spread within a process", [row["spread_within"] for row in shown], percent),
        numbers("between processes", [row["spread_between"] for row in shown], percent),
    ]


def _reach(row: Row) -> str | None:
    low, high, middle = row["low_s"], row["high_s"], row["median_s"]
    if low is None or high is None or not middle:
        return None
    return f"±{percent(max(middle - low, high - middle) / middle)}"


def memory_lines(tables: Tables) -> tuple[str, Columns]:
    """Return memory_profiler's table of the cell that grew most in its first round, and that cell."""
    lines = tables.memory_lines
    if lines.empty:
        return "", []
    first = lines[lines["round"] == lines["round"].min()]
    levels = first.groupby("cell")["host_bytes"]
    cell = str((levels.max() - levels.min()).idxmax())
    rows = rows_of(first[first["cell"] == cell])
    return cell, [
        column("line", [row["line"] for row in rows], numeric=True),
        in_bytes("level after it", [row["host_bytes"] for row in rows]),
        # memory_profiler counts what was there before as the first line's.
        in_bytes("increment", [None, *(row["increment_bytes"] for row in rows[1:])]),
        column("times", [row["occurrences"] for row in rows], numeric=True),
        column("source", [row["source"].strip() for row in rows]),
    ]


def output_check(cells: Sequence[Row]) -> Columns:
    """Return how far each output is from the CPU float32 one of the same weights and clip."""
    shown = measured(cells)
    if all(row["output_max_abs_error"] is None and row["output_psnr_db"] is None for row in shown):
        return []
    return [
        *axes_columns(shown, cells),
        column(
            "max abs error",
            [
                f"{row['output_max_abs_error']:.2e}"
                if row["output_max_abs_error"] is not None
                else "reference itself"
                if row["output_check"] == OutputCheck.REFERENCE
                else "not checked"
                for row in shown
            ],
            numeric=True,
        ),
        numbers("PSNR (dB)", [row["output_psnr_db"] for row in shown], significant),
        column(
            "verdict", ["too far: inaccurate" if row["status"] == Status.INACCURATE else "" for row in shown]
        ),
    ]


def harness(tables: Tables) -> tuple[float, float, Columns]:
    """Return what the tool itself costs, what whole rounds take, in seconds, and both by backend."""
    rounds = tables.cells[tables.cells["harness_s"].notna()]
    if rounds.empty:
        return 0.0, 0.0, []
    groups = [(str(name), of_one) for name, of_one in rounds.groupby("backend", sort=False)]
    groups += [("all", rounds)] if len(groups) > 1 else []

    def figure(title: str, name: str, of: Callable[[list[float]], float] = median) -> Column:
        values = [[float(value) for value in of_one[name].dropna()] for _, of_one in groups]
        said = f"{title}, {'max' if of is max else 'median'}"
        return in_one_unit(said, [of(some) if some else None for some in values])

    columns = [
        column("backend", [name for name, _ in groups]),
        column("rounds", [len(of_one) for _, of_one in groups], numeric=True),
        figure("harness", "harness_s"),
        figure("harness", "harness_s", max),
        figure("of it: worker start", "worker_start_s"),
        figure("of it: set-up", "setup_s"),
        figure("whole round", "round_wall_s"),
    ]
    return float(rounds["harness_s"].sum()), float(rounds["round_wall_s"].sum()), columns


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
