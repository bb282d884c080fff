"""The faults of the course paper's way of measuring, as switches of bench.paper.script. Pure."""

from collections.abc import Set
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """A switch; its value is what a run's environment.json and report say of it."""

    UNSYNCHRONISED = "the GPU is not waited for"  # times are of launching, and of what a call has to wait for
    GRADIENTS = "gradients are recorded"  # and kept for a backward pass
    FIRST_CALL_COUNTS = "the first call counts"  # libraries load, and cuDNN tunes, in a sample
    ALL_IN_TIMER = "transfers and set-up are in the timer"  # the model's way to the GPU, in the first sample
    ONE_PROCESS = "one process, a backend after the other"  # the next backend finds all set up
    WARP_OFF_CUDNN = "the warp runs without cuDNN"  # as everything does where cuDNN is switched off


Method = Set[Fault]
"""The faults that are on. With none, the script measures as one should."""

_SCRIPT: Final = "the course paper's script"


def text_of(method: Method) -> str:
    """Return how a run was measured, in words that `method_of` reads."""
    faults = ", ".join(fault for fault in Fault if fault in method)
    return f"{_SCRIPT}: {faults}" if faults else f"{_SCRIPT}, no fault on"


def method_of(text: object) -> Method | None:
    """Return the method whose text this is; None for a run that was measured as any is."""
    if not isinstance(text, str) or _SCRIPT not in text:
        return None
    return {fault for fault in Fault if fault in text}


PAPER: Final[Method] = frozenset(
    {Fault.UNSYNCHRONISED, Fault.GRADIENTS, Fault.FIRST_CALL_COUNTS, Fault.ALL_IN_TIMER}
)
"""How the paper measured; behind its figure 15 was one process, too."""

_FIRST_CALLS: Final = {Fault.FIRST_CALL_COUNTS, Fault.ALL_IN_TIMER}

FAULTS: Final[dict[str, tuple[Method, Method] | None]] = {
    "synchronisation": (set(), {Fault.UNSYNCHRONISED}),
    "autotuning": None,
    "order": (_FIRST_CALLS, {*_FIRST_CALLS, Fault.ONE_PROCESS}),
    "gradients": (set(), {Fault.GRADIENTS}),
    "transfers": None,
    "tf32": None,
    "cudnn_warp": (set(), {Fault.WARP_OFF_CUDNN}),
}
"""Experiments on one fault, each a preset of its own: the script without it, and with it. None: the fault is
a setting of the backend, which the preset's variant `fault` changes."""
