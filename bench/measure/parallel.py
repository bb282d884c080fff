"""One round of a cell whose clips are divided over processes (docs/cuda.md).

The processes are children of the worker, each with a network. They are a group of torch.distributed, where
each has a share of the clips and they wait for each other before every part of a call; or they take clips as
tasks (bench.measure.map_reduce). The round has an end-to-end pass alone.
"""

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from signal import SIGABRT
from statistics import median
from time import monotonic, perf_counter
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bench.grid.backend import Backend
from bench.grid.spans import FORWARD, TOTAL
from bench.machine.host_memory import oom_evidence, oom_kills
from bench.measure import backends, networks, read_back, workload
from bench.measure.backends import Device
from bench.measure.calls import Called, around, timed_parts
from bench.measure.clips import clip_note, make_clip
from bench.measure.draft import error_line
from bench.measure.map_reduce import Array, map_reduce
from bench.measure.output_check import ReferenceCheck
from bench.measure.passes import Round
from bench.measure.timing import Timed
from bench.measure.watch import Watch
from bench.messages import Task
from bench.process.launcher import signal_name
from bench.records import Pass, Phase
from vsr_model.stages import no_probe

NO_MEMORY: Final = (
    "no memory figures: each of the processes has its own, and they share what they were started from"
)
NO_PROFILE: Final = "not profiled: the profiler sees one process"
NO_GPUS: Final = "the GPUs of the processes are not watched: telemetry is the host's"

NO_LIMIT: Final = timedelta(days=7)
"""Timeout of the group: the run's own limit ends a cell, and this must not come before it."""

GRACE_S: Final = 1.0
"""From the first sign that a process has failed until the others are killed: the one that was the cause may
be seen after one that failed because of it."""

Order = Literal["call", "output", "read back"] | Array
"""A request to a process: to make a call, to send the last call's output, to check what ran against what the
backend claims, or a clip that is a task."""


@dataclass(frozen=True, kw_only=True)
class RankCall:
    """One process's part of a call. All begin a span together, by the machine's one monotonic clock."""

    spans: dict[str, Timed]
    page_faults: int  # minor ones, of the forward


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The exception that has ended a process."""

    rank: int
    at_s: float  # on the monotonic clock
    out_of_memory: bool
    reason: str


class DividedRound(Round):
    """A round whose calls are made by the cell's processes; the worker only waits."""

    def run(self) -> None:
        """Measure the end-to-end pass, and check the joined output."""
        self._progress("starting processes")
        self._device = backends.CpuDevice()  # of the worker; each process has its own
        values, backend = self._draft.values, self._cell.backend
        own_s: list[list[float]] = []  # each process's own forward, by steady call
        with started(self._task) as group:
            values |= group.answers()[0]
            values["settings"] |= {
                "gc": "off while timing",
                "processes": str(backend.processes),
                "process_group": group_of(backend) or "none: map and reduce",
            }
            clips: list[Array] = []
            if backend.map_reduce:
                whole: Array = make_clip(self._cell, networks.build(self._cell.model).facts).numpy()
                clips += [whole[index : index + 1] for index in range(len(whole))]
            joined: list[Array] = []
            self._wait_for_go()

            def call(phase: Phase, repetition: int) -> Called:
                joined.clear()  # not two at once
                if backend.map_reduce:
                    mapped = map_reduce(group, clips)
                    joined.append(mapped.output)
                    for how in mapped.lost:
                        self._draft.warn(f"{how}: another took its place, and its clip ran again")
                    spans, each_s = {FORWARD: mapped.span, TOTAL: mapped.span}, mapped.own_s
                    page_faults = mapped.page_faults
                else:
                    calls: list[RankCall] = group.ask("call")
                    spans, each_s = spans_of(calls), [one.spans[FORWARD].wall_s for one in calls]
                    page_faults = sum(one.page_faults for one in calls)
                for name, span in spans.items():
                    self._draft.sample(Pass.END_TO_END, phase, repetition, name, span)
                self._draft.count(spans[TOTAL].wall_s)
                if phase is Phase.STEADY:
                    own_s.append(each_s)
                return Called(
                    forward_s=spans[FORWARD].wall_s, whole_s=spans[TOTAL].wall_s, page_faults=page_faults
                )

            with Watch(self._draft, None, group.pids) as self._watch:
                self._end_to_end_pass(call)
                self._watch.finish()
            values |= group.ask("read back")[0]
            output = torch.from_numpy(joined[0] if joined else np.concatenate(group.ask("output")))
        values["rank_forward_s"] = tuple(map(median, zip(*own_s, strict=True)))
        for asked, warning in (
            (self._measure.stages != "off", backend.no_stages),
            (self._measure.memory != "off", NO_MEMORY),
            (self._measure.profile, NO_PROFILE),
            (backend.is_cuda, NO_GPUS),
        ):
            if asked and warning is not None:
                self._draft.warn(warning)
        check = ReferenceCheck(self._draft, self._report, self._progress)
        facts = networks.build(self._cell.model).facts
        if note := clip_note(self._cell, facts):
            self._draft.warn(note)
        check(make_clip(self._cell, facts), output)


