"""BasicVSR, composed of its four stages: alignment, propagation, aggregation and upsampling.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021,
section 3; checkpoints of the implementations in BasicSR and mmagic fit it (`vsr_model.checkpoint`).
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import ResidualTrunk, conv3x3, leaky_relu_, pixel_shuffle, resize
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.spynet import SPyNet, neighbouring_flows, neighbours
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe
from vsr_model.warp import warp

SCALE: Final = 4
OUTPUT_CHANNELS: Final = 64  # of the layers at the output's size, for any mid_channels

ResizeMode: TypeAlias = Literal["bilinear", "nearest"]
Direction: TypeAlias = Literal["backward", "forward"]  # of a branch and its flow, in time
Step: TypeAlias = tuple[int, Tensor, Tensor | None]
"""A frame's index in the clip, the frame (n, 3, h, w), and the flow (n, 2, h, w) that starts at it and points
into the frame that a branch comes from. It is None where a branch starts."""


class Alignment(nn.Module):
    """Flow between neighbouring frames, and features warped along it."""

    def __init__(self, *, flow_resize: ResizeMode) -> None:
        super().__init__()
        self.spynet = SPyNet(flow_resize=flow_resize)

    def forward(self, feat_prop: Tensor, flow: Tensor) -> Tensor:
        """Warp `feat_prop` (n, c, h, w) of a neighbour to where `flow` (n, 2, h, w) starts."""
        return warp(feat_prop, flow)

    def compute_flow(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """Return both directions' flows; see `BasicVSR.compute_flow`."""
        return neighbouring_flows(self.spynet, lrs)

    def compute_flow_one_way(self, lrs: Tensor, direction: Direction) -> Tensor:
        """Return `flows_forward` or `flows_backward` alone, of a clip of two frames or more."""
        n, t, _, h, w = lrs.shape
        earlier, later = neighbours(lrs)
        flows: Tensor = self.spynet(later, earlier) if direction == "forward" else self.spynet(earlier, later)
        return flows.view(n, t - 1, 2, h, w)


