"""Ceilings as they are measured: how often by an exact clock, what really runs, and how a run keeps them."""

import json
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.commands import lifecycle as run
from bench.grid.backend import BUILT_IN
from bench.grid.ceilings import TRANSFERS, Ceiling, CeilingKind, CeilingSpec, wanted
from bench.measure import ceiling_calls, ceilings
from bench.measure.backends import CpuDevice
from bench.measure.ceiling_calls import Repeats, backend_of, sample, work_of
from bench.process.launcher import Launch, Launcher, shared_launchers
from bench.records import CEILINGS_NAME, read_ceilings
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeClock, FakeDevice, NoQueue, experiment
from tests.bench.test_cli import call
from tests.bench.test_run_folder import Display

TINY = {"SMALLEST_MATRIX": 16, "LARGEST_MATRIX": {"cpu": 16, "cuda": 16}, "SMALLEST_COPY_BYTES": 2**20,
        "DEVICE_COPY_BYTES": 2**20, "TRANSFER_BYTES": 2**20}  # fmt: skip
MATMUL = CeilingSpec(kind=CeilingKind.MATMUL, device="cpu", precision="float32")
COPY = CeilingSpec(kind=CeilingKind.COPY, device="cpu")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TINY.items():
        monkeypatch.setattr(ceiling_calls, name, value)
    monkeypatch.setattr(ceiling_calls, "last_cache_bytes", lambda: 128 * 2**10)


@pytest.mark.parametrize(
    ("call_s", "repeats", "samples", "calls"),
    [
        (1 / 16, Repeats(budget_s=0.25), 4, 2 + 4),  # until the budget is spent, after two to warm up
        (0.5, Repeats(budget_s=0.25), 3, 2 + 3),  # three at least
        (2.0, Repeats(slow_s=1.0), 1, 2),  # a slow one is enough
        # Short ones: 2, 4, 8 and 16 until they take long enough; then samples of 16.
        (TICK_S / 16, Repeats(most=3, sample_s=TICK_S), 3, 2 + 30 + 3 * 16),
    ],
)
def test_calls_are_repeated_as_often_as_the_rule_says(call_s, repeats, samples, calls):
    clock = FakeClock()
    device = NoQueue(clock)
    began_s = clock.now_s
    spans = sample(lambda: device.work(call_s), device=device, clock=clock, repeats=repeats)
    assert [span.wall_s for span in spans] == [call_s] * samples
    assert clock.now_s - began_s == calls * call_s


def test_a_launch_on_an_empty_queue_is_hardly_in_a_sample_of_short_calls() -> None:
    clock = FakeClock()
    call_s = TICK_S / 64
    device = FakeDevice(clock, launch_s=call_s)
    repeats = Repeats(most=3, sample_s=TICK_S)
    spans = sample(lambda: device.work(call_s), device=device, clock=clock, repeats=repeats)
    # The device waits for the first launch alone; 64 calls are the first that take long enough.
    assert [span.device_s for span in spans] == [call_s * 65 / 64] * 3


def test_a_device_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    device = FakeDevice(clock)
    work = ceiling_calls.Work(call=lambda: device.work(8 * TICK_S), what="work", moved_bytes=1024)
    monkeypatch.setattr(ceiling_calls, "work_of", lambda *_: work)
    found = ceiling_calls.run(
        CeilingSpec(kind=CeilingKind.COPY, device="cuda"), device, clock=clock, repeats=Repeats(most=3)
    )
    assert (found.clock, found.samples_s) == ("device", (9 * TICK_S,) * 3)
    assert found.best_rate == 1024 / (9 * TICK_S)


