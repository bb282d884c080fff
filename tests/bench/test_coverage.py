"""How often intervals hold the truth, on simulated times whose truth is known. The seeds are fixed."""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from bench.stats.intervals import CONFIDENCE, Summary, paired_ratio, ratio, spread, summarise
from bench.stats.stopping import Rule, decide

RUNS: Final = 800
WITHIN: Final = 0.01
BETWEEN: Final = 0.02

ALLOWED: Final = 0.02 + 0.02
"""Two points below the nominal coverage, and two more: 800 simulations are good to 1.5."""

Shape = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape)


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of median 0, as all shapes are."""
    return random.lognormal(size=shape) - 1


SHAPES: Final = (normal, skewed)


def cells(shape: Shape, rounds: int, samples: int) -> list[tuple[np.ndarray, list[list[float]]]]:
    """For each run the true levels of its processes, and their samples; the median over processes is 1."""
    random = np.random.default_rng(7)
    levels = np.exp(BETWEEN * shape(random, (RUNS, rounds, 1)))
    times = levels * np.exp(WITHIN * shape(random, (RUNS, rounds, samples)))
    return list(zip(levels[..., 0], times.tolist(), strict=True))


def holds(summary: Summary, truth: float) -> bool:
    assert summary.low is not None
    assert summary.high is not None
    return summary.low <= truth <= summary.high


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [6, 7, 20])
def test_the_interval_of_one_process_holds_its_level_and_not_the_next(shape: Shape, samples: int) -> None:
    found = [(summarise(rounds), levels[0]) for levels, rounds in cells(shape, 1, samples)]
    assert np.mean([holds(summary, level) for summary, level in found]) > CONFIDENCE - ALLOWED
    assert np.mean([holds(summary, 1.0) for summary, _ in found]) < 0.7


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rounds", [3, 5, 6])
def test_the_interval_of_rounds_holds_the_level_of_all_processes(shape: Shape, rounds: int) -> None:
    held = [holds(summarise(samples), 1.0) for _, samples in cells(shape, rounds, 7)]
    assert np.mean(held) > CONFIDENCE - ALLOWED


@pytest.mark.parametrize("shape", SHAPES)
def test_the_stopping_rule_leaves_an_interval_that_covers(shape: Shape) -> None:
    rule = Rule(min=6, max=100, target=0.005)
    held = []
    for levels, (times,) in cells(shape, 1, rule.max):
        taken = next(n for n in range(rule.min, rule.max + 1) if decide(rule, times[:n], 0.0))
        held.append(holds(summarise([times[:taken]]), levels[0]))
    assert np.mean(held) > CONFIDENCE - ALLOWED


def test_two_runs_of_the_same_differ_seldom() -> None:
    summaries = [summarise(samples) for _, samples in cells(skewed, 3, 7)]
    found = [ratio(a, b) for a, b in zip(summaries[::2], summaries[1::2], strict=True)]
    assert np.mean([not one.low <= 1 <= one.high for one in found if one.low and one.high]) < 1 - CONFIDENCE


def test_a_paired_ratio_covers_where_both_of_a_pair_wander() -> None:
    random = np.random.default_rng(7)
    held = []
    for _ in range(RUNS):
        moods = np.exp(0.1 * random.standard_normal((3, 7)))
        sides = (moods * np.exp(WITHIN * random.standard_normal((3, 7))) for _ in range(2))
        held.append(holds(paired_ratio(*(side.tolist() for side in sides)), 1.0))
    assert np.mean(held) > CONFIDENCE - ALLOWED


def test_the_spread_within_and_between_processes_is_found() -> None:
    found = [spread(samples) for _, samples in cells(normal, 10, 7)[:200]]
    assert np.median([one.within for one in found if one.within]) == pytest.approx(WITHIN, rel=0.1)
    assert np.median([one.between for one in found if one.between]) == pytest.approx(BETWEEN, rel=0.1)
