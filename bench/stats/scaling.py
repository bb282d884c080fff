"""How a quantity grows: its exponent along each axis, by least squares on logarithms. Pure.

The model is log value = c + sum of exponent x log axis. The interval of an exponent is Student's, from the
points' deviations from the fit, so that it holds where growth is a power; it is at least as wide as the
points' own intervals make it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.stats.intervals import CONFIDENCE

_NORMAL: Final = float(ndtri((1 + CONFIDENCE) / 2))


@dataclass(frozen=True, kw_only=True)
class Point:
    """A positive value at a place on each axis, with its interval where it has one."""

    at: tuple[float, ...]
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """The exponent along an axis; without an interval where no point is left over to judge the fit by."""

    exponent: float
    low: float | None
    high: float | None


def exponents(points: Sequence[Point]) -> list[Exponent | None]:
    """Return the exponent of each axis; None of one along which no point varies.

    All are None where the axes vary together, so that none can be told from another.
    """
    places = np.log([point.at for point in points])
    varies = np.ptp(places, axis=0) > 0
    design = np.column_stack([np.ones(len(points)), places[:, varies]])
    count, width = design.shape
    none: list[Exponent | None] = [None] * len(varies)
    if width == 1 or np.linalg.matrix_rank(design) < width:
        return none
    solve = np.linalg.pinv(design)
    values = np.log([point.value for point in points])
    fitted = solve @ values
    half = _half_widths(design, solve, values - design @ fitted, points) if count > width else None
    found = iter(range(1, width))
    return [
        _exponent(float(fitted[index]), None if half is None else float(half[index]))
        if is_axis and (index := next(found))
        else None
        for is_axis in varies
    ]


def _exponent(value: float, half: float | None) -> Exponent:
    return Exponent(
        exponent=value,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
    )


def _half_widths(
    design: NDArray[np.float64],
    solve: NDArray[np.float64],
    residuals: NDArray[np.float64],
    points: Sequence[Point],
) -> NDArray[np.float64]:
    """Return half the width of each coefficient's interval: Student's, or that of the points if wider."""
    freedom = design.shape[0] - design.shape[1]
    variance = float(residuals @ residuals) / freedom
    quantile = float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    of_fit = quantile * np.sqrt(variance * np.diag(solve @ solve.T))
    own = np.array([_deviation(point) for point in points])
    of_points = _NORMAL * np.sqrt(np.square(solve) @ np.square(own))
    wider: NDArray[np.float64] = np.maximum(of_fit, of_points)
    return wider


def _deviation(point: Point) -> float:
    """Return the standard deviation of the value's logarithm, by its interval; 0 where it has none."""
    if point.low is None or point.high is None or point.low <= 0:
        return 0.0
    return math.log(point.high / point.low) / (2 * _NORMAL)
