"""Medians, their intervals and ratios of them. Pure; no sample is dropped, no distribution assumed.

The interval of a median is the one of order statistics (a sign test turned round): it holds for any
continuous distribution and any number of values, and needs at least six values for 95 %. A bootstrap was
not taken: of seven values it covers 88 % where 95 % is claimed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median, quantiles
from typing import Final

CONFIDENCE: Final = 0.95

MIN_VALUES_FOR_INTERVAL: Final = 6
"""1 - 2 * 0.5**n first exceeds 95 % at n = 6: with fewer values even the whole range covers less."""


class IntervalKind(StrEnum):
    """What an interval speaks of: how a summary's `low` and `high` were made."""

    BETWEEN_ROUNDS = "between_rounds"  # of the medians of six rounds or more: holds for the next process too
    WITHIN_PROCESS = "within_process"  # of the samples: holds for these processes only, and is too narrow
    NONE = "none"  # too few values for any


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A median with its quartiles and interval, in the unit of the values."""

    n_rounds: int
    n: int
    median: float
    q1: float
    q3: float
    low: float | None
    high: float | None
    interval: IntervalKind


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two medians and its interval; `low` and `high` are None where a side has none."""

    ratio: float
    low: float | None
    high: float | None


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The narrowest symmetric pair of order statistics that covers the median with at least `confidence`.

    None where there are too few values for it.
    """
    n = len(values)
    # rank becomes the largest k with P(k <= Binomial(n, 1/2) <= n - k) >= confidence. From the middle
    # outward, since the terms of the tails are too small for a float where n is large.
    rank = n // 2
    term = math.prod((2 * i - 1) / (2 * i) for i in range(1, (n + 1) // 2 + 1))  # P(Binomial = rank)
    covered = term if n % 2 == 0 else 2 * term
    while rank > 0 and covered < confidence:
        term *= rank / (n - rank + 1)
        covered += 2 * term
        rank -= 1
    if rank == 0:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[n - rank]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and third quartile, interpolated between values (the method of most spreadsheets)."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = quantiles(values, n=4, method="inclusive")
    return first, third


def summarise(rounds: Sequence[Sequence[float]]) -> Summary:
    """The figure of a cell from its steady samples, one sequence per round (process).

    The round is the unit of repetition: the figure is the median of the rounds' medians, and with six
    rounds or more so is its interval. Samples of one process are not independent of each other, so that
    pooling them as if they were claims too much; with fewer rounds that is all there is, and its kind says
    so.
    """
    medians = [median(samples) for samples in rounds]
    pooled = [sample for samples in rounds for sample in samples]
    figure = median(medians)
    first, third = quartiles(pooled)
    bounds = median_interval(medians)
    kind = IntervalKind.BETWEEN_ROUNDS
    if bounds is None:
        bounds = median_interval(pooled)
        kind = IntervalKind.WITHIN_PROCESS if bounds else IntervalKind.NONE
    return Summary(
        n_rounds=len(rounds),
        n=len(pooled),
        median=figure,
        q1=first,
        q3=third,
        # With few uneven rounds the median of medians may lie outside the pooled interval.
        low=None if bounds is None else min(bounds[0], figure),
        high=None if bounds is None else max(bounds[1], figure),
        interval=kind,
    )


def ratio(numerator: Summary, denominator: Summary) -> Ratio:
    """The ratio of two positive medians, its interval from both sides.

    The interval is MOVER's (Zou and Donner, Statistics in Medicine 27, 2008) on logarithms: each bound
    combines the distances of both medians to the bounds that move the ratio that way, as the root of the
    sum of their squares, so that it is asymmetric where they are.
    """
    value = numerator.median / denominator.median
    if (
        numerator.low is None
        or numerator.high is None
        or denominator.low is None
        or denominator.high is None
        or min(numerator.low, denominator.low) <= 0
    ):
        return Ratio(ratio=value, low=None, high=None)
    down = math.hypot(
        math.log(numerator.median / numerator.low), math.log(denominator.high / denominator.median)
    )
    up = math.hypot(
        math.log(numerator.high / numerator.median), math.log(denominator.median / denominator.low)
    )
    return Ratio(ratio=value, low=value * math.exp(-down), high=value * math.exp(up))


def paired_ratio(numerators: Sequence[Sequence[float]], denominators: Sequence[Sequence[float]]) -> Summary:
    """The median of the ratios of pairs measured one right after the other, a sequence of them per round."""
    return summarise(
        [
            [a / b for a, b in zip(above, below, strict=True)]
            for above, below in zip(numerators, denominators, strict=True)
        ]
    )
