"""Intervals of the ratio of two runs: exact cases, and coverage where the distribution is known."""

import math
from itertools import product
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.changes import (
    Effect,
    effect,
    least_rounds,
    of_levels,
    of_pairs,
    one_round,
    rounds_needed,
)
from bench.stats.intervals import MIN_ROUNDS, IntervalKind, Ratio

ONES = [1.0] * 6
SECONDS = st.floats(1e-6, 1e6)


def test_six_pairs_give_the_whole_range_at_95_percent() -> None:
    found = of_pairs(ONES, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], 0.95)
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.5))
    assert found.rounds == 6


def test_the_signed_ranks_interval_is_that_of_the_textbook() -> None:
    # Hollander, Wolfe and Chicken, example 3.3: the depression scores of nine patients before and after.
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    found = of_pairs([math.exp(x) for x in before], [math.exp(y) for y in after], 0.96)
    assert found.low is not None
    assert found.high is not None
    assert math.log(found.ratio) == pytest.approx(-0.46, abs=0.005)
    assert math.log(found.low) == pytest.approx(-0.786, abs=0.0005)
    assert math.log(found.high) == pytest.approx(-0.010, abs=0.0005)


@pytest.mark.parametrize(("pairs", "confidence"), [(6, 0.95), (7, 0.95), (9, 0.99), (10, 0.98)])
def test_signed_ranks_cover_as_much_as_is_claimed_whatever_the_signs(pairs: int, confidence: float) -> None:
    sizes = [1.0, 2.3, 3.1, 4.7, 5.9, 7.3, 8.8, 9.2, 10.1, 11.5][:pairs]
    held = [
        found.low <= 1 <= found.high
        for signs in product((-1, 1), repeat=pairs)
        if (
            found := of_pairs(
                [1.0] * pairs,
                [math.exp(0.01 * sign * size) for sign, size in zip(signs, sizes, strict=True)],
                confidence,
            )
        )
        and found.low is not None
        and found.high is not None
    ]
    assert len(held) == 2**pairs
    assert fmean(held) >= confidence
    assert fmean(held) < 1


def test_too_few_pairs_have_students_interval_and_two_have_none() -> None:
    found = of_pairs([1.0] * 3, [1.09, 1.1, 1.11], 0.95)
    assert found.low is not None
    assert found.high is not None
    logs = [math.log(value) for value in (1.09, 1.1, 1.11)]
    half = 4.302653 * math.sqrt(sum((x - fmean(logs)) ** 2 for x in logs) / 2) / math.sqrt(3)
    assert math.log(found.low) == pytest.approx(fmean(logs) - half)
    assert math.log(found.high) == pytest.approx(fmean(logs) + half)
    assert found.assumed
    assert of_pairs([1.0, 1.0], [1.1, 1.1], 0.95).low is None


@pytest.mark.parametrize("confidence", [0.95, 0.99, 1 - 0.05 / 8, 1 - 0.05 / 200])
def test_the_least_rounds_are_the_first_without_an_assumption(confidence: float) -> None:
    least = least_rounds(confidence)
    for make in (of_pairs, of_levels):
        for rounds, assumed in ((least - 1, True), (least, False)):
            base = [1 + 0.01 * n for n in range(rounds)]
            assert make(base, base[::-1], confidence).assumed is assumed


def test_what_hits_both_of_a_pair_does_not_count() -> None:
    random = Random(0)
    machine = [random.lognormvariate(0, 0.3) for _ in range(12)]
    pairs = of_pairs(machine, [1.05 * level for level in machine], 0.99)
    levels = of_levels(machine, [1.05 * level for level in machine], 0.99)
    assert pairs.low == pytest.approx(1.05)
    assert pairs.high == pytest.approx(1.05)
    assert levels.low is not None
    assert levels.low < 1


def test_a_machine_that_may_have_changed_widens_levels() -> None:
    same = of_levels(ONES, [1.1] * 6, 0.95, apart=0.05)
    assert same.ratio == pytest.approx(1.1)
    assert same.low == pytest.approx(1.1 / 1.05)
    assert same.high == pytest.approx(1.1 * 1.05)


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=20), st.sampled_from([0.9, 0.95, 0.999]))
def test_an_interval_holds_its_ratio_and_turns_with_the_sides(
    pairs: list[tuple[float, float]], confidence: float
) -> None:
    base, new = [a for a, _ in pairs], [b for _, b in pairs]
    for make in (of_pairs, of_levels):
        found, turned = make(base, new, confidence), make(new, base, confidence)
        assert (found.low is None) == (turned.low is None)
        if found.low is None or found.high is None or turned.low is None or turned.high is None:
            continue
        assert found.low <= found.ratio <= found.high
        assert math.log(found.low) == pytest.approx(-math.log(turned.high), abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "needed"),
    [
        (1.10, 1.02, 1.19, 14),  # its lower end has to come from 7.5 to 6.6 % below it
        (1.00, 0.94, 1.06, 44),  # its lower end has to come from 6.2 to 3.0 % below it
        (1.03, 0.99, 1.07, None),  # on the threshold
        (0.90, 0.80, 1.01, 24),  # its upper end has to come from 12 to 7.9 % above it
    ],
)
def test_the_rounds_that_would_settle_it(ratio: float, low: float, high: float, needed: int | None) -> None:
    found = Ratio(ratio=ratio, low=low, high=high, rounds=10, interval=IntervalKind.BETWEEN_ROUNDS)
    answer = rounds_needed(found, 0.03, 0.95)
    assert answer == needed


@pytest.mark.parametrize(
    ("low", "high", "counts", "found"),
    [
        (1.001, 1.2, 0.0, Effect.MORE),
        (0.8, 0.999, 0.0, Effect.LESS),
        (0.98, 1.02, 0.0, Effect.NONE),
        (0.8, 1.27, 0.0, Effect.OPEN),
        (0.96, 1.01, 0.0, Effect.OPEN),
        (0.99, 1.04, 0.0, Effect.OPEN),
        (1.001, 1.2, 0.03, Effect.OPEN),
        (1.04, 1.2, 0.03, Effect.MORE),
        (0.8, 0.96, 0.03, Effect.LESS),
        (1.001, 1.02, 0.03, Effect.NONE),
        (None, None, 0.0, Effect.OPEN),
    ],
)
def test_no_difference_is_shown_and_not_what_is_left(
    low: float | None, high: float | None, counts: float, found: Effect
) -> None:
    assert effect(low, high, counts=counts) is found


@pytest.mark.parametrize("rounds", [0, 1, 2, MIN_ROUNDS, 6])
def test_a_run_of_few_rounds_says_that_nothing_can_be_compared_with_it(rounds: int) -> None:
    assert ("can tell nothing" in one_round(rounds)) is (0 < rounds < MIN_ROUNDS)
