"""Figures that no machine has, as of a journal that was not measured: shown in a few digits all the same."""

import math
from typing import Final

from bench.units import significant

MOST: Final = 1e9
"""From here on, and below its inverse, a figure has an exponent: its digits would say no more."""


def legible(value: float, digits: int = 3) -> str:
    """As `significant`, but with an exponent where that would be a long row of digits: `1.23e+300`."""
    if value and math.isfinite(value) and not 1 / MOST <= abs(value) < MOST:
        return f"{value:.{digits - 1}e}"
    return significant(value, digits)
