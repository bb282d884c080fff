"""Video super-resolution networks that can be measured stage by stage. Importing it does not import torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vsr_model.errors import BadInput
from vsr_model.registry import NETWORKS, build_network
from vsr_model.stages import StageProbe, no_probe

if TYPE_CHECKING:
    from vsr_model.checkpoint import load_checkpoint
    from vsr_model.network import Facts, Network
    from vsr_model.networks.basicvsr import BasicVSR

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

_NEEDS_TORCH = {
    "BasicVSR": "vsr_model.networks.basicvsr",
    "Facts": "vsr_model.network",
    "Network": "vsr_model.network",
    "load_checkpoint": "vsr_model.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for (PEP 562): the benchmark's parent must stay light."""
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
