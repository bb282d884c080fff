"""A run's page as Markdown, and its parts, as most tests read it."""

import re
from pathlib import Path
from typing import Any

from bench.reporting import rendering
from bench.reporting.report import TEMPLATE, view_of
from bench.results.tables import Tables
from tests.bench.synthetic import BASELINE

TABLES = Path(__file__).parents[2] / "docs" / "tables.md"
"""The page that explains every column."""


def documented_columns(table: str) -> list[str]:
    """Return the columns that docs/tables.md lists of a table, in its order."""
    listed = TABLES.read_text(encoding="utf-8").partition(f"\n### {table}.csv\n")[2].partition("\n#")[0]
    first = re.findall(r"^\| (`.+?`) \|", listed, flags=re.MULTILINE)
    return [name for cell in first for name in re.findall("`([^`]+)`", cell)]


def render_markdown(tables: Tables, **options: Any) -> str:
    """Return the page that is to lie in the working directory; options are those of `view_of`."""
    given: dict[str, Any] = {
        "title": "a run",
        "baseline": BASELINE,
        "environment": {},
        "plots": (),
        **options,
    }
    return rendering.markdown(TEMPLATE, view_of(tables, folder=Path(), **given))


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n")[1].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table, its header first; fail where a row has another number of them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cut = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cut}) == 1
    return [cut[0], *cut[2:]]
