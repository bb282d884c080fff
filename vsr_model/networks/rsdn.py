"""RSDN: a recurrent network of two branches, for structure and for detail, that aligns nothing.

Isobe et al., "Video Super-Resolution with Recurrent Structure-Detail Network", ECCV 2020 (arXiv 2008.00455).
Submodules are named as in the released checkpoints.
"""

from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import conv3x3, leaky_relu_
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.stages import ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe

SCALE: Final = 4
OUTPUT_CHANNELS: Final = 3 * SCALE**2  # of an output at the input's size
TAPS: Final = 9  # of the filter of each pixel

Branches = tuple[Tensor, Tensor]
"""Tensors of the detail branch and of the structure branch."""


class StructureDetailBlock(nn.Module):
    """Two convolutions for each branch; both residuals are added to both branches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_d1, self.conv_d2 = conv3x3(channels, channels), conv3x3(channels, channels)
        self.conv_s1, self.conv_s2 = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, detail: Tensor, structure: Tensor) -> Branches:
        """Add the residuals to features (n, c, h, w) of both branches."""
        residual = self.conv_d2(F.relu(self.conv_d1(detail), inplace=True)) + self.conv_s2(
            F.relu(self.conv_s1(structure), inplace=True)
        )
        return detail + residual, structure + residual


class Cell(nn.Module):
    """The recurrent cell: frames, the previous outputs and the adapted state, to the next outputs."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.forget = conv3x3(3, TAPS)
        inputs = 2 * 3 + OUTPUT_CHANNELS + channels
        self.conv_d, self.conv_s = conv3x3(inputs, channels), conv3x3(inputs, channels)
        for number in range(1, num_blocks + 1):
            self.add_module(f"SD{number}", StructureDetailBlock(channels))
        self.conv_hd, self.conv_od = conv3x3(channels, channels), conv3x3(channels, OUTPUT_CHANNELS)
        self.conv_hs, self.conv_os = conv3x3(channels, channels), conv3x3(channels, OUTPUT_CHANNELS)

    def adapted(self, frame: Tensor, state: Tensor) -> Tensor:
        """Weight the state (n, c, h, w) by how well it fits `frame` (n, 3, h, w): a filter for each pixel."""
        n, channels, height, width = state.shape
        filters = leaky_relu_(self.forget(frame.to(self.forget.weight.dtype)))
        patches = F.unfold(state, 3, padding=1).view(n, channels, TAPS, height, width)
        return state * torch.sigmoid((patches * filters.unsqueeze(1)).sum(2))

    def forward(self, pairs: Branches, state: Tensor, outputs: Branches) -> tuple[Branches, Tensor]:
        """Return outputs (n, 48, h, w) of both branches and the next state (n, c, h, w).

        `pairs` are the two frames (n, 6, h, w) of each branch, `outputs` its previous ones.
        """
        dtype = self.conv_d.weight.dtype
        parts = [
            [part.to(dtype) for part in (pair, state, output)]
            for pair, output in zip(pairs, outputs, strict=True)
        ]
        detail = leaky_relu_(self.conv_d(torch.cat(parts[0], 1)))
        structure = leaky_relu_(self.conv_s(torch.cat(parts[1], 1)))
        for number in range(1, self.num_blocks + 1):
            detail, structure = self.get_submodule(f"SD{number}")(detail, structure)
        hidden = leaky_relu_(self.conv_hd(detail)) + leaky_relu_(self.conv_hs(structure))
        return (self.conv_od(detail), self.conv_os(structure)), hidden


class RSDN(Network):
    """Super-resolution of a video by four; from the second on, each output depends on frames up to its own.

    The first depends on the second frame, which stands before it, as in the released code. With 128 channels
    and 9 blocks, as published (RSDN 9-128), it has 6,180,236 parameters.
    """

    facts = Facts(
        title="RSDN",
        source="Isobe et al., Video Super-Resolution with Recurrent Structure-Detail Network, ECCV 2020",
        stages={
            ALIGNMENT: "Splits frames into structure and detail, and adapts the hidden state to the frame.",
            PROPAGATION: "Joins frames, state and previous outputs in two branches, and runs the blocks.",
            UPSAMPLING: "Joins both branches, and shuffles them to the output's size.",
        },
        min_size=2,
        min_frames=3,
        narrow=("neuro", "conv"),
        compiled=("neuro",),
        gains=(
            (r"SD\d+\.conv_[ds]2\.", 0.1),
            (r"SD\d+\.conv_[ds]1\.", 1.4),
            (r"forget\.", 3.0),
            (r"conv_o[ds]\.", 1.4),
            (r"^conv\.", 2.0),
        ),
        published=(
            Published(
                quantity="time per frame", value=94, unit="ms", source="Chan et al. 2021, table 1",
                conditions="180x320 input; copied there from other work",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=1, le=4096, description="Channels of each branch.")] = 128,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Structure-detail blocks.")] = 9,
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.neuro = Cell(mid_channels, num_blocks)
        self.conv = conv3x3(2 * OUTPUT_CHANNELS, OUTPUT_CHANNELS)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        n, t, _, height, width = lrs.shape
        with probe(ALIGNMENT):
            structures = _structure(lrs)
            details = lrs - structures
        with probe(PROPAGATION):
            state = lrs.new_zeros(n, self.mid_channels, height, width, dtype=self.neuro.conv_d.weight.dtype)
            nothing = lrs.new_zeros(n, OUTPUT_CHANNELS, height, width)
            outputs = nothing, nothing
        enlarged = []
        for index in range(t):
            before = index - 1 if index else 1
            with probe(ALIGNMENT):
                state = self.neuro.adapted(lrs[:, index], state)
            with probe(PROPAGATION):
                pairs = tuple(
                    torch.cat((part[:, before], part[:, index]), 1) for part in (details, structures)
                )
                outputs, state = self.neuro((pairs[0], pairs[1]), state, outputs)
            with probe(UPSAMPLING):
                enlarged.append(F.pixel_shuffle(self.conv(torch.cat(outputs, 1)).float(), SCALE))
        with probe(UPSAMPLING):
            return torch.stack(enlarged, 1)


def _structure(lrs: Tensor) -> Tensor:
    """Return what is left of frames (n, t, 3, h, w) that are halved and enlarged again."""
    height, width = lrs.shape[-2:]
    frames = lrs.flatten(0, 1)
    halved = F.interpolate(frames, scale_factor=0.5, mode="bilinear", align_corners=False)
    return F.interpolate(halved, (height, width), mode="bilinear", align_corners=False).view(lrs.shape)
