"""The pytest-benchmark suite of tests/benchmarks: what it calls, what it refuses, and a whole run of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.grid.config import Model
from bench.measure import networks, workload
from bench.measure.backends import CPU_REFERENCE
from tests import conftest
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeClock, FakeDevice
from tests.benchmarks import test_networks as benchmarks
from tests.benchmarks.references import References
from tests.benchmarks.saved import other_machine
from tests.benchmarks.stages_alone import StagesAlone
from tests.benchmarks.subject import Subject, placed, waited_for, warm_up
from tests.benchmarks.suite import Suite
from tests.networks import STAGES, build_basicvsr
from vsr_model import BadInput
from vsr_model.stages import AGGREGATION, no_probe

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "benchmarks"

TINY = """\
name: tiny
model: {mid_channels: 8, num_blocks: 1}
input: {name: noise, kind: random}
grid: {frames: [2], size: [[16, 16]]}
backends: [cpu, {name: cpu-1-thread, from: cpu, threads: 1}, {name: far, from: cuda, device: "cuda:99"}]
measure: {warmup: 1}
"""
CELL = "basicvsr/noise/b1/t2/16x16/cpu"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def suite(grid: Path) -> Suite:
    return Suite.load(grid)


# What it calls.


OWN = {
    "name": "own",
    "import": "benchmarks.stranger:Stranger",
    "folder": str(ROOT),
    "arguments": {"channels": 4, "blocks": 1},
    "stages": {"features": ("head", "body"), "upsampling": ("up*", "last")},
}


@pytest.mark.parametrize(
    ("model", "frames", "calls"),
    [
        (
            {"mid_channels": 8, "num_blocks": 1},
            3,
            {
                "alignment": {"alignment.spynet": 2, "alignment": 4},
                "propagation": {"propagation.backward_trunk": 3, "propagation.forward_trunk": 3},
                "aggregation": {"aggregation": 3},
                "upsampling": {"upsampling": 3},
            },
        ),
        (
            {"mid_channels": 8, "num_blocks": 1},
            1,
            {
                "alignment": {},
                "propagation": {"propagation.backward_trunk": 1, "propagation.forward_trunk": 1},
                "aggregation": {"aggregation": 1},
                "upsampling": {"upsampling": 1},
            },
        ),
        (
            OWN,
            2,
            {
                "features": {"module.head": 2, "module.body": 2},
                "upsampling": {"module.up1": 2, "module.up2": 2, "module.last": 2},
            },
        ),
    ],
    ids=["basicvsr", "one frame", "own"],
)
def test_a_stage_alone_calls_what_the_network_calls_in_it(
    model: dict[str, Any], frames: int, calls: dict[str, dict[str, int]]
) -> None:
    network = networks.build(Model.model_validate(model))
    lrs = torch.rand(2, frames, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    alone = StagesAlone(network, lrs)
    assert {stage: alone.calls(stage) for stage in network.facts.stages} == calls
    assert all(map(alone.is_finite, calls))
    if model is not OWN:  # whose last stage gives the output's frames
        with torch.inference_mode():
            output = network(lrs)
        for _ in range(2):
            assert torch.equal(alone.call("upsampling"), output[:, -1])


def test_a_value_that_is_not_finite_is_seen() -> None:
    network = build_basicvsr(8, 1)
    alone = StagesAlone(network, torch.rand(1, 2, 3, 16, 16))
    with torch.no_grad():
        network.get_parameter("aggregation.fusion.bias").fill_(float("nan"))
    assert [stage for stage in STAGES if not alone.is_finite(stage)] == [AGGREGATION]


def test_a_measured_call_lasts_until_the_device_is_done() -> None:
    clock = FakeClock()
    device = FakeDevice(clock, launch_s=TICK_S)

    def seconds(call: Any) -> float:
        begin = clock()
        assert call() == "result"
        return clock() - begin

    def queue() -> str:
        device.work(64 * TICK_S)
        return "result"

    assert seconds(waited_for(queue, device)) == 65 * TICK_S
    assert seconds(queue) == TICK_S  # what a measurement without waiting would say


def test_warm_up_makes_as_many_calls_as_wanted_or_goes_on_until_they_are_steady() -> None:
    device: Any = CpuAsCuda()
    calls: list[int] = []
    assert len(warm_up(lambda: calls.append(1), 1.0, 4, device)) == len(calls) == 4
    assert warm_up(lambda: calls.append(1), 1.0, 0, device) == []
    assert len(warm_up(lambda: calls.append(1), 1.0, "auto", device)) >= 3


class Benchmark:
    """pytest-benchmark's fixture as the suite uses it; calls twice, and notes how often a call waited."""

    enabled = False

    def __init__(self, device: CpuAsCuda) -> None:
        self._device = device
        self.extra_info: dict[str, Any] = {}
        self.group = ""
        self.waits: list[int] = []

    def __call__(self, call: Any) -> None:
        for _ in range(2):
            before = self._device.waits
            call()
            self.waits.append(self._device.waits - before)


