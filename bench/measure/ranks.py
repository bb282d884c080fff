"""A worker's side of a cell whose clips are divided over processes (docs/cuda.md).

The processes (bench.measure.rank) are the worker's children: whoever ends the worker's tree, ends them.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from signal import SIGABRT
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import psutil
import torch
from torch import Tensor

from bench.grid.spans import TOTAL
from bench.machine.host_memory import oom_evidence, oom_kills
from bench.measure import rank
from bench.measure.rank import Failed, Order, Prepared, RankCall
from bench.measure.timing import Timed
from bench.messages import Task
from bench.process.launcher import signal_name

END_TIMEOUT_S: Final = 20.0
"""Processes that are told to end do so within a second or two; after this long they are killed."""

GRACE_S: Final = 1.0
"""From the first sign that a process has failed until the others are killed: the one that was the cause may
be seen after one that failed for want of it."""


class RankFailedError(RuntimeError):
    """One of the processes failed; the message says which, and why."""


class RankOutOfMemoryError(MemoryError):
    """As RankFailedError, where memory ran out."""


def spans_of(calls: Sequence[RankCall]) -> dict[str, Timed]:
    """Each part of a call, from the first process that begins it to the last that ends it; and all parts."""
    spans = {name: _around([call.spans[name] for call in calls]) for name in calls[0].spans}
    return spans | {TOTAL: _around(list(spans.values()))}


def _around(spans: Sequence[Timed]) -> Timed:
    start_s = min(span.start_s for span in spans)
    return Timed(start_s=start_s, wall_s=max(span.start_s + span.wall_s for span in spans) - start_s)


class Ranks:
    """The processes of one round. A context manager: none outlives it.

    Where one of them has failed, every request raises RankOutOfMemoryError or RankFailedError.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._processes: list[SpawnProcess] = []
        self._connections: list[Connection] = []
        self._failed: list[Failed] = []
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with self._opened as opened:
            # Beside the references: the run has removed whatever is there when it ends.
            beside = self._task.reference.parent
            beside.mkdir(parents=True, exist_ok=True)
            folder = opened.enter_context(tempfile.TemporaryDirectory(dir=beside))
            self._kills = oom_kills()
            opened.callback(self._end, 0.0)
            spawning = get_context("spawn")
            for number in range(self._task.job.cell.backend.processes):
                ours, theirs = spawning.Pipe()
                self._connections.append(opened.enter_context(ours))
                arguments = number, self._task, Path(folder).resolve() / "store", theirs
                process = spawning.Process(target=rank.main, args=arguments, daemon=True)
                with theirs:
                    process.start()
                self._processes.append(process)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:  # which kills what is left
            if kind is None:
                for connection in self._connections:
                    with suppress(OSError):
                        connection.send(Order.END)
                self._end(END_TIMEOUT_S)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process.pid is not None]

    def prepared(self) -> list[Prepared]:
        """Wait until each has its network and its clips."""
        return self._answers()

    def call(self) -> list[RankCall]:
        """One call, by all of them."""
        return self._ask(Order.CALL)

    def output(self) -> Tensor:
        """The last call's (n, t, 3, 4h, 4w), of all clips in their order."""
        return torch.from_numpy(np.concatenate(self._ask(Order.OUTPUT)))

    def cpu_s(self) -> float:
        """CPU seconds of the processes so far."""
        spent = 0.0
        for pid in self.pids:
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                spent += times.user + times.system
        return spent

    def _ask(self, order: Order) -> list[Any]:
        for connection in self._connections:
            with suppress(OSError):  # it has ended, which waiting for its answer shows
                connection.send(order)
        return self._answers()

    def _answers(self) -> list[Any]:
        """What each sends next, by rank."""
        answers: dict[Connection, Any] = {}
        while len(answers) < len(self._connections):
            waiting = [connection for connection in self._connections if connection not in answers]
            for connection in wait(waiting):
                assert isinstance(connection, Connection)
                try:
                    answer = connection.recv()
                except (EOFError, OSError):  # it ended without a word
                    raise self._failure() from None
                if isinstance(answer, Failed):
                    self._failed.append(answer)
                    raise self._failure()
                answers[connection] = answer
        return [answers[connection] for connection in self._connections]

    def _failure(self) -> Exception:
        """Why they have ended, as of the one that failed first: the others fail for want of it."""
        self._wait(GRACE_S)
        codes = [process.exitcode for process in self._processes]
        for connection in self._connections:
            with suppress(EOFError, OSError):
                while connection.poll():
                    if isinstance(answer := connection.recv(), Failed):
                        self._failed.append(answer)
        self._end(0.0)
        out_of_memory, reason = why(codes, self._failed, oom_evidence(self._kills, oom_kills()))
        return RankOutOfMemoryError(reason) if out_of_memory else RankFailedError(reason)

    def _wait(self, timeout_s: float) -> None:
        deadline_s = monotonic() + timeout_s
        for process in self._processes:
            process.join(max(0.0, deadline_s - monotonic()))

    def _end(self, timeout_s: float) -> None:
        """Wait for the processes, and kill what is left of them."""
        self._wait(timeout_s)
        for process in self._processes:
            process.kill()
            process.join()


def why(codes: Sequence[int | None], failed: Sequence[Failed], oom_evidence: str | None) -> tuple[bool, str]:
    """Whether memory ran out, and why the processes ended.

    `codes` are their exit codes by rank, None for those that still ran; `failed` are those that an exception
    ended. One that aborts may do so because another has gone, and is the reason if there is no other.
    """
    killed = [(number, -code) for number, code in enumerate(codes) if code is not None and code < 0]
    for number, signal in killed:
        if signal != SIGABRT:
            killer = signal_name(signal) + (f" ({oom_evidence})" if oom_evidence else "")
            return oom_evidence is not None, f"{_name(number, codes)} was killed by {killer}"
    if failed:
        first = min(failed, key=lambda item: item.at_s)
        return first.out_of_memory, f"{_name(first.rank, codes)}: {first.reason}"
    for number, code in enumerate(codes):
        if code:
            ended = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
            return False, f"{_name(number, codes)} {ended}"
    return False, f"the {len(codes)} processes ended"


def _name(number: int, codes: Sequence[int | None]) -> str:
    return f"process {number + 1} of {len(codes)}"
