"""Several runs as one table: the cells of all with a `run` column, and how fast each is beside a reference.

Content changes no time: cells compare by network, batch, frames and size, whatever their input is called. Two
networks never compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

import pandas as pd

from bench.grid.baseline import Baseline
from bench.plotting.groups import Labels, PlotGroup
from bench.plotting.medians import relative_figure
from bench.reporting.cells import Row, cell_table, distinct, ended_well, rows_of
from bench.results.identity import UNKNOWN
from bench.results.tables import AXES, Tables
from bench.stats.intervals import IntervalKind, Summary, ratio, weaker
from vsr_model.errors import BadInput

DEVICES_NAME: Final = "devices.csv"

DEVICES_COLUMNS: Final = (
    "run", "device", "cell", *AXES, "status", "reason", "stage",
    "n_rounds", "n", "median_s", "low_s", "high_s", "interval",
    "frames_per_s", "frames_per_s_low", "frames_per_s_high", "output_megapixels_per_s",
    "power_w", "energy_per_frame_j",
    "peak_device_bytes", "peak_device_reserved_bytes", "peak_host_bytes", "host_growth_bytes", "parameters",
    "reference", "reference_cell", "relative_speed", "relative_speed_low", "relative_speed_high",
    "relative_speed_interval",
)  # fmt: skip

DRAWN: Final = (1e-12, 1e12)
"""Ratios outside have no point: a journal that was not measured holds them, and no axis does."""

_WHOLE: Final = (
    "n_rounds",
    "n",
    *(name for name in DEVICES_COLUMNS if name.endswith("_bytes")),
    "parameters",
)


@dataclass(frozen=True, kw_only=True)
class SideRun:
    """A run as a page of several needs it."""

    name: str  # that tells it from the others
    experiment: str
    baseline: Baseline
    tables: Tables
    environment: Mapping[str, object]
    configuration: Mapping[str, object]
    files: Sequence[Path]  # absolute, or relative to the working directory
    note: str | None = None  # how it ended where it did not end by itself
    devices: Mapping[str, str] = field(default_factory=dict)  # by backend, what it ran on


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The backend of a run that the others are compared with."""

    run: str
    backend: str

    def __str__(self) -> str:
        return f"{self.run}:{self.backend}"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """All runs as one: their tables with a `run` column, and their cells beside a reference.

    Cells are called `<run>: <cell>` in them.
    """

    reference: Reference | None  # None where no run has a figure for its baseline
    tables: Tables  # cells, summary and warnings alone
    table: pd.DataFrame  # that of bench.reporting.cells, with `run`, and speed over the reference


def cells_of(runs: Sequence[SideRun], reference: str | None = None) -> Cells:
    """Return all runs as one beside a reference: the name of a run, for its baseline, or `<run>:<backend>`.

    Without a name it is the baseline of the first run that has a figure for its own. Raises BadInput for a
    reference that is none of them.
    """
    tables = Tables(
        **{
            field.name: _together(runs, field.name)
            if field.name in ("cells", "summary", "warnings")
            else pd.DataFrame()
            for field in fields(Tables)
        }
    )
    by_name = {run.name: run for run in runs}
    rows = [
        row | {
            "device": by_name[row["run"]].devices.get(row["backend"], UNKNOWN),
            "is_baseline": by_name[row["run"]].baseline.matches(row["model"], row["backend"]),
        }
        for row in rows_of(cell_table(tables))
    ]  # fmt: skip
    chosen = _first(runs, rows) if reference is None else _named(runs, rows, reference)
    bases = [row for row in rows if chosen == _reference(row) and _compares(row)]
    every = [row | _rates(row) | _beside(row, chosen, bases) for row in rows]
    return Cells(reference=chosen, tables=tables, table=pd.DataFrame(every))


def _together(runs: Sequence[SideRun], name: str) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for run in runs:
        part: pd.DataFrame = getattr(run.tables, name).astype(object)
        part = part.where(part.notna(), None)
        own = pd.Series([cell and f"{run.name}: {cell}" for cell in part["cell"]], part.index, object)
        parts.append(part.assign(run=run.name, cell=own))
    return pd.concat(parts, ignore_index=True).infer_objects()


def relative_plots(cells: Cells) -> list[PlotGroup]:
    """Return the figures of speed over the reference: one per network, batch and size, whatever inputs are
    called.

    Several of them where there are more curves than one holds.
    """
    names = {
        "relative_speed": "value",
        "relative_speed_low": "low",
        "relative_speed_high": "high",
        "relative_speed_interval": "interval",
    }
    kept = [*names, "cell", "run", "backend", "model", "input", "frames", "batch", "height", "width"]
    table = cells.table[cells.table["relative_speed"].notna() & ~cells.table["is_reference"].astype(bool)]
    table = table[kept].rename(columns=names).astype({"value": float, "low": float, "high": float})
    in_range = table["value"].between(*DRAWN)
    runs = tuple(cells.tables.cells["run"].unique())
    groups = []
    models = cells.tables.cells["model"].nunique()
    for place, own in table[in_range].groupby(["model", "batch", "height", "width"], sort=False):
        several = own.groupby(["run", "backend"])["input"].transform("nunique") > 1
        said = (", " + own["input"]).where(several, "")
        model, *shape = place
        batch, height, width = (int(str(number)) for number in shape)
        labels = Labels(
            model=str(model), models=models, input="", batch=batch, height=height, width=width, runs=runs,
            backends=tuple(cells.tables.cells["backend"].unique()),
        )  # fmt: skip
        titles = own["run"] + ": " + own["backend"] + said
        groups.append(PlotGroup(draw=relative_figure, labels=labels, table=own.assign(label=titles)))
    return groups


