"""What a second look at cells that fail says: a failure counts only where two measurements found it. Pure.

One look at many cells finds a change now and then that is not there; that a second, fresh one finds the same
by chance is as rare again. The figures of a cell that was looked at twice are those of the second look alone:
the first one's were chosen because they stood out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.comparison.comparison import CellComparison, Comparison, Verdict
from bench.comparison.policy import Failing, Failure, failures

NAMED: Final = 3
"""Cells that the sentence names."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What two looks leave."""

    comparison: Comparison  # of all cells; those looked at twice as the second look has them
    confirmed: tuple[Failure, ...]
    said: str  # what the second look found: a sentence


def filters_of(suspects: Sequence[Failure]) -> tuple[str, ...]:
    """The filter (bench.grid.plan.cells) that leaves the cells of the failures."""
    return (f"cell={','.join(dict.fromkeys(failure.cell for failure in suspects))}",)


def settle(
    first: Comparison, suspects: Sequence[Failure], second: Comparison, failing: Sequence[Failing]
) -> Settled:
    """`suspects` are the failures of the first look; one of the second counts if it is among them."""
    doubted = {(failure.cell, failure.kind) for failure in suspects}
    named = list(dict.fromkeys(failure.cell for failure in suspects))
    found = [failure for failure in failures(second, failing) if failure.cell in named]
    confirmed = tuple(failure for failure in found if (failure.cell, failure.kind) in doubted)
    left = {failure.cell for failure in confirmed}
    otherwise = {failure.cell for failure in found} - left
    again = {cell.cell: cell for cell in second.cells}
    return Settled(
        comparison=replace(
            first,
            cells=tuple(
                _seen_twice(again.get(cell.cell, cell), cell, otherwise) if cell.cell in named else cell
                for cell in first.cells
            ),
        ),
        confirmed=confirmed,
        said=_said([cell for cell in named if cell in left], [cell for cell in named if cell not in left]),
    )


def _seen_twice(again: CellComparison, first: CellComparison, otherwise: set[str]) -> CellComparison:
    """The cell as the second look has it; unclear if that fails for other reasons."""
    if again.cell not in otherwise:
        return again
    return replace(
        again,
        verdict=Verdict.UNCLEAR,
        why=f"a first look found it {first.verdict}, a second one {again.verdict}, each with other failures",
        stages=(),
        memory=(),
        accuracy=None,
    )


def _said(confirmed: Sequence[str], cleared: Sequence[str]) -> str:
    several = len(confirmed) + len(cleared) > 1
    doubted = f"{len(confirmed) + len(cleared)} cells were" if several else "1 cell was"
    parts = [f"{doubted} measured anew for failing at the first look"]
    if confirmed:
        parts.append(f"and {_listed(confirmed)} failed again")
    if cleared and confirmed:
        parts.append(f"but {_listed(cleared)} did not, which does not count")
    elif cleared:
        parts.append(f"and {_listed(cleared)} did not fail again, which does not count")
    return f"{', '.join(parts)}. {'Their' if several else 'Its'} figures here are the second look's."


def _listed(cells: Sequence[str]) -> str:
    more = len(cells) - NAMED
    return ", ".join(cells[:NAMED]) + (f" and {more} more" if more > 0 else "")
