"""BasicVSR, composed of its four stages: alignment, propagation, aggregation and upsampling.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021,
section 3; checkpoints of the implementations in BasicSR and mmagic fit it (`vsr_model.checkpoint`).
"""

from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from vsr_model.layers import ResidualTrunk, conv3x3, leaky_relu_, pixel_shuffle, resize
from vsr_model.recurrence import propagate
from vsr_model.spynet import SPyNet
from vsr_model.stages import Stage, StageProbe, no_probe
from vsr_model.warp import warp

SCALE: Final = 4
MIN_SIZE: Final = 16  # of height and width
OUTPUT_CHANNELS: Final = 64  # of the layers at the output's size, whatever mid_channels is

ResizeMode: TypeAlias = Literal["bilinear", "nearest"]
Direction: TypeAlias = Literal["backward", "forward"]  # of a branch and its flow, in time


class Alignment(nn.Module):
    """Flow between neighbouring frames, and features warped along it."""

    def __init__(self, *, flow_resize: ResizeMode) -> None:
        super().__init__()
        self.spynet = SPyNet(flow_resize=flow_resize)

    def forward(self, feat_prop: Tensor, flow: Tensor) -> Tensor:
        """`feat_prop` (n, c, h, w) of a neighbour, seen from where `flow` (n, 2, h, w) starts."""
        return warp(feat_prop, flow)

    def compute_flow(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """See `BasicVSR.compute_flow`."""
        n, t, _, h, w = lrs.shape
        if t == 1:  # a single frame has no neighbour; pooling would refuse the empty batch
            return lrs.new_empty(n, 0, 2, h, w), lrs.new_empty(n, 0, 2, h, w)
        earlier, later = _neighbours(lrs)
        flows_backward: Tensor = self.spynet(earlier, later)
        flows_forward: Tensor = self.spynet(later, earlier)
        return flows_forward.view(n, t - 1, 2, h, w), flows_backward.view(n, t - 1, 2, h, w)

    def compute_flow_one_way(self, lrs: Tensor, direction: Direction) -> Tensor:
        """`flows_forward` or `flows_backward` alone, of a clip of two frames or more."""
        n, t, _, h, w = lrs.shape
        earlier, later = _neighbours(lrs)
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
        """What is propagated into the first frame of a direction: zeros (n, mid_channels, h, w)."""
        n, _, _, h, w = lrs.shape
        return lrs.new_zeros(n, self.mid_channels, h, w)


class Aggregation(nn.Module):
    """Fusion of both directions' features of a frame."""

    def __init__(self, mid_channels: int) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(2 * mid_channels, mid_channels, kernel_size=1)

    def forward(self, feat_backward: Tensor, feat_forward: Tensor) -> Tensor:
        """Two (n, mid_channels, h, w) to one."""
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
        """`features` (n, mid_channels, h, w) and `frame` (n, 3, h, w), to (n, 3, 4h, 4w)."""
        features = leaky_relu_(pixel_shuffle(self.upconv1(features)))
        features = leaky_relu_(pixel_shuffle(self.upconv2(features)))
        residual: Tensor = self.conv_last(leaky_relu_(self.conv_hr(features)))
        height, width = frame.shape[-2:]
        # The sum takes the wider dtype, the frame's, where features are narrower.
        return resize(frame, (SCALE * height, SCALE * width), self.base_upsample) + residual


class BasicVSR(nn.Module):
    """Super-resolution of a video by four, from bidirectionally propagated features.

    `mid_channels` and `num_blocks` (residual blocks per direction) are the paper's 64 and 30, which give
    6,291,311 parameters. `base_upsample` enlarges the frame that the network's residual is added to;
    `flow_resize` brings frames to the multiples of 32 that flow estimation needs. The published
    implementations use bilinear for both.
    """

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        *,
        base_upsample: ResizeMode = "bilinear",
        flow_resize: ResizeMode = "bilinear",
    ) -> None:
        super().__init__()
        self.alignment = Alignment(flow_resize=flow_resize)
        self.propagation = Propagation(mid_channels, num_blocks)
        self.aggregation = Aggregation(mid_channels)
        self.upsampling = Upsampling(mid_channels, base_upsample=base_upsample)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """`lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w). The probe spans each stage's work."""
        check_shape(tuple(lrs.shape))
        with probe(Stage.ALIGNMENT):
            flows_forward, flows_backward = self.alignment.compute_flow(lrs)
        feats_backward = self.propagate_backward(lrs, flows_backward, probe)

        with probe(Stage.PROPAGATION):
            feat_prop = self.propagation.initial_features(lrs)
        # `recurrence.forward_branch` is this loop for clips of any length. Here it is written out, so that a
        # profile of this function by line shows what each stage adds.
        outputs = []
        for i, frame in enumerate(lrs.unbind(1)):
            if i > 0:
                with probe(Stage.ALIGNMENT):
                    feat_prop = self.alignment(feat_prop, flows_forward[:, i - 1])
            with probe(Stage.PROPAGATION):
                feat_prop = self.propagation.forward_trunk(frame, feat_prop)
            with probe(Stage.AGGREGATION):
                features = self.aggregation(feats_backward[i], feat_prop)
            with probe(Stage.UPSAMPLING):
                outputs.append(self.upsampling(features, frame))
        with probe(Stage.UPSAMPLING):
            return torch.stack(outputs, 1)

    def compute_flow(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """`flows_forward` and `flows_backward` of `lrs` (n, t, 3, h, w), each (n, t - 1, 2, h, w) in pixels.

        `flows_forward[:, i]` starts at frame i + 1 and points into frame i, so it takes features forward in
        time; `flows_backward[:, i]` starts at frame i and points into frame i + 1 (mmagic's meaning).
        """
        check_shape(tuple(lrs.shape))
        return self.alignment.compute_flow(lrs)

    def propagate_backward(self, lrs: Tensor, flows_backward: Tensor, probe: StageProbe) -> list[Tensor]:
        """The backward features (n, mid_channels, h, w) of each frame, by frame; made from last to first."""
        with probe(Stage.PROPAGATION):
            feat_prop = self.propagation.initial_features(lrs)
        frames = lrs.unbind(1)
        steps = (
            (i, frame, flows_backward[:, i] if i < len(frames) - 1 else None)
            for i, frame in reversed(list(enumerate(frames)))
        )
        propagated = propagate(self.propagation.backward_trunk, self.alignment, steps, feat_prop, probe)
        return [features for *_, features in propagated][::-1]

    def cast_features(self, dtype: torch.dtype) -> None:
        """Run propagation, aggregation and upsampling in `dtype`, such as torch.bfloat16.

        Flow estimation, positions and sampling of the warp, the base image and the output keep the input's
        precision: an error in a flow moves pixels, and is carried from frame to frame.
        """
        if not dtype.is_floating_point:
            raise ValueError(f"features need a floating-point dtype, not {dtype}.")
        for stage in (self.propagation, self.aggregation, self.upsampling):
            stage.to(dtype)

    def compile_stages(self) -> None:
        """Compile each stage on its own (`torch.nn.Module.compile`), so that the probe still sees all four.

        The recurrence itself stays in Python: unrolled over a clip it would be compiled for each length.
        """
        for part in (
            self.alignment,
            self.alignment.spynet,
            self.propagation.backward_trunk,
            self.propagation.forward_trunk,
            self.aggregation,
            self.upsampling,
        ):
            part.compile()


def _neighbours(lrs: Tensor) -> tuple[Tensor, Tensor]:
    """The earlier and the later frame of each pair, both (n * (t - 1), 3, h, w)."""
    return lrs[:, :-1].reshape(-1, *lrs.shape[2:]), lrs[:, 1:].reshape(-1, *lrs.shape[2:])


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise ValueError, in one sentence, for the shape of what is no clip that `BasicVSR` takes."""
    match shape:
        case (n, t, 3, h, w) if n >= 1 and t >= 1 and h >= MIN_SIZE and w >= MIN_SIZE:
            return
    raise ValueError(
        f"BasicVSR needs a clip of shape (n, t, 3, h, w) with n, t of at least 1 and h, w of at least "
        f"{MIN_SIZE}, not {shape}."
    )
