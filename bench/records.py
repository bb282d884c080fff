"""The schema of what a run leaves behind, and its journal.

`journal.jsonl` is the source of a run: one CellRecord per line, one line per (cell, round), on disk before
the next round starts. The CSV tables are derived from it (bench.results.analysis). Seconds and bytes
throughout; what was not measured is None here and empty in a table, never 0.
"""

import fcntl
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.grid.costs import StageCost
from bench.stats.stopping import Stop
from vsr_model.errors import BadInput

SCHEMA_VERSION: Final = 2
"""Raised whenever a field or column changes its meaning or goes. History: 1, the first; 2, networks name
their own stages, the network is an axis, and costs are traced."""

JOURNAL_NAME: Final = "journal.jsonl"


class Status(StrEnum):
    """How a round ended; every planned round ends as exactly one of these."""

    OK = "ok"
    SKIPPED = "skipped"  # this machine cannot run it; the reason says what is missing
    INACCURATE = "inaccurate"  # it ran, and its output is too far from the CPU float32 result
    TIMEOUT = "timeout"
    OOM = "oom"  # out of memory, on evidence that the reason names
    ERROR = "error"


class OutputCheck(StrEnum):
    """The outcome of the comparison with the CPU float32 result of the same weights and clip."""

    REFERENCE = "reference"  # this output is that result
    COMPARED = "compared"
    NOT_DONE = "not_done"  # the reference could not be made; a warning says why


SEVERITY: Final = {status: rank for rank, status in enumerate(Status)}
"""A cell's status is its worst round's: the higher rank wins."""


class Pass(StrEnum):
    """The pass over the cell that a sample comes from. Passes never share a call."""

    END_TO_END = "end_to_end"  # nothing inside the network is instrumented
    STAGE_SYNC = "stage_sync"  # the device is synchronised at every stage boundary
    STAGE_EVENTS = "stage_events"  # CUDA events at the boundaries, one synchronisation at the end


class Phase(StrEnum):
    """The phase of its pass that a sample belongs to."""

    COLD = "cold"  # the first call in the process: libraries load, algorithms are chosen
    TUNING = "tuning"  # calls of warm-up that took much longer than the later ones: autotuning, compilation
    WARMUP = "warmup"
    STEADY = "steady"


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="strings", allow_inf_nan=True
    )


class WarmupEnd(StrEnum):
    """The reason why the steady calls began where they did."""

    COUNT = "count"  # a number of calls was asked for
    STEADY = "steady"
    GAVE_UP = "gave_up"  # calls still differed at the limit


class Sample(_Frozen):
    """One timed span of one repetition; a stage's many intervals are summed over the frames."""

    pass_: Pass = Field(alias="pass")
    phase: Phase
    repetition: int
    stage: str
    start_s: float  # when its first interval began, since the round began
    wall_s: float  # synchronised on both sides where the pass synchronises; on events, host time between
    device_s: float | None = None  # between CUDA events; None on a CPU


class MemoryPoint(_Frozen):
    """Memory at one moment of the memory pass."""

    elapsed_s: float
    host_bytes: int  # resident set of the worker, its children left out
    device_bytes: int | None = None  # allocated by the process on the device


