"""Clips streamed through a network: right outputs, and no buffer touched while another queue works on it.

The device is a fake that follows what is ordered before what (vector clocks), as a race detector does: two
accesses of one buffer, one of them a write, must be ordered by a queue, a mark, or the host.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.measure.backends import CpuDevice, CudaDevice
from bench.measure.overlapped import Overlapped, timed_stream
from tests.bench.fakes import TICK_S, FakeClock

CLIP = torch.zeros(1, 2, 3, 4, 4)
OUTPUT = torch.zeros(1, 2, 3, 16, 16)

Times = dict[str, int]
"""How many of each queue's steps lie before something."""

HOST = "host"


class RaceError(AssertionError):
    """Two accesses of a buffer that nothing orders."""


@dataclass
class Accesses:
    """Of one buffer: the last write and the reads since, each with its queue and its step there."""

    write: tuple[str, int] | None = None
    reads: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Step:
    """What a queue did, and what was done before it."""

    what: str
    queue: str
    before: Times


class Ordered:
    """Does everything at once, and knows what a real device might do in another order."""

    torch_device = torch.device("cpu")

    def __init__(self, *, forgets_to_wait: bool = False) -> None:
        self.current = "network"
        self.known: dict[str, Times] = {HOST: {}}
        self.accesses: dict[int, Accesses] = {}
        self.steps: list[Step] = []
        self._queues = iter(("in", "out"))
        self._forgets_to_wait = forgets_to_wait

    def page_locked(self, tensor: Tensor) -> Tensor:
        return tensor.clone()

    def new_queue(self) -> str:
        return next(self._queues)

    @contextmanager
    def on_queue(self, queue: str) -> Iterator[None]:
        before, self.current = self.current, queue
        yield
        self.current = before

    def copy(self, target: Tensor, source: Tensor) -> None:
        self.does("copy", reads=[source], writes=[target])
        target.copy_(source)

    def record_event(self) -> Times:
        return dict(self._reached(self.current))

    def wait_for(self, mark: Times) -> None:
        if not self._forgets_to_wait:
            _learn(self._reached(self.current), mark)

    def reach(self, mark: Times) -> None:
        _learn(self.known[HOST], mark)

    def elapsed_s(self, start: Any, end: Any) -> None:
        return None

    def does(
        self, what: str, *, reads: Sequence[Tensor], writes: Sequence[Tensor], queue: str | None = None
    ) -> None:
        """A step of a queue, the current one unless another is named; raises RaceError."""
        name = queue or self.current
        known = self._reached(name)
        _learn(known, self.known[HOST])  # it is queued after what the host has seen
        known[name] = known.get(name, 0) + 1
        self.steps.append(Step(what, name, dict(known)))
        for buffer in reads:
            of_buffer = self.accesses.setdefault(buffer.data_ptr(), Accesses())
            self._must_know(known, of_buffer.write, what)
            of_buffer.reads.append((name, known[name]))
        for buffer in writes:
            of_buffer = self.accesses.setdefault(buffer.data_ptr(), Accesses())
            for access in (of_buffer.write, *of_buffer.reads):
                self._must_know(known, access, what)
            of_buffer.write, of_buffer.reads = (name, known[name]), []

    def _must_know(self, known: Times, access: tuple[str, int] | None, what: str) -> None:
        if access is not None and known.get(access[0], 0) < access[1]:
            raise RaceError(f"{what} beside step {access[1]} of {access[0]}")

    def _reached(self, queue: str) -> Times:
        return self.known.setdefault(queue, {})


def _learn(known: Times, more: Times) -> None:
    for queue, step in more.items():
        known[queue] = max(known.get(queue, 0), step)


def enlarged(lrs: Tensor) -> Tensor:
    return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4) + 1


def clips(count: int) -> list[Tensor]:
    return [torch.full_like(CLIP, float(k)) for k in range(count)]


class Pipeline:
    """A pipeline on the fake, whose network reads its input and writes its output there."""

    def __init__(self, device: Ordered) -> None:
        self.device = device
        self._outputs: list[Tensor] = []  # kept: an address that comes again would be another buffer's
        self.overlapped = Overlapped(device, self._forward, clip=CLIP, output=OUTPUT)

    def _forward(self, lrs: Tensor) -> Tensor:
        output = enlarged(lrs)
        self._outputs.append(output)
        self.device.does("network", reads=[lrs], writes=[output])
        return output

    def outputs(self, some: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for arrived in self.overlapped.stream(some):
            self.device.does("looked at", reads=[arrived.output], writes=[], queue=HOST)
            found.append(arrived.output.clone())
        return found


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_clips_output_is_right_and_no_buffer_is_touched_too_early(count: int) -> None:
    pipeline = Pipeline(Ordered())
    for _ in range(2):  # buffers of one stream are the next one's
        found = pipeline.outputs(clips(count))
        assert len(found) == count
        for clip, output in zip(clips(count), found, strict=True):
            assert torch.equal(output, enlarged(clip))


def test_the_fake_finds_a_race() -> None:
    with pytest.raises(RaceError):
        Pipeline(Ordered(forgets_to_wait=True)).outputs(clips(3))


def test_the_three_run_beside_each_other() -> None:
    """Nothing has the way in of clip k + 1, the network on clip k and the way out of clip k - 1 wait for each
    other."""
    device = Ordered()
    Pipeline(device).outputs(clips(6))
    way_in, network, way_out = (
        [step for step in device.steps if step.queue == queue] for queue in ("in", "network", "out")
    )

    def beside(one: Step, other: Step) -> bool:
        return all(
            early.before[early.queue] > late.before.get(early.queue, 0)
            for early, late in ((one, other), (other, one))
        )

    for k in range(1, 5):
        assert beside(way_in[k + 1], network[k])
        assert beside(network[k], way_out[k - 1])
        assert beside(way_in[k + 1], way_out[k - 1])
        assert not beside(way_in[k], network[k])
        assert not beside(network[k], way_out[k])


class OnAClock(CpuDevice):
    """A device on which an output arrives after a given time, and the first one after a longer one."""

    def __init__(self, clock: FakeClock, ticks: Sequence[int]) -> None:
        self._clock = clock
        self._ticks = iter(ticks)

    def reach(self, mark: Any) -> None:
        self._clock.advance(next(self._ticks) * TICK_S)


def test_the_time_per_clip_is_of_the_steady_state() -> None:
    clock = FakeClock(0.0)
    device = OnAClock(clock, [100, 5, 7, 6])
    pipeline = Overlapped(device, enlarged, clip=CLIP, output=OUTPUT)
    output, span = timed_stream(pipeline, clips(4), device, clock=clock)
    assert (span.start_s, span.wall_s, span.device_s) == (100 * TICK_S, 6 * TICK_S, None)
    assert torch.equal(output, enlarged(clips(4)[-1]))


def test_a_cpu_gives_the_same_without_overlap() -> None:
    found = [
        arrived.output.clone()
        for arrived in Overlapped(CpuDevice(), enlarged, clip=CLIP, output=OUTPUT).stream(clips(3))
    ]
    assert all(torch.equal(one, enlarged(clip)) for one, clip in zip(found, clips(3), strict=True))


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
            for arrived, right in zip(pipeline.stream(some), expected, strict=True):
                assert torch.equal(arrived.output, right)
        _, span = timed_stream(pipeline, some, device)
    assert span.device_s is not None
    assert min(span.wall_s, span.device_s) > 0
