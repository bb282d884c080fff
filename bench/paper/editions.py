"""One telling of the paper's experiments as typed values: the paper's own, or a method's on this machine.

Figures, claims and explanations are made from these and look at nothing else. Seconds and bytes; a span is
the forward as the run timed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from bench.paper.method import Method
from bench.records import MemoryLine, Status
from bench.statistics.stats import IntervalKind
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING


class Role(StrEnum):
    """What a backend is, whatever a run calls it; the names are bench.grid.backend_spec's."""

    CPU = "cpu"
    CUDA = "cuda"
    CUDNN = "cudnn"
    CUDNN_AUTOTUNE = "cudnn_autotune"


STAGES: Final = (ALIGNMENT, PROPAGATION, AGGREGATION, UPSAMPLING)
"""BasicVSR's, which the paper timed."""

FULL: Final = "full"
"""The version of an edition that has the paper's own sizes and as many calls as were planned."""

PAPER_NAMES: Final = {Role.CPU: "CPU", Role.CUDNN: "CUDA", Role.CUDNN_AUTOTUNE: "cuDNN"}
"""What the paper calls them: its "CUDA" never switched cuDNN off, and its "cuDNN" is cuDNN autotuned."""


@dataclass(frozen=True, kw_only=True)
class CellOfEdition:
    """What a cell of an experiment is, and how it ended."""

    role: Role
    backend: str  # as the run calls it
    frames: int
    height: int
    width: int
    status: Status  # its worst round's
    reason: str
    method: Method | None = None  # of the paper's script; None: measured as any run is

    @property
    def synchronised(self) -> bool:
        """Whether the clock was read only when the device had done its work."""
        return self.method is None or not self.method.unsynchronised

    @property
    def gradients(self) -> bool:
        """Whether autograd recorded the calls."""
        return self.method is not None and self.method.gradients


@dataclass(frozen=True, kw_only=True)
class Timing(CellOfEdition):
    """A cell of an experiment in time: all its calls, and the figure they give."""

    rounds: tuple[tuple[float, ...], ...] = ()  # each round's calls in order, from its first; seconds
    steady: tuple[tuple[float, ...], ...] = ()  # of these, those that count
    median_s: float | None = None  # of the steady ones, as in summary.csv; None where none was measured
    low_s: float | None = None
    high_s: float | None = None
    interval: IntervalKind = IntervalKind.NONE
    speedup: float | None = None  # over the run's baseline
    speedup_low: float | None = None
    speedup_high: float | None = None
    first_counts: bool = False  # the process's first call is among the steady ones


@dataclass(frozen=True, kw_only=True)
class StageTiming(CellOfEdition):
    """A cell of an experiment by stage."""

    seconds: Mapping[str, tuple[float, ...]]  # by stage, `other` included: a value per repetition, all rounds
    low_s: Mapping[str, float]  # by stage, where the median has an interval
    high_s: Mapping[str, float]
    batch: int = 1
    pass_: str = ""  # bench.records.Pass
    clock: str = ""  # wall | device


@dataclass(frozen=True, kw_only=True)
class Memory(CellOfEdition):
    """Memory during one call of a cell's memory pass."""

    batch: int = 1
    elapsed_s: tuple[float, ...] = ()  # since the first point
    host_bytes: tuple[int, ...] = ()
    device_bytes: tuple[int, ...] | None = None
    before_bytes: int | None = None
    peak_bytes: int | None = None
    peak_device_bytes: int | None = None
    lines: tuple[MemoryLine, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Edition:
    """The paper's experiments as one source tells them; an experiment that was not run has no cells."""

    name: str  # paper | faithful | corrected
    machine: str  # in a few words
    version: str = FULL  # of bench.paper.experiments.VERSIONS
    headline: tuple[Timing, ...] = ()
    repetitions: tuple[Timing, ...] = ()
    frames: tuple[Timing, ...] = ()
    memory: tuple[Memory, ...] = ()
    stages: tuple[StageTiming, ...] = ()
    configurations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By experiment, what its run was asked for, as bench.grid.config.plain has it."""

    @property
    def thin(self) -> bool:
        """Whether it has fewer cells, frames or samples than the full version."""
        return self.version != FULL


PAPER: Final = "paper"
FAITHFUL: Final = "faithful"
CORRECTED: Final = "corrected"
