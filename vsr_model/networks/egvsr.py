"""EGVSR: FRVSR's recurrence with an output that is shuffled, not convolved, to its size.

Cao et al., "Real-Time Super-Resolution System of 4K-Video Based on Deep Learning", ASAP 2021 (arXiv
2107.05307). The generator has no batch normalisation and no enlarged frame beside the residual network; both
are as released.
"""

from dataclasses import replace
from typing import Final

import torch.nn.functional as F
from torch import Tensor

from vsr_model.layers import conv3x3
from vsr_model.network import Published
from vsr_model.networks.frvsr import FRVSR, GAINS, SCALE, STAGES, Degradation, NumBlocks
from vsr_model.stages import UPSAMPLING

CHANNELS: Final = 64


class EGVSR(FRVSR):
    """Super-resolution of a video by four; each output depends on the frames up to its own.

    With 10 blocks, as published, it has 2,587,473 parameters, of which 73,856 are never used: the released
    class has FRVSR's two transposed convolutions, which stand in its checkpoints, and does not call them.
    """

    facts = replace(
        FRVSR.facts,
        title="EGVSR",
        source="Cao et al., Real-Time Super-Resolution System of 4K-Video Based on Deep Learning, ASAP 2021",
        stages={
            **STAGES,
            UPSAMPLING: "Shuffles the features to the output's size, and convolves them to RGB.",
        },
        compiled=("fnet", "srnet.conv_in", "srnet.resblocks"),
        gains=GAINS,
        published=(
            Published(
                quantity="speed", value=29.61, unit="frames/s", source="Cao et al. 2021, abstract",
                conditions="3840x2160 output; measured without synchronising the GPU in the released code",
            ),
        ),
    )  # fmt: skip

    def __init__(self, num_blocks: NumBlocks = 10, *, degradation: Degradation = "BD") -> None:
        super().__init__(CHANNELS, num_blocks, degradation=degradation)
        self.srnet.conv_out = conv3x3(CHANNELS // SCALE**2, 3)

    def upsample(self, features: Tensor, frame: Tensor) -> Tensor:  # noqa: ARG002 - as FRVSR's
        """Return the output (n, 3, 4h, 4w), in float32, of `features` (n, 64, h, w)."""
        output: Tensor = self.srnet.conv_out(F.relu(F.pixel_shuffle(features, SCALE), inplace=True))
        return output.float()
