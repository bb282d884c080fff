"""A run in each of the formats."""

from collections.abc import Callable, Mapping
from typing import Final

from bench.export.bencher import bencher
from bench.export.chrome_trace import chrome_trace, drawn
from bench.export.format import Format
from bench.export.github_action_benchmark import github_action_benchmark
from bench.export.pyperf import pyperf
from bench.export.pytest_benchmark import pytest_benchmark
from bench.export.selection import Export
from vsr_model.errors import BadInput

_TEXT_OF: Final[Mapping[Format, Callable[[Export], str]]] = {
    Format.PYTEST_BENCHMARK: pytest_benchmark,
    Format.GITHUB_ACTION_BENCHMARK: github_action_benchmark,
    Format.PYPERF: pyperf,
    Format.BENCHER: bencher,
    Format.CHROME_TRACE: chrome_trace,
}


def export_text(export: Export, wanted: Format) -> str:
    """The file of that format. Raises BadInput where it would hold no figure, or no timed call."""
    samples = [sample for record in export.records for sample in record.samples]
    held = drawn(samples, export.stages) if wanted is Format.CHROME_TRACE else export.benchmarks
    if not held:
        timed_stages = list(dict.fromkeys(sample.stage for sample in samples))
        timed = ", ".join(timed_stages) or "nothing"
        asked = "" if export.stages >= {*timed_stages} else f" of {', '.join(sorted(export.stages))}"
        raise BadInput(
            f"--format {wanted}: there is nothing{asked} to export; the cells that ended ok have times of "
            f"{timed}"
        )
    return _TEXT_OF[wanted](export)
