"""Comparisons on a terminal: a table of cells, what changed inside them, and a summary that stands last."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from bench.comparison.comparison import Amount, CellComparison, Comparison, Side, Verdict
from bench.comparison.policy import Failing
from bench.reporting.comparison_words import (
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
    """What changed within cells and why some could not be told, but for what the summary says."""
    told = {id(one.cell) for one in (*found(comparison, failing), *beside(comparison, failing))}
    for cell in comparison.cells:
        yield from _changed(cell)
        if id(cell) not in told:
            yield from _reason(cell)


def _changed(cell: CellComparison) -> Iterator[str]:
    changed = [
        *(f"{stage_figure(stage)} {stage.verdict}" for stage in cell.stages if _moved(stage.verdict)),
        *(f"{memory_figure(item)} {item.amount}" for item in cell.memory if item.amount is not Amount.SAME),
    ]
    if cell.accuracy is not None and cell.accuracy.amount is not Amount.SAME:
        changed.append(f"{accuracy_figure(cell.accuracy)} {cell.accuracy.amount}")
    if changed:
        yield f"{named(cell)}: {'; '.join(changed)}"


def _reason(cell: CellComparison) -> Iterator[str]:
    if cell.why:
        yield f"{named(cell)} is {cell.verdict}: {cell.why}"


def _moved(verdict: Verdict) -> bool:
    return verdict in (Verdict.SLOWER, Verdict.FASTER)


def _summary(comparison: Comparison, failing: Sequence[Failing]) -> Iterator[Text]:
    yield from _lines("fails for ", map(_item, found(comparison, failing)))
    yield from _lines("worse, but does not fail here: ", map(_item, beside(comparison, failing)))
    yield from _lines("", [counted(comparison, failing)])


def _item(one: Found) -> str:
    return f"{', '.join(one.kinds)}: {named(one.cell)}: {'; '.join(clauses(one))}"


def _lines(before: str, texts: Iterable[str], style: str = "") -> Iterator[Text]:
    for text in texts:
        yield Text(f"{before}{one_line(text)}", style=style)
