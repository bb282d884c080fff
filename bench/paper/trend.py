"""How figures move and scatter: a line through them, a robust one, a coefficient of variation. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, fmean, median, stdev
from typing import Final

from bench.statistics.stats import CONFIDENCE

_TAIL: Final = 1 - (1 - CONFIDENCE) / 2

MIN_FREEDOM: Final = 5
"""Degrees of freedom from which a deviation gets an interval; below, it spans a factor of four and more."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Least squares: `fixed + slope * x`; 95 % intervals by Student's t, None with two points."""

    n: int
    fixed: float
    slope: float
    residual: float | None  # standard deviation of what the line leaves over, in the unit of y
    fixed_low: float | None
    fixed_high: float | None
    slope_low: float | None
    slope_high: float | None

    def at(self, x: float) -> float:
        return self.fixed + self.slope * x


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A coefficient of variation, as a fraction, with its 95 % interval for normal values."""

    n: int  # of values
    value: float
    low: float | None  # None below MIN_FREEDOM
    high: float | None


def fit(xs: Sequence[float], ys: Sequence[float]) -> Line | None:
    """The line through the points; None for fewer than two places on x.

    The intervals hold where the points scatter about the line independently, normally and alike.
    """
    n = len(xs)
    if len(set(xs)) < 2:
        return None
    x_mean, y_mean = fmean(xs), fmean(ys)
    squares = math.fsum((x - x_mean) ** 2 for x in xs)
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / squares
    fixed = y_mean - slope * x_mean
    left = math.fsum((y - fixed - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    if n < 3:
        return Line(
            n=n, fixed=fixed, slope=slope, residual=None,
            fixed_low=None, fixed_high=None, slope_low=None, slope_high=None,
        )  # fmt: skip
    residual = math.sqrt(left / (n - 2))
    t = student_quantile(n - 2)
    of_slope = t * residual / math.sqrt(squares)
    of_fixed = t * residual * math.sqrt(1 / n + x_mean**2 / squares)
    return Line(
        n=n, fixed=fixed, slope=slope, residual=residual,
        fixed_low=fixed - of_fixed, fixed_high=fixed + of_fixed,
        slope_low=slope - of_slope, slope_high=slope + of_slope,
    )  # fmt: skip


def robust_line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Fixed part and slope by Theil and Sen: the median of all pairs' slopes, which outliers do not bend.

    Needs two different places on x.
    """
    slope = median(
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i, j in combinations(range(len(xs)), 2) if xs[i] != xs[j]
    )
    return median(y - slope * x for x, y in zip(xs, ys, strict=True)), slope


def variation(rounds: Sequence[Sequence[float]]) -> Variation | None:
    """How positive values scatter about their round's mean, rounds taken together; None for single values.

    The root of the rounds' mean squared coefficients, weighted by their values less one; the interval is
    that of a normal distribution's standard deviation (chi squared).
    """
    several = [values for values in rounds if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    squared = sum((len(values) - 1) * (stdev(values) / fmean(values)) ** 2 for values in several) / freedom
    value, n = math.sqrt(squared), sum(map(len, several))
    if freedom < MIN_FREEDOM:
        return Variation(n=n, value=value, low=None, high=None)
    low, high = (
        value * math.sqrt(freedom / chi_squared_quantile(tail, freedom)) for tail in (_TAIL, 1 - _TAIL)
    )
    return Variation(n=n, value=value, low=low, high=high)


def student_quantile(freedom: int, probability: float = _TAIL) -> float:
    """Student's t: exact for one and two degrees of freedom, beyond by Abramowitz and Stegun's 26.7.5.

    A test holds it to within 0.5 % of the true 97.5 % quantile.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        away = 2 * probability - 1
        return away * math.sqrt(2 / (1 - away**2))
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def chi_squared_quantile(probability: float, freedom: int) -> float:
    """By Wilson and Hilferty; within 5 % of the true 2.5 % and 97.5 % quantiles from MIN_FREEDOM on."""
    part = 2 / (9 * freedom)
    return freedom * float(1 - part + NormalDist().inv_cdf(probability) * math.sqrt(part)) ** 3
