"""Where a series of runs changes its level: between which of them, by how much, and what cannot be told yet.

Binary segmentation on logarithms, so that a change is a ratio. A stretch of runs is cut where one level on
each side, or another level in its middle (the arc of circular binary segmentation; Olshen, Venkatraman and
others, Biostatistics 5, 2004), explains most; the parts are looked at in the same way. A cut counts where

* its Student's t, with the scatter that is left and the likeness of neighbours, exceeds what normal noise of
  that many runs has in one series of 200 (from simulation), and
* shuffling the stretch gives as large a one in no more than 1 % of the orders. That asks for no distribution.
  Few runs have few orders; there the cut has to be among the rarest of them.

Runs that stand apart alone or in pairs count for nothing, unless they are too many to be exceptions: one slow
run is no step. A level has at least three runs. Pure, and the same for the same series: the shuffles are
seeded.

By simulation (benchmarks/step_rates.py, docs/history.md) 1 series in 100 without a step has one by chance
where runs are independent of each other, up to 7 where a tenth of a hundred runs is slow, and up to 8 where
each run has half of its neighbour's deviation. After ten runs, three show a step of five times the scatter in
92 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.special import stdtrit

from bench.statistics.step_search import (
    MAX_CORRELATION,
    MIN_RUNS,
    Floats,
    arc_limit,
    arcs,
    best,
    halves,
    is_rare,
    kept,
    limit,
    scatter,
)

CONFIDENCE: Final = 0.95

LEAST_DEVIATION: Final = 0.001
"""Of logarithms: no machine repeats itself better than to a tenth of a per cent."""

_LARGEST_CHANGE: Final = 700.0
_UNTELLABLE_CHANCE: Final = 0.005


@dataclass(frozen=True, kw_only=True)
class Level:
    """A stretch of runs in which nothing changes."""

    first: int  # places in the series, both counted
    last: int
    value: float  # in the unit of the values


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of level: ratios of the later level to the earlier one."""

    before: int  # the last run of the earlier level
    after: int  # the first of the later
    ratio: float
    low: float  # 95 %, at this place
    high: float


