"""Seeded weights of a sensible size, for measuring a network without its trained weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn

from vsr_model.basicvsr import BasicVSR, ResizeMode

BIAS_GAIN: Final = 0.01

# Relative to 1 / sqrt(fan-in), so that flows come out at about a pixel, features keep their magnitude through
# any number of blocks, and the residual is as large as the image: an error anywhere shows in the output.
BLOCK_GAIN: Final = 0.1  # of the second convolution of each residual block
FLOW_GAIN: Final = 1.2
OUTPUT_GAIN: Final = 1.5  # of fusion and upsampling


def build_basicvsr(
    mid_channels: int = 64,
    num_blocks: int = 30,
    *,
    base_upsample: ResizeMode = "bilinear",
    flow_resize: ResizeMode = "bilinear",
    seed: int,
) -> BasicVSR:
    """A `BasicVSR` on the CPU in eval mode, with the same weights for the same seed on any machine.

    Torch's global random state is neither read nor advanced.
    """
    with _uninitialised():
        model = BasicVSR(mid_channels, num_blocks, base_upsample=base_upsample, flow_resize=flow_resize)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Uniform with the gain as its standard deviation; one call that draws on one thread, so that a
            # process's threads are first started by what is to be measured.
            bound = _gain(name, parameter) * math.sqrt(3)
            parameter.uniform_(-bound, bound, generator=generator)
    return model.eval()


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Convolutions made in the block keep the memory they were given: torch's own values would be replaced.

    Torch's initialisation of the full model takes longer than all else that it is built from, and draws from
    the global random state. The meta device would avoid both, at twice the time.
    """
    original = nn.Conv2d.reset_parameters
    nn.Conv2d.reset_parameters = _keep  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Conv2d.reset_parameters = original  # type: ignore[method-assign]


def _keep(_module: nn.Conv2d) -> None:
    """Leave the parameters as they are."""


def _gain(name: str, parameter: nn.Parameter) -> float:
    if name.endswith(".bias"):
        return BIAS_GAIN
    gain = 1 / math.sqrt(parameter[0].numel())
    if name.endswith(".conv2.weight"):
        return gain * BLOCK_GAIN
    if name.startswith("alignment."):
        return gain * FLOW_GAIN
    if name.startswith(("aggregation.", "upsampling.")):
        return gain * OUTPUT_GAIN
    return gain
