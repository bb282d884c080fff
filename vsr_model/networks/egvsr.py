"""EGVSR: flow from a small network, the previous output warped along it, and a light residual network.

Cao et al., "Real-Time Super-Resolution System of 4K-Video Based on Deep Learning", ASAP 2021 (arXiv
2107.05307). The recurrence is FRVSR's (Sajjadi et al., CVPR 2018), in the form of TecoGAN (Chu et al., TOG
2020). The generator has no batch normalisation and no enlarged frame beside the residual network; both are as
released.
"""

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.stages import ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe
from vsr_model.warp import warp

SCALE: Final = 4
CHANNELS: Final = 64
MAX_FLOW: Final = 24  # pixels of the input
FLOW_MULTIPLE: Final = 8
CUBIC: Final = -0.75  # the parameter of the bicubic kernel

Degradation = Literal["BD", "BI"]


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
        self.flow = nn.Sequential(_conv(64, 32), nn.LeakyReLU(0.2, inplace=True), _conv(32, 2))

    def forward(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Estimate the flow (n, 2, h // 8 * 8, w // 8 * 8), in pixels, from `frame` (n, 3, h, w) on."""
        features = self.encoder3(self.encoder2(self.encoder1(torch.cat((frame, previous), 1))))
        for decoder in (self.decoder1, self.decoder2, self.decoder3):
            features = F.interpolate(decoder(features), scale_factor=2, mode="bilinear", align_corners=False)
        return MAX_FLOW * torch.tanh(self.flow(features))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(CHANNELS, CHANNELS), nn.ReLU(inplace=True), _conv(CHANNELS, CHANNELS))

    def forward(self, features: Tensor) -> Tensor:
        """Add the residual to `features` (n, 64, h, w)."""
        residual: Tensor = self.conv(features)
        return residual + features


class SRNet(nn.Module):
    """A frame beside the warped previous output, to the next output."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.conv_in = nn.Sequential(_conv(3 + 3 * SCALE**2, CHANNELS), nn.ReLU(inplace=True))
        self.resblocks = nn.Sequential(*(ResidualBlock() for _ in range(num_blocks)))
        # The released class has two transposed convolutions that it never calls. They are counted among its
        # parameters, and stand in its checkpoints.
        self.conv_up = nn.Sequential(_unused(), nn.ReLU(inplace=True), _unused(), nn.ReLU(inplace=True))
        self.conv_out = _conv(CHANNELS // SCALE**2, 3)

    def trunk(self, frame: Tensor, warped: Tensor) -> Tensor:
        """Compute features (n, 64, h, w) of `frame` (n, 3, h, w) and the warped output (n, 3, 4h, 4w)."""
        weight = self.conv_out.weight
        inputs = torch.cat((frame, _space_to_depth(warped)), 1).to(weight.dtype)
        features: Tensor = self.resblocks(self.conv_in(inputs))
        return features

    def upsample(self, features: Tensor) -> Tensor:
        """Compute the output (n, 3, 4h, 4w), in float32, of `features` (n, 64, h, w)."""
        output: Tensor = self.conv_out(F.relu(F.pixel_shuffle(features, SCALE), inplace=True))
        return output.float()


class EGVSR(Network):
    """Super-resolution of a video by four; each output depends on the frames up to its own.

    `degradation` is that of the training data: BD (blurred, then sampled) enlarges the flow by a bicubic
    kernel whose samples lie on the corners, BI (bicubic) bilinearly. With 10 blocks, as published, it has
    2,587,473 parameters, of which 73,856 are never used.
    """

    facts = Facts(
        title="EGVSR",
        source="Cao et al., Real-Time Super-Resolution System of 4K-Video Based on Deep Learning, ASAP 2021",
        stages={
            ALIGNMENT: "Estimates flow to the previous frame, and warps the previous output along it.",
            PROPAGATION: "Joins the frame with the warped output, and runs the residual trunk.",
            UPSAMPLING: "Shuffles the features to the output's size, and convolves them to RGB.",
        },
        min_size=FLOW_MULTIPLE,
        narrow=("srnet",),
        compiled=("fnet", "srnet.conv_in", "srnet.resblocks"),
        gains=(
            (r"^fnet\.flow\.2\.", 0.08),
            (r"^fnet\.", 1.4),
            (r"^srnet\.resblocks\.\d+\.conv\.2\.", 0.1),
            (r"^srnet\.conv_in", 1.4),
        ),
        ignored=r"(^|\.)upsample_func\.kernels$",
        published=(
            Published(
                quantity="speed", value=29.61, unit="frames/s", source="Cao et al. 2021, abstract",
                conditions="3840x2160 output; measured without synchronising the GPU in the released code",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Residual blocks of the trunk.")] = 10,
        *,
        degradation: Annotated[
            Degradation,
            Field(description="Degradation of the training data, which decides how the flow is enlarged."),
        ] = "BD",
    ) -> None:
        super().__init__()
        self.degradation = degradation
        self.fnet = FlowNet()
        self.srnet = SRNet(num_blocks)
        self.register_buffer("bicubic", _bicubic_kernels(), persistent=False)

    bicubic: Tensor

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
                output = self.srnet.upsample(features)
            outputs.append(output)
            previous = frame
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def enlarged_flow(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Return the flow (n, 2, 4h, 4w) between the outputs of two frames (n, 3, h, w), in output pixels."""
        flow = self.fnet(frame, previous)
        height, width = frame.shape[-2:]
        below, right = height - flow.shape[-2], width - flow.shape[-1]
        flow = F.pad(flow, (0, right, 0, below), mode="reflect") if below or right else flow
        if self.degradation == "BI":
            size = (SCALE * height, SCALE * width)
            return SCALE * F.interpolate(flow, size, mode="bilinear", align_corners=False)
        return SCALE * _enlarge_bicubic(flow, self.bicubic)


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)


