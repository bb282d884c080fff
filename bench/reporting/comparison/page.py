"""Comparisons as one page of Markdown: a summary that is read in seconds, and the detail folded below it.

It fits a comment on a pull request, and can be shortened to what a comment may hold.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.comparison.comparison import Comparison, Side
from bench.comparison.policy import Failing, failures
from bench.reporting import rendering
from bench.reporting.cells import column
from bench.reporting.comparison.guide import Guide, guide
from bench.reporting.comparison.tables import Section, sections
from bench.reporting.comparison.words import (
    LISTED,
    Found,
    beside,
    clauses,
    counted,
    found,
    headline,
    named,
    sensitivity,
)
from bench.reporting.markdown import Column
from vsr_model.one_line import one_line, visible

COMMENT_CHARACTERS: Final = 65_536
"""What GitHub takes as a comment's body; a longer one is refused whole."""

LEAST_CHARACTERS: Final = 1_000
"""A limit in which the headline fits at any rate."""

_NAME: Final = 120
_SENTENCE: Final = 400
"""Characters of a text of a run's in the summary."""

TEMPLATE: Final = "compare.j2"

_INVISIBLE: Final = "&#8203;"
_CALLS: Final = re.compile(r"(?<=@)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-\d)|"
                           r"(?<=:)(?!\d\d:)(?=[\w+-]+:)", re.IGNORECASE)  # fmt: skip
"""Where GitHub would find somebody to notify, an issue to refer to, an address or a picture in plain text."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How much of the page is shown, and how."""

    level: int = 2  # of the first heading
    folded: bool = True
    rows: int | None = None  # of each table; None for all
    listed: int = LISTED
    comparisons: int | None = None  # of which there is more than a headline
    look: bool = True


@dataclass(frozen=True, kw_only=True)
class Item:
    """A cell in a list, with what was found of it."""

    kinds: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison, before it is known how much of it is shown."""

    sides: str
    headline: str
    fails: bool
    counted: str
    sensitivity: str
    table: Sequence[Column]  # of the two sides
    lists: Mapping[str, Sequence[Item]]  # by title
    sections: Sequence[Section]

    @property
    def titles(self) -> list[str]:
        return [section.heading for section in self.sections]


@dataclass(frozen=True, kw_only=True)
class _Document:
    headline: str
    look: str
    compared: Sequence[Compared]
    guide: Guide


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows."""

    headline: str
    look: str
    compared: Sequence[Compared]
    left: int  # comparisons that are left out
    guide: Guide
    layout: _Layout
    is_several: bool


def render(
    comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "", limit: int | None = None
) -> str:
    """Return the page for a comment, ending in a newline.

    `failing` is what fails here (bench.comparison.policy.fail_on); `look` a sentence on how the comparison
    was looked at, such as what a second look found. With a `limit` in characters the page keeps to it: first
    tables lose rows, those that matter least first, then lists, then whole comparisons, those in which
    nothing fails first; the summary stays, and every cut is named. Nobody is notified and
    nothing is linked by a name in it. Raises ValueError for a limit under 1,000.
    """
    document = _document(comparisons, failing, look)
    page = _unheard(_page(document, _Layout()))
    if limit is None or len(page) <= limit:
        return page
    if limit < LEAST_CHARACTERS:
        raise ValueError(f"a page of {limit} characters says nothing; {LEAST_CHARACTERS} are the least")
    return _shortened(document, limit)


def render_page(comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "") -> str:
    """Return the same page as HTML: nothing is folded or left out, and each section has a heading."""
    names = ", ".join(f"{comparison.base.name} → {comparison.new.name}" for comparison in comparisons)
    view = _view(_document(comparisons, failing, look), _Layout(level=1, folded=False))
    return rendering.html(TEMPLATE, view, title=f"Comparison: {names}")


