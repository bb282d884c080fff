"""Where the frames of a clip come from, when it is not there as one tensor on the device."""

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor


class FrameSource(Protocol):
    """A clip that is asked for a few neighbouring frames at a time.

    A call asks in the order that `memory_plan.frame_requests` gives for its plan, and takes all frames of a
    request before the next one: a decoder need not go anywhere at random.
    """

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w) of the whole clip."""
        ...

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """The frames from `start` to before `stop` in the order of time, each (n, 3, h, w), RGB in [0, 1].

        They may be on any device, and must be the same whenever they are asked for.
        """
        ...


class TensorFrames:
    """A clip (n, t, 3, h, w) that is in memory already. Its frames are views of it."""

    def __init__(self, lrs: Tensor) -> None:
        self._lrs = lrs

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w)."""
        n, t, c, h, w = self._lrs.shape
        return n, t, c, h, w

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """As `FrameSource.frames`."""
        return self._lrs[:, start:stop].unbind(1)
