"""Two runs' cells to a verdict for each. Pure.

An interval's confidence is such that all of them together hold with 95 % (Bonferroni): those of the cells are
one family, those of the stages, which say where a change is, another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from bench.comparison.cells import MEMORY, MeasuredCell, Pair, matched, neighbours
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
from bench.comparison.sensitivity import least_slowdown
from bench.grid.spans import FORWARD
from bench.records import Status
from bench.results.tables import sources_of
from bench.stats.changes import Effect, effect, least_rounds, of_levels, of_pairs, rounds_needed
from bench.stats.intervals import CONFIDENCE, MIN_ROUNDS, quartiles

PSNR_CAP_DB: Final = 100.0
"""Above it outputs differ by the rounding of float32 alone: a digit more or less of that is no loss."""

MEMORY_FLOOR_BYTES: Final = 8 * 2**20
"""A smaller difference is the allocator's, whatever its share."""

MIN_STAGE_SHARE: Final = 0.01
"""Of the stages' sum: below it a stage is nothing that a change could hide in, such as the alignment of a
single frame, and would only widen the others' intervals."""


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """The seconds of each round of both sides, pair by pair where the rounds are neighbours."""

    base: Sequence[float]
    new: Sequence[float]
    in_turn: bool


@dataclass(frozen=True, kw_only=True)
class _Comparable:
    """A pair that can be compared, with the time that both sides have, if any, and that of their stages."""

    base: MeasuredCell
    new: MeasuredCell
    time: _Levels | None
    stages: Mapping[str, _Levels]


def compare(
    base: Sequence[MeasuredCell], new: Sequence[MeasuredCell], limits: Limits, *, family: int = 0
) -> tuple[CellComparison, ...]:
    """Return a verdict for every cell that either run has.

    `family` is how many cells are asked about in all where these are only some of them, chosen for what they
    showed: their intervals are then as wide as those of so many.
    """
    pairs = [(pair, _comparable(pair, limits)) for pair in matched(base, new)]
    known = [both for _, both in pairs if both is not None]
    stages = [len(both.stages) for both in known]
    of_cells = shared_confidence(max(sum(both.time is not None for both in known), family))
    of_stages = shared_confidence(max(sum(stages), family * max(stages, default=1)))
    return tuple(
        _uncompared(*pair, limits) if both is None else _compared(both, limits, of_cells, of_stages)
        for pair, both in pairs
    )


def shared_confidence(intervals: int) -> float:
    """Return the confidence of each of so many intervals that all hold together with CONFIDENCE."""
    return 1 - (1 - CONFIDENCE) / max(1, intervals)


def _comparable(pair: Pair, limits: Limits) -> _Comparable | None:
    """Return None where the sides differ in what they measure, or one has no round that ended ok."""
    base, new = pair
    if base is None or new is None or not base.ok or not new.ok:
        return None
    if differing(base.facets, new.facets, limits.across):
        return None
    stages = {
        stage: levels
        for stage in dict.fromkeys([*base.stages, *new.stages])
        if (levels := _levels(base, new, stage)) is not None
    }
    weights = {stage: median(levels.base) + median(levels.new) for stage, levels in stages.items()}
    least = MIN_STAGE_SHARE * sum(weights.values())
    return _Comparable(
        base=base,
        new=new,
        time=_levels(base, new, FORWARD),
        stages={stage: levels for stage, levels in stages.items() if weights[stage] >= least},
    )


def _levels(base: MeasuredCell, new: MeasuredCell, stage: str) -> _Levels | None:
    """Return the levels from the first pass and clock of which both sides have samples."""
    for source in sources_of(stage):
        of_base, of_new = base.levels(stage, *source), new.levels(stage, *source)
        if of_base and of_new:
            rounds = neighbours(base, new, sorted(of_base.keys() & of_new.keys()))
            if len(rounds) < MIN_ROUNDS:
                return _Levels(base=list(of_base.values()), new=list(of_new.values()), in_turn=False)
            return _Levels(base=[of_base[n] for n in rounds], new=[of_new[n] for n in rounds], in_turn=True)
    return None


def _compared(both: _Comparable, limits: Limits, of_cells: float, of_stages: float) -> CellComparison:
    change = None if both.time is None else _change(both.time, limits, of_cells)
    verdict, why = _verdict_of_cell(both, change, limits)
    stages = {stage: _change(levels, limits, of_stages) for stage, levels in both.stages.items()}
    return CellComparison(
        **_named(both.base, both.new),
        verdict=verdict,
        why=why,
        change=change,
        least_slowdown=least_slowdown(both.time.base, both.time.new, of_cells, limits.threshold)
        if both.time is not None and both.time.in_turn
        else None,
        stages=tuple(
            StageChange(stage=stage, change=found, verdict=_verdict(found, limits))
            for stage, found in stages.items()
        ),
        memory=tuple(_memory(both.base, both.new, limits)),
        accuracy=_accuracy(both.base, both.new, limits),
    )


def _verdict_of_cell(both: _Comparable, change: Change | None, limits: Limits) -> tuple[Verdict, str]:
    """Return the verdict on a cell that has rounds to compare, whatever became of its others.

    Rounds that failed hide no slowdown: a cell that is slower is told so though it was failing before.
    """
    by_time = Verdict.UNCLEAR if change is None else _verdict(change, limits)
    failed = [
        (name, side)
        for name, side in (("base", both.base), ("new", both.new))
        if side.status is not Status.OK
    ]
    if not failed:
        return by_time, _why_unclear(change, limits) if by_time is Verdict.UNCLEAR else ""
    why = "; ".join(
        f"{name}: {len(side.rounds) - len(side.ok)} of {len(side.rounds)} rounds not ok, {_ended(side)}"
        for name, side in failed
    )
    if both.base.status is Status.OK:
        return Verdict.WORSE, why
    if by_time is Verdict.SLOWER:
        return by_time, why
    return (Verdict.MENDED if both.new.status is Status.OK else Verdict.FAILED), why


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
    found = effect(change.low, change.high, counts=limits.threshold, tolerance=limits.threshold)
    return _VERDICTS[found]


