"""Decide when warm-up has reached the steady level, and which first calls were autotuning or compilation.

Pure: wall times in, a word or a number out. The two newest windows of calls are compared with each other.
A window's level is its lower median, so that in a window of two calls one slow outlier does not count, and
the cold call may stand in the first window. The levels have to agree within a tolerance that grows with the
noise, so that noise alone does not keep a cell warming up.
"""

from collections.abc import Sequence
from enum import StrEnum
from statistics import median, median_low
from typing import Final

WINDOW_CALLS: Final = 2
"""Fewest calls of a window: two windows, the cold call in the first, end after three calls of warm-up."""

WINDOW_S: Final = 0.05
"""Shortest window in seconds: clocks take some ten milliseconds to rise, and short calls end before."""

MAX_WINDOW_CALLS: Final = 50
"""Longest window: calls so short that 50 of them take less than WINDOW_S are not waited for longer."""

TOLERANCE: Final = 0.03
"""Levels that differ by no more than this fraction of the newer agree, however quiet the calls are."""

MAX_CALLS: Final = 10
"""Calls of warm-up after which it is given up, as soon as they took MAX_S as well."""

MAX_S: Final = 1.0
"""Seconds that short calls may go on warming up beyond MAX_CALLS."""

MAX_SHORT_CALLS: Final = 500
"""Calls of warm-up after which it is given up however short they are."""

TUNING_FACTOR: Final = 1.5
"""A first call that takes this many times the steady level did more than the later ones."""


class Steadiness(StrEnum):
    """The state of a warm-up."""

    STEADY = "steady"
    NOT_YET = "not_yet"
    GAVE_UP = "gave_up"  # the limit is reached and the last windows still differ


def steadiness(cold_s: float, warmup_s: Sequence[float]) -> Steadiness:
    """Decide whether to measure now (STEADY, GAVE_UP) or to make another call of warm-up (NOT_YET).

    `cold_s` is the first call's wall time and `warmup_s` those of the calls after it, in seconds and in
    their order. A quiet series is steady after three calls of warm-up.
    """
    walls = (cold_s, *warmup_s)
    window = _window_calls(walls)
    if len(walls) >= 2 * window and _agree(walls[-2 * window : -window], walls[-window:]):
        return Steadiness.STEADY
    calls = len(warmup_s)
    if calls >= MAX_SHORT_CALLS or (calls >= MAX_CALLS and sum(warmup_s) >= MAX_S):
        return Steadiness.GAVE_UP
    return Steadiness.NOT_YET


def tuning_calls(walls_s: Sequence[float]) -> int:
    """Count the first calls that did more than the later ones: autotuning, compilation, lazy loading.

    `walls_s` are the wall times of all calls in their order, the cold one first, those of warm-up and, where
    they are known, the steady ones after it. The calls counted are those before the first that is near the
    steady level, which is the median of the later half.
    """
    if len(walls_s) < 2:
        return 0
    later = walls_s[len(walls_s) // 2 :]
    level = median(later)
    limit = max(TUNING_FACTOR * level, level + 5 * _noise(later))
    near = (number for number, wall in enumerate(walls_s) if wall <= limit)
    return next(near, 0)


def _window_calls(walls: Sequence[float]) -> int:
    """Return the number of calls in a window that ends with the last call."""
    window, length_s = 0, 0.0
    for wall in reversed(walls):
        window += 1
        length_s += wall
        if window >= WINDOW_CALLS and (length_s >= WINDOW_S or window >= MAX_WINDOW_CALLS):
            return window
    return max(window, WINDOW_CALLS)


def _agree(older: Sequence[float], newer: Sequence[float]) -> bool:
    level = median_low(newer)
    # The quieter window's noise, so that an outlier in the other does not make any two levels agree.
    noise = min(_noise(older), _noise(newer))
    return abs(median_low(older) - level) <= max(TOLERANCE * level, noise)


def _noise(walls: Sequence[float]) -> float:
    """Return twice the median distance from the lower median: of two calls their difference."""
    level = median_low(walls)
    return 2 * median(abs(wall - level) for wall in walls)
