"""Comparisons as one page of Markdown: a summary that is read in seconds, and the detail folded below it.

It fits a comment on a pull request, and can be shortened to what a comment may hold.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.comparison.comparison import Comparison, Side
from bench.comparison.policy import Failing, failures
from bench.reporting.comparison.guide import guide
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
from bench.reporting.markdown import Column, escape, table
from vsr_model.one_line import one_line, visible

COMMENT_CHARACTERS: Final = 65_536
"""What GitHub takes as a comment's body; a longer one is refused whole."""

LEAST_CHARACTERS: Final = 1_000
"""A limit in which the headline fits at any rate."""

_NAME: Final = 120
_SENTENCE: Final = 400
"""Characters of a text of a run's in the summary."""

_TITLE: Final = "Benchmark"
_GUIDE: Final = "How to read this"
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
class _Told:
    """A comparison in Markdown, before it is known how much of it is shown."""

    sides: str
    headline: str
    fails: bool
    summary: tuple[str, ...]
    lists: Mapping[str, Sequence[str]]  # items by title
    sections: Sequence[Section]


@dataclass(frozen=True, kw_only=True)
class _Document:
    headline: str
    look: str
    told: Sequence[_Told]
    guide: str


def render(
    comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "", limit: int | None = None
) -> str:
    """The page for a comment; ends in a newline.

    `failing` is what fails here (bench.comparison.policy.fail_on); `look` a sentence on how the comparison
    was looked at, such as what a second look found. With a `limit` in characters the page keeps to it: first
    tables lose rows, those that matter least first, then lists, then whole comparisons, those in which
    nothing fails first; the summary stays, and every cut is told. Nobody is notified and
    nothing is linked by a name in it. Raises ValueError for a limit under 1,000.
    """
    document = _document(comparisons, failing, look)
    page = _unheard(_page(document, _Layout()))
    if limit is None or len(page) <= limit:
        return page
    if limit < LEAST_CHARACTERS:
        raise ValueError(f"a page of {limit} characters says nothing; {LEAST_CHARACTERS} are the least")
    return _shortened(document, limit)


def render_open(comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "") -> str:
    """The same page for a document: nothing is folded, and each section has a heading."""
    return _page(_document(comparisons, failing, look), _Layout(level=1, folded=False))


def _shortened(document: _Document, limit: int) -> str:
    def page(layout: _Layout) -> str:
        return _compact(_unheard(_page(document, layout)))

    def most(layouts: Sequence[_Layout]) -> str | None:
        """The page of the last layout that fits, of some that show more and more; None if none does."""
        fitting = bisect_left(layouts, True, key=lambda layout: len(page(layout)) > limit)
        return page(layouts[fitting - 1]) if fitting else None

    rows = max((len(section.ranks) for one in document.told for section in one.sections), default=0)
    steps: tuple[Iterable[_Layout], ...] = (
        (*(_Layout(rows=number) for number in range(rows)), _Layout()),
        (_Layout(rows=0, listed=number) for number in range(LISTED)),
        (_Layout(rows=0, listed=0, comparisons=number) for number in range(len(document.told))),
        (_Layout(comparisons=0, look=False),),
    )
    return next(text for step in steps if (text := most(list(step))) is not None)


def _document(comparisons: Sequence[Comparison], failing: Sequence[Failing], look: str) -> _Document:
    return _Document(
        headline=headline(comparisons, failing),
        look=escape(one_line(look)),
        told=[_told(comparison, failing) for comparison in comparisons],
        guide=guide(comparisons, failing),
    )


def _told(comparison: Comparison, failing: Sequence[Failing]) -> _Told:
    return _Told(
        sides=f"{_name(comparison.base)} → {_name(comparison.new)}",
        headline=headline([comparison], failing),
        fails=bool(failures(comparison, failing)),
        summary=(
            counted(comparison, failing),
            escape(_cut(sensitivity(comparison), _SENTENCE)),
            _sides(comparison.base, comparison.new),
        ),
        lists={
            "What fails": [_item(one) for one in found(comparison, failing)],
            "Worse, but does not fail here": [_item(one) for one in beside(comparison, failing)],
            "Cautions": [escape(_cut(text, _SENTENCE)) for text in comparison.cautions],
        },
        sections=sections(comparison, failing),
    )


