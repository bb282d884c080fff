"""What convolutions by FFT keep, and in which tiles they work (`vsr_model.convolutions`). Free of torch."""

from itertools import pairwise
from typing import Final

from vsr_model.cost import FLOW_CHANNELS, FLOW_LEVELS, OUTPUT_CHANNELS, RGB, aligned

_SMALL_TILE: Final = 16
_LARGE_TILE: Final = 32
_COMPLEX_BYTES: Final = 8


def tile_size(kernel_size: int, size: int) -> int:
    """The power of two that tiles are of along an axis of `size` pixels."""
    largest = _SMALL_TILE if kernel_size <= 3 else _LARGE_TILE
    whole: int = 1 << (size + kernel_size - 2).bit_length()  # at least size + kernel_size - 1
    return min(whole, largest)


def frequencies(kernel_size: int, height: int, width: int) -> int:
    """How many complex numbers the spectrum of a tile has, for an image of that size."""
    return tile_size(kernel_size, height) * (tile_size(kernel_size, width) // 2 + 1)


def spectra_bytes(*, mid_channels: int, num_blocks: int, height: int, width: int) -> int:
    """Of the weights' spectra that a network keeps after a call in float32 for frames of that size.

    What a call works in beside the tensors between layers, tiles and padded inputs, is a convolution's
    workspace, and not estimated.
    """
    mid = mid_channels
    trunk = [(RGB + mid, mid)] + 2 * num_blocks * [(mid, mid)]
    upsampling = (
        (1, mid, 4 * mid),
        (2, mid, 4 * OUTPUT_CHANNELS),
        (4, OUTPUT_CHANNELS, OUTPUT_CHANNELS),
        (4, OUTPUT_CHANNELS, RGB),
    )
    numbers = 2 * frequencies(3, height, width) * sum(a * b for a, b in trunk)
    numbers += sum(frequencies(3, scale * height, scale * width) * a * b for scale, a, b in upsampling)
    of_level = sum(a * b for a, b in pairwise(FLOW_CHANNELS))
    numbers += of_level * sum(
        frequencies(7, aligned(height) >> level, aligned(width) >> level) for level in range(FLOW_LEVELS)
    )
    return _COMPLEX_BYTES * numbers
