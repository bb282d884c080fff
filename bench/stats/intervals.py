"""Medians, their intervals, spreads and ratios. Pure; no sample is dropped.

The interval of a median is the one of order statistics (a sign test turned round): it holds for any
continuous distribution and any number of values, and needs at least six values for 95 %. A bootstrap was
not taken: of seven values it covers 88 % where 95 % is claimed. Fewer rounds, at least three, have Student's
interval, which needs an assumption and is named for it. docs/evidence.md has the coverage of each by
simulation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median, quantiles, stdev, variance
from typing import Final

import numpy as np
from scipy.special import bdtr, stdtrit

CONFIDENCE: Final = 0.95

MIN_ROUNDS: Final = 3
"""For Student's interval. With two it is 12.7 deviations wide: as good as none."""

LARGEST_LOGARITHM: Final = 700.0
"""Beyond 709 `exp` overflows."""


class IntervalKind(StrEnum):
    """How a summary's `low` and `high` were made, and so what they hold for."""

    BETWEEN_ROUNDS = "between_rounds"  # of the medians of six rounds or more: holds for the next process too
    BETWEEN_ROUNDS_T = "between_rounds_t"  # of three to five; holds too, where they scatter about normally
    WITHIN_PROCESS = "within_process"  # of the samples: holds for these processes only, and is too narrow
    NONE = "none"  # too few values for any


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The ends of a figure's interval, both None without one, and its kind."""

    low: float | None
    high: float | None
    interval: IntervalKind

    @property
    def assumed(self) -> bool:
        """Return whether it takes the rounds for normal about the figure."""
        return self.interval is IntervalKind.BETWEEN_ROUNDS_T


@dataclass(frozen=True, kw_only=True)
class Summary(Interval):
    """A median with its quartiles and interval, in the unit of the values."""

    n_rounds: int
    n: int
    median: float
    q1: float
    q3: float


