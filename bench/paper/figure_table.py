"""What the paper's tables are made of: columns of plain text, and figures as they are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.paper.editions import Edition, Memory
from bench.paper.figure_panels import C, Panel, source
from bench.paper.figure_series import MIB
from bench.reporting.markdown import Column, escape, table
from bench.units import significant


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """Columns of equally many cells, and what has to be known to read them."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()


def markdown(shown: PaperTable) -> str:
    """The table alone, escaped; nothing where it has no row."""
    return table(
        [
            Column(
                title=escape(column.title),
                cells=[escape(cell) for cell in column.cells],
                numeric=column.numeric,
            )
            for column in shown.columns
        ]
    )


def cells(every: Sequence[Panel[C]]) -> list[tuple[Edition, C]]:
    return [(panel.edition, cell) for panel in every for cell in panel.cells]


def whose(found: Sequence[tuple[Edition, C]]) -> list[Column]:
    return [
        column("source", [source(edition) for edition, _ in found], numeric=False),
        column("method", [cell.backend for _, cell in found], numeric=False),
    ]


def column(title: str, cells: Sequence[str], *, numeric: bool = True) -> Column:
    return Column(title=title, cells=tuple(cells), numeric=numeric)


def one(title: str, columns: Sequence[Column], said: Sequence[str]) -> list[PaperTable]:
    """The table, less its empty columns, if it has a row."""
    filled = tuple(its for its in columns if any(its.cells))
    return [PaperTable(title=title, columns=filled, notes=tuple(said))] if filled else []


def noted(made: list[PaperTable], said: Sequence[str]) -> list[PaperTable]:
    """The tables, what holds for all of them below the last."""
    if not made:
        return []
    last = made[-1]
    with_notes = PaperTable(title=last.title, columns=last.columns, notes=(*last.notes, *said))
    return [*made[:-1], with_notes]


def bounded(value: float | None, low: float | None, high: float | None) -> str:
    """Such as `1.84 [1.80, 1.88]`; no interval where it has no width, as the baseline's speedup."""
    if value is None:
        return ""
    if low is None or high is None or low == high:
        return significant(value)
    return f"{significant(value)} [{significant(low)}, {significant(high)}]"


def middle(values: Sequence[float]) -> str:
    return significant(median(values)) if values else ""


def mib(size: int | None) -> str:
    return "" if size is None else f"{size / MIB:,.0f}" if abs(size) >= 100 * MIB else f"{size / MIB:.1f}"


def grown(cell: Memory) -> str:
    if cell.before_bytes is None or cell.peak_bytes is None:
        return ""
    return mib(cell.peak_bytes - cell.before_bytes)


def kept(value: bool | None) -> str:
    return "" if value is None else "kept" if value else "none"