def _pair(channels_in: int, channels_out: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        _conv(channels_in, channels_out), nn.LeakyReLU(0.2, inplace=True),
        _conv(channels_out, channels_out), nn.LeakyReLU(0.2, inplace=True), *after,
    )  # fmt: skip


def _unused() -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(CHANNELS, CHANNELS, kernel_size=3, stride=2, padding=1, output_padding=1)


def _space_to_depth(image: Tensor) -> Tensor:
    """Reshape (n, c, 4h, 4w) to (n, 16 c, h, w), by row, column, colour: not as `pixel_unshuffle`."""
    n, channels, height, width = image.shape
    blocks = image.view(n, channels, height // SCALE, SCALE, width // SCALE, SCALE)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, SCALE**2 * channels, height // SCALE, width // SCALE)


def _bicubic_kernels() -> Tensor:
    """Return weights (4, 4) of the four samples around positions of 0 to 3 quarters beyond the second."""
    position = torch.arange(SCALE).unsqueeze(1) / SCALE
    distance = (torch.arange(-1, 3) - position).abs()
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * CUBIC - 4 * CUBIC
    return torch.where(distance <= 1, near, far)


def _enlarge_bicubic(image: Tensor, kernels: Tensor) -> Tensor:
    """Enlarge (n, c, h, w) to (n, c, 4h, 4w); every fourth output pixel is an input pixel."""
    n, channels, height, width = image.shape
    padded = F.pad(image, (1, 2, 1, 2), mode="replicate").flatten(0, 1).unsqueeze(1)
    rows = (
        F.conv2d(padded, kernels.view(SCALE, 1, SCALE, 1))
        .transpose(1, 2)
        .reshape(-1, 1, SCALE * height, width + 3)
    )
    columns = F.conv2d(rows, kernels.view(SCALE, 1, 1, SCALE)).permute(0, 2, 3, 1)
    return columns.reshape(n, channels, SCALE * height, SCALE * width)
