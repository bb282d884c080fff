"""Networks that see a window of frames, and give the middle one."""

from typing import Literal

import torch
from torch import Tensor

from vsr_model.network import Network, check_clip
from vsr_model.stages import UPSAMPLING, StageProbe, no_probe

Ends = Literal["far", "mirror", "repeat"]


class WindowNetwork(Network):
    """A network that is called for each frame with a window around it."""

    window: int
    ends: Ends

    @property
    def centre(self) -> int:
        """Index in a window of the frame that it is for."""
        return (self.window - 1) // 2

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], window by window; see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        frames = lrs.shape[1]
        enlarged = [
            self.middle([lrs[:, i] for i in around(index, frames, self.window, self.ends)], probe)
            for index in range(frames)
        ]
        with probe(UPSAMPLING):
            return torch.stack(enlarged, 1)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, scale h, scale w), in float32."""
        raise NotImplementedError


def around(middle: int, frames: int, window: int, ends: Ends) -> list[int]:
    """Return the indices of a window around a frame, those beyond the clip's ends replaced.

    By `far`, frames beyond the other side of the window stand in, so that none is there twice as long as the
    clip has enough; by `mirror` those at the same distance from the end; by `repeat` the last one.
    """
    reach, last = (window - 1) // 2, frames - 1

    def inside(index: int) -> int:
        if 0 <= index <= last:
            return index
        beyond = -index if index < 0 else index - last
        if ends == "far":
            index = middle + reach + beyond if index < 0 else middle - reach - beyond
        elif ends == "mirror" and last > 0:
            beyond %= 2 * last
            beyond = min(beyond, 2 * last - beyond)
            index = beyond if index < 0 else last - beyond
        return min(max(index, 0), last)

    return [inside(index) for index in range(middle - reach, middle - reach + window)]
