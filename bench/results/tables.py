"""Records to tidy tables: the one way from samples to a figure. No torch, no plotting, no files.

The columns of each table, with their types, are in COLUMNS; those of summary.csv say too how they are taken
(STAGE_COLUMNS). docs/tables.md has their units and meanings, and a test holds it against these.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

import pandas as pd
from pydantic import BaseModel

from bench.cautions.caution import Notice
from bench.cautions.cautions import cautions
from bench.cautions.machine_state import MachineState, machine_state
from bench.grid.baseline import Baseline
from bench.grid.costs import StageCost
from bench.grid.spans import FORWARD, FORWARD_UNPROBED, OTHER, SPANS, TOTAL
from bench.records import (
    CellRecord,
    KernelUse,
    MemoryLine,
    MemoryPoint,
    Pass,
    Sample,
    StageMemory,
    Status,
    TelemetryReading,
    worst_status,
)
from bench.results.convolution_kernels import algorithm_of
from bench.stats.intervals import IntervalKind, Ratio, Spread, Summary, paired_ratio, ratio, spread, summarise
from bench.stats.scaling import Point, exponents

AXES: Final = ("model", "input", "batch", "frames", "height", "width", "backend")

SCALING_AXES: Final = ("frames", "pixels", "batch")
"""Axes of the grid along which cost grows; pixels are height x width."""

MEASURED: Final = (Status.OK, Status.INACCURATE)
"""The statuses whose samples are whole; an inaccurate cell keeps its times and gets no speedup."""

WARNINGS_SEPARATOR: Final = " | "
"""Between the warnings of a round, in their column."""

LIST_SEPARATOR: Final = "; "
"""Between the items of a list in one column."""

TEXT: Final = "str"
FLOAT: Final = "float64"
WHOLE: Final = "int64"
COUNT: Final = "Int64"  # whole, or missing
FLAG: Final = "boolean"
WIDE: Final = "wide"  # whole, of any size, or missing

Row = dict[str, Any]
"""A row of a table by column name, whose missing values are None."""

Columns = Mapping[str, str]
"""The columns of a table in their order, with the type of each."""


def _type_of(annotation: Any) -> str:
    """Return the type of a field's column; empty for a field that is a list or a mapping."""
    is_union = get_origin(annotation) in (Union, UnionType)
    alternatives = get_args(annotation) if is_union else [annotation]
    kinds = {getattr(kind, "__origin__", kind) for kind in alternatives}
    if not is_union and kinds & {tuple, dict}:
        return ""
    names = {bool: FLAG, float: FLOAT, int: COUNT if type(None) in kinds else WHOLE}
    return next((names[kind] for kind in names if kind in kinds), TEXT)


def columns_of(model: type[BaseModel]) -> dict[str, str]:
    """Return a column for each field of a record that holds a single value."""
    return {
        info.alias or name: found
        for name, info in model.model_fields.items()
        if (found := _type_of(info.annotation))
    }


_RECORD: Final = columns_of(CellRecord)
_CELL: Final = {name: _RECORD[name] for name in ("cell", *AXES)}
_ITEM: Final = {name: _RECORD[name] for name in ("cell", "round")}


def sources_of(stage: str) -> list[tuple[Pass, str]]:
    """Return the (pass, clock) pairs that may hold a stage's figures; the first with samples counts."""
    if stage == OTHER or stage not in SPANS:
        return [(Pass.STAGE_EVENTS, "device_s"), (Pass.STAGE_SYNC, "wall_s")]
    return [(Pass.END_TO_END, "wall_s")]


class Sampled(NamedTuple):
    """A stage's steady samples in seconds, with their source."""

    pass_: Pass
    clock: str  # wall_s or device_s
    rounds: tuple[tuple[float, ...], ...]  # those that have any; never none


class StageRow(NamedTuple):
    """A stage of a cell, from which a row of summary.csv is made."""

    cell: CellRecord  # of the cell's rounds, one
    stage: str
    samples: Sampled
    summary: Summary
    spread: Spread
    share: float | None  # of the probed forward; None of what is no part of it
    cost: StageCost | None  # None: not known
    memory: Row  # as in StageMemory; empty: not known
    speedup: Ratio | None = None  # None: there is nothing to compare it with

    @property
    def frames_per_s(self) -> float | None:
        is_call = self.stage in (FORWARD, TOTAL) and self.summary.median > 0
        return self.cell.batch * self.cell.frames_made / self.summary.median if is_call else None


class Column(NamedTuple):
    """A column of summary.csv that has a value per stage."""

    type: str
    take: Callable[[StageRow], object]


