"""PFNL: every position of a window related with all others, then fused progressively, frame by frame.

Yi et al., "Progressive Fusion Video Super-Resolution Network via Exploiting Non-Local Spatio-Temporal
Correlations", ICCV 2019. Layers are named as in the released TensorFlow checkpoints.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import CornerBicubic, conv3x3, depth_to_space, space_to_depth
from vsr_model.network import Facts, Published
from vsr_model.stages import AGGREGATION, ALIGNMENT, FEATURES, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

WINDOW: Final = 7
CHANNELS: Final = 64
BLOCKS: Final = 20
SHUFFLE: Final = 2
NON_LOCAL_CHANNELS: Final = 3 * WINDOW * SHUFFLE**2


class PFNL(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of seven: 3,003,156 parameters.

    The similarities of all positions take 16 (h / 2 * w / 2)^2 bits and more: 0.8 GB at 180x320.
    """

    facts = Facts(
        title="PFNL",
        source="Yi et al., Progressive Fusion Video Super-Resolution Network via Exploiting Non-Local "
        "Spatio-Temporal Correlations, ICCV 2019",
        stages={
            ALIGNMENT: "Adds to each position what is alike anywhere in the window (a non-local block).",
            FEATURES: "Computes features of each frame.",
            AGGREGATION: "Fuses the frames in progressive fusion residual blocks.",
            UPSAMPLING: "Merges the frames, shuffles them to the output's size, and adds the enlarged frame.",
        },
        multiple=SHUFFLE,
        min_size=SHUFFLE,
        narrow=("conv0", "conv1", "conv10", "conv2", "convmerge1", "convmerge2"),
        compiled=("conv0",),
        gains=((r"^conv2\.", 0.3), (r"^(conv10\.|nlblock|convmerge2)", 1.0), (r"", 1.2)),
        published=(Published(quantity="parameters", value=3.0e6, unit="", source="Yi et al. 2019"),),
        names=(
            (r"^nlvsr/nlblock_0/([gw])/\1/", r"nlblock.\1."),
            (r"^nlvsr/(conv(?:1|10|2))_(\d+)/", r"\1.\2."),
            (r"^nlvsr/(\w+)/", r"\1."),
            (r"kernel$", "weight"),
        ),
    )
    window = WINDOW
    ends = "repeat"

    def __init__(self) -> None:
        super().__init__()
        self.nlblock = nn.ModuleDict(
            {name: nn.Conv2d(NON_LOCAL_CHANNELS, NON_LOCAL_CHANNELS, 1) for name in ("g", "w")}
        )
        self.conv0 = nn.Conv2d(3, CHANNELS, 5, padding=2)
        self.conv1 = nn.ModuleList(conv3x3(CHANNELS, CHANNELS) for _ in range(BLOCKS))
        self.conv10 = nn.ModuleList(nn.Conv2d(WINDOW * CHANNELS, CHANNELS, 1) for _ in range(BLOCKS))
        self.conv2 = nn.ModuleList(conv3x3(2 * CHANNELS, CHANNELS) for _ in range(BLOCKS))
        self.convmerge1 = conv3x3(WINDOW * CHANNELS, 3 * SHUFFLE**4)
        self.convmerge2 = conv3x3(3 * SHUFFLE**2, 3 * SHUFFLE**2)
        self.bicubic = CornerBicubic()

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        with probe(ALIGNMENT):
            window = torch.cat(frames, 1)
            window = window + self.non_local(window)
        with probe(FEATURES):
            each = torch.cat(window.chunk(self.window, 1)).to(self.conv0.weight.dtype)
            features = _leaky_relu(self.conv0(each))
        with probe(AGGREGATION):
            for convolution, fusion, merge in zip(self.conv1, self.conv10, self.conv2, strict=True):
                own = _leaky_relu(convolution(features))
                common = _leaky_relu(fusion(self.together(own))).repeat(self.window, 1, 1, 1)
                features = features + _leaky_relu(merge(torch.cat((common, own), 1)))
        with probe(UPSAMPLING):
            merged = depth_to_space(_leaky_relu(self.convmerge1(self.together(features))), SHUFFLE)
            residual = depth_to_space(self.convmerge2(merged), SHUFFLE)
            enlarged: Tensor = self.bicubic(frames[self.centre])
            return enlarged + residual

    def non_local(self, window: Tensor) -> Tensor:
        """Return (n, 21, h, w): of each 2x2 pixels of all frames (n, 21, h, w), the mean of those alike."""
        blocks = space_to_depth(window, SHUFFLE)
        positions = blocks.flatten(2)  # (n, 84, h / 2 * w / 2)
        likeness = torch.softmax(positions.transpose(1, 2) @ positions, -1)
        values = self.nlblock["g"](blocks).flatten(2)
        alike = (values @ likeness.transpose(1, 2)).view_as(blocks)
        return depth_to_space(self.nlblock["w"](alike), SHUFFLE)

    def together(self, features: Tensor) -> Tensor:
        """Join the features of all frames (7 n, c, h, w) to (n, 7 c, h, w)."""
        return torch.cat(features.chunk(self.window), 1)


def _leaky_relu(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.2, inplace=True)
