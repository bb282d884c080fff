"""How much two runs differ: ratios of their rounds, new over base, with an interval of any confidence. Pure.

The value of a round (process) is the median of its samples; nothing here looks inside a round. Two designs:

* `of_pairs`: rounds of both sides were measured in turn, base and new, new and base, and so on. What the
  machine does meanwhile hits both of a pair. Of the logarithms of the pairs' ratios the interval is that of
  Wilcoxon's signed ranks (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition, 3.3):
  exact for every distribution that is symmetric about its middle. As the sides take turns in going first, a
  pair of the same program is as likely to give a ratio as its inverse, which is just that.
* `of_levels`: each side by its own rounds (bench.stats.intervals.ratio). What changed between the two, be it
  the machine, counts as a difference.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.stats.intervals import (
    CONFIDENCE,
    LARGEST_LOGARITHM,
    MIN_ROUNDS,
    IntervalKind,
    Ratio,
    ratio,
    student_interval,
    summarise,
)

MAX_EXACT_PAIRS: Final = 60
"""Up to so many pairs the signed ranks' distribution is exact; beyond, the normal one is as good."""

MAX_ROUNDS_FORESEEN: Final = 2000
"""A change so close to a threshold that more would be needed will not be settled by rounds."""


NO_DIFFERENCE: Final = 0.03
"""As a share: a ratio this near to 1 makes no difference. Levels of processes that run the same code scatter
by about as much (docs/evidence.md), and less is seldom worth a change."""


class Effect(StrEnum):
    """What a ratio's interval says of it."""

    MORE = "more"  # the whole interval lies above 1
    LESS = "less"  # the whole interval lies below 1
    NONE = "none"  # neither, and the whole interval lies within what makes no difference
    OPEN = "open"  # none of these, or there is no interval


def effect(
    low: float | None, high: float | None, *, counts: float = 0.0, tolerance: float = NO_DIFFERENCE
) -> Effect:
    """Return what an interval says of a ratio.

    `counts` is by how much, as a share, a ratio has to differ from 1 to be more or less; `tolerance` is
    within how much of 1 it makes no difference.
    """
    if low is None or high is None:
        return Effect.OPEN
    if low > 1 + counts:
        return Effect.MORE
    if high < 1 / (1 + counts):
        return Effect.LESS
    return Effect.NONE if 1 / (1 + tolerance) <= low and high <= 1 + tolerance else Effect.OPEN


def one_round(rounds: int) -> str:
    """Return the sentence on runs of so few rounds that nothing can be compared with them; else nothing."""
    if not 0 < rounds < MIN_ROUNDS:
        return ""
    return (
        f"{'one round' if rounds == 1 else f'{rounds} rounds'}: intervals hold within these processes, and "
        "not for the next. Compared with another run this one can tell nothing; measure.rounds of "
        f"{least_rounds(CONFIDENCE)} or more can"
    )


def of_pairs(base: Sequence[float], new: Sequence[float], confidence: float) -> Ratio:
    """Estimate the ratio from the positive values of rounds that were measured in turn, pair by pair.

    The ratio is the middle of the interval's own kind, the median of the means of all pairs of pairs (Hodges
    and Lehmann). With too few pairs for `confidence` without an assumption, Student's interval stands in,
    which takes the logarithms for normal.
    """
    logs = [math.log(b / a) for a, b in zip(base, new, strict=True)]
    one, other = np.triu_indices(len(logs))
    values = np.asarray(logs)
    means = np.sort((values[one] + values[other]) / 2)
    middle = float(np.median(means))
    kind, bounds = IntervalKind.BETWEEN_ROUNDS, _signed_rank(means, len(logs), confidence)
    if bounds is None:
        kind, bounds = IntervalKind.BETWEEN_ROUNDS_T, student_interval(logs, confidence)
    return Ratio(
        ratio=math.exp(middle),
        low=None if bounds is None else _exp(min(bounds[0], middle)),
        high=None if bounds is None else _exp(max(bounds[1], middle)),
        interval=IntervalKind.NONE if bounds is None else kind,
        rounds=len(logs),
    )


def of_levels(base: Sequence[float], new: Sequence[float], confidence: float, *, apart: float = 0.0) -> Ratio:
    """Estimate the ratio from the positive values of each side's rounds.

    `apart` is by how much, as a share, the machine itself may have changed from one side's rounds to the
    other's: it widens the interval as a further source of error, independent of theirs.
    """
    found = ratio(*(summarise([[level] for level in levels], confidence) for levels in (new, base)))
    if found.low is None or found.high is None:
        return found
    beyond = math.log1p(apart)
    down = math.hypot(math.log(found.ratio / found.low), beyond)
    up = math.hypot(math.log(found.high / found.ratio), beyond)
    return replace(found, low=found.ratio * math.exp(-down), high=found.ratio * _exp(up))


def rounds_needed(found: Ratio, threshold: float, confidence: float) -> int | None:
    """Return how many rounds would settle on which side of a threshold the ratio lies, by its scatter so far.

    An interval shrinks with the root of the rounds. None where that is not to be foreseen: the ratio lies on
    a threshold, as nearly as can be told, or there is no interval to go by.
    """
    if found.low is None or found.high is None:
        return None  # nothing is known of the scatter
    least = least_rounds(confidence)
    middle, limit = math.log(found.ratio), math.log1p(threshold)
    if middle > limit:  # towards slower: its lower end has to come above
        room, half = middle - limit, middle - math.log(found.low)
    elif middle < -limit:
        room, half = -limit - middle, math.log(found.high) - middle
    else:  # both ends have to come within, the one that has further to go for the less room counts
        ends = (
            (limit - middle, math.log(found.high) - middle),
            (middle + limit, middle - math.log(found.low)),
        )
        room, half = max(ends, key=lambda end: end[1] / end[0] if end[0] > 0 else math.inf)
    if room <= 0:
        return None
    factor = (half / room) ** 2
    if found.rounds * factor > MAX_ROUNDS_FORESEEN:
        return None
    return max(least, found.rounds + 1, math.ceil(found.rounds * factor))


def least_rounds(confidence: float) -> int:
    """Return the fewest rounds that give an interval of this confidence without an assumption.

    For pairs and for levels alike: all signs the same have a chance of 2 / 2**n.
    """
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9)


def _signed_rank(means: NDArray[np.float64], pairs: int, confidence: float) -> tuple[float, float] | None:
    """Return the interval from the sorted means of all pairs of values, a value with itself included.

    The k-th mean from either end, for the largest k at which both tails of the signed ranks' sum are within
    what `confidence` leaves. None where even the outermost leave too much.
    """
    left = _left_out(pairs, confidence)
    return (float(means[left - 1]), float(means[-left])) if left >= 1 else None


@lru_cache
def _left_out(pairs: int, confidence: float) -> int:
    """Return how many of the lowest signed-rank sums have at most half the chance `confidence` leaves."""
    chance = (1 - confidence) / 2
    if pairs > MAX_EXACT_PAIRS:
        middle = pairs * (pairs + 1) / 4
        deviation = math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        return math.floor(middle + NormalDist().inv_cdf(chance) * deviation + 0.5)
    counts = np.ones(1)
    for rank in range(1, pairs + 1):  # the chance of each sum, one more rank at a time
        grown = np.zeros(len(counts) + rank)
        grown[: len(counts)] += counts / 2
        grown[rank:] += counts / 2
        counts = grown
    return int(np.searchsorted(np.cumsum(counts), chance, side="right"))


def _exp(value: float) -> float:
    return math.exp(min(value, LARGEST_LOGARITHM))
