"""Convolution as a product of spectra, of overlapping tiles (overlap-save).

Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs", 2014, multiply the spectra
of whole images.
"""

from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.convolutions.same_size import SameSizeConv2d, ranges

_SMALL_TILE: Final = 16
_LARGE_TILE: Final = 32


class FftConv2d(SameSizeConv2d):
    """Multiplies the spectra of overlapping tiles by those of the weights, frequency by frequency.

    Tiles are of 16x16 for kernels of 3x3 and of 32x32 for larger ones, smaller for small inputs. The spectra
    are of the weights as they are when this takes another's place: computed at the first call for each size
    of tile, and kept. Whoever changes weights replaces convolutions again; only where autograd records a call
    are the current weights taken. Spectra are large: 144 complex numbers (of 32x32 tiles 544) where the
    weights have 9 (49) real ones. Takes float32 and float64.
    """

    def __init__(self, *args: int, **options: int | str) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._kept_of = self.weight.detach()

    @classmethod
    def of(cls, plain: nn.Conv2d, limit_bytes: int) -> Self:
        """Make one with the parameters of `plain`."""
        made = super().of(plain, limit_bytes)
        # Tensors of inference mode could not be used where features are recorded.
        with torch.inference_mode(mode=False):
            made._kept_of = plain.weight.detach().clone()
        return made

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self.blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        tile = tile_size(size, height), tile_size(size, width)
        down_step, across_step = tile[0] - size + 1, tile[1] - size + 1
        down, across = -(-height // down_step), -(-width // across_step)
        before = size // 2
        below = down * down_step + size - 1 - before - height
        beside = across * across_step + size - 1 - before - width
        weights = self._weights(tile)
        bias = self.bias.view(1, -1, 1, 1)
        frequencies = tile[0] * (tile[1] // 2 + 1)
        row_bytes = across * (channels + self.out_channels) * frequencies * weights.element_size()
        images, bands = self.bands(n, down, row_bytes)
        for first, last in ranges(n, images):
            padded = F.pad(features[first:last], (before, beside, before, below))
            tiles = padded.unfold(2, tile[0], down_step).unfold(3, tile[1], across_step)
            for top, bottom in bands:
                found = _products(tiles[:, :, top:bottom], weights, tile)[..., :down_step, :across_step]
                shape = last - first, self.out_channels, (bottom - top) * down_step, -1
                joined = found.transpose(3, 4).reshape(shape)
                rows = slice(top * down_step, min(bottom * down_step, height))
                output[first:last, :, rows] = joined[:, :, : rows.stop - rows.start, :width] + bias
                del found, joined  # before the next are made
            del padded, tiles
        return output

    def _weights(self, tile: tuple[int, int]) -> Tensor:
        """Return spectra (frequencies, c_in, c_out) of the weights for tiles of this size."""
        if torch.is_grad_enabled() and self.weight.requires_grad:  # kept ones would be another call's
            return _spectra(self.weight, tile)
        if tile not in self._kept:
            with torch.inference_mode(mode=False):
                self._kept[tile] = _spectra(self._kept_of, tile)
        return self._kept[tile]


def tile_size(kernel_size: int, size: int) -> int:
    """Return the power of two that tiles have along an axis of `size` pixels."""
    largest = _SMALL_TILE if kernel_size <= 3 else _LARGE_TILE
    whole: int = 1 << (size + kernel_size - 2).bit_length()  # at least size + kernel_size - 1
    return min(whole, largest)


def _spectra(weight: Tensor, tile: tuple[int, int]) -> Tensor:
    spectra: Tensor = torch.fft.rfft2(weight.contiguous(), s=tile)
    # Conjugate, since what networks call convolution is correlation.
    return spectra.conj().permute(2, 3, 1, 0).flatten(0, 1).resolve_conj().contiguous()


def _products(tiles: Tensor, weights: Tensor, tile: tuple[int, int]) -> Tensor:
    """Convolve tiles (n, c_in, down, across, *tile) to (n, c_out, down, across, *tile).

    The last rows and columns of each, one fewer than a kernel has, have wrapped around.
    """
    n, _, down, across, *_ = tiles.shape
    spectra = torch.fft.rfft2(tiles).permute(4, 5, 0, 2, 3, 1)
    frequencies = spectra.shape[:2]
    product = torch.bmm(spectra.reshape(-1, n * down * across, tiles.shape[1]), weights)
    product = product.view(*frequencies, n, down, across, -1).permute(2, 5, 3, 4, 0, 1)
    found: Tensor = torch.fft.irfft2(product, s=tile)
    return found
