"""Warm-up: series whose answer is known."""

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.steady import (
    MAX_CALLS,
    MAX_S,
    MAX_SHORT_CALLS,
    TOLERANCE,
    WINDOW_S,
    Steadiness,
    steadiness,
    tuning_calls,
)

LATER = [1.0] * 40


def calls_until_settled(cold_s: float, later_s: Sequence[float]) -> tuple[int, Steadiness]:
    """How many calls of warm-up are made, and what is said then."""
    for calls in count():
        said = steadiness(cold_s, later_s[:calls])
        if said is not Steadiness.NOT_YET:
            return calls, said
    raise AssertionError("unreachable")


class TestSteadiness:
    @pytest.mark.parametrize(
        ("cold_s", "first_s", "calls"),
        [
            (1.0, [], 3),
            (4.0, [], 3),
            (0.9, [], 4),
            (8.0, [8.0, 8.0], 5),
            (8.0, [3.0], 4),
            (4.0, [1.0, 1.9, 1.0], 3),
            (4.0, [1.9, 1.0, 1.0], 4),
            (4.0, [1.0, 1.0, 1.9], 3),
            (4.0, [1.4, 1.2, 1.1, 1.05], 7),
            (1.0, [1.1, 1.2, 1.3], 6),
        ],
        ids=[
            "level at once", "cold call", "cold call is quicker", "three calls tune", "two calls tune",
            "one outlier", "outlier first", "outlier last", "falling", "rising, then lower",
        ],
    )  # fmt: skip
    def test_calls_needed(self, cold_s: float, first_s: list[float], calls: int) -> None:
        assert calls_until_settled(cold_s, [*first_s, *LATER]) == (calls, Steadiness.STEADY)

    def test_levels_agree_within_the_tolerance(self) -> None:
        within, beyond = 1 + 0.9 * TOLERANCE, 1 + 1.1 * TOLERANCE
        assert steadiness(9.0, [within, 1.0, 1.0]) is Steadiness.STEADY
        assert steadiness(9.0, [beyond, 1.0, 1.0]) is Steadiness.NOT_YET

    def test_noise_of_both_windows_widens_it(self) -> None:
        assert steadiness(1.15, [1.05, 1.0, 1.1]) is Steadiness.STEADY
        assert steadiness(1.05, [1.05, 1.0, 1.1]) is Steadiness.NOT_YET

    def test_an_outlier_in_one_window_does_not(self) -> None:
        """A series that falls by a tenth with each call, one of them interrupted."""
        assert steadiness(1.4, [1.3, 1.2, 2.5]) is Steadiness.NOT_YET

    def test_gives_up_after_its_most(self) -> None:
        falling = [2 * 0.9**call for call in range(40)]
        assert calls_until_settled(2.2, falling) == (MAX_CALLS, Steadiness.GAVE_UP)

    def test_short_calls_fill_a_window_of_time(self) -> None:
        """Twenty calls of 5 ms: two windows of WINDOW_S, and the clock's rise would show between them."""
        assert WINDOW_S == 0.05
        assert calls_until_settled(0.0051, [0.0051] * 400) == (19, Steadiness.STEADY)

    def test_short_calls_may_go_on_for_a_while(self) -> None:
        falling = [0.1 * 0.95**call for call in range(40)]
        calls, said = calls_until_settled(0.11, falling)
        assert said is Steadiness.GAVE_UP
        assert calls > MAX_CALLS
        assert sum(falling[: calls - 1]) < MAX_S <= sum(falling[:calls])

    @given(
        cold_s=st.floats(1e-6, 1e3),
        again_s=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=7),
    )
    def test_always_ends(self, cold_s: float, again_s: list[float]) -> None:
        later_s = again_s * MAX_SHORT_CALLS
        assert calls_until_settled(cold_s, later_s)[0] <= MAX_SHORT_CALLS


class TestTuningCalls:
    @pytest.mark.parametrize(
        ("walls_s", "expected"),
        [
            ([], 0),
            ([5.0], 0),
            ([1.0, 1.0, 1.0, 1.0], 0),
            ([1.4, 1.0, 1.0, 1.0], 0),
            ([4.0, 1.0], 1),
            ([4.0, 1.0, 1.0, 1.0], 1),
            ([8.0, 8.0, 7.0, 1.0, 1.01, 0.99, 1.0], 3),
            ([4.0, 1.0, 4.0, 1.0, 1.0, 1.0], 1),
            ([0.5, 1.0, 1.0, 1.0], 0),
            ([1.7, 1.0, 1.2, 0.8, 1.1, 1.4, 0.6, 1.0, 1.3, 0.9], 0),
        ],
        ids=[
            "none", "one", "level", "a little slower", "two", "cold", "three tune", "an interruption later",
            "first is quicker", "noise as wide",
        ],
    )  # fmt: skip
    def test_are_the_first_far_from_the_steady_level(self, walls_s: list[float], expected: int) -> None:
        assert tuning_calls(walls_s) == expected
