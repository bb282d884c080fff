"""The file of a tuned backend, with what was measured as comments, and the texts of its verdict. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from shlex import quote
from typing import Final

import yaml

from bench.machine.environment import in_short
from bench.results.run_folder import RunFolder
from bench.tuning.format import decibels, times
from bench.tuning.request import Request
from bench.tuning.search import Stage, standings, tried
from bench.tuning.tuned import tuned_on, yaml_value
from bench.tuning.verdict import Verdict
from bench.units import counted, with_unit
from vsr_model.one_line import one_line

WIDTH: Final = 118


def file_text(
    asked: Request, verdict: Verdict, stages: Sequence[Stage], run: RunFolder, *, when: datetime
) -> str:
    """Return the YAML file of the backend, with the measurements as comments, ending in a newline.

    `run` is the search's first stage.
    """
    found_on = tuned_on(run.environment, asked.device)
    backend = verdict.chosen.replace(name=asked.name, min_psnr_db=asked.min_psnr_db, tuned_on=found_on)
    entry = backend.model_dump(by_alias=True, exclude_none=True)
    body = yaml.safe_dump({"backends": [entry]}, sort_keys=False, allow_unicode=True, width=WIDTH)
    clips = dict.fromkeys("/".join(cell.clip_id) for cell in run.cells())
    began = f"The fastest backend that vsr-bench tune found, {when:%Y-%m-%d %H:%M} UTC"
    comments = [
        f"{began}: {format_verdict(verdict)}",
        *(f"{label.capitalize()}: {text}" for label, text in details(verdict, asked.min_psnr_db)),
        f"Machine: {in_short(run.environment)}",
        f"Code: {run.code.in_short if run.code else 'not known'}",
        f"For {'; '.join(model.in_short for model in run.experiment.models)}, clips {', '.join(clips)}, "
        f"within {format_budget(asked.within_s)}",
        f"Tried: {counted(tried(stages), 'backend')}; what was measured is in {run.path.parent.name}",
        *(f"  {stage:<12} {name:<44} {result}" for stage, name, result in standings(stages)),
        f"Use: vsr-bench upscale --backend {quote(asked.used_as)} INPUT OUTPUT",
        f"  or {_in_a_grid(asked.name, asked.used_as)}",
    ]
    return "".join(f"# {one_line(line)}".rstrip() + "\n" for line in comments) + body


def format_verdict(verdict: Verdict) -> str:
    """Format the gain that the confirmation shows, with its interval and that one's kind."""
    gain = verdict.gain
    if gain is None:
        return "the plain network"
    rounds = counted(gain.rounds, "round")
    kind = ", Student's" if gain.assumed else ""
    between = f"{times(gain.low)} to {times(gain.high)}{kind}" if gain.low and gain.high else "no interval"
    return f"{times(gain.ratio)} as fast as the plain network ({between}), confirmed in {rounds} of its own"


def details(verdict: Verdict, min_psnr_db: float) -> Iterator[tuple[str, str]]:
    """Yield the error, the gain by clip, and what casts doubt on them, each with a label."""
    if verdict.psnr_db is not None:
        asked = f"{min_psnr_db:g} dB were asked for"
        yield "output", f"{decibels(verdict.psnr_db)} against the CPU float32 result; {asked}"
    if len(verdict.by_clip) > 1:
        yield "by clip", ", ".join(f"{clip} {times(ratio)}" for clip, ratio in verdict.by_clip.items())
    if verdict.note:
        yield "note", verdict.note


def _in_a_grid(name: str, used_as: str) -> str:
    """Format the backend's entry in a grid, whose paths start at the grid's folder."""
    if used_as == name:
        return f"in a grid {{name: {name}, from: {name}}}"
    return f"in a grid beside this file {{name: {name}, from: {yaml_value(PurePath(used_as).name)}}}"


def format_budget(seconds: float) -> str:
    """Format a time budget, rounded."""
    return f"{seconds / 60:g} min" if seconds >= 60 else with_unit(seconds)
