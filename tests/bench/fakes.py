"""Stand-ins with exact answers: a clock, a device with a queue of its own, a network, and workers.

Times in tests that compare exactly are multiples of 1/1024 s, so that sums and differences of them are exact.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from torch import Tensor

from bench.errors import ServerDiedError
from bench.grid import plan
from bench.grid.config import Experiment, of_plain
from bench.grid.costs import Costs, StageCost
from bench.grid.plan import Cell, Job
from bench.grid.spans import OTHER
from bench.measure.backends import Device
from bench.messages import Message, Progress, Task
from bench.process.launcher import WorkerProcess
from bench.records import CellRecord
from tests.networks import STAGES
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.stages import StageProbe, no_probe

TICK_S: Final = 1 / 1024


class FakeClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeDevice(Device):
    """A device that works beside the host: the host pays for the launch, and waits where it synchronises."""

    has_events = True

    def __init__(self, clock: FakeClock, *, launch_s: float = TICK_S) -> None:
        self.clock = clock
        self.launch_s = launch_s
        self.idle_at_s = clock.now_s
        self.synchronised = 0
        self.made_context = False

    def work(self, device_s: float) -> None:
        """Queue so much work; returns as soon as it is queued."""
        self.clock.advance(self.launch_s)
        self.idle_at_s = max(self.idle_at_s, self.clock.now_s) + device_s

    def synchronize(self) -> None:
        self.synchronised += 1
        self.clock.now_s = max(self.clock.now_s, self.idle_at_s)

    def record_event(self) -> float | None:
        return max(self.idle_at_s, self.clock.now_s)

    def elapsed_s(self, start: float, end: float) -> float | None:
        return end - start

    def has_context(self) -> bool:
        return self.made_context

    def create_context(self) -> None:
        if not self.made_context:
            self.clock.advance(256 * TICK_S)
        self.made_context = True


class NoQueue(FakeDevice):
    """A device as the CPU is one: work is done when the call returns, and there are no events."""

    has_events = False

    def has_context(self) -> bool:
        return True

    def work(self, device_s: float) -> None:
        self.clock.advance(device_s)
        self.idle_at_s = self.clock.now_s

    def record_event(self) -> None:
        return None

    def elapsed_s(self, start: Any, end: Any) -> None:
        return None


class CpuAsCuda(Device):
    """A CPU that a worker takes for a CUDA device: events carry the host's time."""

    has_events = True

    def __init__(self) -> None:
        self.resets = 0
        self.releases: list[int] = []  # how many resets were before each
        self.contexts = 0
        self.waits = 0
        self.locked: list[tuple[int, ...]] = []  # shapes

    def synchronize(self) -> None:
        self.waits += 1

    def record_event(self) -> float:
        return perf_counter()

    def elapsed_s(self, start: float, end: float) -> float:
        return end - start

    def has_context(self) -> bool:
        return self.contexts > 0

    def create_context(self) -> None:
        self.contexts += 1

    def release_cached_memory(self) -> None:
        self.releases.append(self.resets)

    def reset_peak_bytes(self) -> None:
        self.resets += 1

    def peak_bytes(self) -> tuple[int, int]:
        return 1000 + self.resets, 2000 + self.resets

    def allocated_bytes(self) -> int:
        return 500

    def page_locked(self, tensor: Tensor) -> Tensor:
        self.locked.append(tuple(tensor.shape))
        return tensor.clone()


class FakeNetwork(Network):
    """Queues each stage's work once per frame, and gives its input enlarged by four."""

    facts = BasicVSR.facts

    def __init__(self, device: FakeDevice, stage_s: Mapping[str, float]) -> None:
        super().__init__()
        self._device = device
        self._stage_s = stage_s

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        for _ in range(lrs.shape[1]):
            for stage in STAGES:
                with probe(stage):
                    self._device.work(self._stage_s[stage])
        return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4)


