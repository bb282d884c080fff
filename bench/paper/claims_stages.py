"""The paper's claims on the four stages: table 1, figure 19 and section 4.4.4. Pure."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, median
from typing import Final

from bench.paper.editions import STAGES, Edition, Role, StageTiming
from bench.paper.needed import as_figure, cell, named, summary_of
from bench.paper.verdict import (
    Claim,
    Figure,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    Verdict,
    all_hold,
    lies,
)
from bench.statistics.stats import Summary, ratio
from vsr_model.stages import PROPAGATION

EVEN: Final = 1.5
"""Stages are accelerated about equally where the most is below so many times the least."""

HARDLY: Final = 0.02
"""A stage hardly moves where it changes by less than this share of the whole forward."""


def stage_summaries(timing: StageTiming, *, means: bool = False) -> dict[str, Summary]:
    """Each stage's figure with its interval; `means`, as the paper has it, gives them without one.

    Raises NotKnownError where a stage was not measured.
    """
    lacking = [stage for stage in STAGES if not timing.seconds.get(stage)]
    if lacking:
        raise NotKnownError(f"{timing.backend} has no times of {', '.join(lacking)}")
    if means:
        return {stage: summary_of(fmean(timing.seconds[stage]), None, None) for stage in STAGES}
    return {stage: _stage_summary(timing, stage) for stage in STAGES}


def _stage_summary(timing: StageTiming, stage: str) -> Summary:
    figure, low, high = median(timing.seconds[stage]), timing.low_s.get(stage), timing.high_s.get(stage)
    # The interval is of the rounds' medians, from which the median of all can be a little off.
    return summary_of(
        figure, None if low is None else min(low, figure), None if high is None else max(high, figure)
    )


def whole(summaries: Mapping[str, Summary]) -> float:
    """Seconds of the four stages together."""
    return sum(summary.median for summary in summaries.values())


def contrast(terms: list[tuple[float, Summary]], name: str, quantity: Quantity, per: float = 1.0) -> Figure:
    """The sum of medians, each times its factor, over `per`; its interval by MOVER.

    Each bound is the root of the summed squares of what moves the sum that way (Zou and Donner 2008).
    """
    value = math.fsum(factor * summary.median for factor, summary in terms)
    down, up = [], []
    for factor, summary in terms:
        if summary.low is None or summary.high is None:
            return Figure(name=name, value=value / per, quantity=quantity)
        ends = sorted((factor * (summary.low - summary.median), factor * (summary.high - summary.median)))
        down.append(ends[0])
        up.append(ends[1])
    low, high = value - math.hypot(*down), value + math.hypot(*up)
    return Figure(name=name, value=value / per, quantity=quantity, low=low / per, high=high / per)


def _of(edition: Edition, role: Role, means: bool) -> tuple[StageTiming, dict[str, Summary]]:
    timing = cell(edition.stages, role, "stages")
    found = stage_summaries(timing, means=means)
    timeless = [stage for stage, summary in found.items() if summary.median <= 0]
    if timeless:
        raise NotKnownError(
            f"{', '.join(timeless)} on {timing.backend} took no time that the clock could tell"
        )
    return timing, found


def _longest(role: Role, edition: Edition, paper: bool) -> Judgement:
    timing, found = _of(edition, role, means=paper)
    total = whole(found)
    judged = [
        lies(
            as_figure(ratio(found[PROPAGATION], found[stage]), f"propagation over {stage}"),
            above=1.0,
            at_its_word=paper,
        )
        for stage in STAGES
        if stage != PROPAGATION
    ]
    share = Figure(
        name=f"propagation's share on {timing.backend}",
        value=found[PROPAGATION].median / total,
        quantity=Quantity.SHARE,
    )
    return all_hold(judged, share)


def _evenly(edition: Edition, paper: bool) -> Judgement:
    _, cpu = _of(edition, Role.CPU, means=paper)
    timing, gpu = _of(edition, Role.CUDNN, means=paper)
    speedups = {stage: ratio(cpu[stage], gpu[stage]) for stage in STAGES}
    figures = [as_figure(speedups[stage], f"speedup of {stage} on {timing.backend}") for stage in STAGES]
    return all_hold([lies(_largest_over_smallest(figures), below=EVEN, at_its_word=paper)], *figures)


def _largest_over_smallest(figures: Sequence[Figure]) -> Figure:
    """Its bounds are the farthest that all the figures' allow, whichever are the extremes within them."""
    values = [figure.value for figure in figures]
    lows = [figure.low for figure in figures if figure.low is not None]
    highs = [figure.high for figure in figures if figure.high is not None]
    known = len(lows) == len(highs) == len(values)
    return Figure(
        name="the largest of these over the smallest",
        value=max(values) / min(values),
        quantity=Quantity.RATIO,
        low=max(1.0, max(lows) / min(highs)) if known else None,
        high=max(highs) / min(lows) if known else None,
    )