@pytest.fixture
def subject(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    monkeypatch.setattr("bench.measure.backends.device_of", lambda backend: CpuAsCuda())
    with placed(suite.cells[CELL]) as ready:
        yield ready


def test_what_pytest_benchmark_times_waits_once_at_its_end(
    suite: Suite, subject: Subject, tmp_path: Path
) -> None:
    device: Any = subject.device
    whole = Benchmark(device)
    benchmarks.test_network(whole, suite, subject, References(tmp_path))
    stages = [Benchmark(device) for _ in STAGES]
    for stage, alone in zip(STAGES, stages, strict=True):
        benchmarks.test_stage(alone, suite, subject, stage)
    assert [made.waits for made in (whole, *stages)] == [[1, 1]] * 5
    assert [made.extra_info["stage"] for made in (whole, *stages)] == ["forward", *STAGES]
    assert whole.group == "forward basicvsr/noise/b1/t2/16x16"


# What it checks and refuses.


def test_a_wrong_output_is_no_figure(suite: Suite, tmp_path: Path) -> None:
    references = References(tmp_path)
    cpu, one_thread = suite.cells[CELL], suite.cells[f"{CELL}-1-thread"]
    network = networks.build(cpu.model)
    right = workload.forward_of(network)(workload.make_clip(cpu), no_probe)
    assert references.check(cpu, right, 4) is None
    (psnr_db,) = {references.check(one_thread, right + 1e-5, 4) for _ in range(2)}
    assert psnr_db == pytest.approx(100, abs=0.5)
    for cell, wrong, said in (
        (one_thread, right + 1e-2, "40.0 dB against the CPU float32 result; cpu-1-thread needs 80 dB"),
        (cpu, right[..., :-1], "an output of"),
        (cpu, right * float("nan"), "not finite"),
    ):
        with pytest.raises(pytest.fail.Exception, match=said):
            references.check(cell, wrong, 4)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{warmup: 1}", "{warmups: 1}", "unknown field 'warmups'"),
        ("threads: 1", "memory_plan: host", "cpu-1-thread has a memory_plan, and the pytest-benchmark suite"),
    ],
)
def test_a_grid_that_it_cannot_measure_is_refused(grid: Path, old: str, new: str, said: str) -> None:
    grid.write_text(TINY.replace(old, new))
    with pytest.raises(BadInput, match=said):
        Suite.load(grid)


def test_any_network_of_a_grid_is_measured_by_its_own_stages(grid: Path) -> None:
    own = ", ".join(f"{name}: {json.dumps(value)}" for name, value in OWN.items())
    one = "model: {mid_channels: 8, num_blocks: 1}"
    assert one in TINY
    grid.write_text(TINY.replace(one, f"model: [{{{own}}}, egvsr, basicvsr]"))
    suite = Suite.load(grid)
    found = {cell.model.name: suite.stages(cell) for cell in suite.cells.values()}
    assert found == {
        "own": ("features", "upsampling"),
        "egvsr": ("alignment", "propagation", "upsampling"),
        "basicvsr": STAGES,
    }
    kept = suite.measured(next(cell for cell in suite.cells.values() if cell.model.name == "egvsr"))
    assert kept["model"] == {
        "name": "egvsr",
        "num_blocks": 10,
        "degradation": "BD",
        "seed": 0,
        "checkpoint": None,
    }


