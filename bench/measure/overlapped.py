"""A stream of clips through a network on a CUDA device, with transfers beside the computation.

While a clip is computed, the next one is copied in and the last output is copied out, on two CUDA streams
of their own. Two buffers each way take turns, k % 2 for clip k; events keep a buffer from being written to
before whatever reads it is done.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from bench.measure.backends import Device
from bench.measure.timing import MONOTONIC, Clock, Timed

_BUFFERS: Final = 2


class Overlapped:
    """Streams clips of one shape through a network; host memory is page-locked on both sides."""

    def __init__(
        self, device: Device, forward: Callable[[Tensor], Any], *, clip: Tensor, output: Tensor
    ) -> None:
        """`clip` and `output` are on the host and of the shapes and types that all will have."""
        self._forward = forward
        self._compute = torch.cuda.current_stream(device.torch_device)
        self._copy_in, self._copy_out = _stream(device), _stream(device)
        with torch.inference_mode(mode=False):  # tensors of that mode may not be written to outside it
            self._inputs = [torch.empty_like(clip, device=device.torch_device) for _ in range(_BUFFERS)]
            self._landings = [device.page_locked(torch.empty_like(output)) for _ in range(_BUFFERS)]
        # The first copies in wait for these, too: the inputs' memory may still be in use by earlier work.
        self._computed = [_event(self._compute) for _ in range(_BUFFERS)]

    def stream(self, clips: Sequence[Tensor]) -> Iterator[tuple[Tensor, torch.cuda.Event]]:
        """Yield each clip's output (n, t, 3, 4h, 4w), in order, with the event of its arrival on the host.

        Clips are page-locked, and not written to until their output has come. An output may be read until the
        next one is asked for.
        """
        arriving = self._bring_in(0, clips[0])
        leaving: tuple[Tensor, torch.cuda.Event] | None = None
        for k in range(len(clips)):
            arrived = arriving
            # Queued before clip k's network, so that it is under way while the host launches that.
            if k + 1 < len(clips):
                arriving = self._bring_in(k + 1, clips[k + 1])
            self._compute.wait_event(arrived)
            output = self._forward(self._inputs[k % _BUFFERS])
            self._computed[k % _BUFFERS] = _event(self._compute)
            before, leaving = leaving, self._bring_out(k, output)
            # Only now: the device has clip k to work on while the host waits for k - 1.
            if before is not None:
                before[1].synchronize()
                yield before
        if leaving is not None:
            leaving[1].synchronize()
            yield leaving

    def _bring_in(self, k: int, clip: Tensor) -> torch.cuda.Event:
        with torch.cuda.stream(self._copy_in):
            self._copy_in.wait_event(self._computed[k % _BUFFERS])  # of clip k - 2, or of an earlier stream
            self._inputs[k % _BUFFERS].copy_(clip, non_blocking=True)
            return _event(self._copy_in)

    def _bring_out(self, k: int, output: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """Queue the copy of an output to its landing, which is free: a later output has been asked for."""
        landing = self._landings[k % _BUFFERS]
        with torch.cuda.stream(self._copy_out):
            self._copy_out.wait_event(self._computed[k % _BUFFERS])
            landing.copy_(output, non_blocking=True)
            output.record_stream(self._copy_out)  # its memory belongs to the network's stream
            return landing, _event(self._copy_out)


def timed_stream(
    pipeline: Overlapped, clips: Sequence[Tensor], *, clock: Clock = MONOTONIC
) -> tuple[Tensor, Timed]:
    """Return the last clip's output, and the time per clip from the first output's arrival to the last's.

    The first clip's way in, which nothing overlaps, is no part of it. It takes two clips at least.
    """
    arrivals = [(clock(), *arrived) for arrived in pipeline.stream(clips)]
    (first_s, _, first), (last_s, output, last) = arrivals[0], arrivals[-1]
    steps = len(arrivals) - 1
    device_s = first.elapsed_time(last) / 1000 / steps
    return output, Timed(start_s=first_s, wall_s=(last_s - first_s) / steps, device_s=device_s)


def _stream(device: Device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device.torch_device)  # type: ignore[no-untyped-call]


def _event(stream: torch.cuda.Stream) -> torch.cuda.Event:
    """Return an event at the end of the stream's work so far."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(stream)
    return event
