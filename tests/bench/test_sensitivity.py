"""The smallest slowdown that a comparison could have found: what it promises and depends on."""

import math
from random import Random
from statistics import median

import pytest

from bench.comparison.compare import compare
from bench.comparison.comparison import Limits
from bench.comparison.sensitivity import least_slowdown
from bench.stats.changes import of_pairs
from tests.bench.sides import side, taking_turns

THRESHOLD = 0.03
Pairs = tuple[list[float], list[float]]


def pairs(scatter: float, seed: int, count: int = 20) -> Pairs:
    """Rounds of one program whose machine changes its level all the time."""
    random = Random(seed)
    level = [random.lognormvariate(0, 0.2) for _ in range(count)]
    return level, [value * math.exp(random.gauss(0, scatter)) for value in level]


def least(made: Pairs) -> float:
    found = least_slowdown(*made, 0.95, THRESHOLD)
    assert found is not None
    return found


def is_found(made: Pairs, slowdown: float) -> bool:
    base, new = made
    low = of_pairs(base, [(1 + slowdown) * value for value in new], 0.95).low
    return low is not None and low > 1 + THRESHOLD


def test_without_noise_it_is_the_threshold() -> None:
    assert least(([1.0, 2.0] * 5, [1.0, 2.0] * 5)) == pytest.approx(THRESHOLD)


def test_fresh_comparisons_find_it_and_seldom_half_of_what_it_has_beyond_the_threshold() -> None:
    slowdown = median(least(pairs(0.02, seed)) for seed in range(40))
    fresh = [pairs(0.02, seed) for seed in range(1000, 1400)]
    assert sum(is_found(made, slowdown) for made in fresh) >= 0.9 * len(fresh)
    assert sum(is_found(made, (THRESHOLD + slowdown) / 2) for made in fresh) <= 0.6 * len(fresh)


def test_cells_measured_in_turn_have_one_and_others_have_none() -> None:
    base, new = side([1.0] * 10), side([1.0] * 10)
    (apart,) = compare(base, side([1.0] * 10, begun_s=[1000.0 + n for n in range(10)]), Limits())
    assert apart.least_slowdown is None
    a, b = taking_turns(base, new)
    (paired,) = compare(a, b, Limits(threshold=0.05))
    assert paired.least_slowdown == pytest.approx(0.05)
