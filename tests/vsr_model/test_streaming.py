"""Clips of any length in bounded memory: the network's own output under every plan."""

import gc
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests import golden
from tests.networks import STAGES, Spans, build_basicvsr, golden_basicvsr
from vsr_model import BadInput, BasicVSR
from vsr_model.memory_plan import PLACES, MemoryPlan, Place
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING
from vsr_model.streaming import upscale_frames

MOST_BY_CHUNKS = 1e-5
"""Error of an output whose values are about 1, when flow is estimated in more than one call."""


@pytest.fixture(scope="module")
def smallest() -> BasicVSR:
    return build_basicvsr(4, 1, seed=0)


class Clip:
    """A clip in memory, that keeps what it is asked for."""

    def __init__(self, lrs: Tensor) -> None:
        self._lrs = lrs
        self.shape: Any = tuple(lrs.shape)
        self.requests: list[range] = []

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        self.requests.append(range(start, stop))
        return self._lrs[:, start:stop].unbind(1)


def plan_of(place: Place, interval: int, chunk: int, folder: Path) -> MemoryPlan:
    return MemoryPlan(place=place, interval=interval, chunk=chunk, folder=folder if place == "disk" else None)


def upscaled(network: BasicVSR, lrs: Tensor, plan: MemoryPlan) -> Tensor:
    return torch.stack(list(upscale_frames(network, Clip(lrs), plan)), 1)


def clip(batch: int, frames: int, height: int, width: int) -> Tensor:
    return golden.clip(batch * frames, height, width).view(batch, frames, 3, height, width)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Frames this small gain nothing by threads, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("place", PLACES)
def test_a_longer_clip_with_golden_weights(tmp_path, place):
    network = golden_basicvsr("tiny")
    lrs = clip(1, 12, 17, 31)
    with torch.inference_mode():
        expected = network(lrs)
    for interval, chunk in ((1, 11), (12, 40), (4, 3)):
        plan = plan_of(place, interval, chunk, tmp_path)
        output = upscaled(network, lrs, plan)
        assert plan.is_one_call(12) is (chunk > 3)
        atol = 0 if plan.is_one_call(12) else MOST_BY_CHUNKS
        torch.testing.assert_close(output, expected, atol=atol, rtol=0)


@given(
    batch=st.integers(1, 2),
    t=st.integers(1, 6),
    place=st.sampled_from(PLACES),
    interval=st.integers(1, 7),
    chunk=st.integers(1, 7),
    narrow=st.booleans(),
    channels_last=st.booleans(),
    size=st.sampled_from([(16, 17), (33, 40)]),
)
@settings(max_examples=15)
def test_any_plan_gives_the_networks_output(
    tmp_path_factory, batch, t, place, interval, chunk, narrow, channels_last, size
):
    network = build_basicvsr(4, 1, seed=0)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if narrow:
        network.cast_features(torch.bfloat16)
    lrs = clip(batch, t, *size)
    plan = plan_of(place, interval, chunk, tmp_path_factory.getbasetemp())
    with torch.inference_mode():
        expected = network(lrs)
    output = upscaled(network, lrs, plan)
    assert output.dtype == torch.float32
    if plan.is_one_call(t):
        assert torch.equal(output, expected)
    else:  # a flow that rounds otherwise may turn the last bit of a narrow feature
        torch.testing.assert_close(output, expected, atol=2e-2 if narrow else MOST_BY_CHUNKS, rtol=0)


def test_frames_are_asked_for_in_few_neighbouring_ranges(smallest):
    source = Clip(clip(1, 10, 16, 16))
    for _ in upscale_frames(smallest, source, MemoryPlan(interval=4, chunk=3)):
        pass
    asked = ["-".join(dict.fromkeys((str(request[0]), str(request[-1])))) for request in source.requests]
    assert asked == ["6-9", "3-5", "0-2", "0", "1-3", "4", "5-8", "5-7", "8", "9", "9"]


@pytest.mark.parametrize(("interval", "starts", "again"), [(1, 2, 0), (3, 2, 2), (2, 3, 2), (7, 2, 0)])
def test_stages_are_reported_apart(smallest, interval, starts, again):
    t = 6 if interval == 2 else 7  # then the last segment, of one frame, starts from the end of the clip
    spans = Spans()
    plan = MemoryPlan(interval=interval, chunk=1)
    assert plan.recomputed_frames(t) == again
    assert len(list(upscale_frames(smallest, Clip(clip(1, t, 16, 16)), plan, spans))) == t
    flows = 2 * (t - 1) + again - (starts - 2)
    assert {stage: spans.stages.count(stage) for stage in STAGES} == {
        ALIGNMENT: 2 * flows,  # each is estimated, and warped along
        PROPAGATION: starts + 2 * t + again,
        AGGREGATION: t,
        UPSAMPLING: t,
    }


