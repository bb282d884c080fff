"""Stages as CUDA graphs: the logic on a CPU, with a capturer that works as a graph does, and real ones."""

from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import golden
from vsr_model import BasicVSR
from vsr_model.cost import flow_elements, upsampling_elements
from vsr_model.cuda_graph_memory import graph_bytes
from vsr_model.cuda_graphs import HANDED_ON, PARTS, CudaCapturer, GraphedStage, graph_stages
from vsr_model.frame_sources import TensorFrames
from vsr_model.initialise import build_basicvsr
from vsr_model.memory_plan import MemoryPlan
from vsr_model.stages import no_probe
from vsr_model.streaming import upscale_frames


class FakeCapturer:
    """A graph on a CPU: fixed memory that each replay reads and writes, and that holds nothing before."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0
        self.at: Hashable = "default"

    def lane(self) -> Hashable:
        return self.at

    def capture(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.captures += 1
        output = torch.full_like(work(), torch.nan)

        def replay() -> None:
            self.replays += 1
            with torch.inference_mode():
                output.copy_(work())

        return replay, output


def clip(frames: int = 3, height: int = 32, width: int = 40, *, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def network(**changes: Any) -> BasicVSR:
    return build_basicvsr(mid_channels=8, num_blocks=2, seed=0, **changes)


@torch.inference_mode()
def outputs(one: nn.Module, *clips: Tensor) -> list[Tensor]:
    """Each of them, when all have been made."""
    return [one(lrs) for lrs in clips]


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def plain(one: BasicVSR) -> BasicVSR:
    return one


def in_bfloat16(one: BasicVSR) -> BasicVSR:
    one.cast_features(torch.bfloat16)
    return one


def channels_last(one: BasicVSR) -> BasicVSR:
    one.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return one


@pytest.mark.parametrize(
    ("prepared", "keep_all", "batch"),
    [
        (plain, False, 1),
        (plain, True, 2),
        (in_bfloat16, False, 2),
        (channels_last, False, 1),
        (channels_last, True, 2),
    ],
)
def test_the_network_gives_what_it_gives_without(
    prepared: Callable[[BasicVSR], BasicVSR], keep_all: bool, batch: int
) -> None:
    clips = [clip(seed=seed, batch=batch) for seed in (1, 2, 1)]
    expected = outputs(prepared(network()), *clips)
    graphed, capturer = prepared(network()), FakeCapturer()
    graph_stages(graphed, capturer, keep_all=keep_all)
    assert equal(outputs(graphed, *clips), expected)
    assert capturer.captures == len(PARTS)
    # Flow in both directions, 2 warps each way, 3 frames each way, 3 fused, 3 upsampled.
    assert capturer.replays == 3 * (2 + 4 + 6 + 3 + 3)


def test_other_shapes_are_captured_anew_and_the_first_are_kept() -> None:
    clips = [clip(), clip(height=48), clip(frames=1), clip()]
    expected = outputs(network(), *clips)
    graphed, capturer = network(), FakeCapturer()
    graph_stages(graphed, capturer)
    assert equal(outputs(graphed, *clips[:1]), expected[:1])
    assert capturer.captures == len(PARTS)
    assert equal(outputs(graphed, *clips[1:]), expected[1:])
    assert capturer.captures == 2 * len(PARTS)  # a frame alone is as those of a clip


@pytest.mark.parametrize("interval", [1, 2])
def test_frames_in_bounded_memory_are_the_same(interval: int) -> None:
    plan = MemoryPlan(place="device", interval=interval, chunk=2)
    graphed = network()
    graph_stages(graphed, FakeCapturer())
    with torch.inference_mode():
        expected, found = (
            [frame.clone() for frame in upscale_frames(one, TensorFrames(clip(5)), plan, no_probe)]
            for one in (network(), graphed)
        )
    assert equal(found, expected)


def test_other_types_and_layouts_are_captured_anew() -> None:
    capturer = FakeCapturer()
    stage = GraphedStage(nn.ReLU(), capturer, keeps=True)
    image = clip()[0]
    with torch.inference_mode():
        for given in (
            image, image.double(), image.to(memory_format=torch.channels_last), image[:1], image,
        ):  # fmt: skip
            assert torch.equal(stage(given), given)
    assert capturer.captures == 4


def test_what_a_caller_keeps_is_not_written_over() -> None:
    stage = GraphedStage(nn.ReLU(), FakeCapturer(), keeps=True)
    with torch.inference_mode():
        first = stage(torch.ones(3))
        second = stage(torch.zeros(3))
        third = stage(first + 1)
    assert [float(one.sum()) for one in (first, second, third)] == [3, 0, 6]


def test_what_is_handed_on_is_the_graphs_own_and_may_come_back_as_its_input() -> None:
    stage = GraphedStage(nn.Threshold(-1.0, 0.0), FakeCapturer(), keeps=False)
    with torch.inference_mode():
        first = stage(torch.ones(3))
        assert torch.equal(stage(first), torch.ones(3))
        second = stage(torch.zeros(3))
    assert first.data_ptr() == second.data_ptr()
    assert float(first.sum()) == 0


def test_only_what_waits_is_copied_out() -> None:
    graphed = network()
    graph_stages(graphed, FakeCapturer())
    kept = {name for name in PARTS if graphed.get_submodule(name)._keeps}
    assert kept == set(PARTS) - HANDED_ON == {"alignment.spynet", "propagation.backward_trunk", "upsampling"}


def test_lanes_share_no_memory() -> None:
    """What runs on two streams at once may call the same stage on both."""
    capturer = FakeCapturer()
    stage = GraphedStage(nn.ReLU(), capturer, keeps=False)
    with torch.inference_mode():
        one = stage(torch.ones(3))
        capturer.at = "another"
        other = stage(torch.zeros(3))
    assert (float(one.sum()), float(other.sum()), capturer.captures) == (3, 0, 2)


def test_weights_may_change_in_place() -> None:
    graphed = network()
    graph_stages(graphed, FakeCapturer())
    (before,) = outputs(graphed, clip())
    bias = graphed.upsampling.conv_last.bias
    assert bias is not None
    with torch.no_grad():
        bias.add_(0.5)
    (after,) = outputs(graphed, clip())
    torch.testing.assert_close(after, before + 0.5)


def test_a_call_that_autograd_would_record_is_refused() -> None:
    graphed = network()
    graph_stages(graphed, FakeCapturer())
    with pytest.raises(RuntimeError, match="records no gradients"):
        graphed(clip())


def test_a_graph_of_one_mode_serves_the_other() -> None:
    graphed = network()
    graph_stages(graphed, FakeCapturer())
    (expected,) = outputs(graphed, clip())
    with torch.no_grad():
        assert torch.equal(graphed(clip()), expected)
    assert equal(outputs(graphed, clip()), [expected])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnAGpu:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("keep_all", [False, True])
    def test_the_network_gives_what_it_gives_without(self, dtype: torch.dtype, keep_all: bool) -> None:
        device = torch.device("cuda", 0)
        clips = [golden.clip(3, 72, 100).to(device), clip(2, 64, 64).to(device), clip(3, 72, 100).to(device)]
        eager, graphed = network().to(device), network().to(device)
        for one in (eager, graphed):
            if dtype is not torch.float32:
                one.cast_features(dtype)
        graph_stages(graphed, CudaCapturer(device), keep_all=keep_all)
        for ours, theirs in zip(outputs(graphed, *clips), outputs(eager, *clips), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        for ours, theirs in zip(outputs(graphed, *clips), outputs(eager, *clips), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    def test_a_replay_is_one_launch(self) -> None:
        device = torch.device("cuda", 0)
        graphed = network().to(device)
        graph_stages(graphed, CudaCapturer(device))
        trunk, frame, features = graphed.propagation.forward_trunk, clip()[:, 0], torch.zeros(1, 8, 32, 40)
        inputs = frame.to(device), features.to(device)
        with torch.inference_mode():
            trunk(*inputs)
            with torch.profiler.profile() as profile:
                trunk(*inputs)
                torch.cuda.synchronize(device)
        launches = [item for item in profile.events() if item.name.startswith("cudaGraphLaunch")]
        assert len(launches) == 1


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_what_graphs_hold_is_allowed_for(frames: int) -> None:
    """What each reads and writes is counted; beside it the pool keeps the two worst moments."""
    one = network()
    graph_stages(one, FakeCapturer(), keep_all=True)
    lrs = clip(frames, batch=2)
    with torch.inference_mode():
        one(lrs)
    graphs = [
        graph
        for stage in one.modules()
        if isinstance(stage, GraphedStage)
        for graph in stage._graphs.values()
    ]
    held = sum(tensor.nbytes for graph in graphs for tensor in (*graph.inputs, graph.output))
    shape = {"batch": 2, "height": 32, "width": 40}
    pool = flow_elements(pairs=frames - 1, **shape) if frames > 1 else 0
    pool += upsampling_elements(mid_channels=8) * 2 * 32 * 40
    allowed = graph_bytes(mid_channels=8, frames=frames, **shape)
    assert 0.95 * allowed <= held + 4 * pool <= allowed
