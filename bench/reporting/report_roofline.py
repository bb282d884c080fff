"""The tables of what limits the machine: each stage under its roofline, and the ceilings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.grid.ceilings import CeilingKind
from bench.grid.spans import FORWARD
from bench.reporting.cells import (
    KINDS,
    Row,
    axes_columns,
    column,
    distinct,
    in_one_unit,
    joined,
    numbers,
    percent,
    rows_of,
)
from bench.reporting.markdown import Column
from bench.results.roofline import COMPUTE, MEMORY
from bench.results.tables import Tables
from bench.stats.intervals import IntervalKind
from bench.units import BYTE_RATES, FLOP_RATES, significant, with_unit
from vsr_model.stages import PROPAGATION, UPSAMPLING

LIMITS = {COMPUTE: "arithmetic", MEMORY: "the bandwidth of memory"}


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
    ends = sorted(known, key=lambda row: row["share"])
    several = (
        len({tuple(row[name] for name in ("model", "size", "frames", "batch", "input")) for row in cells}) > 1
    )
    extremes = [_extreme(row, several) for row in ends]
    by_backend: dict[str, dict[str, str]] = {}
    for row in rows:
        by_backend.setdefault(row["backend"], {})[row["stage"]] = row["precision"]
    return Roofline(
        columns=_columns(rows, cells),
        intervals=distinct(
            KINDS[IntervalKind(row["interval"])] for row in rows if row["share_low"] is not None
        ),
        narrow=[
            name
            for name, of in by_backend.items()
            if {PROPAGATION, UPSAMPLING} <= of.keys() and of[PROPAGATION] != of[UPSAMPLING]
        ],
        farthest=extremes[0] if extremes else None,
        nearest=extremes[-1] if len(extremes) > 1 else None,
        is_passed=any((row["share"] or 0.0) > 1 or (row["convolution_share"] or 0.0) > 1 for row in rows),
    )


def _columns(rows: Sequence[Row], cells: Sequence[Row]) -> list[Column]:
    def rates(title: str, name: str) -> Column:
        return in_one_unit(title, [row[name] for row in rows], FLOP_RATES)

    def shares(title: str, name: str) -> Column:
        ends = [(row[name], row[f"{name}_low"], row[f"{name}_high"]) for row in rows]
        return column(title, [_share(*of_one) for of_one in ends], numeric=True)

    return [
        *axes_columns(rows, cells),
        column("stage", [row["stage"] for row in rows]),
        column("precision", [row["precision"] for row in rows]),
        numbers("FLOP/byte", [row["intensity"] for row in rows], significant),
        rates("effective", "flops_per_s"),
        rates("limit", "limit_flops_per_s"),
        shares("share of the limit", "share"),
        column("binds", [row["binds"] for row in rows]),
        shares("of the convolution's", "convolution_share"),
    ]


def _share(value: float | None, low: float | None, high: float | None) -> str | None:
    if value is None:
        return None
    return percent(value) + ("" if None in (low, high) else f" ({100 * low:.1f} … {100 * high:.1f})")  # type: ignore[operator]


def _extreme(row: Row, several: bool) -> Extreme:
    at = f" ({row['size']}, {row['frames']} frames)" if several else ""
    return Extreme(
        stage=f"{row['stage']} on {row['backend']}{at}",
        share=percent(row["share"]),
        limit=LIMITS[row["binds"]],
    )


def ceilings(tables: Tables) -> Ceilings | None:
    rows = rows_of(tables.ceilings)
    if not rows:
        return None
    names = ("ceiling", "device", "threads", "precision", "memory_format")
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
            column("ceiling", [_words(row["ceiling"]) for row in some]),
            column("device", [row["device"] for row in some]),
            column("threads", [row["threads_read_back"] for row in some], numeric=True),
            column("precision", [row["precision"] for row in some]),
            column("format", [_words(row["memory_format"]) for row in some]),
            column("size", all_of("what")),
            *(
                column(
                    f"{figure}, {moment}",
                    [_rate(moments.get(moment), figure) for moments in found.values()],
                    numeric=True,
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
    return percent(most), " ".join(filter(None, (_words(row["ceiling"]), row["precision"])))


def _rate(row: Row | None, figure: str) -> str | None:
    for name, units in (("flops_per_s", FLOP_RATES), ("bytes_per_s", BYTE_RATES)):
        if row is not None and (value := row[f"{figure}_{name}"]) is not None:
            return with_unit(value, units)
    return None


def _words(name: str | None) -> str:
    return (name or "").replace("_", " ")
