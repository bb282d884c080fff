"""Medians, intervals and ratios against exact values and scipy. test_coverage.py has the simulations."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, t

from bench.stats.intervals import (
    IntervalKind,
    Spread,
    Summary,
    levels_interval,
    median_interval,
    paired_ratio,
    quartiles,
    ratio,
    spread,
    summarise,
)


def exact_rank(n: int, confidence: float) -> int:
    """The largest k whose k-th smallest and k-th largest value cover the median with that confidence."""
    ranks = [k for k in range(1, n // 2 + 1) if binom.cdf(k - 1, n, 0.5) <= (1 - confidence) / 2]
    return max(ranks, default=0)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_of_a_median_is_that_of_the_binomial_distribution(confidence: float) -> None:
    for n in range(201):
        rank = exact_rank(n, confidence)
        expected = (rank, n - rank + 1) if rank else None
        assert median_interval(range(n, 0, -1), confidence) == expected, n


@pytest.mark.parametrize(
    ("values", "expected"),
    [([4.0], (4.0, 4.0)), ([1.0, 3.0], (1.5, 2.5)), ([1.0, 2.0, 3.0, 4.0, 5.0], (2.0, 4.0))],
)
def test_quartiles(values: Sequence[float], expected: tuple[float, float]) -> None:
    assert quartiles(values) == expected


class TestSummarise:
    def test_a_process_of_seven_values(self) -> None:
        assert summarise([[7.0, 1.0, 3.0, 2.0, 6.0, 5.0, 4.0]]) == Summary(
            n_rounds=1, n=7, median=4.0, q1=2.5, q3=5.5, low=1.0, high=7.0,
            interval=IntervalKind.WITHIN_PROCESS,
        )  # fmt: skip

    def test_six_rounds_are_the_unit(self) -> None:
        found = summarise([[value, value + 0.1, value + 100] for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)])
        assert (found.n_rounds, found.n, found.low, found.high) == (6, 18, 1.1, 6.1)
        assert found.median == pytest.approx(3.6)
        assert found.interval is IntervalKind.BETWEEN_ROUNDS

    def test_two_rounds_combine_the_intervals_of_each(self) -> None:
        """The scatter of these processes, not the distance between them."""
        round_ = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        found = summarise([round_, [value + 100 for value in round_]])
        assert found.interval is IntervalKind.WITHIN_PROCESS
        assert found.median == 53.5
        assert found.low == pytest.approx(53.5 - 2.5 / math.sqrt(2))
        assert found.high == pytest.approx(53.5 + 2.5 / math.sqrt(2))

    @pytest.mark.parametrize(
        ("rounds", "kind"),
        [
            ([[2.0]], IntervalKind.NONE),
            ([[1.0] * 5], IntervalKind.NONE),
            ([[1.0] * 6], IntervalKind.WITHIN_PROCESS),
            ([[1.0], [1.0]], IntervalKind.NONE),
            ([[1.0] * 6, [1.0] * 6], IntervalKind.WITHIN_PROCESS),
            ([[1.0] * 6, [1.0] * 5], IntervalKind.NONE),
            ([[1.0]] * 3, IntervalKind.BETWEEN_ROUNDS_T),
            ([[1.0] * 50] * 5, IntervalKind.BETWEEN_ROUNDS_T),
            ([[1.0]] * 6, IntervalKind.BETWEEN_ROUNDS),
        ],
    )
    def test_kinds(self, rounds: list[list[float]], kind: IntervalKind) -> None:
        assert summarise(rounds).interval is kind


class TestStudentInterval:
    def test_of_levels_is_made_of_logarithms(self) -> None:
        half = t.ppf(0.975, 2) * math.log(2) / math.sqrt(3)
        assert levels_interval([1.0, 2.0, 4.0]) == (
            pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)),
        )  # fmt: skip

    def test_of_levels_is_never_narrower_than_the_range(self) -> None:
        """One process of five that runs another algorithm."""
        found = levels_interval([1.0, 1.0, 1.0, 1.0, 2.0])
        assert found is not None
        assert found[0] < 1.0
        assert found[1] == 2.0

    @given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=5))
    def test_of_levels_holds_every_value(self, values: list[float]) -> None:
        found = levels_interval(values)
        assert found is not None
        assert found[0] <= min(values) <= max(values) <= found[1]


class TestSpread:
    def test_of_rounds_without_scatter_is_that_of_their_levels(self) -> None:
        found = spread([[math.exp(level)] * 4 for level in (0.0, 0.1, 0.2)])
        assert found == Spread(within=0.0, between=pytest.approx(0.1))

    def test_takes_away_what_the_scatter_within_explains(self) -> None:
        rounds = [[level * sample for sample in (0.9, 1.0, 1.1)] for level in (1.0, 1.5)]
        within = 1.4826 * 1.495 * 0.1
        explained = within**2 * math.pi / (4 + math.pi)
        found = spread(rounds)
        assert found.within == pytest.approx(within)
        assert found.between == pytest.approx(math.sqrt(math.log(1.5) ** 2 / 2 - explained))

    @pytest.mark.parametrize(
        "rounds", [[[1.0]], [[1.0], [2.0]], [[0.0, 0.0]]], ids=["one", "ones", "no time"]
    )
    def test_what_cannot_be_known(self, rounds: list[list[float]]) -> None:
        assert spread(rounds) == Spread(within=None, between=None)

    @given(st.lists(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5), min_size=1, max_size=5))
    def test_is_never_negative(self, rounds: list[list[float]]) -> None:
        found = spread(rounds)
        assert found.within is None or found.within >= 0
        assert found.between is None or found.between >= 0


def summary(median: float, low: float | None, high: float | None) -> Summary:
    return Summary(
        n_rounds=6, n=6, median=median, q1=median, q3=median, low=low, high=high,
        interval=IntervalKind.BETWEEN_ROUNDS,
    )  # fmt: skip


class TestRatio:
    SLOW = summary(2.0, 1.8, 2.5)
    FAST = summary(0.5, 0.4, 0.55)

    def test_combines_the_distances_on_a_logarithm(self) -> None:
        found = ratio(self.SLOW, self.FAST)
        assert found.ratio == 4.0
        assert found.low == pytest.approx(4 * math.exp(-math.hypot(math.log(2 / 1.8), math.log(0.55 / 0.5))))
        assert found.high == pytest.approx(4 * math.exp(math.hypot(math.log(2.5 / 2), math.log(0.5 / 0.4))))

    def test_of_an_exact_figure_is_the_other_s_interval(self) -> None:
        found = ratio(self.SLOW, summary(1.0, 1.0, 1.0))
        assert (found.low, found.high) == (pytest.approx(1.8), pytest.approx(2.5))

    @pytest.mark.parametrize(
        ("numerator", "denominator"),
        [
            (summary(2.0, None, None), FAST),
            (SLOW, summary(0.5, None, None)),
            (SLOW, summary(0.5, 0.0, 0.6)),
            (summary(2.0, 0.0, 3.0), FAST),
        ],
        ids=["numerator has none", "denominator has none", "denominator from 0", "numerator from 0"],
    )
    def test_has_no_interval_where_a_side_has_none(self, numerator: Summary, denominator: Summary) -> None:
        found = ratio(numerator, denominator)
        assert (found.ratio, found.low, found.high) == (4.0, None, None)

    def test_of_a_figure_to_itself_is_exactly_one(self) -> None:
        found = ratio(self.SLOW, self.SLOW)
        assert (found.ratio, found.low, found.high) == (1.0, 1.0, 1.0)

    def test_holds_for_no_more_than_its_weaker_side(self) -> None:
        for at, strong in enumerate(IntervalKind):
            for weak in list(IntervalKind)[at:]:
                sides = [replace(self.SLOW, interval=kind) for kind in (strong, weak)]
                assert ratio(*sides).interval is ratio(*sides[::-1]).interval is weak


def test_drift_that_hits_both_of_a_pair_does_not_show() -> None:
    plain = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    found = paired_ratio([[1.25 * value for value in plain]], [plain])
    assert (found.median, found.low, found.high, found.n) == (1.25, 1.25, 1.25, 6)
