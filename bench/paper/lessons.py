"""What each of the paper's figures says, what changed when it was measured properly, and why. Pure.

Every number in a sentence is computed from the editions given. A median over cells of other lengths is no
sample of repetitions, and sentences say which of the two an interval speaks of.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Final

from bench.paper import reasons
from bench.paper.claims_calls import first_summary, later_summary, scatter
from bench.paper.claims_memory import convolution_share, growth, rates
from bench.paper.claims_stages import stage_summaries, whole
from bench.paper.editions import PAPER, Edition, Memory, Role, StageTiming, Timing
from bench.paper.needed import UNSYNCHRONISED
from bench.paper.speedups import level
from bench.paper.telling import good, quantity, sentences
from bench.paper.trend import fit
from bench.paper.verdict import INTERVAL_NAMES, NotKnownError, Quantity, shown
from bench.records import Status
from bench.statistics.stats import ratio

Editions = Mapping[str, Edition]


def headline(editions: Editions) -> tuple[str, ...]:
    """Of the one clip in the abstract: times and speedups."""

    def tell(edition: Edition) -> Iterator[str]:
        for timing in _ok(edition.headline):
            seconds = quantity(
                timing.median_s or 0.0,
                Quantity.SECONDS,
                timing.low_s,
                timing.high_s,
                INTERVAL_NAMES.get(timing.interval, ""),
            )
            text = f"{timing.backend} takes {seconds} for {_frames(timing.frames)}"
            if timing.role is not Role.CPU and timing.speedup is not None:
                bounds = timing.speedup_low, timing.speedup_high
                text += f", a speedup of {quantity(timing.speedup, Quantity.RATIO, *bounds)}"
            yield text + _alone(timing)

    said = sentences(editions, "headline", lambda edition: edition.headline, tell)
    return (*said, *_of_times(editions, "headline"))


def repetitions(editions: Editions) -> tuple[str, ...]:
    """Figure 14: what the first call costs beyond the later ones, and how those scatter."""

    def tell(edition: Edition) -> Iterator[str]:
        for timing in _ok(edition.repetitions):
            yield from _calls_of(timing)

    said = sentences(editions, "repetitions", lambda edition: edition.repetitions, tell)
    return (*said, *_of_times(editions, "repetitions"))


def frames(editions: Editions) -> tuple[str, ...]:
    """Figure 15: seconds per frame and what a call costs whatever its length, fitted without t = 1."""

    def tell(edition: Edition) -> Iterator[str]:
        for role in Role:
            own = [timing for timing in _ok(edition.frames) if timing.role is role and timing.frames > 1]
            if own:
                yield _line_of(own)

    said = sentences(editions, "frames", lambda edition: edition.frames, tell)
    return (*said, *reasons.of_times(editions, "frames"), *reasons.of_the_clock(editions, "frames"))


def speedups(editions: Editions) -> tuple[str, ...]:
    """Figure 16: the speedup's median and interval without t = 1."""

    def tell(edition: Edition) -> Iterator[str]:
        for role in (Role.CUDA, Role.CUDNN, Role.CUDNN_AUTOTUNE):
            own = [timing for timing in _ok(edition.frames) if timing.role is role]
            with_speedup = [timing for timing in own if timing.frames > 1 and timing.speedup is not None]
            if own and not with_speedup:
                yield f"{own[0].backend} has no speedup: no CPU's time of the same clips stands beside it"
            if with_speedup:
                ordered = sorted(with_speedup, key=lambda timing: timing.frames)
                figure = level(ordered, f"{ordered[0].backend}'s speedup over the CPU")
                yield f"{figure.name}, is {figure.amount}" + _first_of(own) + _alone(ordered[0])

    said = sentences(editions, "frames", lambda edition: edition.frames, tell)
    note = "A median over frame counts is of clips of different lengths: its interval says how lengths differ"
    if any("over frame counts" in sentence for sentence in said):
        said.append(f"{note}, and not how well one of them repeats.")
    return (*said, *reasons.of_the_clock(editions, "frames"))


def memory_curve(editions: Editions) -> tuple[str, ...]:
    """Figure 17: how host memory grows, per frame and per second, with and without gradients."""

    def tell(edition: Edition) -> Iterator[str]:
        for memory in _memories(edition):
            yield _growth_of(memory)

    said = sentences(editions, "memory", lambda edition: edition.memory, tell)
    return (*said, *reasons.of_gradients(editions))


def memory_lines(editions: Editions) -> tuple[str, ...]:
    """Figure 18: in which lines of the forward host memory grows."""

    def tell(edition: Edition) -> Iterator[str]:
        for memory in _memories(edition):
            if not memory.lines:
                total = shown(growth(memory), Quantity.BYTES)
                yield f"the forward adds {total} on {memory.backend}; by line it is not known"
                continue
            try:
                share = convolution_share(memory)
            except NotKnownError:
                yield f"no line of the forward adds host memory on {memory.backend}"
                continue
            most = max(memory.lines, key=lambda line: line.increment_bytes)
            yield (
                f"{shown(share.value, Quantity.SHARE)} of what the forward's lines add on {memory.backend} "
                f"is added where convolutions run; the line that adds most is `{most.source.strip()}`, with "
                f"{shown(most.increment_bytes, Quantity.BYTES)}"
            )

    said = sentences(editions, "memory", lambda edition: edition.memory, tell)
    return (*said, *reasons.of_gradients(editions))