STAGE_COLUMNS: Final[Mapping[str, Column]] = {
    "stage": Column(TEXT, lambda row: row.stage),
    "pass": Column(TEXT, lambda row: row.samples.pass_),
    "clock": Column(TEXT, lambda row: row.samples.clock.removesuffix("_s")),
    "n_rounds": Column(COUNT, lambda row: row.summary.n_rounds),
    "n": Column(COUNT, lambda row: row.summary.n),
    "median_s": Column(FLOAT, lambda row: row.summary.median),
    "q1_s": Column(FLOAT, lambda row: row.summary.q1),
    "q3_s": Column(FLOAT, lambda row: row.summary.q3),
    "low_s": Column(FLOAT, lambda row: row.summary.low),
    "high_s": Column(FLOAT, lambda row: row.summary.high),
    "interval": Column(TEXT, lambda row: row.summary.interval),
    "spread_within": Column(FLOAT, lambda row: row.spread.within),
    "spread_between": Column(FLOAT, lambda row: row.spread.between),
    "share": Column(FLOAT, lambda row: row.share),
    "frames_per_s": Column(FLOAT, lambda row: row.frames_per_s),
    "speedup": Column(FLOAT, lambda row: row.speedup and row.speedup.ratio),
    "speedup_low": Column(FLOAT, lambda row: row.speedup and row.speedup.low),
    "speedup_high": Column(FLOAT, lambda row: row.speedup and row.speedup.high),
    "speedup_interval": Column(TEXT, lambda row: row.speedup and row.speedup.interval),
    "flops": Column(WIDE, lambda row: row.cost and row.cost.flops),
    "bytes": Column(WIDE, lambda row: row.cost and row.cost.bytes),
    "peak_bytes": Column(WIDE, lambda row: row.cost and row.cost.peak_bytes),
    "peak_host_bytes": Column(COUNT, lambda row: row.memory.get("peak_host_bytes")),
    "host_growth_bytes": Column(COUNT, lambda row: row.memory.get("host_growth_bytes")),
    "host_kept_bytes": Column(COUNT, lambda row: row.memory.get("host_kept_bytes")),
    "peak_device_bytes": Column(COUNT, lambda row: row.memory.get("peak_device_bytes")),
    "device_growth_bytes": Column(COUNT, lambda row: row.memory.get("device_growth_bytes")),
    "device_kept_bytes": Column(COUNT, lambda row: row.memory.get("device_kept_bytes")),
}
"""A further column with a value per stage is a line here and one in docs/tables.md, and nothing else."""


def _cells_columns() -> dict[str, str]:
    """Return a column per field of a record, the machine's state before what the round cost."""
    columns: dict[str, str] = {}
    for name, type_ in _RECORD.items():
        if name == "round_wall_s":
            columns |= {state.name: FLOAT for state in fields(MachineState)}
        columns[name] = type_
    del columns["schema_version"]
    return {**columns, "settings": TEXT, "warnings": TEXT}


def _kernels_columns() -> dict[str, str]:
    columns = columns_of(KernelUse)
    return {"stage": columns["stage"], "name": columns["name"], "algorithm": TEXT, **columns}