class TelemetryReading(_Frozen):
    """A reading of the machine between timed calls; None is not reported (bench.machine.telemetry)."""

    elapsed_s: float  # since the round began, as the samples' start_s

    # Counters, of which only differences mean something.
    busy_s: float | None = None  # time of the cores that the worker may use, idle and stolen time left out
    steal_s: float | None = None  # time that the hypervisor gave to others, of the same cores
    own_cpu_s: float | None = None  # CPU time of the worker, all its threads
    throttled_s: float | None = None  # that a CPU quota held threads back, all cores added up
    throttled_periods: int | None = None  # of the quota's periods, those that ran into it
    involuntary_switches: int | None = None  # of the worker's threads
    minor_faults: int | None = None  # of the worker
    major_faults: int | None = None  # of the worker: pages that came from a disk
    swap_pages: int | None = None  # in and out, the whole machine
    cpu_throttle_events: int | None = None  # the processor held its clock back for heat
    energy_j: float | None = None  # the GPU's own counter
    power_capped_s: float | None = None  # that the GPU held its clocks back for power
    heat_capped_s: float | None = None  # that the GPU held its clocks back for heat

    # Levels.
    cpu_mhz: float | None = None  # mean of the cores that the worker may use
    load_1m: float | None = None  # runnable tasks, averaged over a minute
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] | None = None  # why the clocks are not higher (docs/measurement.md)
    other_device_processes: int | None = None  # beside the run's own, with a context on the GPU
    other_device_bytes: int | None = None  # in use on the GPU by them


class OtherProcess(_Frozen):
    """A process beside the run that used what was measured."""

    pid: int
    name: str  # of the command; neither its path nor its arguments
    cores: float | None = None  # how many it kept busy
    device_bytes: int | None = None  # what it held on the GPU


class MemoryLine(_Frozen):
    """The host memory that one source line of the network's forward added."""

    line: int
    source: str
    occurrences: int
    increment_bytes: int
    host_bytes: int


class KernelUse(_Frozen):
    """A stage's calls of a kernel or copy on a device, or of an operator on a CPU, under the profiler."""

    stage: str | None = None  # None where it lies in none, or that is not known
    name: str
    calls: int
    device_s: float | None = None  # of all its calls; None on a CPU
    cpu_s: float | None = None  # without the operators that it called; None for what ran on a device

    @property
    def seconds(self) -> float:
        """Its time, wherever it ran."""
        return self.device_s or self.cpu_s or 0.0


