"""Which cell of one run is which of the other: by what they measure, and not by their place or name. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from bench.comparison.cells import MeasuredCell
from bench.comparison.facets import key

Pair = tuple[MeasuredCell | None, MeasuredCell | None]


def matched(base: Sequence[MeasuredCell], new: Sequence[MeasuredCell]) -> list[Pair]:
    """Every cell of both runs once: those of `new` in their order, then what only `base` has.

    Cells with the same id that measure the same are a pair. Of the others, a cell that measures what just
    one of the other run measures is its pair, whatever the two are called; what is left is paired by id, so
    that the difference can be told.
    """
    left = {cell.id: cell for cell in base}
    found: dict[str, MeasuredCell] = {}
    for match in (_by_both, _by_content, _by_id):
        open_ = [cell for cell in new if cell.id not in found]
        for cell, other in match(open_, list(left.values())):
            found[cell.id] = other
            del left[other.id]
    return [(found.get(cell.id), cell) for cell in new] + [(cell, None) for cell in left.values()]


_Match = tuple[MeasuredCell, MeasuredCell]


def _by_both(new: Sequence[MeasuredCell], base: Sequence[MeasuredCell]) -> list[_Match]:
    return _by(lambda cell: f"{cell.id} {key(cell.facets)}", new, base)


def _by_content(new: Sequence[MeasuredCell], base: Sequence[MeasuredCell]) -> list[_Match]:
    return _by(lambda cell: key(cell.facets), new, base)


def _by_id(new: Sequence[MeasuredCell], base: Sequence[MeasuredCell]) -> list[_Match]:
    return _by(lambda cell: cell.id, new, base)


def _by(
    name: Callable[[MeasuredCell], str], new: Sequence[MeasuredCell], base: Sequence[MeasuredCell]
) -> list[_Match]:
    """Those that are the only ones of a name on either side."""
    here, there = Counter(map(name, new)), Counter(map(name, base))
    others = {name(cell): cell for cell in base}
    return [(cell, others[n]) for cell in new if here[n := name(cell)] == 1 and there[n] == 1]
