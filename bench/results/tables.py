"""Records to tidy tables, one function each. No torch, no plotting, no files.

The columns and their units are listed in docs/tables.md, which a test holds against these tuples.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, get_args

import pandas as pd

from bench.cautions.caution import Notice
from bench.cautions.cautions import cautions
from bench.cautions.machine_state import MachineState, machine_state
from bench.grid.baseline import Baseline
from bench.grid.costs import StageCost
from bench.grid.spans import FORWARD, FORWARD_UNPROBED, OTHER, SPANS, TOTAL
from bench.records import CellRecord, Pass, Status, TelemetryReading, worst_status
from bench.results.convolution_kernels import algorithm_of
from bench.results.samples import sampled, stages_of, steady_samples
from bench.stats.intervals import Spread, Summary, paired_ratio, ratio, spread, summarise, weaker

AXES: Final = ("model", "input", "batch", "frames", "height", "width", "backend")

STATE_COLUMNS: Final = tuple(field.name for field in fields(MachineState))

CELLS_COLUMNS: Final = (
    "cell", *AXES, "round", "status", "reason", "started_at",
    "first_in_process",
    "import_torch_s", "context_s", "model_to_device_s", "first_forward_s", "compile_s",
    "host_before_bytes", "peak_host_bytes", "host_growth_bytes",
    "peak_device_bytes", "peak_device_reserved_bytes", "cold_peak_device_bytes",
    "cold_peak_device_reserved_bytes",
    "warmup_end", "tuning_calls", "stop_end_to_end", "stop_stage_sync", "stop_stage_events",
    "profile_wall_s", "profile_busy_s", "launch_bound_share", "profile_trace",
    "dtype", "fp32_precision", "memory_format", "parameters", "scale",
    "output_check", "output_max_abs_error", "output_psnr_db", "threads", "affinity_cores",
    "page_faults_per_forward", *STATE_COLUMNS,
    "round_wall_s", "worker_start_s", "setup_s", "measured_s", "reference_s", "harness_s", "warnings",
)  # fmt: skip
SAMPLES_COLUMNS: Final = (
    "cell", "round", "pass", "phase", "repetition", "stage", "start_s", "wall_s", "device_s",
)  # fmt: skip
MEMORY_COLUMNS: Final = ("cell", "round", "elapsed_s", "host_bytes", "device_bytes")
MEMORY_LINES_COLUMNS: Final = (
    "cell", "round", "line", "occurrences", "increment_bytes", "host_bytes", "source",
)  # fmt: skip
KERNELS_COLUMNS: Final = ("cell", "round", "stage", "name", "algorithm", "calls", "device_s", "cpu_s")
SUMMARY_COLUMNS: Final = (
    "cell", *AXES, "dtype", "fp32_precision", "memory_format", "threads",
    "status", "stage", "pass", "clock", "n_rounds", "n", "median_s", "q1_s", "q3_s",
    "low_s", "high_s", "interval", "spread_within", "spread_between",
    "share", "frames_per_s", "speedup", "speedup_low", "speedup_high", "speedup_interval",
    "flops", "bytes", "peak_bytes",
)  # fmt: skip
COSTS_COLUMNS: Final = ("cell", "stage", "dtype", "flops", "bytes", "fused_bytes", "peak_bytes")
TELEMETRY_COLUMNS: Final = ("cell", "round", *TelemetryReading.model_fields)
WARNINGS_COLUMNS: Final = ("code", "cell", "round", "seen", "remedy")
PERTURBATION_COLUMNS: Final = ("cell", *AXES, "pass", "n", "ratio", "low", "high", "interval")

WARNINGS_SEPARATOR: Final = " | "
"""Between the warnings of a round, in their column."""

LIST_SEPARATOR: Final = "; "
"""Between the items of a list in one column."""

_FIGURES: Final = (
    "_s", "_error", "_db", "_forward", "share", "speedup", "ratio", "low", "high", "_within", "_between",
    "_mhz", "_w", "_c", "_j", "_1m", "others_cores",
)  # fmt: skip
"""Endings of the names of columns that hold floats."""

_FLAGS: Final = ("first_in_process",)
"""Columns that hold true, false or nothing."""

MEASURED: Final = (Status.OK, Status.INACCURATE)
"""The statuses whose samples are whole; an inaccurate cell keeps its times and gets no speedup."""


def cells_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per (cell, round)."""
    rows = [{**_plain(record), "warnings": WARNINGS_SEPARATOR.join(record.warnings)} for record in records]
    table = _table(rows, CELLS_COLUMNS)
    integers = [name for name in CELLS_COLUMNS if name.endswith("_bytes")]
    for name in (*integers, "parameters", "scale", "threads", "affinity_cores", "tuning_calls"):
        values = [row[name] for row in rows]
        table[name] = pd.Series(values, dtype=object if _are_wide(values) else "Int64")
    return table


