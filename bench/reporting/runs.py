"""Runs as a page needs them: their cells in one table, several with a `run` column and beside a reference.

Content changes no time: cells compare by network, batch, frames and size, whatever their input is called. Two
networks never compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd

from bench.grid import config
from bench.grid.baseline import Baseline
from bench.plotting.axes import SHAPE
from bench.plotting.groups import Labels, PlotGroup
from bench.plotting.medians import relative_figure
from bench.records import Status
from bench.reporting.cells import cell_table
from bench.reporting.ladder import ladders_of
from bench.results.identity import UNKNOWN, device_name
from bench.results.run_folder import RunFolder
from bench.results.tables import AXES, Row, Tables, rows_of, summary_of
from bench.stats.intervals import ratio
from bench.tuning.ladder import Steps
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

DRAWABLE: Final = (1e-12, 1e12)
"""Ratios outside have no point: a journal that was not measured holds them, and no axis does."""

LEFT_OUT: Final = ("samples", "memory", "telemetry")
"""Tables that no page shows."""


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """A run as a page needs it."""

    name: str  # that tells it from the others
    experiment: str
    baseline: Baseline
    tables: Tables
    environment: Mapping[str, Any]
    configuration: Mapping[str, object] = field(default_factory=dict)
    files: Sequence[Path] = ()  # absolute, or relative to the working directory
    note: str = ""  # how it ended where it did not end by itself
    devices: Mapping[str, str] = field(default_factory=dict)  # by backend, what it ran on
    ladders: Mapping[str, Steps] = field(default_factory=dict)  # by clip, where the backends are one

    @classmethod
    def of(
        cls,
        folder: RunFolder,
        tables: Tables,
        *,
        files: Sequence[Path],
        notes: Sequence[str | None],
        name: str = "",
    ) -> Self:
        """Return the folder's run, whose tables are given. `notes` say how it ended, where it did not end."""
        method = folder.environment.get("method")
        return cls(
            name=name,
            experiment=folder.experiment.name,
            baseline=folder.baseline,
            tables=tables,
            environment=folder.environment,
            configuration=config.plain(folder.experiment),
            files=files,
            note=" ".join(filter(None, (*notes, method and f"Measured by {method}."))),
            devices={
                backend.name: device_name(folder.environment, backend.device)
                for backend in folder.experiment.backends
            },
            ladders=ladders_of(folder, tables),
        )


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The cells of all runs; those of several are called `<run>: <cell>`, and stand beside a reference."""

    runs: Sequence[ReportedRun]
    tables: Tables
    rows: Sequence[Row]  # those of bench.reporting.cells, with device, rates, and `is_baseline` of their run
    reference: str | None = None  # `<run>:<backend>`; None of one run, and where no baseline has a figure

    @property
    def are_several(self) -> bool:
        return len(self.runs) > 1


def together(runs: Sequence[ReportedRun], reference: str | None = None) -> Runs:
    """Return the cells of all runs in one table.

    Those of several are compared with a reference: a run's name, for its baseline, or `<run>:<backend>`;
    without a name it is the baseline of the first run that has a figure for its own. Raises BadInput for a
    reference that is none of them.
    """
    tables = runs[0].tables if len(runs) == 1 else one_table({run.name: run.tables for run in runs}, LEFT_OUT)
    by_name = {run.name: run for run in runs}
    rows = []
    for row in rows_of(cell_table(tables)):
        run = by_name[row["run"]] if "run" in row else runs[0]
        is_baseline = run.baseline.matches(row["model"], row["backend"])
        device = run.devices.get(row["backend"], UNKNOWN)
        rows.append(row | {"device": device, "is_baseline": is_baseline} | _rates(row))
    if len(runs) == 1:
        return Runs(runs=runs, tables=tables, rows=rows)
    chosen = _reference(runs, rows, reference)
    bases = [row for row in rows if chosen == _key(row) and _compares(row)]
    beside = [row | _beside(row, chosen, bases) for row in rows]
    return Runs(runs=runs, tables=tables, rows=beside, reference=chosen)


def _reference(runs: Sequence[ReportedRun], rows: Sequence[Row], named: str | None) -> str | None:
    own = {run.name: f"{run.name}:{run.baseline.backend}" for run in runs}
    if named is None:
        having = {_key(row) for row in rows if _compares(row)}
        return next((key for key in own.values() if key in having), None)
    if named in own:
        return own[named]
    if named in map(_key, rows):
        return named
    raise BadInput(
        f"--reference {named}: is none of the runs, and no backend of one; name {', '.join(own)}, or one of "
        f"them with a backend as in {next(iter(own.values()))}"
    )


def _key(row: Row) -> str:
    return f"{row['run']}:{row['backend']}"


def one_table(runs: Mapping[str, Tables], left_out: Sequence[str] = ()) -> Tables:
    """Return the tables of several runs as one, with a `run` column; cells are called `<run>: <cell>`."""
    found = {}
    for name in (of.name for of in fields(Tables)):
        parts = [_of_run(run, getattr(tables, name)) for run, tables in runs.items() if name not in left_out]
        parts = [part for part in parts if len(part)] or parts[:1]
        found[name] = pd.concat(parts, ignore_index=True).infer_objects() if parts else pd.DataFrame()
    return Tables(**found)


def _of_run(run: str, table: pd.DataFrame) -> pd.DataFrame:
    part = table.astype(object)
    part = part.where(part.notna(), None).assign(run=run)
    if "cell" in part:
        named = [cell and f"{run}: {cell}" for cell in part["cell"]]
        part["cell"] = pd.Series(named, part.index, object)
    return part


def relative_plots(cells: Runs) -> list[PlotGroup]:
    """Return the figures of speed over the reference, one per network."""
    shown = {
        "value": "relative_speed", "low": "relative_speed_low", "high": "relative_speed_high",
        "interval": "relative_speed_interval", "cell": "cell", "run": "run", "backend": "backend",
        **{name: name for name in ("model", "input", *SHAPE)},
    }  # fmt: skip
    rows = [
        {title: row[name] for title, name in shown.items()}
        for row in cells.rows
        if not row["is_reference"] and DRAWABLE[0] < (row["relative_speed"] or 0.0) < DRAWABLE[1]
    ]
    table = pd.DataFrame(rows, columns=[*shown]).astype({"value": float, "low": float, "high": float})
    runs = tuple(cells.tables.cells["run"].unique())
    groups = []
    models = cells.tables.cells["model"].nunique()
    for model, own in table.groupby("model", sort=False):
        several = own.groupby(["run", "backend"])["input"].transform("nunique") > 1
        of_input = (", " + own["input"]).where(several, "")
        labels = Labels(
            model=str(model), models=models, runs=runs,
            backends=tuple(cells.tables.cells["backend"].unique()),
        )  # fmt: skip
        titles = own["run"] + ": " + own["backend"] + of_input
        groups.append(PlotGroup(draw=relative_figure, labels=labels, table=own.assign(label=titles)))
    return groups


def devices_table(cells: Runs) -> pd.DataFrame:
    """Return the table of devices.csv: a row per run and cell, runs in the order given."""
    whole = ("_bytes", "n_rounds", "parameters")
    floats = ("_s", "_w", "_j", "_low", "_high", "_speed")
    types = {"n": "Int64"} | {name: "Int64" for name in DEVICES_COLUMNS if name.endswith(whole)}
    types |= {name: "float64" for name in DEVICES_COLUMNS if name.endswith(floats)}
    runs = [run.name for run in cells.runs]
    rows = [
        row | {"cell": _own_name(row)} for row in sorted(cells.rows, key=lambda row: runs.index(row["run"]))
    ]
    return pd.DataFrame(rows, columns=list(DEVICES_COLUMNS), dtype=object).astype(types)


def _own_name(row: Row) -> str:
    """Return what the cell is called in its run."""
    return str(row["cell"]).removeprefix(f"{row['run']}: ")


def _compares(row: Row) -> bool:
    """Return whether it can be compared: an output that is wrong cannot."""
    return row["status"] == Status.OK and (row["median_s"] or 0.0) > 0


def _rates(row: Row) -> Row:
    """Return frames of all clips of the batch per second, with the interval of the median time."""
    median, low, high = row["median_s"], row["low_s"], row["high_s"]
    if not median:
        return dict.fromkeys(
            ("frames_per_s", "frames_per_s_low", "frames_per_s_high", "output_megapixels_per_s")
        )
    frames = row["batch"] * (row["frames_out"] or row["frames"])
    pixels = row["scale"] and row["scale"] ** 2 * row["height"] * row["width"] / 1e6
    return {
        "frames_per_s": frames / median,
        "frames_per_s_low": frames / high if high else None,
        "frames_per_s_high": frames / low if low and low > 0 else None,
        "output_megapixels_per_s": pixels and frames / median * pixels,
    }


def _beside(row: Row, reference: str | None, bases: Sequence[Row]) -> Row:
    """Return how many times as fast as the reference's cell of the same network and shape, or why not."""
    names = ("reference", "reference_cell", "relative_speed", "relative_speed_low", "relative_speed_high",
             "relative_speed_interval", "why_not", "is_reference")  # fmt: skip
    found = dict.fromkeys(names) | {"is_reference": reference == _key(row)}
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
    base_time = summary_of(base)
    speed = ratio(base_time, base_time if base is row else summary_of(row))
    return found | {
        "reference": reference, "reference_cell": _own_name(base), "relative_speed": speed.ratio,
        "relative_speed_low": speed.low, "relative_speed_high": speed.high,
        "relative_speed_interval": speed.interval,
    }  # fmt: skip
