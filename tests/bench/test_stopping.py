"""When a round stops: the reasons, their order, and the interval that is left."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.intervals import median_interval
from bench.stats.stopping import STOPPING_CONFIDENCE, Rule, Stop, decide, half_width, look_counts

QUIET = [1.0, 1.001, 0.999, 1.002, 0.998, 1.003, 0.997, 1.0]
LOUD = [1.0, 1.5, 0.7, 1.2, 0.8, 1.4, 0.6, 1.1]


@pytest.mark.parametrize(
    ("rule", "values", "elapsed_s", "expected"),
    [
        (Rule(min=5, max=8, target=0.02), QUIET[:4], 0.0, None),
        (Rule(min=5, max=8, target=0.02), QUIET[:6], 0.0, None),
        (Rule(min=5, max=8, target=0.02), QUIET[:7], 0.0, Stop.TARGET),
        (Rule(min=5, max=8, target=0.0001), QUIET[:7], 0.0, None),
        (Rule(min=5, max=8, target=0.02), LOUD[:7], 0.0, None),
        (Rule(min=5, max=8, target=0.02), LOUD, 0.0, Stop.MAX),
        (Rule(min=5, max=8, target=0.02), QUIET, 0.0, Stop.TARGET),
        (Rule(min=5, max=5, target=0.02), QUIET[:5], 0.0, Stop.MAX),
        (Rule(min=5, max=8, target=0.02, budget_s=10.0), LOUD[:4], 11.0, None),
        (Rule(min=5, max=8, target=0.02, budget_s=10.0), LOUD[:5], 9.9, None),
        (Rule(min=5, max=8, target=0.02, budget_s=10.0), LOUD[:5], 10.0, Stop.BUDGET),
        (Rule(min=5, max=8, target=0.02, budget_s=10.0), QUIET[:7], 10.0, Stop.TARGET),
        (Rule(min=5, max=8, target=0.02, budget_s=10.0), LOUD, 10.0, Stop.MAX),
        (Rule(min=5, max=8), QUIET[:7], 0.0, None),
        (Rule(min=5, max=8), QUIET, 0.0, Stop.MAX),
        (Rule(min=5, max=8, budget_s=1.0), QUIET[:5], 1.0, Stop.BUDGET),
        (Rule(min=5, max=5, budget_s=1.0), QUIET[:4], 2.0, None),
        (Rule(min=5, max=5, budget_s=1.0), QUIET[:5], 2.0, Stop.COUNT),
        (Rule.fixed(3), [1.0] * 2, 1e9, None),
        (Rule.fixed(3), [1.0] * 3, 1e9, Stop.COUNT),
        # A look comes at 31 and the next at 32: nothing is decided between the two.
        (Rule(min=5, max=99, target=0.5), [1.0] * 31, 0.0, None),
        (Rule(min=5, max=99, target=0.5), [1.0] * 32, 0.0, Stop.TARGET),
    ],
    ids=[
        "fewer than min", "too few for an interval", "target met", "target missed", "loud", "most",
        "most and met", "target with a fixed number", "min outlasts the budget", "budget left", "spent",
        "budget spent and target met", "most and budget", "no target", "no target, most", "budget alone",
        "fixed outlasts the budget", "fixed with a budget", "fixed, not yet", "fixed", "no look", "a look",
    ],
)  # fmt: skip
def test_reasons(rule: Rule, values: Sequence[float], elapsed_s: float, expected: Stop | None) -> None:
    assert decide(rule, values, elapsed_s) is expected


def test_the_half_width_is_the_further_end_over_the_median() -> None:
    assert (
        half_width([8.0, 9.0, 10.0, 10.0, 10.0, 11.0, 15.0]) == 0.5
    )  # seven values at 98 %: the whole range
    values = [100.0 + value for value in range(12)]
    reported, decisive = median_interval(values), median_interval(values, STOPPING_CONFIDENCE)
    assert reported is not None
    assert decisive is not None
    assert decisive[0] < reported[0]
    assert half_width(values) == (decisive[1] - 105.5) / 105.5


@pytest.mark.parametrize(
    ("bounds", "counts"), [((5, 40), [*range(5, 31), 32, 34, 36, 38, 40]), ((7, 7), [7]), ((7, 9), [7, 8, 9])]
)
def test_looks_come_at_every_count_at_first_and_then_by_a_twentieth(
    bounds: tuple[int, int], counts: list[int]
) -> None:
    assert sorted(look_counts(*bounds)) == counts


@given(
    bounds=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    target=st.none() | st.floats(1e-4, 1.0),
    budget_s=st.none() | st.floats(0.0, 30.0),
    values=st.lists(st.floats(0.5, 2.0), min_size=30, max_size=30),
)
def test_a_round_ends_between_min_and_max_for_a_reason_that_is_true(
    bounds: tuple[int, int], target: float | None, budget_s: float | None, values: list[float]
) -> None:
    rule = Rule(min=min(bounds), max=max(bounds), target=target, budget_s=budget_s)
    # A second for each sample.
    count, reason = next(
        (count, reason) for count in range(31) if (reason := decide(rule, values[:count], float(count)))
    )
    assert rule.min <= count <= rule.max
    found = half_width(values[:count])
    met = found is not None and target is not None and found <= target
    assert met == (reason is Stop.TARGET)
    if reason is Stop.BUDGET:
        assert budget_s is not None
        assert count >= budget_s
    if reason is Stop.MAX:
        assert count == rule.max
    if reason is Stop.COUNT:
        assert count == rule.min == rule.max
    if reason is Stop.TARGET:
        assert count >= 6  # fewer have no interval
