"""A run's page as Markdown, as most tests read it."""

from pathlib import Path
from typing import Any

from bench.reporting import rendering
from bench.reporting.report import TEMPLATE, view_of
from bench.results.analysis import Tables


def render_markdown(tables: Tables, **options: Any) -> str:
    """Return the page that is to lie in the working directory; options are those of `view_of`."""
    return rendering.markdown(TEMPLATE, view_of(tables, folder=Path(), **options))
