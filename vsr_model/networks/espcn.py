"""ESPCN: three convolutions and a shuffle, on luma.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", CVPR 2016 (arXiv 1609.05158), with the three heads that EGVSR's authors compared. Submodules
are named as in their checkpoints.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.images import ImageNetwork
from vsr_model.network import Facts
from vsr_model.stages import FEATURES, UPSAMPLING, StageProbe


class ESPCN(ImageNetwork):
    """Super-resolution of the luma of images by four or two.

    At four it has 30,738 parameters, of which the sub-pixel convolution uses 29,904: checkpoints hold all
    heads.
    """

    facts = Facts(
        title="ESPCN",
        source="Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel "
        "Convolutional Neural Network, CVPR 2016",
        stages={
            FEATURES: "Convolves luma to 32 channels.",
            UPSAMPLING: "Brings them to one channel of the output's size.",
        },
        inputs={"luma": 1},
        compiled=("conv1", "conv2", "conv3"),
        gains=((r"^deconv", 2.5), (r"", 1.6)),
    )

    def __init__(
        self,
        *,
        scale: Annotated[Literal[2, 4], Field(description="Factor by which each side grows.")] = 4,
        head: Annotated[
            Literal["subconv", "reconv", "deconv"],
            Field(
                description="Enlargement by a shuffle of channels, by resizing of one channel, or by a "
                "transposed convolution."
            ),
        ] = "subconv",
    ) -> None:
        super().__init__()
        self.facts = replace(self.facts, scale=scale)
        self.head = head
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.pwconv = nn.Conv2d(32, scale**2, 1)
        self.reconv = nn.Conv2d(32, 1, 1)
        self.deconv = nn.ConvTranspose2d(32, 1, 5, stride=scale, padding=2, output_padding=scale - 1)

    def image(self, image: Tensor, probe: StageProbe) -> Tensor:
        """Enlarge `image` (n, 1, h, w) to (n, 1, scale h, scale w)."""
        with probe(FEATURES):
            features = image.to(self.conv1.weight.dtype)
            for convolution in (self.conv1, self.conv2, self.conv3):
                features = torch.tanh(convolution(features))
        with probe(UPSAMPLING):
            return torch.sigmoid(self.enlarged(features).float())

    def enlarged(self, features: Tensor) -> Tensor:
        """Return (n, 1, scale h, scale w) of `features` (n, 32, h, w)."""
        scale = self.facts.scale
        match self.head:
            case "subconv":
                return F.pixel_shuffle(self.pwconv(features), scale)
            case "reconv":
                size = (scale * features.shape[-2], scale * features.shape[-1])
                return F.interpolate(self.reconv(features), size, mode="bilinear", align_corners=True)
            case _:
                output: Tensor = self.deconv(features)
                return output
