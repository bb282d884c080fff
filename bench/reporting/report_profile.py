"""The tables of what ran under the profiler: how busy the device was, and what took longest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.reporting.cells import Row, axes_columns, column, in_one_unit, rows_of
from bench.reporting.markdown import Column
from bench.results.convolution_kernels import Algorithm
from bench.results.tables import Tables
from bench.units import significant

TOP: Final = 3
"""Kernels or operators that are shown of each cell; kernels.csv has all."""

NAME_LENGTH: Final = 60
"""Characters of a name that are shown: some are templates a thousand long."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One call of each cell's first round, and the longest kernels of each."""

    columns: Sequence[Column]
    longest: Sequence[Column]
    has_idle: bool  # whether a launch-bound share is known
    top: int = TOP


def profile(tables: Tables, cells: Sequence[Row]) -> Profile | None:
    """Return the launch-bound share, and the kernels, or operators on a CPU, that took longest."""
    first = {row["cell"]: row for row in rows_of(tables.cells.drop_duplicates("cell"))}
    shown = [cell for cell in cells if first[cell["cell"]]["profile_wall_s"] is not None]
    if not shown:
        return None
    rounds = [first[cell["cell"]] for cell in shown]
    shares = [row["launch_bound_share"] for row in rounds]
    columns = [
        *axes_columns(shown, cells),
        in_one_unit("device at work", [row["profile_busy_s"] for row in rounds]),
        column("launch-bound", map(_share, shares), numeric=True),
        in_one_unit("call under the profiler", [row["profile_wall_s"] for row in rounds]),
        column("trace", [row["profile_trace"] for row in rounds]),
    ]
    has_idle = any(share is not None for share in shares)
    longest = _longest(tables, shown, [row["round"] for row in rounds], cells)
    return Profile(columns=columns, longest=longest, has_idle=has_idle)


def _longest(
    tables: Tables, shown: Sequence[Row], numbers: Sequence[int], cells: Sequence[Row]
) -> list[Column]:
    whose: list[Row] = []
    rows: list[dict[str, Any]] = []
    for cell, number in zip(shown, numbers, strict=True):
        uses = tables.kernels
        uses = uses[(uses["cell"] == cell["cell"]) & (uses["round"] == number)]
        seconds = uses["device_s"].fillna(uses["cpu_s"])
        whole_s = float(seconds.sum())
        by_name = uses.assign(seconds=seconds).groupby("name", sort=False)
        summed = by_name.agg(seconds=("seconds", "sum"), calls=("calls", "sum"), how=("algorithm", "first"))
        for name, row in summed.sort_values("seconds", ascending=False, kind="stable").head(TOP).iterrows():
            whose.append(cell)
            share = row["seconds"] / whole_s if whole_s else None
            rows.append({"name": name, **row.to_dict(), "share": share})
    return [
        *axes_columns(whose, cells),
        column("kernel or operator", [_short(row["name"]) for row in rows]),
        column("convolution by", [_algorithm(row["how"]) for row in rows]),
        column("calls", [row["calls"] for row in rows], numeric=True),
        in_one_unit("time", [row["seconds"] for row in rows]),
        column("of all", [_share(row["share"]) for row in rows], numeric=True),
    ]


def _algorithm(how: object) -> str:
    return "" if not isinstance(how, str) or how == Algorithm.OTHER else how.replace("_", " ")


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _share(value: float | None) -> str:
    return "" if value is None else f"{significant(100 * value)} %"
