"""Channels of a clip that are not RGB: luma, and what networks take beside the image."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA: Final = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Weights of R, G and B by ITU-R BT.601, for a luma from 16 to 235 of 255, on which networks are trained."""

BLOCK: Final = 8
"""Side of the blocks in which made channels are constant, in pixels, as a codec's smaller blocks are."""

MAX_SHIFT: Final = 4
"""Longest made motion, in pixels in each direction."""


def luma_of(rgb: Tensor) -> Tensor:
    """Return the luma (..., 1, h, w), from 16/255 to 235/255, of `rgb` (..., 3, h, w) in [0, 1]."""
    weights = rgb.new_tensor(LUMA).view(3, 1, 1)
    return (rgb * weights).sum(-3, keepdim=True) + 16 / 255


def with_chroma(luma: Tensor, rgb: Tensor) -> Tensor:
    """Return RGB (n, 3, H, W) of an enlarged `luma` (n, 1, H, W), with the chroma of `rgb` (n, 3, h, w).

    The chroma is enlarged by bicubic interpolation, as is usual for networks of luma.
    """
    # Chroma is what remains of RGB without its luma: it can be enlarged as it is, and has no luma itself.
    remainder = rgb - (luma_of(rgb) - 16 / 255) / sum(LUMA)
    enlarged = F.interpolate(remainder, luma.shape[-2:], mode="bicubic", align_corners=False)
    return enlarged + (luma - 16 / 255) / sum(LUMA)


def made(name: str, channels: int, clip: Tensor, *, seed: int = 0) -> Tensor:
    """Make `channels` of a kind that a network takes beside the image: (n, t, channels, h, w), float32.

    Values are constant in blocks, as those of a codec are. "motion_vectors" and "flows" are quarters of a
    pixel, at most 4 pixels; "side_maps" lie in [0, 1].
    """
    n, t, _, height, width = clip.shape
    blocks = (n, t, channels, -(-height // BLOCK), -(-width // BLOCK))
    generator = torch.Generator().manual_seed(seed)
    if name == "side_maps":
        values = torch.rand(blocks, generator=generator)
    else:
        quarters = torch.randint(-4 * MAX_SHIFT, 4 * MAX_SHIFT + 1, blocks, generator=generator)
        values = quarters / 4
    whole = values.repeat_interleave(BLOCK, 3).repeat_interleave(BLOCK, 4)
    return whole[..., :height, :width].to(clip.device)
