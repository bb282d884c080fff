"""Timed calls and stage probes. The clock and the device are arguments, so that tests give exact answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import fsum
from time import perf_counter
from typing import Any, Final, TypeVar

from bench.grid.spans import OTHER
from bench.measure.backends import Device

T = TypeVar("T")
Clock = Callable[[], float]

MONOTONIC: Final[Clock] = perf_counter
"""Seconds, monotonic, the finest clock that Python has."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One timed span: host time between two synchronisations, device time between two events within them."""

    start_s: float
    wall_s: float
    device_s: float | None = None


def timed(action: Callable[[], T], *, device: Device, clock: Clock = MONOTONIC) -> tuple[T, Timed]:
    """Return the action's result and its time, with the device synchronised on both sides."""
    device.synchronize()
    start = clock()
    first = device.record_event()
    result = action()
    last = device.record_event()
    device.synchronize()
    stop = clock()
    return result, Timed(start_s=start, wall_s=stop - start, device_s=device.elapsed_s(first, last))


Mark = tuple[float, Any]
"""A boundary of a stage: the clock, and an event where the probe records them."""


class Probe:
    """Records stage intervals in their order, never one inside another."""

    def __init__(self, device: Device, clock: Clock = MONOTONIC) -> None:
        self.device = device
        self.clock = clock
        self.intervals: list[tuple[str, Mark, Mark]] = []
        self._open: str | None = None

    @contextmanager
    def __call__(self, stage: str, /) -> Iterator[None]:
        if self._open is not None:
            raise RuntimeError(f"stage {stage} begins inside {self._open}: their times would overlap")
        self._open = stage
        begin = self.mark()
        yield
        self.intervals.append((stage, begin, self.mark()))
        self._open = None

    def mark(self) -> Mark:
        """Return the boundary that is here."""
        raise NotImplementedError


class SyncProbe(Probe):
    """Synchronises at every boundary: host time is then the stage's own, at the price of an empty queue."""

    def mark(self) -> Mark:
        self.device.synchronize()
        return self.clock(), None


class EventProbe(Probe):
    """Records an event at every boundary and waits once, at the end: the queue never runs empty."""

    def mark(self) -> Mark:
        return self.clock(), self.device.record_event()


def timed_stages(forward: Callable[[Probe], object], probe: Probe) -> tuple[Timed, dict[str, Timed]]:
    """Return the time of a call with a probe, and of each stage in it, with what no stage claims as `other`.

    A stage starts with its first interval. Stage times from events are differences of times since the first
    stage's event. Each such time is rounded once, and rounding keeps their order, so that stages cannot add
    up to more than the call; neither can their sum, which is rounded once too.
    """
    device = probe.device
    # The output is kept until here, as that of a call without a probe: freeing it is no part of the call.
    _, whole = timed(lambda: forward(probe), device=device, clock=probe.clock)

    def since_first(event: Any) -> float:
        seconds = device.elapsed_s(probe.intervals[0][1][1], event)
        assert seconds is not None  # a device that records events tells the time between them
        return seconds

    start: dict[str, float] = {}
    wall: dict[str, list[float]] = {}  # ends, and starts negated
    on_device: dict[str, list[float]] = {}
    for stage, (start_s, first), (end_s, last) in probe.intervals:
        start.setdefault(stage, start_s)
        wall.setdefault(stage, []).extend((end_s, -start_s))
        if first is not None:
            on_device.setdefault(stage, []).extend((since_first(last), -since_first(first)))
    stages = {
        stage: Timed(
            start_s=start[stage],
            wall_s=fsum(wall[stage]),
            device_s=fsum(on_device[stage]) if stage in on_device else None,
        )
        for stage in start
    }
    # Summed over all terms: sums of rounded sums could exceed the whole by an ulp.
    other_device_s = None
    if on_device and whole.device_s is not None:
        other_device_s = whole.device_s - fsum(chain.from_iterable(on_device.values()))
    stages[OTHER] = Timed(
        start_s=whole.start_s,
        wall_s=whole.wall_s - fsum(chain.from_iterable(wall.values())),
        device_s=other_device_s,
    )
    return whole, stages
