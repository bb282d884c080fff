"""Patterns in a cell's steady samples that make its median a poor figure. Pure.

Each test speaks for a whole cell, a sequence of samples per round. They are tuned so that on samples without
the pattern a cell is called less than once in a hundred by all three together: docs/evidence.md has the rates
by simulation. A test that finds something gives how large it is, and its caller decides whether that matters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, median
from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES: Final = 6
"""Fewest samples of a round: with five, any order of the values is too likely by chance to say something."""

DRIFT_ALPHA: Final = 0.003
"""Chance of calling a trend in samples that have none. Of six values in a row all rising or all falling are
2 of the 720 orders, 0.28 %."""

MAX_EXACT_PAIRS: Final = 1500
"""Up to so many compared pairs the trend's distribution is exact; beyond, the normal one is as good."""

MAX_COMPARED: Final = 256
"""Longer rounds are compared as the medians of so many successive blocks: pairs grow with the square."""

MIN_MODE: Final = 3
MIN_MODE_SHARE: Final = 0.2
"""A mode has at least so many samples and such a share of them: fewer are outliers."""


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Two groups of samples; levels relative to their rounds' medians."""

    low: float
    high: float
    share_low: float


def drift(rounds: Sequence[Sequence[float]]) -> float | None:
    """Return the change over a round, relative to its median, where samples trend in time; otherwise None.

    Kendall's rank test of each round against its order, the scores added up over rounds (the seasonal
    Kendall test; Hirsch, Slack and Smith 1982), exact for few samples. The change is the Theil-Sen slope
    times the length.
    """
    compared = [_condensed(samples) for samples in rounds if len(samples) > 1]
    score = 0
    changes = []
    for values in compared:
        differences = [np.subtract(values[i + 1 :], values[i]) for i in range(len(values) - 1)]
        score += int(sum(np.sign(item).sum() for item in differences))
        slopes = np.concatenate([item / np.arange(1, len(item) + 1) for item in differences])
        changes.append(float(np.median(slopes)) * (len(values) - 1) / float(np.median(values)))
    if not compared or _chance([len(values) for values in compared], score) > DRIFT_ALPHA:
        return None
    return median(changes)


def first_excess(rounds: Sequence[Sequence[float]]) -> float | None:
    """Return by how much the first sample exceeds the others' median, relative to it, if it stands apart.

    It does where its distance above all other samples exceeds their whole range by a factor that falls with
    their number (8 / (n - 3) + 0.35, from simulation), in more than half of the rounds.
    """
    excesses = []
    asked = 0
    for samples in rounds:
        n = len(samples)
        if n < MIN_SAMPLES:
            continue
        asked += 1
        first, rest = samples[0], samples[1:]
        low, high = min(rest), max(rest)
        if first - high > (8 / (n - 3) + 0.35) * (high - low):
            excesses.append(first / median(rest) - 1)
    return median(excesses) if excesses and 2 * len(excesses) > asked else None


def modes(rounds: Sequence[Sequence[float]]) -> Modes | None:
    """Return the two groups that the samples fall into, relative to their rounds' medians; None for one
    group.

    The split with the least squares within both groups; it counts where the groups' means are more than
    4.5 + 21 / (n - 3) of the deviations within apart (from simulation: the best split of a single group
    separates it by 2.6 where there are many samples, and by much more where there are few).
    """
    scaled: NDArray[np.float64] = np.sort(
        np.concatenate(
            [np.asarray(samples) / median(samples) for samples in rounds if len(samples) >= MIN_SAMPLES]
            or [np.empty(0)]
        )
    )
    n = len(scaled)
    least = max(MIN_MODE, math.ceil(MIN_MODE_SHARE * n))
    if n < 2 * least:
        return None
    below = np.arange(least, n - least + 1)  # how many samples the lower group has
    # Less their mean: squares of numbers near 1 would lose the digits that tell them apart.
    centred = scaled - scaled.mean()
    sums, squares = np.cumsum(centred), np.cumsum(centred**2)
    low_sum = sums[below - 1]
    within = squares[-1] - low_sum**2 / below - (sums[-1] - low_sum) ** 2 / (n - below)
    best = int(np.argmin(within))
    size = int(below[best])
    low, high = float(scaled[:size].mean()), float(scaled[size:].mean())
    deviation = math.sqrt(max(float(within[best]), 0.0) / (n - 2))
    if high - low <= (4.5 + 21 / (n - 3)) * deviation:
        return None
    return Modes(low=low, high=high, share_low=size / n)


def _condensed(samples: Sequence[float]) -> NDArray[np.float64]:
    if len(samples) <= MAX_COMPARED:
        return np.asarray(samples, dtype=np.float64)
    edges = np.linspace(0, len(samples), MAX_COMPARED + 1).astype(int)
    return np.array([median(samples[start:stop]) for start, stop in pairwise(edges)])


def _chance(sizes: Sequence[int], score: int) -> float:
    """Return the two-sided chance of a sum of Kendall scores at least as far from zero, without a trend."""
    pairs = sum(n * (n - 1) // 2 for n in sizes)
    if pairs > MAX_EXACT_PAIRS:
        deviation = math.sqrt(sum(n * (n - 1) * (2 * n + 5) / 18 for n in sizes))
        return 2 * (1 - NormalDist().cdf((abs(score) - 1) / deviation))
    chances = np.ones(1)  # of each number of pairs in falling order, one more value at a time
    for n in sizes:
        for values in range(2, n + 1):
            chances = np.convolve(chances, np.full(values, 1 / values))
    # A score is the pairs that rise less those that fall; a tie counts as neither.
    falling = (pairs - abs(score)) // 2
    return min(1.0, 2 * float(chances[: falling + 1].sum()))