COLUMNS: Final[Mapping[str, Columns]] = {
    "cells": _cells_columns(),
    "samples": {**_ITEM, **columns_of(Sample)},
    "memory": {**_ITEM, **columns_of(MemoryPoint)},
    "memory_lines": {**_ITEM, **columns_of(MemoryLine)},
    "kernels": {**_ITEM, **_kernels_columns()},
    "telemetry": {**_ITEM, **columns_of(TelemetryReading)},
    "summary": {
        **_CELL,
        **{name: _RECORD[name] for name in ("dtype", "fp32_precision", "memory_format", "threads", "status")},
        **{name: column.type for name, column in STAGE_COLUMNS.items()},
    },
    "perturbation": {
        **_CELL, "pass": TEXT, "n": WHOLE, "ratio": FLOAT, "low": FLOAT, "high": FLOAT, "interval": TEXT,
    },
    "scaling": {
        **{name: _RECORD[name] for name in ("model", "input", "backend")}, "stage": TEXT, "axis": TEXT,
        "exponent": FLOAT, "low": FLOAT, "high": FLOAT, "points": WHOLE,
    },
    "warnings": {"code": TEXT, "cell": TEXT, "round": COUNT, "seen": TEXT, "remedy": TEXT},
    "ceilings": {
        "ceiling": TEXT, "device": TEXT, "threads": COUNT, "threads_read_back": COUNT,
        "precision": TEXT, "memory_format": TEXT, "what": TEXT, "clock": TEXT, "n": COUNT, "best_s": FLOAT,
        "median_s": FLOAT, "flops": WIDE, "moved_bytes": WIDE, "best_flops_per_s": FLOAT,
        "median_flops_per_s": FLOAT, "best_bytes_per_s": FLOAT, "median_bytes_per_s": FLOAT, "reason": TEXT,
    },
    "roofline": {
        **_CELL, "stage": TEXT, "device": TEXT, "threads": COUNT, "precision": TEXT,
        "pass": TEXT, "clock": TEXT, "n_rounds": COUNT, "n": COUNT, "median_s": FLOAT, "low_s": FLOAT,
        "high_s": FLOAT, "interval": TEXT,
        "flops": WIDE, "bytes": WIDE, "bytes_fused": WIDE, "intensity": FLOAT, "intensity_fused": FLOAT,
        "flops_per_s": FLOAT, "flops_per_s_low": FLOAT, "flops_per_s_high": FLOAT,
        "matmul_flops_per_s": FLOAT, "convolution_flops_per_s": FLOAT, "copy_bytes_per_s": FLOAT,
        "limit_flops_per_s": FLOAT, "share": FLOAT, "share_low": FLOAT, "share_high": FLOAT,
        "binds": TEXT, "binds_fused": TEXT,
        "convolution_limit_flops_per_s": FLOAT, "convolution_share": FLOAT, "convolution_share_low": FLOAT,
        "convolution_share_high": FLOAT, "convolution_binds": TEXT,
    },
    "costs": {
        "cell": TEXT, "stage": TEXT, "dtype": TEXT,
        **dict.fromkeys(("flops", "bytes", "fused_bytes", "peak_bytes"), WIDE),
    },
}  # fmt: skip


def frame(rows: Sequence[Mapping[str, object]], columns: Columns) -> pd.DataFrame:
    """Build a table of the rows; what a row lacks is missing."""
    return pd.DataFrame(
        {name: _series([row.get(name) for row in rows], type_) for name, type_ in columns.items()}
    )


def _series(values: Sequence[Any], type_: str) -> pd.Series:
    if type_ == TEXT:
        values = [None if value is None else str(value) for value in values]
    if type_ == WIDE:
        # 64 bits do not hold the FLOPs of cells that no machine can run.
        type_ = "object" if any(value is not None and value >= 2**63 for value in values) else COUNT
    return pd.Series(values, dtype=type_)


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table by column name, None where a value is missing."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def summary_of(row: Row) -> Summary:
    """Return the summary that a row of summary.csv was made of."""
    return Summary(
        n_rounds=row["n_rounds"], n=row["n"], median=row["median_s"], q1=row["q1_s"], q3=row["q3_s"],
        low=row["low_s"], high=row["high_s"], interval=IntervalKind(row["interval"]),
    )  # fmt: skip


def moment(text: str | None) -> datetime | None:
    """Parse a time of a table, in UTC where it names no zone; None for a text that is none."""
    try:
        at = datetime.fromisoformat(text or "")
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # at the ends of the calendar a zone leads out of it
        return None


