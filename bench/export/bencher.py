"""Bencher Metric Format, version 0: https://bencher.dev/docs/reference/bencher-metric-format/

Bencher's own measures have fixed units: `latency` nanoseconds, `throughput` operations per second.
"""

from collections.abc import Callable
from typing import Final

from bench.export.selection import Export
from bench.results.tables import Row

NS_PER_S: Final = 1e9

Metric = dict[str, float]


def bencher(export: Export) -> dict[str, dict[str, Metric]]:
    """Return a benchmark per (cell, stage): its median as `latency`, and frames per second as `throughput`.

    An operation is one frame that was upscaled; stages and transfers have no throughput.
    """
    return {one.name: _measures(one.row) for one in export.benchmarks}


def _measures(row: Row) -> dict[str, Metric]:
    measures = {"latency": _metric(row, "low_s", "high_s", lambda seconds: seconds * NS_PER_S)}
    if row["frames_per_s"] is not None:
        frames = row["batch"] * row["frames"]
        # The longest time is the lowest rate.
        measures["throughput"] = _metric(row, "high_s", "low_s", lambda seconds: frames / seconds)
    return measures


def _metric(row: Row, lower: str, upper: str, scaled: Callable[[float], float]) -> Metric:
    """Return the figure, and its interval's ends where there are any; each from its time."""
    names = {"value": "median_s", "lower_value": lower, "upper_value": upper}
    return {name: scaled(row[time]) for name, time in names.items() if row[time]}
