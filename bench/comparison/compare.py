"""Two runs' cells to a verdict for each. Pure.

An interval's confidence is such that all of them together hold with 95 % (Bonferroni): those of the cells are
one family, those of the stages, which say where a change is, another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from bench.comparison.cells import HOST_MEMORY, MEMORY, MeasuredCell, common_source
from bench.comparison.comparison import (
    AccuracyChange,
    Amount,
    CellComparison,
    Change,
    Limits,
    MemoryChange,
    Method,
    StageChange,
    Verdict,
)
from bench.comparison.facets import differing
from bench.comparison.matching import Pair, matched
from bench.comparison.sensitivity import least_slowdown
from bench.comparison.turns import turns
from bench.grid.spans import FORWARD
from bench.records import Status
from bench.results.samples import stages_of
from bench.stats.changes import (
    least_rounds,
    of_levels,
    of_pairs,
    rounds_needed,
)
from bench.stats.intervals import CONFIDENCE, MIN_ROUNDS, quartiles

PSNR_CAP_DB: Final = 100.0
"""Above it outputs differ by the rounding of float32 alone: a digit more or less of that is no loss."""

MEMORY_FLOOR_BYTES: Final = 8 * 2**20
"""A smaller difference is the allocator's, whatever its share."""


MIN_STAGE_SHARE: Final = 0.01
"""Of the stages' sum: below it a stage is nothing that a change could hide in, such as the alignment of a
single frame, and would only widen the others' intervals."""


@dataclass(frozen=True, kw_only=True)
class _Both:
    """A pair that can be compared, and what both sides have timed."""

    base: MeasuredCell
    new: MeasuredCell
    limits: Limits
    timed: bool  # whether the forward was timed on both sides
    stages: tuple[str, ...]


def compare(
    base: Sequence[MeasuredCell], new: Sequence[MeasuredCell], limits: Limits, *, family: int = 0
) -> tuple[CellComparison, ...]:
    """A verdict for every cell that either run has.

    `family` is how many cells are asked about in all where these are only some of them, chosen for what they
    showed: their intervals are then as wide as those of so many.
    """
    pairs = [(pair, _both(pair, limits)) for pair in matched(base, new)]
    known = [both for _, both in pairs if both is not None]
    cells = sum(both.timed for both in known)
    stages = sum(len(both.stages) for both in known)
    most = max((len(both.stages) for both in known), default=1)
    of_cells = shared_confidence(max(cells, family))
    of_stages = shared_confidence(max(stages, family * most))
    return tuple(
        _uncompared(pair, limits) if both is None else _compared(both, of_cells, of_stages)
        for pair, both in pairs
    )


def shared_confidence(intervals: int) -> float:
    """Of each of so many, for all of them to hold together with CONFIDENCE."""
    return 1 - (1 - CONFIDENCE) / max(1, intervals)


def _both(pair: Pair, limits: Limits) -> _Both | None:
    """None where the sides differ in what they measure, or one has no round that ended ok."""
    base, new = pair
    if base is None or new is None or not base.ok or not new.ok:
        return None
    if differing(base.facets, new.facets, limits.across):
        return None
    return _Both(
        base=base,
        new=new,
        limits=limits,
        timed=common_source(base, new, FORWARD) is not None,
        stages=_stages_that_count(base, new),
    )


def _stages_that_count(base: MeasuredCell, new: MeasuredCell) -> tuple[str, ...]:
    levels = {}
    for stage in stages_of([*base.records, *new.records]):
        if source := common_source(base, new, stage):
            levels[stage] = [median(side.levels(stage, source).values()) for side in (base, new)]
    whole = sum(map(sum, levels.values()))
    return tuple(stage for stage, both in levels.items() if sum(both) >= MIN_STAGE_SHARE * whole)


def _compared(both: _Both, of_cells: float, of_stages: float) -> CellComparison:
    levels = _levels(both, FORWARD) if both.timed else None
    change = None if levels is None else _change(levels, both.limits, of_cells)
    verdict, why = _told(both, change)
    return CellComparison(
        **_named((both.base, both.new)),
        verdict=verdict,
        why=why,
        change=change,
        least_slowdown=None if levels is None else _least_slowdown(levels, both.limits, of_cells),
        stages=tuple(
            StageChange(stage=stage, change=found, verdict=_verdict(found, both.limits))
            for stage in both.stages
            for found in (_change(_levels(both, stage), both.limits, of_stages),)
        ),
        memory=_memory(both),
        accuracy=_accuracy(both),
    )


