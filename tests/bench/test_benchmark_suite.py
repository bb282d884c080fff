"""The pytest-benchmark suite of tests/benchmarks: what it calls, what it refuses, and a whole run of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.grid.config import Model
from bench.measure import networks, workload
from bench.measure.clips import make_clip
from tests import conftest
from tests.bench.fakes import CpuAsCuda
from tests.benchmarks import test_networks as benchmarks
from tests.benchmarks.conftest import cells_of, stages_of
from tests.benchmarks.stages_alone import StagesAlone
from tests.networks import STAGES
from vsr_model import BadInput
from vsr_model.stages import no_probe

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "benchmarks"

TINY = """\
name: tiny
model: {mid_channels: 8, num_blocks: 1}
input: {name: noise, kind: random}
grid: {frames: [2], size: [[16, 16]]}
backends: [cpu, {name: cpu-1-thread, from: cpu, threads: 1}, {name: far, from: cuda, device: "cuda:99"}]
"""
CELL = "basicvsr/noise/b1/t2/16x16/cpu"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


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
    if model is not OWN:  # whose last stage gives the output's frames
        with torch.inference_mode():
            output = network(lrs)
        for _ in range(2):
            assert torch.equal(alone.call("upsampling"), output[:, -1])


class Benchmark:
    """pytest-benchmark's fixture as the suite uses it; calls twice, and notes how often a call waited."""

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


def test_what_pytest_benchmark_times_waits_once_at_its_end(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device: Any = CpuAsCuda()
    monkeypatch.setattr("bench.measure.backends.device_of", lambda _: device)
    cell = cells_of(grid)[CELL]
    made = [Benchmark(device) for _ in ("forward", *STAGES)]
    benchmarks.test_network(made[0], cell)
    for stage, benchmark in zip(STAGES, made[1:], strict=True):
        benchmarks.test_stage(benchmark, cell, stage)
    assert [benchmark.waits for benchmark in made] == [[1, 1]] * 5
    assert [benchmark.extra_info["stage"] for benchmark in made] == ["forward", *STAGES]
    assert made[0].group == "forward basicvsr/noise/b1/t2/16x16"


def test_a_wrong_output_is_no_figure(grid: Path) -> None:
    cell = cells_of(grid)[f"{CELL}-1-thread"]
    network = networks.build(cell.model)
    right = workload.forward_of(network)(make_clip(cell, network.facts), no_probe)
    benchmarks.check(cell, right)
    for wrong in (right + 1e-2, right * float("nan")):
        with pytest.raises(AssertionError, match="dB against the CPU float32 result"):
            benchmarks.check(cell, wrong)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("frames", "framez", "unknown field 'framez'"),
        ("threads: 1", "memory_plan: host", "cpu-1-thread has a memory_plan"),
    ],
)
def test_a_grid_that_it_cannot_measure_is_refused(grid: Path, old: str, new: str, said: str) -> None:
    grid.write_text(TINY.replace(old, new))
    with pytest.raises(BadInput, match=said):
        cells_of(grid)


def test_any_network_of_a_grid_is_measured_by_its_own_stages(grid: Path) -> None:
    grid.write_text(TINY.replace("{mid_channels: 8, num_blocks: 1}", json.dumps([OWN, "egvsr", "basicvsr"])))
    assert {cell.model.name: stages_of(cell) for cell in cells_of(grid).values()} == {
        "own": ("features", "upsampling"),
        "egvsr": ("alignment", "propagation", "upsampling"),
        "basicvsr": STAGES,
    }


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
    """Run it twice, and once more against a saved run that was a million times as fast."""
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
    machine = written["machine_info"]
    assert "node" not in machine
    assert machine["vsr_bench"]["torch"]["torch"] == torch.__version__
    cells = (CELL, f"{CELL}-1-thread")
    infos = [benchmark["extra_info"] for benchmark in written["benchmarks"]]
    assert {(info["cell"], info["stage"]) for info in infos} == {
        (cell, stage) for cell in cells for stage in ("forward", *STAGES)
    }
    assert {info["settings"]["threads"] for info in infos if info["cell"] == cells[1]} == {"1"}

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