class CellRecord(_Frozen):
    """The record of one round of one cell: a line of the journal."""

    schema_version: int = Field(SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    cell: str
    round: int
    model: str
    input: str
    batch: int
    frames: int
    height: int
    width: int
    backend: str
    dtype: str  # of features and their convolutions
    fp32_precision: str  # what float32 is computed in
    memory_format: str
    status: Status
    reason: str = ""
    started_at: str = ""  # UTC, ISO 8601

    first_in_process: bool | None = None  # whether no cell of the run was measured in this process before

    # Cold figures, each timed once.
    import_torch_s: float | None = None  # in the server process that the worker was forked from
    context_s: float | None = None  # creating the CUDA context; None on a CPU
    model_to_device_s: float | None = None
    first_forward_s: float | None = None
    compile_s: float | None = None  # of the calls, what torch.compile took; None without `compile: true`

    # How warm-up and the passes ended (bench.stats.steady, bench.stats.stopping).
    warmup_end: WarmupEnd | None = None
    tuning_calls: int | None = (
        None  # of the first calls, the cold one counted, those far above the steady level
    )
    stop_end_to_end: Stop | None = None
    stop_stage_sync: Stop | None = None
    stop_stage_events: Stop | None = None

    # Memory pass.
    host_before_bytes: int | None = None
    peak_host_bytes: int | None = None
    host_growth_bytes: int | None = None  # peak less the level before the call
    peak_device_bytes: int | None = None
    peak_device_reserved_bytes: int | None = None
    cold_peak_device_bytes: int | None = None  # up to the end of warm-up, autotuning's workspaces included
    cold_peak_device_reserved_bytes: int | None = None

    # Profiler pass.
    profile_wall_s: float | None = None  # the call under the profiler, which slows it
    profile_busy_s: float | None = None  # of that: the device at work; None on a CPU
    launch_bound_share: float | None = None  # of a plain call's time: the device without work; None on a CPU
    profile_trace: str | None = None  # the file in the run's folder that holds the trace

    parameters: int | None = None
    scale: int | None = None  # of the network: its output's sides over its input's
    stages: tuple[str, ...] = ()  # of the network, in its order
    costs: dict[str, StageCost] = Field(default_factory=dict)  # of one forward, by stage; empty: not known

    output_check: OutputCheck | None = None  # None: the round did not come that far
    output_max_abs_error: float | None = None
    output_psnr_db: float | None = None  # infinite for an equal output

    threads: int | None = None  # as read back in the worker, or in the first of a cell's processes
    rank_forward_s: tuple[float, ...] = ()  # each process's share, where clips are divided: median, steady
    affinity_cores: int | None = None  # logical cores that the worker may run on
    page_faults_per_forward: float | None = None  # median over the steady samples, minor faults

    # What the round cost the user, as the parent saw it, and where it went.
    round_wall_s: float | None = None  # from asking for a worker to its record being there
    worker_start_s: float | None = None  # of that: from asking to the worker running
    setup_s: float | None = None  # of that: building the model and the clip
    measured_s: float | None = None  # of that: inside timed or profiled calls of the workload
    reference_s: float | None = None  # of that: the CPU float32 result, and a memory plan's checked call
    harness_s: float | None = None  # the rest of the round's wall time, set-up included: what the tool costs

    warnings: tuple[str, ...] = ()
    settings: dict[str, str] = Field(default_factory=dict)  # read back after they were applied
    samples: tuple[Sample, ...] = ()
    memory: tuple[MemoryPoint, ...] = ()
    memory_lines: tuple[MemoryLine, ...] = ()
    kernels: tuple[KernelUse, ...] = ()  # of the profiler pass
    telemetry: tuple[TelemetryReading, ...] = ()  # between the calls, never during one
    telemetry_notes: tuple[str, ...] = ()  # what could not be read, and why
    others: tuple[OtherProcess, ...] = ()  # named only where the counters say that there were some


class Journal:
    """The append-only file of a run's records.

    A record is on disk (fsync) when `append` returns, so a kill at any later moment cannot lose it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file to append. Raises BlockingIOError while another process has it."""
        # Without a buffer: what could not be written must not be tried again when the file closes.
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise
        # What a kill in the middle of a write left is no record, and must not begin the next one's line.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def append(self, record: CellRecord) -> None:
        left = record.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        while left:  # a disk that is nearly full takes a part, and refuses the rest
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path) -> list[CellRecord]:
    """Read the records of a journal, in the order in which they ended.

    A last line without its newline is what a kill in the middle of a write leaves; it is passed over.
    Raises BadInput for any other line that is no record, naming it.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except MemoryError:
        raise BadInput(f"{path}: {path.stat().st_size:,} bytes, more than there is memory for here") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read as a journal ({error.strerror})") from error
    records = [_parse(path, number, line) for number, line in enumerate(lines[:-1], start=1)]
    seen: dict[tuple[str, int], int] = {}
    for number, record in enumerate(records, start=1):
        first = seen.setdefault((record.cell, record.round), number)
        if first != number:
            raise BadInput(
                f"{path}:{number}: round {record.round} of {record.cell} stands in line {first} too"
            )
    return records


def _parse(path: Path, number: int, line: bytes) -> CellRecord:
    try:
        return CellRecord.model_validate_json(line)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # Another version's fields are unknown or missing here: of all errors, its number explains the others.
        first = next((item for item in errors if item["loc"] == ("schema_version",)), errors[0])
        if first["loc"] == ("schema_version",):
            raise BadInput(
                f"{path}:{number}: schema version {first['input']!r}; this program reads {SCHEMA_VERSION}"
            ) from error
        field = ".".join(map(str, first["loc"])) or "the line"
        raise BadInput(f"{path}:{number}: not a record of this journal ({field}: {first['msg']})") from error


def worst_status(records: Iterable[CellRecord]) -> Status:
    """Return the status of a cell, from the records of its rounds."""
    return max((record.status for record in records), key=SEVERITY.__getitem__)
