"""Video super-resolution networks that can be measured stage by stage. Importing it does not import torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vsr_model.errors import BadInput
from vsr_model.stages import StageProbe, no_probe

if TYPE_CHECKING:
    from vsr_model.checkpoint import load_checkpoint
    from vsr_model.network import Facts, Network
    from vsr_model.networks.basicvsr import BasicVSR
    from vsr_model.registry import NETWORKS, build_network

__all__ = [
    "NETWORKS",
    "BadInput",
    "BasicVSR",
    "Facts",
    "Network",
    "StageProbe",
    "build_network",
    "load_checkpoint",
    "no_probe",
]

_MODULES = {
    "NETWORKS": "vsr_model.registry",
    "build_network": "vsr_model.registry",
    "BasicVSR": "vsr_model.networks.basicvsr",
    "Facts": "vsr_model.network",
    "Network": "vsr_model.network",
    "load_checkpoint": "vsr_model.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562): the benchmark's parent must stay free of torch, its help quick."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
