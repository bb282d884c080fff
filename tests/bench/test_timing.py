"""Timed calls and stage probes, exactly, on a fake clock and a device that works beside the host."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.backends import CpuDevice
from bench.measure.timing import EventProbe, Probe, SyncProbe, timed, timed_stages
from tests.bench.fakes import TICK_S, FakeClock, FakeDevice, NoQueue
from tests.networks import STAGES
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

WORK_S = 64 * TICK_S
PROBES = pytest.mark.parametrize("make", [SyncProbe, EventProbe])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def device(clock: FakeClock) -> FakeDevice:
    return FakeDevice(clock)


def two_frames(device: FakeDevice, clock: FakeClock) -> Callable[[Probe], None]:
    """Two intervals of each stage, 1 to 4 quarters of WORK_S each, and host time between that none claims."""

    def forward(probe: Probe) -> None:
        for _ in range(2):
            for quarters, stage in enumerate(STAGES, start=1):
                clock.advance(TICK_S)
                with probe(stage):
                    device.work(quarters * WORK_S / 4)

    return forward


def test_timed_synchronises_on_both_sides(clock, device):
    device.work(WORK_S)  # left over from before: not this call's
    left_at = clock() + WORK_S

    def action() -> str:
        device.work(WORK_S)
        clock.advance(2 * WORK_S)  # on the host, between the events
        return "done"

    result, span = timed(action, device=device, clock=clock)
    assert result == "done"
    assert span.start_s == left_at
    assert span.wall_s == span.device_s == TICK_S + 2 * WORK_S
    _, span = timed(action, device=NoQueue(clock), clock=clock)
    assert span.device_s is None


def test_host_time_without_synchronisation_is_the_launch_alone(clock, device):
    begin = clock()
    for _ in range(10):
        device.work(WORK_S)
    assert clock() - begin == 10 * TICK_S

    _, span = timed(lambda: [device.work(WORK_S) for _ in range(10)], device=device, clock=clock)
    assert span.wall_s == TICK_S + 10 * WORK_S


def test_sync_probe_gives_each_stage_its_own_time(clock, device):
    begin = clock()
    whole, stages = timed_stages(two_frames(device, clock), SyncProbe(device, clock))

    assert list(stages) == [*STAGES, "other"]
    for quarters, stage in enumerate(STAGES, start=1):
        assert stages[stage].wall_s == 2 * (TICK_S + quarters * WORK_S / 4)
    starts = [stages[stage].start_s for stage in STAGES]
    assert starts[0] == begin + TICK_S
    assert starts == sorted(starts)
    assert stages["other"].wall_s == 8 * TICK_S
    assert sum(stage.wall_s for stage in stages.values()) == whole.wall_s
    assert {stage.device_s for stage in stages.values()} == {None}


def test_event_probe_adds_up_and_does_not_empty_the_queue(clock, device):
    whole, stages = timed_stages(two_frames(device, clock), EventProbe(device, clock))
    assert device.synchronised == 2  # on both sides of the call, and nowhere in it
    # The first launch and the host's first step leave the device idle; what follows queues up behind it.
    assert {name: stage.device_s for name, stage in stages.items()} == {
        ALIGNMENT: 2 * WORK_S / 4 + TICK_S,
        PROPAGATION: 2 * 2 * WORK_S / 4,
        AGGREGATION: 2 * 3 * WORK_S / 4,
        UPSAMPLING: 2 * 4 * WORK_S / 4,
        "other": TICK_S,
    }
    assert sum(stage.device_s for stage in stages.values()) == whole.device_s
    assert all(stages[stage].wall_s == 2 * TICK_S for stage in STAGES)  # host time between the events


def test_event_probe_without_events_has_no_device_times(clock):
    device = NoQueue(clock)
    whole, stages = timed_stages(two_frames(device, clock), EventProbe(device, clock))
    assert {whole.device_s, *(stage.device_s for stage in stages.values())} == {None}
    assert stages["other"].wall_s == 8 * TICK_S


@PROBES
def test_intervals_never_overlap(clock, device, make):
    probe = make(device, clock)
    timed_stages(two_frames(device, clock), probe)
    spans = [(begin, end) for _, (begin, _), (end, _) in probe.intervals]
    assert len(spans) == 8
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@PROBES
def test_a_stage_inside_another_is_refused_and_an_exception_passes_through(clock, device, make):
    def nested(probe: Probe) -> None:
        with probe(ALIGNMENT), probe(PROPAGATION):
            pass

    def fails(probe: Probe) -> None:
        with probe(ALIGNMENT):
            raise ValueError("as it was")

    with pytest.raises(RuntimeError, match="stage propagation begins inside alignment"):
        timed_stages(nested, make(device, clock))
    with pytest.raises(ValueError, match="as it was"):
        timed_stages(fails, make(device, clock))


class RoundingDevice(FakeDevice):
    """Gives the time between events as CUDA does: milliseconds, as a float32."""

    def elapsed_s(self, start: float, end: float) -> float:
        return float(np.float32((end - start) * 1000)) / 1000


@given(
    stage_us=st.lists(st.tuples(st.sampled_from(STAGES), st.integers(1, 5_000_000)), min_size=1, max_size=40),
    start_s=st.floats(0, 1e6),
)
def test_other_is_never_negative_whatever_events_round_to(stage_us, start_s):
    """Stages back to back, so that nothing is left: the sums may then not exceed the whole by a rounding."""
    clock = FakeClock(start_s)
    device = RoundingDevice(clock, launch_s=0.0)

    def forward(probe: Probe) -> None:
        for stage, microseconds in stage_us:
            with probe(stage):
                device.work(microseconds / 1e6)

    whole, stages = timed_stages(forward, EventProbe(device, clock))
    assert all(stage.device_s >= 0 for stage in stages.values())
    assert sum(stage.device_s for stage in stages.values()) == pytest.approx(whole.device_s)


def test_freeing_the_output_is_no_part_of_a_probed_call():
    """A plain call keeps its output until it has been timed; so must the one that is compared with it."""
    now = [0.0]

    class Output:
        def __del__(self) -> None:
            now[0] += 1.0

    def clock() -> float:
        return now[0]

    _, plain = timed(Output, device=CpuDevice(), clock=clock)
    probed, stages = timed_stages(lambda _: Output(), SyncProbe(CpuDevice(), clock))
    assert (plain.wall_s, probed.wall_s, stages["other"].wall_s) == (0.0, 0.0, 0.0)
