"""Costs of cells: on the meta device those of a real call, for every kind of backend."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.grid.backend import Backend
from bench.grid.costs import StageCost
from bench.grid.plan import Cell, cells
from bench.measure.costs import LIMITS_S, MAX_CPU_PIXELS, CostTracer, Untraceable
from tests.bench.fakes import experiment
from tests.compiler import needs_compiler
from tests.networks import STAGES, build_basicvsr
from vsr_model.adapted import Adapted
from vsr_model.convolutions.winograd.kernel import thread_bytes
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

FRAMES, SIZE = 4, (20, 24)


def backend(base: str = "cpu", **fields: Any) -> Backend:
    return Backend.model_validate({"name": "one", "from": base, **fields})


def cell_of(one: Backend | None = None, **axes: Any) -> Cell:
    grid = {"frames": [FRAMES], "size": [SIZE]} | {name: [value] for name, value in axes.items()}
    (cell,) = cells(experiment(grid=grid, backends=["cpu"]))
    return cell if one is None else Cell(**{**vars(cell), "backend": one})


def refuse_meta(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if inputs[0].is_meta:
        raise NotImplementedError("no meta kernel")


def work(costs: dict[str, StageCost]) -> dict[str, StageCost]:
    """Return the costs without the memory."""
    return {stage: cost.model_copy(update={"peak_bytes": 0}) for stage, cost in costs.items()}


@pytest.fixture(scope="module")
def tracer() -> CostTracer:
    return CostTracer({"basicvsr": build_basicvsr(8, 1)})


@pytest.fixture(scope="module")
def really() -> CostTracer:
    """Trace the same by real calls."""
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
        pytest.param({"convolution": "winograd", "threads": 2}, marks=needs_compiler),
        pytest.param(
            {"convolution": "winograd", "threads": 2, "memory_plan": "device"}, marks=needs_compiler
        ),
    ],
    ids=str,
)
def test_a_cell_costs_on_the_meta_device_what_a_real_call_does(
    tracer: CostTracer, really: CostTracer, fields: dict[str, Any]
) -> None:
    cell = cell_of(backend(**fields))
    costs, real = tracer.costs(cell), really.costs(cell)
    assert {*costs} == {*STAGES, "other"}
    # The tiles of the kernel's threads are no tensors in a real call.
    tiles = 2 * thread_bytes(64 + 256) if fields.get("convolution") == "winograd" else 0
    assert costs == {
        stage: cost.model_copy(update={"peak_bytes": cost.peak_bytes + tiles}) for stage, cost in real.items()
    }


@pytest.mark.parametrize("convolution", ["im2col", "fft", "winograd"])
def test_a_replacement_has_the_work_of_the_networks_own_convolutions_and_its_own_memory(
    tracer: CostTracer, convolution: str
) -> None:
    one = backend(convolution=convolution)
    plain, other = tracer.costs(cell_of()), tracer.costs(cell_of(one))
    assert work(other) == work(plain)
    assert other[UPSAMPLING].peak_bytes > plain[UPSAMPLING].peak_bytes
    used = CostTracer({"basicvsr": build_basicvsr(8, 1)})
    used.costs(cell_of(one, size=(64, 64), frames=2))  # a larger one keeps nothing for the next
    assert used.costs(cell_of(one)) == other


def test_a_cuda_graph_holds_its_own_input_and_the_copy_of_its_output(tracer: CostTracer) -> None:
    plain = tracer.costs(cell_of(backend("cudnn")))
    graphed = tracer.costs(cell_of(backend("cudnn", cuda_graph=True)))
    clip_bytes = 4 * 3 * FRAMES * SIZE[0] * SIZE[1]
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
    assert work(winograd) == work(plain)


def test_features_wait_for_their_turn_where_a_schedule_is_pipelined(tracer: CostTracer) -> None:
    plain = tracer.costs(cell_of(backend("cudnn")))
    pipelined = tracer.costs(cell_of(backend("cudnn", schedule="pipelined")))
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
    assert [kept[stage].flops for stage in STAGES] == [plain[stage].flops for stage in STAGES]
    # Of four frames, one of two directions once more.
    assert again[PROPAGATION].flops * 2 * frames == plain[PROPAGATION].flops * (2 * frames + 4)
    assert again[ALIGNMENT].flops > plain[ALIGNMENT].flops
    assert again[UPSAMPLING].flops == plain[UPSAMPLING].flops


def test_on_a_gpu_a_memory_plan_leaves_the_clip_in_host_memory(tracer: CostTracer) -> None:
    planned = backend("cudnn", memory_plan="host")
    short, long = (tracer.costs(cell_of(planned, frames=frames)) for frames in (30, 60))
    assert [short[stage].peak_bytes for stage in STAGES] == [long[stage].peak_bytes for stage in STAGES]


def test_processes_share_the_work_and_on_gpus_each_has_its_memory(tracer: CostTracer) -> None:
    divided = tracer.costs(cell_of(backend("cudnn", processes=2), batch=2))
    one, two = (tracer.costs(cell_of(backend("cudnn"), batch=batch)) for batch in (1, 2))
    for stage in STAGES:
        assert divided[stage] == two[stage].model_copy(update={"peak_bytes": one[stage].peak_bytes})


def test_networks_stay_as_they_are() -> None:
    network = build_basicvsr(8, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    narrow = backend(dtype="bfloat16", convolution="winograd", threads=3)
    CostTracer({"basicvsr": network}).costs(cell_of(narrow))
    assert torch.get_num_threads() == threads
    for name, tensor in network.state_dict().items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, before[name])


class ReadsValues(nn.Module):
    """Enlarges frames (n, 3, h, w) by four; asks for a value, which on the meta device there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, frame: Tensor) -> Tensor:
        assert self.conv(frame).isfinite().all().item()
        return frame.repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_a_network_that_reads_values_is_traced_by_a_real_call_of_a_small_clip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fresh() -> CostTracer:
        stages = {"conv": ("conv",)}
        own = Adapted(ReadsValues(), title="mine", stages=stages, scale=4, takes="frame")
        return CostTracer({"basicvsr": own})

    tracer = fresh()
    assert tracer.costs(cell_of())["conv"].flops == FRAMES * 2 * 3 * 3 * 9 * SIZE[0] * SIZE[1]
    assert tracer.uncalled(cell_of()) is None
    large = cell_of(size=(256, 256))
    assert FRAMES * 256**2 > MAX_CPU_PIXELS
    said = r"does not run on the meta device \(.*meta.*\), and a clip of this size is not tried"
    for _ in range(2):  # the second time from memory
        with pytest.raises(Untraceable, match=said):
            tracer.costs(large)
    monkeypatch.setitem(LIMITS_S, "cpu", 0.0)
    with pytest.raises(Untraceable, match=r"meta device .*, and a trial on the CPU took over 0 s$"):
        fresh().costs(cell_of())
