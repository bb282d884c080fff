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
from bench.grid.ceilings import TRANSFERS, Ceiling, CeilingKind, CeilingSpec, Moment, wanted
from bench.measure import ceiling_calls, ceilings
from bench.measure.backends import CpuDevice
from bench.measure.ceiling_calls import REPEATS, Repeats, backend_of, sample, work_of
from bench.process.launcher import Launch, Launcher, shared_launchers
from bench.records import CEILINGS_NAME, JOURNAL_NAME, append_ceiling, read_ceilings
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeClock, FakeDevice, NoQueue, experiment
from tests.bench.test_cli import call
from tests.bench.test_run_folder import Display
from vsr_model.errors import BadInput

TINY = {"SMALLEST_MATRIX": 16, "LARGEST_MATRIX": {"cpu": 16, "cuda": 16}, "SMALLEST_COPY_BYTES": 2**20,
        "DEVICE_COPY_BYTES": 2**20, "TRANSFER_BYTES": 2**20}  # fmt: skip

FORMAT = {"memory_format": "channels_last", "height": 8, "width": 12}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TINY.items():
        monkeypatch.setattr(ceiling_calls, name, value)
    monkeypatch.setattr(ceiling_calls, "last_cache_bytes", lambda: 128 * 2**10)


class TestRepetitions:
    def calls(self, seconds: float, repeats: Repeats = REPEATS) -> list[float]:
        clock = FakeClock()
        device = NoQueue(clock)
        spans = sample(lambda: device.work(seconds), device=device, clock=clock, repeats=repeats)
        assert {span.wall_s for span in spans} == {seconds}
        self.passed_s = clock.now_s - 100.0
        return [span.wall_s for span in spans]

    def test_until_the_budget_is_spent(self) -> None:
        assert len(self.calls(1 / 16, Repeats(least=3, most=20, budget_s=0.25))) == 4

    def test_three_at_least(self) -> None:
        assert len(self.calls(0.5, Repeats(least=3, budget_s=0.25))) == 3
        assert self.passed_s == 5 * 0.5  # two of them to warm up

    def test_of_short_calls_a_sample_has_several(self) -> None:
        short_s = TICK_S / 16
        assert len(self.calls(short_s, Repeats(most=3, sample_s=TICK_S))) == 3
        # Two to warm up; 2, 4, 8 and 16 until they take long enough; three samples.
        assert self.passed_s == (2 + 30 + 3 * 16) * short_s

    def test_what_is_launched_on_an_empty_queue_is_hardly_in_it(self) -> None:
        clock = FakeClock()
        call_s = launch_s = TICK_S / 64
        device = FakeDevice(clock, launch_s=launch_s)
        spans = sample(
            lambda: device.work(call_s), device=device, clock=clock, repeats=Repeats(most=3, sample_s=TICK_S)
        )
        # The device waits for the first launch alone; 64 calls are the first that take long enough.
        assert [span.device_s for span in spans] == [call_s * 65 / 64] * 3

    def test_one_that_takes_long_is_enough(self) -> None:
        assert len(self.calls(2.0, Repeats(slow_s=1.0))) == 1
        assert self.passed_s == 4.0


class TestClock:
    def measured(self, kind: CeilingKind, monkeypatch: pytest.MonkeyPatch) -> Ceiling:
        clock = FakeClock()
        device = FakeDevice(clock)
        work = ceiling_calls.Work(call=lambda: device.work(8 * TICK_S), what="work", moved_bytes=1024)
        monkeypatch.setattr(ceiling_calls, "work_of", lambda *_: work)
        spec = CeilingSpec(kind=kind, device="cuda")
        return ceiling_calls.run(spec, Moment.BEFORE, device, clock=clock, repeats=Repeats(most=3))

    def test_of_a_device_is_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.measured(CeilingKind.COPY, monkeypatch)
        assert (found.clock, found.samples_s) == ("device", (9 * TICK_S,) * 3)
        assert found.best_rate == 1024 / (9 * TICK_S)


