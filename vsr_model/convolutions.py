"""Convolutions that compute otherwise than the library's own: by a product of matrices, or of spectra.

Each is an `nn.Conv2d` with the parameters, under the names, of the one that it stands for. The columns of
im2col are those of Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006; spectra are multiplied as in Mathieu, Henaff and LeCun, "Fast Training of Convolutional
Networks through FFTs", 2014, but of tiles, which overlap (overlap-save).
"""

from collections.abc import Iterator
from typing import Final, Literal, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import is_channels_last
from vsr_model.network import title_of

Method: TypeAlias = Literal["im2col", "fft"]

CPU_BAND_BYTES: Final = 2**24
DEVICE_BAND_BYTES: Final = 2**28
"""What is computed at once: so many images, or rows of one, that their columns, or spectra, take at most
this, and one row of one image at least. On a CPU they are then still in a cache, or nearly; a GPU needs more
work at a time."""

_SMALL_TILE: Final = 16
_LARGE_TILE: Final = 32


def replace_convolutions(network: nn.Module, method: Method, *, on_cpu: bool) -> None:
    """Have every convolution of 3x3 and larger that keeps the size computed by `method`, in place.

    Parameters are the same objects under the same names. Those of 1x1 are matrix products already, and stay.
    Do it after the network is on its device and in its types, and again after the weights have changed.
    `on_cpu` says what that device is, or stands for: it decides how much is computed at once. Raises
    ValueError for a network that has none.
    """
    kinds: dict[Method, type[_SameSize]] = {"im2col": Im2colConv2d, "fft": FftConv2d}
    replaced = False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or type(child) not in (nn.Conv2d, *kinds.values()):
                continue
            if keeps_size(child):
                setattr(
                    module, name, kinds[method].of(child, CPU_BAND_BYTES if on_cpu else DEVICE_BAND_BYTES)
                )
                replaced = True
    if not replaced:
        raise ValueError(
            f"{title_of(network)} has no convolution that {method} can compute: square, odd and larger "
            "than 1x1, of stride 1, padded to its input's size, with a bias, and not grouped."
        )


def keeps_size(convolution: nn.Conv2d) -> bool:
    """Whether it is what is replaced: square, odd and larger than 1x1, of stride 1, padded with zeros to its
    input's size, with a bias, and not grouped."""
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


class _SameSize(nn.Conv2d):
    """A convolution that `keeps_size`, with another's parameters."""

    limit_bytes: int  # of what is computed at once

    @classmethod
    def of(cls, plain: nn.Conv2d, limit_bytes: int) -> Self:
        size = plain.kernel_size[0]
        # On the meta device nothing is drawn for weights that are replaced at once.
        made = cls(plain.in_channels, plain.out_channels, size, padding=size // 2, device="meta")
        made.weight, made.bias = plain.weight, plain.bias
        made.limit_bytes = limit_bytes
        return made.train(plain.training)

    def _blank_output(self, features: Tensor) -> Tensor:
        """As the library's: channels last where the input's or the weights' are."""
        n, _, height, width = features.shape
        layout = torch.channels_last if self._is_channels_last(features) else torch.contiguous_format
        shape = n, self.out_channels, height, width
        return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=layout)

    def _is_channels_last(self, features: Tensor) -> bool:
        return is_channels_last(features) or is_channels_last(self.weight)


class Im2colConv2d(_SameSize):
    """Copies each pixel's neighbourhood into a column, and multiplies the weights by the matrix of these.

    A neighbourhood has 9 or 49 times as many numbers as a pixel, so that images, and bands of rows of large
    ones, take their turns.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self._blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        row_bytes = columns_row_bytes(size, channels, width, features.element_size())
        images, rows = at_once(n, height, row_bytes, self.limit_bytes)
        fill = self._fill_channels_last if self._is_channels_last(features) else self._fill
        for first, last in _bands(n, images):
            padded = F.pad(features[first:last], (size // 2,) * 4)
            fill(padded, output[first:last], list(_bands(height, rows)))
            del padded  # before the next is made
        return output

    def _fill(self, padded: Tensor, output: Tensor, bands: list[tuple[int, int]]) -> None:
        n, _, _, width = output.shape
        size = self.kernel_size[0]
        matrix = self.weight.reshape(self.out_channels, -1).expand(n, -1, -1)
        assert self.bias is not None
        bias = self.bias.view(1, -1, 1)
        for top, bottom in bands:
            columns = F.unfold(padded[:, :, top : bottom + size - 1], size)
            product = torch.baddbmm(bias, matrix, columns)
            output[:, :, top:bottom] = product.view(n, -1, bottom - top, width)
            del columns, product  # before the next are made

    def _fill_channels_last(self, padded: Tensor, output: Tensor, bands: list[tuple[int, int]]) -> None:
        """A pixel's channels lie together: a neighbourhood is a row, by its rows, columns, and channels."""
        n, _, _, width = output.shape
        size = self.kernel_size[0]
        assert self.bias is not None
        matrix = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1).t()
        pixels, outputs = padded.permute(0, 2, 3, 1), output.permute(0, 2, 3, 1)
        windows = pixels.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
        for top, bottom in bands:
            neighbourhoods = windows[:, top:bottom].reshape(-1, matrix.shape[0])
            product = torch.addmm(self.bias, neighbourhoods, matrix)
            outputs[:, top:bottom] = product.view(n, bottom - top, width, -1)
            del neighbourhoods, product  # before the next are made


