"""CARN-M: CARN for mobile devices, with grouped convolutions and shared blocks (Ahn et al., ECCV 2018)."""

from dataclasses import replace
from typing import Final

from vsr_model.network import Published
from vsr_model.networks.carn import CARN, MultiScale

GROUPS: Final = 4


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

    def __init__(self, *, multi_scale: MultiScale = False) -> None:
        super(CARN, self).__init__()
        self._build(GROUPS, multi_scale=multi_scale)
