"""Convolution as a product of matrices (im2col).

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_model.convolutions.same_size import SameSizeConv2d, ranges


class Im2colConv2d(SameSizeConv2d):
    """Copies each pixel's neighbourhood into a column, and multiplies the weights by the matrix of columns.

    A neighbourhood has 9 or 49 times as many numbers as a pixel, so that images, and bands of rows of large
    ones, take their turns.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h, w)."""
        output = self.blank_output(features)
        n, channels, height, width = features.shape
        size = self.kernel_size[0]
        images, bands = self.bands(n, height, channels * size**2 * width * features.element_size())
        fill = self._fill_channels_last if self.is_channels_last(features) else self._fill
        for first, last in ranges(n, images):
            padded = F.pad(features[first:last], (size // 2,) * 4)
            fill(padded, output[first:last], bands)
            del padded  # before the next is made
        return output

    def _fill(self, padded: Tensor, output: Tensor, bands: list[tuple[int, int]]) -> None:
        n, _, _, width = output.shape
        size = self.kernel_size[0]
        matrix = self.weight.reshape(self.out_channels, -1).expand(n, -1, -1)
        bias = self.bias.view(1, -1, 1)
        for top, bottom in bands:
            columns = F.unfold(padded[:, :, top : bottom + size - 1], size)
            product = torch.baddbmm(bias, matrix, columns)
            output[:, :, top:bottom] = product.view(n, -1, bottom - top, width)
            del columns, product  # before the next are made

    def _fill_channels_last(self, padded: Tensor, output: Tensor, bands: list[tuple[int, int]]) -> None:
        """Fill where a pixel's channels lie together: a neighbourhood is a row of the matrix."""
        n, _, _, width = output.shape
        size = self.kernel_size[0]
        matrix = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1).t()
        pixels, outputs = padded.permute(0, 2, 3, 1), output.permute(0, 2, 3, 1)
        windows = pixels.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
        for top, bottom in bands:
            neighbourhoods = windows[:, top:bottom].reshape(-1, matrix.shape[0])
            product = torch.addmm(self.bias, neighbourhoods, matrix)
            outputs[:, top:bottom] = product.view(n, bottom - top, width, -1)
            del neighbourhoods, product  # before the next are made
