"""Each schedule computes what the published order does, and tells the probe what it does."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests import golden
from tests.fuzzing import fuzz
from tests.vsr_model.test_cost import LiveBytes, meta_model
from vsr_model import BasicVSR, Stage, load_checkpoint
from vsr_model.convolutions import replace_convolutions
from vsr_model.initialise import build_basicvsr
from vsr_model.queues import AtOnce, CudaQueue, queue_of
from vsr_model.schedule_memory import FRAMES_AT_ONCE, batch_sizes, estimate_peak_bytes
from vsr_model.schedules import (
    Bidirectional,
    GroupedTrunks,
    Pipelined,
    Schedule,
    TwoQueues,
    pair_of,
    scheduled,
)

SCHEDULES = get_args(Schedule)
OTHERS = ("batched", "bidirectional", "pipelined")

by_schedule = pytest.mark.parametrize("schedule", OTHERS)


def golden_model(size: str = "tiny") -> BasicVSR:
    model = BasicVSR(*golden.SIZES[size]).eval()
    load_checkpoint(model, golden.weights(*golden.SIZES[size]))
    return model


@pytest.fixture(scope="module")
def tiny() -> BasicVSR:
    return golden_model()


class Recorder:
    """A probe that keeps every interval and refuses to be nested."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.open = False

    @contextmanager
    def __call__(self, stage: Stage, /) -> Iterator[None]:
        assert not self.open, f"{stage} is nested in {self.stages[-1]}"
        self.open = True
        self.stages.append(stage)
        yield
        self.open = False


def checked(network: BasicVSR, schedule: Schedule, lrs: Tensor) -> Recorder:
    """Holds the schedule's output against the published order's."""
    recorder = Recorder()
    with torch.inference_mode():
        expected = network(lrs)
        found = scheduled(network, schedule)(lrs, recorder)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    return recorder


@by_schedule
@pytest.mark.parametrize(("n", "t", "height", "width"), [(1, 1, 16, 16), (2, 2, 17, 31), (1, 3, 33, 40)])
def test_equals_the_published_order(
    tiny: BasicVSR, schedule: Schedule, n: int, t: int, height: int, width: int
) -> None:
    lrs = golden.clip(n * t, height, width).view(n, t, 3, height, width)
    checked(tiny, schedule, lrs)


@fuzz(8)
@given(
    schedule=st.sampled_from(SCHEDULES),
    n=st.integers(1, 3),
    t=st.integers(1, 11),
    height=st.integers(16, 35),
    width=st.integers(16, 35),
    channels=st.integers(1, 5),
)
def test_equals_it_at_any_size(
    schedule: Schedule, n: int, t: int, height: int, width: int, channels: int
) -> None:
    network = build_basicvsr(channels, 1, seed=channels)
    checked(network, schedule, torch.rand(n, t, 3, height, width, generator=torch.Generator().manual_seed(t)))


def test_equals_it_with_the_published_networks_weights() -> None:
    network = golden_model("full")
    for schedule in OTHERS:
        checked(network, schedule, golden.clip(3, 24, 20))


@by_schedule
def test_refuses_other_shapes_in_one_sentence(tiny: BasicVSR, schedule: Schedule) -> None:
    with pytest.raises(ValueError, match=r"^BasicVSR needs a clip of shape \(n, t, 3, h, w\) .*\.$"):
        scheduled(tiny, schedule)(torch.zeros(1, 3, 1, 32, 32), Recorder())


@pytest.mark.parametrize(
    ("schedule", "warps", "steps", "aggregations", "upsamplings"),
    [
        ("sequential", 2 * 8, 2 * 10, 9, 9),
        ("batched", 2 * 8, 2 * 10, 2, 2),
        ("bidirectional", 8, 10, 9, 9),
        ("pipelined", 2 * 8, 2 * 10, 9, 9),
    ],
)
def test_reports_each_stage_apart(
    tiny: BasicVSR, schedule: Schedule, warps: int, steps: int, aggregations: int, upsamplings: int
) -> None:
    """Of nine frames. What else there is: flow, and the joining of the outputs."""
    assert Counter(checked(tiny, schedule, golden.clip(9, 16, 16)).stages) == {
        Stage.ALIGNMENT: 1 + warps,
        Stage.PROPAGATION: steps,
        Stage.AGGREGATION: aggregations,
        Stage.UPSAMPLING: upsamplings + 1,
    }


@by_schedule
def test_a_single_frame_has_all_stages(tiny: BasicVSR, schedule: Schedule) -> None:
    assert set(checked(tiny, schedule, golden.clip(1, 16, 16)).stages) == set(Stage)


