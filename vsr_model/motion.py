"""VESPCN's motion between two frames of luma (Caballero et al., CVPR 2017), and what follows it.

As in the TensorFlow rebuild of psychopa4/PFNL, whose padding is TensorFlow's: at a stride of two it has less
before than after.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import conv3x3
from vsr_model.warp import warp

CHANNELS: Final = 24
MULTIPLE: Final = 4  # of both sides: the coarse flow is a quarter as large


class Halving(nn.Conv2d):
    """A convolution of stride two, padded as by TensorFlow for even sides."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__(channels_in, channels_out, size, stride=2)
        before = (size - 2) // 2
        self.pads = (before, size - 2 - before) * 2

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h / 2, w / 2)."""
        return super().forward(F.pad(features, self.pads))


class MotionNet(nn.Module):
    """Flow in two steps: coarse from a quarter of the size, and a finer correction."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c3 = Halving(2, CHANNELS, 5), Halving(CHANNELS, CHANNELS, 5)
        self.c2, self.c4 = conv3x3(CHANNELS, CHANNELS), conv3x3(CHANNELS, CHANNELS)
        self.c5 = conv3x3(CHANNELS, 2 * 4**2)
        self.s1 = Halving(5, CHANNELS, 5)
        self.s2, self.s3, self.s4 = (conv3x3(CHANNELS, CHANNELS) for _ in range(3))
        self.s5 = conv3x3(CHANNELS, 2 * 2**2)

    def forward(self, frame: Tensor, other: Tensor) -> Tensor:
        """Return the flow (n, 2, h, w), of at most two pixels, from luma (n, 1, h, w) into another."""
        pair = torch.cat((frame, other), 1)
        coarse = self._run(pair, "c", 4)
        warped = warp(other, coarse, padding_mode="border").clamp(0, 1)
        return coarse + self._run(torch.cat((pair, coarse, warped), 1), "s", 2)

    def _run(self, inputs: Tensor, part: str, factor: int) -> Tensor:
        for number in range(1, 5):
            inputs = F.relu(self.get_submodule(f"{part}{number}")(inputs), inplace=True)
        return F.pixel_shuffle(torch.tanh(self.get_submodule(f"{part}5")(inputs)), factor)


def splat(image: Tensor, flow: Tensor, scale: int = 1) -> Tensor:
    """Move each pixel of `image` (n, c, h, w) along `flow` (n, 2, h, w), in pixels, onto (n, c, sh, sw).

    A pixel is divided among the four positions around its own; what leaves the image stays at its border. The
    sum of all pixels is kept.
    """
    n, channels, height, width = image.shape
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device).view(1, height, 1)
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device).view(1, 1, width)
    x, y = scale * (columns + flow[:, 0]), scale * (rows + flow[:, 1])
    left, top = x.floor(), y.floor()
    made = image.new_zeros(n, channels, scale * height * scale * width)
    for at_row, at_column, weight in (
        (top, left, (top + 1 - y) * (left + 1 - x)),
        (top, left + 1, (top + 1 - y) * (x - left)),
        (top + 1, left, (y - top) * (left + 1 - x)),
        (top + 1, left + 1, (y - top) * (x - left)),
    ):
        place = at_row.clamp(0, scale * height - 1) * (scale * width) + at_column.clamp(0, scale * width - 1)
        index = place.long().view(n, 1, -1).expand(-1, channels, -1)
        made = made.scatter_add(2, index, (image * weight.unsqueeze(1)).flatten(2))
    return made.view(n, channels, scale * height, scale * width)
