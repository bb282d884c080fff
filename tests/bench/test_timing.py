from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.backends import CpuDevice
from bench.measure.timing import (
    EventProbe,
    Probe,
    SyncProbe,
    timed,
    timed_stages,
)
from tests.bench.fakes import TICK_S, FakeClock, FakeDevice, NoQueue
from tests.networks import STAGES
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, no_probe

WORK_S = 64 * TICK_S


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

    result, span = timed(lambda: device.work(WORK_S) or "done", device=device, clock=clock)

    assert result == "done"
    assert span.start_s == left_at
    assert span.wall_s == TICK_S + WORK_S
    assert span.device_s == TICK_S + WORK_S  # the device waits for the launch


def test_host_time_without_synchronisation_is_the_launch_alone(clock, device):
    """What reads well and is wrong: clock readings around a call that only queues its work."""
    begin = clock()
    for _ in range(10):
        device.work(WORK_S)
    unsynchronised = clock() - begin

    _, span = timed(lambda: [device.work(WORK_S) for _ in range(10)], device=device, clock=clock)

    assert unsynchronised == 10 * TICK_S
    assert span.wall_s == TICK_S + 10 * WORK_S
    assert span.wall_s > 60 * unsynchronised


def test_device_time_spans_what_the_host_does_between_the_marks(clock, device):
    def action() -> None:
        device.work(WORK_S)
        clock.advance(2 * WORK_S)

    _, span = timed(action, device=device, clock=clock)
    assert span.wall_s == TICK_S + 2 * WORK_S
    assert span.device_s == span.wall_s
    _, span = timed(action, device=NoQueue(clock), clock=clock)
    assert span.device_s is None


def test_sync_probe_gives_each_stage_its_own_time(clock, device):
    begin = clock()
    whole, stages = timed_stages(
        two_frames(device, clock), SyncProbe(device, clock), device=device, clock=clock
    )

    for quarters, stage in enumerate(STAGES, start=1):
        assert stages.wall_s[stage] == 2 * (TICK_S + quarters * WORK_S / 4)
    assert stages.start_s[STAGES[0]] == begin + TICK_S
    assert list(stages.start_s) == list(STAGES)
    assert sorted(stages.start_s.values()) == list(stages.start_s.values())
    assert stages.other_wall_s == 8 * TICK_S
    assert sum(stages.wall_s.values()) + stages.other_wall_s == whole.wall_s
    assert stages.device_s == {}
    assert stages.other_device_s is None


def test_event_probe_adds_up_and_does_not_empty_the_queue(clock, device):
    plain, _ = timed_stages(lambda _: two_frames(device, clock)(no_probe), SyncProbe(device, clock),
                            device=device, clock=clock)  # fmt: skip
    synchronised = device.synchronised
    whole, stages = timed_stages(
        two_frames(device, clock), EventProbe(device, clock), device=device, clock=clock
    )

    assert device.synchronised == synchronised + 2  # on both sides of the call, and nowhere in it
    assert whole.wall_s == plain.wall_s
    # The first launch and the host's first step leave the device idle; what follows queues up behind it.
    assert stages.device_s[ALIGNMENT] == 2 * WORK_S / 4 + TICK_S
    assert stages.device_s[PROPAGATION] == 2 * 2 * WORK_S / 4
    assert stages.device_s[AGGREGATION] == 2 * 3 * WORK_S / 4
    assert stages.device_s[UPSAMPLING] == 2 * 4 * WORK_S / 4
    assert stages.other_device_s == TICK_S
    assert sum(stages.device_s.values()) + stages.other_device_s == whole.device_s
    assert all(stages.wall_s[stage] == 2 * TICK_S for stage in STAGES)  # host time between the marks


def test_event_probe_without_events_has_no_device_times(clock):
    device = NoQueue(clock)
    whole, stages = timed_stages(
        two_frames(device, clock), EventProbe(device, clock), device=device, clock=clock
    )
    assert whole.device_s is None
    assert stages.device_s == {}
    assert stages.other_device_s is None
    assert stages.other_wall_s == 8 * TICK_S


@pytest.mark.parametrize("make", [SyncProbe, EventProbe])
def test_intervals_never_overlap(clock, device, make):
    probe = make(device, clock)
    timed_stages(two_frames(device, clock), probe, device=device, clock=clock)
    spans = [(interval.start_s, interval.end_s) for interval in probe.intervals]
    assert len(spans) == 8
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("make", [SyncProbe, EventProbe])
def test_a_stage_inside_another_is_refused_and_an_exception_passes_through(clock, device, make):
    def nested(probe: Probe) -> None:
        with probe(ALIGNMENT), probe(PROPAGATION):
            pass

    def fails(probe: Probe) -> None:
        with probe(ALIGNMENT):
            raise ValueError("as it was")

    with pytest.raises(RuntimeError, match="stage propagation begins inside alignment"):
        timed_stages(nested, make(device, clock), device=device, clock=clock)
    with pytest.raises(ValueError, match="as it was"):
        timed_stages(fails, make(device, clock), device=device, clock=clock)


def test_a_stage_that_did_not_run_has_no_row(clock, device):
    def forward(probe: Probe) -> None:
        with probe(UPSAMPLING):
            device.work(WORK_S)

    whole, stages = timed_stages(forward, SyncProbe(device, clock), device=device, clock=clock)
    assert stages.wall_s == {UPSAMPLING: whole.wall_s}
    assert stages.other_wall_s == 0


class RoundingDevice(FakeDevice):
    """CUDA's events: milliseconds between two of them, as a float32."""

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

    whole, stages = timed_stages(forward, EventProbe(device, clock), device=device, clock=clock)
    assert stages.other_device_s is not None
    assert stages.other_device_s >= 0
    assert sum(stages.device_s.values()) + stages.other_device_s == pytest.approx(whole.device_s)
    assert all(seconds >= 0 for seconds in stages.device_s.values())


def test_freeing_the_output_is_no_part_of_a_probed_call():
    """A plain call keeps its output until it has been timed; so must the one that is compared with it."""
    now = [0.0]

    class Output:
        def __del__(self) -> None:
            now[0] += 1.0

    device = CpuDevice()

    def clock() -> float:
        return now[0]

    _, plain = timed(Output, device=device, clock=clock)
    probe = SyncProbe(device, clock)
    probed, stages = timed_stages(lambda _: Output(), probe, device=device, clock=clock)
    assert (plain.wall_s, probed.wall_s, stages.other_wall_s) == (0.0, 0.0, 0.0)
