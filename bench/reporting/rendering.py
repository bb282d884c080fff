"""Pages from templates: the body of each is written once, and a format's macros make Markdown or HTML of it.

Every value is escaped for the format as it is put into a page: no text of a run's is ever markup. A page of
HTML needs nothing else: no network, no script, pictures inside, and a policy that forbids the rest.
"""

import base64
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape as escape_html
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.reporting.markdown import Column, escape, filled, table, target
from bench.results.files import write_whole
from bench.units import with_unit
from vsr_model.one_line import visible

REPORT_STEM: Final = "report"

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: the style that it brings and the pictures that it brings."""

LEAST_HEADINGS: Final = 3
"""Fewer need no table of contents."""

DEEPEST: Final = 3
"""Level of headings in the table of contents."""

SHORT: Final = 32
"""Characters of a table's cell that are not broken into lines: names of backends have hyphens."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The two files of a page: Markdown for a terminal or a repository, HTML for a browser."""

    markdown: Path
    html: Path


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that a page links or, if it is a picture, shows; `target` is relative to the page."""

    name: str
    target: str
    path: Path

    @classmethod
    def beside(cls, path: Path, folder: Path, name: str | None = None) -> "File":
        """Return the file as a page in `folder` links it; a browser follows such paths by their names."""
        return cls(name=name or path.name, target=target(Path(os.path.relpath(path, folder))), path=path)

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def kind(self) -> str:
        """Return what a picture shows: its name before the first hyphen."""
        return self.stem.partition("-")[0]

    def data(self) -> str | None:
        """Return the picture as an address that holds it, as SVG where there is one; None without a file."""
        for path in (self.path.with_suffix(".svg"), self.path):
            if path.is_file():
                picture = path.read_bytes()
                kind = "png" if picture.startswith(_PNG) else "svg+xml"
                return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
        return None


@dataclass(kw_only=True)
class Contents:
    """The headings of a page below its title, each with an id: those that repository sites give them."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)  # level, id and text
    _taken: set[str] = field(default_factory=set)

    def add(self, level: int, text: str) -> str:
        """Note a heading; return its id."""
        stem = slug(text)
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name)
        if 1 < level <= DEEPEST:
            self.entries.append((level, name, text))
        return name


def slug(heading: str) -> str:
    """Return the id of the first heading with this text."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") or "section"


def markdown(template: str, view: object) -> str:
    """Return a page as Markdown, ending in a newline."""
    text = _environment(escape).get_template(template).render(view=view, macros="markdown.j2")
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def html(template: str, view: object, *, title: str) -> str:
    """Return a page as HTML; the same view and pictures give the same page, byte for byte."""
    contents, environment = Contents(), _environment(_as_html)
    body = environment.get_template(template).render(view=view, macros="html.j2", contents=contents)
    head, end, rest = body.rpartition("</h1>\n")  # the table of contents stands behind the title
    return environment.get_template("page.html.j2").render(
        title=title, policy=Markup(POLICY), head=Markup(head + end), body=Markup(rest),
        contents=contents.entries if len(contents.entries) >= LEAST_HEADINGS else [],
    )  # fmt: skip


def write(folder: Path, template: str, view: object, *, title: str) -> Pages:
    """Write `report.md` and `report.html` into `folder`, each whole or not at all. Raises OSError."""
    pages = Pages(markdown=folder / f"{REPORT_STEM}.md", html=folder / f"{REPORT_STEM}.html")
    write_whole(pages.markdown, markdown(template, view))
    write_whole(pages.html, html(template, view, title=title))
    return pages


def _as_html(value: object) -> str:
    """Return text that renders as it is, in one line."""
    return escape_html(visible(" ".join(str(value).split())))


@cache
def _environment(escaped: Callable[[object], str]) -> Environment:
    # A room's own page is named by its place in the package: `paper/page.j2`.
    made = Environment(
        loader=ChoiceLoader([PackageLoader("bench.reporting"), PackageLoader("bench", "")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escaped(value)),
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "in_one_line": lambda text: Markup(" ".join(text.split())),
        "markdown_table": lambda columns: Markup(table(columns)),
        "filled": filled,
        "slug": slug,
        "rows": _rows,
        "with_unit": with_unit,
        "percent": lambda share: f"{100 * share:.1f} %",
    }
    made.filters.update(filters)
    return made


def _rows(columns: Sequence[Column]) -> Iterator[list[tuple[str, str]]]:
    """Yield each row as cells with their classes: numeric, short, or none."""
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield [
            (cell, "n" if column.numeric else "s" if len(cell) <= SHORT else "")
            for cell, column in zip(cells, columns, strict=True)
        ]