def cells_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per (cell, round)."""
    rows = [
        {
            **asdict(machine_state(record)),
            **{name: getattr(record, name) for name in _RECORD},
            "settings": LIST_SEPARATOR.join(f"{name}: {value}" for name, value in record.settings.items()),
            "warnings": WARNINGS_SEPARATOR.join(
                warning.replace(WARNINGS_SEPARATOR, " / ") for warning in record.warnings
            ),
        }
        for record in records
    ]
    return frame(rows, COLUMNS["cells"])


def items_table(records: Iterable[CellRecord], name: str) -> pd.DataFrame:
    """Return a row per item of one of the records' lists, the table that has the name of its field.

    Of `samples` cold and warm-up ones are included; `kernels` are operators on a CPU, longest first.
    """
    rows = []
    for record in records:
        for item in getattr(record, name):
            row = {"cell": record.cell, "round": record.round, **item.model_dump(by_alias=True)}
            if isinstance(item, KernelUse) and item.device_s is not None:
                row["algorithm"] = algorithm_of(item.name)
            if isinstance(item, TelemetryReading) and item.throttle_reasons is not None:
                row["throttle_reasons"] = LIST_SEPARATOR.join(item.throttle_reasons) or "none"
            rows.append(row)
    return frame(rows, COLUMNS[name])


def warnings_table(notices: Iterable[Notice]) -> pd.DataFrame:
    """Return a row per caution, with what to do about it."""
    return frame([vars(notice) for notice in notices], COLUMNS["warnings"])


def summary_table(records: Sequence[CellRecord], baseline: Baseline) -> pd.DataFrame:
    """Return a row per (cell, stage), cells in the order in which they first ended.

    The network's stages and `other` come from `stage_events` (clock `device`) where there is one, otherwise
    from `stage_sync`; `forward`, `total` and the transfers come from the end-to-end pass (clock `wall`).
    `share` is a stage's part of the probed forward. A speedup compares with the baseline's same stage of the
    same network, input, batch, frames and size; with a baseline of the form network/backend, with that
    network's. FLOPs and bytes are those of one forward, as traced.
    """
    cells = _rounds_of(records)
    statuses = {cell: worst_status(one.status for one in rounds) for cell, rounds in cells.items()}
    staged = {cell: _stage_rows(rounds) for cell, rounds in cells.items()}
    baselines = {
        _position(record, record.model): record.cell
        for record in records
        if baseline.matches(record.model, record.backend)
    }
    rows = []
    for cell, rounds in cells.items():
        threads = next((record.threads for record in rounds if record.threads is not None), None)
        own = {**vars(rounds[0]), "threads": threads, "status": statuses[cell]}
        base = baselines.get(_position(rounds[0], baseline.model_for(rounds[0].model)), "")
        # A cell or a baseline that failed its output check is nothing to compare.
        is_compared = statuses.get(base) is statuses[cell] is Status.OK
        for stage, row in staged[cell].items():
            has_speedup = is_compared and stage in staged[base] and row.summary.median > 0
            speedup = ratio(staged[base][stage].summary, row.summary) if has_speedup else None
            whole = row._replace(speedup=speedup)
            rows.append(own | {name: column.take(whole) for name, column in STAGE_COLUMNS.items()})
        if not staged[cell]:
            rows.append(own)
    return frame(rows, COLUMNS["summary"])


def _stage_rows(rounds: Sequence[CellRecord]) -> dict[str, StageRow]:
    """Return the stages of a cell that were timed, in the order of the table."""
    measured = [record for record in rounds if record.status in MEASURED]
    stages = tuple(dict.fromkeys(stage for record in rounds for stage in record.stages))
    found = {
        stage: (one, summarise(one.rounds))
        for stage in (*stages, *SPANS)
        if stage != FORWARD_UNPROBED and (one := _sampled(measured, stage)) is not None
    }
    memory = _memory_of(measured)
    costs = next((record.costs for record in rounds if record.costs), {})
    if costs:
        costs = {**costs, FORWARD: _cost_of_all(costs.values())}
    whole = sum(found[stage][1].median for stage in (*stages, OTHER) if stage in found)
    return {
        stage: StageRow(
            cell=rounds[0],
            stage=stage,
            samples=samples,
            summary=summary,
            spread=spread(samples.rounds),
            share=summary.median / whole if stage in (*stages, OTHER) and whole > 0 else None,
            cost=costs.get(stage),
            memory=memory.get(stage, {}),
        )
        for stage, (samples, summary) in found.items()
    }


def _sampled(rounds: Sequence[CellRecord], stage: str) -> Sampled | None:
    """Return a stage's steady samples from the first source that has any; None where none has."""
    for pass_, clock in sources_of(stage):
        of_each = _seconds(rounds, pass_, stage, clock)
        if any(of_each):
            return Sampled(pass_, clock, tuple(filter(None, of_each)))
    return None


def _seconds(
    rounds: Sequence[CellRecord], pass_: Pass, stage: str, clock: str = "wall_s"
) -> list[tuple[float, ...]]:
    """Return each round's steady samples by a clock, in seconds."""
    return [
        tuple(value for item in one.steady(pass_, stage) if (value := getattr(item, clock)) is not None)
        for one in rounds
    ]


