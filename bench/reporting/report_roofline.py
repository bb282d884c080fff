"""The report's sections on what limits the machine: each stage under its roofline, and the ceilings."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.grid.ceilings import CeilingKind
from bench.grid.spans import FORWARD
from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import ReportCell, axes_columns, number
from bench.results.analysis import Tables
from bench.results.roofline import COMPUTE, MEMORY
from bench.statistics.stats import CONFIDENCE, IntervalKind
from bench.units import BYTE_RATES, FLOP_RATES, Unit, significant, unit_for, with_unit
from vsr_model.stages import PROPAGATION, UPSAMPLING

_LIMITS = {COMPUTE: "arithmetic", MEMORY: "the bandwidth of memory"}
_KINDS = {
    IntervalKind.BETWEEN_ROUNDS: "between rounds",
    IntervalKind.BETWEEN_ROUNDS_T: "between rounds, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within process (the next may lie outside: more `rounds` would tell)",
}

Row = dict[Any, Any]


def roofline(tables: Tables, cells: Sequence[ReportCell]) -> str:
    """Each stage's effective rate, the limit at its intensity, the share that is reached, and what binds."""
    by_cell = {cell.cell: cell for cell in cells}
    order = list(by_cell)
    rows = [row for row in tables.roofline.to_dict("records") if row["cell"] in by_cell]
    rows.sort(key=lambda row: order.index(row["cell"]))
    if not rows:
        return ""
    rates = [rate for row in rows if (rate := number(row, "flops_per_s"))]
    unit = unit_for(rates, FLOP_RATES)
    columns = [
        *axes_columns([by_cell[row["cell"]] for row in rows], cells),
        Column(title="stage", cells=[str(row["stage"]) for row in rows]),
        Column(title="precision", cells=[str(row["precision"]) for row in rows]),
        Column(title="FLOP/byte", cells=[significant(row["intensity"]) for row in rows], numeric=True),
        _rates("effective", rows, "flops_per_s", unit),
        _rates("limit", rows, "limit_flops_per_s", unit),
        _shares("share of the limit", rows, "share"),
        Column(title="binds", cells=[_text(row["binds"]) for row in rows]),
        _shares("of the convolution's", rows, "convolution_share"),
    ]
    return f"## Roofline\n\n{' '.join(_said(rows, by_cell, cells))}\n\n{table(columns)}"


def ceilings(tables: Tables) -> str:
    """Every ceiling as it was measured, before the first cell and after the last."""
    rows = tables.ceilings.to_dict("records")
    if not rows:
        return ""
    names = ("ceiling", "device", "threads", "precision", "memory_format")
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        # Of a convolution there are several sizes; matrices may have come out larger at one moment.
        size = str(row["what"]) if row["ceiling"] == CeilingKind.CONVOLUTION else ""
        found.setdefault((*(_text(row[name]) for name in names), size), {})[row["moment"]] = row
    some = [next(iter(moments.values())) for moments in found.values()]
    sizes = [dict.fromkeys(row["what"] for row in moments.values()) for moments in found.values()]
    reasons = [dict.fromkeys(row["reason"] for row in moments.values()) for moments in found.values()]
    columns = [
        Column(title="ceiling", cells=[row["ceiling"].replace("_", " ") for row in some]),
        Column(title="device", cells=[escape(row["device"]) for row in some]),
        Column(title="threads", cells=[_text(row["threads_read_back"]) for row in some], numeric=True),
        Column(title="precision", cells=[_text(row["precision"]) for row in some]),
        Column(title="format", cells=[_text(row["memory_format"]).replace("_", " ") for row in some]),
        Column(title="size", cells=[escape("; ".join(filter(None, texts))) for texts in sizes]),
        *(
            Column(
                title=f"{figure}, {moment}",
                cells=[_rate(moments.get(moment), figure) for moments in found.values()],
                numeric=True,
            )
            for moment in ("before", "after")
            for figure in ("best", "median")
        ),
        Column(title="not measured", cells=[escape("; ".join(filter(None, texts))) for texts in reasons]),
    ]
    return (
        "## What limits the machine\n\nMeasured in this run, before its first cell and after its last. A "
        "roofline is made of the best of a kind, device, thread count and precision; how each is measured is "
        f"in docs/roofline.md.{_drift(found.values())}\n\n{table(columns)}"
    )


