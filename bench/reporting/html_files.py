"""A page in two files side by side: Markdown for a terminal or a repository, HTML for a browser."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.reporting.html import render_html
from bench.reporting.markdown import target
from bench.results.files import write_whole

REPORT_STEM: Final = "report"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Where a page is."""

    markdown: Path
    html: Path


def write_pages(
    folder: Path, markdown: str, *, title: str, pictures: Sequence[Path], stem: str = REPORT_STEM
) -> Pages:
    """Write `<stem>.md` and `<stem>.html` into `folder`, each whole or not at all.

    `pictures` are those that the Markdown shows, absolute or relative to the working directory. Where a .svg
    stands beside one the HTML has that; a picture that is not there is named in it. Raises OSError where the
    folder cannot be written.
    """
    images = {}
    for path in pictures:
        drawn = next((file for file in (path.with_suffix(".svg"), path) if file.is_file()), None)
        if drawn is not None:
            images[target(relative(path, folder))] = drawn.read_bytes()
    pages = Pages(markdown=folder / f"{stem}.md", html=folder / f"{stem}.html")
    write_whole(pages.markdown, markdown)
    write_whole(pages.html, render_html(markdown, title=title, images=images))
    return pages


def relative(path: Path, folder: Path) -> Path:
    """Return the path as a page in `folder` links it; a browser follows such paths by their names."""
    return Path(os.path.relpath(path, folder))
