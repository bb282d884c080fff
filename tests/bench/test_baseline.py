"""A baseline as it is written and matched."""

import pytest

from bench.grid.baseline import Baseline


@pytest.mark.parametrize(
    ("text", "baseline", "matched"),
    [
        ("cpu", Baseline(backend="cpu"), [("basicvsr", "cpu"), ("mine", "cpu")]),
        ("mine/cpu", Baseline(model="mine", backend="cpu"), [("mine", "cpu")]),
    ],
)
def test_a_baseline_is_a_backend_or_that_of_one_network(
    text: str, baseline: Baseline, matched: list[tuple[str, str]]
) -> None:
    assert Baseline.of(text) == baseline
    assert str(baseline) == text
    places = [(model, backend) for model in ("basicvsr", "mine") for backend in ("cpu", "cuda")]
    assert [place for place in places if baseline.matches(*place)] == matched
