"""Decide what of a comparison fails a gate, and what is left of it after a second look. Pure.

One look at many cells finds a change now and then that is not there; that a second, fresh one finds one in
the same cell by chance is as rare again. The figures of a cell that was looked at twice are those of the
second look alone: the first one's were chosen because they stood out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bench.comparison.comparison import Amount, CellComparison, Comparison, Verdict
from bench.records import Status
from vsr_model.errors import BadInput


class Failing(StrEnum):
    """A kind of finding that can be made to fail."""

    SLOWER = "slower"
    WORSE = "worse"
    MEMORY = "memory"
    ACCURACY = "accuracy"
    UNCLEAR = "unclear"
    MISSING = "missing"
    INCOMPARABLE = "incomparable"
    STAGE = "stage"  # a stage that is slower where its cell may not be
    FAILED = "failed"


REGRESSIONS: Final = (Failing.SLOWER, Failing.WORSE, Failing.MEMORY, Failing.ACCURACY)
"""The kinds that fail by themselves: a change for the worse that was measured."""

FAIL_ON: Final = ("any", "never", *(kind.value for kind in Failing))
"""Words of `--fail-on`."""

NAMED: Final = 3
"""Cells that a sentence names."""

FAILED_AGAIN: Final = "Failed again (figures of the second look)"
CLEARED: Final = "Did not fail again, and not counted (figures of the second look)"
HAPPENED: Final = (
    "Did not fail again, but counted, as an error, a lack of memory or a wrong output does not come by chance"
)
NOT_CLEAR: Final = "Not clear in the second look, and so counted"
"""The outcomes of a second look, as the sentence names them."""

_EVENTS: Final = (Status.ERROR, Status.OOM, Status.INACCURATE)
"""Ends that are no interval that stood out by chance. Too long a time may be the machine's doing."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A finding that fails the gate."""

    cell: str
    kind: Failing
    what: str  # the stage or the memory figure; empty for the cell as a whole


def chosen(words: Sequence[str]) -> tuple[Failing, ...]:
    """Return the kinds that words of FAIL_ON name: `slower` stands for all regressions, `any` for all kinds.

    Raises BadInput for `never` beside others.
    """
    if "never" in words and len(words) > 1:
        raise BadInput("--fail-on: never leaves no room for others")
    named = {*words, *(REGRESSIONS if "slower" in words else ())}
    return tuple(kind for kind in Failing if kind in named or "any" in words)


def failures(comparison: Comparison, failing: Sequence[Failing]) -> tuple[Failure, ...]:
    """Return the findings of a comparison that fail where these kinds do, cell by cell."""
    return tuple(found for cell in comparison.cells for found in failures_of(cell, failing))


def failures_of(cell: CellComparison, failing: Sequence[Failing]) -> list[Failure]:
    """Return the findings of a cell that are of these kinds."""
    slower = [stage.stage for stage in cell.stages if stage.verdict is Verdict.SLOWER]
    grown = [item.what for item in cell.memory if item.amount is Amount.MORE]
    found = [
        *((kind, "") for kind in Failing if kind.value == cell.verdict.value),
        *((Failing.STAGE, stage) for stage in slower),
        *((Failing.MEMORY, what) for what in grown),
    ]
    if cell.accuracy is not None and cell.accuracy.amount is Amount.LESS:
        found.append((Failing.ACCURACY, ""))
    return [Failure(cell=cell.cell, kind=kind, what=what) for kind, what in found if kind in failing]


def settle(first: Comparison, second: Comparison, failing: Sequence[Failing]) -> tuple[Comparison, str]:
    """Return the comparison that two looks leave, and a sentence for each thing that the second one found.

    Cells that failed in the first look have the figures of the second, and count if they fail there, whatever
    fails. They keep those of the first, and count, where the second tells nothing of them: a side has not got
    them, neither is ok, or they are two things. So do cells that ended in an error, without memory or with a
    wrong output: that happened, and a second look that does not meet it cannot undo it.
    """
    doubted = {failure.cell for failure in failures(first, failing)}
    again = {cell.cell: cell for cell in second.cells}
    failed_again = {failure.cell for failure in failures(second, failing)}
    found: dict[str, list[str]] = {FAILED_AGAIN: [], CLEARED: [], HAPPENED: [], NOT_CLEAR: []}

    def settled(cell: CellComparison) -> CellComparison:
        other = again.get(cell.cell)
        if other is not None and cell.cell in failed_again:
            found[FAILED_AGAIN].append(cell.cell)
            return other
        if other is None or other.verdict is Verdict.FAILED or not other.is_conclusive:
            found[NOT_CLEAR].append(cell.cell)
            why = "it has no such cell" if other is None else f"{other.verdict}, {other.why}"
            return _kept(cell, f"a second look could not tell: {why}")
        if cell.verdict is Verdict.WORSE and cell.new_status in _EVENTS and Failing.WORSE in failing:
            found[HAPPENED].append(cell.cell)
            return _kept(cell, "a second look did not meet it again")
        found[CLEARED].append(cell.cell)
        return other

    cells = tuple(settled(cell) if cell.cell in doubted else cell for cell in first.cells)
    measured = "1 cell was" if len(doubted) == 1 else f"{len(doubted)} cells were"
    sentences = [
        f"{measured} measured anew for failing at the first look",
        *(f"{what}: {_some(names)}" for what, names in found.items() if names),
    ]
    return replace(first, cells=cells), f"{'. '.join(sentences)}."


def _kept(cell: CellComparison, why: str) -> CellComparison:
    return replace(cell, why=f"{cell.why}; {why}" if cell.why else why)


def _some(cells: Sequence[str]) -> str:
    more = len(cells) - NAMED
    return ", ".join(cells[:NAMED]) + (f" and {more} more" if more > 0 else "")
