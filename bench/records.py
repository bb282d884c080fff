"""The schema of what a run leaves behind, and its journals.

`journal.jsonl` is the source of a run: one CellRecord per line, one line per (cell, round), on disk before
the next round starts. The CSV tables are derived from it (bench.results.tables). Seconds and bytes
throughout; what was not measured is None here and empty in a table, never 0. `ceilings.jsonl` holds what the
ceilings of the machine were found to be, one a line.
"""

import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.grid.ceilings import Ceiling
from bench.grid.costs import StageCost
from bench.grid.spans import FORWARD, FORWARD_UNPROBED, OTHER, SPANS, TOTAL
from bench.stats.stopping import Stop
from vsr_model import file_systems
from vsr_model.errors import BadInput

SCHEMA_VERSION: Final = 2
"""Raised whenever a field or column changes its meaning or goes. History: 1, the first; 2, networks name
their own stages, the network is an axis, and costs are traced."""

JOURNAL_NAME: Final = "journal.jsonl"
CEILINGS_NAME: Final = "ceilings.jsonl"


_LIMIT: Final = 2**63
"""From here on a number fits into no column of integers."""

Count: TypeAlias = Annotated[int, Field(ge=0, lt=_LIMIT)]
Whole: TypeAlias = Annotated[int, Field(gt=-_LIMIT, lt=_LIMIT)]  # a difference
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]  # a difference, or degrees Celsius


Line = TypeVar("Line", "CellRecord", Ceiling)


class Status(StrEnum):
    """How a round ended; every planned round ends as exactly one of these."""

    OK = "ok"
    SKIPPED = "skipped"  # this machine cannot run it; the reason says what is missing
    INACCURATE = "inaccurate"  # it ran, and its output is too far from the CPU float32 result, or not finite
    TIMEOUT = "timeout"
    OOM = "oom"  # out of memory, on evidence that the reason names
    ERROR = "error"


class OutputCheck(StrEnum):
    """The outcome of the comparison with the CPU float32 result of the same weights and clip."""

    REFERENCE = "reference"  # this output is that result
    COMPARED = "compared"
    NOT_DONE = "not_done"  # the reference could not be made; a warning says why


_SEVERITY: Final = {status: rank for rank, status in enumerate(Status)} | {Status.SKIPPED: -1}
"""A cell's status is its worst round's: the higher rank wins. Of a cell that was measured, rounds for which
there was no time or no memory are only fewer."""


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
    repetition: Count
    stage: str
    start_s: Amount  # when its first interval began, since the round began
    wall_s: Finite  # synchronised on both sides where the pass synchronises; on events, host time between
    device_s: Finite | None = None  # between CUDA events; None on a CPU


class MemoryPoint(_Frozen):
    """Memory at one moment of the memory pass."""

    elapsed_s: Amount
    host_bytes: Count  # resident set of the worker, its children left out
    device_bytes: Count | None = None  # allocated by the process on the device


class TelemetryReading(_Frozen):
    """A reading of the machine between timed calls; None is not reported (bench.machine.telemetry)."""

    elapsed_s: Amount  # since the round began, as the samples' start_s

    # Counters, of which only differences mean something.
    busy_s: Amount | None = None  # time of the cores that the worker may use, idle and stolen time left out
    steal_s: Amount | None = None  # time that the hypervisor gave to others, of the same cores
    own_cpu_s: Amount | None = None  # CPU time of the worker, all its threads
    throttled_s: Amount | None = None  # that a CPU quota held threads back, all cores added up
    throttled_periods: Count | None = None  # of the quota's periods, those that ran into it
    involuntary_switches: Count | None = None  # of the worker's threads
    minor_faults: Count | None = None  # of the worker
    major_faults: Count | None = None  # of the worker: pages that came from a disk
    swap_pages: Count | None = None  # in and out, the whole machine
    cpu_throttle_events: Count | None = None  # the processor held its clock back for heat
    energy_j: Amount | None = None  # the GPU's own counter
    power_capped_s: Amount | None = None  # that the GPU held its clocks back for power
    heat_capped_s: Amount | None = None  # that the GPU held its clocks back for heat

    # Levels.
    cpu_mhz: Amount | None = None  # mean of the cores that the worker may use
    load_1m: Amount | None = None  # runnable tasks, averaged over a minute
    sm_clock_mhz: Amount | None = None
    memory_clock_mhz: Amount | None = None
    power_w: Amount | None = None
    temperature_c: Finite | None = None
    throttle_reasons: tuple[str, ...] | None = None  # why the clocks are not higher (docs/measurement.md)
    other_device_processes: Count | None = None  # beside the run's own, with a context on the GPU
    other_device_bytes: Count | None = None  # in use on the GPU by them


class OtherProcess(_Frozen):
    """A process beside the run that used what was measured."""

    pid: Count
    name: str  # of the command; neither its path nor its arguments
    cores: Amount | None = None  # how many it kept busy
    device_bytes: Count | None = None  # what it held on the GPU


