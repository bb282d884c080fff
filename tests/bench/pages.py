"""A run's page as Markdown, and its parts, as most tests read it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.reporting import rendering
from bench.reporting.page import TEMPLATE, View
from bench.reporting.runs import ReportedRun, Runs, together
from bench.results.tables import Tables
from tests.bench.synthetic import BASELINE

TABLES = Path(__file__).parents[2] / "docs" / "tables.md"
"""The page that explains every column."""


def documented_columns(table: str) -> list[str]:
    """Return the columns that docs/tables.md lists of a table, in its order."""
    listed = TABLES.read_text(encoding="utf-8").partition(f"\n### {table}.csv\n")[2].partition("\n#")[0]
    first = re.findall(r"^\| (`.+?`) \|", listed, flags=re.MULTILINE)
    return [name for cell in first for name in re.findall("`([^`]+)`", cell)]


def one_run(tables: Tables, **options: Any) -> Runs:
    """Return the run of a page; options are fields of ReportedRun."""
    given: dict[str, Any] = {"name": "run", "experiment": "a run", "baseline": BASELINE, "environment": {}}
    return together([ReportedRun(tables=tables, **given | options)])


def render_markdown(tables: Tables, plots: Sequence[Path] = (), **options: Any) -> str:
    """Return the page of a run that is to lie in the working directory, with options of `one_run`."""
    return rendering.markdown(TEMPLATE, View(cells=one_run(tables, **options), folder=Path(), plots=plots))


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n")[1].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table, its header first; fail where a row has another number of them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cut = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cut}) == 1
    return [cut[0], *cut[2:]]
