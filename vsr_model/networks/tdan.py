"""TDAN: a window of five frames, each brought to the middle one by deformable convolutions.

Tian et al., "TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution", CVPR 2020 (arXiv
1812.02898). Submodules are named as in the released checkpoints, whose own kernel treated the borders of an
image otherwise than all later ones.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.deform import TAPS, deform_conv3x3
from vsr_model.layers import ResidualBlock, conv3x3
from vsr_model.network import Facts
from vsr_model.stages import ALIGNMENT, FEATURES, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

CHANNELS: Final = 64
GROUPS: Final = 8  # of deformable convolutions
FEATURE_BLOCKS: Final = 5
RECONSTRUCTION_BLOCKS: Final = 10
STEPS: Final = (("off2d_1", "dconv_1"), ("off2d_2", "deconv_2"), ("off2d_3", "deconv_3"), ("off2d", "dconv"))
"""The convolution of the offsets and the deformable one, of each step."""
MOVES_NEIGHBOUR: Final = 2  # the step that samples the neighbour's own features


class TDAN(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of five: 1,970,819 parameters."""

    facts = Facts(
        title="TDAN",
        source="Tian et al., TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution, "
        "CVPR 2020",
        stages={
            FEATURES: "Computes features of each frame of the window.",
            ALIGNMENT: "Aligns each neighbour by deformable convolutions, and makes a frame of it.",
            RECONSTRUCTION: "Joins the aligned frames, and runs the residual blocks.",
            UPSAMPLING: "Shuffles the features to the output's size, and convolves them to RGB.",
        },
        narrow=("fea_ex", "recon_layer", "up"),  # nothing that offsets come from: they move pixels
        compiled=("residual_layer", "recon_layer"),
        gains=((r"conv2\.weight$", 0.1), (r"^(off2d|recon_lr)", 1.5), (r"^(conv_first|fea_ex|cr|up)", 1.4)),
    )
    window = 5
    ends = "repeat"

    def __init__(self) -> None:
        super().__init__()
        self.conv_first = conv3x3(3, CHANNELS)
        self.residual_layer = nn.Sequential(*(ResidualBlock(CHANNELS) for _ in range(FEATURE_BLOCKS)))
        self.cr = conv3x3(2 * CHANNELS, CHANNELS)
        for offsets, convolution in STEPS:
            self.add_module(offsets, conv3x3(CHANNELS, 2 * TAPS * GROUPS))
            self.add_module(convolution, nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False))
        self.recon_lr = conv3x3(CHANNELS, 3)
        self.fea_ex = nn.Sequential(conv3x3(3 * self.window, CHANNELS), nn.ReLU(inplace=True))
        self.recon_layer = nn.Sequential(*(ResidualBlock(CHANNELS) for _ in range(RECONSTRUCTION_BLOCKS)))
        self.up = nn.Sequential(
            nn.Sequential(
                conv3x3(CHANNELS, 4 * CHANNELS), nn.PixelShuffle(2),
                conv3x3(CHANNELS, 4 * CHANNELS), nn.PixelShuffle(2),
            ),
            nn.Conv2d(CHANNELS, 3, 3, padding=1, bias=False),
        )  # fmt: skip

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        centre = self.centre
        with probe(FEATURES):
            first = F.relu(self.conv_first(torch.cat(frames)), inplace=True)
            features = self.residual_layer(first).chunk(self.window)
        with probe(ALIGNMENT):
            aligned = [
                frame if index == centre else self.aligned(features[centre], features[index])
                for index, frame in enumerate(frames)
            ]
        with probe(RECONSTRUCTION):
            joined = torch.cat(aligned, 1).to(self.fea_ex.get_parameter("0.weight").dtype)
            fused = self.recon_layer(self.fea_ex(joined))
        with probe(UPSAMPLING):
            output: Tensor = self.up(fused)
            return output.float()

    def aligned(self, centre: Tensor, neighbour: Tensor) -> Tensor:
        """Return a neighbour of features (n, c, h, w) as a frame (n, 3, h, w) in the place of the centre."""
        features = self.cr(torch.cat((centre, neighbour), 1))
        for step, (offsets, convolution) in enumerate(STEPS):
            moved = self.get_submodule(offsets)(features)
            weight = self.get_submodule(convolution).get_parameter("weight")
            features = deform_conv3x3(neighbour if step == MOVES_NEIGHBOUR else features, moved, weight)
        frame: Tensor = self.recon_lr(features)
        return frame