def spans_of(calls: Sequence[RankCall]) -> dict[str, Timed]:
    """Return each part of a call, from the first process that begins it to the last that ends it, and all."""
    spans = {name: around(call.spans[name] for call in calls) for name in calls[0].spans}
    return spans | {TOTAL: around(spans.values())}


# The worker's side.


@contextmanager
def started(task: Task) -> Iterator["Group"]:
    """Start the processes of a round; none outlives the block."""
    beside = task.reference.parent  # which the run removes when it ends
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside) as folder, ExitStack() as opened:
        group = Group(task, Path(folder).resolve() / "store", opened)
        opened.callback(group.kill)
        for rank in range(task.job.cell.backend.processes):
            group.start(rank)
        yield group


def group_of(backend: Backend) -> str | None:
    """Return the kind of process group that a backend's processes are; None where they take tasks."""
    if backend.map_reduce:
        return None
    return "nccl" if backend.is_cuda else "gloo"


class Group:
    """The processes of a round.

    Where one has failed, every request raises MemoryError or RuntimeError, which says which one and why.
    """

    def __init__(self, task: Task, store: Path, opened: ExitStack) -> None:
        self.processes: list[SpawnProcess] = []
        self.connections: list[Connection] = []
        self._task = task
        self._store = store
        self._opened = opened
        self._failed: list[Failed] = []  # of processes that are not replaced yet
        self._kills = oom_kills()

    def start(self, rank: int) -> None:
        """Start a process, in the place of the one of that rank if there is one."""
        spawning = get_context("spawn")
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=serve, args=(rank, self._task, self._store, theirs), daemon=True)
        with theirs:
            process.start()
        self.connections[rank : rank + 1] = [self._opened.enter_context(ours)]
        self.processes[rank : rank + 1] = [process]

    def received(self, connection: Connection) -> Any:
        """Return a process's next message; None if it has ended, or is about to."""
        answer = _received(connection)
        if isinstance(answer, Failed):
            self._failed.append(answer)
            return None
        return answer

    def replace(self, connection: Connection) -> str:
        """Start a process in the place of one that has ended; return how that one ended."""
        rank = self.connections.index(connection)
        process = self.processes[rank]
        process.join(GRACE_S)
        process.kill()
        process.join()
        connection.close()
        codes = [process.exitcode if each is process else None for each in self.processes]
        _, how = why(codes, self._failed, None)
        self._failed.clear()
        self.start(rank)
        self.received(self.connections[rank])  # what it says of its network
        return how

    def failure(self) -> Exception:
        """Return why the processes have ended."""
        return self._failure(self._failed)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes if process.pid is not None]

    def ask(self, order: Order) -> list[Any]:
        """Return the answer of each process to an order, by rank."""
        for connection in self.connections:
            with suppress(OSError):  # it has ended, which waiting for its answer shows
                connection.send(order)
        return self.answers()

    def answers(self) -> list[Any]:
        """Return what each process sends next, by rank; first of all what a record says of its network."""
        answers: dict[Connection, Any] = {}
        while waiting := [connection for connection in self.connections if connection not in answers]:
            for connection in wait(waiting):
                assert isinstance(connection, Connection)
                answer = _received(connection)
                if answer is None or isinstance(answer, Failed):
                    raise self._failure([answer] if answer else [])
                answers[connection] = answer
        return [answers[connection] for connection in self.connections]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def _failure(self, failed: list[Failed]) -> Exception:
        """Return why the processes have ended, by the one that failed first."""
        deadline_s = monotonic() + GRACE_S
        for process in self.processes:
            process.join(max(0.0, deadline_s - monotonic()))
        codes = [process.exitcode for process in self.processes]
        for connection in self.connections:
            while connection.poll() and (answer := _received(connection)) is not None:
                failed += [answer] if isinstance(answer, Failed) else []
        self.kill()
        out_of_memory, reason = why(codes, failed, oom_evidence(self._kills, oom_kills()))
        return MemoryError(reason) if out_of_memory else RuntimeError(reason)