def saved_run(suite: Suite) -> dict[str, Any]:
    cell = suite.cells[CELL]
    kept = {"benchmarks": [{"extra_info": {"cell": CELL, **suite.measured(cell)}}, {"name": "another's"}]}
    read: dict[str, Any] = json.loads(json.dumps(kept))
    return read


def test_runs_of_the_same_grid_may_be_compared(suite: Suite, grid: Path) -> None:
    kept = saved_run(suite)
    suite.check_comparable(kept)
    grid.write_text(
        TINY.replace("num_blocks: 1", "num_blocks: 1, seed: 0, base_upsample: bilinear")
    )  # as it is
    Suite.load(grid).check_comparable(kept)
    del kept["benchmarks"][0]["extra_info"]["backend"]["compile"]  # of code that did not have it yet
    suite.check_comparable(kept)
    del kept["benchmarks"][0]["extra_info"]["backend"]
    with pytest.raises(BadInput, match="with another backend"):
        suite.check_comparable(kept)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_blocks: 1", "num_blocks: 2", f"measured {CELL} with another model"),
        ("num_blocks: 1", "num_blocks: 1, seed: 1", f"measured {CELL} with another model"),
        ("num_blocks: 1", "num_blocks: 1, checkpoint: w.pth", f"measured {CELL} with another model"),
        ("kind: random", "kind: random, seed: 1", f"measured {CELL} with another input"),
        ("[cpu,", "[{name: cpu, threads: 2},", f"measured {CELL} with another backend"),
        ("name: noise", "name: other", "has none of the cells"),
    ],
)
def test_what_differs_is_not_compared(suite: Suite, grid: Path, old: str, new: str, said: str) -> None:
    kept = saved_run(suite)
    assert old in TINY
    grid.write_text(TINY.replace(old, new))
    with pytest.raises(BadInput, match=said):
        Suite.load(grid).check_comparable(kept)


def test_another_machine_is_told_by_what_differs() -> None:
    here = {"cpu": {"count": 2}, "build": ("a", "b"), "torch": {"torch": "2.13"}}
    assert other_machine(here, json.loads(json.dumps(here))) is None
    there = {"cpu": {"count": 4}, "build": ["a", "b"], "torch": {"torch": "2.13", "cuda": "\x1b[1m"}}
    said = other_machine(here, there)
    assert said is not None
    assert said.endswith(": cpu.count (4 there, 2 here), torch.cuda (\\x1b[1m there, nothing here)")
    assert other_machine(here, None) is not None  # a file without it


@pytest.mark.parametrize(
    ("folder", "arguments", "runs"),
    [
        (ROOT, ["tests"], False),
        (ROOT, ["tests/bench/test_benchmark_suite.py::test_x[tests/benchmarks]"], False),
        (ROOT, ["tests", "tests/benchmarks"], True),
        (ROOT, ["tests/benchmarks/test_networks.py::test_network[noise/b1]"], True),
        (SUITE, ["."], True),
    ],
)
def test_it_runs_where_it_is_named(folder: Path, arguments: list[str], runs: bool) -> None:
    config: Any = SimpleNamespace(args=arguments, invocation_params=SimpleNamespace(dir=folder))
    assert conftest.pytest_ignore_collect(SUITE, config) is (None if runs else True)
    assert conftest.pytest_ignore_collect(SUITE.parent / "bench", config) is None


# A whole run.


