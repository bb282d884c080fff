"""Bencher Metric Format, version 0: https://bencher.dev/docs/reference/bencher-metric-format/

Bencher's own measures have fixed units: `latency` nanoseconds, `throughput` operations per second.
"""

from collections.abc import Callable
from typing import Final

from bench.export.described import to_json
from bench.export.selection import Benchmark, Export

NS_PER_S: Final = 1e9

Metric = dict[str, float]


def bencher(export: Export) -> str:
    """A benchmark per (cell, stage): its median as `latency`, and frames per second as `throughput`.

    An operation is one frame that was upscaled; stages and transfers have no throughput.
    """
    return to_json({one.name: _measures(one) for one in export.benchmarks})


def _measures(benchmark: Benchmark) -> dict[str, Metric]:
    low, high = benchmark.low_s, benchmark.high_s
    measures = {"latency": _metric(benchmark.median_s, low, high, lambda seconds: seconds * NS_PER_S)}
    if benchmark.frames_per_s is not None:
        frames = benchmark.cell.batch * benchmark.cell.frames
        # The longest time is the lowest rate.
        measures["throughput"] = _metric(benchmark.median_s, high, low, lambda seconds: frames / seconds)
    return measures


def _metric(
    median_s: float, lower_s: float | None, upper_s: float | None, scaled: Callable[[float], float]
) -> Metric:
    """The figure, and its interval's ends where there are any; each from the time that it comes from."""
    metric = {"value": scaled(median_s)}
    if lower_s:
        metric["lower_value"] = scaled(lower_s)
    if upper_s:
        metric["upper_value"] = scaled(upper_s)
    return metric
