"""A ladder among a run's results: its table, its figures, and its part of the page.

That is each step, what it adds, its gain and error, and where its time goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.plotting.ladder import ladder_figure
from bench.plotting.plots import FORMATS, save
from bench.reporting.cells import column, right
from bench.reporting.markdown import Column
from bench.results.files import to_csv, write_whole
from bench.results.run_folder import RunFolder
from bench.stats.intervals import IntervalKind
from bench.tuning.format import decibels, times, with_interval
from bench.tuning.ladder import Ladder, Step, Verdict, ladders
from bench.tuning.ladder_table import ladder_table
from bench.units import with_unit

TABLE_NAME: Final = "ladder.csv"


@dataclass(frozen=True, kw_only=True)
class LadderPart:
    """One clip's ladder as a page shows it."""

    clip: str
    sentence: str
    steps: Sequence[Column]
    stages: Sequence[Column]
    doubts: Sequence[str]


def ladders_of(folder: RunFolder) -> list[Ladder]:
    """Return the ladders of a run, one per clip; none of a run whose backends are no rungs."""
    return ladders(folder.cells(), folder.records()) if folder.experiment.ladder else []


def write_ladder(folder: RunFolder) -> None:
    """Write ladder.csv and plots/ladder*.png and .svg, where the run is one. Raises OSError."""
    found = ladders_of(folder)
    if not found:
        (folder.path / TABLE_NAME).unlink(missing_ok=True)
        return
    table = ladder_table(found)
    write_whole(folder.path / TABLE_NAME, to_csv(table))
    for ladder, paths in zip(found, _figures(folder, found), strict=True):
        own = table["cell"].isin([step.cell.id for step in ladder.steps])
        save(ladder_figure(table[own]), paths)


def ladder_images(folder: RunFolder) -> list[Path]:
    """Return the .png files of a run's ladders that are there."""
    return [path for path, *_ in _figures(folder, ladders_of(folder)) if path.is_file()]


def _figures(folder: RunFolder, found: Sequence[Ladder]) -> list[list[Path]]:
    """Return the files of each ladder's figure."""
    networks = len({ladder.clip_id[0] for ladder in found})
    clips = [ladder.clip_id if networks > 1 else ladder.clip_id[1:] for ladder in found]
    names = ["ladder" if len(found) == 1 else f"ladder-{'-'.join(clip)}" for clip in clips]
    return [[folder.path / "plots" / f"{name}.{ending}" for ending in FORMATS] for name in names]


def ladder_part(ladder: Ladder, clip: str) -> LadderPart:
    """Return what the page shows of a ladder, whose clip is called so."""
    return LadderPart(
        clip=clip,
        sentence=in_a_sentence(ladder),
        steps=step_columns(ladder),
        stages=_stages(ladder),
        doubts=doubts(ladder),
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
    found = []
    if overlapping := [step.backend for step in ladder.steps if step.stages_overlap]:
        found.append(
            f"Stages of {', '.join(overlapping)} overlap: they add up to more than the forward that they are "
            "of."
        )
    kinds = {step.interval for step in ladder.steps if step.gain is not None}
    if IntervalKind.WITHIN_PROCESS in kinds:
        found.append(
            "Intervals are within single processes, and too narrow for a claim about the next one: give "
            "measure.rounds of three or more."
        )
    if IntervalKind.BETWEEN_ROUNDS_T in kinds:
        found.append(
            "Intervals are of fewer than six rounds, and take their logarithms for normal: six need no such "
            "assumption."
        )
    return found


def step_columns(ladder: Ladder) -> list[Column]:
    """Return the table of the steps."""
    steps = ladder.steps
    gains = [step.gain if step.verdict is not Verdict.START else None for step in steps]
    errors = [step.max_abs_error for step in steps]
    return [
        right("step", [step.number for step in steps]),
        column("backend", [step.backend for step in steps]),
        column("adds", [", ".join(step.adds) for step in steps]),
        right("time", [step.time and with_unit(step.time.median) for step in steps]),
        right("this step", [gain and with_interval(gain) for gain in gains]),
        right("in all", [step.speedup and times(step.speedup.ratio) for step in steps]),
        right("output", [decibels(step.psnr_db) for step in steps]),
        right("max error", [None if error is None else f"{error:.1e}" for error in errors]),
        column("in place", map(_in_place, steps)),
    ]


def _in_place(step: Step) -> str:
    explained = step.verdict in (Verdict.SKIPPED, Verdict.FAILED, Verdict.INACCURATE, Verdict.UNCLEAR)
    what = str(step.status) if step.verdict is Verdict.FAILED else str(step.verdict)
    return f"{what}: {step.reason}" if explained and step.reason else what


def _stages(ladder: Ladder) -> list[Column]:
    """Return seconds by stage, with the share of its time before that each step left of a stage."""
    steps = [step for step in ladder.steps if step.stages_s]
    by_name = {step.backend: step for step in steps}
    columns = [
        right(stage, [_stage(step, by_name.get(step.compared_with or ""), stage) for step in steps])
        for stage in ladder.stages
    ]
    return [column("backend", [step.backend for step in steps]), *columns] if steps else []


def _stage(step: Step, before: Step | None, stage: str) -> str:
    seconds = step.stages_s.get(stage)
    if seconds is None:
        return ""
    was = None if before is None else before.stages_s.get(stage)
    return with_unit(seconds) + (f" ({times(was / seconds)})" if was and seconds > 0 else "")
