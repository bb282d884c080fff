"""Pages from templates: the body of each is written once, and a format's macros make Markdown or HTML of it.

Every value is escaped for the format as it is put into a page: no text of a run's is ever markup. A page of
HTML needs nothing else: no network, no script, pictures inside, and a policy that forbids the rest.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.reporting.html_files import REPORT_STEM, Pages, relative
from bench.reporting.html_layout import Contents, as_html, data_address, layout
from bench.reporting.markdown import Column, escape, table, target
from bench.results.files import write_whole

SHORT: Final = 32
"""Characters of a table's cell that are not broken into lines: names of backends have hyphens."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that a page links or, if it is a picture, shows; `target` is relative to the page."""

    name: str
    target: str
    path: Path

    @classmethod
    def beside(cls, path: Path, folder: Path) -> "File":
        """Return the file as a page in `folder` links it."""
        return cls(name=path.name, target=target(relative(path, folder)), path=path)

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
                return data_address(path.read_bytes())
        return None


def markdown(template: str, view: object) -> str:
    """Return a page as Markdown, ending in a newline."""
    text = _render(_environment(escape), template, "markdown.j2", view, Contents())
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def html(template: str, view: object, *, title: str) -> str:
    """Return a page as HTML; the same view and pictures give the same page, byte for byte."""
    contents = Contents()
    body = _render(_environment(as_html), template, "html.j2", view, contents)
    return layout(body, contents.entries, title=title)


def write(folder: Path, template: str, view: object, *, title: str) -> Pages:
    """Write `report.md` and `report.html` into `folder`, each whole or not at all. Raises OSError."""
    pages = Pages(markdown=folder / f"{REPORT_STEM}.md", html=folder / f"{REPORT_STEM}.html")
    write_whole(pages.markdown, markdown(template, view))
    write_whole(pages.html, html(template, view, title=title))
    return pages


def _render(environment: Environment, template: str, macros: str, view: object, contents: Contents) -> str:
    return environment.get_template(template).render(view=view, macros=macros, contents=contents)


@cache
def _environment(escaped: Callable[[object], str]) -> Environment:
    made = Environment(
        loader=PackageLoader("bench.reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escaped(value)),
    )  # fmt: skip
    filters: dict[str, Callable[..., Any]] = {
        "in_one_line": _in_one_line,
        "markdown_table": _markdown_table,
        "kept": _kept,
        "rows": _rows,
    }
    made.filters.update(filters)
    return made


def _in_one_line(text: Markup) -> Markup:
    return Markup(" ".join(text.split()))


def _kept(columns: Sequence[Column]) -> list[Column]:
    """Return the columns in which anything stands."""
    return [column for column in columns if any(column.cells)]


def _markdown_table(columns: Sequence[Column]) -> Markup:
    return Markup(table([replace(one, title=escape(one.title), cells=[*map(escape, one.cells)])
                         for one in columns]))  # fmt: skip


def _rows(columns: Sequence[Column]) -> Iterator[list[tuple[str, str]]]:
    """Yield each row as cells with their classes: numeric, short, or none."""
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield [
            (cell, "n" if column.numeric else "s" if len(cell) <= SHORT else "")
            for cell, column in zip(cells, columns, strict=True)
        ]
