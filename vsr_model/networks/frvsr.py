"""FRVSR: flow from a small network, the previous output warped along it, and a residual network.

Sajjadi et al., "Frame-Recurrent Video Super-Resolution", CVPR 2018 (arXiv 1801.04590), in the form of
TecoGAN's generator (Chu et al., TOG 2020), which is what is released. EGVSR has the same recurrence, too.
"""

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import CornerBicubic, conv3x3, space_to_depth
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.stages import ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe
from vsr_model.warp import warp

SCALE: Final = 4
MAX_FLOW: Final = 24  # pixels of the input
FLOW_MULTIPLE: Final = 8

Degradation = Annotated[
    Literal["BD", "BI"],
    Field(
        description="Degradation of the training data: BD (blurred, then sampled) enlarges by a bicubic "
        "kernel whose samples lie on the corners, BI (bicubic) bilinearly."
    ),
]
NumBlocks = Annotated[int, Field(ge=1, le=1000, description="Residual blocks of the trunk.")]
MidChannels = Annotated[int, Field(ge=1, le=4096, description="Channels of the trunk.")]

STAGES: Final = {
    ALIGNMENT: "Estimates flow to the previous frame, and warps the previous output along it.",
    PROPAGATION: "Joins the frame with the warped output, and runs the residual trunk.",
}
GAINS: Final = (
    (r"^fnet\.flow\.2\.", 0.08),
    (r"^fnet\.", 1.4),
    (r"^srnet\.resblocks\.\d+\.conv\.2\.", 0.1),
    (r"^srnet\.conv_in", 1.4),
)
IGNORED: Final = r"(^|\.)upsample_func\.kernels$"  # constants, which are computed here


class FlowNet(nn.Module):
    """Flow between two frames by an encoder and a decoder, at sides rounded down to multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder1 = _pair(6, 32, nn.MaxPool2d(2))
        self.encoder2 = _pair(32, 64, nn.MaxPool2d(2))
        self.encoder3 = _pair(64, 128, nn.MaxPool2d(2))
        self.decoder1 = _pair(128, 256)
        self.decoder2 = _pair(256, 128)
        self.decoder3 = _pair(128, 64)
        self.flow = nn.Sequential(conv3x3(64, 32), nn.LeakyReLU(0.2, inplace=True), conv3x3(32, 2))

    def forward(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Estimate the flow (n, 2, h // 8 * 8, w // 8 * 8), in pixels, from `frame` (n, 3, h, w) on."""
        features = self.encoder3(self.encoder2(self.encoder1(torch.cat((frame, previous), 1))))
        for decoder in (self.decoder1, self.decoder2, self.decoder3):
            features = F.interpolate(decoder(features), scale_factor=2, mode="bilinear", align_corners=False)
        return MAX_FLOW * torch.tanh(self.flow(features))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            conv3x3(channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add the residual to `features` (n, c, h, w)."""
        residual: Tensor = self.conv(features)
        return residual + features


class SRNet(nn.Module):
    """A frame beside the warped previous output, to the next output."""

    def __init__(self, mid_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.conv_in = nn.Sequential(conv3x3(3 + 3 * SCALE**2, mid_channels), nn.ReLU(inplace=True))
        self.resblocks = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))
        self.conv_up = nn.Sequential(
            _enlarging(mid_channels), nn.ReLU(inplace=True), _enlarging(mid_channels), nn.ReLU(inplace=True)
        )
        self.conv_out = conv3x3(mid_channels, 3)

    def trunk(self, frame: Tensor, warped: Tensor) -> Tensor:
        """Compute features (n, c, h, w) of `frame` (n, 3, h, w) and the warped output (n, 3, 4h, 4w)."""
        weight = self.conv_out.weight
        inputs = torch.cat((frame, space_to_depth(warped, SCALE)), 1).to(weight.dtype)
        features: Tensor = self.resblocks(self.conv_in(inputs))
        return features

    def residual(self, features: Tensor) -> Tensor:
        """Compute (n, 3, 4h, 4w), in float32, of `features` (n, c, h, w)."""
        output: Tensor = self.conv_out(self.conv_up(features))
        return output.float()


class FRVSR(Network):
    """Super-resolution of a video by four; each output depends on the frames up to its own.

    With 128 channels and 10 blocks, as published (FRVSR 10-128), it has 5,054,693 parameters.
    """

    facts = Facts(
        title="FRVSR",
        source="Sajjadi et al., Frame-Recurrent Video Super-Resolution, CVPR 2018",
        stages={
            **STAGES,
            UPSAMPLING: "Enlarges the features by transposed convolutions, and adds the enlarged frame.",
        },
        min_size=FLOW_MULTIPLE,
        narrow=("srnet",),
        compiled=("fnet", "srnet.conv_in", "srnet.resblocks", "srnet.conv_up"),
        gains=(*GAINS, (r"^srnet\.conv_up\.", 2.0)),
        ignored=IGNORED,
        published=(
            Published(
                quantity="time per frame", value=137, unit="ms", source="Chan et al. 2021, table 1",
                conditions="180x320 input; copied there from other work",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self, mid_channels: MidChannels = 128, num_blocks: NumBlocks = 10, *, degradation: Degradation = "BD"
    ) -> None:
        super().__init__()
        self.degradation = degradation
        self.fnet = FlowNet()
        self.srnet = SRNet(mid_channels, num_blocks)
        self.bicubic = CornerBicubic()

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        n, _, _, height, width = lrs.shape
        with probe(PROPAGATION):
            previous = torch.zeros_like(lrs[:, 0])
            output = lrs.new_zeros(n, 3, SCALE * height, SCALE * width)
        outputs = []
        for frame in lrs.unbind(1):
            with probe(ALIGNMENT):
                warped = warp(output, self.enlarged_flow(frame, previous), padding_mode="border")
            with probe(PROPAGATION):
                features = self.srnet.trunk(frame, warped)
            with probe(UPSAMPLING):
                output = self.upsample(features, frame)
            outputs.append(output)
            previous = frame
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def upsample(self, features: Tensor, frame: Tensor) -> Tensor:
        """Return the output (n, 3, 4h, 4w) of `features` (n, c, h, w) and `frame` (n, 3, h, w)."""
        return self.srnet.residual(features) + self.enlarged(frame)

    def enlarged_flow(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Return the flow (n, 2, 4h, 4w) between the outputs of two frames (n, 3, h, w), in output pixels."""
        flow = self.fnet(frame, previous)
        height, width = frame.shape[-2:]
        below, right = height - flow.shape[-2], width - flow.shape[-1]
        flow = F.pad(flow, (0, right, 0, below), mode="reflect") if below or right else flow
        return SCALE * self.enlarged(flow)

    def enlarged(self, image: Tensor) -> Tensor:
        """Enlarge (n, c, h, w) to (n, c, 4h, 4w), as the degradation of the training data was."""
        if self.degradation == "BI":
            return F.interpolate(image, scale_factor=SCALE, mode="bilinear", align_corners=False)
        enlarged: Tensor = self.bicubic(image)
        return enlarged


def _pair(channels_in: int, channels_out: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        conv3x3(channels_in, channels_out), nn.LeakyReLU(0.2, inplace=True),
        conv3x3(channels_out, channels_out), nn.LeakyReLU(0.2, inplace=True), *after,
    )  # fmt: skip


def _enlarging(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, kernel_size=3, stride=2, padding=1, output_padding=1)
