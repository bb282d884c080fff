"""A call as a CUDA graph: on a CPU with a fake that does recorded operations again, and on a GPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests import golden
from tests.networks import build_basicvsr
from tests.vsr_model.fake_cuda import FakeCuda
from vsr_model import BasicVSR
from vsr_model.cuda_graphs import WARMUP_CALLS, GraphedCall
from vsr_model.schedules import Pipelined


def clip(frames: int = 3, height: int = 32, width: int = 40, *, seed: int = 0) -> Tensor:
    return torch.rand(1, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def network(dtype: torch.dtype = torch.float32) -> BasicVSR:
    made = build_basicvsr(mid_channels=8, num_blocks=2, seed=0)
    made.cast_features(dtype)
    return made


@torch.inference_mode()
def outputs(call: Callable[[Tensor], Tensor], *clips: Tensor) -> list[Tensor]:
    """Each of them, when all have been made."""
    return [call(lrs) for lrs in clips]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_gives_what_it_gives_without(cuda: FakeCuda, dtype: torch.dtype) -> None:
    one = network(dtype)
    clips = [clip(seed=seed) for seed in (1, 2, 1)]
    for ours, theirs in zip(outputs(GraphedCall(one), *clips), outputs(one, *clips), strict=True):
        assert torch.equal(ours, theirs)
    assert cuda.log.count("replay") == 3


def test_any_call_is_warmed_up_on_a_stream_aside_captured_and_replayed(cuda: FakeCuda) -> None:
    def forward(image: Tensor) -> Tensor:
        cuda.log.append(f"called on {cuda.current}")
        return image + 1

    call = GraphedCall(forward)
    found = outputs(call, torch.zeros(3), torch.ones(3))
    assert [one.tolist() for one in found] == [[1] * 3, [2] * 3]
    assert cuda.log == [
        "stream 1 waits for main",
        *["called on stream 1"] * WARMUP_CALLS,
        "main waits for stream 1",
        "capture",
        "called on capturing stream",
        "replay",
        "replay",
    ]


def test_each_shape_and_type_is_captured_once(cuda: FakeCuda) -> None:
    inputs = [torch.zeros(2), torch.zeros(3), torch.zeros(2).double(), torch.ones(2)]
    found = outputs(GraphedCall(nn.ReLU()), *inputs)
    assert all(torch.equal(one, given) for one, given in zip(found, inputs, strict=True))
    assert (cuda.log.count("capture"), cuda.log.count("replay")) == (3, 4)


def test_an_output_may_come_back_as_an_input_and_is_not_written_over(cuda: FakeCuda) -> None:
    call = GraphedCall(lambda image: image + 1)
    first = call(torch.zeros(3))
    second = call(first)
    assert [float(one.sum()) for one in (first, second)] == [3, 6]
    assert not second.requires_grad


def test_weights_may_change_in_place(cuda: FakeCuda) -> None:
    one = network()
    call = GraphedCall(one)
    before = call(clip())
    bias = one.upsampling.conv_last.bias
    assert bias is not None
    with torch.no_grad():
        bias.add_(0.5)
    torch.testing.assert_close(call(clip()), before + 0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnAGpu:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("pipelined", [False, True])
    def test_a_network_gives_what_it_gives_without(self, dtype: torch.dtype, pipelined: bool) -> None:
        clips = [golden.clip(3, 72, 100).cuda(), clip(2, 64, 64).cuda(), golden.clip(3, 72, 100).cuda()]
        one = network(dtype).cuda()
        call = GraphedCall(Pipelined(one) if pipelined else one)
        for _ in range(2):
            for ours, theirs in zip(outputs(call, *clips), outputs(one, *clips), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    def test_a_call_is_one_launch(self) -> None:
        call = GraphedCall(network().cuda())
        lrs = clip().cuda()
        call(lrs)
        with torch.profiler.profile() as profile:
            call(lrs)
            torch.cuda.synchronize()
        launches = [item for item in profile.events() if item.name.startswith("cudaGraphLaunch")]
        assert len(launches) == 1