@pytest.mark.usefixtures("tiny")
class TestWork:
    @pytest.mark.parametrize(
        ("fields", "shape", "what", "flops"),
        [
            ({"kind": "matmul", "precision": "bfloat16"}, (16, 16), "16 x 16 x 16", 2 * 16**3),
            (
                {"kind": "matmul", "precision": "float32", "memory_format": "channels_last"},
                (16, 16, 1, 1), "16 x 16 x 16, as a 1 x 1 convolution", 2 * 16**3,
            ),
            *[
                (
                    {"kind": "convolution", "precision": "float32", "memory_format": layout,
                     "height": 8, "width": 12},
                    (1, 64, 8, 12), "3 x 3, 64 to 64 channels, 8 x 12", 2 * 9 * 64 * 64 * 8 * 12,
                )
                for layout in ("contiguous", "channels_last")
            ],
        ],
    )  # fmt: skip
    def test_arithmetic_is_of_the_named_size_type_and_layout(self, fields, shape, what, flops):
        spec = CeilingSpec(device="cpu", **fields)
        work = work_of(spec, CpuDevice())
        with FlopCounterMode(display=False) as counter:
            made: Any = work.call()
        assert (work.what, work.flops, work.moved_bytes) == (what, flops, None)
        assert counter.get_total_flops() == flops
        assert (tuple(made.shape), made.dtype) == (shape, getattr(torch, spec.precision))
        if spec.memory_format is not None:
            layout = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
            assert made.is_contiguous(memory_format=layout[spec.memory_format])

    def test_matrices_grow_until_a_product_takes_long_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = FakeClock()
        monkeypatch.setattr(ceiling_calls, "LARGEST_MATRIX", {"cpu": 4096})
        monkeypatch.setattr(
            torch, "mm", lambda left, right, out: clock.advance(left.shape[0] ** 3 / 2**18 * TICK_S)
        )
        work = work_of(MATMUL, NoQueue(clock), clock)
        assert work.what == "256 x 256 x 256"  # 64 ticks; at 128 it is 8, under 0.02 s

    def test_a_copy_is_far_beyond_the_caches_or_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        work = work_of(COPY, CpuDevice())
        target: Any = work.call()
        assert target.nbytes == 2**20 == 8 * 128 * 1024
        assert bool((target == 1).all())
        assert (work.what, work.moved_bytes) == ("1.00 MiB read and as many written", 2 * 2**20)
        monkeypatch.setattr(ceiling_calls, "available_bytes", lambda: 8 * 2**20 - 8)
        found = ceiling_calls.measured(COPY)
        assert found.samples_s == ()
        assert found.reason == "MemoryError: two buffers of 1.00 MiB need more memory than is free"

    @pytest.mark.parametrize("kind", TRANSFERS)
    def test_transfers_are_from_and_to_both_kinds_of_memory(self, kind: CeilingKind) -> None:
        device = CpuAsCuda()
        found = ceiling_calls.run(CeilingSpec(kind=kind, device="cuda"), device)
        assert len(device.locked) == ("pinned" in kind)
        assert (found.moved_bytes, found.clock) == (2**20, "wall")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_a_reason() -> None:
    found = ceiling_calls.measured(COPY.model_copy(update={"device": "cuda"}))
    assert found.reason.startswith("no CUDA")


@pytest.mark.parametrize(
    ("precision", "dtype", "fp32_precision"),
    [("tf32", "float32", "tf32"), ("bfloat16", "bfloat16", "ieee"), (None, "float32", "ieee")],
)
def test_settings_are_those_of_the_precision(precision, dtype, fp32_precision):
    spec = MATMUL.model_copy(update={"threads": 2, "precision": precision})
    backend = backend_of(spec)
    assert (backend.dtype, backend.fp32_precision, backend.threads) == (dtype, fp32_precision, 2)
    on_gpu = backend_of(spec.model_copy(update={"device": "cuda:1"}))
    assert (on_gpu.device, on_gpu.cudnn_enabled, on_gpu.cudnn_benchmark) == ("cuda:1", True, True)


# In a worker.


def made(spec: CeilingSpec) -> Ceiling:
    work = {"moved_bytes": 1000} if spec.precision is None else {"flops": 1000}
    return Ceiling(spec=spec, what="a test", samples_s=(0.25, 0.5), **work)


def fast(connection: Connection) -> None:
    """Answer as a worker would, without measuring."""
    for spec in connection.recv():
        connection.send(made(spec))


def fails(connection: Connection) -> None:
    """Have no samples of copies."""
    for spec in connection.recv():
        is_copy = spec.kind is CeilingKind.COPY
        connection.send(Ceiling(spec=spec, reason="no room") if is_copy else made(spec))


