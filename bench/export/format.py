"""The names of the formats that a run is exported to; what makes them is in bench.export.formats."""

from enum import StrEnum


class Format(StrEnum):
    """What `--format` may be."""

    PYTEST_BENCHMARK = "pytest-benchmark"
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    PYPERF = "pyperf"
    BENCHER = "bencher"
    CHROME_TRACE = "chrome-trace"
