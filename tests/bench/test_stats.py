"""Medians, intervals and ratios against exact values, scipy and simulation."""

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, t

from bench.stats.intervals import (
    CONFIDENCE,
    MIN_VALUES_FOR_INTERVAL,
    STUDENT_T,
    IntervalKind,
    Ratio,
    Spread,
    Summary,
    differs,
    median_interval,
    paired_ratio,
    quartiles,
    ratio,
    spread,
    student_interval,
    summarise,
    weaker,
)


def exact_rank(n: int, confidence: float) -> int:
    """The largest k whose k-th smallest and k-th largest value cover the median with that confidence."""
    ranks = [k for k in range(1, n // 2 + 1) if binom.cdf(k - 1, n, 0.5) <= (1 - confidence) / 2]
    return max(ranks, default=0)


class TestMedianInterval:
    @pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
    def test_is_that_of_the_binomial_distribution(self, confidence: float) -> None:
        for n in range(1, 201):
            rank = exact_rank(n, confidence)
            expected = (rank, n - rank + 1) if rank else None
            assert median_interval(range(1, n + 1), confidence) == expected, n

    def test_needs_six_values(self) -> None:
        assert MIN_VALUES_FOR_INTERVAL == 6
        assert median_interval([5.0, 1.0, 2.0, 4.0, 3.0]) is None
        assert median_interval([5.0, 1.0, 2.0, 4.0, 3.0, 6.0]) == (1.0, 6.0)
        assert median_interval([]) is None

    @pytest.mark.parametrize("n", [6, 7, 20, 51])
    def test_covers_the_median_as_often_as_it_says(self, n: int) -> None:
        random = Random(n)
        runs = 2000
        covered = 0
        for _ in range(runs):
            # Skewed, as times are: the median of an exponential distribution is log 2.
            bounds = median_interval([random.expovariate(1) for _ in range(n)])
            assert bounds is not None
            covered += bounds[0] <= math.log(2) <= bounds[1]
        assert covered / runs > 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([4.0], (4.0, 4.0)), ([1.0, 3.0], (1.5, 2.5)), ([1.0, 2.0, 3.0, 4.0, 5.0], (2.0, 4.0))],
)
def test_quartiles(values: Sequence[float], expected: tuple[float, float]) -> None:
    assert quartiles(values) == expected


class TestSummarise:
    def test_one_value_has_no_interval(self) -> None:
        assert summarise([[2.0]]) == Summary(
            n_rounds=1, n=1, median=2.0, q1=2.0, q3=2.0, low=None, high=None, interval=IntervalKind.NONE
        )

    def test_a_process_of_seven_values(self) -> None:
        assert summarise([[7.0, 1.0, 3.0, 2.0, 6.0, 5.0, 4.0]]) == Summary(
            n_rounds=1, n=7, median=4.0, q1=2.5, q3=5.5, low=1.0, high=7.0,
            interval=IntervalKind.WITHIN_PROCESS,
        )  # fmt: skip

    def test_six_rounds_are_the_unit(self) -> None:
        rounds = [[value, value + 0.1, value + 100] for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
        found = summarise(rounds)
        assert (found.n_rounds, found.n) == (6, 18)
        assert found.median == pytest.approx(3.6)
        assert (found.low, found.high) == (1.1, 6.1)
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
    def test_factors_are_those_of_the_distribution(self) -> None:
        expected = {n: t.ppf((1 + CONFIDENCE) / 2, n - 1) for n in range(3, MIN_VALUES_FOR_INTERVAL)}
        assert pytest.approx(expected, abs=1e-6) == STUDENT_T

    def test_is_made_of_logarithms(self) -> None:
        found = student_interval([1.0, 2.0, 4.0])
        assert found is not None
        half = STUDENT_T[3] * math.log(2) / math.sqrt(3)
        assert found == (pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)))

    def test_is_never_narrower_than_the_range(self) -> None:
        """One process of five that runs another algorithm."""
        found = student_interval([1.0, 1.0, 1.0, 1.0, 2.0])
        assert found is not None
        assert found[0] < 1.0
        assert found[1] == 2.0

    @given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=5))
    def test_holds_every_value(self, values: list[float]) -> None:
        found = student_interval(values)
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

    def test_is_the_other_way_round_one_over_itself(self) -> None:
        there, back = ratio(self.SLOW, self.FAST), ratio(self.FAST, self.SLOW)
        assert there.low is not None
        assert there.high is not None
        assert back.ratio == pytest.approx(1 / there.ratio)
        assert back.low == pytest.approx(1 / there.high)
        assert back.high == pytest.approx(1 / there.low)

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
        assert ratio(numerator, denominator) == Ratio(ratio=4.0, low=None, high=None)

    def test_covers_the_true_ratio(self) -> None:
        random = Random(1)
        runs = 800
        covered = 0
        for _ in range(runs):
            times = [summarise([[random.lognormvariate(0, 0.2)] for _ in range(9)]) for _ in range(2)]
            found = ratio(*times)
            assert found.low is not None
            assert found.high is not None
            covered += found.low <= 1.0 <= found.high
        assert covered / runs > 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


class TestPairedRatio:
    def test_drift_that_hits_both_of_a_pair_does_not_show(self) -> None:
        plain = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
        found = paired_ratio([[1.25 * value for value in plain]], [plain])
        assert (found.median, found.low, found.high, found.n) == (1.25, 1.25, 1.25, 6)


class TestDiffers:
    @staticmethod
    def rounds(level: float, count: int) -> Summary:
        return summarise([[level + 0.01 * number] for number in range(count)])

    @pytest.mark.parametrize("count", [4, 6])
    def test_where_the_ratio_leaves_out_one(self, count: int) -> None:
        assert differs(self.rounds(1.0, count), self.rounds(2.0, count)) is True
        assert differs(self.rounds(2.0, count), self.rounds(1.0, count)) is True
        assert differs(self.rounds(1.0, count), self.rounds(1.001, count)) is False

    def test_cannot_be_told_from_one_process(self) -> None:
        one = summarise([[1.0 + 0.01 * number for number in range(9)]])
        assert one.interval is IntervalKind.WITHIN_PROCESS
        assert differs(one, self.rounds(2.0, 6)) is None
        assert differs(self.rounds(2.0, 6), one) is None
        assert differs(summarise([[1.0]]), summarise([[1.0]])) is None


def test_a_ratio_holds_for_no_more_than_its_weaker_side():
    strong, student, within, none = IntervalKind
    assert weaker(strong, student) is weaker(student, strong) is student
    assert weaker(student, within) is within
    assert weaker(none, strong) is none