def _shortened(document: _Document, limit: int) -> str:
    def page(layout: _Layout) -> str:
        return _compact(_unheard(_page(document, layout)))

    def most(layouts: Sequence[_Layout]) -> str | None:
        """Return the page of the last layout that fits, of layouts that show ever more; None if none does."""
        fitting = bisect_left(layouts, True, key=lambda layout: len(page(layout)) > limit)
        return page(layouts[fitting - 1]) if fitting else None

    rows = max((len(section.ranks) for one in document.compared for section in one.sections), default=0)
    steps: tuple[Iterable[_Layout], ...] = (
        (*(_Layout(rows=number) for number in range(rows)), _Layout()),
        (_Layout(rows=0, listed=number) for number in range(LISTED)),
        (_Layout(rows=0, listed=0, comparisons=number) for number in range(len(document.compared))),
        (_Layout(comparisons=0, look=False),),
    )
    return next(text for step in steps if (text := most(list(step))) is not None)


def _document(comparisons: Sequence[Comparison], failing: Sequence[Failing], look: str) -> _Document:
    return _Document(
        headline=_begun(headline(comparisons, failing)),
        look=one_line(look),
        compared=[_compared(comparison, failing) for comparison in comparisons],
        guide=guide(comparisons, failing),
    )


def _compared(comparison: Comparison, failing: Sequence[Failing]) -> Compared:
    cautions = [Item(kinds="", text=_cut(text, _SENTENCE)) for text in comparison.cautions]
    return Compared(
        sides=f"{_cut(comparison.base.name, _NAME)} → {_cut(comparison.new.name, _NAME)}",
        headline=_begun(headline([comparison], failing)),
        fails=bool(failures(comparison, failing)),
        counted=counted(comparison, failing),
        sensitivity=_cut(sensitivity(comparison), _SENTENCE),
        table=_sides(comparison.base, comparison.new),
        lists={
            "What fails": [_item(one) for one in found(comparison, failing)],
            "Worse, but does not fail here": [_item(one) for one in beside(comparison, failing)],
            "Cautions": cautions,
        },
        sections=sections(comparison, failing),
    )


def _page(document: _Document, layout: _Layout) -> str:
    return rendering.markdown(TEMPLATE, _view(document, layout))


def _view(document: _Document, layout: _Layout) -> View:
    shown = document.compared
    if layout.comparisons is not None:  # what fails is cut last
        shown = sorted(shown, key=lambda one: not one.fails)[: layout.comparisons]
    return View(
        headline=document.headline,
        look=document.look if layout.look else "",
        compared=shown,
        left=len(document.compared) - len(shown),
        guide=document.guide,
        layout=layout,
        is_several=len(document.compared) > 1,
    )


def _sides(base: Side, new: Side) -> list[Column]:
    facts = {"run": "name", "code": "code", "machine": "machine", "experiment": "experiment",
             "first round": "started_at"}  # fmt: skip
    return [
        column("side", ["base", "new"]),
        *(
            column(title, [_cut(getattr(side, name), _NAME) for side in (base, new)])
            for title, name in facts.items()
        ),
    ]


def _item(one: Found) -> Item:
    said = "; ".join(_cut(clause, _SENTENCE) for clause in clauses(one))
    return Item(kinds=", ".join(one.kinds), text=f"{_cut(named(one.cell), _NAME)}: {said}")


def _cut(text: str, most: int) -> str:
    """In one line, and cut in the middle where it is longer."""
    line = visible(" ".join(text.split()))
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


def _begun(text: str) -> str:
    """Return the headline as it goes on behind a colon."""
    return text[:1].lower() + text[1:]


def _unheard(markdown: str) -> str:
    """Return the page as it reads, with what no one sees where GitHub would act upon plain text."""
    return _CALLS.sub(_INVISIBLE, markdown)


def _compact(markdown: str) -> str:
    """Tables without the padding that lines up their columns, which a browser does not show."""
    return "\n".join(
        re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", line)) if line.startswith("|") else line
        for line in markdown.split("\n")
    )
