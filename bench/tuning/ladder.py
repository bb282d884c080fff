"""The steps of a ladder: backends in their order, each compared with the first and with the one before. Pure.

A step is compared with the last rung before it whose answer was right: what is skipped or inaccurate is
passed over, and its settings are among what the next step adds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Final

from bench.grid.plan import Cell
from bench.grid.spans import FORWARD, OTHER, TOTAL
from bench.records import CellRecord, Phase, Status, worst_status
from bench.results.samples import figure_of, sampled, stages_of, steady_samples
from bench.stats.intervals import IntervalKind, Ratio, Summary, ratio, summarise, weaker
from bench.tuning.added import added

OVERLAP: Final = 1.02
"""Stages of a call that add up to more than so many times that very call went on side by side."""


class Verdict(StrEnum):
    """The effect of a step in its place."""

    START = "start"  # the first rung: there is nothing to compare it with
    PAYS = "pays"  # the whole interval of its gain, which is between rounds, lies above 1
    COSTS = "costs"  # the whole interval lies below 1
    NO_DIFFERENCE = "makes no difference"  # the interval holds 1
    UNCLEAR = "unclear"  # no interval that holds for another process, or nothing to compare with
    INACCURATE = "inaccurate"
    SKIPPED = "skipped"
    FAILED = "failed"  # out of time or memory, or an error
    NOT_MEASURED = "not measured"  # the run ended before


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rung, with its settings and effect relative to the rung that it is compared with."""

    number: int  # from 0, the plain rung
    cell: Cell
    adds: tuple[str, ...]
    compared_with: str | None  # the backend
    verdict: Verdict
    status: Status | None
    reason: str  # of the status; for what is unclear, why
    figure: str = FORWARD  # what the time is of
    time: Summary | None = None  # seconds
    speedup: Ratio | None = None  # over the first rung
    gain: Ratio | None = None  # over the rung that it is compared with
    interval: IntervalKind = IntervalKind.NONE  # of the gain
    total_s: float | None = None  # transfers included, where they were timed
    stages_s: Mapping[str, float] = field(default_factory=dict)  # medians of the probed pass
    probed_s: float | None = None  # the forward of that pass
    stages_overlap: bool = False  # whether in most calls the stages add up to more than the call
    psnr_db: float | None = None  # the worst round's; None for the reference itself, or not checked
    max_abs_error: float | None = None

    @property
    def backend(self) -> str:
        return self.cell.backend.name

    @property
    def label(self) -> str:
        """`+ channels_last`; the backend's name for the first rung and for what adds nothing."""
        return "+ " + ", ".join(self.adds) if self.adds else self.backend


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The steps of one clip."""

    steps: tuple[Step, ...]  # never empty

    @property
    def clip_id(self) -> tuple[str, ...]:
        return self.steps[0].cell.clip_id

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that any step has times of."""
        return tuple(dict.fromkeys(stage for step in self.steps for stage in step.stages_s))

    @property
    def measured(self) -> tuple[Step, ...]:
        """The steps that have a time and the right answer."""
        return tuple(step for step in self.steps if step.time is not None and step.status is Status.OK)

    @property
    def last(self) -> Step | None:
        """The last step with the right answer; times have no influence on which one it is."""
        return self.measured[-1] if self.measured else None

    @property
    def best(self) -> Step | None:
        """The fastest step with the right answer. Chance in these rounds favours its time."""
        return min(self.measured, key=lambda step: step.time.median if step.time else 0.0, default=None)


def ladders(cells: Sequence[Cell], records: Iterable[CellRecord]) -> list[Ladder]:
    """Build a ladder per clip, in the order of the cells; a clip's rungs are its cells in theirs."""
    rounds: dict[str, list[CellRecord]] = defaultdict(list)
    for record in records:
        rounds[record.cell].append(record)
    clips: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        clips.setdefault(cell.clip_id, []).append(cell)
    return [Ladder(steps=_steps(rungs, rounds)) for rungs in clips.values()]


def _steps(rungs: Sequence[Cell], rounds: Mapping[str, Sequence[CellRecord]]) -> tuple[Step, ...]:
    steps: list[Step] = []
    base: Step | None = None  # the first rung, where its answer is right
    before: Step | None = None
    for number, cell in enumerate(rungs):
        step = _step(number, cell, rounds.get(cell.id, ()), base, before, rungs)
        steps.append(step)
        if step.status is Status.OK and step.time is not None:
            before = step
            base = step if number == 0 else base
    return tuple(steps)