class FftConv2d(_SameSize):
    """Multiplies the spectra of overlapping tiles by those of the weights, frequency by frequency.

    Tiles are of 16x16 for kernels of 3x3 and of 32x32 for larger ones, smaller for small inputs. The spectra
    are of the weights as they are when this takes another's place: computed at the first call for each size
    of tile, and kept. Whoever changes weights replaces convolutions again; only where autograd records a call
    are they taken as they are then. Spectra are large: 144 complex numbers (of 32x32 tiles 544) where the
    weights have 9 (49) real ones. Takes float32 and float64.
    """

    def __init__(self, *args: int, **options: int | str) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._kept_of = self.weight.detach()

    @classmethod
    def of(cls, plain: nn.Conv2d, limit_bytes: int) -> Self:
        made = super().of(plain, limit_bytes)
        # Tensors of inference mode could not be used where features are recorded.
        with torch.inference_mode(mode=False):
            made._kept_of = plain.weight.detach().clone()
        return made

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self._blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        tile = tile_size(size, height), tile_size(size, width)
        down_step, across_step = tile[0] - size + 1, tile[1] - size + 1
        down, across = -(-height // down_step), -(-width // across_step)
        before = size // 2
        below = down * down_step + size - 1 - before - height
        beside = across * across_step + size - 1 - before - width
        weights = self._weights(tile)
        assert self.bias is not None
        bias = self.bias.view(1, -1, 1, 1)
        all_channels = channels + self.out_channels
        row_bytes = spectra_row_bytes(size, all_channels, height, width, weights.element_size())
        images, down_at_once = at_once(n, down, row_bytes, self.limit_bytes)
        for first, last in _bands(n, images):
            padded = F.pad(features[first:last], (before, beside, before, below))
            tiles = padded.unfold(2, tile[0], down_step).unfold(3, tile[1], across_step)
            for top, bottom in _bands(down, down_at_once):
                found = _products(tiles[:, :, top:bottom], weights, tile)[..., :down_step, :across_step]
                shape = last - first, self.out_channels, (bottom - top) * down_step, -1
                joined = found.transpose(3, 4).reshape(shape)
                rows = slice(top * down_step, min(bottom * down_step, height))
                output[first:last, :, rows] = joined[:, :, : rows.stop - rows.start, :width] + bias
                del found, joined  # before the next are made
            del padded, tiles
        return output

    def _weights(self, tile: tuple[int, int]) -> Tensor:
        """Spectra (frequencies, c_in, c_out) of the weights for tiles of this size."""
        if torch.is_grad_enabled() and self.weight.requires_grad:  # kept ones would be another call's
            return _spectra(self.weight, tile)
        if tile not in self._kept:
            with torch.inference_mode(mode=False):
                self._kept[tile] = _spectra(self._kept_of, tile)
        return self._kept[tile]


def _spectra(weight: Tensor, tile: tuple[int, int]) -> Tensor:
    spectra: Tensor = torch.fft.rfft2(weight.contiguous(), s=tile)
    # Conjugate, since what networks call convolution is correlation.
    return spectra.conj().permute(2, 3, 1, 0).flatten(0, 1).resolve_conj().contiguous()


def _products(tiles: Tensor, weights: Tensor, tile: tuple[int, int]) -> Tensor:
    """Tiles (n, c_in, down, across, *tile) to (n, c_out, down, across, *tile); the last rows and columns of
    each, one fewer than a kernel has, have wrapped around."""
    n, _, down, across, *_ = tiles.shape
    spectra = torch.fft.rfft2(tiles).permute(4, 5, 0, 2, 3, 1)
    frequencies = spectra.shape[:2]
    product = torch.bmm(spectra.reshape(-1, n * down * across, tiles.shape[1]), weights)
    product = product.view(*frequencies, n, down, across, -1).permute(2, 5, 3, 4, 0, 1)
    found: Tensor = torch.fft.irfft2(product, s=tile)
    return found


def _bands(rows: int, step: int) -> Iterator[tuple[int, int]]:
    for top in range(0, rows, step):
        yield top, min(top + step, rows)


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
