"""pyperf's JSON, format version 1.0: https://pyperf.readthedocs.io/en/latest/api.html

Written by hand, so that pyperf need not be installed. A round, which is a process of its own, is a `run`.
"""

from typing import Any, Final

from bench.export.selection import Benchmark, Export, Round
from bench.results.tables import moment

FORMAT_VERSION: Final = "1.0"


def pyperf(export: Export) -> dict[str, object]:
    """Return a suite with a benchmark per (cell, stage); its runs are the rounds, with every steady sample.

    The calls before the steady ones are warm-ups, the cold one too. Only a call's own pass has them.
    """
    return {
        "version": FORMAT_VERSION,
        "metadata": _of_all(export),
        "benchmarks": [_benchmark(one) for one in export.benchmarks],
    }


def _of_all(export: Export) -> dict[str, object]:
    """Return metadata that every run shares. pyperf takes no empty text, and no line end in one."""
    system = [export.text(name) for name in ("os", "kernel", "machine")]
    code = export.folder.code
    known: dict[str, object] = {
        "cpu_count": export.count("cpu_logical_cores"),
        "cpu_model_name": export.text("cpu"),
        "hostname": export.text("host_name"),
        "platform": " ".join(part for part in system if part),
        "python_version": export.text("python"),
        "torch_version": export.text("torch", "torch"),
        "gpu": export.gpus,
        "vsr_bench_version": code.version if code else None,
        "vsr_bench_commit": code.git_commit if code else None,
        "unit": "second",
    }
    return {name: value for name, value in known.items() if value}


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    row = benchmark.row
    return {
        "metadata": {
            "name": benchmark.name,
            # A geometric mean over all benchmarks would mix a call with its own stages: pyperf makes one
            # for each tag.
            "tags": [row["stage"]],
            **{name: row[name] for name in ("model", "input", "batch", "frames")},
            "size": f"{row['height']}x{row['width']}",
            **{name: row[name] for name in ("backend", "stage", "pass", "clock")},
        },
        "runs": [_run(one) for one in benchmark.rounds],
    }


def _run(one: Round) -> dict[str, Any]:
    metadata: dict[str, object] = {"round": one.cell["round"]}
    if began := moment(one.cell["started_at"]):
        metadata["date"] = began.replace(tzinfo=None).isoformat(sep=" ")  # pyperf's have no zone: here UTC
    for name in ("peak_host_bytes", "peak_device_bytes"):
        if one.cell[name] is not None:
            metadata[name] = one.cell[name]
    run: dict[str, Any] = {"metadata": metadata, "values": one.steady_s}
    if one.before_s:
        run["warmups"] = [(1, value) for value in one.before_s]  # (loops, seconds per loop)
    return run
