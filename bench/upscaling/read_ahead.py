"""Frames that are read while the network computes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from time import perf_counter

from torch import Tensor

from vsr_model.frame_sources import FrameSource


def as_read(frame: Tensor) -> Tensor:
    """Of a frame that is wanted where it is."""
    return frame


class ReadAhead:
    """A `FrameSource` that reads the next frames of `source` in `executor` before they are asked for.

    `requests` are all ranges that will be asked for, in their order (`memory_plan.frame_requests`): those of
    one request are held, and those of the next. `load` brings a frame to where it is wanted, in the caller's
    thread. `waited_s` is what the caller has waited for frames so far.
    """

    def __init__(
        self,
        source: FrameSource,
        requests: Iterator[range],
        executor: Executor,
        load: Callable[[Tensor], Tensor],
    ) -> None:
        self._source, self._requests, self._executor, self._load = source, requests, executor, load
        self._coming: tuple[range, Future[list[Tensor]]] | None = None
        self.waited_s = 0.0
        self._begin_next()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w)."""
        return self._source.shape

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """As `FrameSource.frames`. Raises ValueError where another range is asked for than was announced."""
        if self._coming is None or self._coming[0] != range(start, stop):
            announced = "none" if self._coming is None else f"those of {self._coming[0]}"
            raise ValueError(f"Frames {start} to {stop - 1} are asked for, and {announced} were announced.")
        began = perf_counter()
        frames = self._coming[1].result()
        self.waited_s += perf_counter() - began
        self._begin_next()
        return map(self._load, frames)

    def _begin_next(self) -> None:
        request = next(self._requests, None)
        self._coming = None
        if request is not None:
            self._coming = request, self._executor.submit(self._read, request)

    def _read(self, request: range) -> list[Tensor]:
        return list(self._source.frames(request.start, request.stop))
