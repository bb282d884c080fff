"""A worker's side of a cell whose clips are divided over processes (docs/parallel.md).

`torchrun` starts them (bench.measure.rank) and ends all of them where one fails. They are the worker's
descendants: whoever ends the worker's tree, ends them.
"""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGABRT, SIGTERM
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import psutil
import torch
from torch import Tensor

from bench.machine.host_memory import oom_evidence, oom_kills
from bench.measure.calls import Called
from bench.measure.draft import Draft
from bench.measure.rank_messages import (
    LOG_FILE,
    TASK_FILE,
    LastWords,
    Order,
    Prepared,
    RankCall,
    words_file,
)
from bench.measure.timing import Timed
from bench.messages import Task
from bench.process.launcher import signal_name
from bench.records import FORWARD, TOTAL, Pass, Phase

END_TIMEOUT_S: Final = 20.0
"""Processes that are told to end do so within a second or two; after this long they are killed."""

_EXIT_CODE: Final = re.compile(r"rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
"""What torchrun's report says of each process that ended."""


class RankFailedError(RuntimeError):
    """One of the processes failed; the message is its own last words."""


class RankOutOfMemoryError(MemoryError):
    """As RankFailedError, where memory ran out."""


def command(processes: int, folder: Path) -> list[str]:
    """torchrun as a module, so that it is this interpreter's."""
    return [
        sys.executable, "-P", "-m", "torch.distributed.run",
        "--standalone",  # meets on a free port of this machine
        "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", "--max-restarts=0",
        "-m", "bench.measure.rank", str(folder),
    ]  # fmt: skip


def variables(threads: int | None) -> dict[str, str]:
    """For the processes, on top of this one's: threads (one, where it is not said, as torchrun has it), no
    network but this machine's own, and no modules of the folder that the user is in."""
    return {
        "OMP_NUM_THREADS": str(threads or 1),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "PYTHONSAFEPATH": "1",
    }


def spans_of(calls: Sequence[RankCall]) -> dict[str, Timed]:
    """Each part of a call, from the first process that begins it to the last that ends it; and all parts."""
    spans = {}
    for number, part in enumerate(calls[0].parts):
        same = [call.parts[number] for call in calls]
        start_s = min(item.start_s for item in same)
        spans[part.name] = Timed(start_s=start_s, wall_s=max(item.stop_s for item in same) - start_s)
    first = min(span.start_s for span in spans.values())
    last = max(span.start_s + span.wall_s for span in spans.values())
    spans[TOTAL] = Timed(start_s=first, wall_s=last - first)
    return spans


def forward_s(call: RankCall) -> float:
    """Seconds of one process's own share."""
    part = next(item for item in call.parts if item.name == FORWARD)
    return part.stop_s - part.start_s


class Ranks:
    """The processes of one round. A context manager: none outlives it.

    Whatever is asked of them raises RankOutOfMemoryError or RankFailedError where one of them has failed.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._processes = task.job.cell.backend.processes
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with self._opened as opened:
            # Beside the references: the run has removed whatever is there when it ends.
            beside = self._task.reference.parent
            beside.mkdir(parents=True, exist_ok=True)
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=beside))).resolve()
            (self._folder / TASK_FILE).write_bytes(pickle.dumps(self._task))
            self._kills = oom_kills()
            self._start(opened)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            with suppress(OSError):
                self._connection.send(Order.END)
            self._connection.close()
            self._end(0.0 if kind else END_TIMEOUT_S)

    def _start(self, opened: ExitStack) -> None:
        ours, theirs = socket.socketpair()
        self._connection = opened.enter_context(Connection(ours.detach()))
        threads = self._task.job.cell.backend.threads
        with theirs, (self._folder / LOG_FILE).open("wb") as log:
            self._torchrun = subprocess.Popen(
                command(self._processes, self._folder),
                stdin=theirs.fileno(),  # which the first process speaks over
                stdout=log,
                stderr=log,
                env={**os.environ, **variables(threads)},
            )

    def prepared(self) -> list[Prepared]:
        """What each says when it has its network and its clips."""
        said: list[Prepared] = self._heard()
        return said

    def call(self) -> list[RankCall]:
        """One call, by all of them."""
        said: list[RankCall] = self._asked(Order.CALL)
        return said

    def output(self) -> Tensor:
        """The last call's (n, t, 3, 4h, 4w), of all clips in their order."""
        path: Path = self._asked(Order.OUTPUT)
        return torch.from_numpy(np.load(path))

    def cpu_s(self, pids: Sequence[int]) -> float:
        """CPU seconds of the processes so far, and of what started them."""
        spent = 0.0
        for pid in (self._torchrun.pid, *pids):
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                spent += times.user + times.system
        return spent

    def _asked(self, order: Order) -> Any:
        try:
            self._connection.send(order)
        except OSError:
            raise self._failure() from None
        return self._heard()

    def _heard(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise self._failure() from None

    def _failure(self) -> Exception:
        """Why they have ended, in the words of the one that failed first."""
        self._end(END_TIMEOUT_S)
        log = (self._folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
        words = _first_words(self._folder, self._processes)
        kind, reason = told(words, log, self._processes, oom_evidence(self._kills, oom_kills()))
        return RankOutOfMemoryError(reason) if kind else RankFailedError(reason)

    def _end(self, timeout_s: float) -> None:
        """Wait for torchrun, which waits for the processes; kill what is left of them."""
        with suppress(subprocess.TimeoutExpired):
            self._torchrun.wait(timeout_s)
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._torchrun.pid)
            for process in (*family.children(recursive=True), family):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._torchrun.wait()


def _first_words(folder: Path, processes: int) -> LastWords | None:
    """Of the process that failed first: the others fail for want of it."""
    found = []
    for rank in range(processes):
        with suppress(OSError, ValueError, TypeError):  # it wrote none, or not all of them
            found.append(LastWords(**json.loads(words_file(folder, rank).read_text(encoding="utf-8"))))
    return min(found, key=lambda words: words.at_s, default=None)


def told(words: LastWords | None, log: str, processes: int, oom_evidence: str | None) -> tuple[bool, str]:
    """Whether memory ran out, and why the processes ended, from last words, torchrun's log and the kernel."""
    if killed := _killed(log, processes):
        # What the others said when it was gone is of no interest.
        return oom_evidence is not None, killed + (f" ({oom_evidence})" if oom_evidence else "")
    if words is not None:
        return words.out_of_memory, f"process {words.rank + 1} of {processes}: {words.words}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return False, f"the {processes} processes ended" + (f" ({lines[-1]})" if lines else "")


def _killed(log: str, processes: int) -> str | None:
    before, _, first = log.rpartition("Root Cause")
    _, _, others = before.rpartition("Failures:")
    found = [(int(item[1]), -int(item[2])) for item in _EXIT_CODE.finditer(first + others)]
    if not found or found[0][1] <= 0:
        return None
    # The others abort when one is gone, and may be seen to end before it; then torchrun ends who is left.
    rank, number = next((item for item in found if item[1] not in (SIGABRT, SIGTERM)), found[0])
    return f"process {rank + 1} of {processes} was killed by {signal_name(number)}"


class RankCalls:
    """The calls of a round, made by all processes at once: what bench.measure.calls.Calls is of one."""

    is_placed: Final = True

    def __init__(self, draft: Draft, ranks: Ranks) -> None:
        self._draft = draft
        self._ranks = ranks
        self._output: Tensor | None = None
        self.own_s: list[list[float]] = []  # of each steady call: each process's own forward

    def end_to_end(self, phase: Phase, repetition: int) -> Called:
        """One call of every process's share, together."""
        calls = self._ranks.call()
        spans = spans_of(calls)
        for name, span in spans.items():
            self._draft.sample(Pass.END_TO_END, phase, repetition, name, span)
        if phase is Phase.STEADY:
            self.own_s.append([forward_s(call) for call in calls])
        self._draft.values["synchronised"] = True
        self._draft.values["gradients"] = self._draft.task.measure.gradients
        self._draft.measured_s += spans[TOTAL].wall_s
        self._draft.calls += 1
        return Called(
            figure_s=spans[FORWARD].wall_s,
            whole_s=spans[TOTAL].wall_s,
            page_faults=sum(call.page_faults for call in calls),
        )

    def bring_output(self) -> None:
        """Have the last call's output here."""
        if self._output is None:
            self._output = self._ranks.output()

    @property
    def output(self) -> Tensor:
        """The output that was brought."""
        assert self._output is not None  # a round makes a pass
        return self._output
