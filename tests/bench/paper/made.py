"""Sources made up for tests: records of which only what a test is about need be said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.grid.baseline import Baseline
from bench.grid.spans import FORWARD
from bench.paper.experiments import Edition, Method
from bench.paper.metrics import STAGES
from bench.paper.sources import Role, Run, Source
from bench.records import CellRecord, MemoryLine, MemoryPoint, Pass, Phase, Sample, Status
from bench.results.tables import tables_of

NO_GPU = "no CUDA device: torch finds no driver or no GPU"
CPU, CUDNN, TUNED = Role.CPU, Role.CUDNN, Role.CUDNN_AUTOTUNE


def repeated(seconds: float, spread: float = 0.005) -> list[float]:
    """Nine calls about the value, whose median is it."""
    return [seconds * (1 + spread * (i - 4) / 4) for i in range(9)]


def record(role: Role, experiment: str, *, frames: int = 30, **fields: Any) -> CellRecord:
    made = CellRecord(
        cell=f"basicvsr/{experiment}/b1/t{frames}/64x64/{role}", round=0, model="basicvsr",
        input=experiment, batch=1, frames=frames, height=64, width=64, backend=str(role), dtype="float32",
        fp32_precision="ieee", memory_format="contiguous", status=Status.OK,
    )  # fmt: skip
    return made.model_copy(update=fields)


def skipped(role: Role, experiment: str) -> CellRecord:
    return record(role, experiment, status=Status.SKIPPED, reason=NO_GPU)


def samples(stage: str, seconds: Sequence[float], pass_: Pass = Pass.END_TO_END) -> list[Sample]:
    return [
        Sample(pass_=pass_, phase=Phase.STEADY, repetition=i, stage=stage, start_s=1.0 + i, wall_s=value)
        for i, value in enumerate(seconds)
    ]


def calls(
    role: Role, experiment: str, *rounds: Sequence[float], frames: int = 30, cold: float | None = None
) -> list[CellRecord]:
    """A cell's rounds from their steady calls; `cold` is a first call that stands apart from them."""
    first = samples(FORWARD, [] if cold is None else [cold])
    first = [sample.model_copy(update={"phase": Phase.COLD, "start_s": 0.0}) for sample in first]
    return [
        record(
            role, experiment, frames=frames, round=number, first_forward_s=cold or seconds[0],
            samples=(*first, *samples(FORWARD, seconds)),
        )
        for number, seconds in enumerate(rounds)
    ]  # fmt: skip


def staged(role: Role, *medians: float) -> list[CellRecord]:
    """Nine calls of alignment, propagation, aggregation and upsampling, of these medians."""
    of_each = [
        samples(stage, repeated(median), Pass.STAGE_SYNC)
        for stage, median in zip(STAGES, medians, strict=True)
    ]
    return [record(role, "stages", samples=tuple(one for some in of_each for one in some), stages=STAGES)]


def named(experiment: str, role: Role, **seconds: float) -> dict[str, Run]:
    """Return a run of backends by their names, each of nine calls about its seconds."""
    records = [
        one.model_copy(update={"backend": name, "cell": f"basicvsr/{experiment}/b1/t30/64x64/{name}"})
        for name, value in seconds.items()
        for one in calls(role, experiment, repeated(value))
    ]
    made = run(records)
    return {experiment: replace(made, roles=dict.fromkeys(seconds, role))}


def memory(
    role: Role, host_mib: Sequence[float], *, lines: Mapping[str, int] = {}, **fields: Any
) -> list[CellRecord]:
    size = [round(mib * 2**20) for mib in host_mib]
    return [
        record(
            role, "memory", frames=10, host_before_bytes=size[0], peak_host_bytes=max(size),
            memory=tuple(MemoryPoint(elapsed_s=0.1 * i, host_bytes=one) for i, one in enumerate(size)),
            memory_lines=tuple(
                MemoryLine(line=i, source=source, occurrences=1, increment_bytes=grown, host_bytes=grown)
                for i, (source, grown) in enumerate(lines.items())
            ),
            **fields,
        )
    ]  # fmt: skip


def run(records: Sequence[CellRecord], method: Method | None = None) -> Run:
    roles = {str(role): role for role in Role}
    return Run(tables=tables_of(records, Baseline(backend="cpu")), roles=roles, method=method)


def source(
    *records: Sequence[CellRecord], name: str = Edition.CORRECTED, method: Method | None = None
) -> Source:
    """A source with a run for each input of the records."""
    by_experiment: dict[str, list[CellRecord]] = {}
    for one in (one for some in records for one in some):
        by_experiment.setdefault(one.input, []).append(one)
    runs = {experiment: run(some, method) for experiment, some in by_experiment.items()}
    return Source(name=name, machine="a machine", runs=runs)