def test_batched_estimates_all_flow_in_one_call(tiny: BasicVSR) -> None:
    lrs = torch.cat((golden.clip(3, 17, 33), golden.clip(3, 17, 33).flip(1)))
    calls = []
    handle = tiny.alignment.spynet.register_forward_hook(lambda _, inputs, flow: calls.append(len(flow)))
    with torch.inference_mode():
        once = tiny.alignment.compute_flow_at_once(lrs)
        twice = tiny.compute_flow(lrs)
    handle.remove()
    assert calls == [8, 4, 4]
    for found, expected in zip(once, twice, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(st.integers(1, 1000))
def test_batches_are_equal_but_for_one_frame(frames: int) -> None:
    sizes = batch_sizes(frames)
    assert sum(sizes) == frames
    assert len(sizes) == -(-frames // FRAMES_AT_ONCE)
    assert max(sizes) - min(sizes) <= 1


# Both branches together.


def test_the_branches_warps_are_one_call(tiny: BasicVSR) -> None:
    sizes = []
    handle = tiny.alignment.register_forward_hook(lambda _, inputs, warped: sizes.append(len(warped)))
    checked_lrs = golden.clip(4, 16, 16).view(2, 2, 3, 16, 16)
    with torch.inference_mode():
        scheduled(tiny, "bidirectional")(checked_lrs, Recorder())
    handle.remove()
    assert sizes == [2 * 2]


def test_on_a_cpu_both_trunks_are_one(tiny: BasicVSR) -> None:
    grouped = pair_of(tiny.propagation)
    assert isinstance(grouped, GroupedTrunks)
    assert {item.groups for item in grouped.modules() if isinstance(item, torch.nn.Conv2d)} == {2}


@pytest.mark.parametrize("method", ["im2col", "fft"])
def test_convolutions_that_know_no_groups_take_turns(method: Any) -> None:
    network = golden_model()
    replace_convolutions(network, method)
    assert isinstance(pair_of(network.propagation), TwoQueues)
    for schedule in OTHERS:
        checked(network, schedule, golden.clip(3, 17, 20))


def test_compiled_trunks_are_compiled_together(tiny: BasicVSR, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(GroupedTrunks, "compile", lambda trunks: compiled.insert(0, trunks))
    pair_of(tiny.propagation)
    assert compiled == []
    pair = pair_of(tiny.propagation, compiled=True)
    assert compiled == [pair]


@by_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_in_any_precision(schedule: Schedule, dtype: torch.dtype) -> None:
    network = golden_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.cast_features(dtype)
    lrs = golden.clip(3, 17, 20)
    with torch.inference_mode():
        expected, found = network(lrs), scheduled(network, schedule)(lrs, Recorder())
    torch.testing.assert_close(found, expected, atol=1e-5 if dtype is torch.float32 else 2e-2, rtol=0)


# Queues.


class Logged:
    """A queue that does its work at once, and tells when it was given what."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.used: list[Tensor] = []
        self.made: list[Tensor] = []
        self.is_open = False

    @contextmanager
    def beside(self, *used: Tensor) -> Iterator[None]:
        self.log.append("beside")
        self.used += used
        self.is_open = True
        yield
        self.is_open = False

    def join(self, *made: Tensor) -> None:
        self.log.append("join")
        self.made += made


def logging(module: torch.nn.Module, name: str, queue: Logged, where: set[bool]) -> Callable[[], None]:
    def hook(*_: object) -> None:
        queue.log.append(name)
        where.add(queue.is_open)

    return module.register_forward_pre_hook(hook).remove


def test_the_backward_trunk_runs_beside_the_forward_one_and_is_waited_for(tiny: BasicVSR) -> None:
    queue = Logged()
    places: dict[str, set[bool]] = {"forward": set(), "backward": set(), "align": set()}
    trunks = tiny.propagation.forward_trunk, tiny.propagation.backward_trunk
    removals = [
        logging(trunks[0], "forward", queue, places["forward"]),
        logging(trunks[1], "backward", queue, places["backward"]),
        logging(tiny.alignment, "align", queue, places["align"]),
    ]
    call = Bidirectional(tiny, TwoQueues(*trunks, queue))
    lrs = golden.clip(3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(call(lrs), tiny(lrs), atol=1e-5, rtol=0)
    for remove in removals:
        remove()
    step = ["beside", "backward", "forward", "join"]
    assert queue.log[:14] == [*step, "align", *step, "align", *step]
    assert places["backward"] >= {True}
    # The published order, which came after, has none beside.
    assert places["forward"] == places["align"] == {False}
    assert len(queue.made) == 3


def test_frames_are_upsampled_beside_the_next_ones_steps(tiny: BasicVSR) -> None:
    queue = Logged()
    places: dict[str, set[bool]] = {"forward": set(), "aggregate": set(), "upsample": set()}
    removals = [
        logging(tiny.propagation.forward_trunk, "forward", queue, places["forward"]),
        logging(tiny.aggregation, "aggregate", queue, places["aggregate"]),
        logging(tiny.upsampling, "upsample", queue, places["upsample"]),
    ]
    lrs = golden.clip(3, 16, 16)
    with torch.inference_mode():
        found = Pipelined(tiny, queue)(lrs)
    for remove in removals:
        remove()
    assert queue.log == ["forward", "beside", "aggregate", "upsample"] * 3 + ["join"]
    assert places == {"forward": {False}, "aggregate": {True}, "upsample": {True}}
    # What one queue reads of the other's memory is told: both branches' features and the frame, and outputs.
    assert [tuple(item.shape) for item in queue.used] == [(1, 8, 16, 16), (1, 8, 16, 16), (1, 3, 16, 16)] * 3
    assert [tuple(item.shape) for item in queue.made] == [(1, 3, 64, 64)] * 3
    assert found.shape == (1, 3, 3, 64, 64)


def test_a_cpu_has_no_queue() -> None:
    assert isinstance(queue_of(torch.device("cpu")), AtOnce)


class FakeStream:
    def __init__(self, name: str, log: list[tuple[str, ...]]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "FakeStream") -> None:
        self.log.append((self.name, "waits for", other.name))


class FakeTensor:
    def __init__(self, name: str, log: list[tuple[str, ...]]) -> None:
        self.name, self.log = name, log

    def record_stream(self, stream: FakeStream) -> None:
        self.log.append((self.name, "is used on", stream.name))


def test_a_stream_waits_for_the_current_one_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[str, ...]] = []
    streams = [FakeStream("main", log)]

    @contextmanager
    def on(stream: FakeStream) -> Iterator[None]:
        streams.append(stream)
        yield
        streams.pop()

    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: FakeStream("side", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: streams[-1])
    monkeypatch.setattr(torch.cuda, "stream", on)
    queue = queue_of(torch.device("cuda"))
    assert isinstance(queue, CudaQueue)
    used: Any = FakeTensor("used", log)
    made: Any = FakeTensor("made", log)
    with queue.beside(used):
        assert [stream.name for stream in streams] == ["main", "side"]
    queue.join(made)
    assert log == [
        ("side", "waits for", "main"), ("used", "is used on", "side"),
        ("main", "waits for", "side"), ("made", "is used on", "main"),
    ]  # fmt: skip


# On a GPU.

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("schedule", [pytest.param(item, marks=on_gpu) for item in OTHERS])
def test_streams_give_the_same_again_and_again(schedule: Schedule) -> None:
    """A missing wait, or memory that is used again too early, would show sooner or later."""
    network = golden_model("full").cuda()
    lrs = golden.clip(7, 90, 160).cuda()
    with torch.inference_mode():
        expected = network(lrs)
        call = scheduled(network, schedule)
        for _ in range(20):
            found = call(lrs, Recorder())
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
            del found


# Memory.


class LateQueue(AtOnce):
    """A device that is behind: what its work reads is held until all is queued."""

    def __init__(self) -> None:
        self.held: list[Tensor] = []

    @contextmanager
    def beside(self, *used: Tensor) -> Iterator[None]:
        self.held += used
        yield


@by_schedule
@pytest.mark.parametrize(
    ("dtype", "mid_channels", "num_blocks", "batch", "frames", "height", "width"),
    [
        (torch.float32, 64, 30, 1, 1, 64, 64),
        (torch.float32, 64, 2, 2, 5, 180, 320),
        (torch.bfloat16, 64, 2, 2, 9, 180, 320),
        (torch.bfloat16, 64, 1, 1, 20, 33, 33),
        (torch.float32, 64, 1, 2, 20, 97, 33),
        (torch.float32, 4, 1, 1, 30, 64, 64),
        (torch.bfloat16, 64, 1, 1, 40, 32, 32),
        (torch.float32, 600, 1, 1, 2, 32, 32),
    ],
)
def test_peak_is_that_of_the_tensors_alive(
    dtype: torch.dtype,
    schedule: Schedule,
    mid_channels: int,
    num_blocks: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
) -> None:
    network = meta_model(mid_channels, num_blocks)
    network.cast_features(dtype)
    call = Pipelined(network, LateQueue()) if schedule == "pipelined" else scheduled(network, schedule)
    lrs = torch.empty(batch, frames, 3, height, width, device="meta")
    counter = LiveBytes()
    for tensor in (*network.state_dict().values(), lrs):
        counter.add(tensor)
    with torch.no_grad(), counter:
        call(lrs, Recorder())
    estimate = estimate_peak_bytes(
        schedule,
        mid_channels=mid_channels,
        num_blocks=num_blocks,
        batch=batch,
        frames=frames,
        height=height,
        width=width,
        bytes_per_element=dtype.itemsize,
        on_cpu=False,
    )
    assert estimate == pytest.approx(counter.peak, rel=0.06)


def test_on_a_cpu_the_trunks_weights_are_there_twice(tiny: BasicVSR) -> None:
    axes = {"mid_channels": 8, "num_blocks": 2, "batch": 1, "frames": 2, "height": 16, "width": 16}
    grouped = pair_of(tiny.propagation)
    assert isinstance(grouped, GroupedTrunks)
    on_cpu, elsewhere = (estimate_peak_bytes("bidirectional", **axes, on_cpu=cpu) for cpu in (True, False))
    assert on_cpu - elsewhere == sum(4 * item.numel() for item in grouped.parameters())


def test_weights_are_taken_as_they_are() -> None:
    network = golden_model()
    lrs = golden.clip(2, 16, 16)
    checked(network, "bidirectional", lrs)
    with torch.no_grad():
        for parameter in network.propagation.parameters():
            parameter.mul_(1.5)
    checked(network, "bidirectional", lrs)
