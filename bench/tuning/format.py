"""Format the figures of steps and searches. Pure."""

import math

from bench.units import significant


def times(value: float) -> str:
    """Format a ratio as `1.43×`: three digits, and no more than two behind the point."""
    return f"{value:.2f}×" if value < 10 else f"{significant(value)}×"


def with_interval(ratio: float, low: float | None, high: float | None) -> str:
    """Format a ratio as `1.43× (1.40 to 1.46)`; without an interval the ratio alone."""
    return (
        times(ratio)
        if low is None or high is None
        else (f"{times(ratio)} ({times(low)[:-1]} to {times(high)[:-1]})")
    )


def decibels(psnr_db: float | None) -> str:
    """Format as `123 dB`, or `equal` without any error; empty where not known, as of the reference itself."""
    if psnr_db is None:
        return ""
    return "equal" if psnr_db == math.inf else f"{psnr_db:.0f} dB"
