"""SOF-VSR: flow at the output's size, a cube of frames moved to all its sub-pixels, and a network of luma.

Wang et al., "Deep Video Super-Resolution using HR Optical Flow Estimation", IEEE TIP 2020 (arXiv 2001.02129).
Submodules are named as in the released checkpoints.
"""

from dataclasses import replace
from math import log2
from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.network import Facts
from vsr_model.stages import ALIGNMENT, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.warp import warp
from vsr_model.windows import WindowNetwork

CHANNELS: Final = 320
FLOW_UNIT: Final = 31 / 2  # pixels that a flow of one moves, whatever the size of the image
SR_BLOCKS: Final = 8
FLOW_BLOCKS: Final = 3

Scale = Annotated[Literal[2, 4], Field(description="Factor by which each side grows.")]
AlignCorners = Annotated[
    bool,
    Field(
        description="Warp with the corners' centres at -1 and 1, for which the network was written; today's "
        "PyTorch does not unless it is told."
    ),
]


class Block(nn.Module):
    """Convolutions of half of the channels; then both halves are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        half = CHANNELS // 2
        self.body = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False),
            nn.Conv2d(half, half, 1, bias=False), nn.LeakyReLU(0.1, inplace=True),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 320, h, w) of `features` of the same shape."""
        kept, changed = features.chunk(2, 1)
        return torch.stack((kept, self.body(changed)), 2).flatten(1, 2)


class Blocks(nn.Module):
    """Blocks in a row."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Block() for _ in range(number)))

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 320, h, w) of `features` of the same shape."""
        changed: Tensor = self.body(features)
        return changed


class FlowNet(nn.Module):
    """Flow at half the size, at the input's, and at the output's, by the same features at all three."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        first = nn.Conv2d(4, CHANNELS, 3, padding=1, bias=False)
        self.RNN1 = nn.Sequential(first, nn.LeakyReLU(0.1, inplace=True), Blocks(FLOW_BLOCKS))
        self.RNN2 = nn.Sequential(nn.Conv2d(CHANNELS, 2, 3, padding=1, bias=False))
        self.SR = nn.Sequential(
            Blocks(FLOW_BLOCKS), *_enlarging(scale), nn.Conv2d(64, 2, 3, padding=1, bias=False)
        )

    def forward(self, neighbour: Tensor, centre: Tensor, *, align_corners: bool) -> Tensor:
        """Return the flow (n, 2, scale h, scale w) of luma (n, 1, h, w), in its own unit of the output."""
        pair = F.avg_pool2d(torch.cat((neighbour, centre), 1), 2)
        flow = _enlarged(
            self.RNN2(self.RNN1(torch.cat((pair, torch.zeros_like(pair)), 1))), centre.shape[-2:]
        )
        for is_last in (False, True):
            warped = moved(neighbour, flow, align_corners=align_corners)
            features = self.RNN1(torch.cat((warped, centre, flow), 1))
            if not is_last:
                flow = flow + self.RNN2(features)
        height, width = centre.shape[-2:]
        residual: Tensor = self.SR(features)
        return residual + _enlarged(flow, (self.scale * height, self.scale * width))


class SRNet(nn.Module):
    """The cube of moved frames to the output."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=False), nn.LeakyReLU(0.1, inplace=True),
            Blocks(SR_BLOCKS), *_enlarging(scale), nn.Conv2d(64, 1, 3, padding=1),
        )  # fmt: skip


class SOFVSR(WindowNetwork):
    """Super-resolution of the luma of a video, frame by frame from three or five; 1,047,617 parameters."""

    facts = Facts(
        title="SOF-VSR",
        source="Wang et al., Deep Video Super-Resolution using HR Optical Flow Estimation, IEEE TIP 2020",
        stages={
            ALIGNMENT: "Estimates flow at the output's size, and moves the neighbours by each sub-pixel's.",
            RECONSTRUCTION: "Convolves the cube of moved frames.",
            UPSAMPLING: "Shuffles the features to the output's size.",
        },
        inputs={"luma": 1},
        multiple=2,
        min_size=2,
        narrow=("SR",),
        compiled=("OFR.RNN1", "OFR.SR"),
        gains=(
            (r"OFR\.RNN2", 0.12), (r"OFR\.SR\.[47]\.weight", 0.25), (r"SR\.body\.9\.weight", 1.5),
            (r"", 1.25),
        ),
    )  # fmt: skip
    ends = "repeat"

    def __init__(
        self,
        *,
        scale: Scale = 4,
        window: Annotated[Literal[3, 5], Field(description="Frames of a window.")] = 3,
        align_corners: AlignCorners = True,
    ) -> None:
        super().__init__()
        self.facts = replace(self.facts, scale=scale)
        self.window, self.align_corners = window, align_corners
        self.OFR = FlowNet(scale)
        self.SR = SRNet(scale**2 * (window - 1) + 1, scale)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 1, h, w), to (n, 1, scale h, scale w)."""
        centre = frames.pop(self.centre)
        first, activation, blocks, *tail = self.SR.body
        with probe(ALIGNMENT):
            cube = [centre]
            for neighbour in frames:
                flow = self.OFR(neighbour, centre, align_corners=self.align_corners)
                cube += copies(neighbour, flow, self.facts.scale, align_corners=self.align_corners)
        with probe(RECONSTRUCTION):
            features = torch.cat(cube, 1).to(first.get_parameter("weight").dtype)
            features = blocks(activation(first(features)))
        with probe(UPSAMPLING):
            output: Tensor = nn.Sequential(*tail)(features)
            return output.float()


def copies(frame: Tensor, flow: Tensor, scale: int, *, align_corners: bool) -> list[Tensor]:
    """Return copies of `frame` (n, 1, h, w), moved by the flow of each sub-pixel, row by row."""
    return [
        moved(frame, flow[..., row::scale, column::scale] / scale, align_corners=align_corners)
        for row in range(scale)
        for column in range(scale)
    ]


def moved(image: Tensor, flow: Tensor, *, align_corners: bool) -> Tensor:
    """Warp `image` (n, 1, h, w) along a flow (n, 2, h, w) in the network's unit."""
    if align_corners:
        return warp(image, FLOW_UNIT * flow, padding_mode="border")
    height, width = image.shape[-2:]
    columns, rows = (
        torch.linspace(-1, 1, side, device=flow.device, dtype=flow.dtype) for side in (width, height)
    )
    x = columns + 2 * FLOW_UNIT * flow[:, 0] / max(width - 1, 1)
    y = rows.unsqueeze(1) + 2 * FLOW_UNIT * flow[:, 1] / max(height - 1, 1)
    return F.grid_sample(image, torch.stack((x, y), -1), padding_mode="border", align_corners=False)


def _enlarging(scale: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for step in range(int(log2(scale))):
        layers += [nn.Conv2d(64 if step else CHANNELS, 256, 1, bias=False), nn.PixelShuffle(2)]
        layers.append(nn.LeakyReLU(0.1, inplace=True))
    return layers


def _enlarged(flow: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize a flow, with its lengths."""
    factor = size[0] // flow.shape[-2]
    return factor * F.interpolate(flow, size, mode="bilinear", align_corners=False)
