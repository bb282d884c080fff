"""What `pytest --benchmark-json` writes: https://pytest-benchmark.readthedocs.io/en/latest/usage.html"""

from statistics import median
from typing import Final

from bench.export.described import count_at, text_at, to_json, without_wild_numbers
from bench.export.pytest_statistics import pytest_statistics
from bench.export.selection import Benchmark, Export
from bench.grid.baseline import Baseline
from bench.results.identity import lasting

FORMAT_VERSION: Final = "5.3.1"
"""Of the pytest-benchmark whose files these are like; it reads those of earlier ones, too."""


def pytest_benchmark(export: Export) -> str:
    """A benchmark per (cell, stage); a cell's backends are in one group, so that they stand side by side.

    What pytest-benchmark calls a round is a sample here. Its figures pool the samples of all rounds; those
    of summary.csv, which take each round as one, are in `extra_info`.
    """
    return to_json(
        {
            "machine_info": _machine_info(export),
            "commit_info": _commit_info(export),
            "benchmarks": [_benchmark(one, export.baseline) for one in export.benchmarks],
            "datetime": export.started_at,
            "version": FORMAT_VERSION,
        }
    )


def _machine_info(export: Export) -> dict[str, object]:
    """The fields that pytest-benchmark has, as far as they are known, and what of environment.json stays
    the same: it warns where two runs' machines differ."""
    environment = export.environment
    return {
        "node": text_at(environment, "host_name"),
        "processor": None,
        "machine": text_at(environment, "machine"),
        "python_compiler": None,
        "python_implementation": None,
        "python_implementation_version": None,
        "python_version": text_at(environment, "python"),
        "python_build": None,
        "release": text_at(environment, "kernel"),
        "system": text_at(environment, "os"),
        "cpu": {
            "brand_raw": text_at(environment, "cpu"),
            "count": count_at(environment, "cpu_logical_cores"),
        },
        "environment": without_wild_numbers(lasting(environment)),
    }


def _commit_info(export: Export) -> dict[str, object]:
    """Of the program that measured; times and branch are not recorded."""
    code = export.code
    return {
        "id": (code.git_commit if code else None) or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": bool(code and code.dirty),
        "project": "vsr-bench",
        "branch": "(unknown)",
    }


def _benchmark(benchmark: Benchmark, baseline: Baseline) -> dict[str, object]:
    cell = benchmark.cell
    return {
        "group": benchmark.group,
        "name": benchmark.name,
        "fullname": benchmark.name,
        "params": {
            "model": cell.model,
            "input": cell.input,
            "batch": cell.batch,
            "frames": cell.frames,
            "height": cell.height,
            "width": cell.width,
            "backend": cell.backend,
            "stage": benchmark.stage,
        },
        "param": benchmark.name,
        "extra_info": {
            "cell": cell.cell,
            "pass": benchmark.pass_,
            "clock": benchmark.clock,
            "n_rounds": len(benchmark.rounds),
            "round_medians_s": [median(one.steady_s) for one in benchmark.rounds],
            "median_s": benchmark.median_s,
            "low_s": benchmark.low_s,
            "high_s": benchmark.high_s,
            "interval": benchmark.interval,
            "frames_per_s": benchmark.frames_per_s,
            "speedup": benchmark.speedup,
            "baseline": str(baseline),
        },
        "options": {
            "disable_gc": True,
            "timer": "CUDA events" if benchmark.clock == "device" else "perf_counter",
            "warmup": any(one.before_s for one in benchmark.rounds),
        },
        "stats": pytest_statistics(benchmark.pooled_s),
    }
