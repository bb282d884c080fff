"""pyperf's JSON, format version 1.0: https://pyperf.readthedocs.io/en/latest/api.html

Written by hand, so that pyperf need not be installed. A round, which is a process of its own, is a `run`.
"""

from typing import Any, Final

from bench.export.described import count_at, gpu_names, moment, text_at, to_json
from bench.export.selection import Benchmark, Export, Round

FORMAT_VERSION: Final = "1.0"


def pyperf(export: Export) -> str:
    """A suite with a benchmark per (cell, stage); its runs are the rounds, with every steady sample.

    The calls before the steady ones are warm-ups, the cold one too. Only a call's own pass has them.
    """
    return to_json(
        {
            "version": FORMAT_VERSION,
            "metadata": _of_all(export),
            "benchmarks": [_benchmark(one) for one in export.benchmarks],
        }
    )


def _of_all(export: Export) -> dict[str, object]:
    """Metadata that every run shares. pyperf takes no empty text, and no line end in one."""
    environment = export.environment
    system = [text_at(environment, name) for name in ("os", "kernel", "machine")]
    known: dict[str, object] = {
        "cpu_count": count_at(environment, "cpu_logical_cores"),
        "cpu_model_name": text_at(environment, "cpu"),
        "hostname": text_at(environment, "host_name"),
        "platform": " ".join(part for part in system if part),
        "python_version": text_at(environment, "python"),
        "torch_version": text_at(environment, "torch", "torch"),
        "gpu": gpu_names(environment),
        "vsr_bench_version": export.code.version if export.code else None,
        "vsr_bench_commit": export.code.git_commit if export.code else None,
        "unit": "second",
    }
    return {name: value for name, value in known.items() if value}


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    cell = benchmark.cell
    return {
        "metadata": {
            "name": benchmark.name,
            # A geometric mean over all benchmarks would mix a call with its own stages: pyperf makes one
            # for each tag.
            "tags": [benchmark.stage],
            "model": cell.model,
            "input": cell.input,
            "batch": cell.batch,
            "frames": cell.frames,
            "size": f"{cell.height}x{cell.width}",
            "backend": cell.backend,
            "stage": benchmark.stage,
            "pass": str(benchmark.pass_),
            "clock": benchmark.clock,
        },
        "runs": [_run(one) for one in benchmark.rounds],
    }


def _run(one: Round) -> dict[str, Any]:
    metadata: dict[str, object] = {"round": one.record.round}
    if began := moment(one.record.started_at):
        metadata["date"] = began.replace(tzinfo=None).isoformat(sep=" ")  # pyperf's have no zone: here UTC
    if one.record.peak_host_bytes is not None:
        metadata["peak_host_bytes"] = one.record.peak_host_bytes
    if one.record.peak_device_bytes is not None:
        metadata["peak_device_bytes"] = one.record.peak_device_bytes
    run: dict[str, Any] = {"metadata": metadata, "values": one.steady_s}
    if one.before_s:
        run["warmups"] = [(1, value) for value in one.before_s]  # (loops, seconds per loop)
    return run