def dies(connection: Connection) -> None:
    """Die after the first."""
    connection.send(made(connection.recv()[0]))
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(connection: Connection) -> None:
    connection.recv()
    signal.pause()


@pytest.mark.parametrize(
    ("target", "limit_s", "reasons"),
    [
        ("dies", 120.0, ["", *["the process that measures ceilings ended with exit status -9"] * 6]),
        ("hangs", 0.2, ["matmul was not measured within 0 s"] * 7),
    ],
)
def test_a_worker_that_ends_early_leaves_what_it_had(target, limit_s, reasons, monkeypatch):
    monkeypatch.setattr(ceilings, "TARGET", f"tests.bench.test_ceilings:{target}")
    monkeypatch.setattr(ceilings, "TIMEOUT_S", limit_s)
    kept: list[Ceiling] = []
    specs = wanted([BUILT_IN["cpu"]])
    with Launcher() as launcher:
        ceilings.measure(launcher, specs, kept.append)
    assert [ceiling.spec for ceiling in kept] == list(specs)
    assert [ceiling.reason for ceiling in kept] == reasons


# Whole runs.

GRID: dict[str, Any] = {
    "grid": {"frames": [2], "size": [[16, 16]]},
    "backends": ["cpu", {"name": "cpu-1-thread", "from": "cpu", "threads": 1}],
    "measure": {"warmup": 0, "repetitions": 2, "stages": "sync", "memory": "off", "ceilings": True},
}


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    with shared_launchers() as launch:
        yield launch


def test_a_resumed_run_keeps_its_ceilings_and_tries_failed_ones_again(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    monkeypatch.setattr(ceilings, "TARGET", "tests.bench.test_ceilings:fails")
    grid = experiment(**GRID, plots=["roofline"])
    assert run.start(grid, Display(interrupt_after=1), output=path, launch=launch).interrupted
    first = (path / CEILINGS_NAME).read_bytes()
    assert [ceiling.reason for ceiling in read_ceilings(path) if ceiling.reason] == ["no room"] * 2
    monkeypatch.setattr(ceilings, "TARGET", "tests.bench.test_ceilings:fast")
    outcome = run.resume(path, Display(), launch=launch)
    whole = (path / CEILINGS_NAME).read_bytes()
    assert whole.startswith(first)
    assert len(whole.splitlines()) == 14 + 2
    assert not any(ceiling.reason for ceiling in read_ceilings(path))
    assert [image.name for image in outcome.images] == ["roofline.png"]
    assert len((path / "roofline.csv").read_text().splitlines()) == 1 + 2 * 5
    assert len((path / "ceilings.csv").read_text().splitlines()) == 1 + 14
    page = outcome.report.markdown.read_text()
    assert "## Roofline\n" in page
    assert "[roofline.csv](roofline.csv), [ceilings.csv](ceilings.csv)" in page


@pytest.mark.slow
def test_the_command_measures_every_ceiling_of_a_cpu(tmp_path: Path) -> None:
    grid = {
        "name": "tiny", "model": {"mid_channels": 4, "num_blocks": 1},
        "input": {"name": "noise", "kind": "random"}, **GRID,
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(json.dumps(grid))
    status, _, err = call("run", "tiny.yaml", "--output", "out", cwd=tmp_path)
    assert status == 0, err
    assert (tmp_path / "out" / "plots" / "roofline.svg").is_file()
    assert [ceiling.reason for ceiling in read_ceilings(tmp_path / "out")] == [""] * 14
    assert "Farthest from its limit is" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.usefixtures("tiny")
def test_every_ceiling_of_a_gpu() -> None:
    narrow = BUILT_IN["cudnn"].replace(name="narrow", dtype="float16")
    found = [ceiling_calls.measured(spec) for spec in wanted([narrow])]
    assert [ceiling.reason for ceiling in found if ceiling.reason] == []
    assert {ceiling.spec.kind for ceiling in found} == set(CeilingKind)
    for ceiling in found:
        assert ceiling.clock == ("wall" if ceiling.spec.kind in TRANSFERS else "device")
