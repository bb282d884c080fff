"""The report's section of a ladder: each step, what it adds, its gain and error, and where its time goes."""

from collections.abc import Sequence
from typing import Final

from bench.reporting.markdown import Column, escape, table
from bench.statistics.stats import IntervalKind
from bench.tuning.ladder import Ladder, Step, Verdict
from bench.tuning.words import decibels, times, with_interval
from bench.units import with_unit

HOW: Final = (
    "Each step is compared with the last one before it whose answer was right, and in all with the first. It "
    "**pays** where the whole interval of its gain lies above 1, and **costs** where it lies below; an "
    "interval within single processes tells neither."
)


def ladder_section(found: Sequence[Ladder]) -> str:
    """Markdown from its heading on; empty without a ladder."""
    if not found:
        return ""
    parts = ["## Ladder", HOW]
    for ladder in found:
        if len(found) > 1:
            parts.append(f"### {escape(' '.join(ladder.clip_id))}")
        parts += [escape(in_a_sentence(ladder)), table(step_columns(ladder, escaped=True))]
        if stages := _stages(ladder):
            parts.append(stages)
        if told := doubts(ladder):
            parts.append("\n".join(f"* {escape(text)}" for text in told))
    return "\n\n".join(parts)


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
    """What keeps the figures from saying what they seem to, a sentence each."""
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


def step_columns(ladder: Ladder, *, escaped: bool = False) -> list[Column]:
    """The table of the steps; texts are those of a page where they are to be `escaped`."""
    steps = ladder.steps

    def text(value: str) -> str:
        return escape(value) if escaped else value

    return [
        Column(title="step", cells=[str(step.number) for step in steps], numeric=True),
        Column(title="backend", cells=[text(step.backend) for step in steps]),
        Column(title="adds", cells=[text(", ".join(step.adds)) for step in steps]),
        Column(
            title="time",
            cells=["" if step.time is None else with_unit(step.time.median) for step in steps],
            numeric=True,
        ),
        Column(
            title="this step",
            cells=[
                "" if step.gain is None or step.verdict is Verdict.START else with_interval(step.gain)
                for step in steps
            ],
            numeric=True,
        ),
        Column(
            title="in all",
            cells=["" if step.speedup is None else times(step.speedup.ratio) for step in steps],
            numeric=True,
        ),
        Column(title="output", cells=[decibels(step.psnr_db) for step in steps], numeric=True),
        Column(
            title="max error",
            cells=["" if step.max_abs_error is None else f"{step.max_abs_error:.1e}" for step in steps],
            numeric=True,
        ),
        Column(title="in place", cells=[text(_told(step)) for step in steps]),
    ]


def _told(step: Step) -> str:
    explained = step.verdict in (Verdict.SKIPPED, Verdict.FAILED, Verdict.INACCURATE, Verdict.UNCLEAR)
    what = str(step.status) if step.verdict is Verdict.FAILED else str(step.verdict)
    return f"{what}: {step.reason}" if explained and step.reason else what


def _stages(ladder: Ladder) -> str:
    """Seconds by stage, with the share of its time before that each step left of a stage."""
    steps = [step for step in ladder.steps if step.stages_s]
    if not steps:
        return ""
    by_name = {step.backend: step for step in steps}
    columns = [Column(title="backend", cells=[escape(step.backend) for step in steps])]
    columns += [
        Column(
            title=stage,
            cells=[_stage(step, by_name.get(step.compared_with or ""), stage) for step in steps],
            numeric=True,
        )
        for stage in ladder.stages
    ]
    return f"Seconds by stage; in brackets how many times as fast as one step before.\n\n{table(columns)}"


def _stage(step: Step, before: Step | None, stage: str) -> str:
    seconds = step.stages_s.get(stage)
    if seconds is None:
        return ""
    was = None if before is None else before.stages_s.get(stage)
    return with_unit(seconds) + (f" ({times(was / seconds)})" if was and seconds > 0 else "")