def start(*arguments: str) -> "subprocess.Popen[str]":
    """Begin it with one thread: several that share two cores would wait for each other's."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


@pytest.mark.slow
def test_a_run_is_saved_and_compared_with(tmp_path: Path, grid: Path) -> None:
    """Two runs of it, and a third against a saved one that was a million times as fast."""
    storage, report = tmp_path / "saved", tmp_path / "report.json"

    def suite_with(name: str, *arguments: str) -> "subprocess.Popen[str]":
        return start(
            "tests/benchmarks", f"--vsr-config={grid}", f"--benchmark-storage={storage}",
            f"--basetemp={tmp_path / name}", "--benchmark-min-rounds=2", "--benchmark-max-time=0.001",
            *arguments,
        )  # fmt: skip

    status, said = ended(suite_with("one", f"--benchmark-json={report}", "--benchmark-save=one"))
    assert status == 0, said
    assert "10 passed, 5 skipped" in said
    assert "no CUDA" in said or "no device cuda:99" in said
    assert "Warning" not in said
    written = json.loads(report.read_text())
    check_report(written)

    (one,) = storage.rglob("0001_one.json")
    fast = json.loads(one.read_text())
    for benchmark in fast["benchmarks"]:
        benchmark["stats"]["median"] /= 1e6
    (one.parent / "0002_fast.json").write_text(json.dumps(fast))

    wide = ("--benchmark-compare=0001", "--benchmark-compare-fail=median:100000000%")
    narrow = ("--benchmark-compare=0002", "--benchmark-compare-fail=median:10%", "-k", "aggregation")
    bad = tmp_path / "bad.yaml"
    bad.write_text(TINY.replace("frames", "framez"))
    same, slower = suite_with("same", *wide), suite_with("slower", *narrow)
    refused = start("tests/benchmarks", f"--vsr-config={bad}", f"--benchmark-storage={storage}")
    others = [f"--ignore={path}" for path in (ROOT / "tests").iterdir() if path.name != "benchmarks"]
    unnamed = start("tests", *others, f"--benchmark-storage={storage}")

    status, said = ended(same)
    assert status == 0, said
    assert "Warning" not in said
    assert said.count("(0001_one)") == said.count("(NOW)") == 10
    status, said = ended(slower)
    assert status == 1, said
    assert "Performance has regressed" in said
    status, said = ended(refused)
    assert status == 4, said
    assert said.strip() == (
        f"ERROR: {bad}:4: grid: unknown field 'framez' (did you mean 'frames'?); "
        "allowed are batch, frames, size"
    )
    status, said = ended(unnamed)
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, said


def check_report(written: dict[str, Any]) -> None:
    machine = written["machine_info"]
    assert "node" not in machine
    assert not [name for name in machine["cpu"] if name.startswith("hz")]
    assert machine["vsr_bench"]["torch"]["torch"] == torch.__version__
    assert machine["vsr_bench"]["torch"]["threads"] == 1
    assert machine["vsr_bench"]["inherited_environment"]["OMP_NUM_THREADS"] == "1"
    assert not {"git_commit", "host_name", "workers_environment"} & machine["vsr_bench"].keys()
    assert written["commit_info"]["id"]
    infos = [benchmark["extra_info"] for benchmark in written["benchmarks"]]
    cells = (CELL, f"{CELL}-1-thread")
    assert {(info["cell"], info["stage"]) for info in infos} == {
        (cell, stage) for cell in cells for stage in ("forward", *STAGES)
    }
    count = sum(item.numel() for item in build_basicvsr(8, 1).parameters())
    for info in infos:
        assert (info["batch"], info["frames"], info["height"], info["width"]) == (1, 2, 16, 16)
        assert info["parameters"] == count
        assert info["model"]["num_blocks"] == 1
        assert info["backend"]["device"] == info["settings"]["device"] == CPU_REFERENCE.device
        assert info["warmup_calls"] == 1
        assert info["stage"] == "forward" or info["calls"]
    threads = {info["cell"]: info["settings"]["threads"] for info in infos}
    assert threads[cells[1]] == "1"
    for benchmark in written["benchmarks"]:
        assert benchmark["options"]["disable_gc"]
        assert benchmark["stats"]["rounds"] == len(benchmark["stats"]["data"]) >= 2
        assert 0 < benchmark["stats"]["min"] <= benchmark["stats"]["median"]
