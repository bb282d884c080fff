"""What the stages of BasicVSR are made of."""

from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEGATIVE_SLOPE: Final = 0.1  # of every leaky ReLU in the network


def conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


def leaky_relu_(features: Tensor) -> Tensor:
    """The network's leaky ReLU, in place: no one else reads the convolution's output that it is given."""
    return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True)


def resize(image: Tensor, size: tuple[int, int], mode: Literal["bilinear", "nearest"]) -> Tensor:
    """`image` (n, c, h, w) at `size` (height, width); bilinear aligns edges, not pixel centres."""
    if mode == "nearest":
        return F.interpolate(image, size, mode="nearest")
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, without batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        residual: Tensor = self.conv2(F.relu(self.conv1(features), inplace=True))
        return features + residual


class ResidualTrunk(nn.Module):
    """One direction's recurrent cell: a frame and what was propagated so far, to that frame's features."""

    def __init__(self, mid_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.conv_in = conv3x3(3 + mid_channels, mid_channels)
        self.blocks = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))

    def forward(self, frame: Tensor, feat_prop: Tensor) -> Tensor:
        """`frame` (n, 3, h, w) and `feat_prop` (n, mid_channels, h, w), to (n, mid_channels, h, w)."""
        # The convolutions may be narrower than the frame; in float32 this converts nothing.
        inputs = torch.cat((frame, feat_prop), 1).to(self.conv_in.weight.dtype)
        features: Tensor = self.blocks(leaky_relu_(self.conv_in(inputs)))
        return features
