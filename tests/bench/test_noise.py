"""What a gate can tell on a machine whose noise is given."""

import math
from random import Random

import pytest

from bench.comparison.noise import STEP, drawn_together, found_of, noise
from bench.comparison.shares import share
from vsr_model.errors import BadInput


def pairs(scatter: float, count: int = 80, seed: int = 1) -> tuple[list[float], list[float]]:
    random = Random(seed)
    level = [random.lognormvariate(0, 0.2) for _ in range(count)]
    return level, [value * math.exp(random.gauss(0, scatter)) for value in level]


def test_a_quiet_machine_has_the_least_threshold_there_is() -> None:
    found = noise({"cell": pairs(1e-4)}, 20, draws=100)
    assert found.threshold == STEP
    assert (found.false_alarms, found.same) == (0, 100)
    assert found.detectable == pytest.approx(STEP, abs=0.001)


def test_more_noise_and_fewer_rounds_ask_for_a_greater_threshold() -> None:
    thresholds = [
        noise({"cell": pairs(scatter)}, rounds, draws=100).threshold
        for scatter, rounds in ((0.005, 40), (0.005, 10), (0.02, 10), (0.05, 10))
    ]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 4


def test_what_is_recommended_keeps_both_promises_and_what_is_given_is_kept() -> None:
    made = {"a": pairs(0.02), "b": pairs(0.01, seed=2)}
    found = noise(made, 16, draws=300)
    assert found.recommended
    assert found.false_alarms <= 3
    assert found.same >= 0.95 * 300
    given = noise(made, 16, threshold=0.001, draws=300)
    assert (given.threshold, given.recommended) == (0.001, False)
    assert given.same == 0


def test_the_least_slowdown_is_one_that_is_found_and_a_lesser_one_is_not() -> None:
    made = {"a": pairs(0.02)}
    found = noise(made, 16, threshold=0.03, draws=300)
    least = found.cells[0].detectable
    assert 0.03 < least < 0.1
    rates = [found_of(made, "a", slowdown, 0.03, 16, draws=300) for slowdown in (least - 0.005, least + 1e-9)]
    assert rates[0] < 0.95 * 300 <= rates[1]


def test_the_scatter_of_a_pair_is_that_of_its_ratio_and_not_of_the_machine() -> None:
    found = noise({"a": pairs(0.02, count=400)}, 16, draws=20)
    assert found.cells[0].scatter == pytest.approx(0.02, rel=0.2)
    assert found.cells[0].pairs == 400


def test_a_place_is_the_same_round_in_all_cells_that_are_drawn_together() -> None:
    whole = {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3]}  # as after an interrupt
    assert drawn_together(whole) == whole
    gap = {"a": [0, 1, 2, 3, 4], "b": [0, 1, 3, 4]}
    assert drawn_together(gap) == {"a": [0, 1, 3, 4], "b": [0, 1, 3, 4]}
    apart = {"a": [0, 1, 2, 3], "b": [4, 5, 6]}
    assert drawn_together(apart) == {"a": [0, 1, 2, 3]}
    assert drawn_together({}) == {}


@pytest.mark.parametrize(("text", "value"), [("3%", 0.03), ("0.03", 0.03), (" 2.5 % ", 0.025), ("100%", 1.0)])
def test_shares(text: str, value: float) -> None:
    assert share(text, "--threshold") == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["3", "", "three", "-1%", "nan", "inf", "1e400", "0%", "0", "101%", "٣%", "3%%"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--threshold: should be a percentage"):
        share(text, "--threshold")


def test_no_allowance_is_an_allowance() -> None:
    assert share("0%", "--apart", may_be_zero=True) == 0
