"""ladder.csv: a row per step. Pure; docs/tables.md lists the columns."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from bench.stats.intervals import Ratio
from bench.tuning.ladder import Ladder, Step

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

SEPARATOR: Final = "; "
"""Between the settings that a step adds."""


def ladder_table(found: Sequence[Ladder]) -> pd.DataFrame:
    """Return the steps of all ladders, ladder by ladder; what was not measured is missing."""
    stages = dict.fromkeys(stage for ladder in found for stage in ladder.stages)
    columns = [
        name
        for column in LADDER_COLUMNS
        for name in ([f"stage_{stage}_s" for stage in stages] if column == STAGE_COLUMN else [column])
    ]
    return pd.DataFrame([_row(step) for ladder in found for step in ladder.steps], columns=columns)


def _row(step: Step) -> dict[str, Any]:
    cell, time = step.cell, step.time
    return {
        "step": step.number, "cell": cell.id, "model": cell.model.name, "input": cell.input.name,
        "batch": cell.batch,
        "frames": cell.frames, "height": cell.height, "width": cell.width, "backend": step.backend,
        "adds": SEPARATOR.join(step.adds), "compared_with": step.compared_with, "verdict": str(step.verdict),
        "status": None if step.status is None else str(step.status), "reason": step.reason,
        "stage": None if time is None else step.figure,
        "median_s": None if time is None else time.median,
        "low_s": None if time is None else time.low,
        "high_s": None if time is None else time.high,
        **_ratio("speedup", step.speedup), **_ratio("gain", step.gain),
        "gain_interval": None if step.gain is None else str(step.interval),
        "total_s": step.total_s,
        **{f"stage_{stage}_s": seconds for stage, seconds in step.stages_s.items()},
        "probed_s": step.probed_s,
        "stages_overlap": step.stages_overlap if step.stages_s else None,
        "output_psnr_db": step.psnr_db, "output_max_abs_error": step.max_abs_error,
    }  # fmt: skip


def _ratio(name: str, found: Ratio | None) -> dict[str, float | None]:
    return {
        name: None if found is None else found.ratio,
        f"{name}_low": None if found is None else found.low,
        f"{name}_high": None if found is None else found.high,
    }
