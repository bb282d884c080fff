"""ladder.csv: a ladder's steps, each compared with the first and with the one before. Pure.

A step is compared with the last rung before it whose answer was right: what is skipped or inaccurate is
passed over, and its settings are among what the next step adds. docs/tables.md lists the columns.
"""

import math
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

import pandas as pd

from bench.grid.backend import Backend
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD, OTHER, TOTAL
from bench.records import Pass, Phase, Status, worst_status
from bench.results.tables import LIST_SEPARATOR, MEASURED, Row, Tables, rows_of, summary_of
from bench.stats.changes import NO_DIFFERENCE, Effect, effect, rounds_needed
from bench.stats.intervals import CONFIDENCE, IntervalKind, Ratio, Summary, ratio

OVERLAP: Final = 1.02
"""Stages of a call that add up to more than so many times that very call went on side by side."""

STAGE_COLUMN: Final = "stage_<stage>_s"
"""Stands for a column of seconds for each stage of the networks."""

LADDER_COLUMNS: Final = (
    "step", "cell", "model", "input", "batch", "frames", "height", "width", "backend", "adds",
    "compared_with",
    "verdict", "status", "reason", "stage", "median_s", "low_s", "high_s",
    "speedup", "speedup_low", "speedup_high", "gain", "gain_low", "gain_high", "gain_interval", "total_s",
    STAGE_COLUMN, "probed_s", "stages_overlap",
    "output_psnr_db", "output_max_abs_error",
)  # fmt: skip

_BY_VALUE: Final = ("dtype", "fp32_precision", "memory_format")
"""Fields whose value needs no name beside it."""

_SWITCHES: Final = {
    "cudnn_enabled": "cuDNN",
    "cudnn_benchmark": "cuDNN autotuning",
    "compile": "compile",
    "cuda_graph": "cuda_graph",
}

Steps = Sequence[Row]
"""The steps of one clip: rows of the table, each with the seconds of its `stages` beside its columns."""


class Verdict(StrEnum):
    """The effect of a step in its place."""

    START = "start"  # the first rung: there is nothing to compare it with
    PAYS = "pays"  # the whole interval of its gain, which is between rounds, lies above 1
    COSTS = "costs"  # the whole interval lies below 1
    NO_DIFFERENCE = (
        "makes no difference"  # the whole interval, which holds 1, is within 3 % of it (bench.stats.changes)
    )
    UNCLEAR = "unclear"  # none of these, or no interval that holds for another process
    INACCURATE = "inaccurate"
    SKIPPED = "skipped"
    FAILED = "failed"  # out of time or memory, or an error
    NOT_MEASURED = "not measured"  # the run ended before


def ladder_table(cells: Sequence[Cell], tables: Tables) -> pd.DataFrame:
    """Return a row per step, clip by clip in the order of the cells; what was not measured is missing."""
    clips: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        clips.setdefault(cell.clip_id, []).append(cell)
    rows = [row for rungs in clips.values() for row in _steps(rungs, tables)]
    stages = dict.fromkeys(stage for row in rows for stage in row["stages"])
    named = {stage: STAGE_COLUMN.replace("<stage>", stage) for stage in stages}
    columns = [
        name for column in LADDER_COLUMNS for name in (named.values() if column == STAGE_COLUMN else [column])
    ]
    flat = [{**row, **{named[stage]: seconds for stage, seconds in row["stages"].items()}} for row in rows]
    return pd.DataFrame(flat, columns=columns)


def ladders(table: pd.DataFrame) -> dict[str, Steps]:
    """Return the steps of each clip, such as `basicvsr/noise/b1/t2/64x64`."""
    stages = stage_columns(table)
    clips: dict[str, list[Row]] = {}
    for row in rows_of(table):
        timed = {stage: row[name] for stage, name in stages.items() if row[name] is not None}
        clips.setdefault(row["cell"].rpartition("/")[0], []).append({**row, "stages": timed})
    return dict(clips)


def stage_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return the columns of stages' seconds, by stage."""
    pattern = STAGE_COLUMN.replace("<stage>", "(.+)")
    return {found[1]: found[0] for name in table if (found := re.fullmatch(pattern, str(name)))}


def _steps(rungs: Sequence[Cell], tables: Tables) -> Iterator[Row]:
    base: Summary | None = None  # of the first rung, and of the last one before, if their answers are right
    before: Summary | None = None
    last = rungs[0]
    for number, cell in enumerate(rungs):
        measured = _measured(cell, tables)
        status, time = measured["status"], measured.pop("time")
        right = status is Status.OK and time is not None
        gain = ratio(before, time) if before is not None and time is not None else None
        if right and number == 0:
            base = time
        speedup = ratio(base, time) if right and base is not None else None
        if right:
            verdict, why = _verdict(number, gain)
        else:
            verdict, why = _UNMEASURED.get(status, Verdict.FAILED) if time is None else Verdict.INACCURATE, ""
        yield {
            "step": number, "cell": cell.id, "model": cell.model.name, "input": cell.input.name,
            "batch": cell.batch, "frames": cell.frames, "height": cell.height, "width": cell.width,
            "backend": cell.backend.name,
            "adds": LIST_SEPARATOR.join(added(last.backend, cell.backend)) if number else "",
            "compared_with": last.backend.name if gain is not None else None,
            **measured, "verdict": str(verdict), "reason": measured["reason"] or why,
            **_ratio("speedup", speedup), **_ratio("gain", gain),
            "gain_interval": None if gain is None else str(gain.interval),
        }  # fmt: skip
        if right:
            before = time
        if right or before is None:
            last = cell


