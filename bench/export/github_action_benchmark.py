"""The tool `customSmallerIsBetter` of https://github.com/benchmark-action/github-action-benchmark

Each entry has `name`, `unit` and `value`; `range` and `extra` are shown beside it (src/extract.ts there).
"""

from bench.export.selection import Benchmark, Export


def github_action_benchmark(export: Export) -> list[dict[str, str | float]]:
    """Return an entry per (cell, stage): its median in seconds, the wider half of its interval as range."""
    return [_entry(one) for one in export.benchmarks]


def _entry(benchmark: Benchmark) -> dict[str, str | float]:
    row = benchmark.row
    entry: dict[str, str | float] = {"name": benchmark.name, "unit": "s", "value": row["median_s"]}
    median, low, high = row["median_s"], row["low_s"], row["high_s"]
    extra = [
        f"samples {len(benchmark.pooled_s)}, rounds {len(benchmark.rounds)}",
        f"pass {row['pass']}, clock {row['clock']}",
    ]
    if low is not None and high is not None:
        entry["range"] = f"± {max(median - low, high - median):.3g}"
        extra.append(f"95 % interval {low:.6g} to {high:.6g} s ({row['interval']})")
    if row["frames_per_s"] is not None:
        extra.append(f"{row['frames_per_s']:.4g} frames/s")
    return {**entry, "extra": "\n".join(extra)}