def _received(connection: Connection) -> Any:
    """Return the next message; None if the other end has closed."""
    with suppress(EOFError, OSError):
        return connection.recv()
    return None


def why(codes: Sequence[int | None], failed: Sequence[Failed], oom_evidence: str | None) -> tuple[bool, str]:
    """Return whether memory ran out, and why the processes ended.

    `codes` are their exit codes by rank, None for those that still ran; `failed` are those that an exception
    ended. One that aborts may do so because another has gone, and is the reason if there is no other.
    """

    def name(rank: int) -> str:
        return f"process {rank + 1} of {len(codes)}"

    ended = [(rank, code) for rank, code in enumerate(codes) if code]
    for rank, code in ended:
        if code < 0 and code != -SIGABRT:
            killer = signal_name(-code) + (f" ({oom_evidence})" if oom_evidence else "")
            return oom_evidence is not None, f"{name(rank)} was killed by {killer}"
    if failed:
        first = min(failed, key=lambda item: item.at_s)
        return first.out_of_memory, f"{name(first.rank)}: {first.reason}"
    for rank, code in ended:
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
        return False, f"{name(rank)} {how}"
    return False, f"the {len(codes)} processes ended"


# A process's side.


def serve(rank: int, task: Task, store: Path, connection: Connection) -> None:
    """Run one of the processes, which find each other by the file `store`, until the worker has gone.

    An exception is sent to the worker, and ends the process.
    """
    try:
        # As in the worker: the collector does not run while something is timed.
        gc.freeze()
        gc.disable()
        backend = own_backend(task.job.cell.backend, rank)
        device = backends.device_of(backend)
        if backend.is_cuda:
            torch.cuda.set_device(device.torch_device)  # before NCCL chooses one
        kind = group_of(backend)
        if kind is None:
            answer_orders(task, rank, device, connection, lambda: None)
            return
        # Only this machine's network.
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
        dist.init_process_group(
            kind,
            init_method=store.as_uri(),
            rank=rank,
            world_size=backend.processes,
            timeout=NO_LIMIT,
        )
        flag = torch.zeros(1, device=device.torch_device)
        answer_orders(task, rank, device, connection, lambda: dist.all_reduce(flag))
    except EOFError:  # the worker has gone
        return
    except Exception as error:
        failed = Failed(
            rank=rank,
            at_s=perf_counter(),
            out_of_memory=backends.is_out_of_memory(error),
            reason=error_line(error),
        )
        with suppress(OSError):  # the worker may have gone
            connection.send(failed)
        sys.exit(1)


def own_backend(backend: Backend, rank: int) -> Backend:
    """Return the backend of one process: on CUDA a GPU of its own; one thread, where no number is given."""
    device = f"cuda:{rank}" if backend.is_cuda else backend.device
    return backend.replace(device=device, threads=backend.threads or 1)


def answer_orders(
    task: Task, rank: int, device: Device, connection: Connection, meet: Callable[[], object]
) -> None:
    """Build a network, describe it to the worker, and call it on a share of the clips whenever asked.

    `meet` waits for the other processes. Raises EOFError when the worker has gone.
    """
    cell = task.job.cell
    backend = own_backend(cell.backend, rank)
    with backends.applied(backend) as settings, read_back.compilation(backend) as compilation:
        device.create_context()
        network = networks.build(cell.model)
        described = {
            "settings": settings,
            "threads": backends.thread_count(),
            **networks.described(network, cell),
        }
        clip = make_clip(cell, network.facts).tensor_split(backend.processes)[rank].clone()
        forward = workload.forward_of(
            workload.prepare(network, backend, device.torch_device), backend=backend
        )
        connection.send(described)
        output: Tensor | None = None
        while True:
            order: Order = connection.recv()
            if isinstance(order, str) and order == "read back":
                read_back.check(backend)
                connection.send(compilation())
                continue
            if isinstance(order, str) and order == "output":
                assert output is not None  # the worker has asked for a call
                # An array is sent as it is, where a tensor would go through shared memory.
                connection.send(output.numpy())
                continue
            output = None  # not two at once
            output, spans, page_faults = timed_parts(
                lambda lrs: forward(lrs, no_probe),
                clip if isinstance(order, str) else torch.from_numpy(order),
                device,
                transfers=device.has_events,
                meet=meet,
            )
            if isinstance(order, str):
                connection.send(RankCall(spans=spans, page_faults=page_faults))
            else:
                assert output is not None
                connection.send((output.numpy(), spans[FORWARD].wall_s, page_faults))