def _page(document: _Document, layout: _Layout) -> str:
    shown = document.told
    if layout.comparisons is not None:  # what fails is cut last
        shown = sorted(shown, key=lambda one: not one.fails)[: layout.comparisons]
    below = replace(layout, level=layout.level + 1)
    several = len(document.told) > 1
    parts = [
        f"{'#' * layout.level} {_TITLE}: {_begun(document.headline)}",
        document.look if layout.look else "",
    ]
    for one in shown:
        if several or not layout.folded:
            said = f": {_begun(one.headline)}" if several else ""
            parts.append(f"{'#' * below.level} {one.sides}{said}")
        parts += [*one.summary, *(_list(title, items, layout.listed) for title, items in one.lists.items())]
        parts += _detail(one.sections, replace(below, level=below.level + 1))
    if left := len(document.told) - len(shown):
        parts.append(f"*{left} of {len(document.told)} comparisons are left out here, for length.*")
    elif shown:
        parts.append(_part(_GUIDE, document.guide, below))
    return "\n\n".join(part for part in parts if part) + "\n"


def _sides(base: Side, new: Side) -> str:
    sides = (base, new)
    return table(
        [
            Column(title="side", cells=["base", "new"]),
            Column(title="run", cells=[f"**{_name(side)}**" for side in sides]),
            Column(title="code", cells=[escape(_cut(side.code, _NAME)) for side in sides]),
            Column(title="machine", cells=[escape(_cut(side.machine, _NAME)) for side in sides]),
            Column(title="experiment", cells=[escape(_cut(side.experiment, _NAME)) for side in sides]),
            Column(title="first round", cells=[escape(_cut(side.started_at, _NAME)) for side in sides]),
        ]
    )


def _item(one: Found) -> str:
    kinds = ", ".join(one.kinds)
    said = "; ".join(escape(_cut(clause, _SENTENCE)) for clause in clauses(one))
    return f"**{kinds}** {escape(_cut(named(one.cell), _NAME))}: {said}"


def _list(title: str, items: Sequence[str], most: int) -> str:
    if not items:
        return ""
    if len(items) > most:
        items = [
            *items[:most],
            f"and {len(items) - most} more" if most else f"{len(items)}, left out for length",
        ]
    return f"**{title}**\n\n" + "\n".join(f"* {item}" for item in items)


def _detail(every: Sequence[Section], layout: _Layout) -> list[str]:
    if layout.rows == 0:
        titles = ", ".join(_titled(section) for section in every)
        return [f"*Left out here, for length: {titles}.*"] if titles else []
    return [_part(_titled(section), section.text(layout.rows), layout) for section in every]


def _titled(section: Section) -> str:
    return f"{section.title} ({len(section.ranks)})"


def _part(title: str, body: str, layout: _Layout) -> str:
    """A part that is folded, or under a heading. Its blank lines make GitHub read Markdown within HTML."""
    if layout.folded:
        return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
    return f"{'#' * layout.level} {title}\n\n{body}"


def _name(side: Side) -> str:
    return escape(_cut(side.name, _NAME))


def _cut(text: str, most: int) -> str:
    """In one line, and cut in the middle where it is longer."""
    line = visible(" ".join(text.split()))
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


def _begun(text: str) -> str:
    """The headline as it goes on behind a colon."""
    return text[:1].lower() + text[1:]


def _unheard(markdown: str) -> str:
    """The page as it reads, with what no one sees where GitHub would act upon plain text."""
    return _CALLS.sub(_INVISIBLE, markdown)


def _compact(markdown: str) -> str:
    """Tables without the padding that lines up their columns, which a browser does not show."""
    return "\n".join(
        re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", line)) if line.startswith("|") else line
        for line in markdown.split("\n")
    )
