"""The formats that a run is exported to."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from bench.export.bencher import bencher
from bench.export.chrome_trace import chrome_trace, drawn
from bench.export.github_action_benchmark import github_action_benchmark
from bench.export.pyperf import pyperf
from bench.export.pytest_benchmark import pytest_benchmark
from bench.export.selection import Export
from vsr_model.errors import BadInput


class Format(StrEnum):
    """The values of `--format`."""

    PYTEST_BENCHMARK = "pytest-benchmark"
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    PYPERF = "pyperf"
    BENCHER = "bencher"
    CHROME_TRACE = "chrome-trace"


_DATA_OF: Final[Mapping[Format, Callable[[Export], object]]] = {
    Format.PYTEST_BENCHMARK: pytest_benchmark,
    Format.GITHUB_ACTION_BENCHMARK: github_action_benchmark,
    Format.PYPERF: pyperf,
    Format.BENCHER: bencher,
    Format.CHROME_TRACE: chrome_trace,
}


def export_text(export: Export, wanted: Format) -> str:
    """Return the file of a format: JSON in ASCII, so that a terminal shows any name and does no more.

    Raises BadInput where it would hold no figure, or no timed call.
    """
    is_trace = wanted is Format.CHROME_TRACE
    if not len(drawn(export) if is_trace else export.benchmarks):
        stages = list(export.samples["stage"].unique())
        timed = ", ".join(stages) or "nothing"
        asked = "" if export.stages >= {*stages} else f" of {', '.join(sorted(export.stages))}"
        raise BadInput(
            f"--format {wanted}: there is nothing{asked} to export; the cells that ended ok have times of "
            f"{timed}"
        )
    layout: dict[str, Any] = {"separators": (",", ":")} if is_trace else {"indent": 2}
    return json.dumps(_DATA_OF[wanted](export), allow_nan=False, **layout) + "\n"
