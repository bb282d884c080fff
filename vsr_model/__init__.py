"""BasicVSR, composed of its four stages. Importing this package does not import torch."""

from typing import TYPE_CHECKING, Any

from vsr_model.errors import BadInput
from vsr_model.stages import STAGES, Stage, StageProbe, no_probe

if TYPE_CHECKING:
    from vsr_model.basicvsr import BasicVSR
    from vsr_model.checkpoint import load_checkpoint

__all__ = [
    "STAGES",
    "BadInput",
    "BasicVSR",
    "Stage",
    "StageProbe",
    "load_checkpoint",
    "no_probe",
]

_NEEDS_TORCH = {"BasicVSR": "vsr_model.basicvsr", "load_checkpoint": "vsr_model.checkpoint"}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for (PEP 562): the benchmark's parent must stay light."""
    if name in _NEEDS_TORCH:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
