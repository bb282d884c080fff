"""Which runs reproduce what of the paper, by which method, and the folder that they are in.

paper.json                          what was asked for
corrected/<experiment>/  faithful/<experiment>/  faults/<fault>/off|on/  beyond/<question>/    ordinary runs
report.html report.md claims.csv figures/                                    derived (bench.paper.page)
"""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bench.results.run_folder import RunFolder, is_begun
from vsr_model.errors import BadInput, nearest

# The faults of the paper's method.


class Fault(StrEnum):
    """A switch of bench.paper.script; its value is what a run's environment.json and report say of it."""

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


# The runs.


class Edition(StrEnum):
    """A method of measuring on this machine, the better one first."""

    CORRECTED = "corrected"
    FAITHFUL = "faithful"


EXPERIMENTS: Final = {
    "headline": ("headline",),
    "repetitions": ("14",),
    "frames": ("15", "16"),
    "memory": ("17", "18"),
    "stages": ("19", "table1"),
}
"""The paper's experiments, by the name of their preset and of its input, and the figures of each."""

FAULTS_KEY: Final = "faults"

BEYOND: Final = ("processes", "schedule", "convolutions", "sizes")
"""Questions that the paper answers, or leaves out, without a measurement: the names of their presets."""

BEYOND_KEY: Final = "beyond"

KEYS: Final = (*(key for keys in EXPERIMENTS.values() for key in keys), FAULTS_KEY, BEYOND_KEY)
"""Values of `--figures`."""


class Version(StrEnum):
    """How much is measured. All but the first are variants of the presets."""

    FULL = "full"  # the paper's sizes
    BRIEF = "brief"  # the same with few calls of each
    QUICK = "quick"  # shorter clips, too


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run: a preset in its variants, how it is measured, and where it goes below the paper's folder."""

    folder: str
    preset: str
    variants: tuple[str, ...]
    method: Method | None = None  # of the paper's script; None: as any run is


def in_order(figures: tuple[str, ...]) -> tuple[str, ...]:
    """Return the figures in their order. Raises BadInput for one that there is none of."""
    for key in figures:
        if key not in KEYS:
            raise BadInput(f"--figures: no {key!r}{nearest(key, KEYS)}; there are {', '.join(KEYS)}")
    return tuple(key for key in KEYS if key in figures)


class Request(BaseModel):
    """What of the paper is to be reproduced, and how, as paper.json has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[Edition, ...] = Field(tuple(Edition), min_length=1)  # the better one first
    figures: Annotated[tuple[str, ...], AfterValidator(in_order)] = Field(KEYS, min_length=1)
    version: Version = Version.FULL

    @property
    def steps(self) -> list[Step]:
        """The runs in their order: corrected, faithful, each fault off and on, beyond the paper."""
        names = [name for name, keys in EXPERIMENTS.items() if set(keys) & set(self.figures)]
        steps = [_experiment(edition, name, self.version) for edition in self.methods for name in names]
        if FAULTS_KEY in self.figures:
            steps += [_fault(name, on=on) for name in FAULTS for on in (False, True)]
        if BEYOND_KEY in self.figures:
            steps += [
                Step(folder=f"{BEYOND_KEY}/{name}", preset=f"paper/{BEYOND_KEY}/{name}", variants=())
                for name in BEYOND
            ]
        return steps


def _experiment(edition: Edition, name: str, version: Version) -> Step:
    thin = () if version is Version.FULL else (str(version),)
    folder, preset = f"{edition}/{name}", f"paper/{name}"
    if edition is Edition.CORRECTED:
        return Step(folder=folder, preset=preset, variants=thin)
    method = {*PAPER, Fault.ONE_PROCESS} if name == "frames" else PAPER
    # The method comes last: what it asks for holds in the thin version, too.
    return Step(folder=folder, preset=preset, variants=(*thin, str(edition)), method=method)


def _fault(name: str, *, on: bool) -> Step:
    switched = FAULTS[name]
    return Step(
        folder=f"{FAULTS_KEY}/{name}/{'on' if on else 'off'}",
        preset=f"paper/faults/{name}",
        variants=("fault",) if on and switched is None else (),
        method=None if switched is None else switched[on],
    )


def runs_of(folder: Path, wanted: Request) -> dict[str, RunFolder]:
    """Return the runs that have begun, by their folders below."""
    return {
        step.folder: RunFolder.open(folder / step.folder)
        for step in wanted.steps
        if is_begun(folder / step.folder)
    }


def is_done(run: RunFolder | None) -> bool:
    """Return whether a run's every round has its record."""
    return run is not None and len(run.records()) == run.round_count()
