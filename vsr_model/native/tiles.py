"""How the compiled kernel divides channels and pixels, and what its threads hold meanwhile."""

from typing import Final

CHANNELS: Final = 16
"""Images have a multiple of so many channels: the kernel takes as many at once, on any processor."""

TILES: Final = {3: 6, 7: 4}
"""The output tile by kernel size. Larger ones need fewer multiplications and round more."""

BFLOAT16_TILE: Final = 4
"""The same of 3x3 convolutions whose factors are rounded to bfloat16."""

_BLOCK_BYTES: Final = 1200 << 10  # of tiles that a thread has in hand, at least as many as follow
_ROWS: Final = 6
_PAGE_BYTES: Final = 2 << 20
_FLOAT_BYTES: Final = 4


def padded(channels: int) -> int:
    """Return the least multiple of 16 that holds so many channels."""
    return -(-channels // CHANNELS) * CHANNELS


def thread_bytes(channels: int) -> int:
    """Return what `Scratch` in winograd.cpp takes for so many channels, in and out together."""
    matrices = (TILES[3] + 2) ** 2
    block = (
        max(_BLOCK_BYTES, _ROWS * matrices * channels * _FLOAT_BYTES) + matrices * 2 * CHANNELS * _FLOAT_BYTES
    )
    return -(-block // _PAGE_BYTES) * _PAGE_BYTES
