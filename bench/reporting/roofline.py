"""The tables of what limits the machine: each stage under its roofline, and the ceilings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.grid.spans import FORWARD
from bench.reporting.cells import (
    KINDS,
    column,
    columns_of,
    distinct,
    figures,
    in_one_unit,
    joined,
    numbers,
    owner,
    percent,
    right,
)
from bench.reporting.markdown import Column
from bench.results.tables import Row, Tables, rows_of
from bench.stats.intervals import IntervalKind
from bench.units import BYTE_RATES, FLOP_RATES, with_unit
from vsr_model.stages import PROPAGATION, UPSAMPLING

Columns = list[Column]


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Each stage's effective rate, the limit at its intensity, the share that is reached, and what binds."""

    columns: Columns
    intervals: Sequence[str]  # kinds of those in brackets
    narrow: Sequence[str]  # backends that propagate in a narrower type than they upsample in
    stages: Sequence[Row]  # from the farthest from its limit to the nearest
    is_passed: bool  # whether a stage is beyond a limit


def roofline(tables: Tables, cells: Sequence[Row]) -> Roofline | None:
    rows = joined(rows_of(tables.roofline), cells)
    if not rows:
        return None
    stages = [row for row in rows if row["stage"] != FORWARD and row["share"] is not None]
    precisions: dict[str, dict[str, str]] = {}
    for row in rows:
        precisions.setdefault(owner(row), {})[row["stage"]] = row["precision"]
    return Roofline(
        columns=figures(
            rows,
            cells,
            ("stage", "stage", column),
            ("precision", "precision", column),
            ("FLOP/byte", "intensity", numbers),
            ("effective", "flops_per_s", partial(in_one_unit, units=FLOP_RATES)),
            ("limit", "limit_flops_per_s", partial(in_one_unit, units=FLOP_RATES)),
            ("share of the limit", lambda row: _share(row, "share"), right),
            ("binds", "binds", column),
            ("of the convolution's", lambda row: _share(row, "convolution_share"), right),
        ),
        intervals=distinct(
            KINDS[IntervalKind(row["interval"])] for row in rows if row["share_low"] is not None
        ),
        narrow=[
            name
            for name, of in precisions.items()
            if {PROPAGATION, UPSAMPLING} <= of.keys() and of[PROPAGATION] != of[UPSAMPLING]
        ],
        stages=[row | {"owner": owner(row)} for row in sorted(stages, key=lambda row: row["share"])],
        is_passed=any((row["share"] or 0.0) > 1 or (row["convolution_share"] or 0.0) > 1 for row in rows),
    )


def _share(row: Row, name: str) -> str | None:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return None
    return percent(value) + ("" if None in (low, high) else f" ({100 * low:.1f} … {100 * high:.1f})")


def ceilings(tables: Tables) -> Columns:
    """Return every ceiling of the machine."""
    return columns_of(
        rows_of(tables.ceilings),
        ("run", lambda row: row.get("run"), column),
        ("ceiling", lambda row: _plain(row["ceiling"]), column),
        ("device", "device", column),
        ("threads", "threads_read_back", right),
        ("precision", "precision", column),
        ("format", lambda row: _plain(row["memory_format"]), column),
        ("size", "what", column),
        ("best", lambda row: _rate(row, "best"), right),
        ("median", lambda row: _rate(row, "median"), right),
        ("not measured", "reason", column),
    )


def _rate(row: Row, figure: str) -> str | None:
    for name, units in (("flops_per_s", FLOP_RATES), ("bytes_per_s", BYTE_RATES)):
        if (value := row[f"{figure}_{name}"]) is not None:
            return with_unit(value, units)
    return None


def _plain(name: str | None) -> str:
    return (name or "").replace("_", " ")
