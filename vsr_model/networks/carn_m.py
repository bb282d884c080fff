"""CARN-M: CARN for mobile devices, with grouped convolutions and shared blocks (Ahn et al., ECCV 2018)."""

from dataclasses import replace

from vsr_model.network import Published
from vsr_model.networks.carn import CARN


class CARNM(CARN):
    """Super-resolution of images by four: 294,171 parameters; 414,811 with the other two scales.

    Each cascade has one block, which it runs three times.
    """

    facts = replace(
        CARN.facts,
        title="CARN-M",
        published=(
            Published(
                quantity="cost of an image", value=32.5, unit="GMAC", source="Ahn et al. 2018",
                conditions="1280x720 output",
            ),
        ),
    )  # fmt: skip

    groups = 4
