"""Made-up runs for tests: deterministic CellRecords with the shapes of real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.grid.baseline import Baseline
from bench.grid.costs import StageCost
from bench.records import (
    CellRecord,
    MemoryPoint,
    OutputCheck,
    Pass,
    Phase,
    Sample,
    StageMemory,
    Status,
)

MIB: Final = 1024 * 1024

BASELINE: Final = Baseline(backend="cpu")


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network as the tests know it: its stages, each with its share of the time; `other` is the last."""

    name: str
    shares: Mapping[str, float]
    weight: float = 1.0  # of its time against BasicVSR's

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.shares)[:-1]


BASICVSR: Final = Net(
    name="basicvsr",
    shares={
        "alignment": 0.42, "propagation": 0.44, "aggregation": 0.012, "upsampling": 0.12, "other": 0.008,
    },
)  # fmt: skip
MINE: Final = Net(
    name="mine", shares={"alignment": 0.25, "attention": 0.5, "tail": 0.125, "other": 0.125}, weight=0.5
)
"""A network that shares one stage with BasicVSR, and has two of its own."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A backend as the tests know it: its speed is given, not measured."""

    name: str
    per_frame_s: float
    cold_s: float = 0.2  # what the first call costs on top
    cuda: bool = False
    skipped: str = ""  # why this machine lacks it
    psnr_db: float | None = 110.0


CPU: Final = Machine(name="cpu", per_frame_s=0.024, psnr_db=None)
CPU_1: Final = Machine(name="cpu-1-thread", per_frame_s=0.041)
NO_CUDA: Final = tuple(
    Machine(
        name=name, per_frame_s=0.0, skipped="no CUDA device on this machine (torch was built without CUDA)"
    )
    for name in ("cuda", "cudnn")
)
GPU: Final = (
    CPU,
    Machine(name="cuda", per_frame_s=0.0011, cold_s=0.4, cuda=True, psnr_db=104.2),
    Machine(name="cudnn", per_frame_s=0.00052, cold_s=0.7, cuda=True, psnr_db=103.9),
    Machine(name="cudnn_autotune", per_frame_s=0.00041, cold_s=2.1, cuda=True, psnr_db=103.1),
)
LONG_NAMES: Final = (
    *GPU,
    Machine(
        name="cudnn_autotune-bfloat16-channels_last-compiled", per_frame_s=0.00018, cold_s=9.0, cuda=True
    ),
    Machine(name="cudnn-tf32-channels_last", per_frame_s=0.0003, cold_s=0.8, cuda=True, psnr_db=71.0),
    Machine(name="cpu-oneDNN-bfloat16-all-the-threads", per_frame_s=0.015, psnr_db=51.3),
)


def _output_check(machine: "Machine") -> OutputCheck | None:
    if machine.name == "cpu":
        return OutputCheck.REFERENCE
    return None if machine.psnr_db is None else OutputCheck.COMPARED


def run(
    machines: Sequence[Machine] = (CPU, CPU_1, *NO_CUDA),
    *,
    nets: Sequence[Net] = (BASICVSR,),
    frames: Sequence[int] = (1, 4, 7, 10),
    inputs: Sequence[str] = ("random",),
    sizes: Sequence[tuple[int, int]] = ((64, 64),),
    batch: int = 1,
    rounds: int = 1,
    repetitions: int = 7,
    spread: float = 0.02,
) -> list[CellRecord]:
    """A record per (cell, round), rounds interleaving the backends as a real schedule does."""
    return [
        _record(net, machine, number, input_, batch, t, size, repetitions, spread)
        for number in range(rounds)
        for net in nets
        for input_ in inputs
        for size in sizes
        for t in frames
        for machine in machines
    ]


