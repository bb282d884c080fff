"""Rounds whose transfers are pageable, pinned or overlapped, or whose call is a graph, on a CPU as a GPU.

Overlapped transfers are followed on a fake of torch.cuda, as a race detector does: two accesses of one
buffer, one of them a write, must be ordered by a stream, an event, or the host.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cautions.machine_state import machine_state
from bench.grid.estimate import STREAMED_CLIPS
from bench.grid.spans import FORWARD, TOTAL
from bench.measure import backends, workload
from bench.measure.backends import CudaDevice
from bench.measure.overlapped import Overlapped, timed_stream
from bench.records import CellRecord, Pass, Phase, Status, TelemetryReading
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeClock, experiment
from tests.bench.rounds import Ran, measure, steady
from tests.vsr_model.fake_cuda import FakeCuda, FakeEvent, FakeStream, Times, learn

CLIP, OUTPUT = (1, 2, 3, 16, 16), (1, 2, 3, 64, 64)

# Rounds.


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CpuAsCuda:
    made = CpuAsCuda()
    FakeCuda(monkeypatch)
    monkeypatch.setattr(backends, "device_of", lambda _: made)
    return made


@pytest.fixture
def round_of(tmp_path: Path) -> Callable[..., CellRecord]:
    def run_one(backend: dict[str, Any], **how: Any) -> CellRecord:
        one = experiment(
            grid={"frames": [2], "size": [[16, 16]]},
            backends=[{"name": "fast", "from": "cudnn", **backend}],
            measure=measure(**how),
        )
        record = Ran(one, tmp_path / ".references" / "clip.npy").record
        assert record.status is Status.OK, record.reason
        assert record.output_psnr_db is not None
        assert record.output_psnr_db > 100
        return record

    return run_one


def stages_of(record: CellRecord, phase: Phase) -> set[str]:
    return {item.stage for item in record.samples if (item.pass_, item.phase) == (Pass.END_TO_END, phase)}


@pytest.mark.parametrize(("transfer", "locked"), [("pageable", []), ("pinned", [CLIP, OUTPUT])])
def test_transfers_one_after_another(
    device: CpuAsCuda, round_of: Any, transfer: str, locked: list[tuple[int, ...]]
) -> None:
    record = round_of({"transfer": transfer})
    assert device.locked == locked
    assert stages_of(record, Phase.STEADY) == {"host_to_device", "forward", "device_to_host", "total"}


def test_overlapped_transfers_have_a_total_and_no_spans_of_their_own(
    device: CpuAsCuda, round_of: Any
) -> None:
    record = round_of({"transfer": "overlapped"})
    assert device.locked == [CLIP, OUTPUT, OUTPUT]
    assert record.settings["transfer"] == "overlapped"
    # The total is of the steady state: the first call, and those of the warm-up, have none.
    assert stages_of(record, Phase.COLD) == stages_of(record, Phase.WARMUP) == {"forward"}
    assert stages_of(record, Phase.STEADY) == {"forward", "total"}
    assert len(steady(record, Pass.END_TO_END, FORWARD)) == len(steady(record, Pass.END_TO_END, TOTAL)) == 2
    assert all(value > 0 for value in steady(record, Pass.END_TO_END, TOTAL, "device_s"))


def test_the_output_that_is_checked_is_one_that_was_streamed(
    device: CpuAsCuda, round_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[tuple[int, ...]] = []
    plain_copy = Tensor.copy_

    def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if non_blocking:
            copied.append(tuple(source.shape))
        return plain_copy(target, source + (non_blocking and source.shape == OUTPUT))

    monkeypatch.setattr(Tensor, "copy_", copy)
    with pytest.raises(AssertionError, match="fast needs 80 dB"):
        round_of({"transfer": "overlapped"})
    assert copied.count(CLIP) == copied.count(OUTPUT) == 2 * STREAMED_CLIPS


def test_a_streamed_call_begins_beside_one_output_at_most(
    device: CpuAsCuda, round_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    forward_of = workload.forward_of

    def followed(*arguments: Any, **named: Any) -> Callable[..., Tensor]:
        forward = forward_of(*arguments, **named)

        def call(lrs: Tensor, probe: Any) -> Tensor:
            alive.append(sum(output() is not None for output in outputs))
            output = forward(lrs, probe)
            outputs.append(weakref.ref(output))
            return output

        return call

    monkeypatch.setattr(workload, "forward_of", followed)
    round_of({"transfer": "overlapped"}, stages="off")
    assert len(alive) > 2 * STREAMED_CLIPS
    assert max(alive) == 1


def test_no_energy_per_frame_where_no_sample_counts_the_frames(device: CpuAsCuda, round_of: Any) -> None:
    def energy(record: CellRecord) -> float | None:
        readings = tuple(TelemetryReading(elapsed_s=at, energy_j=at) for at in (0.0, 1000.0))
        samples = tuple(
            item.model_copy(update={"wall_s": 2.0}) if item.stage == TOTAL else item
            for item in record.samples
        )
        found = machine_state(record.model_copy(update={"telemetry": readings, "samples": samples}))
        return found.energy_per_frame_j

    assert energy(round_of({"transfer": "pinned"})) is not None
    assert energy(round_of({"transfer": "overlapped"})) is None


def test_a_round_of_a_network_that_is_replayed(
    device: CpuAsCuda, round_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda(monkeypatch)
    record = round_of({"cuda_graph": True}, warmup=2)
    assert record.settings["cuda_graph"] == "True"
    assert (cuda.log.count("capture"), cuda.log.count("replay")) == (1, 1 + 2 + 2)


# Streams: right outputs, and no buffer touched while another stream works on it.


class RaceError(AssertionError):
    """Two accesses of a buffer that nothing orders."""


@dataclass
class Accesses:
    """The last write of a buffer and the reads since, each with its stream and its step there."""

    write: tuple[str, int] | None = None
    reads: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Step:
    """A step of a stream, and what was done before it."""

    stream: str
    before: Times


def enlarged(lrs: Tensor) -> Tensor:
    return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4) + 1


def clips(count: int) -> list[Tensor]:
    return [torch.full(CLIP, float(k)) for k in range(count)]


class Pipeline:
    """A pipeline on the fake, which follows every copy and every call of the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda = FakeCuda(monkeypatch)
        self.steps: list[Step] = []
        self._accesses: dict[int, Accesses] = {}
        self._kept: list[Tensor] = []  # an address that comes again would be another buffer's
        copy = Tensor.copy_

        def followed(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
            self._step("copy", self.cuda.stream, reads=[source], writes=[target])
            return copy(target, source, non_blocking)

        self.overlapped = Overlapped(
            CpuAsCuda(), self._forward, clip=torch.zeros(CLIP), output=torch.zeros(OUTPUT)
        )
        monkeypatch.setattr(Tensor, "copy_", followed)

    def outputs(self, some: Sequence[Tensor]) -> list[Tensor]:
        found = []
        host = FakeStream("host", [])
        host.known = self.cuda.host  # what is queued later comes after its steps, too
        for output, _ in self.overlapped.stream(some):
            self._step("a look", host, reads=[output], writes=[])
            found.append(output.clone())
        return found

    def _forward(self, lrs: Tensor) -> Tensor:
        output = enlarged(lrs)
        self._kept.append(output)
        self._step("network", self.cuda.stream, reads=[lrs], writes=[output])
        return output

    def _step(self, what: str, stream: FakeStream, *, reads: list[Tensor], writes: list[Tensor]) -> None:
        """Follow a step of a stream; raises RaceError."""
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
    assert pipeline.cuda.log == [f"{OUTPUT} is used on stream 2"] * 2 * count


@pytest.mark.parametrize("wait", ["wait_event", "synchronize"])
def test_the_fake_finds_a_race(monkeypatch: pytest.MonkeyPatch, wait: str) -> None:
    pipeline = Pipeline(monkeypatch)
    monkeypatch.setattr(FakeStream if wait == "wait_event" else FakeEvent, wait, lambda *_: None)
    with pytest.raises(RaceError):
        pipeline.outputs(clips(3))


def test_transfers_and_computation_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(monkeypatch)
    pipeline.outputs(clips(6))
    copies_in, network, copies_out = (
        [step for step in pipeline.steps if step.stream == stream]
        for stream in ("stream 1", "main", "stream 2")
    )

    def beside(one: Step, other: Step) -> bool:
        return all(
            early.before[early.stream] > late.before.get(early.stream, 0)
            for early, late in ((one, other), (other, one))
        )

    for k in range(1, 5):
        assert beside(copies_in[k + 1], network[k])
        assert beside(network[k], copies_out[k - 1])
        assert beside(copies_in[k + 1], copies_out[k - 1])
        assert not beside(copies_in[k], network[k])
        assert not beside(network[k], copies_out[k])


def test_the_time_per_clip_is_of_the_steady_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output arrives after a given time, and the first one after a longer one."""
    FakeCuda(monkeypatch)
    clock = FakeClock(0.0)
    ticks = iter([100, 5, 7, 6])
    monkeypatch.setattr(FakeEvent, "synchronize", lambda _: clock.advance(next(ticks) * TICK_S))
    monkeypatch.setattr(FakeEvent, "elapsed_time", lambda *_: 3000.0)
    pipeline = Overlapped(CpuAsCuda(), enlarged, clip=torch.zeros(CLIP), output=torch.zeros(OUTPUT))
    output, span = timed_stream(pipeline, clips(4), clock=clock)
    assert (span.start_s, span.wall_s, span.device_s) == (100 * TICK_S, 6 * TICK_S, 1.0)
    assert torch.equal(output, enlarged(clips(4)[-1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_every_clips_output_is_right() -> None:
    device = CudaDevice("cuda")
    device.create_context()
    weight = torch.rand(3, 3, 3, 3, device=device.torch_device)

    def forward(lrs: Tensor) -> Tensor:
        features = lrs.flatten(0, 1)
        for _ in range(20):  # long enough for copies to come in between
            features = torch.nn.functional.conv2d(features, weight, padding=1) / 30
        return features.view(lrs.shape).repeat_interleave(4, 3).repeat_interleave(4, 4)

    some = [device.page_locked(torch.rand(1, 4, 3, 180, 320)) for _ in range(7)]
    with torch.inference_mode():
        expected = [forward(clip.to(device.torch_device)).cpu() for clip in some]
        pipeline = Overlapped(device, forward, clip=some[0], output=expected[0])
        for _ in range(3):
            for (output, _), right in zip(pipeline.stream(some), expected, strict=True):
                assert torch.equal(output, right)
        _, span = timed_stream(pipeline, some)
    assert span.device_s is not None
    assert min(span.wall_s, span.device_s) > 0