@pytest.mark.usefixtures("tiny")
class TestWork:
    def test_a_product_of_square_matrices(self) -> None:
        work = work_of(CeilingSpec(kind=CeilingKind.MATMUL, device="cpu", precision="bfloat16"), CpuDevice())
        product = work.call()
        assert isinstance(product, torch.Tensor)
        assert (product.shape, product.dtype) == ((16, 16), torch.bfloat16)
        assert (work.what, work.flops, work.moved_bytes) == ("16 x 16 x 16", 2 * 16**3, None)

    @pytest.mark.parametrize("size", [16, 32])
    def test_a_product_by_the_library_of_convolutions(
        self, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ceiling_calls, "LARGEST_MATRIX", {"cpu": size})
        spec = CeilingSpec(
            kind=CeilingKind.MATMUL, device="cpu", precision="float32", memory_format="channels_last"
        )
        work = work_of(spec, CpuDevice())
        counter = FlopCounterMode(display=False)
        with counter:
            product = work.call()
        assert isinstance(product, torch.Tensor)
        assert product.numel() == size * size
        assert counter.get_total_flops() == work.flops == 2 * size**3
        assert work.what == f"{size} x {size} x {size}, as a 1 x 1 convolution"

    def test_matrices_grow_until_a_product_takes_long_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = FakeClock()
        monkeypatch.setattr(ceiling_calls, "LARGEST_MATRIX", {"cpu": 4096, "cuda": 4096})
        monkeypatch.setattr(
            torch, "mm", lambda left, right, out: clock.advance(left.shape[0] ** 3 / 2**18 * TICK_S)
        )
        work = work_of(
            CeilingSpec(kind=CeilingKind.MATMUL, device="cpu", precision="float32"), NoQueue(clock), clock
        )
        assert work.what == "256 x 256 x 256"  # 64 ticks; at 128 it is 8, under 0.02 s

    def test_a_convolution_of_the_networks_features(self) -> None:
        spec = CeilingSpec(kind=CeilingKind.CONVOLUTION, device="cpu", precision="float32", **FORMAT)
        work = work_of(spec, CpuDevice())
        features = work.call()
        assert isinstance(features, torch.Tensor)
        assert features.shape == (1, 64, 8, 12)
        assert features.is_contiguous(memory_format=torch.channels_last)
        assert work.flops == 2 * 9 * 64 * 64 * 8 * 12
        contiguous = work_of(spec.model_copy(update={"memory_format": "contiguous"}), CpuDevice()).call()
        assert isinstance(contiguous, torch.Tensor)
        assert contiguous.is_contiguous()
        torch.testing.assert_close(contiguous, features)

    def test_a_copy_far_beyond_the_caches(self) -> None:
        work = work_of(CeilingSpec(kind=CeilingKind.COPY, device="cpu"), CpuDevice())
        target = work.call()
        assert isinstance(target, torch.Tensor)
        assert target.nbytes == 2**20 == 8 * 128 * 1024
        assert bool((target == 1).all())
        assert (work.what, work.moved_bytes) == ("1.00 MiB read and as many written", 2 * 2**20)

    def test_a_copy_that_would_stay_in_the_caches_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ceiling_calls, "available_bytes", lambda: 8 * 2**20 - 8)
        found = ceiling_calls.measured(CeilingSpec(kind=CeilingKind.COPY, device="cpu"), Moment.AFTER)
        assert found.samples_s == ()
        assert found.reason == "MemoryError: two buffers of 1.00 MiB need more memory than is free"

    @pytest.mark.parametrize(
        ("kind", "locked"),
        [
            (CeilingKind.HOST_TO_DEVICE_PAGEABLE, 0),
            (CeilingKind.HOST_TO_DEVICE_PINNED, 1),
            (CeilingKind.DEVICE_TO_HOST_PAGEABLE, 0),
            (CeilingKind.DEVICE_TO_HOST_PINNED, 1),
        ],
    )
    def test_transfers_from_and_to_both_kinds_of_memory(self, kind: CeilingKind, locked: int) -> None:
        device = CpuAsCuda()
        found = ceiling_calls.run(CeilingSpec(kind=kind, device="cuda"), Moment.BEFORE, device)
        assert len(device.locked) == locked
        assert found.moved_bytes == 2**20
        assert found.clock == "wall"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_a_reason() -> None:
    found = ceiling_calls.measured(CeilingSpec(kind=CeilingKind.COPY, device="cuda"), Moment.BEFORE)
    assert found.reason.startswith("no CUDA")


@pytest.mark.parametrize(
    ("precision", "dtype", "fp32_precision"),
    [("float32", "float32", "ieee"), ("tf32", "float32", "tf32"), ("bfloat16", "bfloat16", "ieee"),
     (None, "float32", "ieee")],
)  # fmt: skip
def test_the_settings_are_those_of_the_precision(
    precision: str | None, dtype: str, fp32_precision: str
) -> None:
    spec = CeilingSpec(kind=CeilingKind.MATMUL, device="cpu", threads=2, precision=precision)
    backend = backend_of(spec)
    assert (backend.dtype, backend.fp32_precision, backend.threads) == (dtype, fp32_precision, 2)
    on_gpu = backend_of(spec.model_copy(update={"device": "cuda:1"}))
    assert (on_gpu.device, on_gpu.cudnn_enabled, on_gpu.cudnn_benchmark) == ("cuda:1", True, True)


