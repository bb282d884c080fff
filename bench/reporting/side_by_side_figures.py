"""The measured figures of several runs beside each other: a row per cell, a column per run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from bench.comparison.cells import MEMORY
from bench.grid.baseline import Baseline
from bench.records import Status
from bench.reporting.legible import legible
from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import DIGITS, ReportCell, axes_columns, distinct, in_order, number
from bench.statistics.stats import CONFIDENCE, IntervalKind
from bench.units import BYTES, Unit, unit_for

KINDS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between rounds",
    IntervalKind.BETWEEN_ROUNDS_T: "between rounds, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within process",
    IntervalKind.NONE: "too few samples for one",
}

ABSENT: Final = "–"

_Say = Callable[["Side", ReportCell], str]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run's cells."""

    name: str
    baseline: Baseline
    cells: Sequence[ReportCell]
    devices: Mapping[str, str] = field(default_factory=dict)  # by backend, what it ran on

    @cached_property
    def by_id(self) -> dict[str, ReportCell]:
        return {cell.cell: cell for cell in self.cells}


def times(sides: Sequence[Side], figures: str) -> str:
    """Median time of the forward with its interval."""
    rows = _rows(sides, lambda _, cell: cell.figure is not None)
    found = [row for side in sides for cell in side.cells if (row := cell.figure) is not None]
    if not rows:
        return ""
    unit = unit_for(row["median_s"] for row in found)

    def say(_side: Side, cell: ReportCell) -> str:
        row = cell.figure
        return f"({cell.status})" if row is None else _with_interval(row, "median_s", "low_s", "high_s", unit)

    columns = [*_axes(rows, sides), *_columns(sides, rows, say, unit.name)]
    return _section("Forward time", [_interval_kinds(sides)], figures, columns)


def speedups(sides: Sequence[Side], figures: str) -> str:
    """Speedup over each run's own baseline, with its interval."""

    def row_of(cell: ReportCell) -> dict[Any, Any] | None:
        row = cell.figure
        return None if row is None or number(row, "speedup") is None else row

    rows = _rows(
        sides,
        lambda side, cell: not side.baseline.matches(cell.model, cell.backend) and row_of(cell) is not None,
    )
    if not rows:
        return ""

    def say(side: Side, cell: ReportCell) -> str:
        if side.baseline.matches(cell.model, cell.backend) and cell.status is Status.OK:
            return "baseline"
        row = row_of(cell)
        if row is None:
            return f"({cell.status})" if cell.status is not Status.OK else "no baseline"
        return _with_interval(row, "speedup", "speedup_low", "speedup_high", Unit(name="×", scale=1.0), 3)

    over = distinct(str(side.baseline) for side in sides)
    said = f"Over {escape(over[0])}." if len(over) == 1 else f"Over: {_by_side(sides, _baseline)}."
    return _section("Speedup", [said], figures, [*_axes(rows, sides), *_columns(sides, rows, say, "×")])


def stage_shares(sides: Sequence[Side]) -> str:
    """Seconds and share of each stage, a row per cell and stage."""
    cells = _rows(sides, lambda _, cell: bool(cell.own_stages))
    pairs = [
        (cell, stage)
        for cell in cells
        for stage in distinct(
            stage for side in sides if cell.cell in side.by_id for stage in side.by_id[cell.cell].own_stages
        )
    ]
    if not pairs:
        return ""
    unit = unit_for(
        sum(cell.stages[stage]["median_s"] for stage in cell.own_stages)
        for side in sides
        for cell in side.cells
        if cell.own_stages
    )

    def say(side: Side, cell: ReportCell, stage: str) -> str:
        own = side.by_id.get(cell.cell)
        if own is None or stage not in own.stages:
            return ABSENT
        row = own.stages[stage]
        share = number(row, "share")
        value = legible(row["median_s"] / unit.scale)
        return value if share is None else f"{value} ({100 * share:.1f} %)"

    columns = [
        *_axes([cell for cell, _ in pairs], sides),
        Column(title="stage", cells=[stage for _, stage in pairs]),
        *(
            Column(
                title=f"{escape(side.name)} ({unit.name})",
                cells=[say(side, cell, stage) for cell, stage in pairs],
                numeric=True,
            )
            for side in sides
        ),
    ]
    return _section(
        "Stages",
        [
            "Medians of one forward, summed over its frames, with their share of the stages' sum.",
            f"From: {_by_side(sides, _clocks)}.",
        ],
        "",
        columns,
    )


