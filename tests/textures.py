"""Clips of known motion."""

import math

import torch
from torch import Tensor

_WAVES = 12  # enough that no patch of the texture looks like another


def moving_texture(frames: int, height: int, width: int, seed: int) -> Tensor:
    """Return (frames, 3, height, width) RGB in [0, 1]: a texture that moves down by a pixel per frame and
    right by two, and wraps around at the edges, so that flow is known."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(height)[:, None] / height, torch.arange(width) / width
    highest = max(2, min(height, width) // 10)  # the shortest wave, ten pixels, survives 4:2:0 and codecs
    down, right = torch.randint(-highest, highest + 1, (2, 3, _WAVES, 1, 1), generator=generator)
    phases = torch.rand((3, _WAVES, 1, 1), generator=generator)
    waves = torch.cos(2 * math.pi * (down * rows + right * columns + phases)).sum(1)
    # The tanh spreads a sum of waves, which is mostly near its mean, over the whole range.
    texture = (torch.tanh(waves / math.sqrt(_WAVES / 2)) + 1) / 2
    return torch.stack([texture.roll((frame, 2 * frame), dims=(-2, -1)) for frame in range(frames)])
