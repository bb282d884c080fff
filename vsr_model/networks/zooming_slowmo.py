"""Zooming Slow-Mo: frames in between are made as features, then all frames are enlarged together.

Xiang et al., "Zooming Slow-Mo: Fast and Accurate One-Stage Space-Time Video Super-Resolution", CVPR 2020
(arXiv 2002.11616). A clip of t frames gives 2t - 1; checkpoints of the released code fit.
"""

from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from vsr_model.errors import BadField
from vsr_model.layers import ResidualBlock, Tail, conv3x3
from vsr_model.network import Facts, Network, check_clip
from vsr_model.pcd import GROUPS, MULTIPLE, PCDAlignment, add_levels, add_pyramid, levels_of, pyramid_of
from vsr_model.stages import (
    AGGREGATION,
    ALIGNMENT,
    FEATURES,
    PROPAGATION,
    RECONSTRUCTION,
    UPSAMPLING,
    StageProbe,
    no_probe,
)

NAMES: Final = (
    (r"fea_L([23])_conv", r"conv_l\1_"),
    (r"L([123])_(offset_conv\d)_([12])\.", r"\3.\2.l\1."),
    (r"L([123])_dcnpack_([12])\.", r"\2.dcn_pack.l\1."),
    (r"L([123])_fea_conv_([12])\.", r"\2.feat_conv.l\1."),
    (r"conv_offset_mask\.", "conv_offset."),
    (r"^HRconv\.", "conv_hr."),
)
"""Names of the released checkpoints to those here, which EDVR's alignment has."""


class BothWays(nn.ModuleDict):
    """Alignment of two frames' features to each other, with layers of its own for each way."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__({way: PCDAlignment(channels, groups=groups, cascade=False) for way in ("1", "2")})

    def forward(self, one: list[Tensor], other: list[Tensor]) -> Tensor:
        """Return (n, 2c, h, w): each frame where the other is."""
        return torch.cat((self["1"](one, other), self["2"](other, one)), 1)


class AlignedState(nn.Module):
    """A state of the recurrent cell, brought to the current frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        add_levels(self, channels)
        self.pcd_align = BothWays(channels, groups)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the state (n, c, h, w), aligned to `features` of the same shape."""
        aligned = self.pcd_align(levels_of(self, features), levels_of(self, state))
        fused: Tensor = self.fusion(aligned)
        return fused


class Cell(nn.Module):
    """A convolutional LSTM whose states are aligned before each step."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.pcd_h, self.pcd_c = AlignedState(channels, groups), AlignedState(channels, groups)
        gates = nn.Module()
        gates.add_module("conv", conv3x3(2 * channels, 4 * channels))
        self.cell_list = nn.ModuleList([gates])

    def run(self, frames: list[Tensor], probe: StageProbe) -> list[Tensor]:
        """Return the hidden state (n, c, h, w) at each of `frames` of the same shape."""
        with probe(PROPAGATION):
            hidden = cell = torch.zeros_like(frames[0])
        made = []
        for features in frames:
            with probe(ALIGNMENT):
                hidden, cell = self.pcd_h(features, hidden), self.pcd_c(features, cell)
            with probe(PROPAGATION):
                gates = self.cell_list[0].get_submodule("conv")(torch.cat((features, hidden), 1))
                enter, forget, leave, new = gates.chunk(4, 1)
                cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
                hidden = torch.sigmoid(leave) * torch.tanh(cell)
            made.append(hidden)
        return made


class ZoomingSlowMo(Network, Tail):
    """Super-resolution by four in space and by two in time; every output depends on the whole clip.

    As published it has 11,102,771 parameters.
    """

    facts = Facts(
        title="Zooming Slow-Mo",
        source="Xiang et al., Zooming Slow-Mo: Fast and Accurate One-Stage Space-Time Video "
        "Super-Resolution, CVPR 2020",
        stages={
            FEATURES: "Computes features of each frame at three sizes.",
            ALIGNMENT: "Aligns neighbours to each other for the frame in between, and states to frames.",
            PROPAGATION: "Carries features both ways by a convolutional LSTM.",
            AGGREGATION: "Fuses neighbours to the frame in between, and both ways.",
            RECONSTRUCTION: "Runs the residual blocks.",
            UPSAMPLING: "Shuffles the features to the output's size.",
        },
        multiple=MULTIPLE,
        min_size=MULTIPLE,
        min_frames=2,
        narrow=("recon_trunk", "upconv1", "upconv2", "conv_hr", "conv_last"),
        compiled=("feature_extraction", "recon_trunk"),
        gains=(
            (r"(feature_extraction|recon_trunk)\.\d+\.conv2\.weight", 0.1), (r"conv_offset\.", 1.8),
            (r"offset_conv", 1.3), (r"dcn_pack", 1.2), (r"cell_list", 1.5),
            (r"(upconv|conv_hr|conv_last)", 1.5), (r"conv_l", 1.3), (r"", 1.2),
        ),
        names=NAMES,
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=1, le=4096, description="Channels of the features.")] = 64,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Blocks after the propagation.")] = 40,
        *,
        extract_blocks: Annotated[int, Field(ge=1, le=1000, description="Blocks of each frame.")] = 5,
        groups: Annotated[
            int,
            Field(ge=1, le=64, description="Groups of deformable convolutions, which divide the channels."),
        ] = GROUPS,
    ) -> None:
        super().__init__()
        if mid_channels % groups:
            raise BadField("groups", f"{groups} does not divide the {mid_channels} channels")
        add_pyramid(self, mid_channels, extract_blocks)
        self.pcd_align = BothWays(mid_channels, groups)
        self.fusion = nn.Conv2d(2 * mid_channels, mid_channels, 1)
        self.ConvBLSTM = nn.ModuleDict(
            {
                "forward_net": Cell(mid_channels, groups),
                "conv_1x1": nn.Conv2d(2 * mid_channels, mid_channels, 1),
            }
        )
        self.recon_trunk = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))
        self.add_tail(mid_channels)

    def frames_out(self, frames: int) -> int:
        """Return how many frames come out of a clip of `frames`."""
        return 2 * frames - 1

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, 2t - 1, 3, 4h, 4w)."""
        check_clip(self.facts, tuple(lrs.shape))
        with probe(FEATURES):
            levels = [level.chunk(lrs.shape[1]) for level in pyramid_of(self, torch.cat(lrs.unbind(1)))]
        frames = self.with_between([list(each) for each in zip(*levels, strict=True)], probe)
        cell = self.ConvBLSTM["forward_net"]
        forward = cell.run(frames, probe)  # type: ignore[operator]
        backward = cell.run(frames[::-1], probe)[::-1]  # type: ignore[operator]
        outputs = []
        for both in zip(forward, backward, strict=True):
            with probe(AGGREGATION):
                features = self.ConvBLSTM["conv_1x1"](torch.cat(both, 1))
            with probe(RECONSTRUCTION):
                features = self.recon_trunk(features.to(self.conv_last.weight.dtype))
            with probe(UPSAMPLING):
                outputs.append(self.residual(features).float())
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def with_between(self, each: list[list[Tensor]], probe: StageProbe) -> list[Tensor]:
        """Return features (n, c, h, w) of all frames of the output, of the levels of the input's frames."""
        frames = []
        for one, other in pairwise(each):
            with probe(ALIGNMENT):
                aligned = self.pcd_align(one, other)
            with probe(AGGREGATION):
                frames += [one[0], self.fusion(aligned)]
        return [*frames, each[-1][0]]
