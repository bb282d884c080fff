"""RLSP: a recurrent network that looks one frame ahead, and aligns nothing.

Fuoli et al., "Efficient Video Super-Resolution through Recurrent Latent Space Propagation", ICCVW 2019 (arXiv
1909.08080). The paper predicts luma alone; this is the released form for RGB.
"""

from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import conv3x3, depth_to_space, space_to_depth
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.stages import PROPAGATION, UPSAMPLING, StageProbe, no_probe

SCALE: Final = 4
OUTPUT_CHANNELS: Final = 3 * SCALE**2  # of an output at the input's size


class RLSP(Network):
    """Super-resolution of a video by four; each output depends on the frames up to the one after its own.

    With 7 layers of 128 channels, as published (RLSP 7-128), it has 1,154,096 parameters; with 48 channels
    190,896, with 64 319,024, with 256 4,372,528.
    """

    facts = Facts(
        title="RLSP",
        source="Fuoli et al., Efficient Video Super-Resolution through Recurrent Latent Space Propagation, "
        "ICCVW 2019",
        stages={
            PROPAGATION: "Joins three frames, the previous output and the state, and runs the convolutions.",
            UPSAMPLING: "Shuffles the output to its size, and adds the repeated frame.",
        },
        compiled=("conv1", "conv_list", "conv_out"),
        gains=((r"^conv1\.", 1.2), (r"^conv_list", 1.4), (r"^conv_out\.", 1.2)),
        published=(
            Published(
                quantity="time per frame", value=49, unit="ms", source="Chan et al. 2021, table 1",
                conditions="180x320 input, 4.2 M parameters; copied there from other work",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=1, le=4096, description="Channels, also of the state.")] = 128,
        num_layers: Annotated[
            int, Field(ge=2, le=1000, description="Convolutions, first and last included.")
        ] = 7,
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.conv1 = conv3x3(3 * 3 + OUTPUT_CHANNELS + mid_channels, mid_channels)
        self.conv_list = nn.ModuleList(conv3x3(mid_channels, mid_channels) for _ in range(num_layers - 2))
        self.conv_out = conv3x3(mid_channels, OUTPUT_CHANNELS + mid_channels)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        n, t, _, height, width = lrs.shape
        with probe(PROPAGATION):
            state = lrs.new_zeros(n, self.mid_channels, height, width)
            fed_back = lrs.new_zeros(n, OUTPUT_CHANNELS, height, width)
        outputs: list[Tensor] = []
        for index, frame in enumerate(lrs.unbind(1)):
            with probe(PROPAGATION):
                if outputs:
                    fed_back = space_to_depth(outputs[-1], SCALE)
                around = (lrs[:, max(index - 1, 0)], frame, lrs[:, min(index + 1, t - 1)])
                residual, state = self.cell((*around, fed_back, state))
            with probe(UPSAMPLING):
                outputs.append(depth_to_space(residual.float() + frame.repeat(1, SCALE**2, 1, 1), SCALE))
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def cell(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the residual (n, 48, h, w) and the next state (n, c, h, w) of tensors (n, ..., h, w)."""
        dtype = self.conv1.weight.dtype
        features = F.relu(self.conv1(torch.cat([each.to(dtype) for each in inputs], 1)), inplace=True)
        for convolution in self.conv_list:
            features = F.relu(convolution(features), inplace=True)
        result: Tensor = self.conv_out(features)
        return result[:, :OUTPUT_CHANNELS], F.relu(result[:, OUTPUT_CHANNELS:])