def devices_table(cells: Cells) -> pd.DataFrame:
    """Return the table of devices.csv: a row per run and cell, runs in the order given."""
    floats = [
        name for name in DEVICES_COLUMNS if name.endswith(("_s", "_w", "_j", "_low", "_high", "_speed"))
    ]
    runs = [*cells.tables.cells["run"].unique()]
    base = "" if cells.reference is None else f"{cells.reference.run}: "
    rows = [
        row | {
            "cell": row["cell"].removeprefix(f"{row['run']}: "),
            "reference_cell": row["reference_cell"] and row["reference_cell"].removeprefix(base),
        }
        for row in sorted(rows_of(cells.table), key=lambda row: runs.index(row["run"]))
    ]  # fmt: skip
    table = pd.DataFrame(rows, dtype=object)
    return table.reindex(columns=list(DEVICES_COLUMNS)).astype(
        dict.fromkeys(floats, "float64") | dict.fromkeys(_WHOLE, "Int64")
    )


def _reference(row: Row) -> Reference:
    return Reference(run=row["run"], backend=row["backend"])


def _first(runs: Sequence[SideRun], rows: Sequence[Row]) -> Reference | None:
    having = {_reference(row) for row in rows if _compares(row)}
    own = [Reference(run=run.name, backend=run.baseline.backend) for run in runs]
    return next((found for found in own if found in having), None)


def _named(runs: Sequence[SideRun], rows: Sequence[Row], reference: str) -> Reference:
    own = {run.name: Reference(run=run.name, backend=run.baseline.backend) for run in runs}
    if reference in own:
        return own[reference]
    run, _, backend = reference.rpartition(":")
    if run in own:
        backends = distinct(row["backend"] for row in rows if row["run"] == run)
        if backend in backends:
            return Reference(run=run, backend=backend)
        raise BadInput(
            f"--reference {reference}: the run {run} has no backend {backend!r}; it has {', '.join(backends)}"
        )
    raise BadInput(
        f"--reference {reference}: is none of the runs; name {', '.join(own)}, or one of them with a backend "
        f"as in {next(iter(own.values()))}"
    )


def _compares(row: Row) -> bool:
    """Return whether it can be compared: an output that is wrong cannot."""
    return ended_well(row) and (row["median_s"] or 0.0) > 0


def _rates(row: Row) -> Row:
    """Return frames of all clips of the batch per second, with the interval of the median time."""
    median, low, high = row["median_s"], row["low_s"], row["high_s"]
    if not median:
        return dict.fromkeys(
            ("frames_per_s", "frames_per_s_low", "frames_per_s_high", "output_megapixels_per_s")
        )
    frames = row["batch"] * row["frames"]
    pixels = row["scale"] and row["scale"] ** 2 * row["height"] * row["width"] / 1e6
    return {
        "frames_per_s": frames / median,
        "frames_per_s_low": frames / high if high else None,
        "frames_per_s_high": frames / low if low and low > 0 else None,
        "output_megapixels_per_s": pixels and frames / median * pixels,
    }


def _beside(row: Row, reference: Reference | None, bases: Sequence[Row]) -> Row:
    """Return how many times as fast as the reference's cell of the same network and shape, or why not."""
    names = ("reference", "reference_cell", "relative_speed", "relative_speed_low", "relative_speed_high",
             "relative_speed_interval", "why_not", "is_reference")  # fmt: skip
    found = dict.fromkeys(names) | {"is_reference": reference == _reference(row)}
    if not _compares(row):
        return found
    place = ("batch", "height", "width", "frames")
    everywhere = [base for base in bases if all(base[name] == row[name] for name in place)]
    there = [base for base in everywhere if base["model"] == row["model"]]
    same = [base for base in there if base["input"] == row["input"]] or there
    if len(same) != 1:
        why = "several references" if same else "other network" if everywhere else "no reference"
        return found | {"why_not": why}
    (base,) = same
    if len({base["parameters"], row["parameters"]} - {None}) > 1:
        return found | {"why_not": "other network"}
    one, other = _summary(base), _summary(row)
    exact = base is row
    speed = ratio(one, other)
    return found | {
        "reference": str(reference), "reference_cell": base["cell"],
        "relative_speed": 1.0 if exact else speed.ratio,
        "relative_speed_low": 1.0 if exact else speed.low,
        "relative_speed_high": 1.0 if exact else speed.high,
        "relative_speed_interval": weaker(one.interval, other.interval),
    }  # fmt: skip


def _summary(row: Row) -> Summary:
    return Summary(
        n_rounds=row["n_rounds"], n=row["n"], median=row["median_s"], q1=row["q1_s"], q3=row["q3_s"],
        low=row["low_s"], high=row["high_s"], interval=IntervalKind(row["interval"]),
    )  # fmt: skip
