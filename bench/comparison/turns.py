"""Whether the rounds of two runs were measured in turn, told by when they were measured. Pure.

It does not matter who made the runs, or where they have been copied since. The clocks are those of the
machines: two runs that two machines made at the same time overlap, and are not in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Final

from bench.comparison.cells import MeasuredCell
from bench.records import CellRecord

FIRST_AT_LEAST: Final = 1 / 4
"""Of the pairs, in which either side has to go first: always the same one would carry the order into the
ratio."""

FAR_APART: Final = 10.0
FAR_APART_AT_LEAST_S: Final = 60.0
"""A pair that lies so many times further apart than the middle one, and by so much, was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What the times of two runs' rounds say."""

    rounds: tuple[int, ...] = ()  # those that are neighbours; none where the runs were not measured in turn
    copied: bool = False  # every round began at the same moment on both sides: they are the same rounds


def turns(base: MeasuredCell, new: MeasuredCell, rounds: Sequence[int]) -> Turns:
    """Of the rounds that both sides have, by number."""
    spans = [(_span(base.ok[number]), _span(new.ok[number])) for number in rounds]
    known = [(of_base, of_new) for of_base, of_new in spans if of_base and of_new]
    if not rounds or len(known) < len(spans):
        return Turns()
    if all(of_base[0] == of_new[0] for of_base, of_new in known):
        return Turns(rounds=tuple(rounds), copied=True)
    ordered = [tuple(sorted(pair)) for pair in known]
    one_by_one = [span for pair in ordered for span in pair]
    if not all(before[1] <= after[0] and before[0] < after[0] for before, after in pairwise(one_by_one)):
        return Turns()
    base_first = sum(of_base < of_new for of_base, of_new in known)
    if min(base_first, len(known) - base_first) < int(FIRST_AT_LEAST * len(known)):
        return Turns()
    gaps = [(later[0] - earlier[1]).total_seconds() for earlier, later in ordered]
    most = max(FAR_APART_AT_LEAST_S, FAR_APART * median(gaps))
    return Turns(rounds=tuple(n for n, gap in zip(rounds, gaps, strict=True) if gap <= most))


_Span = tuple[datetime, datetime]


def _span(record: CellRecord) -> _Span | None:
    """From when a round began to when its last call must have ended, as far as its record tells."""
    try:
        began = datetime.fromisoformat(record.started_at)
    except ValueError:
        return None
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    return began, began + timedelta(seconds=record.measured_s or 0.0)
