"""The report's section on what ran under the profiler: how busy the device was, and what took longest."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import ReportCell, axes_columns, measure_column, number
from bench.results.analysis import Tables
from bench.results.convolution_kernels import Algorithm
from bench.units import significant

TOP: Final = 3
"""Kernels or operators that are shown of each cell; kernels.csv has all."""

NAME_LENGTH: Final = 60
"""Characters of a name that are shown: some are templates a thousand long."""


def profile(tables: Tables, cells: Sequence[ReportCell]) -> str:
    """The launch-bound share, and the kernels, or operators on a CPU, that took longest; of first rounds."""
    shown = [cell for cell in cells if number(cell.rounds[0], "profile_wall_s") is not None]
    if not shown:
        return ""
    rounds = [cell.rounds[0] for cell in shown]
    shares = [number(row, "launch_bound_share") for row in rounds]
    columns = [
        *axes_columns(shown, cells),
        measure_column("device at work", [number(row, "profile_busy_s") for row in rounds]),
        Column(title="launch-bound", cells=[_share(share) for share in shares], numeric=True),
        measure_column("call under the profiler", [number(row, "profile_wall_s") for row in rounds]),
        Column(
            title="trace",
            cells=["" if pd.isna(row["profile_trace"]) else escape(row["profile_trace"]) for row in rounds],
        ),
    ]
    idle = (
        " *Launch-bound* is the part of a plain forward's median in which the device had nothing to do: "
        "its time less that in which a kernel or a copy ran."
        if any(share is not None for share in shares)
        else ""
    )
    return (
        "## Under the profiler\n\nOne call of each cell's first round, after everything that was timed. The "
        f"profiler slows the launching, and operators on a CPU.{idle} A trace opens in a trace viewer.\n\n"
        f"{table(columns)}\n\nWhat took longest, {TOP} of each cell, all stages together; kernels.csv has "
        f"the rest.\n\n{_longest(tables, shown, cells)}"
    )


def _longest(tables: Tables, shown: Sequence[ReportCell], cells: Sequence[ReportCell]) -> str:
    whose: list[ReportCell] = []
    rows: list[dict[Any, Any]] = []
    for cell in shown:
        uses = tables.kernels
        uses = uses[(uses["cell"] == cell.cell) & (uses["round"] == cell.rounds[0]["round"])]
        seconds = uses["device_s"].fillna(uses["cpu_s"])
        whole_s = float(seconds.sum())
        by_name = uses.assign(seconds=seconds).groupby("name", sort=False)
        summed = by_name.agg(seconds=("seconds", "sum"), calls=("calls", "sum"), how=("algorithm", "first"))
        for name, row in summed.sort_values("seconds", ascending=False, kind="stable").head(TOP).iterrows():
            whose.append(cell)
            share = row["seconds"] / whole_s if whole_s else None
            rows.append({"name": name, **row.to_dict(), "share": share})
    columns = [
        *axes_columns(whose, cells),
        Column(title="kernel or operator", cells=[escape(_short(row["name"])) for row in rows]),
        Column(title="convolution by", cells=[_algorithm(row["how"]) for row in rows]),
        Column(title="calls", cells=[str(row["calls"]) for row in rows], numeric=True),
        measure_column("time", [row["seconds"] for row in rows]),
        Column(title="of all", cells=[_share(row["share"]) for row in rows], numeric=True),
    ]
    return table(columns)


def _algorithm(how: object) -> str:
    return "" if not isinstance(how, str) or how == Algorithm.OTHER else how.replace("_", " ")


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _share(value: float | None) -> str:
    return "" if value is None else f"{significant(100 * value)} %"
