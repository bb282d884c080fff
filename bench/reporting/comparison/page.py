"""Comparisons as one page, in Markdown and HTML: a summary that is read in seconds, and the detail below it.

The Markdown folds the detail, and can be shortened to what a comment on a pull request may hold.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.comparison.comparison import MEANINGS, Comparison
from bench.comparison.policy import Failing
from bench.records import JOURNAL_NAME
from bench.reporting import rendering
from bench.reporting.cells import column
from bench.reporting.comparison.formats import to_json, to_junit
from bench.reporting.comparison.view import View, headline, policy_of, view
from bench.reporting.markdown import Column
from bench.results.files import write_whole
from vsr_model.errors import BadInput

COMMENT_CHARACTERS: Final = 65_000
"""What GitHub takes as a comment's body, but for a line to find it by; a longer one is refused whole."""

LISTED: Final = 10
"""Cells that a summary lists; more are counted, and stand in the tables."""

TEMPLATE: Final = "compare.j2"

_INVISIBLE: Final = "&#8203;"
_CALLS: Final = re.compile(r"(?<=@)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-\d)|"
                           r"(?<=:)(?!\d\d:)(?=[\w+-]+:)", re.IGNORECASE)  # fmt: skip
"""Where GitHub would find somebody to notify, an issue to refer to, an address or a picture in plain text."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the template shows, and how much of it."""

    headline: str
    look: str  # a sentence on how the comparison was looked at, such as what a second look found
    views: Sequence[View]
    sides: Sequence[Sequence[Column]]  # a table for each view
    meanings: Mapping[str, str]  # by verdict
    policy: str
    level: int = 2  # of the first heading
    folded: bool = True
    rows: int | None = None  # of each table; None for all
    listed: int = LISTED


def render(
    comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "", limit: int | None = None
) -> str:
    """Return the page as Markdown, ending in a newline.

    `failing` is what fails here. With a `limit` in characters the page keeps to it: first tables lose rows,
    those that fail last, then lists, then all but the headline, and every cut is named. Nobody is notified
    and nothing is linked by a name in it.
    """
    texts = (
        _CALLS.sub(_INVISIBLE, rendering.markdown(TEMPLATE, page))
        for page in _shorter_and_shorter(_page(comparisons, failing, look))
    )
    return next(text for text in texts if limit is None or len(text) <= limit)


def render_page(comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "") -> str:
    """Return the same page as HTML: nothing is folded or left out, and each section has a heading."""
    page = replace(_page(comparisons, failing, look), level=1, folded=False)
    return rendering.html(TEMPLATE, page, title=f"Comparison: {', '.join(one.sides for one in page.views)}")


def write(
    folder: Path, comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = ""
) -> tuple[Path, ...]:
    """Write comparison.html, .md, .json and junit.xml, each whole or not at all; return their paths.

    Raises BadInput for a folder that holds a run, whose files are its own; OSError where it cannot be
    written.
    """
    if (folder / JOURNAL_NAME).exists():
        raise BadInput(f"{folder}: holds a run; name another folder by --output")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "comparison.html": render_page(comparisons, failing, look=look),
        "comparison.md": render(comparisons, failing, look=look, limit=COMMENT_CHARACTERS),
        "comparison.json": to_json(comparisons, failing),
        "junit.xml": to_junit(comparisons, failing),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    return tuple(folder / name for name in texts)


def _page(comparisons: Sequence[Comparison], failing: Sequence[Failing], look: str) -> Page:
    return Page(
        headline=f"Benchmark: {_begun(headline(comparisons, failing))}",
        look=look,
        views=[view(comparison, failing) for comparison in comparisons],
        sides=[_sides(comparison) for comparison in comparisons],
        meanings={str(verdict): meaning for verdict, meaning in MEANINGS.items()},
        policy=policy_of(failing),
    )


def _shorter_and_shorter(page: Page) -> Iterator[Page]:
    """Yield the page with ever less in it, down to its headline."""
    yield page
    rows = max((len(section.ranks) for one in page.views for section in one.sections), default=0)
    while rows:
        rows = rows * 3 // 4
        yield replace(page, rows=rows)
    for number in range(LISTED - 1, -1, -1):
        yield replace(page, rows=0, listed=number)
    yield replace(page, look="", views=[])


def _sides(comparison: Comparison) -> list[Column]:
    facts = {"run": "name", "code": "code", "machine": "machine", "experiment": "experiment",
             "first round": "started_at"}  # fmt: skip
    both = (comparison.base, comparison.new)
    return [
        column("side", ["base", "new"]),
        *(column(title, [getattr(side, name) for side in both]) for title, name in facts.items()),
    ]


def _begun(text: str) -> str:
    """Return the headline as it goes on behind a colon."""
    return text[:1].lower() + text[1:]
