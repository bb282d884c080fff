"""Costs of cells: on the meta device those of a real call, whatever the backend has."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.grid.backend import Backend
from bench.grid.costs import StageCost
from bench.grid.plan import Cell, cells
from bench.measure.costs import MAX_CPU_PIXELS, CostTracer, Untraceable
from bench.measure.workload import Unsupported
from tests.bench.fakes import experiment
from tests.compiler import needs_compiler
from tests.networks import STAGES, build_basicvsr
from vsr_model import build_network
from vsr_model.adapted import Adapted
from vsr_model.convolutions.winograd.kernel import thread_bytes
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

FRAMES, SIZE = 4, (20, 24)


def backend(**fields: Any) -> Backend:
    return Backend.model_validate({"name": "one", "from": "cpu", **fields})


def cell_of(one: Backend | None = None, *, network: str = "basicvsr", **axes: Any) -> Cell:
    grid = {"frames": [FRAMES], "size": [SIZE]} | {name: [value] for name, value in axes.items()}
    (cell,) = cells(experiment(grid=grid, model={"name": network}, backends=["cpu"]))
    return cell if one is None else Cell(**{**vars(cell), "backend": one})


def refuse_meta(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if inputs[0].is_meta:
        raise NotImplementedError("no meta kernel")


def work(costs: dict[str, StageCost]) -> dict[str, StageCost]:
    """All but the memory."""
    return {stage: cost.model_copy(update={"peak_bytes": 0}) for stage, cost in costs.items()}


@pytest.fixture(scope="module")
def tracer() -> CostTracer:
    return CostTracer({"basicvsr": build_basicvsr(8, 1)})


@pytest.fixture(scope="module")
def really() -> CostTracer:
    """Traces the same by real calls."""
    network = build_basicvsr(8, 1)
    network.aggregation.register_forward_pre_hook(refuse_meta)
    return CostTracer({"basicvsr": network})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtype": "bfloat16"},
        {"memory_format": "channels_last", "convolution": "im2col", "dtype": "bfloat16"},
        {"convolution": "im2col"},
        {"convolution": "fft"},
        {"memory_plan": "host"},
        {"memory_plan": "recompute", "convolution": "fft"},
    ],
    ids=str,
)
def test_a_cell_costs_on_the_meta_device_what_a_real_call_does(
    tracer: CostTracer, really: CostTracer, fields: dict[str, Any]
) -> None:
    cell = cell_of(backend(**fields))
    costs = tracer.costs(cell)
    assert {*costs} == {*STAGES, "other"}
    assert costs == really.costs(cell)


@needs_compiler
@pytest.mark.parametrize("fields", [{}, {"memory_plan": "device"}], ids=str)
def test_winograd_costs_what_a_real_call_does_and_the_tiles_of_its_threads(
    tracer: CostTracer, really: CostTracer, fields: dict[str, Any]
) -> None:
    cell = cell_of(backend(convolution="winograd", threads=2, **fields))
    on_meta, real = tracer.costs(cell), really.costs(cell)
    assert work(on_meta) == work(real)
    for stage, cost in on_meta.items():
        assert cost.peak_bytes - real[stage].peak_bytes == 2 * thread_bytes(64 + 256)


@pytest.mark.parametrize("convolution", ["im2col", "fft", "winograd"])
def test_work_is_that_of_the_networks_own_convolutions(tracer: CostTracer, convolution: str) -> None:
    plain, other = tracer.costs(cell_of()), tracer.costs(cell_of(backend(convolution=convolution)))
    assert work(other) == work(plain)
    assert other[UPSAMPLING].peak_bytes > plain[UPSAMPLING].peak_bytes


def test_a_cuda_graph_holds_its_own_input_and_the_copy_of_its_output(tracer: CostTracer) -> None:
    plain = tracer.costs(cell_of(backend(**{"from": "cudnn"})))
    graphed = tracer.costs(cell := cell_of(backend(**{"from": "cudnn"}, cuda_graph=True)))
    clip_bytes = 4 * 3 * cell.batch * cell.frames * cell.height * cell.width
    for stage, cost in graphed.items():
        assert cost.peak_bytes == plain[stage].peak_bytes + 17 * clip_bytes


def test_a_dtype_is_that_of_most_flops_and_winograd_keeps_features_in_float32(tracer: CostTracer) -> None:
    plain, narrow = tracer.costs(cell_of()), tracer.costs(cell_of(backend(dtype="bfloat16")))
    assert [narrow[stage].dtype for stage in STAGES] == ["float32", "bfloat16", "bfloat16", "bfloat16"]
    assert narrow[ALIGNMENT].flops == plain[ALIGNMENT].flops
    assert narrow[PROPAGATION].peak_bytes < plain[PROPAGATION].peak_bytes
    # Aggregation reads and writes features alone.
    assert 2 * narrow[AGGREGATION].bytes == plain[AGGREGATION].bytes
    winograd = tracer.costs(cell_of(backend(dtype="bfloat16", convolution="winograd")))
    assert {cost.dtype for cost in winograd.values()} == {"float32"}
    assert winograd[AGGREGATION].bytes == plain[AGGREGATION].bytes


@pytest.mark.parametrize("convolution", ["fft", "winograd"])
def test_what_a_larger_cell_kept_is_not_there_for_the_next(tracer: CostTracer, convolution: str) -> None:
    one = backend(convolution=convolution)
    used = CostTracer({"basicvsr": build_basicvsr(8, 1)})
    used.costs(cell_of(one, size=(64, 64), frames=2))
    assert used.costs(cell_of(one)) == tracer.costs(cell_of(one))


def test_features_wait_for_their_turn_where_it_is_pipelined(tracer: CostTracer) -> None:
    plain, pipelined = (
        tracer.costs(cell_of(backend(**{"from": "cudnn", "schedule": schedule})))
        for schedule in ("sequential", "pipelined")
    )
    features = 4 * 8 * SIZE[0] * SIZE[1]
    assert pipelined[UPSAMPLING].peak_bytes - plain[UPSAMPLING].peak_bytes >= (FRAMES - 1) * features
    for stage, cost in plain.items():
        assert (pipelined[stage].flops, pipelined[stage].bytes) == (cost.flops, cost.bytes)


def test_a_memory_plan_computes_again_what_it_does_not_keep(tracer: CostTracer) -> None:
    frames = 9
    plain, kept, again = (
        tracer.costs(cell_of(backend(**fields), frames=frames))
        for fields in ({}, {"memory_plan": "disk"}, {"memory_plan": {"interval": 3}})
    )
    for stage in STAGES:
        assert kept[stage].flops == plain[stage].flops
    # Of four frames, one of two directions once more.
    assert again[PROPAGATION].flops * 2 * frames == plain[PROPAGATION].flops * (2 * frames + 4)
    assert again[ALIGNMENT].flops > plain[ALIGNMENT].flops
    assert again[UPSAMPLING].flops == plain[UPSAMPLING].flops


def test_on_a_gpu_a_memory_plan_leaves_the_clip_in_host_memory(tracer: CostTracer) -> None:
    short, long = (
        tracer.costs(cell_of(backend(**{"from": "cudnn", "memory_plan": "host"}), frames=frames))
        for frames in (30, 60)
    )
    for stage in STAGES:
        assert short[stage].peak_bytes == long[stage].peak_bytes


def test_processes_share_the_work_and_on_gpus_each_has_its_memory(tracer: CostTracer) -> None:
    divided = tracer.costs(cell_of(backend(**{"from": "cudnn", "processes": 2}), batch=2))
    one, two = (tracer.costs(cell_of(backend(**{"from": "cudnn"}), batch=batch)) for batch in (1, 2))
    for stage in STAGES:
        assert divided[stage] == two[stage].model_copy(update={"peak_bytes": one[stage].peak_bytes})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"convolution": "winograd"}, "convolution: winograd: the kernel has no module of EGVSR to take"),
        ({"memory_plan": "disk"}, "memory_plan: EGVSR takes a whole clip in one call only"),
        ({"from": "cudnn", "schedule": "pipelined"}, "schedule: EGVSR knows sequential only"),
    ],
)
def test_what_a_network_cannot_have_is_unsupported(fields: dict[str, Any], said: str) -> None:
    tracer = CostTracer({"egvsr": build_network("egvsr", num_blocks=1)})
    with pytest.raises(Unsupported, match=f"^{said}"):
        tracer.costs(cell_of(backend(**fields), network="egvsr"))


# Networks that do not run on the meta device.


class ReadsValues(nn.Module):
    """Enlarges frames (n, 3, h, w) by four; asks for a value, which on the meta device there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, frame: Tensor) -> Tensor:
        assert self.conv(frame).isfinite().all().item()
        return frame.repeat_interleave(4, 2).repeat_interleave(4, 3)