def _measured(cell: Cell, tables: Tables) -> dict[str, Any]:
    """Return what is known of a cell; `time` is the summary of its calls, None where it has none."""
    rounds = rows_of(tables.cells[tables.cells["cell"] == cell.id])
    found: dict[str, Any] = {"status": None, "reason": "", "time": None, "stages": {}}
    if not rounds:
        return found
    status = worst_status(Status(row["status"]) for row in rounds)
    found["status"] = status
    found["reason"] = next((row["reason"] for row in rounds if row["status"] == status and row["reason"]), "")
    spans = {row["stage"]: row for row in rows_of(tables.summary[tables.summary["cell"] == cell.id])}
    if status not in MEASURED or FORWARD not in spans:
        return found
    errors = [row["output_psnr_db"] for row in rounds if row["output_psnr_db"] is not None]
    differences = [row["output_max_abs_error"] for row in rounds if row["output_max_abs_error"] is not None]
    forward = spans[FORWARD]
    return {
        **found,
        "time": summary_of(forward),
        "stage": FORWARD, "median_s": forward["median_s"], "low_s": forward["low_s"],
        "high_s": forward["high_s"],
        "total_s": spans[TOTAL]["median_s"] if TOTAL in spans else None,
        "output_psnr_db": min(errors, default=None),
        "output_max_abs_error": max(differences, default=None),
        **_probed([row for row in spans.values() if row["pass"] != Pass.END_TO_END],
                  tables.samples[tables.samples["cell"] == cell.id]),
    }  # fmt: skip


def _probed(stages: Sequence[Row], samples: pd.DataFrame) -> dict[str, Any]:
    """Return the seconds by stage and of the forward that holds them, and whether stages overlap.

    That is by single calls: time between calls has no influence.
    """
    if not stages:
        return {"stages": {}}
    clock = f"{stages[0]['clock']}_s"
    own = samples[(samples["pass"] == stages[0]["pass"]) & (samples["phase"] == Phase.STEADY)]
    calls = own.pivot(index=["round", "repetition"], columns="stage", values=clock).dropna(subset=[FORWARD])
    names = [row["stage"] for row in stages if row["stage"] != OTHER]
    return {
        "stages": {row["stage"]: row["median_s"] for row in stages},
        "probed_s": calls[FORWARD].groupby("round").median().median(),
        "stages_overlap": bool((calls[names].sum(axis=1) / calls[FORWARD]).median() > OVERLAP),
    }


_UNMEASURED: Final = {
    None: Verdict.NOT_MEASURED,
    Status.SKIPPED: Verdict.SKIPPED,
    Status.OK: Verdict.UNCLEAR,
    Status.INACCURATE: Verdict.UNCLEAR,
}


def _verdict(number: int, gain: Ratio | None) -> tuple[Verdict, str]:
    """Return the verdict on a step with a time and the right answer, and the reason where it is unclear."""
    if number == 0:
        return Verdict.START, ""
    if gain is None:
        return Verdict.UNCLEAR, "nothing before it has a time and the right answer"
    if gain.low is None or gain.high is None:
        return Verdict.UNCLEAR, "too few values for an interval"
    if gain.interval is IntervalKind.WITHIN_PROCESS:  # which another process would leave
        return Verdict.UNCLEAR, "its interval is within one process each; three rounds or more would tell"
    verdict = _EFFECTS[effect(gain.low, gain.high)]
    if verdict is not Verdict.UNCLEAR:
        return verdict, ""
    differs = abs(math.log(gain.ratio)) > math.log1p(NO_DIFFERENCE)
    rounds = rounds_needed(gain, 0.0 if differs else NO_DIFFERENCE, CONFIDENCE)
    more = "" if rounds is None else f"; about {rounds} rounds would tell"
    return verdict, f"its interval holds 1, and differences of more than {100 * NO_DIFFERENCE:g} %{more}"


_EFFECTS: Final = {
    Effect.MORE: Verdict.PAYS,
    Effect.LESS: Verdict.COSTS,
    Effect.NONE: Verdict.NO_DIFFERENCE,
    Effect.OPEN: Verdict.UNCLEAR,
}


def _ratio(name: str, found: Ratio | None) -> dict[str, float | None]:
    values = (None, None, None) if found is None else (found.ratio, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def added(before: Backend, after: Backend) -> tuple[str, ...]:
    """Return the settings that `after` has and `before` lacks, in the order of the fields, as a text each:
    `channels_last`, `convolution: winograd`, `without compile`. Empty where both compute the same.

    The winograd kernel has its features in one format whatever is asked for: with it a memory_format adds
    nothing."""
    return tuple(
        _setting(name, value)
        for name, value in after.settings.items()
        if not (name == "memory_format" and after.convolution == "winograd")
        and value != (was := before.settings[name])
        and not (name in _SWITCHES and not value and not was)  # absent or off
    )


def _setting(field: str, value: Any) -> str:
    if field in _BY_VALUE:
        return str(value)
    if field in _SWITCHES:
        return _SWITCHES[field] if value else f"without {_SWITCHES[field]}"
    if field == "memory_plan":
        return "without memory_plan" if value is None else f"memory_plan: {value.place}"
    return f"{field}: default" if value is None else f"{field}: {value}"