@dataclass(frozen=True, kw_only=True)
class Ratio(Interval):
    """A ratio of two figures with its interval, and the rounds of the side that has fewer."""

    ratio: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How samples scatter, as fractions of the figure: robust standard deviations, never negative.

    `within` is that of the samples of one process, `between` that of the processes' levels beyond what
    `within` explains of their medians' differences; 0 where it explains all. None is what cannot be known:
    `within` with one sample in each round, `between` also with one round.
    """

    within: float | None
    between: float | None


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the narrowest symmetric order statistics that cover the median with at least `confidence`.

    None where there are too few values for it.
    """
    n = len(values)
    # The k-th values from either end leave out what has this chance, for k = 1, 2, ...
    left_out = bdtr(np.arange(n // 2), n, 0.5)
    rank = int(np.searchsorted(left_out, (1 - confidence) / 2, side="right"))
    if rank == 0:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[n - rank]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and third quartile, interpolated between values (the method of most spreadsheets)."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = quantiles(values, n=4, method="inclusive")
    return first, third


def student_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return Student's interval of the mean, which takes the values for normal. None for fewer than three."""
    if len(values) < MIN_ROUNDS:
        return None
    quantile = float(stdtrit(len(values) - 1, (1 + confidence) / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def levels_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return Student's interval of rounds' levels, on logarithms where all are positive.

    Where they do not scatter normally, as where some processes run another algorithm, it can lie inside
    their range, which covers 94 % of five whatever their distribution: it is widened to that then.
    """
    logarithmic = min(values) > 0
    bounds = student_interval([math.log(value) for value in values] if logarithmic else values, confidence)
    if bounds is None:
        return None
    low, high = (math.exp(min(end, LARGEST_LOGARITHM)) for end in bounds) if logarithmic else bounds
    return min(low, *values), max(high, *values)


def summarise(rounds: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Summary:
    """Summarise a cell's steady samples, one sequence per round (process).

    The round is the unit of repetition: the figure is the median of the rounds' medians, and so is its
    interval with three rounds or more. Samples of one process are not independent of each other, so that
    pooling them as if they were claims too much. With one or two rounds the interval is that of these very
    processes, from each one's own samples, and its kind says so.
    """
    medians = [median(samples) for samples in rounds]
    pooled = [sample for samples in rounds for sample in samples]
    figure = median(medians)
    first, third = quartiles(pooled)
    kind, bounds = _interval(rounds, medians, confidence)
    return Summary(
        n_rounds=len(rounds),
        n=len(pooled),
        median=figure,
        q1=first,
        q3=third,
        # Rounding alone can leave the figure outside, where all values are the same.
        low=None if bounds is None else min(bounds[0], figure),
        high=None if bounds is None else max(bounds[1], figure),
        interval=kind,
    )


def _interval(
    rounds: Sequence[Sequence[float]], medians: Sequence[float], confidence: float
) -> tuple[IntervalKind, tuple[float, float] | None]:
    if bounds := median_interval(medians, confidence):
        return IntervalKind.BETWEEN_ROUNDS, bounds
    if bounds := levels_interval(medians, confidence):
        return IntervalKind.BETWEEN_ROUNDS_T, bounds
    if bounds := _fixed_processes_interval(rounds, medians, confidence):
        return IntervalKind.WITHIN_PROCESS, bounds
    return IntervalKind.NONE, None


def _fixed_processes_interval(
    rounds: Sequence[Sequence[float]], medians: Sequence[float], confidence: float
) -> tuple[float, float] | None:
    """Return the interval of the mean of one or two processes' medians, for these very processes.

    Each process's own interval of order statistics, two of them combined as in `ratio` (MOVER). None where
    a process has too few samples for its own.
    """
    own = [bounds for samples in rounds if (bounds := median_interval(samples, confidence))]
    if not own or len(own) < len(rounds):
        return None
    down = math.hypot(*(middle - low for middle, (low, _) in zip(medians, own, strict=True)))
    up = math.hypot(*(high - middle for middle, (_, high) in zip(medians, own, strict=True)))
    return fmean(medians) - down / len(own), fmean(medians) + up / len(own)


def spread(rounds: Sequence[Sequence[float]]) -> Spread:
    """Estimate the scatter of the samples within a process, and of the processes' levels.

    Within: the median absolute deviation of each round's samples from their median, times what makes it a
    normal distribution's standard deviation for that many samples (Croux and Rousseeuw 1992), as a fraction
    of the median; the mean over rounds, each weighted by its samples less one. Between: the variance of the
    medians' logarithms less what the scatter within gives medians of so few samples, at least 0 (analysis
    of variance, with medians).
    """
    known = [samples for samples in rounds if samples]
    several = [samples for samples in known if len(samples) > 1 and median(samples) > 0]
    if not several:
        return Spread(within=None, between=None)
    weights = [len(samples) - 1 for samples in several]
    within = sum(map(math.prod, zip(map(_robust_deviation, several), weights, strict=True))) / sum(weights)
    medians = [median(samples) for samples in known]
    if len(medians) < 2 or min(medians) <= 0:
        return Spread(within=within, between=None)
    explained = within**2 * fmean(_median_variance(len(samples)) for samples in known)
    beyond = variance([math.log(value) for value in medians]) - explained
    return Spread(within=within, between=math.sqrt(max(0.0, beyond)))


_DEVIATION_FACTORS: Final = (1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)
"""For two to nine values, beside 1.4826 (Croux and Rousseeuw, COMPSTAT 1992); n / (n - 0.8) for more."""


def _robust_deviation(samples: Sequence[float]) -> float:
    """Return the median absolute deviation as a standard deviation, as a fraction of the median."""
    n = len(samples)
    middle = median(samples)
    factor = _DEVIATION_FACTORS[n - 2] if n - 2 < len(_DEVIATION_FACTORS) else n / (n - 0.8)
    return 1.4826 * factor * median(abs(sample - middle) for sample in samples) / middle


def _median_variance(n: int) -> float:
    """Return the variance of the median of n normal values, in one value's: 1 for one, pi / 2n for many."""
    return math.pi / (2 * n + math.pi - 2)


def ratio(numerator: Summary, denominator: Summary) -> Ratio:
    """Return the ratio of two positive medians, with its interval from both sides.

    The interval is MOVER's (Zou and Donner, Statistics in Medicine 27, 2008) on logarithms: each bound
    combines the distances of both medians to the bounds that move the ratio that way, as the root of the
    sum of their squares, so that it is asymmetric where they are. A figure over itself is 1 exactly: no
    interval can widen that.
    """
    value = 1.0 if numerator is denominator else numerator.median / denominator.median
    # It holds for no more than the weaker of the two does.
    kind = max(numerator.interval, denominator.interval, key=list(IntervalKind).index)
    rounds = min(numerator.n_rounds, denominator.n_rounds)
    if numerator is denominator:
        return Ratio(ratio=value, low=value, high=value, interval=kind, rounds=rounds)
    if (
        numerator.low is None
        or numerator.high is None
        or denominator.low is None
        or denominator.high is None
        or min(numerator.low, denominator.low) <= 0
    ):
        return Ratio(ratio=value, low=None, high=None, interval=kind, rounds=rounds)
    down = math.hypot(
        math.log(numerator.median / numerator.low), math.log(denominator.high / denominator.median)
    )
    up = math.hypot(
        math.log(numerator.high / numerator.median), math.log(denominator.median / denominator.low)
    )
    return Ratio(
        ratio=value, low=value * math.exp(-down), high=value * math.exp(up), interval=kind, rounds=rounds
    )


def paired_ratio(numerators: Sequence[Sequence[float]], denominators: Sequence[Sequence[float]]) -> Summary:
    """Return the median ratio of pairs measured one right after the other, a sequence of pairs per round."""
    return summarise(
        [
            [a / b for a, b in zip(above, below, strict=True)]
            for above, below in zip(numerators, denominators, strict=True)
        ]
    )
