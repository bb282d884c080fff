"""Deformable convolutions, which sample their input where offsets point, in plain PyTorch.

Dai et al., ICCV 2017 (without a mask, v1), and Zhu et al., CVPR 2019 (with one, v2).
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import conv3x3

TAPS: Final = 9  # of a 3x3 kernel, row by row


def deform_conv3x3(
    features: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask: Tensor | None = None,
) -> Tensor:
    """Convolve `features` (n, c, h, w) by `weight` (o, c, 3, 3) at moved positions; the size stays.

    `offsets` are (n, 18 groups, h, w) in pixels, by group, tap, and (vertical, horizontal); each group moves
    its own part of the channels. `mask` (n, 9 groups, h, w) weights the samples. What lies outside is zero.
    At zero offsets, and with a mask of ones, this is a convolution. Positions and samples have the precision
    of the offsets, the products and the result that of `weight`.
    """
    n, channels, height, width = features.shape
    groups = offsets.shape[1] // (2 * TAPS)
    moved = offsets.view(n * groups, TAPS, 2, height, width)
    rows = moved[:, :, 0] + _positions(height, moved).view(1, 1, height, 1) + _taps(moved)[0]
    columns = moved[:, :, 1] + _positions(width, moved).view(1, 1, 1, width) + _taps(moved)[1]
    grid = torch.stack(((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), -1)
    samples = F.grid_sample(
        features.to(offsets.dtype).reshape(n * groups, channels // groups, height, width),
        grid.view(n * groups, TAPS * height, width, 2),
        mode="bilinear", padding_mode="zeros", align_corners=False,
    ).view(n, groups, channels // groups, TAPS, height * width)  # fmt: skip
    if mask is not None:
        samples = samples * mask.view(n, groups, 1, TAPS, height * width)
    columns_of_kernel = samples.reshape(n, channels * TAPS, height * width).to(weight.dtype)
    output = torch.bmm(weight.flatten(1).expand(n, -1, -1), columns_of_kernel).view(n, -1, height, width)
    return output if bias is None else output + bias.view(1, -1, 1, 1)


class ModulatedDeform(nn.Module):
    """A deformable convolution with a mask, whose offsets a convolution predicts (a "DCNv2 pack")."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        reference = conv3x3(channels, channels)
        self.weight, self.bias = reference.weight, reference.bias
        self.conv_offset = conv3x3(channels, 3 * TAPS * groups)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Convolve `features` (n, c, h, w) where `guide`, of the same shape, says."""
        first, second, mask = self.conv_offset(guide).float().chunk(3, 1)
        offsets = torch.cat((first, second), 1)
        return deform_conv3x3(features, offsets, self.weight, self.bias, mask=torch.sigmoid(mask))


def _positions(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device)


def _taps(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns of a kernel's taps around its centre, each (1, 9, 1, 1)."""
    steps = torch.arange(-1, 2, dtype=like.dtype, device=like.device)
    return steps.repeat_interleave(3).view(1, TAPS, 1, 1), steps.repeat(3).view(1, TAPS, 1, 1)
