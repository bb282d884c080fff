"""Seeded weights, for measuring a network without trained ones."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from vsr_model.network import Network

BIAS_GAIN: Final = 0.01


def build_seeded(kind: type[Network], arguments: Mapping[str, Any], seed: int) -> Network:
    """Build a network in eval mode with weights drawn from the seed.

    A weight is uniform with a standard deviation of its gain over the square root of its fan-in, so that
    features keep their magnitude through the network and an error anywhere shows in the output. The gain is
    that of the first pattern of `facts.gains` that is found in the parameter's name, else 1. Parameters of
    one dimension that are no biases, and those of `facts.fixed`, keep what the constructor gives them.
    """
    with torch.random.fork_rng(devices=[]), _uninitialised():
        torch.manual_seed(seed)
        network = kind(**arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            gain = _gain(name, parameter, network)
            if gain is not None:
                # One call that draws on one thread, so that a process's threads are first started by what is
                # to be measured.
                bound = gain * math.sqrt(3)
                parameter.uniform_(-bound, bound, generator=generator)
    return network.eval()


def _gain(name: str, parameter: nn.Parameter, network: Network) -> float | None:
    if network.facts.fixed and re.search(network.facts.fixed, name):
        return None
    if name.endswith(".bias"):
        return BIAS_GAIN
    if parameter.dim() < 2:
        return None
    gain = next((gain for pattern, gain in network.facts.gains if re.search(pattern, name)), 1.0)
    return gain / math.sqrt(parameter[0].numel())


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Let convolutions that are made in the block keep the memory they were given: their values are replaced.

    Torch's initialisation of a full network takes longer than all else that it is built from. The meta device
    would avoid it, too, at twice the time.
    """
    original = _ConvNd.reset_parameters
    _ConvNd.reset_parameters = _keep  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        _ConvNd.reset_parameters = original  # type: ignore[method-assign]


def _keep(_module: _ConvNd) -> None:
    """Leave the parameters as they are."""
