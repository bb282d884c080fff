"""Features on their way between a device and host memory: the seam behind which CUDA is."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

_BUFFERS: Final = 2  # one travels while the other is filled or emptied


class CudaCopies:
    """Copies between a GPU's memory and page-locked buffers, which run on while the caller goes on.

    They are made by the device, in the order of its current stream's work.
    """

    def buffer(self, like: Tensor) -> Tensor:
        """Return page-locked memory with shape, strides and dtype of `like`."""
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, pin_memory=True)

    def start(self, source: Tensor, target: Tensor) -> Callable[[], None]:
        """Begin to copy between a buffer and a tensor of the device; return what waits until it is done.

        Until then the buffer belongs to the copy; a tensor of the device may be used at once, as what uses it
        comes later in that order.
        """
        target.copy_(source, non_blocking=True)
        done: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream((source if source.is_cuda else target).device))
        wait: Callable[[], None] = done.synchronize
        return wait


class _Buffer:
    """A buffer, and what has to happen before it is used again."""

    def __init__(self, memory: Tensor) -> None:
        self._memory = memory
        self.finish: Callable[[], object] | None = None

    def free(self) -> Tensor:
        if self.finish is not None:
            self.finish()
            self.finish = None
        return self._memory


class Carrier:
    """Takes features from a device to host memory, and back: from a GPU through two buffers in turn.

    Only the buffers are page-locked: what is kept may be most of the machine's memory, or a file. Where the
    device's memory is the host's (`copies` is None) there are none.
    """

    def __init__(self, device: torch.device, copies: CudaCopies | None) -> None:
        self._device, self._copies = device, copies
        self._buffers: list[_Buffer] = []
        self._turn = 0
        self._storing = False

    def store(self, features: Tensor, keep: Callable[[Tensor], object]) -> None:
        """Have `keep` called with `features` in host memory, at the latest before the first `load`."""
        if self._copies is None:
            keep(features)
            return
        buffer = self._next(features)
        memory = buffer.free()
        arrived = self._copies.start(features, memory)

        def finish() -> None:
            arrived()
            keep(memory)

        buffer.finish = finish
        self._storing = True

    def load(self, like: Tensor, fill: Callable[[Tensor], object]) -> Tensor:
        """Return features of the form of `like`, on the device, which `fill` puts into host memory."""
        features = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=self._device)
        if self._copies is None:
            fill(features)
            return features
        if self._storing:  # what is still on its way may be what is asked for
            for buffer in self._buffers:
                buffer.free()
            self._storing = False
        buffer = self._next(like)
        memory = buffer.free()
        fill(memory)
        buffer.finish = self._copies.start(memory, features)
        return features

    def _next(self, like: Tensor) -> _Buffer:
        assert self._copies is not None
        if len(self._buffers) < _BUFFERS:
            form = torch.empty_like(like, device="meta")  # without gaps
            self._buffers.append(_Buffer(self._copies.buffer(form)))
        self._turn += 1
        return self._buffers[self._turn % len(self._buffers)]
