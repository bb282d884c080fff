"""TecoGAN's generator: FRVSR's recurrence, trained against a discriminator that sees several frames.

Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation", TOG 2020 (arXiv
1811.09393). The discriminator is for training alone.
"""

from dataclasses import replace

from vsr_model.network import Published
from vsr_model.networks.frvsr import FRVSR, Degradation, MidChannels, NumBlocks


class TecoGAN(FRVSR):
    """FRVSR with half the channels: 2,589,093 parameters with 10 blocks, as released; 3,032,229 with 16."""

    facts = replace(
        FRVSR.facts,
        title="TecoGAN",
        source="Chu et al., Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation, "
        "TOG 2020",
        published=(
            Published(
                quantity="speed", value=27, unit="frames/s", source="skycrapers/TecoGAN-PyTorch, README",
                conditions="134x320 input, GTX 1080 Ti",
            ),
        ),
    )  # fmt: skip

    def __init__(
        self, mid_channels: MidChannels = 64, num_blocks: NumBlocks = 10, *, degradation: Degradation = "BD"
    ) -> None:
        super().__init__(mid_channels, num_blocks, degradation=degradation)
