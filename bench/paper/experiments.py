"""Which runs reproduce what of the paper: a pure plan of presets and variants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.paper import method
from bench.paper.method import Method
from vsr_model.errors import BadInput, nearest

PAPER: Final = "paper"
FAITHFUL: Final = "faithful"
CORRECTED: Final = "corrected"
"""Whose figures: the paper's own, or those of a method on this machine."""

EXPERIMENTS: Final = {
    "headline": ("headline",),
    "repetitions": ("14",),
    "frames": ("15", "16"),
    "memory": ("17", "18"),
    "stages": ("19", "table1"),
}
"""The paper's experiments, by the name of their preset, and of its input, and what the
paper shows of each."""

FAULTS: Final = tuple(method.FAULTS)
"""Experiments that turn one fault of the paper's method on; each is a preset of its own."""

FAULTS_KEY: Final = "faults"

KEYS: Final = (*(key for keys in EXPERIMENTS.values() for key in keys), FAULTS_KEY)
"""What `--figures` may name."""

METHODS: Final = (CORRECTED, FAITHFUL)

PAPER_NAME: Final = "paper.json"
"""What the runs of a folder were asked for, in that folder."""

FULL: Final = "full"
QUICK: Final = "quick"
BRIEF: Final = "brief"
VERSIONS: Final = (FULL, BRIEF, QUICK)
"""The paper's sizes; the same with few calls of each; shorter clips, too. Variants of the presets, but the
first."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What of the paper is to be reproduced, and how."""

    methods: tuple[str, ...]  # of METHODS, in their order
    figures: tuple[str, ...]  # of KEYS, in their order
    version: str  # of VERSIONS

    @property
    def experiments(self) -> tuple[str, ...]:
        """Those that the figures need."""
        return tuple(name for name, keys in EXPERIMENTS.items() if set(keys) & set(self.figures))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run: a preset in its variants, how it is measured, and where it goes below the paper's folder."""

    folder: str
    preset: str
    variants: tuple[str, ...]
    method: Method | None = None  # of the paper's script; None: as any run is


def request(methods: Sequence[str], figures: Sequence[str], *, version: str = FULL) -> Request:
    """Raises BadInput for a figure that there is none of."""
    for key in figures:
        if key not in KEYS:
            raise BadInput(f"--figures: no {key!r}{nearest(key, KEYS)}; there are {', '.join(KEYS)}")
    return Request(
        methods=tuple(edition for edition in METHODS if edition in methods),
        figures=tuple(key for key in KEYS if not figures or key in figures),
        version=version,
    )


def steps(wanted: Request) -> list[Step]:
    """The runs in their order: the corrected experiments, the faithful ones, then each fault off and on."""
    thin = () if wanted.version == FULL else (wanted.version,)
    found = [
        Step(
            folder=f"{edition}/{name}",
            preset=f"paper/{name}",
            # The method comes last: what it asks for holds in the thin version, too.
            variants=(*thin, *((FAITHFUL,) if edition == FAITHFUL else ())),
            method=method.FAITHFUL[name] if edition == FAITHFUL else None,
        )
        for edition in wanted.methods
        for name in wanted.experiments
    ]
    if FAULTS_KEY in wanted.figures:
        found += [_of_fault(name, on=on) for name in FAULTS for on in (False, True)]
    return found


def _of_fault(name: str, *, on: bool) -> Step:
    switched = method.FAULTS[name]
    return Step(
        folder=fault_folder(name, on=on),
        preset=f"paper/faults/{name}",
        variants=("fault",) if on and switched is None else (),
        method=None if switched is None else switched[on],
    )


def fault_folder(name: str, *, on: bool) -> str:
    """Where the run with the fault off, or on, goes."""
    return f"{FAULTS_KEY}/{name}/{'on' if on else 'off'}"
