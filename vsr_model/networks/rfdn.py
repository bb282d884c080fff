"""RFDN: a residual feature distillation network for single images.

Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", ECCVW 2020 (arXiv
2009.11551), in the form that won the AIM 2020 challenge. Submodules are named as in its checkpoint.
"""

from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.images import ImageNetwork
from vsr_model.layers import conv3x3
from vsr_model.network import Facts, Published
from vsr_model.stages import FEATURES, UPSAMPLING, StageProbe

SCALE: Final = 4
SLOPE: Final = 0.05
BLOCKS: Final = 4


class SpatialAttention(nn.Module):
    """A gate for each value, from features that are pooled far (ESA: enhanced spatial attention)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 4
        self.conv1 = nn.Conv2d(channels, few, 1)
        self.conv_f = nn.Conv2d(few, few, 1)
        self.conv_max = conv3x3(few, few)
        self.conv2 = nn.Conv2d(few, few, 3, stride=2)
        self.conv3 = conv3x3(few, few)
        self.conv3_ = conv3x3(few, few)
        self.conv4 = nn.Conv2d(few, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Weight `features` (n, c, h, w)."""
        first = self.conv1(features)
        pooled = F.max_pool2d(self.conv2(first), kernel_size=7, stride=3)
        pooled = F.relu(self.conv3(F.relu(self.conv_max(pooled), inplace=True)), inplace=True)
        far = F.interpolate(self.conv3_(pooled), features.shape[-2:], mode="bilinear", align_corners=False)
        return features * torch.sigmoid(self.conv4(far + self.conv_f(first)))


class DistillationBlock(nn.Module):
    """Three steps that each put half of the channels aside, and refine the rest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for number in (1, 2, 3):
            self.add_module(f"c{number}_d", nn.Conv2d(channels, channels // 2, 1))
            self.add_module(f"c{number}_r", conv3x3(channels, channels))
        self.c4 = conv3x3(channels, channels // 2)
        self.c5 = nn.Conv2d(4 * (channels // 2), channels, 1)
        self.esa = SpatialAttention(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h, w) of `features` of the same shape."""
        distilled = []
        for number in (1, 2, 3):
            distilled.append(_leaky(self.get_submodule(f"c{number}_d")(features)))
            features = _leaky(self.get_submodule(f"c{number}_r")(features) + features)
        distilled.append(_leaky(self.c4(features)))
        result: Tensor = self.esa(self.c5(torch.cat(distilled, 1)))
        return result


class RFDN(ImageNetwork):
    """Super-resolution of images by four; with 50 channels, as released, 433,448 parameters."""

    facts = Facts(
        title="RFDN",
        source="Liu et al., Residual Feature Distillation Network for Lightweight Image Super-Resolution, "
        "ECCVW 2020",
        stages={
            FEATURES: "Runs the distillation blocks, and joins what each made.",
            UPSAMPLING: "Convolves the features, and shuffles them to the output's size.",
        },
        min_size=15,
        compiled=("B1", "B2", "B3", "B4"),
        gains=(
            (r"c[123]_r\.weight", 0.5),
            (r"esa\.conv4|upsampler", 1.0),
            (r"esa|c5", 1.4),
            (r"", 1.2),
        ),
        published=(
            Published(
                quantity="cost of an image", value=27.10, unit="GMAC", source="AIM 2020 challenge report",
                conditions="256x256 input",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=4, le=4096, multiple_of=2, description="Channels.")] = 50,
    ) -> None:
        super().__init__()
        self.fea_conv = conv3x3(3, mid_channels)
        for number in range(1, BLOCKS + 1):
            self.add_module(f"B{number}", DistillationBlock(mid_channels))
        self.c = nn.Sequential(nn.Conv2d(BLOCKS * mid_channels, mid_channels, 1), nn.LeakyReLU(SLOPE))
        self.LR_conv = conv3x3(mid_channels, mid_channels)
        self.upsampler = nn.Sequential(conv3x3(mid_channels, 3 * SCALE**2), nn.PixelShuffle(SCALE))

    def image(self, image: Tensor, probe: StageProbe) -> Tensor:
        """Enlarge `image` (n, 3, h, w) to (n, 3, 4h, 4w)."""
        with probe(FEATURES):
            first = features = self.fea_conv(image.to(self.fea_conv.weight.dtype))
            made = []
            for number in range(1, BLOCKS + 1):
                features = self.get_submodule(f"B{number}")(features)
                made.append(features)
            features = self.LR_conv(self.c(torch.cat(made, 1))) + first
        with probe(UPSAMPLING):
            output: Tensor = self.upsampler(features)
            return output.float()


def _leaky(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE, inplace=True)
