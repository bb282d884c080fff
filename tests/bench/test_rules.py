"""Optimisations that contradict each other, the device or the measure; those that do not, in force."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from bench.grid.backend import BUILT_IN, Backend, Convolution, Schedule
from bench.grid.config_measure import Measure
from bench.grid.config_model import Model
from bench.grid.estimate import expected_calls
from bench.grid.plan import cells
from bench.grid.rules import BACKEND_RULES, disagreement, impossible
from bench.measure import backends, preflight, workload
from bench.measure.networks import build
from bench.records import Pass, Status
from bench.upscaling.request import Request
from tests.bench.fakes import CpuAsCuda, experiment
from tests.bench.rounds import STAGE_NAMES, Ran, measure
from tests.vsr_model.fake_cuda import FakeCuda
from vsr_model.convolutions import FftConv2d, Im2colConv2d
from vsr_model.errors import BadInput
from vsr_model.stages import no_probe

TINY = Model(mid_channels=8, num_blocks=1)


def backend(name: str = "cpu", **fields: Any) -> Backend:
    return Backend.model_validate({"name": "one", "from": name, **fields})


REFUSED = [
    ("cpu", {"cuda_graph": True}, "cuda_graph: a CPU has no queue"),
    ("cpu", {"schedule": "pipelined"}, "schedule: pipelined needs a device that works on two queues"),
    ("cpu", {"transfer": "pinned"}, "transfer: pinned means nothing on a CPU"),
    ("cudnn", {"convolution": "winograd"}, "convolution: winograd is a kernel for CPUs"),
    ("cpu", {"convolution": "winograd", "fp32_precision": "tf32"}, "fp32_precision: tf32 means nothing for"),
    ("cpu", {"convolution": "winograd", "dtype": "float16"}, "convolution: winograd is for float32"),
    ("cpu", {"convolution": "winograd", "compile": True}, "compile: the winograd kernel is compiled already"),
    (
        "cpu",
        {"convolution": "fft", "dtype": "float16"},
        "convolution: fft is for float32, and dtype is float",
    ),
    ("cudnn", {"convolution": "fft", "compile": True}, "convolution: fft multiplies complex numbers"),
    ("cudnn", {"memory_plan": "disk", "schedule": "pipelined"}, "schedule: pipelined has whole clips"),
    ("cpu", {"memory_plan": "disk", "compile": True}, "compile: a memory_plan's calls are of many shapes"),
    ("cudnn", {"memory_plan": "disk", "cuda_graph": True}, "cuda_graph: a memory_plan's calls change"),
    ("cudnn", {"memory_plan": "disk", "transfer": "overlapped"}, "transfer: overlapped moves whole"),
    ("cpu", {"map_reduce": True}, "map_reduce: gives clips to several processes, and processes is 1"),
    ("cudnn", {"map_reduce": True, "processes": 2}, "map_reduce: clips and outputs go through the host"),
    ("cudnn", {"processes": 2, "device": "cuda:1"}, "device: cuda:1 is one GPU, and each of 2 processes has"),
    ("cpu", {"processes": 2, "memory_plan": "host"}, "processes: a memory_plan has no whole output"),
    ("cudnn", {"processes": 2, "transfer": "pinned"}, "transfer: pinned is for one process, and here are 2"),
]
"""An example of each rule, with the beginning of its reason."""


@pytest.mark.parametrize(("name", "fields", "reason"), REFUSED, ids=str)
def test_a_contradiction_is_a_reason(name: str, fields: dict[str, Any], reason: str) -> None:
    one = backend(name, **fields)
    found = impossible(one)
    assert found is not None
    assert found.startswith(reason)
    assert backends.unavailable(one) == found  # no machine is asked about it


def test_every_rule_has_an_example() -> None:
    examples = [backend(name, **fields) for name, fields, _ in REFUSED]
    assert [sum(map(against, examples)) > 0 for against, _ in BACKEND_RULES] == [True] * len(BACKEND_RULES)


def test_cells_that_no_machine_can_run_are_not_traced() -> None:
    """Their costs would be said to be missing, as if the network were at fault."""
    one = experiment(
        backends=["cpu", {"name": "no", "from": "cpu", "convolution": "fft", "dtype": "bfloat16"}]
    )
    planned = cells(one)
    question = preflight.Question(
        models=one.models,
        inputs=((one.input[0], 1),),
        backends=tuple(cell.backend for cell in planned),
        cells=tuple(planned),
    )
    answer = preflight._answer(question, lambda _: None)
    assert list(answer.costs) == [planned[0].id]
    assert answer.costs_missing == {}
    assert preflight.skip_reason(planned[1], answer) == impossible(planned[1].backend)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *(("cudnn", {"schedule": schedule}) for schedule in get_args(Schedule)),
        *(("cpu", {"convolution": method}) for method in get_args(Convolution)),
        *(("cuda", {"convolution": method}) for method in ("library", "im2col", "fft")),
        ("cpu", {"convolution": "im2col", "dtype": "bfloat16", "memory_format": "channels_last"}),
        ("cpu", {"convolution": "fft", "memory_format": "channels_last"}),
        ("cpu", {"convolution": "winograd", "memory_plan": "host"}),
        ("cpu", {"transfer": "pageable"}),
        ("cudnn_autotune", {"schedule": "pipelined", "cuda_graph": True, "transfer": "overlapped"}),
    ],
)
def test_combinations_that_go_are_not_refused(name: str, fields: dict[str, Any]) -> None:
    assert impossible(backend(name, **fields)) is None


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({"schedule": "pipelined"}, "schedule: pipelined"),
        ({"cuda_graph": True}, "cuda_graph: true"),
        ({"memory_plan": "disk"}, "memory_plan: disk"),
    ],
)
def test_lines_of_forward_are_refused_where_it_is_not_called(fields: dict[str, Any], how: str) -> None:
    field, reason = disagreement([BUILT_IN["cpu"], backend("cudnn", **fields)], Measure(memory="lines")) or (
        "",
        "",
    )
    assert field == "memory"
    assert reason.startswith(f"lines is of the published network's forward, which 'one' ({how}) does not")
    assert disagreement([backend("cudnn", **fields)], Measure(memory="curve")) is None


def test_a_file_is_enlarged_frame_by_frame_in_the_published_order_alone() -> None:
    request = Request(
        source=Path("in.mp4"),
        output=Path("out.mp4"),
        model=TINY,
        backend=BUILT_IN["cpu"].replace(schedule="pipelined"),
        random_weights=True,
    )
    with pytest.raises(BadInput, match=r"^The backend cpu cannot .* frame by frame: schedule: pipelined "):
        request.check_options()
    graphed = replace(request, backend=BUILT_IN["cudnn"].replace(cuda_graph=True))
    with pytest.raises(
        BadInput, match=r"^The backend cudnn cannot enlarge a file frame by frame: cuda_graph"
    ):
        graphed.check_options()
    for convolution in get_args(Convolution):
        replace(request, backend=BUILT_IN["cpu"].replace(convolution=convolution)).check_options()


# What can be, in force.


@pytest.mark.parametrize(("method", "kind"), [("im2col", Im2colConv2d), ("fft", FftConv2d)])
def test_the_convolutions_are_those_that_the_backend_names(method: str, kind: type[nn.Module]) -> None:
    network = build(TINY)
    network = workload.prepare(network, backend(convolution=method), torch.device("cpu"))
    assert type(network.get_submodule("upsampling.conv_hr")) is kind
    assert type(network.get_submodule("alignment.spynet.levels.0.0")) is kind
    assert type(network.get_submodule("aggregation.fusion")) is nn.Conv2d


@pytest.mark.parametrize(
    "fields",
    [
        {"convolution": "im2col", "memory_format": "channels_last"},
        {"convolution": "fft", "memory_format": "channels_last"},
    ],
    ids=str,
)
def test_a_round_has_its_stages_and_its_output_is_right(tmp_path: Path, fields: dict[str, Any]) -> None:
    one = experiment(
        grid={"batch": [2], "frames": [3], "size": [[16, 20]]},
        backends=[{"name": "fast", "from": "cpu", **fields}],
        measure=measure(stages="sync"),
    )
    record = Ran(one, tmp_path / "references" / "clip.npy").record
    assert record.status is Status.OK, record.reason
    assert record.output_psnr_db > 100
    assert {name: record.settings[name] for name in fields} == fields
    found = {sample.stage for sample in record.samples if sample.pass_ is Pass.STAGE_SYNC}
    assert found >= set(STAGE_NAMES)
    assert record.warnings == ()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schedule": "pipelined"}, "no stage times: by schedule: pipelined a frame is upsampled while"),
        ({"cuda_graph": True}, "no stage times: one graph replays the whole call"),
        ({"cuda_graph": True, "schedule": "pipelined"}, "no stage times: one graph replays the whole call"),
    ],
)
def test_calls_whose_stages_cannot_be_timed_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], reason: str
) -> None:
    FakeCuda(monkeypatch)
    monkeypatch.setattr(backends, "device_of", lambda _: CpuAsCuda())
    one = experiment(grid={"frames": [2], "size": [[16, 20]]},
                     backends=[{"name": "fast", "from": "cudnn", **fields}],
                     measure=measure(stages="both"))  # fmt: skip
    record = Ran(one, tmp_path / "references" / "clip.npy").record
    assert record.status is Status.OK, record.reason
    assert record.output_psnr_db > 100
    assert any(told.startswith(reason) for told in record.warnings)
    assert {sample.pass_ for sample in record.samples} == {Pass.END_TO_END}


@pytest.mark.parametrize("fields", [{"schedule": "pipelined"}, {"cuda_graph": True}])
def test_calls_of_passes_that_are_not_made_are_not_expected(fields: dict[str, Any]) -> None:
    asked = Measure.model_validate({"stages": "both", "repetitions": 3, "warmup": 0})
    assert expected_calls(asked, backend("cudnn")).stages == 12
    assert expected_calls(asked, backend("cudnn", **fields)).stages == 0


def test_without_a_backend_a_network_runs_as_published() -> None:
    network = build(TINY)
    lrs = torch.rand(1, 2, 3, 16, 16)
    plain = workload.forward_of(network)(lrs, no_probe)
    assert torch.equal(workload.forward_of(network, backend=backend())(lrs, no_probe), plain)
