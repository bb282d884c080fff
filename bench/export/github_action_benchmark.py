"""The tool `customSmallerIsBetter` of https://github.com/benchmark-action/github-action-benchmark

Each entry has `name`, `unit` and `value`; `range` and `extra` are shown beside it (src/extract.ts there).
"""

from bench.export.described import to_json
from bench.export.selection import Benchmark, Export


def github_action_benchmark(export: Export) -> str:
    """An entry per (cell, stage): its median in seconds, the wider half of its interval as the range."""
    return to_json([_entry(one) for one in export.benchmarks])


def _entry(benchmark: Benchmark) -> dict[str, str | float]:
    entry: dict[str, str | float] = {"name": benchmark.name, "unit": "s", "value": benchmark.median_s}
    low, high = benchmark.low_s, benchmark.high_s
    said = [
        f"samples {len(benchmark.pooled_s)}, rounds {len(benchmark.rounds)}",
        f"pass {benchmark.pass_}, clock {benchmark.clock}",
    ]
    if low is not None and high is not None:
        entry["range"] = f"± {max(benchmark.median_s - low, high - benchmark.median_s):.3g}"
        said.append(f"95 % interval {low:.6g} to {high:.6g} s ({benchmark.interval})")
    if benchmark.frames_per_s is not None:
        said.append(f"{benchmark.frames_per_s:.4g} frames/s")
    return {**entry, "extra": "\n".join(said)}
