"""Editions made up for tests: cells of which only what a test is about need be said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.paper.editions import CORRECTED, Edition, Memory, Role, StageTiming, Timing
from bench.paper.method import PAPER
from bench.records import MemoryLine, Status
from bench.statistics.stats import ratio, summarise

NO_GPU = "no CUDA device: torch finds no driver or no GPU"


def timing(
    role: Role,
    frames: int,
    *rounds: Sequence[float],
    first_counts: bool = True,
    first_s: float | None = None,
    synchronised: bool = True,
) -> Timing:
    """A cell from its steady calls by round; `first_s` is a first call that stands apart from them."""
    summary = summarise(rounds)
    calls = [tuple(of_round) if first_s is None else (first_s, *of_round) for of_round in rounds]
    return Timing(
        role=role,
        backend=str(role),
        frames=frames,
        height=64,
        width=64,
        status=Status.OK,
        reason="",
        rounds=tuple(calls),
        steady=tuple(tuple(of_round) for of_round in rounds),
        median_s=summary.median,
        low_s=summary.low,
        high_s=summary.high,
        interval=summary.interval,
        first_counts=first_counts and first_s is None,
        method=None if synchronised else PAPER,
    )


def skipped(role: Role, frames: int = 10, reason: str = NO_GPU) -> Timing:
    return Timing(
        role=role, backend=str(role), frames=frames, height=64, width=64, status=Status.SKIPPED, reason=reason
    )


def repeated(seconds: float, spread: float = 0.005, calls: int = 9) -> list[float]:
    """Calls about the value, whose median is it."""
    middle = calls // 2
    return [seconds * (1 + spread * (i - middle) / max(1, middle)) for i in range(calls)]


def with_speedups(edition: Edition) -> Edition:
    """Each timing with its speedup over the CPU's of the same length."""

    def sped(cells: Sequence[Timing]) -> tuple[Timing, ...]:
        bases = {cell.frames: cell for cell in cells if cell.role is Role.CPU and cell.rounds}
        return tuple(
            _sped(cell, bases[cell.frames]) if cell.rounds and cell.frames in bases else cell
            for cell in cells
        )

    return replace(
        edition,
        headline=sped(edition.headline),
        repetitions=sped(edition.repetitions),
        frames=sped(edition.frames),
    )


def _sped(cell: Timing, base: Timing) -> Timing:
    found = ratio(summarise(base.steady), summarise(cell.steady))
    return replace(cell, speedup=found.ratio, speedup_low=found.low, speedup_high=found.high)


def stages(
    role: Role, seconds: Mapping[str, Sequence[float]], frames: int = 10, **changes: Any
) -> StageTiming:
    found = {stage: summarise([values]) for stage, values in seconds.items()}
    made = StageTiming(
        role=role,
        backend=str(role),
        frames=frames,
        status=Status.OK,
        reason="",
        height=64,
        width=64,
        seconds={stage: tuple(values) for stage, values in seconds.items()},
        low_s={stage: summary.low for stage, summary in found.items() if summary.low is not None},
        high_s={stage: summary.high for stage, summary in found.items() if summary.high is not None},
        pass_="stage_sync",
        clock="wall",
    )
    return replace(made, **changes)


def staged(role: Role, *medians: float, spread: float = 0.005) -> StageTiming:
    """Nine calls of alignment, propagation, aggregation and upsampling, of these medians."""
    names = ("alignment", "propagation", "aggregation", "upsampling")
    return stages(role, {n: repeated(m, spread) for n, m in zip(names, medians, strict=True)})


def memory(
    role: Role,
    host_bytes: Sequence[int],
    *,
    frames: int = 10,
    step_s: float = 0.1,
    before: int | None = None,
    peak: int | None = None,
    lines: Sequence[tuple[str, int]] = (),
    **changes: Any,
) -> Memory:
    made = Memory(
        role=role,
        backend=str(role),
        frames=frames,
        status=Status.OK,
        reason="",
        height=64,
        width=64,
        elapsed_s=tuple(step_s * i for i in range(len(host_bytes))),
        host_bytes=tuple(host_bytes),
        before_bytes=before,
        peak_bytes=peak,
        lines=tuple(
            MemoryLine(line=i, source=source, occurrences=1, increment_bytes=size, host_bytes=size)
            for i, (source, size) in enumerate(lines)
        ),
    )
    return replace(made, **changes)


def corrected(**experiments: Any) -> Edition:
    cells: dict[str, Any] = {name: tuple(of) for name, of in experiments.items()}
    return with_speedups(Edition(name=CORRECTED, machine="a machine", **cells))
