"""A ladder in words and tables: each step, what it adds, its gain and error, and where its time goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.reporting.cells import column
from bench.reporting.markdown import Column
from bench.stats.intervals import IntervalKind
from bench.tuning.format import decibels, times, with_interval
from bench.tuning.ladder import Ladder, Step, Verdict
from bench.units import with_unit


@dataclass(frozen=True, kw_only=True)
class LadderPart:
    """One clip's ladder as a report shows it."""

    clip: str
    sentence: str
    steps: Sequence[Column]
    stages: Sequence[Column]
    doubts: Sequence[str]


def ladder_section(found: Sequence[Ladder]) -> tuple[LadderPart, ...]:
    return tuple(
        LadderPart(
            clip=" ".join(ladder.clip_id),
            sentence=in_a_sentence(ladder),
            steps=step_columns(ladder),
            stages=_stages(ladder),
            doubts=doubts(ladder),
        )
        for ladder in found
    )


def in_a_sentence(ladder: Ladder) -> str:
    """From where to where the ladder leads, and what paid.

    Its end is the last rung whose answer is right, which is settled before anything is timed: the fastest is
    chosen by the very rounds that give its figure, and so is the luckiest, too.
    """
    first, last, best = ladder.steps[0], ladder.last, ladder.best
    if last is None or last.time is None:
        return "No step was measured with the right answer."
    fastest = ""
    if best is not None and best.time is not None and best is not last:
        fastest = f" Fastest of these rounds: {best.backend}, {with_unit(best.time.median)}."
    if first.time is None or last.speedup is None:
        to = f"The last step with the right answer is {last.backend}, {with_unit(last.time.median)}"
        return f"{to}; the first rung has no time.{fastest}"
    if last is first:
        return f"No step after the first, {first.backend}, was measured with the right answer."
    doubt = ""
    if last.speedup.low is not None and last.speedup.low <= 1 <= (last.speedup.high or 1):
        doubt = " The interval of that holds 1: more rounds, or a quieter machine, would tell."
    paid = [", ".join(step.adds) for step in ladder.steps if step.verdict is Verdict.PAYS]
    return (
        f"From {with_unit(first.time.median)} ({first.backend}) to {with_unit(last.time.median)} "
        f"({last.backend}, the last step with the right answer): {with_interval(last.speedup)} as fast."
        f"{doubt}{fastest} "
        + (f"What paid in its place: {'; '.join(paid)}." if paid else "No single step is sure to pay.")
    )


def doubts(ladder: Ladder) -> list[str]:
    """Return what keeps the figures from saying what they seem to, a sentence each."""
    told = []
    if overlapping := [step.backend for step in ladder.steps if step.stages_overlap]:
        told.append(
            f"Stages of {', '.join(overlapping)} overlap: they add up to more than the forward that they are "
            "of."
        )
    kinds = {step.interval for step in ladder.steps if step.gain is not None}
    if IntervalKind.WITHIN_PROCESS in kinds:
        told.append(
            "Intervals are within single processes, and too narrow for a claim about the next one: give "
            "measure.rounds of three or more."
        )
    if IntervalKind.BETWEEN_ROUNDS_T in kinds:
        told.append(
            "Intervals are of fewer than six rounds, and take their logarithms for normal: six need no such "
            "assumption."
        )
    return told


def step_columns(ladder: Ladder) -> list[Column]:
    """Return the table of the steps."""
    steps = ladder.steps
    return [
        column("step", [step.number for step in steps], numeric=True),
        column("backend", [step.backend for step in steps]),
        column("adds", [", ".join(step.adds) for step in steps]),
        column("time", [step.time and with_unit(step.time.median) for step in steps], numeric=True),
        column(
            "this step",
            [
                None if step.verdict is Verdict.START else step.gain and with_interval(step.gain)
                for step in steps
            ],
            numeric=True,
        ),
        column("in all", [step.speedup and times(step.speedup.ratio) for step in steps], numeric=True),
        column("output", [decibels(step.psnr_db) for step in steps], numeric=True),
        column(
            "max error",
            [None if step.max_abs_error is None else f"{step.max_abs_error:.1e}" for step in steps],
            numeric=True,
        ),
        column("in place", map(_told, steps)),
    ]


def _told(step: Step) -> str:
    explained = step.verdict in (Verdict.SKIPPED, Verdict.FAILED, Verdict.INACCURATE, Verdict.UNCLEAR)
    what = str(step.status) if step.verdict is Verdict.FAILED else str(step.verdict)
    return f"{what}: {step.reason}" if explained and step.reason else what


def _stages(ladder: Ladder) -> list[Column]:
    """Return seconds by stage, with the share of its time before that each step left of a stage."""
    steps = [step for step in ladder.steps if step.stages_s]
    by_name = {step.backend: step for step in steps}
    columns = [
        column(
            stage,
            [_stage(step, by_name.get(step.compared_with or ""), stage) for step in steps],
            numeric=True,
        )
        for stage in ladder.stages
    ]
    return [column("backend", [step.backend for step in steps]), *columns] if steps else []


def _stage(step: Step, before: Step | None, stage: str) -> str:
    seconds = step.stages_s.get(stage)
    if seconds is None:
        return ""
    was = None if before is None else before.stages_s.get(stage)
    return with_unit(seconds) + (f" ({times(was / seconds)})" if was and seconds > 0 else "")
