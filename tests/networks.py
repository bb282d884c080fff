"""What tests need of networks again and again."""

from typing import Any

from vsr_model import build_network
from vsr_model.networks.basicvsr import BasicVSR

STAGES = tuple(BasicVSR.facts.stages)


def build_basicvsr(
    mid_channels: int = 64, num_blocks: int = 30, *, seed: int = 0, **arguments: Any
) -> BasicVSR:
    network = build_network(
        "basicvsr", seed=seed, mid_channels=mid_channels, num_blocks=num_blocks, **arguments
    )
    assert isinstance(network, BasicVSR)
    return network