def experiment(**changes: Any) -> Experiment:
    """A tiny experiment; `changes` replace its top-level fields."""
    data: dict[str, Any] = {
        "name": "tiny",
        "model": {"mid_channels": 8, "num_blocks": 1},
        "input": {"name": "noise", "kind": "random"},
        "grid": {"frames": [1], "size": [[16, 16]]},
        "backends": ["cpu"],
        "measure": {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off"},
        "plots": [],
    }
    return of_plain({**data, **changes})


def jobs_of(one: Experiment) -> list[Job]:
    return plan.schedule(plan.cells(one), one.measure)


def peak_of(cell: Cell) -> Costs:
    """Costs by which each pixel of a clip takes 8 KiB."""
    pixels = cell.batch * cell.frames * cell.height * cell.width
    return {OTHER: StageCost(flops=1, bytes=1, fused_bytes=1, peak_bytes=8192 * pixels)}


def task_of(one: Experiment, reference: Path, *, index: int = 0, **fields: Any) -> Task:
    """The task of one of an experiment's jobs."""
    return Task(
        job=jobs_of(one)[index], measure=one.measure, reference=reference, import_torch_s=1.25, **fields
    )


class Watching:
    """An observer that keeps what happened, and may do something when a job has ended."""

    def __init__(self, ended: Callable[[int], None] | None = None) -> None:
        self.log: list[str] = []
        self.records: list[CellRecord] = []
        self._ended = ended

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is shown."""

    def job_started(self, job: Job) -> None:
        self.log.append(f"started {job.cell.id} {job.round}")

    def job_progressed(self, job: Job, progress: Progress) -> None:
        self.log.append(f"progress {progress.doing} {progress.done}/{progress.total}")

    def job_ended(self, job: Job, record: CellRecord) -> None:
        self.log.append(f"ended {record.cell} {record.round} {record.status}")
        self.records.append(record)
        if self._ended is not None:
            self._ended(len(self.records))


@dataclass(frozen=True)
class Says:
    """After so many seconds the worker sends a message."""

    after_s: float
    message: Message | BaseException


@dataclass(frozen=True)
class Dies:
    """After so many seconds the worker ends with a wait status, or its server with it."""

    after_s: float
    status: int = 0
    with_server: bool = False


Script = Sequence[Says | Dies]


class FakeConnection:
    """The parent's end: plays the script of the job that it is sent."""

    def __init__(self, workers: "FakeWorkers", pid: int) -> None:
        self._workers = workers
        self._pid = pid
        self.left: deque[Says | Dies] = deque()
        self.closed = False

    def send(self, task: Task | str) -> None:
        if isinstance(task, str):
            self._workers.log.append(f"{task} to {self._pid}")
            return
        self._workers.log.append(f"task {task.job.cell.id} {task.job.round} to {self._pid}")
        self._workers.tasks.append(task)
        self.left = deque(self._workers.scripts[task.job.cell.id, task.job.round])

    def recv(self) -> Message:
        event = self.left.popleft()
        if isinstance(event, Dies):
            self._workers.statuses[self._pid] = event.status
            self._workers.server_is_dead |= event.with_server
            raise EOFError
        if isinstance(event.message, BaseException):
            raise event.message
        return event.message

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeWorkers:
    """A launcher for the runner, by script; `log` holds the requests in order."""

    clock: FakeClock
    scripts: Mapping[tuple[str, int], Script]
    spawn_s: float = 0.0
    line: str = ""
    lingering: bool = False  # workers do not end unless they are killed
    import_torch_s: float = 1.5
    log: list[str] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    server_is_dead: bool = False

    def spawn(self, target: str) -> WorkerProcess:
        if self.server_is_dead:
            raise ServerDiedError("no server")
        self.clock.advance(self.spawn_s)
        pid = sum(line.startswith("spawn") for line in self.log) + 1
        self.log.append(f"spawn {pid}")
        return WorkerProcess(pid=pid, connection=FakeConnection(self, pid))  # type: ignore[arg-type]

    def kill(self, worker: WorkerProcess) -> None:
        self.log.append(f"kill {worker.pid}")
        self.statuses[worker.pid] = signal.SIGKILL

    def exit_status(self, worker: WorkerProcess, timeout_s: float) -> int:
        if self.server_is_dead:
            raise ServerDiedError("exit status -9")
        if self.lingering and worker.pid not in self.statuses:
            self.clock.advance(timeout_s)
            raise TimeoutError
        self.log.append(f"ended {worker.pid}")
        return self.statuses.get(worker.pid, 0)

    def last_line(self) -> str:
        return self.line

    def clear_output(self) -> None:
        self.log.append("forget")

    def restart(self) -> None:
        self.log.append("restart")
        self.server_is_dead = False

    def wait(self, connections: Iterable[FakeConnection], timeout_s: float) -> list[FakeConnection]:
        """Wait as multiprocessing.connection.wait does, on the fake clock."""
        (connection,) = connections
        due = connection.left[0].after_s if connection.left else float("inf")
        self.clock.advance(min(due, timeout_s))
        return [connection] if due <= timeout_s else []
