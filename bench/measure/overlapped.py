"""A stream of clips through a network on a CUDA device, with the next clip on its way in and the last output
on its way out while this clip is computed.

Three CUDA streams: one for the way in, the current one for the network, one for the way out. Two buffers each
way take turns, k % 2 for clip k, and events keep one from being written to before whoever reads it is done.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from bench.measure.backends import Device
from bench.measure.timing import MONOTONIC, Clock, Timed

_BUFFERS: Final = 2


class Overlapped:
    """Brings clips of one shape through a network; host memory is page-locked on both sides."""

    def __init__(
        self, device: Device, forward: Callable[[Tensor], Tensor], *, clip: Tensor, output: Tensor
    ) -> None:
        """`clip` and `output` are on the host and of the shapes and types that all will have."""
        self._forward = forward
        self._network = torch.cuda.current_stream(device.torch_device)
        self._way_in, self._way_out = _stream(device), _stream(device)
        with torch.inference_mode(mode=False):  # tensors of that mode may not be written to outside it
            self._inputs = [torch.empty_like(clip, device=device.torch_device) for _ in range(_BUFFERS)]
            self._landings = [device.page_locked(torch.empty_like(output)) for _ in range(_BUFFERS)]
        # What had the inputs' memory before may still be at work on it, on the network's stream: the first
        # clips wait for that as later ones do for the network.
        self._computed = [_event(self._network) for _ in range(_BUFFERS)]

    def stream(self, clips: Sequence[Tensor]) -> Iterator[tuple[Tensor, torch.cuda.Event]]:
        """Yield each clip's output (n, t, 3, 4h, 4w), in order, with the event of its arrival on the host.

        Clips are page-locked, and not written to until theirs has come. An output is the receiver's until it
        asks for the next one.
        """
        coming = self._take_in(0, clips[0])
        before: tuple[Tensor, torch.cuda.Event] | None = None
        for k in range(len(clips)):
            arrived = coming
            # Queued before clip k's network, so that it is under way while the host launches that.
            if k + 1 < len(clips):
                coming = self._take_in(k + 1, clips[k + 1])
            self._network.wait_event(arrived)
            output = self._forward(self._inputs[k % _BUFFERS])
            self._computed[k % _BUFFERS] = _event(self._network)
            leaving = self._bring_out(k, output)
            # Only now: the device has clip k to work on while the host waits for k - 1.
            if before is not None:
                before[1].synchronize()
                yield before
            before = leaving
        if before is not None:
            before[1].synchronize()
            yield before

    def _take_in(self, k: int, clip: Tensor) -> torch.cuda.Event:
        with torch.cuda.stream(self._way_in):
            self._way_in.wait_event(self._computed[k % _BUFFERS])  # of clip k - 2, or of an earlier stream
            self._inputs[k % _BUFFERS].copy_(clip, non_blocking=True)
            return _event(self._way_in)

    def _bring_out(self, k: int, output: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """The landing is free: whoever had what lay there has asked for another since."""
        landing = self._landings[k % _BUFFERS]
        with torch.cuda.stream(self._way_out):
            self._way_out.wait_event(self._computed[k % _BUFFERS])
            landing.copy_(output, non_blocking=True)
            output.record_stream(self._way_out)  # its memory is the network's stream's to use again
            return landing, _event(self._way_out)


def timed_stream(
    pipeline: Overlapped, clips: Sequence[Tensor], *, clock: Clock = MONOTONIC
) -> tuple[Tensor, Timed]:
    """The last clip's output, and the seconds per clip from the arrival of the first output to that of the
    last: the way in of the first clip, which nothing overlaps, is no part of it. Two clips at least."""
    arrivals = [(clock(), *arrived) for arrived in pipeline.stream(clips)]
    (first_s, _, first), (last_s, output, last) = arrivals[0], arrivals[-1]
    steps = len(arrivals) - 1
    device_s = first.elapsed_time(last) / 1000 / steps
    return output, Timed(start_s=first_s, wall_s=(last_s - first_s) / steps, device_s=device_s)


def _stream(device: Device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device.torch_device)  # type: ignore[no-untyped-call]


def _event(stream: torch.cuda.Stream) -> torch.cuda.Event:
    """An event at the end of what the stream has so far."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(stream)
    return event