def _told(both: _Both, change: Change | None) -> tuple[Verdict, str]:
    """The verdict of a cell that has rounds to compare, whatever became of its others.

    Rounds that failed hide no slowdown: a cell that is slower is told so though it was failing before. Rounds
    that were skipped, as for memory that was short at the time, are only fewer.
    """
    by_time = Verdict.UNCLEAR if change is None else _verdict(change, both.limits)
    base_ok, new_ok = (side.status in (Status.OK, Status.SKIPPED) for side in (both.base, both.new))
    if base_ok and new_ok:
        return by_time, _why_unclear(change, both.limits) if by_time is Verdict.UNCLEAR else ""
    rounds = "; ".join(
        f"{name}: {len(side.records) - len(side.ok)} of {len(side.records)} rounds not ok, {side.status}"
        f"{_reason(side)}"
        for name, side in (("base", both.base), ("new", both.new))
        if side.status not in (Status.OK, Status.SKIPPED)
    )
    if base_ok:
        return Verdict.WORSE, rounds
    if by_time is Verdict.SLOWER:
        return by_time, rounds
    return (Verdict.MENDED if new_ok else Verdict.FAILED), rounds


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """The seconds of each round of both sides, pair by pair where the rounds are neighbours."""

    base: Sequence[float]
    new: Sequence[float]
    in_turn: bool


def _levels(both: _Both, stage: str) -> _Levels:
    source = common_source(both.base, both.new, stage)
    base, new = both.base.levels(stage, source), both.new.levels(stage, source)
    neighbours = turns(both.base, both.new, sorted(base.keys() & new.keys())).rounds
    if len(neighbours) < MIN_ROUNDS:
        return _Levels(base=list(base.values()), new=list(new.values()), in_turn=False)
    return _Levels(base=[base[n] for n in neighbours], new=[new[n] for n in neighbours], in_turn=True)


def _least_slowdown(levels: _Levels, limits: Limits, confidence: float) -> float | None:
    if not levels.in_turn:
        return None
    return least_slowdown(levels.base, levels.new, confidence, limits.threshold)


def _change(levels: _Levels, limits: Limits, confidence: float) -> Change:
    if levels.in_turn:
        found = of_pairs(levels.base, levels.new, confidence)
        method = Method.PAIRS_T if found.assumed else Method.PAIRS
    else:
        found = of_levels(levels.base, levels.new, confidence, apart=limits.apart)
        method = Method.APART_T if found.assumed else Method.APART
    change = Change(
        base_s=median(levels.base),
        new_s=median(levels.new),
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        method=Method.NONE if found.low is None else method,
        confidence=confidence,
        rounds=found.rounds,
    )
    if _verdict(change, limits) is not Verdict.UNCLEAR:
        return change
    return replace(change, rounds_needed=rounds_needed(found, limits.threshold, confidence))


def _verdict(change: Change, limits: Limits) -> Verdict:
    upper, lower = 1 + limits.threshold, 1 / (1 + limits.threshold)
    if change.low is None or change.high is None:
        return Verdict.UNCLEAR
    if change.low > upper:
        return Verdict.SLOWER
    if change.high < lower:
        return Verdict.FASTER
    return Verdict.SAME if lower <= change.low and change.high <= upper else Verdict.UNCLEAR


def _why_unclear(change: Change | None, limits: Limits) -> str:
    if change is None:
        return "the two sides have no time of the same pass and clock"
    if change.method is Method.NONE:
        least = least_rounds(change.confidence)
        of = "one process says" if change.rounds == 1 else f"{change.rounds} processes say"
        return (
            f"{of} nothing of the next: measure.rounds of {MIN_ROUNDS} give an interval, "
            f"{least} one without an assumption"
        )
    if change.rounds_needed is None:
        return (
            f"the ratio lies too near to a threshold of {100 * limits.threshold:g} % for rounds to settle it"
        )
    return (
        f"about {change.rounds_needed} rounds would settle it, going by the scatter of these {change.rounds}"
    )


