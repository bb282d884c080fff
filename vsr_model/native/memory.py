"""What the compiled kernel holds beside a network and its tensors, from configuration and shape. No torch."""

from itertools import pairwise
from typing import Final

from vsr_model.cost import FLOAT_BYTES, FLOW_CHANNELS, FLOW_LEVELS, OUTPUT_CHANNELS, RGB, aligned

CHANNELS: Final = 16
"""Images have a multiple of so many channels: the kernel takes as many at once, on any processor."""

TILES: Final = {3: 6, 7: 4}
"""The output tile by kernel size. Larger ones need fewer multiplications and round more."""

BFLOAT16_TILE: Final = 4
"""The same of 3x3 convolutions whose factors are rounded to bfloat16."""

_BLOCK_BYTES: Final = 1200 << 10  # of tiles that a thread has in hand, at least as many as follow
_ROWS: Final = 6
_PAGE_BYTES: Final = 2 << 20


def padded(channels: int) -> int:
    """The least multiple of 16 that holds so many channels."""
    return -(-channels // CHANNELS) * CHANNELS


def weight_bytes(*, mid_channels: int, num_blocks: int, in_bfloat16: bool = False) -> int:
    """Of all transformed weights, the residual blocks' in bfloat16 or not; the network keeps its own."""
    mid, out = padded(mid_channels), OUTPUT_CHANNELS
    blocks = 2 * 2 * num_blocks * mid**2
    block_bytes = blocks * (
        2 * (BFLOAT16_TILE + 2) ** 2 if in_bfloat16 else FLOAT_BYTES * (TILES[3] + 2) ** 2
    )
    trunk = [(padded(RGB), mid), (mid, mid)]
    upsampling = [(mid, 4 * mid), (mid, 4 * out), (out, out), (out, padded(RGB))]
    level = [(padded(a), padded(b)) for a, b in pairwise(FLOW_CHANNELS)]
    by_kernel = {3: 2 * trunk + upsampling, 7: FLOW_LEVELS * level}
    return block_bytes + FLOAT_BYTES * sum(
        (TILES[kernel] + kernel - 1) ** 2 * sum(a * b for a, b in layers)
        for kernel, layers in by_kernel.items()
    )


def scratch_bytes(
    *, mid_channels: int, batch: int, pairs: int, upsampled: int, height: int, width: int, threads: int
) -> int:
    """Of what is kept from call to call for values that live within one.

    `pairs` of frames have their flow estimated at once, `upsampled` frames are enlarged at once, of each of
    `batch` clips.
    """
    mid, out, pixels = padded(mid_channels), OUTPUT_CHANNELS, batch * height * width
    hidden = max(mid, upsampled * 16 * out)
    enlarged = upsampled * (4 * mid + 16 * out)
    residual = upsampled * 16 * padded(RGB)
    inputs = padded(RGB) + mid + upsampled * mid
    # What a level is given; its layers then write to two images in turn.
    given, *widths = map(padded, FLOW_CHANNELS)
    flow = batch * pairs * aligned(height) * aligned(width) * (given + max(widths[::2]) + max(widths[1::2]))
    return FLOAT_BYTES * (pixels * (hidden + enlarged + residual + inputs) + flow) + threads * _thread_bytes(
        mid
    )


def _thread_bytes(mid: int) -> int:
    """As `Scratch` in winograd.cpp takes for the widest convolutions, from features to four times as many."""
    matrices = (TILES[3] + 2) ** 2
    channels = max(5 * mid, mid + 4 * OUTPUT_CHANNELS)
    block = (
        max(_BLOCK_BYTES, _ROWS * matrices * channels * FLOAT_BYTES) + matrices * 2 * CHANNELS * FLOAT_BYTES
    )
    return -(-block // _PAGE_BYTES) * _PAGE_BYTES