# In a worker.


def fast(connection: Connection) -> None:
    """Answers as a worker would, without measuring."""
    specs, moment = connection.recv()
    for spec in specs:
        connection.send(made(spec, moment))


def dies(connection: Connection) -> None:
    """After the first."""
    specs, moment = connection.recv()
    connection.send(made(specs[0], moment))
    os.kill(os.getpid(), signal.SIGKILL)


def fails(connection: Connection) -> None:
    """Has no samples of what is moved."""
    specs, moment = connection.recv()
    for spec in specs:
        failed = spec.kind is CeilingKind.COPY
        connection.send(Ceiling(spec=spec, moment=moment, reason="no room") if failed else made(spec, moment))


def hangs(connection: Connection) -> None:
    connection.recv()
    signal.pause()


def made(spec: CeilingSpec, moment: Moment) -> Ceiling:
    work = {"moved_bytes": 1000} if spec.precision is None else {"flops": 1000}
    return Ceiling(spec=spec, moment=moment, what="a test", samples_s=(0.25, 0.5), **work)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


def kept_by(launcher: Launcher, monkeypatch: pytest.MonkeyPatch, target: str) -> list[Ceiling]:
    monkeypatch.setattr(ceilings, "TARGET", f"tests.bench.test_ceilings:{target}")
    kept: list[Ceiling] = []
    ceilings.measure(launcher, wanted([BUILT_IN["cpu"]]), Moment.BEFORE, kept.append)
    assert [ceiling.spec for ceiling in kept] == list(wanted([BUILT_IN["cpu"]]))
    return kept


def test_a_worker_that_dies_leaves_what_it_had(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_by(launcher, monkeypatch, "dies")
    assert kept[0].samples_s == (0.25, 0.5)
    assert {ceiling.reason for ceiling in kept[1:]} == {
        "the process that measures ceilings ended with exit status -9"
    }


def test_a_worker_that_hangs_is_ended(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "TIMEOUT_S", 0.2)
    kept = kept_by(launcher, monkeypatch, "hangs")
    assert {ceiling.reason for ceiling in kept} == {"matmul was not measured within 0 s"}


# Whole runs.

GRID: dict[str, Any] = {
    "grid": {"frames": [2], "size": [[16, 16]]},
    "backends": ["cpu", {"name": "cpu-1-thread", "from": "cpu", "threads": 1}],
    "measure": {"warmup": 0, "repetitions": 2, "stages": "sync", "memory": "off", "ceilings": True},
    "plots": ["roofline"],
}


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    with shared_launchers() as launch:
        yield launch


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "TARGET", "tests.bench.test_ceilings:fast")


