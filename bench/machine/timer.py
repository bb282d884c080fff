"""The timer that samples are taken with: what asking it costs, and the least that it tells apart."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Final

BATCHES: Final = 21
"""The median of so many is not moved by an interruption or two."""

CALLS: Final = 1000
"""In a batch: together they take some 50 microseconds, a thousand times what is to be measured."""


@dataclass(frozen=True, kw_only=True)
class Timer:
    """time.perf_counter on this machine, in seconds."""

    cost_s: float  # of one call, the loop around it included: at most what a sample is too long by
    resolution_s: float  # the least difference seen between two calls that were not equal


def measure(clock: Callable[[], float] = perf_counter) -> Timer:
    """Ask the clock back to back; takes a few milliseconds."""
    costs, steps = [], []
    for _ in range(BATCHES):
        readings = [clock() for _ in range(CALLS)]
        costs.append((readings[-1] - readings[0]) / (CALLS - 1))
        steps += [after - before for before, after in pairwise(readings) if after > before]
    return Timer(cost_s=median(costs), resolution_s=min(steps, default=float("inf")))
