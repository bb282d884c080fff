"""Convolutions that compute otherwise than the library's own: by a product of matrices, or of spectra.

Each is an `nn.Conv2d` with the parameters, under the names, of the one that it stands for. The columns of
im2col are those of Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006; spectra are multiplied as in Mathieu, Henaff and LeCun, "Fast Training of Convolutional
Networks through FFTs", 2014, but of tiles, which overlap (overlap-save).
"""

from collections.abc import Iterator
from typing import Literal, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.convolution_memory import (
    CPU_BAND_BYTES,
    DEVICE_BAND_BYTES,
    at_once,
    columns_row_bytes,
    spectra_row_bytes,
    tile_size,
)
from vsr_model.layers import is_channels_last

Method: TypeAlias = Literal["im2col", "fft"]


def replace_convolutions(network: nn.Module, method: Method) -> None:
    """Have every convolution of 3x3 and larger that keeps the size computed by `method`, in place.

    Parameters are the same objects under the same names. Those of 1x1 are matrix products already, and stay.
    Do it after the network is on its device and in its types, and again after the weights have changed.
    Raises ValueError for a network that has none.
    """
    kinds: dict[Method, type[_SameSize]] = {"im2col": Im2colConv2d, "fft": FftConv2d}
    replaced = False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or type(child) not in (nn.Conv2d, *kinds.values()):
                continue
            if keeps_size(child):
                setattr(module, name, kinds[method].of(child))
                replaced = True
    if not replaced:
        raise ValueError(
            f"{type(network).__name__} has no convolution that {method} can compute: square, odd and larger "
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

    A neighbourhood has 9 or 49 times as many numbers as a pixel, so that images, and bands of rows of large
    ones, take their turns.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self._blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        row_bytes = columns_row_bytes(size, channels, width, features.element_size())
        images, rows = at_once(n, height, row_bytes, _limit_bytes(features))
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
    def of(cls, plain: nn.Conv2d) -> Self:
        made = super().of(plain)
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
        images, down_at_once = at_once(n, down, row_bytes, _limit_bytes(features))
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


def _limit_bytes(features: Tensor) -> int:
    return CPU_BAND_BYTES if features.device.type == "cpu" else DEVICE_BAND_BYTES


def _bands(rows: int, step: int) -> Iterator[tuple[int, int]]:
    for top in range(0, rows, step):
        yield top, min(top + step, rows)
