"""The figures of pytest-benchmark's `stats`, by its own definitions, which are not those of the tables.

Its median pools the samples of all rounds; its quartiles are those of method 3 of
https://en.wikipedia.org/wiki/Quartile#Computing_methods
"""

from collections.abc import Sequence
from statistics import mean, median, stdev


def pytest_statistics(values: Sequence[float]) -> dict[str, object]:
    """The figures of one or more samples above zero, in seconds, and the samples themselves."""
    ordered = sorted(values)
    first, third = _quartiles(ordered)
    between = third - first
    fence_low, fence_high = first - 1.5 * between, third + 1.5 * between
    beyond = sum(not fence_low <= value <= fence_high for value in values)
    centre = mean(values)
    scatter = stdev(values) if len(values) > 1 else 0.0
    far = sum(not centre - scatter <= value <= centre + scatter for value in values)
    total = sum(values)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": centre,
        "stddev": scatter,
        "rounds": len(values),
        "median": median(ordered),
        "iqr": between,
        "q1": first,
        "q3": third,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": next(value for value in ordered if value >= fence_low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= fence_high),
        "ops": len(values) / total,
        "total": total,
        "iterations": 1,
        "data": list(values),
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    quarter, odd = divmod(len(ordered), 4)
    if len(ordered) == 1:
        return ordered[0], ordered[0]
    if odd == 1:
        return (
            0.25 * ordered[quarter - 1] + 0.75 * ordered[quarter],
            0.75 * ordered[3 * quarter] + 0.25 * ordered[3 * quarter + 1],
        )
    if odd == 3:
        return (
            0.75 * ordered[quarter] + 0.25 * ordered[quarter + 1],
            0.25 * ordered[3 * quarter + 1] + 0.75 * ordered[3 * quarter + 2],
        )
    half = len(ordered) // 2
    return median(ordered[:half]), median(ordered[half:])
