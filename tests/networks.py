"""Networks and probes for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests import golden
from vsr_model import build_network, load_checkpoint
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


def golden_basicvsr(size: str = "tiny", variant: str = "bilinear") -> BasicVSR:
    """The network that the golden files were made with."""
    network = build_basicvsr(*golden.SIZES[size], base_upsample=variant, flow_resize=variant)
    load_checkpoint(network, golden.weights(*golden.SIZES[size]))
    return network


class Spans:
    """A probe that keeps the stages in order, and refuses to be nested."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.open: str | None = None

    @contextmanager
    def __call__(self, stage: str, /) -> Iterator[None]:
        assert self.open is None, f"{stage} is nested in {self.open}"
        self.open = stage
        self.stages.append(stage)
        try:
            yield
        finally:
            self.open = None
