"""RRN: a recurrent residual network that aligns nothing.

Isobe et al., "Revisiting Temporal Modeling for Video Super-resolution", BMVC 2020 (arXiv 2008.05765).
Submodules are named as in the released checkpoints.
"""

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import ResidualBlock, conv3x3, resize
from vsr_model.network import Facts, Network, check_clip
from vsr_model.stages import PROPAGATION, UPSAMPLING, StageProbe, no_probe

SCALE: Final = 4
OUTPUT_CHANNELS: Final = 3 * SCALE**2  # of an output at the input's size

BeforeFirst = Literal["second", "first"]


class Cell(nn.Module):
    """The recurrent cell: two frames, the previous output and the hidden state to the next state."""

    def __init__(self, mid_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.conv_1 = conv3x3(2 * 3 + OUTPUT_CHANNELS + mid_channels, mid_channels)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))
        self.conv_h = conv3x3(mid_channels, mid_channels)
        self.conv_o = conv3x3(mid_channels, OUTPUT_CHANNELS)

    def forward(
        self, previous: Tensor, frame: Tensor, hidden: Tensor, unshuffled: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return features and new state of frames (n, 3, h, w), state (n, c, h, w), output (n, 48, h, w)."""
        dtype = self.conv_1.weight.dtype
        inputs = torch.cat([part.to(dtype) for part in (previous, frame, hidden, unshuffled)], 1)
        features: Tensor = self.recon_trunk(F.relu(self.conv_1(inputs), inplace=True))
        return features, F.relu(self.conv_h(features), inplace=True)

    def upsample(self, features: Tensor, frame: Tensor) -> Tensor:
        """Return the output (n, 3, 4h, 4w) in float32 of `features` (n, c, h, w) and `frame` (n, 3, h, w)."""
        height, width = frame.shape[-2:]
        residual = F.pixel_shuffle(self.conv_o(features), SCALE)
        # The sum takes the wider dtype, the frame's, where features are narrower.
        return resize(frame, (SCALE * height, SCALE * width), "bilinear") + residual


class RRN(Network):
    """Super-resolution of a video by four; from the second on, each output depends on frames up to its own.

    With 128 channels and 10 blocks, the paper's RRN-L, it has 3,364,400 parameters; with 5 blocks, RRN-S,
    1,888,560. The released code pads a clip by two pixels on each side, which is not done here.
    """

    facts = Facts(
        title="RRN",
        source="Isobe et al., Revisiting Temporal Modeling for Video Super-resolution, BMVC 2020",
        stages={
            PROPAGATION: "Joins two frames, the previous output and the hidden state, and runs the trunk.",
            UPSAMPLING: "Shuffles the residual to the output's size, and adds the enlarged frame.",
        },
        narrow=("neuro",),
        compiled=("neuro",),
        gains=(
            (r"\.conv2\.weight$", 0.1),
            (r"\.conv1\.weight$", 1.4),
            (r"\.conv_h\.", 1.3),
            (r"\.conv_o\.", 1.5),
        ),
    )

    def __init__(
        self,
        mid_channels: Annotated[
            int, Field(ge=1, le=4096, description="Channels of the trunk and of the hidden state.")
        ] = 128,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Residual blocks of the trunk.")] = 10,
        *,
        before_first: Annotated[
            BeforeFirst,
            Field(
                description="What stands before the first frame: the second, as in the released code, or the "
                "first itself, so that no output depends on a later frame."
            ),
        ] = "second",
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.before_first = before_first
        self.neuro = Cell(mid_channels, num_blocks)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        n, t, _, height, width = lrs.shape
        previous = lrs[:, 1 if self.before_first == "second" and t > 1 else 0]
        with probe(PROPAGATION):
            hidden = lrs.new_zeros(n, self.mid_channels, height, width)
            unshuffled = lrs.new_zeros(n, OUTPUT_CHANNELS, height, width)
        outputs: list[Tensor] = []
        for frame in lrs.unbind(1):
            with probe(PROPAGATION):
                if outputs:
                    unshuffled = F.pixel_unshuffle(outputs[-1], SCALE)
                features, hidden = self.neuro(previous, frame, hidden, unshuffled)
            with probe(UPSAMPLING):
                outputs.append(self.neuro.upsample(features, frame))
            previous = frame
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)
