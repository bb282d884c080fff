"""Estimates of FLOPs, memory and time of a round."""

from typing import Any

import pytest

from bench.grid import estimate
from bench.grid.backend import BUILT_IN, Backend
from bench.grid.config import RandomInput
from bench.grid.config_measure import Measure
from bench.grid.config_model import Model
from bench.grid.costs import StageCost
from bench.grid.estimate import STREAMED_CLIPS, cost, expected_calls, machine_rates
from bench.grid.plan import Cell

RATES = {"cpu": 1e11, "cuda": 1e13}
COSTS = {
    "trunk": StageCost(flops=3_000_000_000, bytes=1, fused_bytes=1, peak_bytes=500),
    "other": StageCost(flops=1_000_000_000, bytes=1, fused_bytes=1, peak_bytes=400),
}


def cell(backend: Backend = BUILT_IN["cpu"], *, frames: int = 4, batch: int = 1) -> Cell:
    noise = RandomInput(name="noise", kind="random")
    return Cell(model=Model(), input=noise, batch=batch, frames=frames, height=64, width=64, backend=backend)


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
        (None, 16, 16),  # nothing is known: as many as are usual
        (0.01, 16, 16),
        (1.0, 12, 8),  # 12 s are spent after 12 calls, and after 6 pairs of 2 s: of those the least is 8
        (100.0, 8, 8),
    ],
)
def test_calls_of_a_rule(call_s: float | None, end_to_end: int, pairs: int) -> None:
    rule = {"min": 8, "max": 40, "target": 0.01, "budget_s": 12.0}
    calls = expected_calls(Measure.model_validate({"repetitions": rule}), BUILT_IN["cpu"], call_s)
    assert (calls.first, calls.end_to_end, calls.stages, calls.memory) == (1 + 3, end_to_end, 2 * pairs, 2)


def test_a_cost_is_calls_times_flops_over_the_devices_rate() -> None:
    found = cost(cell(), COSTS, Measure(), RATES)
    assert (found.flops, found.peak_bytes) == (4e9, 500)
    assert found.calls == expected_calls(Measure(), BUILT_IN["cpu"], 4e9 / 1e11).total
    assert found.seconds == pytest.approx(found.calls * 4e9 / 1e11)
    on_gpu = cost(cell(BUILT_IN["cudnn"]), COSTS, Measure(), RATES)
    assert on_gpu.seconds == pytest.approx(on_gpu.calls * 4e9 / 1e13)


def test_unknown_costs_or_rates_give_no_time() -> None:
    found = cost(cell(), None, Measure(), RATES)
    assert (found.flops, found.peak_bytes, found.seconds) == (None, None, None)
    assert found.calls == expected_calls(Measure(), BUILT_IN["cpu"]).total
    assert cost(cell(BUILT_IN["cuda"]), COSTS, Measure(), {"cpu": 1e11, "cuda": None}).seconds is None


def test_few_threads_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate.psutil, "cpu_count", lambda logical: 8)
    fixed = Measure.model_validate({"repetitions": 7})
    all_cores = cost(cell(), COSTS, fixed, RATES).seconds
    assert all_cores is not None
    for threads, factor in ((2, 4), (8, 1), (64, 1)):
        few = BUILT_IN["cpu"].replace(name="few", threads=threads)
        assert cost(cell(few), COSTS, fixed, RATES).seconds == pytest.approx(factor * all_cores)


def test_a_rate_is_looked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_cpu_rate", lambda: 1e12)
    monkeypatch.setattr(estimate, "_gpu_rate", lambda: 1e13)
    assert machine_rates([]) == {"cpu": None, "cuda": None}
    assert machine_rates([cell()]) == {"cpu": pytest.approx(0.6e12), "cuda": None}
    assert machine_rates([cell(BUILT_IN["cuda"])]) == {"cpu": None, "cuda": 1e13}