def all_failed() -> list[CellRecord]:
    """A run of which nothing is left to draw: a skip, an out-of-memory, a time-out and an error."""
    ends = {
        "cuda": (Status.SKIPPED, "no CUDA device"),
        "cpu": (Status.OOM, "killed at 3.9 GiB of 4 GiB | dmesg said <oom>"),
        "cpu-1-thread": (Status.TIMEOUT, "no answer within 60 s"),
        "cpu-bf16": (Status.ERROR, "RuntimeError: `mkldnn`\nhas no bfloat16 *here*"),
    }
    return [
        CellRecord(
            cell=f"basicvsr/random/b1/t4/64x64/{backend}", round=0, model="basicvsr", input="random", batch=1,
            frames=4, height=64, width=64, backend=backend, dtype="float32", fp32_precision="ieee",
            memory_format="contiguous", status=status, reason=reason,
        )
        for backend, (status, reason) in ends.items()
    ]  # fmt: skip


def ended(record: CellRecord, status: Status, reason: str) -> CellRecord:
    """The record as if it had ended otherwise; an inaccurate one keeps its samples."""
    kept = {} if status is Status.INACCURATE else {"samples": (), "memory": ()}
    return record.model_copy(update={"status": status, "reason": reason, **kept})


def _record(
    net: Net,
    machine: Machine,
    number: int,
    input_: str,
    batch: int,
    frames: int,
    size: tuple[int, int],
    repetitions: int,
    spread: float,
) -> CellRecord:
    height, width = size
    cell = f"{net.name}/{input_}/b{batch}/t{frames}/{height}x{width}/{machine.name}"
    axes = CellRecord(
        cell=cell, round=number, model=net.name, input=input_, batch=batch, frames=frames, height=height,
        width=width, backend=machine.name, dtype="bfloat16" if "bfloat16" in machine.name else "float32",
        fp32_precision="tf32" if "tf32" in machine.name else "ieee", memory_format="contiguous",
        status=Status.OK, started_at="2026-01-02T03:04:05Z",
    )  # fmt: skip
    if machine.skipped:
        return axes.model_copy(update={"status": Status.SKIPPED, "reason": machine.skipped})
    random = Random(f"{cell}/{number}")
    steady = (
        net.weight
        * machine.per_frame_s
        * (frames + 0.3)
        * batch
        * (height * width / 4096)
        * random.gauss(1, spread / 2)
    )
    first = steady + machine.cold_s
    samples = tuple(_samples(net, machine, random, steady, repetitions, spread))
    growth = int((14 + 9 * frames * batch * height * width / 4096) * MIB)
    before = (620 if machine.cuda else 380) * MIB
    cost: dict[str, object] = {"page_faults_per_forward": None if machine.cuda else 1200.0 * frames}
    if machine.cuda:
        cost = {
            "context_s": 0.21, "peak_device_bytes": growth * 2, "peak_device_reserved_bytes": growth * 3,
            "device_growth_bytes": growth, "cold_peak_device_bytes": growth * 4,
        }  # fmt: skip
    measured = first + sum(
        sample.wall_s for sample in samples if sample.stage in ("total", "forward_unprobed")
    )
    harness = 0.04 + abs(random.gauss(0, 0.02))
    return axes.model_copy(
        update={
            "import_torch_s": 1.31, "model_to_device_s": 0.013, "first_forward_s": first,
            "host_before_bytes": before, "peak_host_bytes": before + growth, "host_growth_bytes": growth,
            "parameters": 6_291_311, "scale": 4, "stages": net.stages,
            "costs": _costs(net, axes.dtype, frames * batch * height * width),
            "stage_memory": {
                stage: _stage_memory(machine, before, growth, share / max(net.shares.values()))
                for stage, share in net.shares.items()
            },
            "threads": 1 if machine.cuda else 4,
            "output_max_abs_error": None if machine.psnr_db is None else 10 ** (-machine.psnr_db / 20),
            "output_psnr_db": machine.psnr_db, "output_check": _output_check(machine),
            "worker_start_s": 0.021, "setup_s": 0.03,
            "measured_s": measured, "reference_s": 0.0, "harness_s": harness,
            "round_wall_s": measured + harness,
            "samples": samples, "memory": _memory(machine, steady, before, growth), **cost,
        }
    )  # fmt: skip


