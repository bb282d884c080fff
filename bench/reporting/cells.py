"""The cells of runs as pages list them: a table with a row per cell, and the columns of pages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd

from bench.grid.spans import FORWARD
from bench.records import OutputCheck
from bench.reporting.markdown import Column
from bench.results.tables import AXES, Row, Tables
from bench.stats.intervals import CONFIDENCE, IntervalKind
from bench.units import BYTES, SECONDS, Unit, significant, unit_for

Figure = tuple[str, str | Callable[[Row], object], Callable[[str, Sequence[Any]], Column]]
"""A column of a table: its title, the value of a row or the row's key, and the form of column."""

DIGITS: Final = 4
"""Significant digits of the forward time: enough for a tight interval to show its width."""

PERCENT: Final = f"{100 * CONFIDENCE:g} %"

KINDS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between rounds",
    IntervalKind.BETWEEN_ROUNDS_T: "between rounds, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within process",
    IntervalKind.NONE: "none: too few",
}

MEDIANS: Final = (
    "import_torch_s", "context_s", "model_to_device_s", "first_forward_s", "others_cores", "steal_share",
    "cpu_mhz", "sm_clock_mhz", "power_w", "temperature_c", "energy_per_frame_j", "parameters", "scale",
    "frames_out",
)  # fmt: skip
PEAKS: Final = (
    "peak_host_bytes", "host_growth_bytes", "peak_device_bytes", "peak_device_reserved_bytes",
    "cold_peak_device_bytes", "tuning_calls", "output_max_abs_error",
)  # fmt: skip
LEAST: Final = ("output_psnr_db",)
EACH: Final = ("warmup_end", "stop_end_to_end")
"""Columns of cells.csv, by what stands for a cell of all its rounds; of EACH every value once."""

ORDER: Final = ("model", "input", "size", "batch", "frames", "backend", "run")

PLACE: Final = ("model", "input", "size", "batch", "frames")


def cell_table(tables: Tables) -> pd.DataFrame:
    """Return a row per cell: its axes, how it ended, its forward's figures, and its rounds' in one.

    Networks, inputs, sizes, batches and backends are in the order of their first rows, frame counts
    ascending, and runs beside each other.
    """
    cells, summary = tables.cells, tables.summary
    status = summary.drop_duplicates("cell").set_index("cell")["status"]
    forward = summary[summary["stage"] == FORWARD].drop(
        columns=["status", "run", *AXES, *PEAKS], errors="ignore"
    )
    grouped = cells.groupby("cell", sort=False)
    own = ["cell", *(["run"] if "run" in cells else []), *AXES, "output_check"]
    found = cells.drop_duplicates("cell")[own].set_index("cell")
    found["size"] = [
        f"{height}×{width}" for height, width in zip(found["height"], found["width"], strict=True)
    ]
    found["status"] = status
    worst = cells[cells["status"].astype(str) == cells["cell"].map(status).astype(str)]
    found["reason"] = worst.drop_duplicates("cell").set_index("cell")["reason"]
    found["started_at"] = [min(filter(None, at.dropna()), default="") for _, at in grouped["started_at"]]
    found["unchecked"] = (cells["output_check"] == OutputCheck.NOT_DONE).groupby(cells["cell"]).any()
    for names, of in ((MEDIANS, "median"), (PEAKS, "max"), (LEAST, "min")):
        for name in names:
            found[name] = cells[name].astype(float).groupby(cells["cell"]).agg(of)
    for name in EACH:
        found[name] = [tuple(dict.fromkeys(values.dropna())) for _, values in grouped[name]]
    table = found.join(forward.set_index("cell")).reset_index()
    keys = {
        name: table[name] if name == "frames" else pd.factorize(table[name])[0]
        for name in ORDER
        if name in table
    }
    order = pd.DataFrame(keys).sort_values(list(keys), kind="stable").index
    return table.loc[order].reset_index(drop=True)


def measured(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have a time."""
    return [row for row in rows if row["median_s"] is not None]


def joined(rows: Iterable[Mapping[Any, Any]], cells: Sequence[Row]) -> list[Row]:
    """Return rows of another table with their cells' axes, in the order of the cells."""
    by_cell: dict[str, list[Row]] = {}
    for row in rows:
        by_cell.setdefault(row["cell"], []).append(dict(row))
    return [{**{name: cell[name] for name in ("cell", "size", *AXES)}, **row}
            for cell in cells for row in by_cell.get(cell["cell"], ())]  # fmt: skip


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in the order of the first."""
    return list(dict.fromkeys(values))


def owner(row: Row) -> str:
    """Return the row's backend, with its run where there are several."""
    return f"{row['run']}: {row['backend']}" if "run" in row else str(row["backend"])


def column(title: str, values: Iterable[object], *, numeric: bool = False) -> Column:
    """Return a column of plain text; None is empty."""
    return Column(
        title=title, cells=["" if value is None else str(value) for value in values], numeric=numeric
    )


def numbers(title: str, values: Iterable[float | None], show: Callable[[float], str] = significant) -> Column:
    return column(title, [None if value is None else show(value) for value in values], numeric=True)


def in_one_unit(
    title: str, values: Sequence[float | None], units: tuple[Unit, ...] = SECONDS, digits: int = 3
) -> Column:
    """Return a column of times or sizes in one unit, named in its title, so that its rows compare."""
    unit = unit_for((value for value in values if value is not None), units)
    return numbers(f"{title} ({unit.name})", values, lambda value: significant(value / unit.scale, digits))


def bounds(low: float | None, high: float | None, scale: float = 1.0, digits: int = 3) -> str | None:
    """Return such as `1.20 … 1.31`; None without an interval."""
    if low is None or high is None:
        return None
    return f"{significant(low / scale, digits)} … {significant(high / scale, digits)}"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


right = partial(column, numeric=True)
in_bytes = partial(in_one_unit, units=BYTES)
percents = partial(numbers, show=percent)
whole = partial(numbers, show="{:.0f}".format)


def columns_of(rows: Sequence[Row], *shown: Figure) -> list[Column]:
    """Return figures of the rows."""
    return [
        make(title, [row[of] if isinstance(of, str) else of(row) for row in rows])
        for title, of, make in shown
    ]


def figures(rows: Sequence[Row], every: Sequence[Row], *shown: Figure) -> list[Column]:
    """Return what tells the rows apart among `every` cell, and figures of them; nothing without rows."""
    return [*axes_columns(rows, every), *columns_of(rows, *shown)] if rows else []


def axes_columns(rows: Sequence[Row], every: Sequence[Row]) -> list[Column]:
    """Return the columns that tell cells apart: an axis with one value everywhere is left to the summary."""
    kept = [name for name in PLACE if len({row[name] for row in every}) > 1]
    kept += ["backend"] + ["run"] * any("run" in row for row in every)
    return [
        column(
            "network" if name == "model" else name,
            [row[name] for row in rows],
            numeric=name in ("size", "batch", "frames"),
        )
        for name in kept
    ]


def place_of(row: Row, every: Sequence[Row]) -> str:
    """Return a cell's place in the grid in a few words, of the axes that vary: `random, 64×64, t=4`."""
    words = {**row, "batch": f"b={row['batch']}", "frames": f"t={row['frames']}"}
    kept = [str(words[name]) for name in PLACE if len({other[name] for other in every}) > 1]
    return ", ".join(kept or [words["frames"]])