def _step(
    number: int,
    cell: Cell,
    records: Sequence[CellRecord],
    base: Step | None,
    before: Step | None,
    rungs: Sequence[Cell],
) -> Step:
    status = worst_status(records) if records else None
    reason = next((record.reason for record in records if record.status is status and record.reason), "")
    of = before.cell if before is not None else rungs[number - 1]
    adds = added(of.backend, cell.backend) if number else ()
    found = figure_of(records) if status in (Status.OK, Status.INACCURATE) else None
    if status is None or found is None:
        return Step(
            number=number, cell=cell, adds=adds, compared_with=None, status=status, reason=reason,
            verdict=_unmeasured(status),
        )  # fmt: skip
    time = summarise(found.rounds)
    right = status is Status.OK
    gain = ratio(before.time, time) if before is not None and before.time is not None else None
    speedup = ratio(base.time, time) if right and base is not None and base.time is not None else None
    if number == 0 and right:
        speedup = ratio(time, time)
    interval = IntervalKind.NONE
    if before is not None and before.time is not None:
        interval = weaker(before.time.interval, time.interval)
    verdict, why = _verdict(number, gain, interval) if right else (Verdict.INACCURATE, "")
    psnr = [record.output_psnr_db for record in records if record.output_psnr_db is not None]
    errors = [record.output_max_abs_error for record in records if record.output_max_abs_error is not None]
    total = sampled(records, TOTAL)
    stages_s, probed_s = _stages(records)
    return Step(
        number=number,
        cell=cell,
        adds=adds,
        compared_with=before.backend if before is not None else None,
        verdict=verdict,
        status=status,
        reason=reason or why,
        figure=found.stage,
        time=time,
        speedup=speedup,
        gain=gain,
        interval=interval,
        total_s=None if total is None else summarise(total.rounds).median,
        stages_s=stages_s,
        probed_s=probed_s,
        stages_overlap=_overlap(records),
        psnr_db=min(psnr, default=None),
        max_abs_error=max(errors, default=None),
    )


def _stages(records: Sequence[CellRecord]) -> tuple[dict[str, float], float | None]:
    """Return the seconds by stage, and of the forward that holds them; empty where none were probed."""
    found = {
        stage: one for stage in (*stages_of(records), OTHER) if (one := sampled(records, stage)) is not None
    }
    if not found:
        return {}, None
    first = next(iter(found.values()))
    on = steady_samples(records, first.pass_, FORWARD, first.clock)
    probed = [values for values in on if values]
    return (
        {stage: summarise(one.rounds).median for stage, one in found.items()},
        summarise(probed).median if probed else None,
    )


def _overlap(records: Sequence[CellRecord]) -> bool:
    """Return whether stages overlap, by single calls: time between calls has no influence."""
    stages = stages_of(records)
    found = next((one for stage in stages if (one := sampled(records, stage)) is not None), None)
    if found is None:
        return False
    shares = []
    for record in records:
        calls: dict[int, dict[str, float]] = defaultdict(dict)
        for sample in record.samples:
            value = getattr(sample, found.clock)
            if sample.pass_ is found.pass_ and sample.phase is Phase.STEADY and value is not None:
                calls[sample.repetition][sample.stage] = value
        shares += [
            sum(call.get(stage, 0.0) for stage in stages) / call[FORWARD]
            for call in calls.values()
            if call.get(FORWARD, 0.0) > 0
        ]
    return bool(shares) and median(shares) > OVERLAP


def _unmeasured(status: Status | None) -> Verdict:
    if status is None:
        return Verdict.NOT_MEASURED
    if status is Status.SKIPPED:
        return Verdict.SKIPPED
    return Verdict.UNCLEAR if status in (Status.OK, Status.INACCURATE) else Verdict.FAILED


def _verdict(number: int, gain: Ratio | None, interval: IntervalKind) -> tuple[Verdict, str]:
    """Return the verdict, and the reason where it is unclear."""
    if number == 0:
        return Verdict.START, ""
    if gain is None:
        return Verdict.UNCLEAR, "nothing before it has a time and the right answer"
    if gain.low is None or gain.high is None:
        return Verdict.UNCLEAR, "too few values for an interval"
    if interval is IntervalKind.WITHIN_PROCESS:  # which another process would leave
        return Verdict.UNCLEAR, "its interval is within one process each; three rounds or more would tell"
    if gain.low > 1:
        return Verdict.PAYS, ""
    return (Verdict.COSTS if gain.high < 1 else Verdict.NO_DIFFERENCE), ""
