"""Comparisons on a terminal: a table of cells, what changed inside them, and a summary that stands last."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from bench.comparison.comparison import Amount, CellComparison, Comparison, Side, Verdict
from bench.comparison.policy import Failing
from bench.reporting.comparison.view import (
    LISTED,
    View,
    accuracy_figure,
    headline,
    interval,
    memory_figure,
    named,
    ratio,
    stage_figure,
    view,
)
from vsr_model.one_line import one_line, visible

NAMED: Final = 3
"""Cells that a reason names."""

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
    """Yield what to print, in order; it can be read in 80 columns, and nothing in it is obeyed as markup."""
    views = [view(comparison, failing) for comparison in comparisons]
    for shown in views:
        yield Text(visible(shown.title), style="bold")
        yield _side("base", shown.comparison.base)
        yield _side("new ", shown.comparison.new)
        if shown.items:
            yield _cells(shown)
        yield from _lines("", _changes(shown))
        yield from _lines("", _reasons(shown))
        yield from _lines("caution: ", shown.comparison.cautions, style="yellow")
        fails = (f"{', '.join(one.kinds)}: {one.text}" for one in shown.fails[:LISTED])
        yield from _lines("fails for ", fails)
        if len(shown.fails) > LISTED:
            yield Text(f"and {len(shown.fails) - LISTED} cells more")
        yield from _lines("", filter(None, [shown.counted, shown.sensitivity]))
        if len(views) > 1:
            yield Text("")
    yield Text(headline(comparisons, failing), style="bold")


def _side(role: str, side: Side) -> Text:
    text = "; ".join(visible(part) for part in (side.code, side.machine, side.started_at) if part)
    return Text(f"{role} {text}", style="dim")


def _cells(shown: View) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("cell", overflow="fold")
    made.add_column("ratio", justify="right", no_wrap=True)
    made.add_column("interval", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for item in shown.items:
        cell, change = item.cell, item.cell.change
        made.add_row(
            Text(visible(cell.cell)),
            Text("" if change is None else ratio(change.ratio)),
            Text("" if change is None else interval(change) or "none"),
            Text(cell.verdict + (", fails" if item.kinds else ""), style=_STYLES[cell.verdict]),
        )
    return made


def _changes(shown: View) -> Iterator[str]:
    """Yield what changed within cells."""
    for cell in shown.comparison.cells:
        stages = [one for one in cell.stages if one.verdict in (Verdict.SLOWER, Verdict.FASTER)]
        changed = [
            *(f"{stage_figure(stage)} {stage.verdict}" for stage in stages),
            *(
                f"{memory_figure(item)} {item.amount}"
                for item in cell.memory
                if item.amount is not Amount.SAME
            ),
        ]
        if cell.accuracy is not None and cell.accuracy.amount is not Amount.SAME:
            changed.append(f"{accuracy_figure(cell.accuracy)} {cell.accuracy.amount}")
        if changed:
            yield f"{named(cell)}: {'; '.join(changed)}"


def _reasons(shown: View) -> Iterator[str]:
    """Yield why cells are what they are, each reason once, but for what the summary says."""
    summarised = {id(item.cell) for item in shown.fails}
    reasons: dict[tuple[Verdict, str], list[CellComparison]] = {}
    for cell in shown.comparison.cells:
        if cell.why and id(cell) not in summarised:
            reasons.setdefault((cell.verdict, cell.why), []).append(cell)
    for (verdict, why), cells in reasons.items():
        first = ", ".join(named(cell) for cell in cells[:NAMED])
        more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
        yield f"{first}{more} {'is' if len(cells) == 1 else 'are'} {verdict}: {why}"


def _lines(before: str, texts: Iterable[str], style: str = "") -> Iterator[Text]:
    for text in texts:
        yield Text(f"{before}{one_line(text)}", style=style)