def _costs(net: Net, dtype: str, pixels: int) -> dict[str, StageCost]:
    """About BasicVSR's arithmetic, divided as its time is; aggregation moves much, `other` alone moves."""
    return {
        stage: StageCost(
            flops=0 if stage == "other" else int(share * 16_000_000 * pixels),
            bytes=int(share * (800_000 if stage == "aggregation" else 80_000) * pixels),
            fused_bytes=int(share * (700_000 if stage == "aggregation" else 2_000) * pixels),
            peak_bytes=int((1 + share) * 4_000 * pixels),
            dtype="float32" if stage in ("alignment", "other") else dtype,
        )
        for stage, share in net.shares.items()
    }


def _stage_memory(machine: Machine, before: int, growth: int, part: float) -> StageMemory:
    """The stage that takes longest needs all that the call grows by, and others their part of it."""
    on_host = int(part * growth / 10 if machine.cuda else part * growth)
    on_device = {
        "peak_device_bytes": growth + int(part * growth),
        "device_growth_bytes": int(part * growth),
        "device_kept_bytes": int(part * growth / 4),
    }
    return StageMemory(
        peak_host_bytes=before + on_host, host_growth_bytes=on_host, host_kept_bytes=on_host // 4,
        **on_device if machine.cuda else {},
    )  # fmt: skip


def _samples(
    net: Net, machine: Machine, random: Random, steady: float, repetitions: int, spread: float
) -> list[Sample]:
    samples: list[Sample] = []
    clock = 2.0

    def add(pass_: Pass, phase: Phase, repetition: int, stage: str, span_s: float) -> None:
        nonlocal clock
        device = span_s * 0.97 if machine.cuda else None
        samples.append(
            Sample(
                **{"pass": pass_}, phase=phase, repetition=repetition, stage=stage, start_s=clock,
                wall_s=span_s, device_s=device,
            )
        )  # fmt: skip
        clock += span_s

    for repetition, phase in enumerate(
        [Phase.COLD, Phase.WARMUP, Phase.WARMUP] + [Phase.STEADY] * repetitions
    ):
        noise = 1 + abs(random.gauss(0, spread))
        span = {Phase.COLD: steady + machine.cold_s, Phase.WARMUP: steady * 1.15 * noise}.get(
            phase, steady * noise
        )
        add(Pass.END_TO_END, phase, repetition, "forward", span)
        add(Pass.END_TO_END, phase, repetition, "total", span * 1.01)
    for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS) if machine.cuda else (Pass.STAGE_SYNC,):
        for repetition in range(repetitions):
            span = steady * (1 + abs(random.gauss(0, spread)))
            for stage, share in net.shares.items():
                add(pass_, Phase.STEADY, repetition, stage, span * share)
            add(pass_, Phase.STEADY, repetition, "forward", span * random.gauss(1.013, spread / 6))
            add(pass_, Phase.STEADY, repetition, "forward_unprobed", span)
    return samples


def _memory(machine: Machine, steady: float, before: int, growth: int) -> tuple[MemoryPoint, ...]:
    """A ramp, a plateau with steps, and a fall, as one forward shows them."""
    shape = (0.0, 0.3, 0.55, 0.7, 0.68, 0.8, 0.93, 0.9, 1.0, 0.97, 0.6, 0.1)
    return tuple(
        MemoryPoint(
            elapsed_s=0.1 + steady * index / (len(shape) - 1),
            host_bytes=before + int(growth * (level * 0.1 if machine.cuda else level)),
            device_bytes=int(growth * 2 * (0.2 + 0.8 * level)) if machine.cuda else None,
        )
        for index, level in enumerate(shape)
    )
