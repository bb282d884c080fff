"""The faults of the course paper's way of measuring, as switches of bench.paper.script. Pure."""

from dataclasses import dataclass, fields, replace
from typing import Final, Self


@dataclass(frozen=True, kw_only=True)
class Method:
    """The faults that are on. With none, the script measures as one should."""

    unsynchronised: bool = False
    """Nothing waits for the GPU before the clock is read: times are of launching the work, and of what a call
    itself has to wait for."""
    gradients: bool = False
    """Autograd records each call, and keeps what a backward pass would need."""
    first_call_counts: bool = False
    """No call comes before those that count: libraries load, and cuDNN tunes, in a sample."""
    all_in_timer: bool = False
    """The clip's way to the GPU is in every sample, the context and the model's way in a process's first."""
    one_process: bool = False
    """All cells share a process, those of a backend before those of the next, which finds all set up."""
    warp_off_cudnn: bool = False
    """The warp of features runs without cuDNN, as everything does where cuDNN is switched off."""

    def __str__(self) -> str:
        faults = ", ".join(PHRASES[name] for name in self.on)
        return f"the course paper's script: {faults}" if faults else "the course paper's script, no fault on"

    @property
    def on(self) -> tuple[str, ...]:
        """The faults' names."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    @classmethod
    def of(cls, text: object) -> Self | None:
        """The method whose text this is; None for what is none."""
        if not isinstance(text, str) or "the course paper's script" not in text:
            return None
        return cls(**{name: phrase in text for name, phrase in PHRASES.items()})


PHRASES: Final = {
    "unsynchronised": "the GPU is not waited for",
    "gradients": "gradients are recorded",
    "first_call_counts": "the first call counts",
    "all_in_timer": "transfers and set-up are in the timer",
    "one_process": "one process, a backend after the other",
    "warp_off_cudnn": "the warp runs without cuDNN",
}
"""What a text says of each fault."""

PAPER: Final = Method(unsynchronised=True, gradients=True, first_call_counts=True, all_in_timer=True)

FAITHFUL: Final = {
    "headline": PAPER,
    "repetitions": PAPER,
    "frames": replace(PAPER, one_process=True),
    "memory": PAPER,
    "stages": PAPER,
}
"""How the paper measured each of its experiments."""

_SCRIPT: Final = Method(first_call_counts=True, all_in_timer=True)

FAULTS: Final[dict[str, tuple[Method, Method] | None]] = {
    "synchronisation": (Method(), Method(unsynchronised=True)),
    "autotuning": None,
    "order": (_SCRIPT, replace(_SCRIPT, one_process=True)),
    "gradients": (Method(), Method(gradients=True)),
    "transfers": None,
    "tf32": None,
    "cudnn_warp": (Method(), Method(warp_off_cudnn=True)),
}
"""Experiments on one fault, each a preset of its own: the script without it, and with it. None: the fault is
a setting of the backend, which the preset's variant `fault` changes."""
