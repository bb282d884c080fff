"""A run's tables to an edition of the paper's experiments. Pure.

An experiment is known by its input's name, so that one run may hold all of them or one each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import pandas as pd

from bench.grid.spans import FORWARD, OTHER
from bench.paper.editions import STAGES, CellOfEdition, Edition, Memory, Role, StageTiming, Timing
from bench.paper.experiments import EXPERIMENTS
from bench.paper.method import Method
from bench.records import SEVERITY, MemoryLine, Pass, Phase, Status
from bench.results.analysis import MEASURED, Tables
from bench.statistics.stats import IntervalKind, summarise

_STAGE_SOURCES: Final = ((Pass.STAGE_EVENTS, "device"), (Pass.STAGE_SYNC, "wall"))


@dataclass(frozen=True, kw_only=True)
class RunOfPaper:
    """A run of one or more of the paper's experiments."""

    tables: Tables
    roles: Mapping[str, Role]  # by the backend's name; cells of other backends are left out
    machine: str  # in a few words
    baseline: str  # the backend that speedups compare with
    configuration: Mapping[str, Any] = field(default_factory=dict)  # as bench.grid.config.plain has it
    method: Method | None = None  # of the paper's script; None: measured as any run is


@dataclass(frozen=True, kw_only=True)
class Cell(CellOfEdition):
    """A cell of a run: what its rows of the tables have in common."""

    name: str
    input: str
    batch: int
    rows: tuple[Mapping[str, Any], ...]  # of cells.csv, by round


def edition_of(name: str, runs: Sequence[RunOfPaper], *, version: str) -> Edition:
    """The experiments that the runs hold, in a version of bench.paper.experiments.VERSIONS."""
    found: dict[str, list[Any]] = {experiment: [] for experiment in EXPERIMENTS}
    for run in runs:
        for cell in cells_of(run):
            if cell.input == "memory":
                found["memory"].append(memory_of(run.tables, cell))
            elif cell.input == "stages":
                found["stages"].append(stage_timing_of(run.tables, cell))
            elif cell.input in found:
                found[cell.input].append(timing_of(run.tables, cell))
    machines = dict.fromkeys(run.machine for run in runs)
    configurations = {
        item["name"]: run.configuration for run in runs for item in run.configuration.get("input", ())
    }
    return Edition(
        name=name,
        machine=" and ".join(machines),
        version=version,
        configurations={name: of for name, of in configurations.items() if name in EXPERIMENTS},
        **{experiment: tuple(cells) for experiment, cells in found.items()},
    )


def cells_of(run: RunOfPaper) -> list[Cell]:
    """The run's cells whose backends have a role, in the order in which they first ended."""
    cells = []
    for name, rows in run.tables.cells.groupby("cell", sort=False):
        ordered = _rows(rows.sort_values("round"))
        first = ordered[0]
        if first["backend"] not in run.roles:
            continue
        statuses = [Status(row["status"]) for row in ordered]
        worst = max(statuses, key=SEVERITY.__getitem__)
        ended = zip(ordered, statuses, strict=True)
        reasons = [_text(row["reason"]) for row, status in ended if status is worst]
        cells.append(
            Cell(
                name=str(name),
                input=first["input"],
                batch=int(first["batch"]),
                frames=int(first["frames"]),
                height=int(first["height"]),
                width=int(first["width"]),
                backend=first["backend"],
                role=run.roles[first["backend"]],
                status=worst,
                reason=next(filter(None, reasons), ""),
                rows=ordered,
                method=run.method,
            )
        )
    return cells


def timing_of(tables: Tables, cell: Cell) -> Timing:
    """The cell in time, from its end-to-end pass."""
    calls = _figure_calls(tables, cell)
    rounds, steady, first_counts = [], [], False
    for _, of_round in calls.groupby("round", sort=True):
        is_steady = of_round["phase"] == Phase.STEADY
        rounds.append(_floats(of_round["wall_s"]))
        steady.append(_floats(of_round.loc[is_steady, "wall_s"]))
        first_counts = first_counts or bool(is_steady.iloc[0])
    summary = summary_row(tables, cell, (FORWARD,))
    return Timing(
        **_shared(cell),
        rounds=tuple(rounds),
        steady=tuple(steady),
        median_s=number(summary.get("median_s")),
        low_s=number(summary.get("low_s")),
        high_s=number(summary.get("high_s")),
        speedup=number(summary.get("speedup")),
        speedup_low=number(summary.get("speedup_low")),
        speedup_high=number(summary.get("speedup_high")),
        interval=IntervalKind(_text(summary.get("interval")) or IntervalKind.NONE),
        first_counts=first_counts,
    )


