"""Clips streamed through a network: right outputs, and no buffer touched while another stream works on it.

What is ordered before what is followed on a fake of torch.cuda, as a race detector does: two accesses of one
buffer, one of them a write, must be ordered by a stream, an event, or the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.measure.backends import CudaDevice
from bench.measure.overlapped import Overlapped, timed_stream
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeClock
from tests.vsr_model.fake_cuda import FakeCuda, FakeEvent, FakeStream, Times, learn

CLIP = torch.zeros(1, 2, 3, 4, 4)
OUTPUT = torch.zeros(1, 2, 3, 16, 16)


class RaceError(AssertionError):
    """Two accesses of a buffer that nothing orders."""


@dataclass
class Accesses:
    """Of one buffer: the last write and the reads since, each with its stream and its step there."""

    write: tuple[str, int] | None = None
    reads: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Step:
    """What a stream did, and what was done before it."""

    stream: str
    before: Times


def enlarged(lrs: Tensor) -> Tensor:
    return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4) + 1


def clips(count: int) -> list[Tensor]:
    return [torch.full_like(CLIP, float(k)) for k in range(count)]


class Pipeline:
    """A pipeline on the fake, of which every copy and every call of the network is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda = FakeCuda(monkeypatch)
        self.steps: list[Step] = []
        self._accesses: dict[int, Accesses] = {}
        self._kept: list[Tensor] = []  # an address that comes again would be another buffer's
        copy = Tensor.copy_

        def watched(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
            self._does("copy", self.cuda.stream, reads=[source], writes=[target])
            return copy(target, source, non_blocking)

        device: Any = CpuAsCuda()
        self.overlapped = Overlapped(device, self._forward, clip=CLIP, output=OUTPUT)
        monkeypatch.setattr(Tensor, "copy_", watched)

    def outputs(self, some: Sequence[Tensor]) -> list[Tensor]:
        found = []
        host = FakeStream("host", [])
        host.known = self.cuda.host  # what is queued later comes after its steps, too
        for output, _ in self.overlapped.stream(some):
            self._does("looked at", host, reads=[output], writes=[])
            found.append(output.clone())
        return found

    def _forward(self, lrs: Tensor) -> Tensor:
        output = enlarged(lrs)
        self._kept.append(output)
        self._does("network", self.cuda.stream, reads=[lrs], writes=[output])
        return output

    def _does(self, what: str, stream: FakeStream, *, reads: list[Tensor], writes: list[Tensor]) -> None:
        """A step of a stream; raises RaceError."""
        learn(stream.known, self.cuda.host)  # it is queued after what the host has seen
        own = stream.known[stream.name] = stream.known.get(stream.name, 0) + 1
        self.steps.append(Step(stream.name, dict(stream.known)))
        for buffer in (*reads, *writes):
            accesses = self._accesses.setdefault(buffer.data_ptr(), Accesses())
            earlier = [] if accesses.write is None else [accesses.write]
            if any(buffer is written for written in writes):
                earlier += accesses.reads
                accesses.write, accesses.reads = (stream.name, own), []
            else:
                accesses.reads.append((stream.name, own))
            for name, step in earlier:
                if stream.known.get(name, 0) < step:
                    raise RaceError(f"{what} beside step {step} of {name}")


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_clips_output_is_right_and_no_buffer_is_touched_too_early(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    pipeline = Pipeline(monkeypatch)
    for _ in range(2):  # buffers of one stream are the next one's
        found = pipeline.outputs(clips(count))
        assert len(found) == count
        for clip, output in zip(clips(count), found, strict=True):
            assert torch.equal(output, enlarged(clip))
    # The allocator is told of each output's copy.
    assert pipeline.cuda.log == [f"{tuple(OUTPUT.shape)} is used on stream 2"] * 2 * count


@pytest.mark.parametrize("wait", ["wait_event", "synchronize"])
def test_the_fake_finds_a_race(monkeypatch: pytest.MonkeyPatch, wait: str) -> None:
    pipeline = Pipeline(monkeypatch)
    monkeypatch.setattr(FakeStream if wait == "wait_event" else FakeEvent, wait, lambda *_: None)
    with pytest.raises(RaceError):
        pipeline.outputs(clips(3))


def test_the_three_run_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has the way in of clip k + 1, the network on clip k and the way out of clip k - 1 wait for each
    other."""
    pipeline = Pipeline(monkeypatch)
    pipeline.outputs(clips(6))
    way_in, network, way_out = (
        [step for step in pipeline.steps if step.stream == stream]
        for stream in ("stream 1", "main", "stream 2")
    )

    def beside(one: Step, other: Step) -> bool:
        return all(
            early.before[early.stream] > late.before.get(early.stream, 0)
            for early, late in ((one, other), (other, one))
        )

    for k in range(1, 5):
        assert beside(way_in[k + 1], network[k])
        assert beside(network[k], way_out[k - 1])
        assert beside(way_in[k + 1], way_out[k - 1])
        assert not beside(way_in[k], network[k])
        assert not beside(network[k], way_out[k])


def test_the_time_per_clip_is_of_the_steady_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output arrives after a given time, and the first one after a longer one."""
    FakeCuda(monkeypatch)
    clock = FakeClock(0.0)
    ticks = iter([100, 5, 7, 6])
    monkeypatch.setattr(FakeEvent, "synchronize", lambda _: clock.advance(next(ticks) * TICK_S))
    monkeypatch.setattr(FakeEvent, "elapsed_time", lambda *_: 3000.0)
    device: Any = CpuAsCuda()
    pipeline = Overlapped(device, enlarged, clip=CLIP, output=OUTPUT)
    output, span = timed_stream(pipeline, clips(4), clock=clock)
    assert (span.start_s, span.wall_s, span.device_s) == (100 * TICK_S, 6 * TICK_S, 1.0)
    assert torch.equal(output, enlarged(clips(4)[-1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_every_clips_output_is_right() -> None:
    device = CudaDevice("cuda")
    device.create_context()
    weight = torch.rand(3, 3, 3, 3, device=device.torch_device)
    shape = (1, 4, 3, 180, 320)

    def forward(lrs: Tensor) -> Tensor:
        features = lrs.flatten(0, 1)
        for _ in range(20):  # long enough for copies to come in between
            features = torch.nn.functional.conv2d(features, weight, padding=1) / 30
        return features.view(lrs.shape).repeat_interleave(4, 3).repeat_interleave(4, 4)

    some = [device.page_locked(torch.rand(shape)) for _ in range(7)]
    with torch.inference_mode():
        expected = [forward(clip.to(device.torch_device)).cpu() for clip in some]
        pipeline = Overlapped(device, forward, clip=some[0], output=expected[0])
        for _ in range(3):
            for (output, _), right in zip(pipeline.stream(some), expected, strict=True):
                assert torch.equal(output, right)
        _, span = timed_stream(pipeline, some)
    assert span.device_s is not None
    assert min(span.wall_s, span.device_s) > 0