def _drift(found: Iterable[dict[str, Row]]) -> str:
    """How far the two moments are apart where they are farthest."""
    apart = []
    for moments in found:
        if len(moments) == 2:
            best = [
                number(row, "best_flops_per_s") or number(row, "best_bytes_per_s") for row in moments.values()
            ]
            known = [rate for rate in best if rate]
            if len(known) == 2:
                apart.append((max(known) / min(known) - 1, next(iter(moments.values()))))
    if not apart:
        return ""
    most, row = max(apart, key=lambda one: one[0])
    what = " ".join(filter(None, (row["ceiling"].replace("_", " "), _text(row["precision"]))))
    return (
        f" Between the two the best differ by {_percent(most)} at most ({what}): shares are no more certain "
        "than that."
    )


def _said(rows: Sequence[Row], by_cell: dict[str, ReportCell], cells: Sequence[ReportCell]) -> list[str]:
    said = [
        "Rates are effective: the FLOPs of direct convolutions, whatever algorithm ran, over the median "
        "time. The limit is that of arithmetic (the faster of matrix multiply and 3×3 convolution) and of "
        "the copy, both measured in this run, at the bytes that each layer has to read and write; beside it, "
        "that of the convolution.",
        *_brackets(rows),
        *_narrow_blocks(rows, by_cell),
    ]
    known = [row for row in rows if row["stage"] != FORWARD and number(row, "share") is not None]
    if known:
        last = min(known, key=lambda row: row["share"])
        first = max(known, key=lambda row: row["share"])
        said.append(
            f"Farthest from its limit is {_place(last, by_cell, cells)}, with {_percent(last['share'])} of "
            f"it; {_LIMITS[last['binds']]} is what limits it."
        )
        if first is not last:
            said.append(
                f"Nearest is {_place(first, by_cell, cells)}, with {_percent(first['share'])}; "
                f"{_LIMITS[first['binds']]} limits it."
            )
    if any(
        (number(row, "share") or 0.0) > 1 or (number(row, "convolution_share") or 0.0) > 1 for row in rows
    ):
        said.append(
            "More than 100 % is no mistake: an algorithm that multiplies less than a direct convolution "
            "(Winograd, FFT), or layers whose features stay in a cache, pass a limit that is not theirs."
        )
    return said


def _brackets(rows: Sequence[Row]) -> list[str]:
    """What the intervals are, where there are any."""
    kinds = dict.fromkeys(
        IntervalKind(row["interval"]) for row in rows if number(row, "share_low") is not None
    )
    if not kinds:
        return []
    return [
        f"Brackets hold {100 * CONFIDENCE:g} % intervals of the stages' medians, "
        f"{' or '.join(_KINDS[kind] for kind in kinds)}; ceilings count as they are."
    ]


def _narrow_blocks(rows: Sequence[Row], by_cell: dict[str, ReportCell]) -> list[str]:
    """Which backends propagate in a narrower type than they upsample in: their residual blocks alone are."""
    precisions: dict[str, dict[str, str]] = {}
    for row in rows:
        precisions.setdefault(by_cell[row["cell"]].backend, {})[row["stage"]] = row["precision"]
    names = [
        escape(name)
        for name, of in precisions.items()
        if {PROPAGATION, UPSAMPLING} <= of.keys() and of[PROPAGATION] != of[UPSAMPLING]
    ]
    if not names:
        return []
    return [
        f"On {', '.join(names)} propagation is held against the narrow type of its residual blocks, although "
        "its first convolution is in float32."
    ]


def _place(row: Row, by_cell: dict[str, ReportCell], cells: Sequence[ReportCell]) -> str:
    cell = by_cell[row["cell"]]
    several = len({(one.model, one.size, one.frames, one.batch, one.input) for one in cells}) > 1
    at = f" ({cell.size}, {cell.frames} frames)" if several else ""
    return f"{row['stage']} on {escape(cell.backend)}{at}"


def _rates(title: str, rows: Sequence[Row], name: str, unit: Unit) -> Column:
    values = [number(row, name) for row in rows]
    return Column(
        title=f"{title} ({unit.name})",
        cells=["" if value is None else significant(value / unit.scale) for value in values],
        numeric=True,
    )


def _shares(title: str, rows: Sequence[Row], name: str) -> Column:
    cells = []
    for row in rows:
        value, low, high = (number(row, column) for column in (name, f"{name}_low", f"{name}_high"))
        bounds = "" if low is None or high is None else f" ({100 * low:.1f} … {100 * high:.1f})"
        cells.append("" if value is None else f"{_percent(value)}{bounds}")
    return Column(title=title, cells=cells, numeric=True)


def _rate(row: Row | None, figure: str) -> str:
    if row is None:
        return ""
    for name, units in (("flops_per_s", FLOP_RATES), ("bytes_per_s", BYTE_RATES)):
        value = number(row, f"{figure}_{name}")
        if value is not None:
            return with_unit(value, units)
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _text(value: Any) -> str:
    """A cell of the table; empty where it is missing."""
    return "" if pd.isna(value) else str(value)
