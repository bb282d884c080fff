"""The files that a comparison is given in, into a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.comparison.comparison import Comparison
from bench.comparison.policy import Failing
from bench.records import JOURNAL_NAME
from bench.reporting.comparison.json import to_json
from bench.reporting.comparison.junit import to_junit
from bench.reporting.comparison.page import COMMENT_CHARACTERS, render, render_page
from bench.results.files import write_whole
from vsr_model.errors import BadInput

ADDED_CHARACTERS: Final = 500
"""Left for what is put around the page in a comment: a line to find it by, a link."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPages:
    """Where they are."""

    html: Path
    markdown: Path
    json: Path
    junit: Path


def write(
    folder: Path, comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = ""
) -> ComparisonPages:
    """Write comparison.html, .md, .json and junit.xml, each whole or not at all.

    Raises BadInput for a folder that holds a run, whose files are its own; OSError where it cannot be
    written.
    """
    if (folder / JOURNAL_NAME).exists():
        raise BadInput(f"{folder}: holds a run; name another folder by --output")
    pages = ComparisonPages(
        html=folder / "comparison.html",
        markdown=folder / "comparison.md",
        json=folder / "comparison.json",
        junit=folder / "junit.xml",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(pages.html, render_page(comparisons, failing, look=look))
    write_whole(
        pages.markdown, render(comparisons, failing, look=look, limit=COMMENT_CHARACTERS - ADDED_CHARACTERS)
    )
    write_whole(pages.json, to_json(comparisons, failing))
    write_whole(pages.junit, to_junit(comparisons, failing))
    return pages
