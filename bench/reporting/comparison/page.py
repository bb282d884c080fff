"""Comparisons as one page, in Markdown and HTML: a summary that is read in seconds, and the detail below it.

The Markdown folds the detail. Its summary alone fits a comment on a pull request.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.comparison.comparison import MEANINGS, Comparison
from bench.comparison.policy import Failing
from bench.records import JOURNAL_NAME
from bench.reporting import rendering
from bench.reporting.comparison.formats import to_json, to_junit
from bench.reporting.comparison.sections import sections, sides
from bench.reporting.comparison.view import LISTED, View, headline, view
from bench.reporting.markdown import Column
from bench.results.files import write_whole
from vsr_model.errors import BadInput

TEMPLATE: Final = "compare.j2"

_INVISIBLE: Final = "&#8203;"
_CALLS: Final = re.compile(r"(?<=@)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-\d)|"
                           r"(?<=:)(?!\d\d:)(?=[\w+-]+:)", re.IGNORECASE)  # fmt: skip
"""Where GitHub would find somebody to notify, an issue to refer to, an address or a picture in plain text."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison of a page, with its tables."""

    view: View
    sides: Sequence[Column]
    sections: Mapping[str, Sequence[Column]]  # by heading


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the template shows, and how."""

    headline: str
    look: str  # a sentence on how the comparison was looked at, such as what a second look found
    parts: Sequence[Part]
    meanings: Mapping[str, str]  # by verdict
    failing: Sequence[Failing]
    level: int = 2  # of the first heading
    listed: int = LISTED
    folded: bool = True  # each table behind its heading
    whole: bool = True  # or the summary alone


def render(
    comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "", whole: bool = True
) -> str:
    """Return the page as Markdown, ending in a newline, or the summary on top of it.

    `failing` is what fails here. Nobody is notified and nothing is linked by a name in it.
    """
    page = replace(_page(comparisons, failing, look), whole=whole)
    return _CALLS.sub(_INVISIBLE, rendering.markdown(TEMPLATE, page))


def render_page(comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "") -> str:
    """Return the page as HTML: nothing is folded, and each section has a heading."""
    page = replace(_page(comparisons, failing, look), level=1, folded=False)
    return rendering.html(
        TEMPLATE, page, title=f"Comparison: {', '.join(part.view.title for part in page.parts)}"
    )


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
        "comparison.md": render(comparisons, failing, look=look),
        "comparison.json": to_json(comparisons, failing),
        "junit.xml": to_junit(comparisons, failing),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    return tuple(folder / name for name in texts)


def _page(comparisons: Sequence[Comparison], failing: Sequence[Failing], look: str) -> Page:
    text = headline(comparisons, failing)
    return Page(
        headline=f"Benchmark: {text[:1].lower()}{text[1:]}",
        look=look,
        parts=[
            Part(view=one, sides=sides(one.comparison), sections=sections(one))
            for one in (view(comparison, failing) for comparison in comparisons)
        ],
        meanings={str(verdict): meaning for verdict, meaning in MEANINGS.items()},
        failing=failing,
    )
