"""Convolutions whose output has their input's size, computed band by band."""

from collections.abc import Iterator
from typing import Final, Self

import torch
from torch import Tensor, nn

from vsr_model.layers import is_channels_last

CPU_BAND_BYTES: Final = 2**24
DEVICE_BAND_BYTES: Final = 2**28
"""The most that the columns, or spectra, of one band take: some images, or rows of one image, and at least
one row. On a CPU they are then still in a cache, or nearly; a GPU needs more work at a time."""


def keeps_size(convolution: nn.Conv2d) -> bool:
    """Tell whether a convolution can be replaced: square, odd and larger than 1x1, of stride 1, padded with
    zeros to its input's size, with a bias, and not grouped."""
    height, width = convolution.kernel_size
    return (
        height == width > 1
        and height % 2 == 1
        and convolution.padding == (height // 2, width // 2)
        and convolution.padding_mode == "zeros"
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.bias is not None
    )


class SameSizeConv2d(nn.Conv2d):
    """A convolution that `keeps_size`, with another's parameters."""

    bias: Tensor
    limit_bytes: int  # of what is computed at once

    @classmethod
    def of(cls, plain: nn.Conv2d, limit_bytes: int) -> Self:
        """Make one with the parameters of `plain`."""
        size = plain.kernel_size[0]
        # On the meta device nothing is drawn for weights that are replaced at once.
        made = cls(plain.in_channels, plain.out_channels, size, padding=size // 2, device="meta")
        assert plain.bias is not None
        made.weight, made.bias = plain.weight, plain.bias
        made.limit_bytes = limit_bytes
        return made.train(plain.training)

    def blank_output(self, features: Tensor) -> Tensor:
        """Return an output without values, in the layout of the library's: see `is_channels_last`."""
        n, _, height, width = features.shape
        layout = torch.channels_last if self.is_channels_last(features) else torch.contiguous_format
        shape = n, self.out_channels, height, width
        return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=layout)

    def is_channels_last(self, features: Tensor) -> bool:
        """Tell whether the output is channels last: where the input or the weights are."""
        return is_channels_last(features) or is_channels_last(self.weight)

    def bands(self, images: int, rows: int, row_bytes: int) -> tuple[int, list[tuple[int, int]]]:
        """Return how many images are computed at once, and the bands of rows of each: whole images where one
        keeps to the limit."""
        if rows * row_bytes <= self.limit_bytes:
            return max(1, min(images, self.limit_bytes // (rows * row_bytes))), [(0, rows)]
        return 1, list(ranges(rows, max(1, self.limit_bytes // row_bytes)))


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the start and stop of ranges of `step`, and of a shorter last one."""
    for start in range(0, length, step):
        yield start, min(start + step, length)
