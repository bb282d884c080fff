"""A second queue of work beside the current one: what schedules know of a device, and no more.

On CUDA it is a stream. What stands for it elsewhere does the work at once, so that schedules run, and are
tested, without a GPU.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Queue(Protocol):
    """Work given to it may run beside what the current queue is given afterwards."""

    def beside(self, *used: Tensor) -> AbstractContextManager[None]:
        """Work of the block goes to this queue, and starts when what the current one has so far is done.

        `used` are the tensors that it reads and that were made on the current queue.
        """

    def join(self, *made: Tensor) -> None:
        """The current queue waits for all that this one has; `made` are the tensors that it reads then."""


class AtOnce:
    """No queue: work is done when it is given."""

    @contextmanager
    def beside(self, *_used: Tensor) -> Iterator[None]:
        yield

    def join(self, *_made: Tensor) -> None:
        """It is done."""


class CudaQueue:
    """A stream of a CUDA device.

    Memory belongs to the stream that it was allocated on, and is used again there as soon as its tensor is
    gone: `record_stream` has the allocator wait for the other stream's work, too.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def beside(self, *used: Tensor) -> Iterator[None]:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for tensor in used:
                tensor.record_stream(self._stream)
            yield

    def join(self, *made: Tensor) -> None:
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in made:
            tensor.record_stream(current)


def queue_of(device: torch.device) -> Queue:
    """A queue of its own on that device."""
    return CudaQueue(device) if device.type == "cuda" else AtOnce()