def samples_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per repetition and stage, cold and warm-up samples included."""
    rows = [
        {"cell": record.cell, "round": record.round, **sample.model_dump(by_alias=True, mode="json")}
        for record in records
        for sample in record.samples
    ]
    return _table(rows, SAMPLES_COLUMNS)


def memory_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per moment of the memory pass."""
    rows = [
        {"cell": record.cell, "round": record.round, **point.model_dump()}
        for record in records
        for point in record.memory
    ]
    return _table(rows, MEMORY_COLUMNS).astype({"device_bytes": "Int64"})


def memory_lines_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per source line of the network's forward, where line-by-line memory was asked for."""
    rows = [
        {"cell": record.cell, "round": record.round, **line.model_dump()}
        for record in records
        for line in record.memory_lines
    ]
    return _table(rows, MEMORY_LINES_COLUMNS)


def kernels_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per stage and kernel (on a CPU, operator) that the profiler recorded, longest first."""
    rows = [
        {
            "cell": record.cell,
            "round": record.round,
            **use.model_dump(),
            "algorithm": None if use.device_s is None else algorithm_of(use.name),
        }
        for record in records
        for use in record.kernels
    ]
    return _table(rows, KERNELS_COLUMNS)


def telemetry_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return a row per reading of the machine between calls."""
    rows = [
        {
            "cell": record.cell,
            "round": record.round,
            **reading.model_dump(),
            "throttle_reasons": None
            if reading.throttle_reasons is None
            else LIST_SEPARATOR.join(reading.throttle_reasons) or "none",
        }
        for record in records
        for reading in record.telemetry
    ]
    integers = [name for name, info in TelemetryReading.model_fields.items() if _is_integer(info.annotation)]
    return _table(rows, TELEMETRY_COLUMNS).astype(dict.fromkeys(integers, "Int64"))


def warnings_table(notices: Iterable[Notice]) -> pd.DataFrame:
    """Return a row per caution, with what to do about it."""
    rows = [{name: getattr(notice, name) for name in WARNINGS_COLUMNS} for notice in notices]
    return _table(rows, WARNINGS_COLUMNS).astype({"round": "Int64"})