@pytest.mark.usefixtures("_fast")
class TestRun:
    def test_ceilings_are_measured_on_both_sides_and_drawn(self, tmp_path: Path, launch: Launch) -> None:
        outcome = run.start(experiment(**GRID), Display(), output=tmp_path / "run", launch=launch)
        kept = read_ceilings(outcome.folder)
        assert [ceiling.moment for ceiling in kept] == [Moment.BEFORE] * 14 + [Moment.AFTER] * 14
        assert [path.name for path in outcome.images] == ["roofline.png"]
        lines = (outcome.folder / "roofline.csv").read_text().splitlines()
        assert len(lines) == 1 + 2 * 5
        assert len((outcome.folder / "ceilings.csv").read_text().splitlines()) == 1 + 28
        page = outcome.report.markdown.read_text()
        assert "## Roofline\n" in page
        assert "[roofline.csv](roofline.csv), [ceilings.csv](ceilings.csv)" in page
        before = {item.name: item.read_bytes() for item in outcome.folder.glob("*.csv")}
        for name in before:
            (outcome.folder / name).unlink()
        run.rebuild(outcome.folder)
        assert {item.name: item.read_bytes() for item in outcome.folder.glob("*.csv")} == before

    def test_a_run_that_goes_on_keeps_what_it_has(self, tmp_path: Path, launch: Launch) -> None:
        path = tmp_path / "run"
        interrupted = run.start(experiment(**GRID), Display(interrupt_after=1), output=path, launch=launch)
        assert interrupted.interrupted
        first = (path / CEILINGS_NAME).read_bytes()
        assert {ceiling.moment for ceiling in read_ceilings(path)} == {Moment.BEFORE}
        done = run.resume(path, Display(), launch=launch)
        assert not done.interrupted
        whole = (path / CEILINGS_NAME).read_bytes()
        assert whole.startswith(first)
        assert len(read_ceilings(path)) == 28
        run.resume(path, Display(), launch=launch)  # there is nothing left to measure beside
        assert (path / CEILINGS_NAME).read_bytes() == whole

    def test_an_interruption_after_the_last_cell_loses_none(
        self, tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted_after_one(path: Path, ceiling: Ceiling) -> None:
            append_ceiling(path, ceiling)
            if ceiling.moment is Moment.AFTER:
                raise KeyboardInterrupt

        path = tmp_path / "run"
        with monkeypatch.context() as patched:
            patched.setattr(run, "append_ceiling", interrupted_after_one)
            assert run.start(experiment(**GRID), Display(), output=path, launch=launch).interrupted
        journal = (path / JOURNAL_NAME).read_bytes()
        assert [one.moment for one in read_ceilings(path)] == [Moment.BEFORE] * 14 + [Moment.AFTER]
        assert not run.resume(path, Display(), launch=launch).interrupted
        assert (path / JOURNAL_NAME).read_bytes() == journal  # no cell was left to do
        found = read_ceilings(path)
        assert [ceiling.moment for ceiling in found] == [Moment.BEFORE] * 14 + [Moment.AFTER] * 14
        assert len((path / CEILINGS_NAME).read_bytes().splitlines()) == 28  # none twice

    def test_what_is_left_after_the_last_cell_is_of_the_same_machine(
        self, tmp_path: Path, launch: Launch
    ) -> None:
        path = tmp_path / "run"
        run.start(experiment(**GRID), Display(), output=path, launch=launch)
        described = json.loads((path / "environment.json").read_text())
        (path / "environment.json").write_text(json.dumps({**described, "cpu": "another"}))
        run.resume(path, Display(), launch=launch)  # nothing is left to measure
        lines = (path / CEILINGS_NAME).read_bytes().splitlines(keepends=True)
        (path / CEILINGS_NAME).write_bytes(b"".join(lines[:-1]))
        with pytest.raises(BadInput, match="goes on only where it began"):
            run.resume(path, Display(), launch=launch)

    def test_what_failed_is_tried_again(
        self, tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "run"
        with monkeypatch.context() as patched:
            patched.setattr(ceilings, "TARGET", "tests.bench.test_ceilings:fails")
            run.start(experiment(**GRID), Display(interrupt_after=1), output=path, launch=launch)
        assert [ceiling.reason for ceiling in read_ceilings(path) if ceiling.reason] == ["no room"] * 2
        run.resume(path, Display(), launch=launch)
        found = read_ceilings(path)
        assert len(found) == 28
        assert [ceiling.reason for ceiling in found if ceiling.reason] == []


@pytest.mark.slow
def test_by_the_command(tmp_path: Path) -> None:
    grid = {
        "name": "tiny", "model": {"mid_channels": 4, "num_blocks": 1},
        "input": {"name": "noise", "kind": "random"},
        **GRID, "backends": ["cpu", "cuda"],
    }  # fmt: skip
    del grid["plots"]
    (tmp_path / "tiny.yaml").write_text(json.dumps(grid))
    status, _, err = call("run", "tiny.yaml", "--output", "out", cwd=tmp_path)
    assert status == 0, err
    assert (tmp_path / "out" / "plots" / "roofline.svg").is_file()
    assert (tmp_path / "out" / JOURNAL_NAME).is_file()
    kept = read_ceilings(tmp_path / "out")
    assert {ceiling.spec.device for ceiling in kept} >= {"cpu"}
    of_cpu = [ceiling for ceiling in kept if ceiling.spec.device == "cpu"]
    assert len(of_cpu) == 14
    assert [ceiling.reason for ceiling in of_cpu if ceiling.reason] == []
    status, _, err = call("report", "out", "--output", "page", cwd=tmp_path)
    assert status == 0, err
    assert "Farthest from its limit is" in (tmp_path / "page" / "report.md").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.usefixtures("tiny")
def test_every_ceiling_of_a_gpu() -> None:
    narrow = BUILT_IN["cudnn"].replace(name="narrow", dtype="float16")
    found = [ceiling_calls.measured(spec, Moment.BEFORE) for spec in wanted([narrow])]
    assert [ceiling.reason for ceiling in found if ceiling.reason] == []
    assert {ceiling.spec.kind for ceiling in found} == set(CeilingKind)
    for ceiling in found:
        assert ceiling.clock == ("wall" if ceiling.spec.kind in TRANSFERS else "device")