def stage_timing_of(tables: Tables, cell: Cell, pass_: Pass | None = None) -> StageTiming:
    """The cell by stage, from the pass given, or from the best that it has.

    Medians, and so the intervals, are those of summary.csv: of the rounds' medians.
    """
    chosen, clock = _stage_source(tables, cell, pass_)
    seconds, low, high = {}, {}, {}
    for stage in (*STAGES, OTHER):
        rounds = _steady(tables, cell, chosen, stage, clock)
        if not rounds:
            continue
        seconds[stage] = tuple(value for of_round in rounds for value in of_round)
        summary = summarise(rounds)
        if summary.low is not None and summary.high is not None:
            low[stage], high[stage] = summary.low, summary.high
    return StageTiming(
        **_shared(cell),
        batch=cell.batch,
        seconds=seconds,
        low_s=low,
        high_s=high,
        pass_=chosen,
        clock=clock,
    )


def memory_of(tables: Tables, cell: Cell) -> Memory:
    """The cell's memory, of its first round that has any."""
    measured = [row for row in cell.rows if Status(row["status"]) in MEASURED]
    rounds = [int(row["round"]) for row in measured]
    points = _of_cell(tables.memory, cell)
    round_ = next(
        (number_ for number_ in rounds if (points["round"] == number_).any()), next(iter(rounds), 0)
    )
    points = points[points["round"] == round_]
    row = next((row for row in measured if int(row["round"]) == round_), {})
    start = float(points["elapsed_s"].iloc[0]) if len(points) else 0.0
    on_device = len(points) > 0 and bool(points["device_bytes"].notna().all())
    lines = _of_cell(tables.memory_lines, cell)
    return Memory(
        **_shared(cell),
        batch=cell.batch,
        elapsed_s=tuple(float(at) - start for at in points["elapsed_s"]),
        host_bytes=tuple(map(int, points["host_bytes"])),
        device_bytes=tuple(map(int, points["device_bytes"])) if on_device else None,
        before_bytes=_whole(row.get("host_before_bytes")),
        peak_bytes=_whole(row.get("peak_host_bytes")),
        peak_device_bytes=_whole(row.get("peak_device_bytes")),
        lines=tuple(
            MemoryLine(**{name: line[name] for name in MemoryLine.model_fields})
            for line in _rows(lines[lines["round"] == round_])
        ),
    )


def _shared(cell: Cell) -> dict[str, Any]:
    """What every cell of an edition has, whatever was measured of it."""
    return {item.name: getattr(cell, item.name) for item in fields(CellOfEdition)}


def number(value: Any) -> float | None:
    """A figure of a table; None where it is missing."""
    return None if value is None or pd.isna(value) else float(value)


def summary_row(tables: Tables, cell: Cell, stages: Sequence[str]) -> Mapping[str, Any]:
    """The cell's row of summary.csv for the first of the stages that it has; empty for none."""
    rows = _of_cell(tables.summary, cell)
    return next(iter(_rows(rows[rows["stage"].isin(stages)])), {})


def _figure_calls(tables: Tables, cell: Cell) -> pd.DataFrame:
    """The end-to-end samples of the span that the cell's figures are of, in the order in which they ran."""
    rows = _of_cell(tables.samples, cell)
    rows = rows[(rows["pass"] == Pass.END_TO_END) & (rows["stage"] == FORWARD)]
    return rows.sort_values(["round", "start_s"], kind="stable")


def _stage_source(tables: Tables, cell: Cell, pass_: Pass | None) -> tuple[str, str]:
    """The stage pass and its clock: events before the host's, and what waits before what does not."""
    rows = _of_cell(tables.samples, cell)
    rows = rows[rows["phase"] == Phase.STEADY]
    for candidate, clock in _STAGE_SOURCES:
        of_pass = rows[(rows["pass"] == candidate) & rows["stage"].isin(STAGES)]
        if pass_ in (None, candidate) and of_pass[f"{clock}_s"].notna().any():
            return str(candidate), clock
    return "", ""


def _steady(tables: Tables, cell: Cell, pass_: str, stage: str, clock: str) -> list[tuple[float, ...]]:
    """A round's steady samples each; rounds without any are left out."""
    rows = _of_cell(tables.samples, cell)
    rows = rows[(rows["pass"] == pass_) & (rows["stage"] == stage) & (rows["phase"] == Phase.STEADY)]
    if not len(rows):
        return []
    by_round = [_floats(values.dropna()) for _, values in rows.groupby("round", sort=True)[f"{clock}_s"]]
    return [values for values in by_round if values]


def _rows(table: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    return tuple({str(name): value for name, value in row.items()} for row in table.to_dict("records"))


def _of_cell(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    return table[table["cell"] == cell.name]


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _whole(value: Any) -> int | None:
    return None if value is None or pd.isna(value) else int(value)
