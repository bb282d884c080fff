"""The result of a comparison of two runs, cell by cell: typed, frozen, and all that its pages are made from.

Ratios are new over base: above 1 is slower, or more.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.records import Status
from bench.stats.changes import NO_DIFFERENCE


class Verdict(StrEnum):
    """The verdict on a cell's time, or on that of one of its stages; the first is what a gate looks for."""

    SLOWER = "slower"
    WORSE = "worse"
    UNCLEAR = "unclear"
    MISSING = "missing"
    INCOMPARABLE = "incomparable"
    FAILED = "failed"
    MENDED = "mended"
    FASTER = "faster"
    SAME = "same"


MEANINGS: Final = {
    Verdict.SLOWER: "the whole interval of the ratio lies above 1 + threshold",
    Verdict.WORSE: "the cell was ok in the base, and now it runs out of memory, is inaccurate, fails or "
    "takes too long",
    Verdict.UNCLEAR: "the interval holds 1 + threshold or 1 / (1 + threshold), or there is none: more rounds "
    "may tell",
    Verdict.MISSING: "one side has not got the cell, or skipped it",
    Verdict.INCOMPARABLE: "what was measured differs in more than the code",
    Verdict.FAILED: "the cell is ok on neither side",
    Verdict.MENDED: "it was not ok in the base, and now it is",
    Verdict.FASTER: "the whole interval lies below 1 / (1 + threshold)",
    Verdict.SAME: "the whole interval lies between the two: shown to have changed by less than the threshold",
}

INCONCLUSIVE: Final = (Verdict.UNCLEAR, Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.FAILED)
"""Verdicts that leave open whether a cell became slower."""


class Amount(StrEnum):
    """The verdict on a cell's memory or accuracy."""

    MORE = "more"  # than the threshold allows
    LESS = "less"
    SAME = "same"


class Method(StrEnum):
    """The way in which an interval of a ratio was made."""

    PAIRS = "pairs"  # rounds of both sides were measured in turn: of the ratios of neighbours
    PAIRS_T = "pairs, Student's t"  # the same, of too few rounds to do without an assumption
    APART = "apart"  # of each side's rounds on their own: a change of the machine between them counts too
    APART_T = "apart, Student's t"
    NONE = "none"  # a side has too few rounds for one


@dataclass(frozen=True, kw_only=True)
class Change:
    """A ratio, new over base, with its interval.

    The medians of both sides' rounds stand beside it. With rounds apart the ratio is theirs; with pairs it is
    the middle of the pairs' own ratios, which is theirs only where the machine kept its level.
    """

    base_s: float
    new_s: float
    ratio: float
    low: float | None  # None where a side has too few rounds for an interval
    high: float | None
    method: Method
    confidence: float  # of this one interval, so that all of them together hold with 95 %
    rounds: int  # of the side that has fewer
    rounds_needed: int | None = None
    """Rounds that would settle an unclear one, by its scatter; None where that is not to be foreseen."""

    @property
    def added_s(self) -> float:
        """Return the seconds that the new side takes longer, by the ratio."""
        return (self.ratio - 1) * self.base_s


@dataclass(frozen=True, kw_only=True)
class StageChange:
    """One stage of a cell."""

    stage: str
    change: Change
    verdict: Verdict  # slower, faster, same or unclear


@dataclass(frozen=True, kw_only=True)
class MemoryChange:
    """One of a cell's memory figures, the medians over rounds in bytes."""

    what: str  # "host growth", "device peak", "device reserved"
    base_bytes: int
    new_bytes: int
    amount: Amount

    @property
    def ratio(self) -> float | None:
        return self.new_bytes / self.base_bytes if self.base_bytes > 0 else None


@dataclass(frozen=True, kw_only=True)
class AccuracyChange:
    """The output against the CPU float32 result, as PSNR in dB (peak 1.0); infinite for an equal output."""

    base_psnr_db: float
    new_psnr_db: float
    amount: Amount  # less: it lost more than the comparison allows


@dataclass(frozen=True, kw_only=True)
class CellComparison:
    """A cell that either side has."""

    cell: str  # its id on the new side, or the base's where only that has it
    base_cell: str | None  # its id on the base side where it is called otherwise there
    model: str
    input: str
    batch: int
    frames: int
    height: int
    width: int
    backend: str
    base_status: Status | None  # None: that side has not got it
    new_status: Status | None
    verdict: Verdict
    why: str  # for all but slower, faster and same: one sentence, without its full stop; else empty
    change: Change | None = None  # of forward, or of call where that was timed
    least_slowdown: float | None = None
    """The smallest, as a share, that 95 of 100 such comparisons call slower; None without rounds in turn."""
    stages: tuple[StageChange, ...] = ()
    memory: tuple[MemoryChange, ...] = ()
    accuracy: AccuracyChange | None = None

    @property
    def is_conclusive(self) -> bool:
        """Return whether anything is known of its time; an interval bounds how much slower it is."""
        return self.verdict not in INCONCLUSIVE or (self.change is not None and self.change.low is not None)


@dataclass(frozen=True, kw_only=True)
class Side:
    """A run, as its comparison names it."""

    name: str  # that tells it from the others
    experiment: str
    machine: str  # in short: device, torch
    code: str  # in short: commit or version
    started_at: str  # UTC, ISO 8601, of its first round; empty if there is none


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where a change begins to count, and differences that are meant."""

    threshold: float = NO_DIFFERENCE  # of time, as a share
    memory_threshold: float = 0.1
    accuracy_loss_db: float = 3.0
    apart: float = 0.0  # by how much the machine itself may have changed between runs not measured in turn
    across: frozenset[str] = frozenset()  # facets that may differ (bench.comparison.facets)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A base and one new run."""

    base: Side
    new: Side
    limits: Limits
    cells: tuple[CellComparison, ...]
    differing: Mapping[str, tuple[str, str]]  # what differs between the sides as a whole, by name: base, new
    cautions: tuple[str, ...]  # sentences that a reader must know before believing a figure

    @property
    def counts(self) -> Counter[Verdict]:
        return Counter(cell.verdict for cell in self.cells)

    @property
    def is_conclusive(self) -> bool:
        """Return whether anything is known of any cell."""
        return any(cell.is_conclusive for cell in self.cells)

    @property
    def least_slowdown(self) -> float | None:
        """Return the smallest slowdown that would have been found in any of the cells: the noisiest's."""
        return max((c.least_slowdown for c in self.cells if c.least_slowdown is not None), default=None)
