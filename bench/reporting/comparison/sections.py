"""The tables of a comparison's page, as columns of plain text."""

from collections.abc import Callable, Sequence

from bench.comparison.comparison import CellComparison, Change, Comparison, Method
from bench.reporting.cells import DIGITS, axes_columns, column, numbers
from bench.reporting.comparison.view import Item, View, decibels, interval, ratio
from bench.reporting.markdown import Column
from bench.results.tables import Row
from bench.units import BYTES, SECONDS, Unit, significant, unit_for
from vsr_model.one_line import one_line


def sides(comparison: Comparison) -> list[Column]:
    """Return the table of the two runs."""
    facts = {"run": "name", "code": "code", "machine": "machine", "experiment": "experiment",
             "first round": "started_at"}  # fmt: skip
    both = (comparison.base, comparison.new)
    return [
        column("side", ["base", "new"]),
        *(column(title, [getattr(side, name) for side in both]) for title, name in facts.items()),
    ]


def sections(shown: View) -> dict[str, Sequence[Column]]:
    """Return the tables that have rows, by their headings."""
    comparison, cells = shown.comparison, shown.comparison.cells
    tables = {
        "All cells": _all_cells(shown.items, cells),
        "Stages": _stages(cells),
        "Memory": _memory(cells),
        "Accuracy": _accuracy(cells),
        "Reasons": _reasons([cell for cell in cells if cell.why]),
        "What differs between the sides": _differing(comparison),
    }
    return {
        f"{title} ({rows})": columns for title, columns in tables.items() if (rows := len(columns[0].cells))
    }


def _all_cells(items: Sequence[Item], cells: Sequence[CellComparison]) -> list[Column]:
    changes = [cell.change for cell in cells]
    return [
        *_axes(cells, cells),
        *_times(changes),
        column("verdict", [cell.verdict for cell in cells]),
        column("fails for", [", ".join(item.kinds) for item in items]),
        _rounds(changes),
    ]


def _stages(every: Sequence[CellComparison]) -> list[Column]:
    rows = [(cell, stage) for cell in every for stage in cell.stages]
    changes = [stage.change for _, stage in rows]
    return [
        *_axes([cell for cell, _ in rows], every),
        column("stage", [stage.stage for _, stage in rows]),
        *_times(changes),
        column("verdict", [stage.verdict for _, stage in rows]),
        _rounds(changes),
    ]


def _memory(every: Sequence[CellComparison]) -> list[Column]:
    rows = [(cell, item) for cell in every for item in cell.memory]
    base, new = [item.base_bytes for _, item in rows], [item.new_bytes for _, item in rows]
    unit = unit_for([*base, *new], BYTES)
    return [
        *_axes([cell for cell, _ in rows], every),
        column("what", [item.what for _, item in rows]),
        _in_unit("base", base, unit, 3),
        _in_unit("new", new, unit, 3),
        numbers("ratio", [item.ratio for _, item in rows], ratio),
        column("verdict", [item.amount for _, item in rows]),
    ]


def _accuracy(every: Sequence[CellComparison]) -> list[Column]:
    rows = [(cell, cell.accuracy) for cell in every if cell.accuracy is not None]
    return [
        *_axes([cell for cell, _ in rows], every),
        numbers("base PSNR (dB)", [item.base_psnr_db for _, item in rows], decibels),
        numbers("new PSNR (dB)", [item.new_psnr_db for _, item in rows], decibels),
        column("verdict", [item.amount for _, item in rows]),
    ]


def _reasons(cells: Sequence[CellComparison]) -> list[Column]:
    return [
        column("cell", [cell.cell for cell in cells]),
        column("cell in base", [cell.base_cell or "" for cell in cells]),
        column("base", [cell.base_status or "not there" for cell in cells]),
        column("new", [cell.new_status or "not there" for cell in cells]),
        column("verdict", [cell.verdict for cell in cells]),
        column("why", [one_line(cell.why) for cell in cells]),
    ]


def _differing(comparison: Comparison) -> list[Column]:
    return [
        column("what", comparison.differing),
        column("base", [one_line(base) or "–" for base, _ in comparison.differing.values()]),
        column("new", [one_line(new) or "–" for _, new in comparison.differing.values()]),
    ]


def _axes(cells: Sequence[CellComparison], every: Sequence[CellComparison]) -> list[Column]:
    """Return the columns that tell cells apart; the backend always, another axis where it varies."""

    def row(cell: CellComparison) -> Row:
        names = ("model", "input", "batch", "frames", "backend")
        return {name: getattr(cell, name) for name in names} | {"size": f"{cell.height}×{cell.width}"}

    return [
        *axes_columns([*map(row, cells)], [*map(row, every)]),
        column("cell in base", [cell.base_cell or "" for cell in cells]),
    ]


def _times(changes: Sequence[Change | None]) -> list[Column]:
    """Return both sides' times in one unit, so that rows and columns compare, with the ratio's interval."""
    known = [change for change in changes if change is not None]
    unit = unit_for([value for change in known for value in (change.base_s, change.new_s)], SECONDS)
    return [
        _in_unit("base", [None if change is None else change.base_s for change in changes], unit, DIGITS),
        _in_unit("new", [None if change is None else change.new_s for change in changes], unit, DIGITS),
        column("ratio", _of(changes, lambda change: ratio(change.ratio)), numeric=True),
        column("interval", _of(changes, lambda change: interval(change) or "none")),
    ]


def _rounds(changes: Sequence[Change | None]) -> Column:
    """Return how many rounds there were, and how they lay to each other."""

    def shown(change: Change) -> str:
        return f"{change.rounds}" if change.method is Method.NONE else f"{change.rounds} {change.method}"

    return column("rounds", _of(changes, shown), numeric=True)


def _in_unit(title: str, values: Sequence[float | None], unit: Unit, digits: int) -> Column:
    return numbers(f"{title} ({unit.name})", values, lambda value: significant(value / unit.scale, digits))


def _of(changes: Sequence[Change | None], shown: Callable[[Change], str]) -> list[str]:
    return ["" if change is None else shown(change) for change in changes]
