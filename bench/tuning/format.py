"""Format the figures of steps and searches. Pure."""

import math
from typing import Protocol

from bench.units import significant


class Interval(Protocol):
    """A ratio and its interval, if there is one."""

    @property
    def ratio(self) -> float: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


def times(value: float) -> str:
    """Format a ratio as `1.43×`: three digits, and no more than two behind the point."""
    return f"{value:.2f}×" if value < 10 else f"{significant(value)}×"


def with_interval(found: Interval) -> str:
    """Format a ratio as `1.43× (1.40 to 1.46)`; without an interval the ratio alone."""
    if found.low is None or found.high is None:
        return times(found.ratio)
    return f"{times(found.ratio)} ({times(found.low)[:-1]} to {times(found.high)[:-1]})"


def decibels(psnr_db: float | None) -> str:
    """Format as `123 dB`, or `equal` without any error; empty where not known, as of the reference itself."""
    if psnr_db is None:
        return ""
    return "equal" if psnr_db == math.inf else f"{psnr_db:.0f} dB"