class Propagation(nn.Module):
    """The recurrent cells of both directions, called one by one."""

    def __init__(self, mid_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.backward_trunk = ResidualTrunk(mid_channels, num_blocks)
        self.forward_trunk = ResidualTrunk(mid_channels, num_blocks)

    def initial_features(self, lrs: Tensor) -> Tensor:
        """Return the features that enter the first frame of a direction: zeros (n, mid_channels, h, w)."""
        n, _, _, h, w = lrs.shape
        return lrs.new_zeros(n, self.mid_channels, h, w)


class Aggregation(nn.Module):
    """Fusion of both directions' features of a frame."""

    def __init__(self, mid_channels: int) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(2 * mid_channels, mid_channels, kernel_size=1)

    def forward(self, feat_backward: Tensor, feat_forward: Tensor) -> Tensor:
        """Fuse features (n, mid_channels, h, w) of both directions into one."""
        return leaky_relu_(self.fusion(torch.cat((feat_backward, feat_forward), 1)))


class Upsampling(nn.Module):
    """Features to the residual at four times the size by pixel shuffle, added to the enlarged frame."""

    def __init__(self, mid_channels: int, *, base_upsample: ResizeMode) -> None:
        super().__init__()
        self.base_upsample = base_upsample
        self.upconv1 = conv3x3(mid_channels, 4 * mid_channels)
        self.upconv2 = conv3x3(mid_channels, 4 * OUTPUT_CHANNELS)
        self.conv_hr = conv3x3(OUTPUT_CHANNELS, OUTPUT_CHANNELS)
        self.conv_last = conv3x3(OUTPUT_CHANNELS, 3)

    def forward(self, features: Tensor, frame: Tensor) -> Tensor:
        """Enlarge `features` (n, mid_channels, h, w) and `frame` (n, 3, h, w) to (n, 3, 4h, 4w)."""
        features = leaky_relu_(pixel_shuffle(self.upconv1(features)))
        features = leaky_relu_(pixel_shuffle(self.upconv2(features)))
        residual: Tensor = self.conv_last(leaky_relu_(self.conv_hr(features)))
        height, width = frame.shape[-2:]
        # The sum takes the wider dtype, the frame's, where features are narrower.
        return resize(frame, (SCALE * height, SCALE * width), self.base_upsample) + residual


class BasicVSR(Network):
    """Super-resolution of a video by four, from features that are propagated in both directions.

    The paper's 64 channels and 30 residual blocks per direction give 6,291,311 parameters.
    """

    facts = Facts(
        title="BasicVSR",
        source="Chan et al., BasicVSR: The Search for Essential Components in Video Super-Resolution and "
        "Beyond, CVPR 2021",
        stages={
            ALIGNMENT: "Estimates optical flow between neighbouring frames, and warps features along it.",
            PROPAGATION: "Runs the residual trunks of the backward and the forward branch.",
            AGGREGATION: "Fuses the features of both directions.",
            UPSAMPLING: "Shuffles features to the output's size, and adds the enlarged frame.",
        },
        min_size=16,  # SPyNet still sees something after its five halvings
        narrow=("propagation", "aggregation", "upsampling"),
        compiled=(
            "alignment", "alignment.spynet", "propagation.backward_trunk", "propagation.forward_trunk",
            "aggregation", "upsampling",
        ),
        schedules=("sequential", "pipelined"),
        can_stream=True,
        gains=(
            # Flows come out at about a pixel, and the residual is as large as the image.
            (r"\.conv2\.weight$", 0.1),
            (r"^alignment\.", 1.2),
            (r"^(aggregation|upsampling)\.", 1.5),
        ),
        published=(
            Published(quantity="parameters", value=6.3e6, unit="", source="Chan et al. 2021, table 1"),
            Published(
                quantity="time per frame", value=0.063, unit="s", source="Chan et al. 2021, table 1",
                conditions="180x320 input; the GPU is not stated with it",
            ),
        ),
        names=(
            (r"^(?:spynet\.)?(?=(?:mean|std)$|(?:levels|basic_module)\.)", "alignment.spynet."),
            # mmagic keeps convolution and activation in one module, so it counts layers where others count
            # both.
            (
                r"(?<=^alignment\.spynet\.)basic_module\.(\d)\.basic_module\.(\d)\.conv\.",
                lambda match: f"levels.{match[1]}.{2 * int(match[2])}.",
            ),
            (r"(?<=^alignment\.spynet\.)basic_module\.(\d)\.basic_module\.", r"levels.\1."),
            (
                r"^(backward|forward)_(?:trunk|resblocks)\.(?:main|conv_resblock)\.",
                r"propagation.\1_trunk.main.",
            ),
            (r"(?<=_trunk\.)main\.0\.", "conv_in."),
            (r"(?<=_trunk\.)main\.2\.", "blocks."),
            (r"^(?:fusion|concate)\.", "aggregation.fusion."),
            (r"^(?:upsample|up)([12])\.(?:upsample|up)_conv\.", r"upconv\1."),
            (r"^(?=(?:upconv[12]|conv_hr|conv_last)\.)", "upsampling."),
        ),
        optional=r"^alignment\.spynet\.(mean|std)$",
        parts=("alignment.spynet.",),
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[
            int, Field(ge=1, le=4096, description="Channels of the propagated features.")
        ] = 64,
        num_blocks: Annotated[
            int, Field(ge=1, le=1000, description="Residual blocks in each direction.")
        ] = 30,
        *,
        base_upsample: Annotated[
            ResizeMode, Field(description="How a frame is enlarged before the residual is added to it.")
        ] = "bilinear",
        flow_resize: Annotated[
            ResizeMode,
            Field(description="How frames are brought to the multiples of 32 that flow estimation needs."),
        ] = "bilinear",
    ) -> None:
        super().__init__()
        self.alignment = Alignment(flow_resize=flow_resize)
        self.propagation = Propagation(mid_channels, num_blocks)
        self.aggregation = Aggregation(mid_channels)
        self.upsampling = Upsampling(mid_channels, base_upsample=base_upsample)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        with probe(ALIGNMENT):
            flows_forward, flows_backward = self.alignment.compute_flow(lrs)
        feats_backward = self.propagate_backward(lrs, flows_backward, probe)

        with probe(PROPAGATION):
            feat_prop = self.propagation.initial_features(lrs)
        # `streaming.upscale_frames` has this loop for clips of any length. Here it is written out, so that a
        # profile of this function by line shows what each stage adds.
        outputs = []
        for i, frame in enumerate(lrs.unbind(1)):
            if i > 0:
                with probe(ALIGNMENT):
                    feat_prop = self.alignment(feat_prop, flows_forward[:, i - 1])
            with probe(PROPAGATION):
                feat_prop = self.propagation.forward_trunk(frame, feat_prop)
            with probe(AGGREGATION):
                features = self.aggregation(feats_backward[i], feat_prop)
            with probe(UPSAMPLING):
                outputs.append(self.upsampling(features, frame))
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def compute_flow(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """Return `flows_forward` and `flows_backward` of `lrs`, each (n, t - 1, 2, h, w) in pixels.

        `flows_forward[:, i]` starts at frame i + 1 and points into frame i, so it takes features forward in
        time; `flows_backward[:, i]` starts at frame i and points into frame i + 1 (mmagic's meaning).
        """
        check_clip(self.facts, tuple(lrs.shape))
        return self.alignment.compute_flow(lrs)

    def propagate_backward(self, lrs: Tensor, flows_backward: Tensor, probe: StageProbe) -> list[Tensor]:
        """Return the backward features (n, mid_channels, h, w) by frame; computed from last to first."""
        with probe(PROPAGATION):
            feat_prop = self.propagation.initial_features(lrs)
        frames = lrs.unbind(1)
        steps = (
            (i, frame, flows_backward[:, i] if i < len(frames) - 1 else None)
            for i, frame in reversed(list(enumerate(frames)))
        )
        propagated = propagate(self.propagation.backward_trunk, self.alignment, steps, feat_prop, probe)
        return [features for *_, features in propagated][::-1]


def propagate(
    trunk: nn.Module, alignment: nn.Module, steps: Iterable[Step], feat_prop: Tensor, probe: StageProbe
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield index, frame, and features (n, mid_channels, h, w) of each step, in the order of the steps.

    `feat_prop` enters the first step: zeros where the branch starts, else the features of the frame that its
    flow points into. Only one step's features are kept for the next.
    """
    for index, frame, flow in steps:
        if flow is not None:
            with probe(ALIGNMENT):
                feat_prop = alignment(feat_prop, flow)
        del flow  # it keeps those that were estimated with it
        with probe(PROPAGATION):
            feat_prop = trunk(frame, feat_prop)
        yield index, frame, feat_prop
