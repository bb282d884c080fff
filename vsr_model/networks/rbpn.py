"""RBPN: back-projection of one neighbour after another, by a state that is carried from each to the next.

Haris et al., "Recurrent Back-Projection Network for Video Super-Resolution", CVPR 2019 (arXiv 1903.10128).
Its flow comes from outside of the network; published times do not say whether it was timed. Submodules are
named as in the released checkpoints.
"""

from dataclasses import replace
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vsr_model.network import Facts, Published
from vsr_model.spynet import SPyNet
from vsr_model.stages import AGGREGATION, ALIGNMENT, FEATURES, PROPAGATION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

STAGES: Final = 3  # of the back-projection of a single image


class Conv(nn.Module):
    """A convolution and a PReLU; by default from the output's size to the input's."""

    def __init__(self, channels_in: int, channels_out: int, size: int = 8, stride: int = 4) -> None:
        super().__init__()
        padding = 2 if size == 8 else size // 2
        self.conv = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=padding)
        self.act = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h, w), or a quarter of both sides."""
        convolved: Tensor = self.act(self.conv(features))
        return convolved


class Deconv(nn.Module):
    """A transposed convolution and a PReLU, from the input's size to the output's."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels_in, channels_out, 8, stride=4, padding=2)
        self.act = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, 4h, 4w)."""
        enlarged: Tensor = self.act(self.deconv(features))
        return enlarged


class Residual(nn.Module):
    """Two convolutions beside a shortcut, with the same PReLU after the first and after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h, w) of `features` of the same shape."""
        residual: Tensor = self.act(self.conv2(self.act(self.conv1(features))) + features)
        return residual


class Up(nn.Module):
    """Enlargement that is corrected by what is lost on the way back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up_conv1, self.up_conv3 = Deconv(channels, channels), Deconv(channels, channels)
        self.up_conv2 = Conv(channels, channels)

    def forward(self, low: Tensor) -> Tensor:
        """Return (n, c, 4h, 4w)."""
        high = self.up_conv1(low)
        corrected: Tensor = self.up_conv3(self.up_conv2(high) - low) + high
        return corrected


class Down(nn.Module):
    """The reverse of `Up`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down_conv1, self.down_conv3 = Conv(channels, channels), Conv(channels, channels)
        self.down_conv2 = Deconv(channels, channels)

    def forward(self, high: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, 4h, 4w)."""
        low = self.down_conv1(high)
        corrected: Tensor = self.down_conv3(self.down_conv2(low) - high) + low
        return corrected


class DBPN(nn.Module):
    """Deep back-projection of a single image (Haris et al., CVPR 2018)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.feat1 = Conv(channels_in, channels, 1, 1)
        self.up1, self.up2, self.up3 = (Up(channels) for _ in range(STAGES))
        self.down1, self.down2 = (Down(channels) for _ in range(STAGES - 1))
        self.output = nn.Sequential()
        self.output.add_module("conv", nn.Conv2d(STAGES * channels, channels, 1))

    def forward(self, state: Tensor) -> Tensor:
        """Return (n, c, 4h, 4w) of the state (n, s, h, w)."""
        first = self.up1(self.feat1(state))
        second = self.up2(self.down1(first))
        third = self.up3(self.down2(second))
        joined: Tensor = self.output(torch.cat((third, second, first), 1))
        return joined


class RBPN(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of seven: 12,771,943 parameters.

    The paper says 12.2 million.
    """

    facts = Facts(
        title="RBPN",
        source="Haris et al., Recurrent Back-Projection Network for Video Super-Resolution, CVPR 2019",
        stages={
            ALIGNMENT: "Joins the frame, a neighbour and the flow between them, estimated here or given.",
            FEATURES: "Computes features of the frame itself.",
            UPSAMPLING: "Enlarges the state by back-projection, and the features of the neighbour.",
            PROPAGATION: "Corrects the enlarged state by the neighbour, and brings it back to size.",
            AGGREGATION: "Fuses what all neighbours gave.",
        },
        narrow=("feat0", "feat1", "DBPN", "res_feat1", "res_feat2", "res_feat3", "output"),
        compiled=("DBPN", "res_feat1", "res_feat2", "res_feat3"),
        gains=(
            (r"conv2\.weight", 0.2), (r"deconv", 3.5), (r"DBPN\.output", 0.6),
            (r"res_feat3\..*\.conv\.weight", 0.8), (r"^output", 1.0), (r"^(feat|DBPN|res_feat)", 1.1),
            (r"^spynet\.", 1.2),
        ),
        published=(Published(quantity="parameters", value=12.2e6, unit="", source="Haris et al. 2019"),),
    )  # fmt: skip
    ends = "repeat"

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=1, le=4096, description="Channels of the state.")] = 256,
        *,
        high_channels: Annotated[
            int, Field(ge=1, le=4096, description="Channels at the output's size.")
        ] = 64,
        num_blocks: Annotated[int, Field(ge=1, le=100, description="Blocks of each residual part.")] = 5,
        neighbours: Annotated[int, Field(ge=1, le=20, description="Frames beside the frame itself.")] = 6,
        flow: Annotated[
            Literal["given", "spynet"],
            Field(
                description="Flow to each neighbour as further channels of the clip, as published, or by "
                "SPyNet inside the call."
            ),
        ] = "given",
    ) -> None:
        super().__init__()
        self.window = neighbours + 1
        if flow == "given":
            self.facts = replace(self.facts, inputs={"rgb": 3, "flows": 2 * neighbours})
        else:
            self.facts = replace(self.facts, min_size=16)
            self.spynet = SPyNet()
        self.flow = flow
        state, high = mid_channels, high_channels
        self.feat0, self.feat1 = Conv(3, state, 3, 1), Conv(8, state, 3, 1)
        self.DBPN = DBPN(state, high)
        self.res_feat1 = nn.Sequential(*_blocks(state, num_blocks), Deconv(state, high))
        self.res_feat2 = nn.Sequential(*_blocks(high, num_blocks), Conv(high, high, 3, 1))
        self.res_feat3 = nn.Sequential(*_blocks(high, num_blocks), Conv(high, state))
        self.output = nn.Sequential()
        self.output.add_module("conv", nn.Conv2d(neighbours * high, 3, 3, padding=1))

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, c, h, w), to (n, 3, 4h, 4w)."""
        weight = self.output.get_parameter("conv.weight")
        own = frames.pop(self.centre)
        frame = own[:, :3]
        with probe(ALIGNMENT):
            neighbours = [
                self.feat1(torch.cat((frame, other[:, :3], flow), 1).to(weight.dtype))
                for other, flow in zip(frames, self.flows(own, frames), strict=True)
            ]
        with probe(FEATURES):
            state = self.feat0(frame.to(weight.dtype))
        enlarged = []
        for neighbour in neighbours:
            with probe(UPSAMPLING):
                high, other = self.DBPN(state), self.res_feat1(neighbour)
            with probe(PROPAGATION):
                enlarged.append(high + self.res_feat2(high - other))
                state = self.res_feat3(enlarged[-1])
        with probe(AGGREGATION):
            output: Tensor = self.output(torch.cat(enlarged, 1))
            return output.float()

    def flows(self, own: Tensor, others: list[Tensor]) -> list[Tensor]:
        """Return the flow (n, 2, h, w) to each neighbour, in pixels."""
        if self.flow == "given":
            return list(own[:, 3:].chunk(len(others), 1))
        return [self.spynet(own, other) for other in others]


def _blocks(channels: int, number: int) -> list[Residual]:
    return [Residual(channels) for _ in range(number)]
