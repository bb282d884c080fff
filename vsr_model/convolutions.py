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

from vsr_model.convolution_memory import tile_size
from vsr_model.layers import is_channels_last

Method: TypeAlias = Literal["im2col", "fft"]

CPU_BAND_BYTES: Final = 2**24
DEVICE_BAND_BYTES: Final = 2**28
"""What is computed at once: so many rows that their columns, or spectra, take at most this, and one at least.
On a CPU they are then still in a cache, or nearly; a GPU needs more work at a time."""


def replace_convolutions(network: nn.Module, method: Method) -> None:
    """Have every convolution of 3x3 and larger that keeps the size computed by `method`, in place.

    Parameters are the same objects under the same names. Those of 1x1 are matrix products already, and stay.
    Do it after the network is on its device and in its types; whoever changes weights later may.
    """
    kinds: dict[Method, type[_SameSize]] = {"im2col": Im2colConv2d, "fft": FftConv2d}
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Conv2d and keeps_size(child):
                setattr(module, name, kinds[method].of(child))


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

    @classmethod
    def of(cls, plain: nn.Conv2d) -> Self:
        size = plain.kernel_size[0]
        # On the meta device nothing is drawn for weights that are replaced at once.
        made = cls(plain.in_channels, plain.out_channels, size, padding=size // 2, device="meta")
        made.weight, made.bias = plain.weight, plain.bias
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

    A neighbourhood has 9 or 49 times as many numbers as a pixel, so that bands of rows take their turns.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self._blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        rows = _at_once(features, n * channels * size * size * width * features.element_size())
        padded = F.pad(features, (size // 2,) * 4)
        fill = self._fill_channels_last if self._is_channels_last(features) else self._fill
        fill(padded, output, list(_bands(height, rows)))
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


class FftConv2d(_SameSize):
    """Multiplies the spectra of overlapping tiles by those of the weights, frequency by frequency.

    Tiles are of 16x16 for kernels of 3x3 and of 32x32 for larger ones, smaller for small inputs. The spectra
    of the weights are computed at the first call for each size of tile and kept until the weights change.
    They are large: 144 complex numbers (of 32x32 tiles 544) where the weights have 9 (49) real ones. Takes
    float32 and float64.
    """

    def __init__(self, *args: int, **options: int | str) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._kept_of: tuple[object, ...] = ()

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
        padded = F.pad(features, (before, beside, before, below))
        tiles = padded.unfold(2, tile[0], down_step).unfold(3, tile[1], across_step)
        weights = self._weights(tile)
        assert self.bias is not None
        bias = self.bias.view(1, -1, 1, 1)
        row_bytes = n * across * weights.shape[0] * (channels + self.out_channels) * weights.element_size()
        for top, bottom in _bands(down, _at_once(features, row_bytes)):
            found = _products(tiles[:, :, top:bottom], weights, tile)[..., :down_step, :across_step]
            joined = found.transpose(3, 4).reshape(n, self.out_channels, (bottom - top) * down_step, -1)
            rows = slice(top * down_step, min(bottom * down_step, height))
            output[:, :, rows] = joined[:, :, : rows.stop - rows.start, :width] + bias
        return output

    def _weights(self, tile: tuple[int, int]) -> Tensor:
        """Spectra (frequencies, c_in, c_out) of the weights for tiles of this size."""
        if torch.is_grad_enabled() and self.weight.requires_grad:  # kept ones would be another call's
            return self._spectra(tile)
        of = (self.weight.data_ptr(), self.weight.device, self.weight.dtype, self.weight._version)
        if of != self._kept_of:
            self._kept, self._kept_of = {}, of
        if tile not in self._kept:
            self._kept[tile] = self._spectra(tile)
        return self._kept[tile]

    def _spectra(self, tile: tuple[int, int]) -> Tensor:
        spectra: Tensor = torch.fft.rfft2(self.weight.contiguous(), s=tile)
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


def _at_once(features: Tensor, row_bytes: int) -> int:
    limit = CPU_BAND_BYTES if features.device.type == "cpu" else DEVICE_BAND_BYTES
    return max(1, limit // row_bytes)


def _bands(rows: int, at_once: int) -> Iterator[tuple[int, int]]:
    for top in range(0, rows, at_once):
        yield top, min(top + at_once, rows)