def _memory(both: _Both) -> tuple[MemoryChange, ...]:
    """A figure counts as more where the lower quartile of the new rounds exceeds the upper one of the base's
    by the threshold: peaks vary little, a round now and then is far out, and the allocator's habits are not
    the program's doing. Host memory varies more, and counts only where both sides have as many rounds as an
    interval takes."""
    found = []
    factor = 1 + both.limits.memory_threshold
    for what, column in MEMORY.items():
        base, new = both.base.bytes_of(column), both.new.bytes_of(column)
        if not base or not new:
            continue
        (base_q1, base_q3), (new_q1, new_q3) = quartiles(base), quartiles(new)
        amount = Amount.SAME
        if what in HOST_MEMORY and min(len(base), len(new)) < MIN_ROUNDS:
            pass  # one process's heap grows by what another's does not
        elif new_q1 > factor * base_q3 and new_q1 - base_q3 > MEMORY_FLOOR_BYTES:
            amount = Amount.MORE
        elif factor * new_q3 < base_q1 and base_q1 - new_q3 > MEMORY_FLOOR_BYTES:
            amount = Amount.LESS
        found.append(
            MemoryChange(
                what=what, base_bytes=round(median(base)), new_bytes=round(median(new)), amount=amount
            )
        )
    return tuple(found)


def _accuracy(both: _Both) -> AccuracyChange | None:
    base, new = both.base.psnr_db, both.new.psnr_db
    if base is None or new is None:
        return None
    lost = min(base, PSNR_CAP_DB) - min(new, PSNR_CAP_DB)
    allowed = both.limits.accuracy_loss_db
    amount = Amount.LESS if lost > allowed else Amount.MORE if -lost > allowed else Amount.SAME
    return AccuracyChange(base_psnr_db=base, new_psnr_db=new, amount=amount)


def _uncompared(pair: Pair, limits: Limits) -> CellComparison:
    verdict, why = _why_uncompared(*pair, limits)
    return CellComparison(**_named(pair), verdict=verdict, why=why)


def _why_uncompared(
    base: MeasuredCell | None, new: MeasuredCell | None, limits: Limits
) -> tuple[Verdict, str]:
    absent = [
        f"{side}: {lacking}"
        for side, cell in (("base", base), ("new", new))
        if (lacking := _absence(cell)) is not None
    ]
    if base is None or new is None or absent:
        failed = [
            f"{side}: {cell.status}{_reason(cell)}"
            for side, cell in (("base", base), ("new", new))
            if cell is not None and _absence(cell) is None and cell.status is not Status.OK
        ]
        return Verdict.MISSING, "; ".join(absent + failed)
    if found := differing(base.facets, new.facets, limits.across):
        told = "; ".join(f"{facet} differs ({fields})" for facet, fields in found.items())
        return Verdict.INCOMPARABLE, f"{told}: --across {','.join(found)} compares them all the same"
    if base.status is Status.OK:
        return Verdict.WORSE, f"was ok, and is {new.status} now{_reason(new)}"
    if new.status is Status.OK:
        return Verdict.MENDED, f"was {base.status}, and is ok now{_reason(base)}"
    return Verdict.FAILED, f"base: {base.status}{_reason(base)}; new: {new.status}{_reason(new)}"


def _absence(cell: MeasuredCell | None) -> str | None:
    if cell is None:
        return "has no such cell"
    if not cell.records:
        return "has not come to it"
    return f"skipped{_reason(cell)}" if cell.status is Status.SKIPPED else None


def _reason(cell: MeasuredCell) -> str:
    return f" ({cell.reason})" if cell.reason else ""


def _named(pair: Pair) -> dict[str, Any]:
    base, new = pair
    cell = new or base
    assert cell is not None  # of a pair, one side is there
    return {
        "cell": cell.id,
        "base_cell": base.id if base and new and base.id != new.id else None,
        "model": cell.cell.model.name,
        "input": cell.cell.input.name,
        "batch": cell.cell.batch,
        "frames": cell.cell.frames,
        "height": cell.cell.height,
        "width": cell.cell.width,
        "backend": cell.cell.backend.name,
        "base_status": base.status if base else None,
        "new_status": new.status if new else None,
    }
