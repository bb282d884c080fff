"""Where to cut series of runs so that their levels differ most: many orders of the same runs at once. Pure.

A series is a row of logarithms; with each go weights of about 1, and 0 for a run that counts for nothing.
bench.statistics.steps has the method of which this is the arithmetic.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MIN_RUNS: Final = 3
"""Of a level: of two runs that are slow, one cannot say that the third will be."""

MIN_ARC: Final = 4
"""Of a level that comes and goes again, of which a long series has many places to choose from."""

APART: Final = 5.0
"""Deviations beyond which a run stands apart: from the medians of the five before, around and after it."""

MAX_APART_SHARE: Final = 0.15
"""Of the runs: if more stand apart, that is how these runs scatter."""

SHUFFLES: Final = 200
MAX_CHANCE: Final = 0.01

MAX_CORRELATION: Final = 0.5
"""Of neighbours, that is allowed for: steps that are not found yet look like much more of it."""

_NEIGHBOURS: Final = 5  # of which the median is taken
_ENOUGH_TO_STAND_APART: Final = 8  # runs
_BATCH: Final = 1_000_000  # places that are weighed at once

Floats = NDArray[np.float64]
Places = tuple[NDArray[np.int_], NDArray[np.int_]]
"""First runs of stretches, and the runs after their last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """Of each row the stretch [first, end) that stands out most, with its t."""

    first: NDArray[np.int_]
    end: NDArray[np.int_]
    score: Floats


def kept(logs: Floats, weights: Floats, floor: float) -> Floats:
    """The weights, 0 for runs that stand apart. Of a series, or of rows of them."""
    n = logs.shape[-1]
    if n < _ENOUGH_TO_STAND_APART:
        return weights
    middle = np.median(np.lib.stride_tricks.sliding_window_view(logs, _NEIGHBOURS, axis=-1), axis=-1)
    after, around, before = (
        np.abs(logs - middle[..., np.clip(np.arange(n) - back, 0, n - _NEIGHBOURS)]) * np.sqrt(weights)
        for back in (0, _NEIGHBOURS // 2, _NEIGHBOURS - 1)
    )
    # Each run is among the five whose median it is held against, which brings it nearer: hence 1.35.
    deviation = np.maximum(1.35 * 1.4826 * np.median(around, axis=-1, keepdims=True), floor)
    # A run beside a step is far from the runs on one side of it, one that stands apart from those on both.
    apart = np.minimum(np.minimum(before, after), around) > APART * deviation
    few = apart.sum(axis=-1, keepdims=True) <= max(1.0, MAX_APART_SHARE * n)
    kept: Floats = np.where(apart & few, 0.0, weights)
    return kept


def halves(n: int) -> Places:
    """Every end of a first part that leaves enough runs on both sides, as a stretch that begins at 0."""
    ends = np.arange(MIN_RUNS, n - MIN_RUNS + 1)
    return np.zeros_like(ends), ends


def arcs(n: int) -> Places:
    """Stretches inside, of each length up to ten and then of lengths 15 % apart."""
    longest = n - 2 * MIN_RUNS
    lengths = {round(MIN_ARC * 1.15**power) for power in range(50)}
    found = [
        (first, first + length)
        for length in sorted(lengths)
        if length <= longest
        for first in range(MIN_RUNS, n - MIN_RUNS - length + 1)
    ]
    firsts, ends = np.array(found, dtype=np.int_).reshape(-1, 2).T
    return firsts, ends


def best(logs: Floats, weights: Floats, places: Places, floor: float) -> Best:
    """Of the places, those stretches that stand out most from the rest of their rows, with their t."""
    rows, n = logs.shape
    first, end = places
    logs = logs - (logs * weights).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    counts, total, sums = (_running(item) for item in (weights > 0, weights, weights * logs))
    inside, inner = counts[:, end] - counts[:, first], total[:, end] - total[:, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = (sums[:, end] - sums[:, first]) ** 2 * (1 / inner + 1 / (total[:, -1:] - inner))
    gains[(inside < MIN_RUNS) | (counts[:, -1:] - inside < MIN_RUNS)] = 0.0
    place = np.argmax(gains, axis=1)
    row = np.arange(rows)
    best_first, best_end = first[place], end[place]
    number = np.arange(n)
    part = (number >= best_first[:, None]).astype(int) + (number >= best_end[:, None])
    deviation, _ = scatter(logs, weights, part, floor)
    return Best(first=best_first, end=best_end, score=np.sqrt(gains[row, place]) / deviation)


def scatter(logs: Floats, weights: Floats, part: NDArray[np.int_], floor: float) -> tuple[Floats, Floats]:
    """The deviation of a run of weight 1 from the mean of its part, widened for what neighbours share, and
    its degrees of freedom; row by row. `part` is each run's part, 0, 1 or 2."""
    off = np.zeros_like(logs)
    parts = np.zeros(len(logs))
    for number in range(3):
        inside = part == number
        total = (weights * inside).sum(axis=1)
        mean = (logs * weights * inside).sum(axis=1) / np.where(total > 0, total, 1.0)
        off += np.where(inside, logs - mean[:, None], 0.0)
        parts += total > 0
    off *= np.sqrt(weights)
    n = (weights > 0).sum(axis=1)
    free = np.maximum(n - parts, 1.0)
    squares = np.maximum((off**2).sum(axis=1), 1e-300)
    # A part's mean follows its runs, which makes neighbours look less alike by about 1 / n for each part.
    alike = (off[:, 1:] * off[:, :-1]).sum(axis=1) / squares + parts / n
    alike = np.clip(alike, 0.0, MAX_CORRELATION)
    return np.maximum(np.sqrt(squares / free * (1 + alike) / (1 - alike)), floor), free


def limit(n: int) -> float:
    """What the largest t of a cut in two exceeds in one of 200 series of normal noise."""
    return 3.8 + 9 / n


def arc_limit(n: int) -> float:
    """The same for an arc."""
    return 4.7 + 6 / n


def is_rare(
    logs: Floats, weights: Floats, floor: float, places: Places, score: float, apart: int, edge: int
) -> bool:
    """Whether orders of the same runs seldom have so large a t with no more runs that stand apart.

    `edge` is how many runs the smaller part has: n runs over `edge` are the ways to choose them, and two of
    these ways, it at the beginning or at the end, look like a step. Where they are few it is enough that no
    more orders do than these two account for, with room for their own chance.
    """
    n = len(logs)
    rarest = 2 * SHUFFLES / math.comb(n, edge)
    allowed = math.floor(max(SHUFFLES * MAX_CHANCE, rarest + 2.5 * math.sqrt(rarest)))
    random = np.random.default_rng(n)
    rows = max(1, _BATCH // max(1, len(places[0])))
    as_large = 0
    for done in range(0, SHUFFLES, rows):
        orders = random.permuted(np.tile(np.arange(n), (min(rows, SHUFFLES - done), 1)), axis=1)
        counted = kept(logs[orders], weights[orders], floor)
        found = best(logs[orders], counted, places, floor)
        # Sums in another order differ in their last digits.
        as_large += int(((found.score >= score * (1 - 1e-9)) & ((counted == 0).sum(axis=1) <= apart)).sum())
        if as_large > allowed:
            return False
    return True


def _running(values: NDArray[Any]) -> Floats:
    """Sums of the first 0, 1, ... n of each row."""
    sums: Floats = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    return sums
