"""A cell's samples, from the records of its rounds: of which pass and by which clock a figure is. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.grid.spans import FORWARD, OTHER, SPANS
from bench.records import CellRecord, Pass, Phase

Source = tuple[Pass, str]
"""A pass, and the field of a sample that is read there: wall_s or device_s."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A stage's steady samples in seconds, with their source."""

    stage: str
    pass_: Pass
    clock: str  # wall_s or device_s
    rounds: tuple[tuple[float, ...], ...]  # those that have any; never none


def rounds_of(records: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    """Return each cell's records, cells in the order in which they first ended."""
    rounds: dict[str, list[CellRecord]] = {}
    for record in records:
        rounds.setdefault(record.cell, []).append(record)
    return rounds


def sources_of(stage: str) -> list[Source]:
    """Return the (pass, clock) pairs that may hold a stage's figures; the first with samples counts."""
    if stage == OTHER or stage not in SPANS:
        return [(Pass.STAGE_EVENTS, "device_s"), (Pass.STAGE_SYNC, "wall_s")]
    return [(Pass.END_TO_END, "wall_s")]


def samples_of(
    record: CellRecord, pass_: Pass, stage: str, clock: str, *, steady: bool = True
) -> list[float]:
    """Return a round's samples of a stage in the order taken: the steady ones, or all before them."""
    return [
        value
        for sample in record.samples
        if sample.pass_ is pass_
        and sample.stage == stage
        and (sample.phase is Phase.STEADY) is steady
        and (value := getattr(sample, clock)) is not None
    ]


def steady_samples(rounds: Sequence[CellRecord], pass_: Pass, stage: str, clock: str) -> list[list[float]]:
    """Return the steady samples of a stage, a list per round, empty where a round has none."""
    return [samples_of(record, pass_, stage, clock) for record in rounds]


def sampled(rounds: Sequence[CellRecord], stage: str) -> Sampled | None:
    """Return a stage's steady samples from the first source that has any; None where none has."""
    for pass_, clock in sources_of(stage):
        found = tuple(tuple(of_one) for of_one in steady_samples(rounds, pass_, stage, clock) if of_one)
        if found:
            return Sampled(stage=stage, pass_=pass_, clock=clock, rounds=found)
    return None


def figure_of(rounds: Sequence[CellRecord]) -> Sampled | None:
    """Return a cell's time, which is its forward's; None where nothing was timed end to end."""
    return sampled(rounds, FORWARD)


def stages_of(records: Iterable[CellRecord]) -> tuple[str, ...]:
    """Return the networks' stages, in their order; those of several networks one after another."""
    return tuple(dict.fromkeys(stage for record in records for stage in record.stages))
