"""A comparison's detail: its sections, each a table that may be shortened. Text is plain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.comparison.comparison import Amount, CellComparison, Change, Comparison, Method, Verdict
from bench.comparison.policy import Failing
from bench.reporting.cells import DIGITS, Row, axes_columns, column, numbers
from bench.reporting.comparison.words import decibels, found, interval, ratio
from bench.reporting.legible import legible
from bench.reporting.markdown import Column
from bench.units import BYTES, SECONDS, Unit, unit_for
from vsr_model.one_line import one_line

_ABOUT: Final = {
    Verdict.WORSE: "Became worse",
    Verdict.UNCLEAR: "Unclear",
    Verdict.MISSING: "Missing on a side",
    Verdict.INCOMPARABLE: "Incomparable",
    Verdict.FAILED: "Failed on both sides",
    Verdict.MENDED: "Mended",
}
"""The verdicts that come with a reason, and what their sections are called."""

_SEVERITY: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table under a title; rows of a lower rank are kept where not all can be."""

    title: str
    columns: Sequence[Column]
    ranks: Sequence[int]

    @property
    def heading(self) -> str:
        return f"{self.title} ({len(self.ranks)})"

    def left(self, rows: int | None) -> int:
        """Return how many rows are left out where there are so many at most."""
        return 0 if rows is None else max(0, len(self.ranks) - rows)

    def shown(self, rows: int | None) -> Sequence[Column]:
        """Return the table, or the `rows` of it that matter most."""
        if rows is None or rows >= len(self.ranks):
            return self.columns
        order = sorted(range(len(self.ranks)), key=self.ranks.__getitem__)  # stable: first come, first kept
        kept = sorted(order[:rows])
        return [replace(one, cells=[one.cells[row] for row in kept]) for one in self.columns]


def sections(comparison: Comparison, failing: Sequence[Failing]) -> list[Section]:
    """Return the sections that have rows."""
    every = comparison.cells
    made = [
        _cells(comparison, failing),
        _stages(every),
        _memory(every),
        _accuracy(every),
        *(_about(every, verdict, title) for verdict, title in _ABOUT.items()),
        _differing(comparison),
    ]
    return [section for section in made if section.ranks]


def _cells(comparison: Comparison, failing: Sequence[Failing]) -> Section:
    cells = comparison.cells
    failed = {id(item.cell): item.kinds for item in found(comparison, failing)}
    columns = [
        *_axes(cells, cells),
        *_times([cell.change for cell in cells]),
        column("verdict", [cell.verdict for cell in cells]),
        column("fails for", [", ".join(failed.get(id(cell), ())) for cell in cells]),
        _rounds([cell.change for cell in cells]),
    ]
    ranks = [_SEVERITY[cell.verdict] - len(_SEVERITY) * (id(cell) in failed) for cell in cells]
    return Section(title="All cells", columns=columns, ranks=ranks)


def _stages(every: Sequence[CellComparison]) -> Section:
    rows = [(cell, stage) for cell in every for stage in cell.stages]
    changes = [stage.change for _, stage in rows]
    columns = [
        *_axes([cell for cell, _ in rows], every),
        column("stage", [stage.stage for _, stage in rows]),
        *_times(changes),
        column("verdict", [stage.verdict for _, stage in rows]),
        _rounds(changes),
        _needed(changes),
    ]
    return Section(title="Stages", columns=columns, ranks=[_SEVERITY[stage.verdict] for _, stage in rows])


def _memory(every: Sequence[CellComparison]) -> Section:
    rows = [(cell, item) for cell in every for item in cell.memory]
    base, new = [item.base_bytes for _, item in rows], [item.new_bytes for _, item in rows]
    unit = unit_for([*base, *new], BYTES)
    columns = [
        *_axes([cell for cell, _ in rows], every),
        column("what", [item.what for _, item in rows]),
        _in_unit("base", base, unit, 3),
        _in_unit("new", new, unit, 3),
        numbers("ratio", [item.ratio for _, item in rows], ratio),
        column("verdict", [item.amount for _, item in rows]),
    ]
    return Section(title="Memory", columns=columns, ranks=[_worth(item.amount, "more") for _, item in rows])


