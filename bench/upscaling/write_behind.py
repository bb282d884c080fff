"""Frames that are written while the network computes the next ones."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from time import perf_counter
from types import TracebackType
from typing import Final, Protocol, Self

import torch
from torch import Tensor

from bench.upscaling.threads import one_thread
from vsr_model.copies import CopyEngine, CudaCopies

MOST_WAITING: Final = 2
"""Frames that were handed on and are not written yet: one at the encoder, one behind it."""


class ToHost(Protocol):
    """Begins to bring an output to host memory; what it returns waits for it, in any thread."""

    def __call__(self, output: Tensor, /) -> Callable[[], Tensor]: ...


def as_it_is(output: Tensor) -> Callable[[], Tensor]:
    """Of an output that is in host memory."""
    return lambda: output


class Staged:
    """Copies through page-locked buffers that are used again and again, so that the device goes on meanwhile.

    A buffer's frame must be written before its turn comes again: there is one more than frames may wait.
    """

    def __init__(self, engine: CopyEngine) -> None:
        self._engine = engine
        self._buffers: list[Tensor] = []
        self._turn = 0

    def __call__(self, output: Tensor, /) -> Callable[[], Tensor]:
        if len(self._buffers) <= MOST_WAITING:
            self._buffers.append(self._engine.buffer(output))
        buffer = self._buffers[self._turn % (MOST_WAITING + 1)]
        self._turn += 1
        arrived = self._engine.start(output, buffer)

        def wait() -> Tensor:
            arrived()
            return buffer

        return wait


def to_host_from(device: torch.device) -> ToHost:
    """How outputs leave the device."""
    return Staged(CudaCopies(device)) if device.type == "cuda" else as_it_is


class WriteBehind:
    """Hands frames to a thread that writes them, in a `with` block; at most `MOST_WAITING` wait.

    `write` is told a frame (3, h, w) in host memory and its index, one after another. What it raises comes up
    at a later `put` or at the end of the block. A block that is left by an exception writes no more.
    `results` are what it returned, in the order of the frames. `busy_s` is what writing has taken so far,
    `waited_s` what `put` and the end have waited for it.
    """

    def __init__(self, write: Callable[[Tensor, int], float], to_host: ToHost) -> None:
        self._write, self._to_host = write, to_host
        self._stack = ExitStack()
        self._thread: Executor | None = None
        self._waiting: deque[Future[float]] = deque()
        self._count = 0
        self.results: list[float] = []
        self.busy_s = self.waited_s = 0.0

    def __enter__(self) -> Self:
        self._thread = self._stack.enter_context(one_thread("write-behind"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._until_waiting(0)

    def put(self, output: Tensor) -> None:
        """Have `output` (1, 3, h, w) written after those before it, inside the block."""
        assert self._thread is not None
        self._until_waiting(MOST_WAITING - 1)
        arrive = self._to_host(output)
        self._waiting.append(self._thread.submit(self._work, arrive, self._count))
        self._count += 1

    def _until_waiting(self, most: int) -> None:
        began = perf_counter()
        while len(self._waiting) > most:
            self.results.append(self._waiting.popleft().result())
        self.waited_s += perf_counter() - began

    def _work(self, arrive: Callable[[], Tensor], index: int) -> float:
        image = arrive()[0]  # its wait is the device's time, not the encoder's
        began = perf_counter()
        result = self._write(image, index)
        self.busy_s += perf_counter() - began
        return result
