"""Layers that networks share."""

from collections.abc import Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEGATIVE_SLOPE: Final = 0.1  # of every leaky ReLU in the network
CUBIC: Final = -0.75  # the parameter of bicubic kernels
TAIL_CHANNELS: Final = 64  # at twice the input's size and above, for any features


def conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


def leaky_relu_(features: Tensor) -> Tensor:
    """Apply the networks' leaky ReLU in place: nothing else reads the convolution's output."""
    return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True)


def resize(image: Tensor, size: tuple[int, int], mode: Literal["bilinear", "nearest"]) -> Tensor:
    """Resize `image` (n, c, h, w) to `size` (height, width); bilinear aligns edges, not pixel centres."""
    if mode == "nearest":
        return F.interpolate(image, size, mode="nearest")
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def joined(frame: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Join two (n, c, h, w) along their channels, in the dtype and layout of the convolution's weight.

    The dtype may be narrower than the frame's. The output of a warp is never channels last, and a convolution
    that is would copy its input once more.
    """
    if not is_channels_last(weight):
        return torch.cat((frame, features), 1).to(weight.dtype)  # in float32 this converts nothing
    n, channels, height, width = frame.shape
    result = torch.empty(
        (n, channels + features.shape[1], height, width),
        dtype=weight.dtype,
        device=frame.device,
        memory_format=torch.channels_last,
    )
    result[:, :channels] = frame
    result[:, channels:] = features
    return result


def pixel_shuffle(features: Tensor) -> Tensor:
    """Shuffle (n, 4c, h, w) to (n, c, 2h, 2w), and keep channels last.

    PyTorch's own kernel keeps the memory format on CPUs only.
    """
    if features.device.type == "cpu" or not is_channels_last(features):
        return F.pixel_shuffle(features, 2)
    return shuffled_channels_last(features)


def shuffled_channels_last(features: Tensor) -> Tensor:
    """Shuffle channels-last features in one copy that is channels last."""
    n, channels, height, width = features.shape
    pixels = features.permute(0, 2, 3, 1).view(n, height, width, channels // 4, 2, 2)
    shuffled = pixels.permute(0, 1, 4, 2, 5, 3).reshape(n, 2 * height, 2 * width, channels // 4)
    return shuffled.permute(0, 3, 1, 2)


def is_channels_last(tensor: Tensor) -> bool:
    """Tell whether a tensor is channels last and not contiguous as well, as with one channel."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, without batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Add the residual to `features` (n, c, h, w)."""
        residual: Tensor = self.conv2(F.relu(self.conv1(features), inplace=True))
        return features + residual


class Trunk(nn.Module):
    """A convolution of all inputs together, and residual blocks."""

    def __init__(self, channels_in: int, channels: int, num_blocks: int) -> None:
        super().__init__()
        blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(num_blocks)))
        activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
        self.main = nn.Sequential(conv3x3(channels_in, channels), activation, blocks)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute features (n, c, h, w) of tensors (n, ..., h, w)."""
        dtype = self.main.get_parameter("0.weight").dtype
        features: Tensor = self.main(torch.cat([part.to(dtype) for part in inputs], 1))
        return features


class Tail(nn.Module):
    """The layers by which many networks enlarge: two shuffles, two convolutions, and the enlarged frame."""

    def add_tail(self, channels: int) -> None:
        """Add the layers, for features of so many channels, by their public names."""
        self.upconv1 = conv3x3(channels, 4 * channels)
        self.upconv2 = conv3x3(channels, 4 * TAIL_CHANNELS)
        self.conv_hr = conv3x3(TAIL_CHANNELS, TAIL_CHANNELS)
        self.conv_last = conv3x3(TAIL_CHANNELS, 3)

    def enlarge(self, features: Tensor, frame: Tensor) -> Tensor:
        """Enlarge `features` (n, c, h, w) and `frame` (n, 3, h, w) to (n, 3, 4h, 4w)."""
        height, width = frame.shape[-2:]
        # The sum takes the wider dtype, the frame's, where features are narrower.
        return resize(frame, (4 * height, 4 * width), "bilinear") + self.residual(features)

    def residual(self, features: Tensor) -> Tensor:
        """Enlarge `features` (n, c, h, w) to (n, 3, 4h, 4w)."""
        features = leaky_relu_(pixel_shuffle(self.upconv1(features)))
        features = leaky_relu_(pixel_shuffle(self.upconv2(features)))
        residual: Tensor = self.conv_last(leaky_relu_(self.conv_hr(features)))
        return residual


class ResidualTrunk(nn.Module):
    """One direction's recurrent cell: a frame and what was propagated so far, to that frame's features."""

    def __init__(self, mid_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.conv_in = conv3x3(3 + mid_channels, mid_channels)
        self.blocks = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))

    def forward(self, frame: Tensor, feat_prop: Tensor) -> Tensor:
        """Compute features (n, mid_channels, h, w) of `frame` (n, 3, h, w) and `feat_prop`."""
        inputs = joined(frame, feat_prop, self.conv_in.weight)
        features: Tensor = self.blocks(leaky_relu_(self.conv_in(inputs)))
        return features


class CornerBicubic(nn.Module):
    """Bicubic enlargement by four in which every fourth pixel is one of the input.

    TensorFlow's older `resize_bicubic` and TecoGAN's enlarge so; PyTorch's aligns the edges of the images,
    which moves them by one and a half pixels of the output against these.
    """

    def __init__(self) -> None:
        super().__init__()
        position = torch.arange(4).unsqueeze(1) / 4
        distance = (torch.arange(-1, 3) - position).abs()
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = ((distance - 5) * distance + 8) * distance * CUBIC - 4 * CUBIC
        # Weights of the four samples around positions of 0 to 3 quarters beyond the second.
        self.register_buffer("kernels", torch.where(distance <= 1, near, far), persistent=False)

    kernels: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge (n, c, h, w) to (n, c, 4h, 4w)."""
        n, channels, height, width = image.shape
        padded = F.pad(image, (1, 2, 1, 2), mode="replicate").flatten(0, 1).unsqueeze(1)
        rows = F.conv2d(padded, self.kernels.view(4, 1, 4, 1)).transpose(1, 2)
        rows = rows.reshape(-1, 1, 4 * height, width + 3)
        columns = F.conv2d(rows, self.kernels.view(4, 1, 1, 4)).permute(0, 2, 3, 1)
        return columns.reshape(n, channels, 4 * height, 4 * width)


def space_to_depth(image: Tensor, factor: int) -> Tensor:
    """Reshape (n, c, f h, f w) to (n, f f c, h, w), by row, column, colour: not as `pixel_unshuffle`."""
    n, channels, height, width = image.shape
    blocks = image.view(n, channels, height // factor, factor, width // factor, factor)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(
        n, factor**2 * channels, height // factor, width // factor
    )


def depth_to_space(features: Tensor, factor: int) -> Tensor:
    """Reshape (n, f f c, h, w) to (n, c, f h, f w): the inverse of `space_to_depth`."""
    n, channels, height, width = features.shape
    colours = channels // factor**2
    blocks = features.view(n, factor, factor, colours, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, colours, factor * height, factor * width)
