"""A stream of clips through a network, with the next clip on its way in and the last output on its way out
while this clip is computed.

Three queues of a device: one for the way in, the current one for the network, one for the way out. Two
buffers each way take turns, k % 2 for clip k, and marks in the queues keep a buffer from being written to
before whoever reads it is done.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from bench.measure.timing import MONOTONIC, Clock, Timed

_BUFFERS: Final = 2


class Queues(Protocol):
    """What a stream asks of a device (bench.measure.backends.Device)."""

    torch_device: torch.device

    def page_locked(self, tensor: Tensor) -> Tensor: ...
    def new_queue(self) -> Any: ...
    def on_queue(self, queue: Any, /) -> AbstractContextManager[None]: ...
    def copy(self, target: Tensor, source: Tensor) -> None: ...
    def record_event(self) -> Any: ...
    def wait_for(self, mark: Any) -> None: ...
    def reach(self, mark: Any) -> None: ...
    def elapsed_s(self, start: Any, end: Any) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """An output (n, t, 3, 4h, 4w) in host memory, the receiver's until it asks for the next one."""

    output: Tensor
    mark: Any  # in the device's queue, where the output had left it


class Overlapped:
    """Brings clips of one shape through a network; host memory is page-locked on both sides."""

    def __init__(
        self, device: Queues, forward: Callable[[Tensor], Tensor], *, clip: Tensor, output: Tensor
    ) -> None:
        """`clip` and `output` are on the host and of the shapes and types that all will have."""
        self._device = device
        self._forward = forward
        self._way_in = device.new_queue()
        self._way_out = device.new_queue()
        with torch.inference_mode(mode=False):  # tensors of that mode may not be written to outside it
            self._inputs = [torch.empty_like(clip, device=device.torch_device) for _ in range(_BUFFERS)]
            self._landings = [device.page_locked(torch.empty_like(output)) for _ in range(_BUFFERS)]
        # An output stays until it has left: its memory is the network's queue's to use again.
        self._outputs: list[Tensor | None] = [None] * _BUFFERS
        # Marks, by buffer: a clip is in, the network is done with it, its output is on the host. What had the
        # memory before may still be at work on it, on the network's queue: the first clips wait for that.
        self._taken_in: list[Any] = [None] * _BUFFERS
        self._computed: list[Any] = [device.record_event()] * _BUFFERS
        self._left: list[Any] = [None] * _BUFFERS

    def stream(self, clips: Sequence[Tensor]) -> Iterator[Arrived]:
        """The clips' outputs, in order. Clips are page-locked, and not written to until theirs has come."""
        self._take_in(0, clips[0])
        for k in range(len(clips)):
            # Queued before clip k's network, so that it is under way while the host launches that.
            if k + 1 < len(clips):
                self._take_in(k + 1, clips[k + 1])
            self._compute(k)
            self._bring_out(k)
            # Only now: the device has clip k to work on while the host waits for k - 1.
            if k > 0:
                yield self._arrived(k - 1)
        yield self._arrived(len(clips) - 1)

    def _take_in(self, k: int, clip: Tensor) -> None:
        slot = k % _BUFFERS
        with self._device.on_queue(self._way_in):
            self._device.wait_for(self._computed[slot])  # of clip k - 2, or of an earlier stream
            self._device.copy(self._inputs[slot], clip)
            self._taken_in[slot] = self._device.record_event()

    def _compute(self, k: int) -> None:
        slot = k % _BUFFERS
        self._device.wait_for(self._taken_in[slot])
        self._outputs[slot] = self._forward(self._inputs[slot])
        self._computed[slot] = self._device.record_event()

    def _bring_out(self, k: int) -> None:
        """The landing is free: whoever had what lay there has asked for another since."""
        slot = k % _BUFFERS
        output = self._outputs[slot]
        assert output is not None
        with self._device.on_queue(self._way_out):
            self._device.wait_for(self._computed[slot])
            self._device.copy(self._landings[slot], output)
            self._left[slot] = self._device.record_event()

    def _arrived(self, k: int) -> Arrived:
        slot = k % _BUFFERS
        self._device.reach(self._left[slot])
        self._outputs[slot] = None
        return Arrived(output=self._landings[slot], mark=self._left[slot])


def timed_stream(
    pipeline: Overlapped, clips: Sequence[Tensor], device: Queues, *, clock: Clock = MONOTONIC
) -> tuple[Tensor, Timed]:
    """The last clip's output, and the seconds per clip from the arrival of the first output to that of the
    last: the way in of the first clip, which nothing overlaps, is no part of it. Two clips at least."""
    arrivals = []
    for arrived in pipeline.stream(clips):
        arrivals.append((clock(), arrived))
    (first_s, first), (last_s, last) = arrivals[0], arrivals[-1]
    steps = len(arrivals) - 1
    on_device = device.elapsed_s(first.mark, last.mark)
    span = Timed(
        start_s=first_s,
        wall_s=(last_s - first_s) / steps,
        device_s=None if on_device is None else on_device / steps,
    )
    return last.output, span
