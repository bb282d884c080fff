"""The tables of what limits the machine: each stage under its roofline, and the ceilings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.grid.ceilings import CeilingKind
from bench.grid.spans import FORWARD
from bench.reporting.cells import (
    KINDS,
    PLACE,
    Row,
    column,
    distinct,
    figures,
    in_one_unit,
    joined,
    numbers,
    owner,
    percent,
    right,
    rows_of,
)
from bench.reporting.markdown import Column
from bench.results.roofline import COMPUTE, MEMORY
from bench.results.tables import Tables
from bench.stats.intervals import IntervalKind
from bench.units import BYTE_RATES, FLOP_RATES, with_unit
from vsr_model.stages import PROPAGATION, UPSAMPLING

LIMITS: Final = {COMPUTE: "arithmetic", MEMORY: "the bandwidth of memory"}


@dataclass(frozen=True, kw_only=True)
class Extreme:
    """A stage that is nearest to its limit, or farthest from it."""

    stage: str
    share: str
    limit: str


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Each stage's effective rate, the limit at its intensity, the share that is reached, and what binds."""

    columns: Sequence[Column]
    intervals: Sequence[str]  # kinds of those in brackets
    narrow: Sequence[str]  # backends that propagate in a narrower type than they upsample in
    farthest: Extreme | None
    nearest: Extreme | None
    is_passed: bool  # whether a stage is beyond a limit


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Every ceiling as it was measured, before the first cell and after the last."""

    columns: Sequence[Column]
    drift: str  # how far the two moments are apart where they are farthest
    drifting: str  # the ceiling that it is of


def roofline(tables: Tables, cells: Sequence[Row]) -> Roofline | None:
    rows = joined(rows_of(tables.roofline), cells)
    if not rows:
        return None
    known = [row for row in rows if row["stage"] != FORWARD and row["share"] is not None]
    several = len({tuple(row[name] for name in PLACE) for row in cells}) > 1
    extremes = [_extreme(row, several) for row in sorted(known, key=lambda row: row["share"])]
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
        farthest=extremes[0] if extremes else None,
        nearest=extremes[-1] if len(extremes) > 1 else None,
        is_passed=any((row["share"] or 0.0) > 1 or (row["convolution_share"] or 0.0) > 1 for row in rows),
    )


def _share(row: Row, name: str) -> str | None:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return None
    return percent(value) + ("" if None in (low, high) else f" ({100 * low:.1f} … {100 * high:.1f})")


def _extreme(row: Row, several: bool) -> Extreme:
    at = f" ({row['size']}, {row['frames']} frames)" if several else ""
    return Extreme(
        stage=f"{row['stage']} on {owner(row)}{at}", share=percent(row["share"]), limit=LIMITS[row["binds"]]
    )


def ceilings(tables: Tables) -> Ceilings | None:
    rows = rows_of(tables.ceilings)
    if not rows:
        return None
    names = ["ceiling", "device", "threads", "precision", "memory_format"] + ["run"] * ("run" in rows[0])
    found: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in rows:
        # Of a convolution there are several sizes; matrices may have come out larger at one moment.
        size = row["what"] if row["ceiling"] == CeilingKind.CONVOLUTION else ""
        found.setdefault((*(row[name] for name in names), size), {})[row["moment"]] = row
    some = [next(iter(moments.values())) for moments in found.values()]

    def all_of(name: str) -> list[str]:
        return [
            "; ".join(filter(None, distinct(row[name] for row in moments.values())))
            for moments in found.values()
        ]

    drift, drifting = _drift(found.values())
    return Ceilings(
        columns=[
            column("run", [row.get("run") for row in some]),
            column("ceiling", [_plain(row["ceiling"]) for row in some]),
            column("device", [row["device"] for row in some]),
            right("threads", [row["threads_read_back"] for row in some]),
            column("precision", [row["precision"] for row in some]),
            column("format", [_plain(row["memory_format"]) for row in some]),
            column("size", all_of("what")),
            *(
                right(
                    f"{figure}, {moment}", [_rate(moments.get(moment), figure) for moments in found.values()]
                )
                for moment in ("before", "after")
                for figure in ("best", "median")
            ),
            column("not measured", all_of("reason")),
        ],
        drift=drift,
        drifting=drifting,
    )


def _drift(found: Iterable[Mapping[str, Row]]) -> tuple[str, str]:
    apart = []
    for moments in found:
        best = [row["best_flops_per_s"] or row["best_bytes_per_s"] for row in moments.values()]
        if len(best) == 2 and all(best):
            apart.append((max(best) / min(best) - 1, next(iter(moments.values()))))
    if not apart:
        return "", ""
    most, row = max(apart, key=lambda one: one[0])
    return percent(most), " ".join(filter(None, (_plain(row["ceiling"]), row["precision"])))


def _rate(row: Row | None, figure: str) -> str | None:
    for name, units in (("flops_per_s", FLOP_RATES), ("bytes_per_s", BYTE_RATES)):
        if row is not None and (value := row[f"{figure}_{name}"]) is not None:
            return with_unit(value, units)
    return None


def _plain(name: str | None) -> str:
    return (name or "").replace("_", " ")
