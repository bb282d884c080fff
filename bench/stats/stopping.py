"""When a round has samples enough: a pure rule, asked between two timed calls.

A rule that looks at the interval again and again stops where the samples happen to lie close together, and
the interval that it then leaves covers less than it says. Against that the target has to be met at a higher
confidence than the interval that is reported. Looking seldom instead, with counts that grow by a quarter or
a half, costs more samples for the same coverage: docs/evidence.md has both by simulation, and what is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import median
from typing import Final

from bench.stats.intervals import median_interval

STOPPING_CONFIDENCE: Final = 0.98
"""Confidence of the interval that must meet the target (95 % is reported). It needs seven samples."""

LOOK_GROWTH: Final = 1.05
"""A look comes at this many times the count of the last, at least one more: some 90 up to a thousand."""


class Stop(StrEnum):
    """The reason why a round's sampling ended."""

    COUNT = "count"  # a fixed number was asked for
    TARGET = "target"  # the median's interval is within the target
    MAX = "max"  # as many as are allowed, and the target not met, or none given
    BUDGET = "budget"  # the time is spent, and the target not met, or none given


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The number of samples of a round: at least `min`, at any cost, and at most `max`.

    Between the two it ends where the target is met or `budget_s` seconds are spent. `target` is a fraction:
    0.02 is met where both ends of the median's interval, at STOPPING_CONFIDENCE, lie within 2 % of the
    median. A fixed number is a rule whose min is its max, without a target.
    """

    min: int
    max: int
    target: float | None = None
    budget_s: float | None = None

    @classmethod
    def fixed(cls, count: int) -> "Rule":
        """Make a rule of exactly `count` samples."""
        return cls(min=count, max=count)


def decide(rule: Rule, values: Sequence[float], elapsed_s: float) -> Stop | None:
    """Return why to stop after these samples, taken in `elapsed_s` seconds, or None to take another.

    Cheap between two timed calls: the samples are sorted only at a look.
    """
    n = len(values)
    if n < rule.min:
        return None
    forced = None
    if n >= rule.max:
        forced = Stop.COUNT if rule.target is None and rule.min == rule.max else Stop.MAX
    elif rule.budget_s is not None and elapsed_s >= rule.budget_s:
        forced = Stop.BUDGET
    # What forces the stop knows nothing of the samples: looking then costs no coverage.
    looks = rule.target is not None and (forced is not None or n in look_counts(rule.min, rule.max))
    if looks and rule.target is not None:
        distance = half_width(values)
        if distance is not None and distance <= rule.target:
            return Stop.TARGET
    return forced


def half_width(values: Sequence[float]) -> float | None:
    """Return the distance of the further end of the median's interval, as a fraction of the median.

    At STOPPING_CONFIDENCE. None where there are too few samples for an interval, or the median is not
    positive.
    """
    bounds = median_interval(values, STOPPING_CONFIDENCE)
    middle = median(values)
    if bounds is None or middle <= 0:
        return None
    return max(middle - bounds[0], bounds[1] - middle) / middle


@lru_cache(maxsize=64)
def look_counts(minimum: int, maximum: int) -> frozenset[int]:
    """Return the counts at which a rule compares the interval with its target."""
    counts = []
    count = minimum
    while count < maximum:
        counts.append(count)
        count = max(count + 1, round(count * LOOK_GROWTH))
    return frozenset((*counts, maximum))
