"""What only a CUDA device can show."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch

from bench.grid.backend import BUILT_IN, Backend
from bench.measure import backends, read_back, workload
from bench.measure.backends import CudaDevice, applied, is_out_of_memory, unavailable
from bench.measure.timing import timed
from bench.paper.experiments import PAPER, Method
from bench.paper.script import keep_from_cudnn
from bench.process.admission import Admission
from bench.process.forecast import Forecast
from bench.process.launcher import Launcher
from bench.process.runner import Run, execute
from bench.records import CellRecord, Pass, Phase, Status
from tests import golden
from tests.bench.fakes import Watching, experiment, jobs_of
from tests.networks import STAGES, build_basicvsr
from vsr_model import BasicVSR, load_checkpoint
from vsr_model.stages import no_probe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason=str(unavailable(BUILT_IN["cuda"])),
    ),
]

CUDA_BACKENDS = [
    BUILT_IN["cuda"],
    BUILT_IN["cudnn"],
    BUILT_IN["cudnn_autotune"],
    BUILT_IN["cudnn"].replace(name="tf32", fp32_precision="tf32"),
]

by_name = pytest.mark.parametrize("backend", CUDA_BACKENDS, ids=lambda backend: backend.name)

CYCLES = 40_000_000
"""Of the device's clock: 20 to 40 ms, so that the device is at work when the host goes on."""

TIMES = 7


@pytest.fixture(scope="module")
def device() -> CudaDevice:
    made = CudaDevice("cuda")
    made.create_context()
    return made


# Settings.


@by_name
def test_precision_is_read_back_from_what_ran(backend: Backend):
    with applied(backend):
        read_back.check(backend)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability()[0] < 8, reason="no TF32 before Ampere"
)
def test_a_lower_precision_than_was_claimed_is_found():
    with applied(BUILT_IN["cudnn"].replace(name="tf32", fp32_precision="tf32")), pytest.raises(RuntimeError):
        read_back.check(BUILT_IN["cudnn"])


@by_name
def test_settings_are_in_force_and_restored(backend: Backend):
    def switches() -> tuple[object, ...]:
        return (
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.conv.fp32_precision,
            torch.backends.cuda.matmul.fp32_precision,
        )

    assert unavailable(backend) is None
    before = switches()
    with applied(backend) as settings:
        precision = backend.fp32_precision
        assert switches() == (backend.cudnn_enabled, backend.cudnn_benchmark, precision, precision)
        assert settings["cudnn.enabled"] == str(backend.cudnn_enabled)
        assert settings["cudnn.benchmark"] == str(backend.cudnn_benchmark)
        assert settings["cudnn.conv.fp32_precision"] == precision
        assert settings["cuda.matmul.fp32_precision"] == precision
    assert switches() == before