def memory(sides: Sequence[Side]) -> str:
    """Peaks and growth, a row per cell and figure; the greatest over a run's rounds."""
    cells = _rows(sides, lambda _, cell: any(cell.over_rounds(name) is not None for name in MEMORY.values()))

    def value(side: Side, cell: ReportCell, name: str) -> float | None:
        own = side.by_id.get(cell.cell)
        return None if own is None else own.over_rounds(name, max)

    every = [
        (cell, title, [value(side, cell, name) for side in sides])
        for cell in cells
        for title, name in MEMORY.items()
    ]
    found = [item for item in every if any(known is not None for known in item[2])]
    if not found:
        return ""
    units = [unit_for((item for item in values if item is not None), BYTES) for _, _, values in found]
    columns = [
        *_axes([cell for cell, _, _ in found], sides),
        Column(title="memory", cells=[title for _, title, _ in found]),
        *(
            Column(
                title=escape(side.name),
                cells=[
                    ABSENT if (item := values[place]) is None else f"{legible(item / unit.scale)} {unit.name}"
                    for (_, _, values), unit in zip(found, units, strict=True)
                ],
                numeric=True,
            )
            for place, side in enumerate(sides)
        ),
    ]
    return _section("Memory", ["The greatest over a run's rounds."], "", columns)


def _rows(sides: Sequence[Side], has: Callable[[Side, ReportCell], bool]) -> list[ReportCell]:
    """A cell for each id of which any run has something to say, in order."""
    chosen: dict[str, ReportCell] = {}
    for side in sides:
        for cell in side.cells:
            if has(side, cell):
                chosen.setdefault(cell.cell, cell)
    return in_order(list(chosen.values()))


def _axes(rows: Sequence[ReportCell], sides: Sequence[Side]) -> list[Column]:
    return axes_columns(rows, [cell for side in sides for cell in side.cells])


def _columns(sides: Sequence[Side], rows: Sequence[ReportCell], say: _Say, unit: str) -> list[Column]:
    return [
        Column(
            title=f"{escape(side.name)} ({unit})",
            cells=[ABSENT if (own := side.by_id.get(row.cell)) is None else say(side, own) for row in rows],
            numeric=True,
        )
        for side in sides
    ]


def _section(title: str, said: Sequence[str], figures: str, columns: Sequence[Column]) -> str:
    intro = " ".join(text for text in said if text)
    return "\n\n".join(text for text in (f"## {title}", intro, figures, table(columns)) if text)


def _with_interval(
    row: dict[Any, Any], value: str, low: str, high: str, unit: Unit, digits: int = DIGITS
) -> str:
    bounds = [number(row, name) for name in (low, high)]
    said = legible(row[value] / unit.scale, digits)
    shown = [legible(bound / unit.scale, digits) for bound in bounds if bound is not None]
    return f"{said} ({shown[0]} … {shown[1]})" if len(shown) == len(bounds) else said


def _interval_kinds(sides: Sequence[Side]) -> str:
    def kinds(side: Side) -> str:
        rows = [row for cell in side.cells if (row := cell.figure) is not None]
        return " or ".join(distinct(KINDS[IntervalKind(row["interval"])] for row in rows))

    return f"Medians with {100 * CONFIDENCE:g} % intervals; {_by_side(sides, kinds)}."


def _baseline(side: Side) -> str:
    return escape(str(side.baseline))


def _clocks(side: Side) -> str:
    rows = [cell.stages[stage] for cell in side.cells for stage in cell.own_stages]
    return " or ".join(distinct(f"{row['pass']} by the {row['clock']} clock" for row in rows))


def _by_side(sides: Sequence[Side], say: Callable[[Side], str]) -> str:
    """What is true of each run, said once where it is the same for all that have something to say."""
    said = {side.name: text for side in sides if (text := say(side))}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{escape(name)}: {text}" for name, text in said.items())
