"""Whole rounds on a CUDA device with the profiler, graphs and overlapped transfers; no speed is asserted."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.grid.backend import BUILT_IN
from bench.measure.backends import unavailable
from bench.process.launcher import Launcher
from bench.records import CellRecord, Pass, Phase, Status
from bench.results.convolution_kernels import Algorithm, algorithm_of
from tests.bench.test_gpu import run_all
from tests.networks import STAGES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=str(unavailable(BUILT_IN["cuda"]))),
]

BACKENDS: tuple[dict[str, Any], ...] = (
    {"name": "cudnn"},
    {"name": "graph", "from": "cudnn", "cuda_graph": True},
    {"name": "tuned-graph", "from": "cudnn_autotune", "cuda_graph": True, "dtype": "bfloat16",
     "memory_format": "channels_last"},
    {"name": "pipelined-graph", "from": "cudnn", "cuda_graph": True, "schedule": "pipelined"},
    {"name": "stream", "from": "cudnn", "transfer": "overlapped"},
    {"name": "graph-stream", "from": "cudnn", "cuda_graph": True, "transfer": "overlapped"},
)  # fmt: skip

NAMES = [item["name"] for item in BACKENDS]


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture(scope="module")
def records(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CellRecord]:
    found = run_all(
        launcher,
        tmp_path_factory.mktemp("references"),
        model={"mid_channels": 64, "num_blocks": 6},
        grid={"frames": [5], "size": [[64, 96]]},
        backends=list(BACKENDS),
        measure={"warmup": 2, "repetitions": 3, "profile": True, "timeout_s": 300.0},
    )
    return {record.backend: record for record in found}


@pytest.mark.parametrize("name", NAMES)
def test_a_round_is_ok_and_its_output_right(records: dict[str, CellRecord], name: str) -> None:
    assert (records[name].status, records[name].reason) == (Status.OK, "")


@pytest.mark.parametrize("name", NAMES)
def test_the_profiler_shows_the_kernels(records: dict[str, CellRecord], name: str) -> None:
    record = records[name]
    if any(warning.startswith("the profiler did not show") for warning in record.warnings):
        pytest.skip("this profiler does not see into graphs that were captured before it began")
    if "graph" not in name:
        assert record.warnings == ()
        assert {use.stage for use in record.kernels} >= {str(stage) for stage in STAGES}
    assert all(use.cpu_s is None and (use.device_s or 0) > 0 for use in record.kernels)
    assert record.profile_busy_s is not None
    assert record.profile_busy_s > 0
    assert record.launch_bound_share is not None
    assert 0 <= record.launch_bound_share < 1


def test_the_algorithm_of_cudnns_convolutions_is_known(records: dict[str, CellRecord]) -> None:
    uses = [use for use in records["cudnn"].kernels if use.stage == "propagation"]
    longest = max(uses, key=lambda use: use.seconds)
    assert algorithm_of(longest.name) is not Algorithm.OTHER, longest.name


@pytest.mark.parametrize("name", ["stream", "graph-stream"])
def test_a_stream_has_a_total_on_both_clocks(records: dict[str, CellRecord], name: str) -> None:
    steady = [
        item for item in records[name].samples if (item.pass_, item.phase) == (Pass.END_TO_END, Phase.STEADY)
    ]
    assert {item.stage for item in steady} == {"forward", "total"}
    assert all(item.wall_s > 0 and (item.device_s or 0) > 0 for item in steady)
