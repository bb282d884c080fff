"""SOF-VSR in its first form, whose dense blocks differ from those of the later one.

Wang et al., "Learning for Video Super-Resolution through HR Optical Flow Estimation", ACCV 2018 (arXiv
1809.08573). Submodules are named as in the released checkpoints.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import leaky_relu_
from vsr_model.network import Facts
from vsr_model.networks.sofvsr import AlignCorners, copies, moved
from vsr_model.stages import ALIGNMENT, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

SCALE: Final = 4
GROWTH: Final = 32
SR_BLOCKS: Final = 5


class DenseLayer(nn.Module):
    """A convolution whose output stands beside its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, GROWTH)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c + 32, h, w) of `features` (n, c, h, w)."""
        return torch.cat((features, leaky_relu_(self.conv(features))), 1)


class ResidualDense(nn.Module):
    """Dense layers, fused by a convolution of 1x1 beside a shortcut."""

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(*(DenseLayer(channels + i * GROWTH) for i in range(layers)))
        self.conv_1x1 = nn.Conv2d(channels + layers * GROWTH, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h, w) of `features` of the same shape."""
        fused: Tensor = self.conv_1x1(self.dense_layers(features))
        return fused + features


class FlowNet(nn.Module):
    """Flow at half the size, at the input's, and at the output's, each with layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        for level, channels, out in ((1, 2, 2), (2, 6, 2), (3, 6, 2 * SCALE**2)):
            self.add_module(f"conv_L{level}_1", _conv(channels, 32))
            self.add_module(f"RDB{level}_1", ResidualDense(4, 32))
            self.add_module(f"RDB{level}_2", ResidualDense(4, 32))
            self.add_module(f"bottleneck_L{level}", _conv(64, out))
            self.add_module(f"conv_L{level}_2", nn.Conv2d(out, out, 3, padding=1))

    def forward(self, neighbour: Tensor, centre: Tensor, *, align_corners: bool) -> Tensor:
        """Return the flow (n, 2, 4h, 4w) of luma (n, 1, h, w)."""
        pair = torch.cat((neighbour, centre), 1)
        flow = _enlarged(self.level(1, F.avg_pool2d(pair, 2)), 2)
        for level in (2, 3):
            warped = moved(neighbour, flow, align_corners=align_corners)
            change = self.level(level, torch.cat((pair, warped, centre - warped, flow), 1))
            flow = flow + change if level == 2 else _enlarged(flow, SCALE) + F.pixel_shuffle(change, SCALE)
        return flow

    def level(self, level: int, inputs: Tensor) -> Tensor:
        """Return (n, c, h, w) of a level's `inputs` (n, c, h, w)."""
        features = self.get_submodule(f"conv_L{level}_1")(inputs)
        first = self.get_submodule(f"RDB{level}_1")(features)
        second = self.get_submodule(f"RDB{level}_2")(first)
        joined = self.get_submodule(f"bottleneck_L{level}")(torch.cat((first, second), 1))
        flow: Tensor = self.get_submodule(f"conv_L{level}_2")(joined)
        return flow


class SRNet(nn.Module):
    """The cube of moved frames to the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, 64)
        for number in range(1, SR_BLOCKS + 1):
            self.add_module(f"RDB_{number}", ResidualDense(5, 64))
        self.bottleneck = nn.Conv2d((SR_BLOCKS + 1) * 64, SCALE**2, 1, bias=False)
        self.conv_2 = nn.Conv2d(SCALE**2, SCALE**2, 3, padding=1)

    def features(self, cube: Tensor) -> Tensor:
        """Return (n, 384, h, w) of the cube (n, 35, h, w)."""
        first = features = self.conv(cube.to(self.conv.weight.dtype))
        made = []
        for number in range(1, SR_BLOCKS + 1):
            features = self.get_submodule(f"RDB_{number}")(features)
            made.append(features)
        return torch.cat((*made, first), 1)

    def enlarge(self, features: Tensor) -> Tensor:
        """Return (n, 1, 4h, 4w) of (n, 384, h, w)."""
        return F.pixel_shuffle(self.conv_2(self.bottleneck(features)), SCALE)


class SOFVSRACCV(WindowNetwork):
    """Super-resolution of the luma of a video by four, frame by frame from three: 1,639,676 parameters."""

    facts = Facts(
        title="SOF-VSR (ACCV)",
        source="Wang et al., Learning for Video Super-Resolution through HR Optical Flow Estimation, "
        "ACCV 2018",
        stages={
            ALIGNMENT: "Estimates flow at the output's size, and moves the neighbours by each sub-pixel's.",
            RECONSTRUCTION: "Convolves the cube of moved frames in dense blocks.",
            UPSAMPLING: "Shuffles the features to the output's size.",
        },
        inputs={"luma": 1},
        multiple=2,
        min_size=2,
        narrow=("SRnet",),
        compiled=("OFRnet.RDB1_1",),
        gains=(
            (r"conv_1x1", 0.6), (r"OFRnet\.(bottleneck|conv_L\d_2)", 0.6),
            (r"SRnet\.(bottleneck|conv_2)", 1.3),
            (r"", 1.2),
        ),
    )  # fmt: skip
    window = 3
    ends = "repeat"

    def __init__(self, *, align_corners: AlignCorners = True) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.OFRnet = FlowNet()
        self.SRnet = SRNet(2 * SCALE**2 + self.window)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 1, h, w), to (n, 1, 4h, 4w)."""
        before, centre, after = frames
        with probe(ALIGNMENT):
            each = []
            for neighbour in (before, after):
                flow = self.OFRnet(neighbour, centre, align_corners=self.align_corners)
                each.append(copies(neighbour, flow, SCALE, align_corners=self.align_corners))
            pairs = [copy for pair in zip(*each, strict=True) for copy in pair]
            cube = torch.cat((*frames, *pairs), 1)
        with probe(RECONSTRUCTION):
            features = self.SRnet.features(cube)
        with probe(UPSAMPLING):
            return self.SRnet.enlarge(features).float()


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


def _enlarged(flow: Tensor, factor: int) -> Tensor:
    """Resize a flow; its lengths stay, as in the release."""
    return F.interpolate(flow, scale_factor=factor, mode="bilinear", align_corners=False)
