"""BasicVSR++: propagation of second order over a grid of four sweeps, aligned by flow and deformation.

Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and Alignment", CVPR 2022
(arXiv 2104.13371). Submodules are named as in BasicSR's checkpoints.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from vsr_model.deform import TAPS, deform_conv3x3
from vsr_model.layers import NEGATIVE_SLOPE, Tail, Trunk, conv3x3
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.spynet import NAMES, SPyNet, neighbouring_flows
from vsr_model.stages import (
    AGGREGATION,
    ALIGNMENT,
    FEATURES,
    PROPAGATION,
    UPSAMPLING,
    StageProbe,
    no_probe,
)
from vsr_model.warp import warp

SWEEPS: Final = ("backward_1", "forward_1", "backward_2", "forward_2")
GROUPS: Final = 16  # of deformable convolutions, half of them for each of the two states
MAX_RESIDUE: Final = 10.0  # pixels that an offset may differ from the flow
BLOCKS_AROUND: Final = 5  # residual blocks of the features before the sweeps, and after them


class DeformableAlignment(nn.Module):
    """A deformable convolution of two states, whose offsets are flow and what is predicted beside it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reference = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.weight, self.bias = reference.weight, reference.bias
        self.conv_offset = nn.Sequential(
            conv3x3(3 * channels + 4, channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            conv3x3(channels, channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            conv3x3(channels, channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            conv3x3(channels, 3 * TAPS * GROUPS),
        )  # fmt: skip

    def forward(self, states: Tensor, condition: Tensor, flows: tuple[Tensor, Tensor]) -> Tensor:
        """Align `states` (n, 2c, h, w) by `condition` (n, 3c, h, w) and a flow (n, 2, h, w) for each half."""
        dtype = self.weight.dtype
        inputs = torch.cat([part.to(dtype) for part in (condition, *flows)], 1)
        first, second, mask = self.conv_offset(inputs).float().chunk(3, 1)
        residue = MAX_RESIDUE * torch.tanh(torch.cat((first, second), 1))
        # Of a flow horizontal comes first, of an offset vertical.
        moved = [flow.flip(1).repeat(1, TAPS * GROUPS // 2, 1, 1) for flow in flows]
        offsets = residue + torch.cat(moved, 1)
        return deform_conv3x3(states.to(dtype), offsets, self.weight, self.bias, mask=torch.sigmoid(mask))


class BasicVSRPlusPlus(Network, Tail):
    """Super-resolution of a video by four; every output depends on the whole clip.

    With 64 channels and 7 blocks per sweep, as published, it has 7,322,927 parameters.
    """

    facts = Facts(
        title="BasicVSR++",
        source="Chan et al., BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and "
        "Alignment, CVPR 2022",
        stages={
            FEATURES: "Computes features of each frame.",
            ALIGNMENT: "Estimates flow, and aligns the two states before by deformable convolutions.",
            PROPAGATION: "Runs the residual trunk of each sweep on all that earlier ones made.",
            AGGREGATION: "Joins all sweeps' features, and runs the residual blocks after them.",
            UPSAMPLING: "Shuffles features to the output's size, and adds the enlarged frame.",
        },
        min_size=64,
        narrow=("feat_extract", "deform_align", "backbone", "reconstruction", "upconv1", "upconv2", "conv_hr",
                "conv_last"),
        compiled=("spynet", "feat_extract", "reconstruction", *(f"backbone.{sweep}" for sweep in SWEEPS)),
        gains=(
            (r"(^|\.)spynet\.", 1.2),
            (r"\.conv2\.weight$", 0.1),
            (r"conv_offset\.6\.weight$", 0.3),
            (r"conv_offset\.\d\.weight$", 1.2),
            (r"deform_align\.\w+\.weight$", 1.8),
            (r"^backbone\..*main\.0\.", 0.7),
            (r"^(upconv1|upconv2|conv_hr|conv_last)\.", 1.5),
        ),
        published=(
            Published(quantity="parameters", value=7.3e6, unit="", source="Chan et al. 2022, table 1"),
            Published(quantity="time per frame", value=0.077, unit="s", source="Chan et al. 2022, table 1",
                      conditions="180x320 input; the GPU is not stated with it"),
        ),
        names=NAMES,
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="Channels.")] = 64,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Residual blocks of each sweep.")] = 7,
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.spynet = SPyNet()
        self.feat_extract = Trunk(3, mid_channels, BLOCKS_AROUND)
        self.deform_align = nn.ModuleDict({sweep: DeformableAlignment(mid_channels) for sweep in SWEEPS})
        self.backbone = nn.ModuleDict(
            {
                sweep: Trunk((2 + earlier) * mid_channels, mid_channels, num_blocks)
                for earlier, sweep in enumerate(SWEEPS)
            }
        )
        self.reconstruction = Trunk((1 + len(SWEEPS)) * mid_channels, mid_channels, BLOCKS_AROUND)
        self.add_tail(mid_channels)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        with probe(FEATURES):
            features = [[self.feat_extract((frame,))] for frame in lrs.unbind(1)]
        with probe(ALIGNMENT):
            flows_forward, flows_backward = neighbouring_flows(self.spynet, lrs)
        flows = {"backward": list(flows_backward.unbind(1))[::-1], "forward": list(flows_forward.unbind(1))}
        for sweep in SWEEPS:
            direction = sweep.partition("_")[0]
            order = features[::-1] if direction == "backward" else features
            self.sweep(sweep, order, flows[direction], probe)
        outputs = []
        for frame, parts in zip(lrs.unbind(1), features, strict=True):
            with probe(AGGREGATION):
                fused = self.reconstruction(parts)
            with probe(UPSAMPLING):
                outputs.append(self.enlarge(fused, frame))
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def sweep(
        self, name: str, features: Sequence[list[Tensor]], flows: Sequence[Tensor], probe: StageProbe
    ) -> None:
        """Run one sweep over the frames in its order, and append its features to each frame's.

        `flows[i]` starts at frame i + 1 and points into frame i.
        """
        align, trunk = self.deform_align[name], self.backbone[name]
        states: list[Tensor] = []
        for index, parts in enumerate(features):
            aligned = None
            if states:
                with probe(ALIGNMENT):
                    aligned = self.aligned(align, states, flows[:index], parts[0])
            with probe(PROPAGATION):
                begun = torch.zeros_like(parts[0]) if aligned is None else aligned
                states = [*states[-1:], begun + trunk((*parts, begun))]
            parts.append(states[-1])

    def aligned(
        self, align: nn.Module, states: Sequence[Tensor], flows: Sequence[Tensor], current: Tensor
    ) -> Tensor:
        """Align the two states before to the frame of features `current` (n, c, h, w)."""
        flow_1 = flows[-1]
        before = warp(states[-1], flow_1)
        if len(states) > 1:
            flow_2 = flow_1 + warp(flows[-2], flow_1)
            second, before_2 = states[-2], warp(states[-2], flow_2)
        else:
            flow_2, second, before_2 = (torch.zeros_like(part) for part in (flow_1, states[-1], before))
        dtype = current.dtype
        condition = torch.cat((before.to(dtype), current, before_2.to(dtype)), 1)
        result: Tensor = align(torch.cat((states[-1], second), 1), condition, (flow_1, flow_2))
        return result