_VERDICTS: Final = {
    Effect.MORE: Verdict.SLOWER,
    Effect.LESS: Verdict.FASTER,
    Effect.NONE: Verdict.SAME,
    Effect.OPEN: Verdict.UNCLEAR,
}


def _why_unclear(change: Change | None, limits: Limits) -> str:
    if change is None:
        return "the two sides have no time of the same pass and clock"
    if change.method is Method.NONE:
        of = "one process says" if change.rounds == 1 else f"{change.rounds} processes say"
        return (
            f"{of} nothing of the next: measure.rounds of {MIN_ROUNDS} give an interval, "
            f"{least_rounds(change.confidence)} one without an assumption"
        )
    if change.rounds_needed is None:
        return (
            f"the ratio lies too near to a threshold of {100 * limits.threshold:g} % for rounds to settle it"
        )
    return (
        f"about {change.rounds_needed} rounds would settle it, going by the scatter of these {change.rounds}"
    )


def _memory(base: MeasuredCell, new: MeasuredCell, limits: Limits) -> list[MemoryChange]:
    """Return the change of each memory figure that both sides have.

    A figure counts as more where the lower quartile of the new rounds exceeds the upper one of the base's
    by the threshold: peaks vary little, a round now and then is far out, and the allocator's habits are not
    the program's doing. Host memory varies more, as one process's heap grows by what another's does not, and
    counts only where both sides have as many rounds as an interval takes.
    """
    found = []
    for what, column in MEMORY.items():
        of_base, of_new = base.figures(column), new.figures(column)
        if of_base and of_new:
            amount = Amount.SAME
            if not what.startswith("host") or min(len(of_base), len(of_new)) >= MIN_ROUNDS:
                more, less = _exceeds(of_new, of_base, limits), _exceeds(of_base, of_new, limits)
                amount = Amount.MORE if more else Amount.LESS if less else Amount.SAME
            found.append(
                MemoryChange(
                    what=what,
                    base_bytes=round(median(of_base)),
                    new_bytes=round(median(of_new)),
                    amount=amount,
                )
            )
    return found


def _exceeds(larger: Sequence[int], smaller: Sequence[int], limits: Limits) -> bool:
    low, high = quartiles(larger)[0], quartiles(smaller)[1]
    return low > (1 + limits.memory_threshold) * high and low - high > MEMORY_FLOOR_BYTES


def _accuracy(base: MeasuredCell, new: MeasuredCell, limits: Limits) -> AccuracyChange | None:
    """Compare the worst rounds; None where an output was not compared."""
    known = [min(side.figures("output_psnr_db"), default=None) for side in (base, new)]
    base_db, new_db = known
    if base_db is None or new_db is None:
        return None
    lost, allowed = min(base_db, PSNR_CAP_DB) - min(new_db, PSNR_CAP_DB), limits.accuracy_loss_db
    amount = Amount.LESS if lost > allowed else Amount.MORE if -lost > allowed else Amount.SAME
    return AccuracyChange(base_psnr_db=base_db, new_psnr_db=new_db, amount=amount)


def _uncompared(base: MeasuredCell | None, new: MeasuredCell | None, limits: Limits) -> CellComparison:
    verdict, why = _why_uncompared(base, new, limits)
    return CellComparison(**_named(base, new), verdict=verdict, why=why)


def _why_uncompared(
    base: MeasuredCell | None, new: MeasuredCell | None, limits: Limits
) -> tuple[Verdict, str]:
    sides = (("base", base), ("new", new))
    if absent := [f"{name}: {lacking}" for name, side in sides if (lacking := _absence(side))]:
        failed = [
            f"{name}: {_ended(side)}"
            for name, side in sides
            if side is not None and not _absence(side) and side.status is not Status.OK
        ]
        return Verdict.MISSING, "; ".join(absent + failed)
    assert base is not None
    assert new is not None
    if found := differing(base.facets, new.facets, limits.across):
        fields = "; ".join(f"{facet} differs ({fields})" for facet, fields in found.items())
        return Verdict.INCOMPARABLE, f"{fields}: --across {','.join(found)} compares them all the same"
    if base.status is Status.OK:
        return Verdict.WORSE, f"was ok, and is {new.status} now{_reason(new)}"
    if new.status is Status.OK:
        return Verdict.MENDED, f"was {base.status}, and is ok now{_reason(base)}"
    return Verdict.FAILED, f"base: {_ended(base)}; new: {_ended(new)}"


def _absence(side: MeasuredCell | None) -> str:
    if side is None:
        return "has no such cell"
    if not side.rounds:
        return "has not come to it"
    return _ended(side) if side.status is Status.SKIPPED else ""


def _ended(side: MeasuredCell) -> str:
    return f"{side.status}{_reason(side)}"


def _reason(side: MeasuredCell) -> str:
    return f" ({side.reason})" if side.reason else ""


def _named(base: MeasuredCell | None, new: MeasuredCell | None) -> dict[str, Any]:
    known = new or base
    assert known is not None  # of a pair, one side is there
    cell = known.cell
    return {
        "cell": cell.id,
        "base_cell": base.id if base and new and base.id != new.id else None,
        "model": cell.model.name,
        "input": cell.input.name,
        "batch": cell.batch,
        "frames": cell.frames,
        "height": cell.height,
        "width": cell.width,
        "backend": cell.backend.name,
        "base_status": base.status if base else None,
        "new_status": new.status if new else None,
    }