def _accuracy(every: Sequence[CellComparison]) -> Section:
    rows = [(cell, cell.accuracy) for cell in every if cell.accuracy is not None]
    columns = [
        *_axes([cell for cell, _ in rows], every),
        column("base PSNR (dB)", [decibels(item.base_psnr_db) for _, item in rows], numeric=True),
        column("new PSNR (dB)", [decibels(item.new_psnr_db) for _, item in rows], numeric=True),
        column("verdict", [item.amount for _, item in rows]),
    ]
    return Section(title="Accuracy", columns=columns, ranks=[_worth(item.amount, "less") for _, item in rows])


def _about(every: Sequence[CellComparison], verdict: Verdict, title: str) -> Section:
    cells = [cell for cell in every if cell.verdict is verdict]
    statuses = [(_status(cell.base_status), _status(cell.new_status)) for cell in cells]
    ended = any(pair != ("ok", "ok") for pair in statuses)
    changes = [cell.change for cell in cells]
    columns = [
        column("cell", [cell.cell for cell in cells]),
        column("cell in base", [_other(cell) for cell in cells]),
        column("base", [base if ended else "" for base, _ in statuses]),
        column("new", [new if ended else "" for _, new in statuses]),
        column("ratio", _of(changes, lambda change: ratio(change.ratio)), numeric=True),
        column("interval", _of(changes, interval)),
        _rounds(changes),
        _needed(changes),
        column("why", [one_line(cell.why) for cell in cells]),
    ]
    return Section(title=title, columns=columns, ranks=[0] * len(cells))


def _differing(comparison: Comparison) -> Section:
    pairs = list(comparison.differing.items())
    columns = [
        column("what", [name for name, _ in pairs]),
        column("base", [one_line(base) or "–" for _, (base, _) in pairs]),
        column("new", [one_line(new) or "–" for _, (_, new) in pairs]),
    ]
    return Section(title="What differs between the sides", columns=columns, ranks=[0] * len(pairs))


def _axes(cells: Sequence[CellComparison], every: Sequence[CellComparison]) -> list[Column]:
    """Return the columns that tell cells apart; the backend always, another axis where it varies."""

    def row(cell: CellComparison) -> Row:
        names = ("model", "input", "batch", "frames", "backend")
        return {name: getattr(cell, name) for name in names} | {"size": f"{cell.height}×{cell.width}"}

    return [
        *axes_columns([*map(row, cells)], [*map(row, every)]),
        column("cell in base", [_other(cell) for cell in cells]),
    ]


def _times(changes: Sequence[Change | None]) -> list[Column]:
    """Both sides in one unit, so that rows and columns compare."""
    known = [change for change in changes if change is not None]
    unit = unit_for([value for change in known for value in (change.base_s, change.new_s)], SECONDS)
    base = [None if change is None else change.base_s for change in changes]
    new = [None if change is None else change.new_s for change in changes]
    return [
        _in_unit("base", base, unit, DIGITS),
        _in_unit("new", new, unit, DIGITS),
        column("ratio", _of(changes, lambda change: ratio(change.ratio)), numeric=True),
        column("interval", _of(changes, lambda change: interval(change) or "none")),
    ]


def _rounds(changes: Sequence[Change | None]) -> Column:
    """Return how many rounds there were, and how they lay to each other: `20 pairs`."""
    cells = _of(
        changes,
        lambda change: str(change.rounds) + ("" if change.method is Method.NONE else f" {change.method}"),
    )
    return column("rounds", cells, numeric=True)


def _needed(changes: Sequence[Change | None]) -> Column:
    cells = _of(changes, lambda change: "" if change.rounds_needed is None else f"{change.rounds_needed:,}")
    return column("rounds that would settle it", cells, numeric=True)


def _in_unit(title: str, values: Sequence[float | None], unit: Unit, digits: int) -> Column:
    return numbers(f"{title} ({unit.name})", values, lambda value: legible(value / unit.scale, digits))


def _of(changes: Sequence[Change | None], shown: Callable[[Change], str]) -> list[str]:
    return ["" if change is None else shown(change) for change in changes]


def _other(cell: CellComparison) -> str:
    """Return the cell's id on the base side where it is another."""
    return cell.base_cell if cell.base_cell is not None and cell.base_cell != cell.cell else ""


def _status(status: object) -> str:
    return "not there" if status is None else str(status)


def _worth(amount: Amount, worst: str) -> int:
    return 0 if amount == worst else 2 if amount is Amount.SAME else 1
