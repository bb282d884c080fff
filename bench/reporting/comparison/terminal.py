"""Comparisons on a terminal: a table of cells, what changed inside them, and a summary that stands last."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from bench.comparison.comparison import Amount, CellComparison, Comparison, Side, Verdict
from bench.comparison.policy import Failing
from bench.reporting.comparison.words import (
    LISTED,
    Found,
    accuracy_figure,
    beside,
    clauses,
    counted,
    found,
    headline,
    interval,
    memory_figure,
    named,
    ratio,
    sensitivity,
    stage_figure,
)
from vsr_model.one_line import one_line, visible

_STYLES: Final = {
    Verdict.SLOWER: "bold red",
    Verdict.WORSE: "bold red",
    Verdict.UNCLEAR: "yellow",
    Verdict.MISSING: "yellow",
    Verdict.INCOMPARABLE: "yellow",
    Verdict.FAILED: "yellow",
    Verdict.MENDED: "green",
    Verdict.FASTER: "green",
    Verdict.SAME: "",
}
"""Beside the word, which says it all."""

NAMED: Final = 3
"""Cells that a reason names; more are counted, and the table has the verdict of each."""


def tables(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> Iterator[Table | Text]:
    """What to print, in order; it can be read in 80 columns, and nothing in it is obeyed as markup."""
    for comparison in comparisons:
        yield Text(f"{visible(comparison.base.name)} → {visible(comparison.new.name)}", style="bold")
        yield _side("base", comparison.base)
        yield _side("new ", comparison.new)
        if comparison.cells:
            yield _cells(comparison, failing)
        yield from _lines("", _insides(comparison, failing))
        yield from _lines("caution: ", comparison.cautions, style="yellow")
        if len(comparisons) > 1:
            yield from _summary(comparison, failing)
            yield Text("")
    if len(comparisons) == 1:
        yield from _summary(comparisons[0], failing)
    yield Text(headline(comparisons, failing), style="bold")


def _side(role: str, side: Side) -> Text:
    said = "; ".join(visible(part) for part in (side.code, side.machine, side.started_at) if part)
    return Text(f"{role} {said}", style="dim")


def _cells(comparison: Comparison, failing: Sequence[Failing]) -> Table:
    failed = {id(one.cell) for one in found(comparison, failing)}
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("cell", overflow="fold")
    made.add_column("ratio", justify="right", no_wrap=True)
    made.add_column("interval", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for cell in comparison.cells:
        change = cell.change
        made.add_row(
            Text(visible(cell.cell)),
            Text("" if change is None else ratio(change.ratio)),
            Text("" if change is None else interval(change) or "none"),
            Text(cell.verdict + (", fails" if id(cell) in failed else ""), style=_STYLES[cell.verdict]),
        )
    return made


def _insides(comparison: Comparison, failing: Sequence[Failing]) -> Iterator[str]:
    """What changed within cells, and why some could not be told, but for what the summary says."""
    for cell in comparison.cells:
        yield from _changed(cell)
    told = {id(one.cell) for one in (*found(comparison, failing), *beside(comparison, failing))}
    reasons: dict[tuple[Verdict, str], list[CellComparison]] = {}
    for cell in comparison.cells:
        if cell.why and id(cell) not in told:
            reasons.setdefault((cell.verdict, cell.why), []).append(cell)
    for (verdict, why), cells in reasons.items():
        first = ", ".join(named(cell) for cell in cells[:NAMED])
        more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
        yield f"{first}{more} {'is' if len(cells) == 1 else 'are'} {verdict}: {why}"


def _changed(cell: CellComparison) -> Iterator[str]:
    changed = [
        *(f"{stage_figure(stage)} {stage.verdict}" for stage in cell.stages if _moved(stage.verdict)),
        *(f"{memory_figure(item)} {item.amount}" for item in cell.memory if item.amount is not Amount.SAME),
    ]
    if cell.accuracy is not None and cell.accuracy.amount is not Amount.SAME:
        changed.append(f"{accuracy_figure(cell.accuracy)} {cell.accuracy.amount}")
    if changed:
        yield f"{named(cell)}: {'; '.join(changed)}"


def _moved(verdict: Verdict) -> bool:
    return verdict in (Verdict.SLOWER, Verdict.FASTER)


def _summary(comparison: Comparison, failing: Sequence[Failing]) -> Iterator[Text]:
    for before, items in (
        ("fails for ", found(comparison, failing)),
        ("worse, but does not fail here: ", beside(comparison, failing)),
    ):
        yield from _lines(before, map(_item, items[:LISTED]))
        if len(items) > LISTED:
            yield from _lines("", [f"and {len(items) - LISTED} cells more"])
    yield from _lines("", filter(None, [counted(comparison, failing), sensitivity(comparison)]))


def _item(one: Found) -> str:
    return f"{', '.join(one.kinds)}: {named(one.cell)}: {'; '.join(clauses(one))}"


def _lines(before: str, texts: Iterable[str], style: str = "") -> Iterator[Text]:
    for text in texts:
        yield Text(f"{before}{one_line(text)}", style=style)
