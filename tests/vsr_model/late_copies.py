"""Stands for a device whose copies run on while the program does: what is used too early is wrong."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


class LateCopies:
    """A `CopyEngine` between tensors of the CPU.

    A copy into a buffer arrives when it is waited for, and until then the buffer holds nonsense. A copy out
    of a buffer is refused when the buffer was changed before it was waited for.
    """

    def __init__(self) -> None:
        self.buffers: list[Tensor] = []
        self.started = self.waited = 0

    def buffer(self, like: Tensor) -> Tensor:
        made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
        self.buffers.append(made)
        return made

    def start(self, source: Tensor, target: Tensor) -> Callable[[], None]:
        self.started += 1
        to_host = any(target is buffer for buffer in self.buffers)
        assert to_host is not any(source is buffer for buffer in self.buffers), "one of both is a buffer"
        with _disable_current_modes():  # who counts tensors is not to count this one
            as_it_was = source.clone()
        if to_host:
            target.fill_(float("nan"))
            return lambda: self._arrive(as_it_was, target)
        target.copy_(source)
        return lambda: self._leave(as_it_was, source)

    def _arrive(self, sent: Tensor, buffer: Tensor) -> None:
        self.waited += 1
        buffer.copy_(sent)

    def _leave(self, sent: Tensor, buffer: Tensor) -> None:
        self.waited += 1
        assert torch.equal(buffer, sent), "the buffer was filled again while it travelled"