@dataclass(frozen=True, kw_only=True)
class Untellable:
    """The last one or two runs, which differ from the level before them and are too few to be one."""

    first: int
    ratio: float  # of their mean to the level


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a series shows."""

    levels: tuple[Level, ...]  # of all runs, in their order; one more than there are steps
    steps: tuple[Step, ...]
    apart: tuple[int, ...]  # places of runs that count for no level
    untellable: Untellable | None


def find_steps(values: Sequence[float], deviations: Sequence[float | None] | None = None) -> Steps:
    """The steps of a series of positive values in time order, at least one.

    `deviations` are the standard deviations of the values' logarithms as each run knows its own, None where
    it does not: a run that scatters more than usual has less weight. Fewer than six values show no step.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    own = _own(deviations, len(logs))
    series = _Series(
        logs=logs, weights=_weights(own), floor=max(LEAST_DEVIATION, 0.5 * float(np.median(own)))
    )
    cuts = _settled(series, _cuts(series))
    edges = (0, *cuts, len(logs))
    parts = [series.part(first, end) for first, end in pairwise(edges)]
    # What stands apart in the series does so in a part, where too few runs may be left to tell.
    of_all = kept(series.logs, series.weights, series.floor)
    late = _late(parts[-1], of_all[edges[-2] :])
    parts[-1] = parts[-1].part(0, len(parts[-1].logs) - late)
    counted = [_counted(part, of_all[first:]) for first, part in zip(edges, parts, strict=False)]
    means = [_mean(part.logs, weights) for part, weights in zip(parts, counted, strict=True)]
    begins = edges[:-1]
    told = len(logs) - late
    return Steps(
        levels=tuple(
            Level(first=first, last=first + len(part.logs) - 1, value=math.exp(mean))
            for first, part, mean in zip(begins, parts, means, strict=True)
        ),
        steps=tuple(
            _step(cut, pair, weights)
            for cut, pair, weights in zip(cuts, pairwise(parts), pairwise(counted), strict=True)
        ),
        apart=tuple(
            first + int(place)
            for first, weights in zip(begins, counted, strict=True)
            for place in np.flatnonzero(weights == 0)
        ),
        untellable=Untellable(first=told, ratio=_ratio(float(logs[told:].mean()) - means[-1]))
        if late
        else None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Series:
    """A stretch of runs."""

    logs: Floats
    weights: Floats  # about 1
    floor: float  # of the deviation

    def part(self, first: int, end: int) -> "_Series":
        return _Series(logs=self.logs[first:end], weights=self.weights[first:end], floor=self.floor)


def _own(deviations: Sequence[float | None] | None, n: int) -> Floats:
    """The runs' own deviations; what is not known is as the others are."""
    known = [value for value in deviations or () if value is not None]
    usual = float(np.median(known)) if known else 0.0
    return np.array([usual if value is None else value for value in deviations or [None] * n])


def _weights(own: Floats) -> Floats:
    """What a run counts: the inverse of its own variance and that between runs, which is taken to be as large
    as the usual run's own. So none counts for more than twice the usual one, however quiet it was."""
    usual = float(np.median(own)) ** 2
    raw = 1 / (own**2 + max(usual, LEAST_DEVIATION**2))
    weights: Floats = raw / np.median(raw)
    return weights


def _cuts(series: _Series) -> tuple[int, ...]:
    """All places at which the stretch is to be cut, each the first of a new level."""
    n = len(series.logs)
    if n < 2 * MIN_RUNS:
        return ()
    weights = kept(series.logs, series.weights, series.floor)
    for places, least in ((halves(n), limit(n)), (arcs(n), arc_limit(n))):
        if not len(places[0]):
            continue
        found = best(series.logs[None], weights[None], places, series.floor)
        first, end, score = int(found.first[0]), int(found.end[0]), float(found.score[0])
        edge, apart = min(end - first, n - end + first), int((weights == 0).sum())
        if score > least and is_rare(series.logs, series.weights, series.floor, places, score, apart, edge):
            at = [edge for edge in (first, end) if edge > 0]
            return _and_within(series, at)
    return _hidden(series, weights)


def _and_within(series: _Series, at: Sequence[int]) -> tuple[int, ...]:
    """These cuts and those of the parts between them."""
    edges = (0, *at, len(series.logs))
    inner = [(begin, _cuts(series.part(begin, stop))) for begin, stop in pairwise(edges)]
    return tuple(sorted((*at, *(begin + cut for begin, cuts in inner for cut in cuts))))


def _hidden(series: _Series, weights: Floats) -> tuple[int, ...]:
    """Cuts of a stretch with so many steps up and down that no one of them stands out.

    Neighbours are then very much alike. Each half, and the half in the middle, has fewer steps.
    """
    n = len(series.logs)
    off = (series.logs - _mean(series.logs, weights)) * np.sqrt(weights)
    if n < 4 * MIN_RUNS or float(off[1:] @ off[:-1]) <= MAX_CORRELATION * float(off @ off):
        return ()
    for first in (0, n // 4, n - n // 2):
        if cuts := _cuts(series.part(first, first + n // 2)):
            return _and_within(series, [first + cut for cut in cuts])
    return ()


def _settled(series: _Series, cuts: Sequence[int]) -> list[int]:
    """The cuts, each at the best place between its neighbours, less those whose two sides hardly differ.

    A cut that was found beside others lies where they made it lie.
    """
    left = list(cuts)
    while left:
        edges = [0, *left, len(series.logs)]
        for place in range(1, len(edges) - 1):
            edges[place] = edges[place - 1] + _best_half(series.part(edges[place - 1], edges[place + 1]))
        left = edges[1:-1]
        weak = [
            (score / limit(last - first), place)
            for place, (first, last) in enumerate(zip(edges[:-2], edges[2:], strict=True))
            if (score := _score(series.part(first, last), left[place] - first)) <= limit(last - first)
        ]
        if not weak:
            break
        del left[min(weak)[1]]
    return left


def _best_half(series: _Series) -> int:
    weights = kept(series.logs, series.weights, series.floor)
    n = len(series.logs)
    return int(best(series.logs[None], weights[None], halves(n), series.floor).end[0])


def _score(series: _Series, cut: int) -> float:
    weights = kept(series.logs, series.weights, series.floor)
    place = (np.zeros(1, dtype=np.int_), np.array([cut]))
    return float(best(series.logs[None], weights[None], place, series.floor).score[0])


def _counted(part: _Series, of_all: Floats) -> Floats:
    """The weights of a part, 0 for runs that stand apart in it or in the whole series (`of_all`)."""
    own = kept(part.logs, part.weights, part.floor)
    both = np.where(of_all[: len(own)] == 0, 0.0, own)
    return both if (both > 0).sum() >= MIN_RUNS else own


def _late(last: _Series, of_all: Floats) -> int:
    """How many of the last level's last runs, one or two, lie beyond where another of its runs may lie."""
    for late in (MIN_RUNS - 1, 1):
        rest = last.part(0, len(last.logs) - late)
        if len(rest.logs) < MIN_RUNS:
            continue
        weights = _counted(rest, of_all)
        deviation, free = _deviation(rest, weights)
        mean = _mean(rest.logs, weights)
        limits = (
            _quantile(free, 1 - _UNTELLABLE_CHANCE / 2)
            * deviation
            * np.sqrt(1 / last.weights[-late:] + 1 / weights.sum())
        )
        off = last.logs[-late:] - mean
        if (off > limits).all() or (-off > limits).all():
            return late
    return 0


def _step(cut: int, sides: tuple[_Series, _Series], weights: tuple[Floats, Floats]) -> Step:
    """The ratio of two neighbouring levels, its interval by Student's t with the scatter in both."""
    earlier, later = sides
    part = np.repeat([0, 1], [len(earlier.logs), len(later.logs)])
    deviation, free = scatter(
        np.concatenate([earlier.logs, later.logs])[None],
        np.concatenate(weights)[None],
        part[None],
        earlier.floor,
    )
    change = _mean(later.logs, weights[1]) - _mean(earlier.logs, weights[0])
    half = (
        _quantile(float(free[0]), 0.5 + CONFIDENCE / 2)
        * float(deviation[0])
        * math.sqrt(1 / weights[0].sum() + 1 / weights[1].sum())
    )
    return Step(
        before=cut - 1,
        after=cut,
        ratio=_ratio(change),
        low=_ratio(change - half),
        high=_ratio(change + half),
    )


def _ratio(change: float) -> float:
    """Of a change of logarithms; a float holds none further out, nor its inverse."""
    return math.exp(min(max(change, -_LARGEST_CHANGE), _LARGEST_CHANGE))


def _deviation(series: _Series, weights: Floats) -> tuple[float, float]:
    part = np.zeros((1, len(series.logs)), dtype=np.int_)
    deviation, free = scatter(series.logs[None], weights[None], part, series.floor)
    return float(deviation[0]), float(free[0])


def _mean(logs: Floats, weights: Floats) -> float:
    return float(logs @ weights) / float(weights.sum())


def _quantile(free: float, chance: float) -> float:
    """Of Student's t."""
    return float(stdtrit(free, chance))
