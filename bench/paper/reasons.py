"""What the faithful method changes in figures beside the corrected one, as far as runs of both tell. Pure.

The two differ in many options at once. So what a first call costs is read within an edition, and between the
two everything is listed that differs; the experiments of bench.paper.faults change one option each.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.paper.claims_calls import first_summary, later_summary
from bench.paper.claims_memory import kept
from bench.paper.claims_stages import stage_summaries, whole
from bench.paper.differing import differing, together
from bench.paper.editions import Edition, Memory, Role, StageTiming, Timing
from bench.paper.faults import FAULTS
from bench.paper.needed import summary_of
from bench.paper.telling import both, good, quantity
from bench.paper.verdict import NotKnownError, Quantity, shown
from bench.statistics.stats import ratio

Editions = Mapping[str, Edition]
Pairs = Sequence[tuple[Timing, Timing]] | Sequence[tuple[StageTiming, StageTiming]]

CLOCK: Final = (
    "Why: the faithful method reads the clock without waiting for the GPU, so "
    "that its times can be those of launching the work; the corrected one waits."
)

_WAITING: Final = ("measure.stages", "script.unsynchronised")
"""The options that decide whether a stage's clock waits for the GPU."""


def of_first_calls(editions: Editions, experiment: str) -> Iterator[str]:
    """What a first call takes beside later ones of the same cell, where one method counts it."""
    alone = []
    for timing, other in _pairs(editions, experiment):
        if not timing.first_counts or other.first_counts:
            continue
        try:
            first, later = first_summary(timing), later_summary(timing)
        except NotKnownError:
            alone.append(timing.backend)
            continue
        found = ratio(first, later)
        text = (
            "The faithful method counts the process's first call, which takes "
            f"{quantity(found.ratio, Quantity.RATIO, found.low, found.high)} the median of its own later "
            f"ones on {timing.backend}: the median is {shown(timing.median_s or 0.0, Quantity.SECONDS)} with "
            f"it and {shown(later.median, Quantity.SECONDS)} without"
        )
        try:
            own = ratio(first_summary(other), later_summary(other))
            kept_apart = quantity(own.ratio, Quantity.RATIO, own.low, own.high)
            text += f". The corrected one keeps it apart, and {other.backend}'s takes {kept_apart}"
        except NotKnownError:
            text += ". The corrected one keeps it apart"
        yield f"{text}."
    if alone:
        yield (
            f"The one sample by the faithful method on {', '.join(alone)} is the process's first call: what "
            "being the first adds to it these runs do not tell."
        )


def of_times(editions: Editions, experiment: str) -> Iterator[str]:
    """How the methods' times of the longest clips compare, and everything that differs."""
    longest: dict[Role, tuple[Timing, Timing]] = {}
    for timing, other in _pairs(editions, experiment):
        if timing.role not in longest or timing.frames > longest[timing.role][0].frames:
            longest[timing.role] = timing, other
    for timing, other in longest.values():
        found = ratio(*(summary_of(one.median_s or 0.0, one.low_s, one.high_s) for one in (timing, other)))
        yield (
            f"At t = {timing.frames} {timing.backend} by the faithful method takes "
            f"{quantity(found.ratio, Quantity.RATIO, found.low, found.high)} the corrected {other.backend}."
        )
    if longest:
        differ = _differ(editions, experiment, list(longest.values()))
        which = " Which of it matters these runs do not tell." if "`, `" in differ or "; " in differ else ""
        yield f"What differs: {differ}.{which}"


def of_the_clock(editions: Editions, experiment: str) -> Iterator[str]:
    """That one method waits for the GPU and the other does not."""
    if any(
        not timing.synchronised and other.synchronised and timing.role is not Role.CPU
        for timing, other in _pairs(editions, experiment)
    ):
        yield CLOCK


def of_gradients(editions: Editions) -> Iterator[str]:
    """What is kept of a frame, where one method records gradients."""
    pair = both(editions)
    if pair is None:
        return
    for memory in pair[0].memory:
        for other in pair[1].memory:
            if memory.role is other.role and memory.gradients and not other.gradients:
                figures = _kept(memory, other)
                if figures is not None:
                    yield (
                        "Why: with gradients recorded every activation is kept for a backward pass that "
                        f"never comes: {shown(figures[0], Quantity.BYTES)} per frame and input pixel on "
                        f"{memory.backend}, against {shown(figures[1], Quantity.BYTES)} without. "
                        f"{_alone('gradients', 'gradients')}"
                    )


def of_launches(editions: Editions) -> Iterator[str]:
    """What stages seem to take where nothing waits for them, and everything else that differs."""
    pair = both(editions)
    if pair is None:
        return
    found = [
        (timing, other)
        for timing in good(pair[0].stages)
        for other in good(pair[1].stages)
        if isinstance(timing, StageTiming)
        and isinstance(other, StageTiming)
        and timing.role is other.role is not Role.CPU
        and timing.frames == other.frames
        and not timing.synchronised
        and other.synchronised
    ]
    for timing, other in found:
        launched, ran = whole(stage_summaries(timing)), whole(stage_summaries(other))
        yield (
            f"Nothing waits for the GPU at a stage's end: {timing.backend}'s stages "
            f"seem to take {shown(launched, Quantity.SECONDS)}, where they run for "
            f"{shown(ran, Quantity.SECONDS)} on {other.backend}."
        )
    if found:
        differ = _differ(editions, "stages", found, but=_WAITING)
        yield f"What else differs: {differ}. {_alone('synchronisation', 'the waiting')}"


def _pairs(editions: Editions, experiment: str) -> Iterator[tuple[Timing, Timing]]:
    """Cells of the same role and length in the faithful edition and in the corrected one."""
    pair = both(editions)
    if pair is None:
        return
    faithful, corrected = (good(getattr(edition, experiment)) for edition in pair)
    for timing in faithful:
        for other in corrected:
            if (
                isinstance(timing, Timing)
                and isinstance(other, Timing)
                and (timing.role, timing.frames) == (other.role, other.frames)
                and timing.median_s
                and other.median_s
            ):
                yield timing, other


def _differ(editions: Editions, experiment: str, pairs: Pairs, but: Sequence[str] = ()) -> str:
    pair = both(editions)
    known = [edition.configurations.get(experiment) for edition in pair or ()]
    if len(known) != 2 or known[0] is None or known[1] is None:
        return "not known, as the runs' configurations are not"
    by_backend = {
        timing.backend: differing(
            known[0],
            known[1],
            experiment=experiment,
            role=timing.role,
            backends=(timing.backend, other.backend),
            but=but,
        )
        for timing, other in pairs
    }
    return together(by_backend) or "no option"


def _alone(fault: str, what: str) -> str:
    """Where one option is changed and nothing else."""
    return f"The experiment “{FAULTS[fault].title}” changes {what} alone."


def _kept(*memories: Memory) -> tuple[float, ...] | None:
    if any(memory not in good([memory]) for memory in memories):
        return None
    try:
        return tuple(kept(memory).value for memory in memories)
    except NotKnownError:
        return None
