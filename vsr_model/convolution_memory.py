"""What convolutions by im2col and FFT keep and work in (`vsr_model.convolutions`). Free of torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vsr_model.cost import FLOAT_BYTES, FLOW_CHANNELS, FLOW_LEVELS, OUTPUT_CHANNELS, RGB, aligned

CPU_BAND_BYTES: Final = 2**24
DEVICE_BAND_BYTES: Final = 2**28
"""What is computed at once: so many images, or rows of one, that their columns, or spectra, take at most
this, and one row of one image at least. On a CPU they are then still in a cache, or nearly; a GPU needs more
work at a time."""

_SMALL_TILE: Final = 16
_LARGE_TILE: Final = 32
_COMPLEX_BYTES: Final = 8
_SPECTRA_COPIES: Final = 4
"""How often a band of tiles is there at the worst moment: as it is, as spectra, reordered, and multiplied."""


def tile_size(kernel_size: int, size: int) -> int:
    """The power of two that tiles are of along an axis of `size` pixels."""
    largest = _SMALL_TILE if kernel_size <= 3 else _LARGE_TILE
    whole: int = 1 << (size + kernel_size - 2).bit_length()  # at least size + kernel_size - 1
    return min(whole, largest)


def frequencies(kernel_size: int, height: int, width: int) -> int:
    """How many complex numbers the spectrum of a tile has, for an image of that size."""
    return tile_size(kernel_size, height) * (tile_size(kernel_size, width) // 2 + 1)


def at_once(images: int, rows: int, row_bytes: int, limit_bytes: int) -> tuple[int, int]:
    """How many images, and rows of each, are computed at once: whole images where one keeps to the limit."""
    if rows * row_bytes <= limit_bytes:
        return max(1, min(images, limit_bytes // (rows * row_bytes))), rows
    return 1, max(1, limit_bytes // row_bytes)


def columns_row_bytes(kernel: int, channels: int, width: int, bytes_per_element: int) -> int:
    """Of the columns of one row of pixels."""
    return channels * kernel**2 * width * bytes_per_element


def spectra_row_bytes(kernel: int, channels: int, height: int, width: int, element_bytes: int) -> int:
    """Of the spectra of one row of tiles, of inputs and outputs, which have so many channels together."""
    across = -(-width // (tile_size(kernel, width) - kernel + 1))
    return across * channels * frequencies(kernel, height, width) * element_bytes


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Convolutions of one kind, how many the network has, and what one is given in a call."""

    count: int
    kernel: int
    channels_in: int
    channels_out: int
    height: int
    width: int
    images: int = 1
    bytes_per_element: int = FLOAT_BYTES

    @property
    def weights(self) -> int:
        return self.count * self.channels_in * self.channels_out

    def columns_bytes(self, limit_bytes: int) -> int:
        kernel, size = self.kernel, self.bytes_per_element
        row_bytes = columns_row_bytes(kernel, self.channels_in, self.width, size)
        images, rows = at_once(self.images, self.height, row_bytes, limit_bytes)
        outputs = size * self.channels_out * rows * self.width
        inputs = size * self.channels_in * (rows + kernel - 1) * (self.width + kernel - 1)
        padded = size * self.channels_in * (self.height + kernel - 1) * (self.width + kernel - 1)
        return images * (rows * row_bytes + outputs + inputs + padded)

    def tiles_bytes(self, limit_bytes: int) -> int:
        channels = self.channels_in + self.channels_out
        row_bytes = spectra_row_bytes(self.kernel, channels, self.height, self.width, _COMPLEX_BYTES)
        tile = tile_size(self.kernel, self.height)
        tile_rows = -(-self.height // (tile - self.kernel + 1))
        images, rows = at_once(self.images, tile_rows, row_bytes, limit_bytes)
        # Padded to whole tiles.
        padded_height = self.height + 2 * tile
        padded_width = self.width + 2 * tile_size(self.kernel, self.width)
        padded = FLOAT_BYTES * self.channels_in * padded_height * padded_width
        return images * (_SPECTRA_COPIES * rows * row_bytes + padded)


def _layers(
    *,
    mid_channels: int,
    num_blocks: int,
    height: int,
    width: int,
    batch: int = 1,
    pairs: int = 1,
    upsampled: int = 1,
    bytes_per_element: int = FLOAT_BYTES,
) -> Iterator[_Layer]:
    mid, out = mid_channels, OUTPUT_CHANNELS
    trunk = (2, 1, RGB + mid, mid), (2 * 2 * num_blocks, 1, mid, mid)
    upsampling = (1, 1, mid, 4 * mid), (1, 2, mid, 4 * out), (1, 4, out, out), (1, 4, out, RGB)
    for layers, images in ((trunk, batch), (upsampling, batch * upsampled)):
        for count, scale, channels_in, channels_out in layers:
            yield _Layer(
                count=count,
                kernel=3,
                channels_in=channels_in,
                channels_out=channels_out,
                height=scale * height,
                width=scale * width,
                images=images,
                bytes_per_element=bytes_per_element,
            )
    for level in range(FLOW_LEVELS) if pairs else ():
        for channels_in, channels_out in pairwise(FLOW_CHANNELS):
            yield _Layer(
                count=1,
                kernel=7,
                channels_in=channels_in,
                channels_out=channels_out,
                height=aligned(height) >> level,
                width=aligned(width) >> level,
                images=batch * pairs,
            )


def spectra_bytes(*, mid_channels: int, num_blocks: int, height: int, width: int) -> int:
    """Of what a network keeps after a call in float32 for two frames or more of that size: the weights'
    spectra, and the copy of the weights that those for other sizes are made of."""
    layers = _layers(mid_channels=mid_channels, num_blocks=num_blocks, height=height, width=width)
    return sum(
        layer.weights
        * (
            _COMPLEX_BYTES * frequencies(layer.kernel, layer.height, layer.width)
            + FLOAT_BYTES * layer.kernel**2
        )
        for layer in layers
    )


def working_bytes(
    method: str,
    *,
    mid_channels: int,
    batch: int,
    pairs: int,
    upsampled: int,
    height: int,
    width: int,
    bytes_per_element: int = FLOAT_BYTES,
    on_cpu: bool = True,
) -> int:
    """The most that one convolution by `im2col` or `fft` works in, beside its input and output.

    `pairs` of frames have their flow estimated at once, `upsampled` frames are enlarged at once, of each of
    `batch` clips. It is a band's columns, or spectra in all their copies, and the padded images.
    """
    limit_bytes = CPU_BAND_BYTES if on_cpu else DEVICE_BAND_BYTES
    layers = _layers(
        mid_channels=mid_channels,
        num_blocks=1,
        height=height,
        width=width,
        batch=batch,
        pairs=pairs,
        upsampled=upsampled,
        bytes_per_element=bytes_per_element,
    )
    return max(
        layer.columns_bytes(limit_bytes) if method == "im2col" else layer.tiles_bytes(limit_bytes)
        for layer in layers
    )