def _gain_is_in_propagation(edition: Edition, paper: bool) -> Judgement:
    _, plain = _of(edition, Role.CUDNN, means=paper)
    _, tuned = _of(edition, Role.CUDNN_AUTOTUNE, means=paper)
    saved = {stage: plain[stage].median - tuned[stage].median for stage in STAGES}
    gain = contrast(
        [(1.0, plain[PROPAGATION]), (-1.0, tuned[PROPAGATION])],
        "time saved in propagation",
        Quantity.SECONDS,
    )
    others: list[tuple[float, Summary]] = []
    for stage in STAGES:
        if stage != PROPAGATION:
            sign = math.copysign(1.0, saved[stage])
            others += [(sign, plain[stage]), (-sign, tuned[stage])]
    lead = contrast(
        [(1.0, plain[PROPAGATION]), (-1.0, tuned[PROPAGATION])]
        + [(-factor, summary) for factor, summary in others],
        "by how much that exceeds what all other stages change",
        Quantity.SECONDS,
    )
    judged = all_hold([lies(figure, above=0.0, at_its_word=paper) for figure in (gain, lead)])
    if sum(saved.values()) <= 0 or judged.verdict is Verdict.CANNOT_TELL:
        return judged
    part = saved[PROPAGATION] / sum(saved.values())
    return all_hold([judged], Figure(name="its share of all saved", value=part, quantity=Quantity.SHARE))


def _others_hardly_move(edition: Edition, paper: bool) -> Judgement:
    _, plain = _of(edition, Role.CUDNN, means=paper)
    _, tuned = _of(edition, Role.CUDNN_AUTOTUNE, means=paper)
    total = whole(plain)
    moved = [
        contrast(
            [(1.0, tuned[stage]), (-1.0, plain[stage])],
            f"change of {stage}, of the whole forward",
            Quantity.SHARE,
            per=total,
        )
        for stage in STAGES
        if stage != PROPAGATION
    ]
    own = [
        Figure(
            name=f"change of {stage}, of itself",
            value=tuned[stage].median / plain[stage].median - 1,
            quantity=Quantity.SHARE,
        )
        for stage in STAGES
        if stage != PROPAGATION
    ]
    return all_hold([lies(figure, above=-HARDLY, below=HARDLY, at_its_word=paper) for figure in moved], *own)


CLAIMS: Final = (
    *(
        Claim(
            id=f"5{letter}",
            title=f"Propagation is the longest stage on {name}",
            source="section 4.4.4, table 1",
            paper=Stated(
                statement=f"In the means of table 1, no stage on {name} is as long as propagation.",
                judge=partial(_longest, role, paper=True),
            ),
            general=Stated(
                statement=f"On {named(role)} propagation takes longer than each of the other three stages.",
                judge=partial(_longest, role, paper=False),
            ),
        )
        for letter, role, name in zip(
            "abc",
            (Role.CPU, Role.CUDNN, Role.CUDNN_AUTOTUNE),
            ("the CPU", "CUDA", "cuDNN"),
            strict=True,
        )
    ),
    Claim(
        id="6",
        title="CUDA accelerates every stage about equally",
        source="section 4.4.4, table 1",
        paper=Stated(
            statement=(
                f"In the means of table 1, CUDA's largest speedup of a stage is below {EVEN:g} times its "
                "smallest."
            ),
            judge=partial(_evenly, paper=True),
        ),
        general=Stated(
            statement=f"The largest of cudnn's speedups of a stage is below {EVEN:g} times the smallest.",
            judge=partial(_evenly, paper=False),
        ),
    ),
    Claim(
        id="7a",
        title="cuDNN's further gain is mainly in propagation",
        source="section 4.4.4, table 1 and figure 19",
        paper=Stated(
            statement="In table 1, cuDNN saves more in propagation than all other stages change.",
            judge=partial(_gain_is_in_propagation, paper=True),
        ),
        general=Stated(
            statement="From cudnn to cudnn_autotune propagation gains more than all other stages change.",
            judge=partial(_gain_is_in_propagation, paper=False),
        ),
    ),
    Claim(
        id="7b",
        title="From CUDA to cuDNN the other stages hardly move",
        source="section 4.4.4, table 1",
        paper=Stated(
            statement=f"In table 1, each changes by less than {HARDLY:.0%} of the whole forward.",
            judge=partial(_others_hardly_move, paper=True),
        ),
        general=Stated(
            statement=(
                "From cudnn to cudnn_autotune each of the other stages changes by less than "
                f"{HARDLY:.0%} of the whole forward."
            ),
            judge=partial(_others_hardly_move, paper=False),
        ),
    ),
)
