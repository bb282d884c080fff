"""Markdown from plain text: escaped, and tables that also read well as they are."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vsr_model.one_line import visible

_SPECIAL = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""Characters that Markdown would read as markup. An underscore inside a word is none, and stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column, of plain text."""

    title: str
    cells: Sequence[str]
    numeric: bool = False  # set right, so that digits stand below digits


def escape(text: object) -> str:
    """Return text that renders as it is, in one line, in a paragraph as in a table cell."""
    line = visible(" ".join(str(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _SPECIAL.sub(r"\\\1", line)
    line = re.sub(r"(?<= )#+$", r"\\\g<0>", line)  # at a heading's end these would be its closing
    # At the start of a line or a list item these would open a heading or another list.
    return re.sub(r"^([#+-](?=[\s#-]|$)|\d+(?=[.)](?:\s|$)))", _opened, line)


def _opened(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def filled(columns: Sequence[Column]) -> list[Column]:
    """Return the columns in which anything stands."""
    return [column for column in columns if any(column.cells)]


def table(columns: Sequence[Column]) -> str:
    """Return a table of Markdown, padded for terminals; columns in which nothing stands are left out."""
    kept = filled(columns)
    lines = []
    for column in kept:
        cells = [escape(cell) for cell in (column.title, *column.cells)]
        width = max(3, *map(len, cells))
        shown = [cell.rjust(width) if column.numeric else cell.ljust(width) for cell in cells]
        rule = "-" * (width - 1) + ":" if column.numeric else "-" * width
        lines.append([shown[0], rule, *shown[1:]])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*lines, strict=True))


def target(path: Path) -> str:
    """Return a path relative to the page as a link's target."""
    return quote(os.fsencode(path.as_posix()))
