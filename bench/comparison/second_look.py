"""What a second look at cells that fail says: a failure counts only where two measurements found one. Pure.

One look at many cells finds a change now and then that is not there; that a second, fresh one finds one in
the same cell by chance is as rare again. The figures of a cell that was looked at twice are those of the
second look alone: the first one's were chosen because they stood out.

That a cell ended in an error, without memory or with a wrong output is no interval that stood out but
something that happened, and a second look that does not meet it cannot undo it. That one took too long may be
the machine's doing.

A second look that cannot tell of a cell says nothing: where a side has not got it, neither is ok, or they are
two things. The cell is then neither confirmed nor cleared, and its failure stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.comparison.comparison import CellComparison, Comparison, Verdict
from bench.comparison.policy import Failing, Failure, failures
from bench.records import Status

NAMED: Final = 3
"""Cells that the sentence names."""

_HAPPENED: Final = (Status.ERROR, Status.OOM, Status.INACCURATE)

_TELLS_NOTHING: Final = (Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.FAILED)
"""Of a cell that failed for something else."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What two looks leave."""

    comparison: Comparison  # of all cells; those looked at twice as the second look has them
    confirmed: tuple[Failure, ...]  # all that fails in that comparison
    said: str  # what the second look found: a sentence


def filters_of(suspects: Sequence[Failure]) -> tuple[str, ...]:
    """The filter (bench.grid.plan.cells) that leaves the cells of the failures."""
    return (f"cell={','.join(dict.fromkeys(failure.cell for failure in suspects))}",)


def settle(
    first: Comparison, suspects: Sequence[Failure], second: Comparison, failing: Sequence[Failing]
) -> Settled:
    """`suspects` are the failures of the first look; a cell that fails in both looks counts, whatever fails.

    A cell keeps its first look where the second did not fail and that saw something happen (_HAPPENED), or
    where the second tells nothing of it.
    """
    named = list(dict.fromkeys(failure.cell for failure in suspects))
    again = {cell.cell: cell for cell in second.cells}
    twice = {failure.cell for failure in failures(second, failing)}
    unanswered = {name: why for name in named if name not in twice and (why := _unanswered(again.get(name)))}
    happened = {
        cell.cell
        for cell in first.cells
        if cell.cell in named
        and cell.cell not in twice
        and cell.cell not in unanswered
        and cell.verdict is Verdict.WORSE
        and cell.new_status in _HAPPENED
        and Failing.WORSE in failing
    }
    kept = {
        **{name: f"a second look could not tell: {why}" for name, why in unanswered.items()},
        **dict.fromkeys(happened, "a second look did not meet it again"),
    }
    settled = replace(
        first,
        cells=tuple(
            _kept(cell, kept[cell.cell])
            if cell.cell in kept
            else again[cell.cell]
            if cell.cell in named
            else cell
            for cell in first.cells
        ),
    )
    return Settled(
        comparison=settled,
        confirmed=failures(settled, failing),
        said=_said(
            [cell for cell in named if cell in twice],
            [cell for cell in named if cell in happened],
            [cell for cell in named if cell in unanswered],
            [cell for cell in named if cell not in twice and cell not in kept],
        ),
    )


def _unanswered(cell: CellComparison | None) -> str:
    """Why a second look that did not fail tells nothing of a cell; empty where it tells something."""
    if cell is None:
        return "it has no such cell"
    without = cell.verdict is Verdict.UNCLEAR and (cell.change is None or cell.change.low is None)
    if not without and cell.verdict not in _TELLS_NOTHING:
        return ""
    return f"{cell.verdict}, {cell.why}" if cell.why else str(cell.verdict)


def _kept(cell: CellComparison, why: str) -> CellComparison:
    return replace(cell, why=f"{cell.why}; {why}" if cell.why else why)


def _said(
    twice: Sequence[str], happened: Sequence[str], unanswered: Sequence[str], cleared: Sequence[str]
) -> str:
    count = len(twice) + len(happened) + len(unanswered) + len(cleared)
    doubted = "1 cell was" if count == 1 else f"{count} cells were"
    parts = [f"{doubted} measured anew for failing at the first look"]
    if twice:
        parts.append(f"and {_listed(twice)} failed again")
    if cleared and twice:
        parts.append(f"but {_listed(cleared)} did not, which does not count")
    elif cleared:
        parts.append(f"and {_listed(cleared)} did not fail again, which does not count")
    sentences = [", ".join(parts)]
    if happened:
        counts = "counts" if len(happened) == 1 else "count"
        sentences.append(
            f"{_listed(happened)} did not fail again, and {counts} all the same: an error, a lack of memory "
            "or a wrong output is no figure that stood out by chance"
        )
    if unanswered:
        one = len(unanswered) == 1
        sentences.append(
            f"Of {_listed(unanswered)} the second look could not tell: neither confirmed nor cleared, "
            f"{'it counts' if one else 'they count'}"
        )
    if twice or cleared:
        whose = "The others'" if happened or unanswered else "Its" if count == 1 else "Their"
        sentences.append(f"{whose} figures here are the second look's")
    return f"{'. '.join(sentences)}."


def _listed(cells: Sequence[str]) -> str:
    more = len(cells) - NAMED
    return ", ".join(cells[:NAMED]) + (f" and {more} more" if more > 0 else "")
