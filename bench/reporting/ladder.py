"""A ladder among a run's results: its table, its figures, and its part of the page.

That is each step, what it adds, its gain and error, and where its time goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.plotting.ladder import ladder_figure
from bench.plotting.plots import FORMATS, save
from bench.records import Status
from bench.reporting.cells import column, columns_of, numbers, right
from bench.reporting.markdown import Column
from bench.results.files import to_csv, write_whole
from bench.results.run_folder import RunFolder
from bench.results.tables import LIST_SEPARATOR, Row, Tables
from bench.stats.intervals import IntervalKind
from bench.tuning.format import decibels, times, with_interval
from bench.tuning.ladder import Steps, Verdict, ladder_table, ladders
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


def ladders_of(folder: RunFolder, tables: Tables) -> dict[str, Steps]:
    """Return the steps of each clip of a run whose backends are a ladder; otherwise none."""
    return ladders(ladder_table(folder.cells(), tables)) if folder.experiment.ladder else {}


def write_ladder(folder: RunFolder, tables: Tables) -> None:
    """Write ladder.csv and plots/ladder*.png and .svg, where the run is one. Raises OSError."""
    if not folder.experiment.ladder:
        (folder.path / TABLE_NAME).unlink(missing_ok=True)
        return
    table = ladder_table(folder.cells(), tables)
    write_whole(folder.path / TABLE_NAME, to_csv(table))
    names = _figure_names(folder)
    for clip, own in table.groupby(table["cell"].str.rpartition("/")[0], sort=False):
        paths = [folder.path / "plots" / f"{names[str(clip)]}.{ending}" for ending in FORMATS]
        save(ladder_figure(own), paths)


def ladder_images(folder: RunFolder) -> list[Path]:
    """Return the .png files of a run's ladders that are there, in the order of its clips."""
    if not folder.experiment.ladder:
        return []
    paths = [folder.path / "plots" / f"{name}.png" for name in _figure_names(folder).values()]
    return [path for path in paths if path.is_file()]


def _figure_names(folder: RunFolder) -> dict[str, str]:
    """Return the name of each clip's figure, by clip; its place in the grid where there are several."""
    cells = folder.cells()
    networks, clips = {cell.model.name for cell in cells}, dict.fromkeys(cell.clip_id for cell in cells)
    if len(clips) == 1:
        return {"/".join(clip): "ladder" for clip in clips}
    return {"/".join(clip): f"ladder-{'-'.join(clip[len(networks) == 1 :])}" for clip in clips}


def ladder_part(clip: str, steps: Steps) -> LadderPart:
    """Return what the page shows of a ladder, whose clip is called so."""
    return LadderPart(
        clip=clip,
        sentence=in_a_sentence(steps),
        steps=step_columns(steps),
        stages=_stages(steps),
        doubts=doubts(steps),
    )


def in_a_sentence(steps: Steps) -> str:
    """Return from where to where the ladder leads, and what paid.

    Its end is the last rung whose answer is right, which is settled before anything is timed: the fastest is
    chosen by the very rounds that give its figure, and so is the luckiest, too.
    """
    first = steps[0]
    right = [step for step in steps if step["status"] == Status.OK and step["median_s"] is not None]
    if not right:
        return "No step was measured with the right answer."
    last, best = right[-1], min(right, key=lambda step: step["median_s"])
    end = with_unit(last["median_s"])
    fastest = ""
    if best is not last:
        fastest = f" Fastest of these rounds: {best['backend']}, {with_unit(best['median_s'])}."
    if last["speedup"] is None:
        to = f"The last step with the right answer is {last['backend']}, {end}"
        return f"{to}; the first rung has no time.{fastest}"
    if last is first:
        return f"No step after the first, {first['backend']}, was measured with the right answer."
    low, high = last["speedup_low"], last["speedup_high"]
    doubt = ""
    if low is not None and low <= 1 <= high:
        doubt = " The interval of that holds 1: more rounds, or a quieter machine, would tell."
    paid = [_adds(step) for step in steps if step["verdict"] == Verdict.PAYS]
    return (
        f"From {with_unit(first['median_s'])} ({first['backend']}) to {end} ({last['backend']}, the last "
        f"step with the right answer): {with_interval(last['speedup'], low, high)} as fast.{doubt}{fastest} "
        + (f"What paid in its place: {'; '.join(paid)}." if paid else "No single step is sure to pay.")
    )


def doubts(steps: Steps) -> list[str]:
    """Return what keeps the figures from saying what they seem to, a sentence each."""
    found = []
    if overlapping := [step["backend"] for step in steps if step["stages_overlap"]]:
        found.append(
            f"Stages of {', '.join(overlapping)} overlap: they add up to more than the forward that they are "
            "of."
        )
    kinds = {step["gain_interval"] for step in steps}
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


def step_columns(steps: Steps) -> list[Column]:
    """Return the table of the steps."""
    return columns_of(
        steps,
        ("step", "step", right),
        ("backend", "backend", column),
        ("adds", _adds, column),
        ("time", "median_s", partial(numbers, show=with_unit)),
        ("this step", _gain, right),
        ("in all", "speedup", partial(numbers, show=times)),
        ("output", lambda step: decibels(step["output_psnr_db"]), right),
        ("max error", "output_max_abs_error", partial(numbers, show="{:.1e}".format)),
        ("in place", _in_place, column),
    )


def _adds(step: Row) -> str:
    return ", ".join(step["adds"].split(LIST_SEPARATOR))


def _gain(step: Row) -> str:
    gain = step["gain"]
    return "" if gain is None else with_interval(gain, step["gain_low"], step["gain_high"])


def _in_place(step: Row) -> str:
    explained = step["verdict"] in (Verdict.SKIPPED, Verdict.FAILED, Verdict.INACCURATE, Verdict.UNCLEAR)
    what = str(step["status"] if step["verdict"] == Verdict.FAILED else step["verdict"])
    return f"{what}: {step['reason']}" if explained and step["reason"] else what


def _stages(steps: Steps) -> list[Column]:
    """Return seconds by stage, with the share of its time before that each step left of a stage."""
    timed = {step["backend"]: step for step in steps if step["stages"]}
    stages = dict.fromkeys(stage for step in timed.values() for stage in step["stages"])
    columns = [
        right(stage, [_stage(step, timed.get(step["compared_with"]), stage) for step in timed.values()])
        for stage in stages
    ]
    return [column("backend", list(timed)), *columns] if timed else []


def _stage(step: Row, before: Row | None, stage: str) -> str:
    seconds = step["stages"].get(stage)
    if seconds is None:
        return ""
    was = None if before is None else before["stages"].get(stage)
    return with_unit(seconds) + (f" ({times(was / seconds)})" if was and seconds > 0 else "")
