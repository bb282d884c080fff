"""Implementations that the user may have installed, as modules with this project's weights.

They are imported where they are there, and never bundled: of each, only the class, what it is constructed
with and the names of its tensors are known here.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from torch import Tensor, nn

from bench.measure.draft import in_words
from benchmarks.peers.plain import PlainBasicVSR
from vsr_model.checkpoint import Naming
from vsr_model.networks.basicvsr import BasicVSR

PLAIN: Final = "plain"


class AbsentError(Exception):
    """A peer cannot take part; the message is the sentence that says why."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`build` makes the network from its channels and blocks; it raises whatever importing a peer raises."""

    name: str
    package: str | None  # as the registry calls it; None for what this project contains
    build: Callable[[int, int], nn.Module]


def peer_with_weights(peer: Peer, network: nn.Module, mid_channels: int, num_blocks: int) -> nn.Module:
    """The peer's network in eval mode with a `BasicVSR`'s weights. Raises AbsentError where there is none."""
    try:
        built = peer.build(mid_channels, num_blocks)
    except ModuleNotFoundError as error:
        top = (error.name or "").partition(".")[0]
        if peer.package is not None and top == peer.package:
            raise AbsentError(f"{peer.name}: not installed") from error
        raise AbsentError(f"{peer.name}: installed, but not to be imported: {in_words(error)}") from error
    except Exception as error:
        raise AbsentError(f"{peer.name}: installed, but not to be built: {in_words(error)}") from error
    try:
        _take_weights(built, network.state_dict())
    except (KeyError, RuntimeError) as error:
        raise AbsentError(f"{peer.name}: does not take this network's weights: {in_words(error)}") from error
    return built.eval()


def _take_weights(peer: nn.Module, weights: dict[str, Tensor]) -> None:
    """Raises KeyError or RuntimeError where the peer has other tensors, or not all of these."""
    own_name = Naming.of(BasicVSR).own_name
    taken = {name: weights[own_name(name)] for name in peer.state_dict()}
    if left := weights.keys() - map(own_name, taken):
        raise KeyError(f"it has no {min(left)}")
    peer.load_state_dict(taken)


def _plain(mid_channels: int, num_blocks: int) -> nn.Module:
    return PlainBasicVSR(mid_channels, num_blocks)


def _basicsr(mid_channels: int, num_blocks: int) -> nn.Module:
    with what_torchvision_dropped():
        made: Any = import_module("basicsr.archs.basicvsr_arch").BasicVSR
    network: nn.Module = made(num_feat=mid_channels, num_block=num_blocks, spynet_path=None)
    return network


def _mmagic(mid_channels: int, num_blocks: int) -> nn.Module:
    made: Any = import_module("mmagic.models.editors.basicvsr.basicvsr_net").BasicVSRNet
    network: nn.Module = made(mid_channels=mid_channels, num_blocks=num_blocks, spynet_pretrained=None)
    return network


@contextmanager
def what_torchvision_dropped() -> Iterator[None]:
    """For the block, a name by which torchvision before 0.17 had what is now in `transforms.functional`.

    BasicSR 1.4.2, its last release, imports a function for training data by that name whatever is wanted of
    it, and could not be imported beside any torch that this project runs on.
    """
    name = "torchvision.transforms.functional_tensor"
    with suppress(ImportError):  # BasicSR will say itself what it lacks
        sys.modules.setdefault(name, import_module("torchvision.transforms.functional"))
    try:
        yield
    finally:
        sys.modules.pop(name, None)


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(name=PLAIN, package=None, build=_plain),
        Peer(name="basicsr", package="basicsr", build=_basicsr),
        Peer(name="mmagic", package="mmagic", build=_mmagic),
    )
}
