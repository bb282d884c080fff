"""What claims and explanations ask of an edition: a role's cells, or NotKnownError with what is missing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from bench.paper.editions import PAPER, PAPER_NAMES, Edition, Memory, Role, StageTiming, Timing
from bench.paper.verdict import Figure, NotKnownError, Quantity
from bench.records import Status
from bench.statistics.stats import IntervalKind, Ratio, Summary

AnyCell = TypeVar("AnyCell", Timing, StageTiming, Memory)

GPU: Final = (Role.CUDNN, Role.CUDNN_AUTOTUNE)
"""The paper's two GPU methods, in its order."""

NO_DEVICE: Final = ("no CUDA", "no device cuda")
"""How the reasons of cells that were skipped for want of a GPU begin (bench.measure.backends)."""

UNSYNCHRONISED: Final = (
    "its clock was read without waiting for the GPU, so that its times may be those of launching the work"
)
"""May be: each call but a process's first begins by copying the clip, which waits for the call before."""


def synchronised(edition: Edition) -> Edition:
    """The edition without the times of GPUs that nothing waited for: they may be those of launching."""
    return replace(
        edition,
        headline=tuple(map(_waited_for, edition.headline)),
        repetitions=tuple(map(_waited_for, edition.repetitions)),
        frames=tuple(map(_waited_for, edition.frames)),
        stages=tuple(map(_stages_waited_for, edition.stages)),
    )


def in_its_words(edition: Edition) -> Edition:
    """The paper's edition with its names before the project's, such as `CUDA (cudnn)`; others unchanged."""
    if edition.name != PAPER:
        return edition
    return replace(
        edition,
        headline=tuple(map(_in_its_words, edition.headline)),
        repetitions=tuple(map(_in_its_words, edition.repetitions)),
        frames=tuple(map(_in_its_words, edition.frames)),
        memory=tuple(map(_in_its_words, edition.memory)),
        stages=tuple(map(_in_its_words, edition.stages)),
    )


def _in_its_words(cell_: AnyCell) -> AnyCell:
    name = PAPER_NAMES.get(cell_.role, cell_.backend)
    return replace(cell_, backend=name if name.lower() == cell_.backend else f"{name} ({cell_.backend})")


def _waited_for(timing: Timing) -> Timing:
    if timing.role is Role.CPU or timing.synchronised or timing.status is not Status.OK:
        return timing
    return replace(timing, status=Status.SKIPPED, reason=UNSYNCHRONISED)


def _stages_waited_for(timing: StageTiming) -> StageTiming:
    if timing.role is Role.CPU or timing.synchronised or timing.status is not Status.OK:
        return timing
    return replace(timing, status=Status.SKIPPED, reason=UNSYNCHRONISED)


def cells(of: Sequence[AnyCell], role: Role, experiment: str) -> list[AnyCell]:
    """The role's cells that ended well, shortest clip first. Raises NotKnownError where there is none."""
    if not of:
        raise NotKnownError(f"the experiment `{experiment}` was not run")
    own = [cell for cell in of if cell.role is role]
    if not own:
        raise NotKnownError(f"the experiment `{experiment}` has no backend {named(role)}")
    good = [cell for cell in own if cell.status is Status.OK]
    if not good:
        raise NotKnownError(why_not(own[0].backend, own[0].status, own[0].reason))
    return sorted(good, key=lambda cell: cell.frames)


def cell(of: Sequence[AnyCell], role: Role, experiment: str) -> AnyCell:
    """The role's cell; the longest clip's where there are several."""
    return cells(of, role, experiment)[-1]


def why_not(backend: str, status: Status, reason: str) -> str:
    """Why a cell has nothing to say."""
    if status is Status.SKIPPED and reason.startswith(NO_DEVICE):
        return f"no GPU ({backend}: {reason})"
    if reason == UNSYNCHRONISED:
        return f"{backend}: {reason}"
    return f"{backend} ended as {status}" + (f" ({reason})" if reason else "")


def named(role: Role) -> str:
    """A role by its own name, and by the paper's where it has one."""
    name = PAPER_NAMES.get(role, role)
    return role if name.lower() == role else f"{role} (the paper's {name})"


def measured(value: float | None, what: str) -> float:
    """The value. Raises NotKnownError where it was not measured."""
    if value is None:
        raise NotKnownError(f"{what} was not measured")
    return value


def summary_of(value: float, low: float | None, high: float | None) -> Summary:
    """A figure and its interval as what bench.statistics.stats calculates with."""
    return Summary(
        n_rounds=1, n=1, median=value, q1=value, q3=value, low=low, high=high, interval=IntervalKind.NONE
    )


def as_figure(found: Ratio, name: str, interval: str = "") -> Figure:
    return Figure(
        name=name,
        value=found.ratio,
        quantity=Quantity.RATIO,
        low=found.low,
        high=found.high,
        interval=interval if found.low is not None else "",
    )
