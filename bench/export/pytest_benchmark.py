"""The file of `pytest --benchmark-json`: https://pytest-benchmark.readthedocs.io/en/latest/usage.html"""

import json
from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import Final

from bench.export.selection import Benchmark, Export
from bench.grid.baseline import Baseline
from bench.results.identity import lasting

FORMAT_VERSION: Final = "5.3.1"
"""Of the pytest-benchmark whose files these are like; it reads those of earlier ones, too."""


def pytest_benchmark(export: Export) -> dict[str, object]:
    """Return a benchmark per (cell, stage); a cell's backends are in one group, so that they stand side by
    side.

    A sample here is a round to pytest-benchmark. Its figures pool the samples of all rounds; those of
    summary.csv, which take each round as one, are in `extra_info`.
    """
    return {
        "machine_info": _machine_info(export),
        "commit_info": _commit_info(export),
        "benchmarks": [_benchmark(one, export.folder.baseline) for one in export.benchmarks],
        "datetime": export.folder.started_at,
        "version": FORMAT_VERSION,
    }


def _machine_info(export: Export) -> dict[str, object]:
    """Return the fields that pytest-benchmark has, as far as they are known, and the lasting part of
    environment.json: it warns where two runs' machines differ."""
    environment = json.dumps(lasting(export.folder.environment))
    return {
        "node": export.text("host_name"),
        "processor": None,
        "machine": export.text("machine"),
        "python_compiler": None,
        "python_implementation": None,
        "python_implementation_version": None,
        "python_version": export.text("python"),
        "python_build": None,
        "release": export.text("kernel"),
        "system": export.text("os"),
        "cpu": {"brand_raw": export.text("cpu"), "count": export.count("cpu_logical_cores")},
        # JSON proper has no infinite numbers.
        "environment": json.loads(environment, parse_constant=lambda _: None),
    }


def _commit_info(export: Export) -> dict[str, object]:
    """Return what is known of the program that measured; times and branch are not recorded."""
    code = export.folder.code
    return {
        "id": (code.git_commit if code else None) or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": bool(code and code.dirty),
        "project": "vsr-bench",
        "branch": "(unknown)",
    }


def _benchmark(benchmark: Benchmark, baseline: Baseline) -> dict[str, object]:
    row = benchmark.row
    axes = ("model", "input", "batch", "frames", "height", "width", "backend", "stage")
    figures = ("median_s", "low_s", "high_s", "interval", "frames_per_s", "speedup")
    return {
        "group": benchmark.group,
        "name": benchmark.name,
        "fullname": benchmark.name,
        "params": {name: row[name] for name in axes},
        "param": benchmark.name,
        "extra_info": {
            **{name: row[name] for name in ("cell", "pass", "clock", "n_rounds")},
            "round_medians_s": [median(one.steady_s) for one in benchmark.rounds],
            **{name: row[name] for name in figures},
            "baseline": str(baseline),
        },
        "options": {
            "disable_gc": True,
            "timer": "CUDA events" if row["clock"] == "device" else "perf_counter",
            "warmup": any(one.before_s for one in benchmark.rounds),
        },
        "stats": pytest_statistics(benchmark.pooled_s),
    }


def pytest_statistics(values: Sequence[float]) -> dict[str, object]:
    """Return the figures of pytest-benchmark's `stats`, by its own definitions, from samples above zero.

    Those are not the definitions of the tables: quartiles are of method 3 of
    https://en.wikipedia.org/wiki/Quartile#Computing_methods
    """
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
