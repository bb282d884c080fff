"""What cells will cost: exact where a formula says so, plausible elsewhere."""

from typing import Any

import pytest
from vsr_model.convolution_memory import spectra_bytes, working_bytes
from vsr_model.native.memory import scratch_bytes, weight_bytes

from bench.grid import estimate
from bench.grid.backend_spec import BUILT_IN, Backend
from bench.grid.config import Model, RandomInput
from bench.grid.config_measure import Measure
from bench.grid.config_memory import MemoryPlanSpec
from bench.grid.estimate import cost, expected_calls, machine_rates, peak_bytes
from bench.grid.plan import Cell
from tests.networks import STAGES
from vsr_model.stages import ALIGNMENT

RATES = {"cpu": 1e11, "cuda": 1e13}


def cell(backend: Backend = BUILT_IN["cpu"], *, frames: int = 4, batch: int = 1) -> Cell:
    noise = RandomInput(name="noise", kind="random")
    return Cell(input=noise, batch=batch, frames=frames, height=64, width=64, backend=backend)


@pytest.mark.parametrize(
    ("stages", "memory", "on_cpu", "on_cuda"),
    [
        ("off", "off", 1 + 2 + 7, 1 + 2 + 7),
        ("off", "curve", 1 + 2 + 7 + 1, 1 + 2 + 7 + 1),
        ("off", "lines", 1 + 2 + 7 + 2, 1 + 2 + 7 + 2),
        ("sync", "off", 1 + 2 + 7 + 14, 1 + 2 + 7 + 14),
        ("events", "off", 1 + 2 + 7, 1 + 2 + 7 + 14),
        ("both", "off", 1 + 2 + 7 + 14, 1 + 2 + 7 + 28),
    ],
)
def test_calls_of_a_round(stages: str, memory: str, on_cpu: int, on_cuda: int) -> None:
    measure = Measure.model_validate({"stages": stages, "memory": memory, "warmup": 2, "repetitions": 7})
    assert expected_calls(measure, BUILT_IN["cpu"]).total == on_cpu
    assert expected_calls(measure, BUILT_IN["cudnn"]).total == on_cuda


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
    assert (calls.first, calls.end_to_end, calls.stages, calls.memory) == (1 + 3, end_to_end, 2 * pairs, 1)


def test_a_cost_is_calls_times_flops_over_the_rate() -> None:
    found = cost(cell(), Model(), Measure(), RATES)
    assert set(found.stage_flops) == set(STAGES)
    assert found.flops == sum(found.stage_flops.values())
    assert found.calls == expected_calls(Measure(), BUILT_IN["cpu"], found.flops / 1e11).total
    assert found.seconds == pytest.approx(found.calls * found.flops / 1e11)
    assert found.peak_bytes > 64 * 64 * 4 * (3 + 3 * 16) * 4


def test_one_frame_has_nothing_to_align() -> None:
    assert cost(cell(frames=1), Model(), Measure(), RATES).stage_flops[ALIGNMENT] == 0


def test_flops_grow_with_the_batch() -> None:
    one, two = (cost(cell(batch=batch), Model(), Measure(), RATES).flops for batch in (1, 2))
    assert two == 2 * one


def peak_of(model: Model, **fields: Any) -> int:
    backend = Backend(name="x", **{"device": "cpu", **fields})
    return peak_bytes(cell(backend), model)


AXES = {"batch": 1, "height": 64, "width": 64}


def test_the_kernels_memory_is_counted() -> None:
    model = Model(mid_channels=16, num_blocks=2)
    more = peak_of(model, convolution="winograd", threads=2) - peak_of(model)
    assert more == weight_bytes(mid_channels=16, num_blocks=2) + scratch_bytes(
        mid_channels=16, pairs=3, upsampled=1, threads=2, **AXES
    )


@pytest.mark.parametrize("fields", [{}, {"memory_plan": MemoryPlanSpec(place="device")}])
def test_the_kernel_fills_channels_up(fields: dict[str, Any]) -> None:
    one, sixteen = (
        peak_of(Model(mid_channels=mid, num_blocks=2), convolution="winograd", **fields) for mid in (1, 16)
    )
    assert one == sixteen


@pytest.mark.parametrize("convolution", ["im2col", "fft"])
@pytest.mark.parametrize(("fields", "streams"), [({}, 1), ({"device": "cuda", "schedule": "pipelined"}, 2)])
def test_what_other_convolutions_work_in_is_counted(
    convolution: str, fields: dict[str, Any], streams: int
) -> None:
    model = Model(mid_channels=8, num_blocks=2)
    on_cpu = "device" not in fields
    working = working_bytes(convolution, mid_channels=8, pairs=3, upsampled=1, on_cpu=on_cpu, **AXES)
    kept = spectra_bytes(mid_channels=8, num_blocks=2, height=64, width=64) if convolution == "fft" else 0
    assert peak_of(model, convolution=convolution, **fields) - peak_of(model, **fields) == (
        streams * working + kept
    )


def test_graphs_are_allowed_for() -> None:
    model = Model(mid_channels=8, num_blocks=2)
    plain, graphed = (peak_of(model, device="cuda", cuda_graph=graph) for graph in (False, True))
    assert graphed - plain == 4 * 4 * 64 * 64 * 3 * (1 + 16)  # a clip and an output of four frames


def test_each_device_has_its_rate() -> None:
    found = cost(cell(BUILT_IN["cudnn"]), Model(), Measure(), RATES)
    assert found.seconds == pytest.approx(found.calls * found.flops / 1e13)


def test_few_threads_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate.psutil, "cpu_count", lambda logical: 8)
    fixed = Measure.model_validate({"repetitions": 7})
    all_cores = cost(cell(), Model(), fixed, RATES).seconds
    assert all_cores is not None
    for threads, factor in ((2, 4), (8, 1), (64, 1)):
        few = Backend(name="few", device="cpu", threads=threads)
        assert cost(cell(few), Model(), fixed, RATES).seconds == pytest.approx(factor * all_cores)


def test_an_unknown_rate_gives_no_time() -> None:
    assert cost(cell(BUILT_IN["cuda"]), Model(), Measure(), {"cpu": 1e11, "cuda": None}).seconds is None


def test_a_rate_is_looked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_cpu_rate", lambda: 1e12)
    monkeypatch.setattr(estimate, "_gpu_rate", lambda: 1e13)
    assert machine_rates([]) == {"cpu": None, "cuda": None}
    assert machine_rates([cell()]) == {"cpu": pytest.approx(0.6e12), "cuda": None}
    assert machine_rates([cell(BUILT_IN["cuda"])]) == {"cpu": None, "cuda": 1e13}


def test_the_rate_of_this_processor() -> None:
    rate = machine_rates([cell()])["cpu"]
    assert rate is not None
    assert 1e8 < rate < 1e15
