"""What a reader of a comparison must know before believing it: sentences, from both runs' rounds. Pure."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from bench.comparison.cells import MEMORY, MeasuredCell
from bench.comparison.comparison import CellComparison, Method
from bench.comparison.turns import turns
from bench.stats.changes import least_rounds

_ASSUMED: Final = (Method.PAIRS_T, Method.APART_T)


def doubts(
    base: Sequence[MeasuredCell], new: Sequence[MeasuredCell], compared: Sequence[CellComparison]
) -> Iterator[str]:
    """Of how the rounds were made, how many there are, and what only one side has."""
    if any(_copied(cell, new) for cell in base):
        yield (
            "Both runs hold rounds that began at the same moments: one is a copy of the other, changed or "
            "not. What differs between them was not measured."
        )
    changes = [cell.change for cell in compared if cell.change is not None]
    if any(change.method in (Method.APART, Method.APART_T) for change in changes):
        yield (
            "The two runs were not measured in turn: how the machine changed between them is in every ratio, "
            "and no interval of two runs can know it. Runs in turn (vsr-bench ci) tell the program alone; "
            "--apart widens the intervals by what the machine is known to do."
        )
    if assumed := [change for change in changes if change.method in _ASSUMED]:
        least = least_rounds(max(change.confidence for change in assumed))
        yield (
            f"The intervals of {len(assumed)} of {len(changes)} cells take the logarithms of their rounds "
            f"for normal: with {least} rounds or more, so many cells at once would need no assumption."
        )
    if few := sum(change.method is Method.NONE for change in changes):
        yield (
            f"{few} of {len(changes)} cells have no interval: one or two processes say nothing of the next. "
            "Take more measure.rounds."
        )
    figures: dict[str, Callable[[MeasuredCell], bool]] = {
        what: partial(_has, column) for what, column in MEMORY.items()
    }
    for what, has in (figures | {"accuracy": _checked}).items():
        if lacking := _lacking(base, new, has):
            yield f"Nothing is said of {what}: the {lacking} has no figure of it."


def _has(column: str, cell: MeasuredCell) -> bool:
    return bool(cell.bytes_of(column))


def _checked(cell: MeasuredCell) -> bool:
    return cell.psnr_db is not None


def _copied(cell: MeasuredCell, others: Sequence[MeasuredCell]) -> bool:
    other = next((one for one in others if one.id == cell.id), None)
    return other is not None and turns(cell, other, sorted(cell.ok.keys() & other.ok.keys())).copied


def _lacking(
    base: Sequence[MeasuredCell], new: Sequence[MeasuredCell], has: Callable[[MeasuredCell], bool]
) -> str:
    """The side that alone has no figure; empty where both or neither have."""
    on_base, on_new = (any(cell.ok and has(cell) for cell in cells) for cells in (base, new))
    if on_base == on_new:
        return ""
    return "new run" if on_base else "base"
