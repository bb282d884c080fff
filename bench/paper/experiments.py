"""Which runs reproduce what of the paper: a pure plan of presets and variants."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bench.paper.method import FAULTS, PAPER, Fault, Method
from bench.records import SCHEMA_VERSION
from vsr_model.errors import BadInput, nearest


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

KEYS: Final = (*(key for keys in EXPERIMENTS.values() for key in keys), FAULTS_KEY)
"""Values of `--figures`."""


class Version(StrEnum):
    """How much is measured. All but the first are variants of the presets."""

    FULL = "full"  # the paper's sizes
    BRIEF = "brief"  # the same with few calls of each
    QUICK = "quick"  # shorter clips, too


def known_figure(key: str) -> str:
    """Raise BadInput for a figure that there is none of."""
    if key not in KEYS:
        raise BadInput(f"--figures: no {key!r}{nearest(key, KEYS)}; there are {', '.join(KEYS)}")
    return key


class Request(BaseModel):
    """What of the paper is to be reproduced, and how, as paper.json has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    methods: tuple[Edition, ...] = Field(min_length=1)
    figures: tuple[Annotated[str, AfterValidator(known_figure)], ...] = Field(min_length=1)
    version: Version

    @property
    def steps(self) -> list["Step"]:
        """The runs in their order: the corrected ones, the faithful ones, then each fault off and on."""
        names = [name for name, keys in EXPERIMENTS.items() if set(keys) & set(self.figures)]
        found = [_experiment(edition, name, self.version) for edition in self.methods for name in names]
        if FAULTS_KEY in self.figures:
            found += [_fault(name, on=on) for name in FAULTS for on in (False, True)]
        return found


def request(
    methods: Iterable[Edition] = tuple(Edition),
    figures: Iterable[str] = KEYS,
    version: Version = Version.FULL,
) -> Request:
    """Return a request, its parts in their order. Raises BadInput for a figure that there is none of."""
    wanted = {known_figure(key) for key in figures}
    return Request(
        methods=tuple(edition for edition in Edition if edition in methods),
        figures=tuple(key for key in KEYS if key in wanted),
        version=version,
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run: a preset in its variants, how it is measured, and where it goes below the paper's folder."""

    folder: str
    preset: str
    variants: tuple[str, ...]
    method: Method | None = None  # of the paper's script; None: as any run is


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