def summary_table(records: Sequence[CellRecord], baseline: Baseline) -> pd.DataFrame:
    """Return a row per (cell, stage), cells in the order in which they first ended.

    The network's stages and `other` come from `stage_events` (clock `device`) where there is one, otherwise
    from `stage_sync`; `forward`, `total` and the transfers come from the end-to-end pass (clock `wall`).
    `share` is a stage's part of the probed forward. A speedup compares with the baseline's same stage of the
    same network, input, batch, frames and size; with a baseline of the form network/backend, with that
    network's. FLOPs and bytes are those of one forward, as traced.
    """
    summaries = {
        cell: {
            stage: _summary_of(stage, rounds)
            for stage in (*stages_of(rounds), *SPANS)
            if stage != FORWARD_UNPROBED
        }
        for cell, rounds in _measured_rounds(records).items()
    }
    place = {
        _position(record, record.model): record.cell
        for record in records
        if baseline.matches(record.model, record.backend)
    }
    statuses = {cell: worst_status(rounds) for cell, rounds in _rounds_of(records).items()}
    rows = []
    for cell, rounds in _rounds_of(records).items():
        first = rounds[0]
        status = statuses[cell]
        of_cell = summaries.get(cell, {})
        # A baseline that failed its output check is nothing to compare with.
        base_cell = place.get(_position(first, baseline.model_for(first.model)), "")
        of_base = summaries.get(base_cell, {}) if statuses.get(base_cell) is Status.OK else {}
        if not any(of_cell.values()):
            rows.append({**_axes(first), **_settings(rounds), "status": status})
            continue
        staged = [found for stage in (*stages_of(rounds), OTHER) if (found := of_cell[stage])]
        costs = _with_forward(next((record.costs for record in rounds if record.costs), {}))
        whole = sum(found.summary.median for found in staged)
        for stage, found in of_cell.items():
            if found is None:
                continue
            summary = found.summary
            row = {
                **_axes(first), **_settings(rounds), "status": status,
                "stage": stage, "pass": found.pass_, "clock": found.clock,
                "n_rounds": summary.n_rounds, "n": summary.n, "median_s": summary.median,
                "q1_s": summary.q1, "q3_s": summary.q3, "low_s": summary.low, "high_s": summary.high,
                "interval": summary.interval,
                "spread_within": found.spread.within, "spread_between": found.spread.between,
            }  # fmt: skip
            if (cost := costs.get(stage)) is not None:
                row |= {"flops": cost.flops, "bytes": cost.bytes, "peak_bytes": cost.peak_bytes}
            if found in staged and whole > 0:
                row["share"] = summary.median / whole
            if stage in (FORWARD, TOTAL) and summary.median > 0:
                row["frames_per_s"] = first.batch * first.frames / summary.median
            base = of_base.get(stage)
            if base is not None and status is Status.OK and summary.median > 0:
                speedup = ratio(base.summary, summary)
                row |= {
                    "speedup": speedup.ratio, "speedup_low": speedup.low, "speedup_high": speedup.high,
                    "speedup_interval": weaker(base.summary.interval, summary.interval),
                }  # fmt: skip
            rows.append(row)
    table = _table(rows, SUMMARY_COLUMNS)
    for name in ("n_rounds", "n", "threads", "flops", "bytes", "peak_bytes"):
        values = [row.get(name) for row in rows]
        table[name] = pd.Series(values, dtype=object if _are_wide(values) else "Int64")
    return table


def costs_table(records: Iterable[CellRecord]) -> pd.DataFrame:
    """Return what one forward takes, as traced: a row per (cell, stage), in the stages' order."""
    of_cell = {record.cell: record for record in records if record.costs}
    rows: list[dict[str, object]] = [
        {"cell": cell, "stage": stage, **record.costs[stage].model_dump()}
        for cell, record in of_cell.items()
        for stage in dict.fromkeys((*record.stages, *record.costs))
        if stage in record.costs
    ]
    return pd.DataFrame(rows, columns=list(COSTS_COLUMNS)).astype(object)


def perturbation_table(records: Sequence[CellRecord]) -> pd.DataFrame:
    """Return what the stage probes cost: the median of probe on over probe off per (cell, stage pass).

    The two calls of a pair follow each other; blocks of calls run one after another differ by more than the
    probes cost.
    """
    rows = []
    for cell, rounds in _measured_rounds(records).items():
        for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS):
            on = steady_samples(rounds, pass_, FORWARD, "wall_s")
            off = steady_samples(rounds, pass_, FORWARD_UNPROBED, "wall_s")
            if not any(on) or not any(off):  # without plain calls there is nothing to compare with
                continue
            found = paired_ratio(on, off)
            rows.append(
                {
                    **_axes(rounds[0]),
                    "cell": cell,
                    "pass": pass_,
                    "n": found.n,
                    "ratio": found.median,
                    "low": found.low,
                    "high": found.high,
                    "interval": found.interval,
                }
            )
    return _table(rows, PERTURBATION_COLUMNS)


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
    perturbation: pd.DataFrame
    warnings: pd.DataFrame
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)  # not written: summary.csv has them
    # Of the machine as much as of the run (bench.results.roofline); without columns where there are none.
    ceilings: pd.DataFrame = field(default_factory=pd.DataFrame)
    roofline: pd.DataFrame = field(default_factory=pd.DataFrame)