def stages(editions: Editions) -> tuple[str, ...]:
    """Table 1 and figure 19: each stage's share, and its speedup over the CPU."""

    def tell(edition: Edition) -> Iterator[str]:
        # The paper took means, and what is said of it is said of its own figures.
        means = edition.name == PAPER
        timings = [cell for cell in good(edition.stages) if isinstance(cell, StageTiming)]
        cpu = next((cell for cell in timings if cell.role is Role.CPU), None)
        for timing in timings:
            yield _stages_of(timing, cpu, means)

    said = sentences(editions, "stages", lambda edition: edition.stages, tell)
    return (*said, *reasons.of_launches(editions))


LESSONS: Final[Mapping[str, Callable[[Editions], tuple[str, ...]]]] = {
    "headline": headline,
    "14": repetitions,
    "15": frames,
    "16": speedups,
    "17": memory_curve,
    "18": memory_lines,
    "19": stages,
}
"""By figure; table 1 has what figure 19 has."""


def _of_times(editions: Editions, experiment: str) -> Iterator[str]:
    yield from reasons.of_first_calls(editions, experiment)
    yield from reasons.of_times(editions, experiment)
    yield from reasons.of_the_clock(editions, experiment)


def _ok(timings: tuple[Timing, ...]) -> list[Timing]:
    return [timing for timing in timings if timing.status is Status.OK and timing.median_s is not None]


def _memories(edition: Edition) -> list[Memory]:
    return [cell for cell in good(edition.memory) if isinstance(cell, Memory)]


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _alone(timing: Timing) -> str:
    """What makes a figure less than it seems."""
    notes = []
    if sum(map(len, timing.steady)) == 1:
        notes.append("one sample, which has no interval")
    if not timing.synchronised and timing.role is not Role.CPU:
        notes.append(UNSYNCHRONISED)
    return f" ({'; '.join(notes)})" if notes else ""


def _first_of(own: list[Timing]) -> str:
    single = next((timing for timing in own if timing.frames == 1 and timing.speedup is not None), None)
    return "" if single is None else f"; at t = 1 it is {shown(single.speedup or 0.0, Quantity.RATIO)}"


def _calls_of(timing: Timing) -> Iterator[str]:
    try:
        first, later = first_summary(timing), later_summary(timing)
    except NotKnownError:
        yield f"{timing.backend} has no calls after its first"
        return
    excess = first.median - later.median
    more = "more" if excess >= 0 else "less"
    text = (
        f"{timing.backend}'s first call takes {shown(first.median, Quantity.SECONDS)}, "
        f"{shown(abs(excess), Quantity.SECONDS)} {more} than the median of its later ones "
        f"({shown(first.median / later.median, Quantity.RATIO)})"
    )
    try:
        text += f"; their coefficient of variation is {scatter(timing).amount}"
    except NotKnownError:
        text += "; one later call has no scatter"
    yield text + _alone(timing)


def _line_of(own: list[Timing]) -> str:
    backend = own[0].backend
    line = fit([timing.frames for timing in own], [timing.median_s or 0.0 for timing in own])
    if line is None:
        return f"{backend} has one length beside t = 1, through which no line is fitted"
    slope = quantity(line.slope, Quantity.SECONDS, line.slope_low, line.slope_high)
    fixed = quantity(line.fixed, Quantity.SECONDS, line.fixed_low, line.fixed_high)
    text = f"{backend} takes {slope} per frame and {fixed} whatever the length"
    if line.residual is None:
        return f"{text}, from two lengths, which leave nothing to judge the line by" + _alone(own[0])
    part = line.residual / median(timing.median_s or 0.0 for timing in own)
    return (
        f"{text}, by least squares over {line.n} lengths; the residuals' deviation is "
        f"{shown(line.residual, Quantity.SECONDS)}, {shown(part, Quantity.SHARE)} of the median time"
    ) + _alone(own[0])


def _growth_of(memory: Memory) -> str:
    grown = growth(memory)
    text = (
        f"host memory on {memory.backend} grows by {shown(grown, Quantity.BYTES)}, "
        f"{shown(grown / memory.frames, Quantity.BYTES)} per frame of {_frames(memory.frames)}"
    )
    text += ", with gradients recorded" if memory.gradients else ", without gradients"
    try:
        overall, parts = rates(memory)
        text += (
            f"; it rises at {shown(overall, Quantity.BYTES_PER_S)}, its four quarters at "
            f"{shown(min(parts), Quantity.BYTES_PER_S)} to {shown(max(parts), Quantity.BYTES_PER_S)}"
        )
    except NotKnownError as error:
        text += f"; its rate is not known, {error}"
    if memory.peak_device_bytes is not None:
        text += f"; device memory peaks at {shown(memory.peak_device_bytes, Quantity.BYTES)}"
    return text


def _stages_of(timing: StageTiming, cpu: StageTiming | None, means: bool) -> str:
    own = stage_summaries(timing, means=means)
    total = whole(own)
    shares = ", ".join(
        f"{stage} {shown(found.median / total, Quantity.SHARE)}" for stage, found in own.items()
    )
    text = f"on {timing.backend} the stages take {shown(total, Quantity.SECONDS)}: {shares}"
    if cpu is not None and timing.role is not Role.CPU:
        base = stage_summaries(cpu, means=means)
        speedup = {stage: ratio(base[stage], own[stage]) for stage in own if own[stage].median > 0}
        listed = ", ".join(
            f"{stage} {quantity(found.ratio, Quantity.RATIO, found.low, found.high)}"
            for stage, found in speedup.items()
        )
        text += f"; speedups over {cpu.backend}: {listed}"
    if not timing.synchronised and timing.role is not Role.CPU:
        text += f" ({UNSYNCHRONISED})"
    return text