def _rounds_of(records: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    """Return each cell's records, cells in the order in which they first ended."""
    rounds: dict[str, list[CellRecord]] = {}
    for record in records:
        rounds.setdefault(record.cell, []).append(record)
    return rounds


def _memory_of(rounds: Iterable[CellRecord]) -> dict[str, Row]:
    """Return the memory of each stage, and of the whole call, the greatest over rounds."""
    found: dict[str, Row] = {}
    for record in rounds:
        stages = {stage: vars(one) for stage, one in record.stage_memory.items()}
        whole = {name: getattr(record, name, None) for name in StageMemory.model_fields}
        for kept in ("host_kept_bytes", "device_kept_bytes") if stages else ():
            values = [one[kept] for one in stages.values()]
            whole[kept] = None if None in values else sum(values)
        for stage, one in {**stages, FORWARD: whole}.items():
            known = found.setdefault(stage, {})
            known |= {
                name: max(value, known.get(name, value)) for name, value in one.items() if value is not None
            }
    return found


def _cost_of_all(costs: Iterable[StageCost]) -> StageCost:
    """Return the cost of a whole forward."""
    costs = list(costs)
    return StageCost(
        flops=sum(cost.flops for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
        fused_bytes=sum(cost.fused_bytes for cost in costs),
        peak_bytes=max(cost.peak_bytes for cost in costs),
    )


def costs_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return what one forward takes, as traced: a row per (cell, stage), in the stages' order."""
    of_cell = {record.cell: record for record in records if record.costs}
    rows = [
        {"cell": cell, "stage": stage, **record.costs[stage].model_dump()}
        for cell, record in of_cell.items()
        for stage in dict.fromkeys((*record.stages, *record.costs))
        if stage in record.costs
    ]
    return frame(rows, COLUMNS["costs"])


def perturbation_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """Return what the stage probes cost: the median of probe on over probe off per (cell, stage pass).

    The two calls of a pair follow each other; blocks of calls run one after another differ by more than the
    probes cost.
    """
    rows = []
    for rounds in _rounds_of(record for record in records if record.status in MEASURED).values():
        for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS):
            on = _seconds(rounds, pass_, FORWARD)
            off = _seconds(rounds, pass_, FORWARD_UNPROBED)
            if any(on) and any(off):  # without plain calls there is nothing to compare with
                found = paired_ratio(on, off)
                rows.append({**vars(rounds[0]), **vars(found), "pass": pass_, "ratio": found.median})
    return frame(rows, COLUMNS["perturbation"])


def scaling_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return how the time of each stage and of the forward grows: a row per axis of the grid that varies.

    Of cells that ended `ok`, less those at which a stage computes nothing, as alignment of a single frame.
    There is no row where axes vary together, so that none can be told from another.
    """
    timed = summary[(summary["status"] == Status.OK) & (summary["median_s"] > 0)]
    timed = timed[(timed["share"].notna() & (timed["stage"] != OTHER)) | (timed["stage"] == FORWARD)]
    timed = timed.assign(pixels=timed["height"] * timed["width"])
    by = ["model", "input", "backend", "stage"]
    rows = []
    for key, own in timed.groupby(by, sort=False):
        works = own[~(own["flops"] == 0)]
        points = [
            Point(
                at=tuple(float(row[axis]) for axis in SCALING_AXES),
                value=row["median_s"], low=row["low_s"], high=row["high_s"],
            )
            for row in rows_of(works if len(works) else own)
        ]  # fmt: skip
        rows += [
            {**dict(zip(by, key, strict=True)), "axis": axis, "points": len(points), **vars(found)}
            for axis, found in zip(SCALING_AXES, exponents(points), strict=True)
            if found is not None
        ]
    return frame(rows, COLUMNS["scaling"])


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All tables of a run, as they are written to its CSVs."""

    cells: pd.DataFrame
    samples: pd.DataFrame
    memory: pd.DataFrame
    memory_lines: pd.DataFrame
    kernels: pd.DataFrame
    telemetry: pd.DataFrame
    summary: pd.DataFrame
    scaling: pd.DataFrame
    perturbation: pd.DataFrame
    warnings: pd.DataFrame
    costs: pd.DataFrame  # not written: summary.csv has them
    # Of the machine as much as of the run; bench.results.roofline fills them.
    ceilings: pd.DataFrame
    roofline: pd.DataFrame


def tables_of(
    records: Sequence[CellRecord], baseline: Baseline, environment: Mapping[str, Any] | None = None
) -> Tables:
    """Derive every table. Only the warnings depend on `environment`, the content of environment.json."""
    summary = summary_table(records, baseline)
    return Tables(
        cells=cells_table(records),
        samples=items_table(records, "samples"),
        memory=items_table(records, "memory"),
        memory_lines=items_table(records, "memory_lines"),
        kernels=items_table(records, "kernels"),
        telemetry=items_table(records, "telemetry"),
        summary=summary,
        scaling=scaling_table(summary),
        perturbation=perturbation_table(records),
        warnings=warnings_table(cautions(records, environment or {})),
        costs=costs_table(records),
        ceilings=frame([], COLUMNS["ceilings"]),
        roofline=frame([], COLUMNS["roofline"]),
    )


def _position(record: CellRecord, model: str) -> tuple[str, str, int, int, int, int]:
    """Return the position in the grid of a cell's backends, for this network."""
    return model, record.input, record.batch, record.frames, record.height, record.width