def test_ieee_products_are_more_exact_than_tf32(device):
    """The setting does what it says, where the device has TF32 (compute capability 8.0 and later)."""
    if torch.cuda.get_device_capability(device.torch_device) < (8, 0):
        pytest.skip("this device has no TF32")
    left, right = (torch.rand((512, 512), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = left.double() @ right.double()

    def error(precision: str) -> float:
        with applied(BUILT_IN["cudnn"].replace(fp32_precision=precision)):
            product = left.to(device.torch_device) @ right.to(device.torch_device)
            return float((product.cpu().double() - exact).abs().max() / exact.abs().max())

    assert error("ieee") < 1e-5
    assert error("tf32") > 2 * error("ieee")


def test_a_device_that_is_not_there():
    beyond = torch.cuda.device_count()
    reason = unavailable(BUILT_IN["cudnn"].replace(device=f"cuda:{beyond}"))
    assert reason == f"no device cuda:{beyond}: this machine has {beyond}"


def test_the_device_is_described():
    (first, *_) = backends.describe_devices()["devices"]
    assert first["name"] == torch.cuda.get_device_name(0)
    assert first["memory_bytes"] > 2**30


# Clocks. Whether they are right is for benchmarks/known_length.py.


def test_the_clock_is_read_while_the_device_has_nothing_to_do(device):
    """Neither does work that was left over count, nor is any of its own missing."""
    idle: list[bool] = []

    def clock() -> float:
        idle.append(torch.cuda.current_stream().query())
        return perf_counter()

    torch.cuda._sleep(CYCLES)
    _, span = timed(lambda: torch.cuda._sleep(CYCLES), device=device, clock=clock)
    assert idle == [True, True]
    assert span.device_s is not None
    assert span.device_s > 0


# Memory.


def test_peaks(device):
    device.reset_peak_bytes()
    before = device.allocated_bytes()
    held = torch.empty(64 * 2**20, dtype=torch.uint8, device=device.torch_device)
    del held
    allocated, reserved = device.peak_bytes()
    assert allocated - before >= 64 * 2**20
    assert reserved >= allocated
    assert device.allocated_bytes() == before
    device.reset_peak_bytes()
    assert device.peak_bytes()[0] == before


def test_more_than_the_device_has_is_out_of_memory(device):
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device=device.torch_device)
    assert is_out_of_memory(caught.value)


# Whole rounds in real workers.


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


def run_all(
    launcher: Launcher, references: Path, method: Method | None = None, **changes: Any
) -> list[CellRecord]:
    one = experiment(**changes)
    kept: list[CellRecord] = []
    run = Run(
        experiment=one,
        references=references,
        skip_reason=lambda _: None,
        admission=Admission(one.measure, lambda _: None, lambda _: None),
        forecast=Forecast(one.measure, lambda _: None),
        keep=kept.append,
        worker="tests.bench.faulty_workers:serve" if method is None else "bench.paper.script:main",
        method=method,
    )
    execute(jobs_of(one), run, launcher, Watching())
    return kept


@pytest.fixture(scope="module")
def records(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CellRecord]:
    """A round of each backend, large enough that kernels take longer than their launches."""
    found = run_all(
        launcher,
        tmp_path_factory.mktemp("references"),
        model={"mid_channels": 64, "num_blocks": 6},
        grid={"frames": [3], "size": [[180, 320]]},
        backends=[
            "cuda",
            "cudnn",
            "cudnn_autotune",
            {"name": "tf32", "from": "cudnn", "fp32_precision": "tf32"},
        ],
        measure={"warmup": 3, "repetitions": TIMES, "stages": "both", "memory": "curve", "timeout_s": 300.0},
    )
    return {record.backend: record for record in found}


def steady(record: CellRecord, pass_: Pass, stage: str, clock: str) -> list[float]:
    return [
        getattr(sample, clock)
        for sample in record.samples
        if (sample.pass_, sample.phase, sample.stage) == (pass_, Phase.STEADY, stage)
    ]


@by_name
def test_a_round_is_ok(records, backend: Backend):
    record = records[backend.name]
    assert (record.status, record.reason) == (Status.OK, "")
    assert record.context_s > 0
    assert record.model_to_device_s > 0
    assert record.first_forward_s > 0


@pytest.mark.parametrize("name", ["cuda", "cudnn", "cudnn_autotune"])
def test_the_output_is_the_cpus(records, name):
    assert records[name].output_psnr_db >= 80


@by_name
def test_stages_and_other_are_the_forward(records, backend: Backend):
    record = records[backend.name]
    wholes = steady(record, Pass.STAGE_EVENTS, "forward", "device_s")
    assert len(wholes) == TIMES
    parts = [steady(record, Pass.STAGE_EVENTS, str(stage), "device_s") for stage in (*STAGES, "other")]
    for whole, *of_call in zip(wholes, *parts, strict=True):
        assert all(part >= 0 for part in of_call)
        assert sum(of_call) == pytest.approx(whole, rel=1e-6)


@by_name
def test_transfers_are_timed_on_both_clocks(records, backend: Backend):
    record = records[backend.name]
    for stage in ("host_to_device", "forward", "device_to_host"):
        for clock in ("wall_s", "device_s"):
            found = steady(record, Pass.END_TO_END, stage, clock)
            assert len(found) == TIMES
            assert min(found) > 0


@by_name
def test_memory_is_recorded(records, backend: Backend):
    record = records[backend.name]
    output_bytes = 3 * 3 * 720 * 1280 * 4
    assert record.peak_device_bytes > output_bytes
    assert record.peak_device_reserved_bytes >= record.peak_device_bytes
    assert record.cold_peak_device_bytes > output_bytes
    assert max(point.device_bytes for point in record.memory) > 0
    assert {*record.stage_memory} == {*STAGES, "other"}
    peaks = [one.peak_device_bytes for one in record.stage_memory.values()]
    assert max(peaks) == pytest.approx(record.peak_device_bytes, rel=0.02)  # of another call, without a probe
    kept = sum(one.device_kept_bytes for one in record.stage_memory.values())
    assert kept == pytest.approx(output_bytes, rel=0.02)


def test_out_of_device_memory_is_a_result(launcher, tmp_path):
    names = ("first", "device-memory", "last")
    first, lost, last = run_all(
        launcher,
        tmp_path,
        input=[{"name": name, "kind": "random"} for name in names],
        backends=["cudnn"],
        measure={
            "warmup": 0, "repetitions": 1, "stages": "off", "memory": "off", "isolation": "experiment",
            "timeout_s": 300.0, "after_oom": "continue",
        },
    )  # fmt: skip
    assert lost.status is Status.OOM
    assert lost.reason.startswith("OutOfMemoryError: ")
    # In the same process: the device is still good for others.
    assert (first.status, last.status) == (Status.OK, Status.OK)


def test_page_locked_memory(launcher, tmp_path):
    (record,) = run_all(
        launcher,
        tmp_path,
        backends=[{"name": "pinned", "from": "cudnn", "transfer": "pinned"}],
        measure={"warmup": 0, "repetitions": 2, "stages": "off", "memory": "off", "timeout_s": 300.0},
    )
    assert (record.status, record.reason) == (Status.OK, "")
    assert record.settings["host_memory"] == "pinned"
    assert record.context_s > 0
    assert record.output_psnr_db >= 80


# The course paper's script.


@pytest.fixture(scope="module")
def scripted(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> list[CellRecord]:
    """Two cells of one process by the paper's script."""
    return run_all(
        launcher,
        tmp_path_factory.mktemp("references"),
        method=PAPER,
        model={"mid_channels": 64, "num_blocks": 6},
        input=[{"name": name, "kind": "random"} for name in ("first", "second")],
        grid={"frames": [3], "size": [[64, 96]]},
        backends=["cudnn"],
        measure={"warmup": 0, "repetitions": 3, "stages": "off", "memory": "off", "isolation": "backend",
                 "timeout_s": 300.0},
    )  # fmt: skip


def test_the_papers_first_call_sets_the_device_up(scripted):
    assert [record.status for record in scripted] == [Status.OK] * 2
    first, second = (steady(record, Pass.END_TO_END, "forward", "wall_s") for record in scripted)
    assert len(first) == len(second) == 3
    assert first[0] > second[0]
    assert all(record.output_psnr_db >= 80 for record in scripted)


@pytest.mark.parametrize("off", [True, False])
def test_cudnn_in_the_warp_of_features(device, off):
    backend = BUILT_IN["cudnn"]
    clip = torch.rand(1, 3, 3, 32, 32).to(device.torch_device)
    with backends.applied(backend):
        network = workload.prepare(build_basicvsr(8, 1), backend, device.torch_device)
        if off:
            keep_from_cudnn(network.get_submodule("alignment"))
        forward = workload.forward_of(network)
        forward(clip, no_probe)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            forward(clip, no_probe)
            device.synchronize()
    calls = {item.key: item.count for item in profile.key_averages()}
    # Flow estimation pads by the border, which cuDNN cannot: its warps are none of them.
    assert calls.get("aten::cudnn_grid_sampler", 0) == (0 if off else 4)
    assert calls["aten::cudnn_convolution"] > 0


@by_name
def test_golden_values(backend: Backend, device):
    if backend.fp32_precision == "tf32":
        pytest.skip("golden values are of full float32")
    network = BasicVSR(*golden.SIZES["tiny"]).eval()
    load_checkpoint(network, golden.weights(*golden.SIZES["tiny"]))
    with applied(backend), torch.inference_mode():
        network = network.to(device.torch_device)
        output = network(golden.clip(3, 72, 100).to(device.torch_device)).cpu()
    expected = golden.load("tiny")
    np.testing.assert_allclose(output[..., ::7, ::7].numpy(), expected["output_s7"], rtol=0, atol=1e-3)
    means = output.double().mean((3, 4)).numpy()
    np.testing.assert_allclose(means, expected["output_mean"], rtol=0, atol=1e-3)
