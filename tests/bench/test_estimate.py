"""Estimates of the calls of a round."""

from typing import Any

import pytest

from bench.grid.backend import BUILT_IN, Backend
from bench.grid.config_measure import Measure
from bench.grid.estimate import STREAMED_CLIPS, TYPICAL_REPETITIONS, expected_calls


@pytest.mark.parametrize(
    ("asked", "on_cpu", "on_cuda"),
    [
        ({"stages": "off", "memory": "off"}, 0, 0),
        ({"stages": "off", "memory": "curve"}, 1, 1),
        ({"stages": "off", "memory": "lines"}, 2, 2),
        ({"stages": "sync", "memory": "off"}, 14, 14),
        ({"stages": "events", "memory": "curve"}, 1, 14 + 2),  # one more for memory by stage
        ({"stages": "events", "memory": "off"}, 0, 14),
        ({"stages": "both", "memory": "off"}, 14, 28),
        ({"stages": "off", "memory": "off", "profile": True}, 2, 2),
    ],
)
def test_calls_of_a_round(asked: dict[str, Any], on_cpu: int, on_cuda: int) -> None:
    measure = Measure.model_validate({**asked, "warmup": 2, "repetitions": 7})
    assert expected_calls(measure, BUILT_IN["cpu"]).total == 1 + 2 + 7 + on_cpu
    assert expected_calls(measure, BUILT_IN["cudnn"]).total == 1 + 2 + 7 + on_cuda


@pytest.mark.parametrize(
    ("origin", "fields", "total"),
    [
        ("cudnn", {"transfer": "overlapped"}, 3 + 7 * (1 + STREAMED_CLIPS) + 28 + 2 + 2),
        ("cpu", {"processes": 2}, 3 + 7),  # the end-to-end pass alone
        ("cpu", {"memory_plan": "disk"}, 3 + 7 + 14 + 2 + 2 + 1),  # and one for the output check
    ],
)
def test_calls_of_a_backend(origin: str, fields: dict[str, Any], total: int) -> None:
    asked = {"warmup": 2, "repetitions": 7, "stages": "both", "memory": "curve", "profile": True}
    backend = Backend.model_validate({"name": "one", "from": origin, **fields})
    assert expected_calls(Measure.model_validate(asked), backend).total == total


@pytest.mark.parametrize(
    ("call_s", "end_to_end", "pairs"),
    [
        (None, TYPICAL_REPETITIONS, TYPICAL_REPETITIONS),  # nothing is known: as many as are usual
        (0.01, TYPICAL_REPETITIONS, TYPICAL_REPETITIONS),
        (1.0, 12, 8),  # 12 s are spent after 12 calls, and after 6 pairs of 2 s: of those the least is 8
        (100.0, 8, 8),
    ],
)
def test_calls_of_a_rule(call_s: float | None, end_to_end: int, pairs: int) -> None:
    rule = {"min": 8, "max": 40, "target": 0.01, "budget_s": 12.0}
    calls = expected_calls(Measure.model_validate({"repetitions": rule}), BUILT_IN["cpu"], call_s)
    assert (calls.first, calls.end_to_end, calls.stages, calls.memory) == (1 + 3, end_to_end, 2 * pairs, 2)


def test_calls_of_a_rule_at_least_and_as_seen() -> None:
    asked = Measure.model_validate({"repetitions": {"min": 6, "max": 40, "budget_s": 9.0}, "memory": "off"})
    least = expected_calls(asked, BUILT_IN["cpu"], 0.1, repetitions=0, warmup=2)
    assert (least.first, least.end_to_end, least.stages) == (3, 6, 12)
    assert expected_calls(asked, BUILT_IN["cpu"], 0.1, repetitions=30).end_to_end == 30
