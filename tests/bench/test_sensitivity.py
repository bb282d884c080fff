"""The smallest slowdown that a comparison could have told: what it promises and depends on."""

import math
from random import Random
from statistics import median

import pytest

from bench.comparison.compare import compare
from bench.comparison.comparison import Limits
from bench.comparison.sensitivity import least_slowdown
from bench.stats.changes import of_pairs
from benchmarks import common
from tests.bench.sides import side, taking_turns

THRESHOLD = 0.03
Pairs = tuple[list[float], list[float]]


def pairs(scatter: float, seed: int, count: int = 20) -> Pairs:
    """Rounds of one program whose machine changes its level all the time."""
    random = Random(seed)
    level = [random.lognormvariate(0, 0.2) for _ in range(count)]
    return level, [value * math.exp(random.gauss(0, scatter)) for value in level]


def least(made: Pairs, threshold: float = THRESHOLD) -> float:
    found = least_slowdown(*made, 0.95, threshold)
    assert found is not None
    return found


def told(made: Pairs, slowdown: float) -> bool:
    base, new = made
    low = of_pairs(base, [(1 + slowdown) * value for value in new], 0.95).low
    return low is not None and low > 1 + THRESHOLD


def test_without_noise_it_is_the_threshold() -> None:
    assert least(([1.0, 2.0] * 5, [1.0, 2.0] * 5)) == pytest.approx(THRESHOLD)


def test_fresh_comparisons_find_it_and_seldom_half_of_what_it_has_beyond_the_threshold() -> None:
    """Of comparisons of which no round was known to it."""
    slowdown = median(least(pairs(0.02, seed)) for seed in range(40))
    fresh = [pairs(0.02, seed) for seed in range(1000, 1400)]
    assert sum(told(made, slowdown) for made in fresh) >= 0.9 * len(fresh)
    assert sum(told(made, (THRESHOLD + slowdown) / 2) for made in fresh) <= 0.6 * len(fresh)


def test_more_noise_and_fewer_rounds_make_it_larger() -> None:
    found = [
        median(least(pairs(scatter, seed, count)) for seed in range(9))
        for scatter, count in ((0.005, 40), (0.005, 10), (0.02, 10), (0.05, 10))
    ]
    assert found == sorted(found)
    assert len(set(found)) == 4


def test_real_pairs_of_one_program_promise_what_real_gates_find() -> None:
    """Gates of 44 rounds of 200 that followed each other on a machine with other work."""
    samples = common.read(common.DATA, "gate").samples
    levels = (
        samples[samples["cell"].str.endswith("noise/b1/t2/48x48/cpu")]
        .groupby(["side", "round"])["wall_s"]
        .median()
    )
    base, new = list(levels["a"]), list(levels["b"])
    gates = [(base[n : n + 44], new[n : n + 44]) for n in range(0, len(base) - 43, 44)]
    assert len(gates) >= 4
    assert THRESHOLD < median(map(least, gates)) < 0.05
    for gate in gates:
        assert not told(gate, 0.0)
        assert told(gate, 0.05)


def test_cells_measured_in_turn_have_one_and_others_have_none() -> None:
    base, new = side([1.0] * 10), side([1.0] * 10)
    (apart,) = compare(base, side([1.0] * 10, begun_s=[1000.0 + n for n in range(10)]), Limits())
    assert apart.least_slowdown is None
    a, b = taking_turns(base, new)
    (paired,) = compare(a, b, Limits(threshold=0.05))
    assert paired.least_slowdown == pytest.approx(0.05)