def test_nothing_is_recorded_and_calls_may_interleave(smallest):
    lrs = clip(1, 5, 16, 16).requires_grad_()
    plan = MemoryPlan(interval=2, chunk=2)
    outputs = upscale_frames(smallest, Clip(lrs), plan)
    first = next(outputs)
    assert torch.is_grad_enabled()  # between the frames everything is the caller's
    assert not first.requires_grad
    with torch.inference_mode():
        again = upscaled(smallest, lrs, plan)
    assert torch.equal(torch.stack([first, *outputs], 1), again)


@pytest.mark.parametrize("place", PLACES)
def test_an_iterator_that_is_closed_early_releases_everything(tmp_path, smallest, place):
    kept: list[weakref.ref[Tensor]] = []
    trunk = smallest.propagation.backward_trunk
    hook = trunk.register_forward_hook(lambda _module, _inputs, features: kept.append(weakref.ref(features)))
    files = len(list(Path("/proc/self/fd").iterdir()))
    try:
        outputs = upscale_frames(smallest, Clip(clip(1, 6, 16, 16)), plan_of(place, 2, 2, tmp_path))
        next(outputs)
        assert any(features() is not None for features in kept)
        assert list(tmp_path.iterdir()) == []
        outputs.close()
        gc.collect()
        assert len(kept) >= 6
        assert all(features() is None for features in kept)
        assert len(list(Path("/proc/self/fd").iterdir())) == files
    finally:
        hook.remove()


@pytest.mark.parametrize("shape", [(1, 3, 1, 32, 32), (1, 3, 3, 15, 32), (1, 0, 3, 32, 32)])
def test_other_shapes_are_refused_at_once(smallest, shape):
    with pytest.raises(ValueError, match=r"^BasicVSR needs a clip of shape \(n, t, 3, h, w\) .*\.$"):
        upscale_frames(smallest, Clip(torch.zeros(shape)), MemoryPlan())


class Wrong(Clip):
    """Gives one frame too few, or frames of another size, from the third on."""

    def __init__(self, lrs: Tensor, wrong: str) -> None:
        super().__init__(lrs)
        self._wrong = wrong

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        for index, frame in enumerate(super().frames(start, stop), start):
            if index == 2 and self._wrong == "missing":
                continue
            yield frame[..., :-1] if index == 2 else frame


@pytest.mark.parametrize("wrong", ["missing", "narrower"])
def test_frames_of_another_shape_are_refused(smallest, wrong):
    source = Wrong(clip(1, 4, 16, 17), wrong)
    with pytest.raises(ValueError, match=r"^The source gave .* and each must be \(1, 3, 16, 17\)\.$"):
        list(upscale_frames(smallest, source, MemoryPlan(chunk=2)))


def test_a_disk_is_refused_before_the_network_runs(tmp_path, smallest):
    missing = tmp_path / "missing"
    source = Clip(clip(1, 4, 16, 16))
    with pytest.raises(FileNotFoundError, match="missing"):
        next(upscale_frames(smallest, source, MemoryPlan(place="disk", folder=missing)))
    assert source.requests == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"place": "tape"}, "place is 'tape', and 'device', 'host' and 'disk' are allowed."),
        ({"interval": 0}, "interval is 0, and a whole number of at least 1 is allowed."),
        ({"interval": True}, "interval is True, and a whole number of at least 1 is allowed."),
        ({"chunk": 1.5}, "chunk is 1.5, and a whole number of at least 1 is allowed."),
        ({"place": "disk"}, "place is 'disk' and there is no folder; give the folder to keep features in."),
        ({"folder": Path("/f")}, "folder is /f, and place is 'device'; only 'disk' has a folder."),
    ],
)
def test_impossible_plans_are_refused(fields, message):
    with pytest.raises(BadInput) as caught:
        MemoryPlan(**fields)
    assert str(caught.value) == message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpus_features_come_back_from_host_and_disk(tmp_path, dtype):
    network = golden_basicvsr("tiny").cuda()
    network.cast_features(dtype)
    lrs = clip(2, 7, 33, 40)
    for interval in (1, 3):
        expected = upscaled(network, lrs, MemoryPlan(interval=interval, chunk=2))
        assert expected.is_cuda  # the frames were not: they are taken to the network
        for place in ("host", "disk"):
            assert torch.equal(upscaled(network, lrs, plan_of(place, interval, 2, tmp_path)), expected)
