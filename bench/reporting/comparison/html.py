"""Comparisons as one HTML page: the Markdown page, its sections open and under headings."""

from collections.abc import Sequence

from bench.comparison.comparison import Comparison
from bench.comparison.policy import Failing
from bench.reporting.comparison.page import render_open
from bench.reporting.html import render_html


def render_page(comparisons: Sequence[Comparison], failing: Sequence[Failing], *, look: str = "") -> str:
    """The whole page, as bench.reporting.html makes them: no script, no network, no markup of a run's."""
    names = ", ".join(f"{comparison.base.name} → {comparison.new.name}" for comparison in comparisons)
    return render_html(render_open(comparisons, failing, look=look), title=f"Comparison: {names}", images={})