class MemoryLine(_Frozen):
    """The host memory that one source line of the network's forward added."""

    line: Count
    occurrences: Count
    increment_bytes: Whole
    host_bytes: Count
    source: str


class StageMemory(_Frozen):
    """Memory of a stage's intervals in a call that gives freed memory back at each of their boundaries.

    Peaks are those of the worst interval, and growth is the peak less the level before the call.
    """

    peak_host_bytes: Count | None = None  # None where the kernel's high-water mark cannot be reset
    host_growth_bytes: Count | None = None
    host_kept_bytes: Whole  # all intervals added up; what they freed of others' is taken off
    peak_device_bytes: Count | None = None
    device_growth_bytes: Count | None = None
    device_kept_bytes: Whole | None = None


class KernelUse(_Frozen):
    """A stage's calls of a kernel or copy on a device, or of an operator on a CPU, under the profiler."""

    stage: str | None = None  # None where it lies in none, or that is not known
    name: str
    calls: Count
    device_s: Amount | None = None  # of all its calls; None on a CPU
    cpu_s: Amount | None = None  # without the operators that it called; None for what ran on a device

    @property
    def seconds(self) -> float:
        """Its time, wherever it ran."""
        return self.device_s or self.cpu_s or 0.0


class CellRecord(_Frozen):
    """The record of one round of one cell: a line of the journal.

    Its single values are the columns of cells.csv, in their order.
    """

    schema_version: int = Field(SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    cell: str
    model: str
    input: str
    batch: Count
    frames: Count
    height: Count
    width: Count
    backend: str
    round: Count
    status: Status
    reason: str = ""
    started_at: str = ""  # UTC, ISO 8601

    first_in_process: bool | None = None  # whether no cell of the run was measured in this process before

    # Cold figures, each timed once.
    import_torch_s: Amount | None = None  # in the server process that the worker was forked from
    context_s: Amount | None = None  # creating the CUDA context; None on a CPU
    model_to_device_s: Amount | None = None
    first_forward_s: Amount | None = None
    # Of the calls, what torch.compile took, the graphs that it made, and those that its cache on disk had of
    # earlier rounds of the run; None without `compile: true`.
    compile_s: Amount | None = None
    compile_graphs: Count | None = None
    compile_cache_hits: Count | None = None

    # Memory pass.
    host_before_bytes: Count | None = None
    peak_host_bytes: Count | None = None
    host_growth_bytes: Whole | None = None  # peak less the level before the call
    peak_device_bytes: Count | None = None
    device_growth_bytes: Count | None = None  # peak less the level before the call
    peak_device_reserved_bytes: Count | None = None
    cold_peak_device_bytes: Count | None = None  # up to the end of warm-up, autotuning's workspaces included
    cold_peak_device_reserved_bytes: Count | None = None

    # How warm-up and the passes ended (bench.stats.steady, bench.stats.stopping).
    warmup_end: WarmupEnd | None = None
    tuning_calls: Count | None = None  # of the first calls, those far above the steady level
    stop_end_to_end: Stop | None = None
    stop_stage_sync: Stop | None = None
    stop_stage_events: Stop | None = None

    # Profiler pass.
    profile_wall_s: Amount | None = None  # the call under the profiler, which slows it
    profile_busy_s: Amount | None = None  # of that: the device at work; None on a CPU
    launch_bound_share: Amount | None = None  # of a plain call's time: the device without work; None on a CPU
    profile_trace: str | None = None  # the file in the run's folder that holds the trace

    dtype: str  # of features and their convolutions
    fp32_precision: str  # what float32 is computed in
    memory_format: str
    parameters: Count | None = None
    scale: Count | None = None  # of the network: its output's sides over its input's
    frames_out: Count | None = None  # of an output, where these are not as many as its clip has
    stages: tuple[str, ...] = ()  # of the network, in its order
    costs: dict[str, StageCost] = Field(default_factory=dict)  # of one forward, by stage; empty: not known

    output_check: OutputCheck | None = None  # None: the round did not come that far
    output_max_abs_error: float | None = None
    output_psnr_db: float | None = None  # infinite for an equal output

    threads: Count | None = None  # as read back in the worker, or in the first of a cell's processes
    rank_forward_s: tuple[Amount, ...] = ()  # each process's share, where clips are divided: median, steady
    affinity_cores: Count | None = None  # logical cores that the worker may run on
    page_faults_per_forward: Amount | None = None  # median over the steady samples, minor faults

    # What the round cost the user, as the parent saw it, and where it went.
    round_wall_s: Amount | None = None  # from asking for a worker to its record being there
    worker_start_s: Amount | None = None  # of that: from asking to the worker running
    setup_s: Amount | None = None  # of that: building the model and the clip
    measured_s: Amount | None = None  # of that: inside timed or profiled calls of the workload
    reference_s: Amount | None = None  # of that: the CPU float32 result, and a memory plan's checked call
    harness_s: Finite | None = None  # the rest of the round's wall time, set-up included: what the tool costs

    warnings: tuple[str, ...] = ()
    settings: dict[str, str] = Field(default_factory=dict)  # read back after they were applied
    samples: tuple[Sample, ...] = ()
    memory: tuple[MemoryPoint, ...] = ()
    memory_lines: tuple[MemoryLine, ...] = ()
    stage_memory: dict[str, StageMemory] = Field(default_factory=dict)  # of one more call; empty: not known
    kernels: tuple[KernelUse, ...] = ()  # of the profiler pass
    telemetry: tuple[TelemetryReading, ...] = ()  # between the calls, never during one
    telemetry_notes: tuple[str, ...] = ()  # what could not be read, and why
    others: tuple[OtherProcess, ...] = ()  # named only where the counters say that there were some

    @property
    def frames_made(self) -> int:
        """Frames of an output."""
        return self.frames_out or self.frames

    def steady(self, pass_: Pass, stage: str) -> list[Sample]:
        """Return the samples of a stage that figures are made of, in the order taken."""
        wanted = (pass_, Phase.STEADY, stage)
        return [item for item in self.samples if (item.pass_, item.phase, item.stage) == wanted]


class Journal:
    """A file of JSON objects, one a line, that is appended to: of records, or of ceilings.

    A line is on disk (fsync) when `append` returns, so a kill at any later moment cannot lose it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file to append. Raises BlockingIOError while another process has it.

        `unlocked` says why another process could not be kept from it; it is None where it is.
        """
        # Without a buffer: what could not be written must not be tried again when the file closes.
        self._file = path.open("ab", buffering=0)
        try:
            self.unlocked = file_systems.lock(self._file.fileno())
        except OSError:
            self._file.close()
            raise
        # What a kill in the middle of a write left is no line, and must not begin the next one.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def append(self, item: CellRecord | Ceiling) -> None:
        """Append an item. Raises OSError that names the file."""
        left = item.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        try:
            while left:  # a disk that is nearly full takes a part, and refuses the rest
                left = left[self._file.write(left) :]
            file_systems.to_disk(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error

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
    Raises BadInput for any other line that is no record that a run can have left, naming it.
    """
    records: list[CellRecord] = []
    seen: dict[tuple[str, int], int] = {}
    for where, record in _lines(path, CellRecord):
        records.append(record)
        first = seen.setdefault((record.cell, record.round), len(records))
        if first != len(records):
            raise BadInput(f"{where}: round {record.round} of {record.cell} stands in line {first} too")
        if fault := _fault(record):
            raise BadInput(f"{where}: not a line of this journal ({fault})")
    return records


def read_ceilings(folder: Path) -> list[Ceiling]:
    """Read the ceilings of a run's folder; none where the file is missing. The last try of each counts.

    Raises BadInput as `read_journal` does.
    """
    path = folder / CEILINGS_NAME
    if not path.exists():
        return []
    return list({found.spec: found for _, found in _lines(path, Ceiling)}.values())


def append_ceiling(folder: Path, ceiling: Ceiling) -> None:
    """Append a ceiling to a run's, as `Journal.append` does."""
    with Journal(folder / CEILINGS_NAME) as journal:
        journal.append(ceiling)


def _lines(path: Path, kind: type[Line]) -> Iterator[tuple[str, Line]]:
    """Yield each whole line, and where it stands."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for someone to write
        raise BadInput(f"{path}: not a file")
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except MemoryError:
        raise BadInput(f"{path}: {path.stat().st_size:,} bytes, more than there is memory for here") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read as a journal ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        try:
            yield where, kind.model_validate_json(line)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            # Another version's fields are unknown or missing here: its number explains the other errors.
            first = next((item for item in errors if item["loc"] == ("schema_version",)), errors[0])
            if first["loc"] == ("schema_version",):
                version = first["input"]
                raise BadInput(
                    f"{where}: schema version {version!r}; this program reads {SCHEMA_VERSION}"
                ) from error
            field = ".".join(map(str, first["loc"])) or "the line"
            raise BadInput(f"{where}: not a line of this journal ({field}: {first['msg']})") from error


def _fault(record: CellRecord) -> str:
    """Return why no clock can have given a record's samples; empty where one can."""
    stages = {*record.stages, *SPANS}
    for index, sample in enumerate(record.samples):
        if sample.stage not in stages:
            return f"samples.{index}.stage: {sample.stage!r}"
        # What no stage claims is a difference, which rounding may take below zero.
        least = min(sample.wall_s, sample.device_s or 0.0)
        if least < 0 and sample.stage != OTHER:
            return f"samples.{index}: {least:g} s of {sample.stage}"
        if sample.wall_s == 0 and sample.stage in (FORWARD, FORWARD_UNPROBED, TOTAL):
            return f"samples.{index}.wall_s: 0 s of {sample.stage}"
    return ""


def worst_status(statuses: Iterable[Status]) -> Status:
    """Return the status of a cell, from those of its rounds."""
    return max(statuses, key=_SEVERITY.__getitem__)
