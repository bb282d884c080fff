"""What a second look at cells that fail says: a failure counts only where two measurements found one. Pure.

One look at many cells finds a change now and then that is not there; that a second, fresh one finds one in
the same cell by chance is as rare again. The figures of a cell that was looked at twice are those of the
second look alone: the first one's were chosen because they stood out.

That a cell ended in an error, without memory or with a wrong output is no interval that stood out but
something that happened, and a second look that does not meet it cannot undo it. That one took too long may be
the machine's doing.
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

    A cell keeps its first look where that saw something happen (_HAPPENED) and the second did not fail.
    """
    named = list(dict.fromkeys(failure.cell for failure in suspects))
    again = {cell.cell: cell for cell in second.cells}
    twice = {failure.cell for failure in failures(second, failing)}
    happened = {
        cell.cell
        for cell in first.cells
        if cell.cell in named
        and cell.cell not in twice
        and cell.verdict is Verdict.WORSE
        and cell.new_status in _HAPPENED
        and Failing.WORSE in failing
    }
    settled = replace(
        first, cells=tuple(_settled(cell, again, cell.cell in happened, named) for cell in first.cells)
    )
    return Settled(
        comparison=settled,
        confirmed=failures(settled, failing),
        said=_said(
            [cell for cell in named if cell in twice],
            [cell for cell in named if cell in happened],
            [cell for cell in named if cell not in twice and cell not in happened],
        ),
    )


def _settled(
    cell: CellComparison, again: dict[str, CellComparison], happened: bool, named: Sequence[str]
) -> CellComparison:
    if cell.cell not in named:
        return cell
    if happened:
        return replace(cell, why=f"{cell.why}; a second look did not meet it again")
    return again[cell.cell]


def _said(twice: Sequence[str], happened: Sequence[str], cleared: Sequence[str]) -> str:
    count = len(twice) + len(happened) + len(cleared)
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
    if twice or cleared:
        whose = "The others'" if happened else "Its" if count == 1 else "Their"
        sentences.append(f"{whose} figures here are the second look's")
    return f"{'. '.join(sentences)}."


def _listed(cells: Sequence[str]) -> str:
    more = len(cells) - NAMED
    return ", ".join(cells[:NAMED]) + (f" and {more} more" if more > 0 else "")