def adapted(module: nn.Module) -> CostTracer:
    stages = {"conv": ("conv",)}
    return CostTracer({"basicvsr": Adapted(module, title="mine", stages=stages, scale=4, takes="frame")})


def test_a_small_clip_of_a_network_that_reads_values_is_traced_by_a_real_call() -> None:
    tracer = adapted(ReadsValues())
    costs = tracer.costs(cell_of())
    assert costs["conv"].flops == FRAMES * 2 * 3 * 3 * 9 * SIZE[0] * SIZE[1]
    assert tracer.uncalled(cell_of()) is None


class Fails(ReadsValues):
    def forward(self, frame: Tensor) -> Tensor:
        raise RuntimeError("no luck")


@pytest.mark.parametrize(
    ("module", "side", "said"),
    [
        (ReadsValues(), 256, r"does not run on the meta device \(.*meta.*\), and a clip of this size is not"),
        (Fails(), 16, r"does not run on the meta device .*, nor in a trial on the CPU \(.*no luck\)$"),
    ],
)
def test_other_clips_have_no_costs_and_a_reason(module: nn.Module, side: int, said: str) -> None:
    tracer = adapted(module)
    assert (FRAMES * side**2 > MAX_CPU_PIXELS) is (side == 256)
    for _ in range(2):  # known the second time
        with pytest.raises(Untraceable, match=said):
            tracer.costs(cell_of(size=(side, side)))


def test_a_submodule_that_no_call_reaches_is_named() -> None:
    class Skips(ReadsValues):
        def forward(self, frame: Tensor) -> Tensor:
            return frame.repeat_interleave(4, 2).repeat_interleave(4, 3)

    tracer = adapted(Skips())
    tracer.costs(cell_of())
    assert tracer.uncalled(cell_of()) == "conv"


def test_networks_stay_as_they_are() -> None:
    network = build_basicvsr(8, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    CostTracer({"basicvsr": network}).costs(
        cell_of(backend(dtype="bfloat16", convolution="winograd", threads=3))
    )
    assert torch.get_num_threads() == threads
    for name, tensor in network.state_dict().items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, before[name])