def tables_of(
    records: Sequence[CellRecord], baseline: Baseline, environment: Mapping[str, Any] | None = None
) -> Tables:
    """Derive every table. Only the warnings depend on `environment`, the content of environment.json."""
    return Tables(
        cells=cells_table(records),
        samples=samples_table(records),
        memory=memory_table(records),
        memory_lines=memory_lines_table(records),
        kernels=kernels_table(records),
        telemetry=telemetry_table(records),
        summary=summary_table(records, baseline),
        perturbation=perturbation_table(records),
        warnings=warnings_table(cautions(records, environment or {})),
        costs=costs_table(records),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A stage's summary and spread, with the pass and the clock that they come from."""

    summary: Summary
    spread: Spread
    pass_: Pass
    clock: str


def _summary_of(stage: str, rounds: Sequence[CellRecord]) -> _Found | None:
    found = sampled(rounds, stage)
    if found is None:
        return None
    return _Found(
        summary=summarise(found.rounds),
        spread=spread(found.rounds),
        pass_=found.pass_,
        clock=found.clock.removesuffix("_s"),
    )


def _rounds_of(records: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    rounds: dict[str, list[CellRecord]] = defaultdict(list)
    for record in records:
        rounds[record.cell].append(record)
    return rounds


def _measured_rounds(records: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    return _rounds_of(record for record in records if record.status in MEASURED)


def _position(record: CellRecord, model: str) -> tuple[str, str, int, int, int, int]:
    """Return the position in the grid of a cell's backends, for this network."""
    return model, record.input, record.batch, record.frames, record.height, record.width


def _settings(rounds: Sequence[CellRecord]) -> dict[str, object]:
    """Return the settings that distinguish a backend's row without its name."""
    first = rounds[0]
    threads = next((record.threads for record in rounds if record.threads is not None), None)
    return {
        "dtype": first.dtype, "fp32_precision": first.fp32_precision,
        "memory_format": first.memory_format, "threads": threads,
    }  # fmt: skip


def _with_forward(costs: Mapping[str, StageCost]) -> dict[str, StageCost]:
    """Return the costs by stage, and of the whole forward."""
    if not costs:
        return {}
    whole = StageCost(
        flops=sum(cost.flops for cost in costs.values()),
        bytes=sum(cost.bytes for cost in costs.values()),
        fused_bytes=sum(cost.fused_bytes for cost in costs.values()),
        peak_bytes=max(cost.peak_bytes for cost in costs.values()),
    )
    return {**costs, FORWARD: whole}


def _axes(record: CellRecord) -> dict[str, object]:
    return {"cell": record.cell, **{name: getattr(record, name) for name in AXES}}


def _are_wide(values: Iterable[object]) -> bool:
    """Return whether a whole number exceeds 64 bits, as do the FLOPs of cells that no machine can run."""
    return any(isinstance(value, int) and value >= 2**63 for value in values)


def _is_integer(annotation: Any) -> bool:
    """Return whether a field may be an integer, or None."""
    return int in {getattr(kind, "__origin__", kind) for kind in get_args(annotation)}


def _plain(record: CellRecord) -> dict[str, object]:
    state = asdict(machine_state(record))
    return {name: state[name] if name in state else getattr(record, name) for name in CELLS_COLUMNS}


def _table(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """Build a table of the rows; a figure's column is of floats even where every figure is missing."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    types = {name: "float64" for name in columns if name.endswith(_FIGURES)}
    return table.astype(types | {name: "boolean" for name in columns if name in _FLAGS})
