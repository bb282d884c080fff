"""The frame of every page of HTML: its head with style and policy, and its table of contents."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from vsr_model.one_line import visible

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: the style that it brings and the pictures that it brings."""

LEAST_HEADINGS: Final = 3
"""Fewer need no table of contents."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"

DEEPEST: Final = 3
"""Level of headings in the table of contents."""

Heading = tuple[int, str, str]
"""Level, id and text."""


@dataclass(kw_only=True)
class Contents:
    """The headings of a page, each with an id of its own: those that repository sites give them."""

    entries: list[Heading] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(self, level: int, text: str) -> str:
        """Note a heading; return its id."""
        stem = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") or "section"
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name)
        if level > 1:
            self.entries.append((level, name, text))
        return name


def data_address(picture: bytes) -> str:
    kind = "png" if picture.startswith(_PNG) else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def as_html(value: object) -> str:
    """Return text that renders as it is, in one line."""
    return escape(visible(" ".join(str(value).split())))


def layout(body: str, contents: Sequence[Heading], *, title: str) -> str:
    """Return the whole page around a body of HTML, its table of contents behind the first heading."""
    head, end, rest = body.partition("</h1>\n") if "</h1>\n" in body else ("", "", body)
    listed = [(level, name, as_html(text)) for level, name, text in contents if level <= DEEPEST]
    return _layout().render(
        title=as_html(title), policy=POLICY, style=_style(), contents=listed,
        has_contents=len(listed) >= LEAST_HEADINGS, head=head + end, body=rest,
    )  # fmt: skip


@cache
def _layout() -> Template:
    environment = Environment(
        loader=PackageLoader("bench.reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=Markup,
    )  # fmt: skip
    return environment.get_template("page.html.j2")


@cache
def _style() -> str:
    return resources.files("bench.reporting").joinpath("templates", "page.css").read_text(encoding="utf-8")
