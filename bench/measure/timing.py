"""Timed calls and stage probes. The clock and the device are arguments, so that tests give exact answers."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from math import fsum
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]

MONOTONIC: Final[Clock] = perf_counter
"""Seconds, monotonic, the finest clock that Python has."""


class Queue(Protocol):
    """The part of a device that timing needs (bench.measure.backends.Device)."""

    def synchronize(self) -> None: ...
    def record_event(self) -> Any: ...
    def elapsed_s(self, start: Any, end: Any) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One timed span: host time between two synchronisations, device time between two events within them."""

    start_s: float
    wall_s: float
    device_s: float | None = None


def timed(action: Callable[[], T], *, device: Queue, clock: Clock = MONOTONIC) -> tuple[T, Timed]:
    """Run the action with the device synchronised on both sides; its result and its time in seconds."""
    result, span, _ = _marked(action, device, clock)
    return result, span


def _marked(action: Callable[[], T], device: Queue, clock: Clock) -> tuple[T, Timed, Any]:
    """As `timed`; the mark at which its device time began, too."""
    device.synchronize()
    start = clock()
    first = device.record_event()
    result = action()
    last = device.record_event()
    device.synchronize()
    stop = clock()
    span = Timed(start_s=start, wall_s=stop - start, device_s=device.elapsed_s(first, last))
    return result, span, first


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """One probed call: seconds per stage, each stage's first start, and what no stage claims."""

    start_s: dict[str, float]
    wall_s: dict[str, float]
    device_s: dict[str, float]  # empty without events
    other_wall_s: float
    other_device_s: float | None


@dataclass(frozen=True)
class _Interval:
    """A finished interval of a stage: clock readings, and events where the probe records them."""

    stage: str
    start_s: float
    end_s: float
    first: Any = None
    last: Any = None


class _Recorder:
    """What the probes share: intervals in their order, never one inside another."""

    def __init__(self, device: Queue, clock: Clock) -> None:
        self._device = device
        self._clock = clock
        self._open: str | None = None
        self.intervals: list[_Interval] = []

    def _enter(self, stage: str) -> None:
        if self._open is not None:
            raise RuntimeError(f"stage {stage} begins inside {self._open}: their times would overlap")
        self._open = stage

    def _leave(self, interval: _Interval) -> None:
        self._open = None
        self.intervals.append(interval)

    def __call__(self, stage: str, /) -> AbstractContextManager[None]:
        return _Span(self, stage)

    def begin(self, stage: str) -> Any:
        raise NotImplementedError

    def end(self, stage: str, begun: Any) -> None:
        raise NotImplementedError


class SyncProbe(_Recorder):
    """Synchronises at every boundary: host time is then the stage's own, at the price of an empty queue."""

    def begin(self, stage: str) -> float:
        self._enter(stage)
        self._device.synchronize()
        return self._clock()

    def end(self, stage: str, begun: float) -> None:
        self._device.synchronize()
        self._leave(_Interval(stage, begun, self._clock()))


class EventProbe(_Recorder):
    """Marks the device's queue at every boundary and waits once, at the end: the queue never runs empty."""

    def begin(self, stage: str) -> tuple[float, Any]:
        self._enter(stage)
        return self._clock(), self._device.record_event()

    def end(self, stage: str, begun: tuple[float, Any]) -> None:
        start_s, first = begun
        last = self._device.record_event()
        self._leave(_Interval(stage, start_s, self._clock(), first, last))


class _Span(AbstractContextManager[None]):
    """A stage's interval as a context; one object per interval keeps the probe free of its own stack."""

    def __init__(self, probe: _Recorder, stage: str) -> None:
        self._probe = probe
        self._stage = stage

    def __enter__(self) -> None:
        self._begun = self._probe.begin(self._stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probe.end(self._stage, self._begun)


Probe = SyncProbe | EventProbe


def timed_stages(
    forward: Callable[[Probe], object], probe: Probe, *, device: Queue, clock: Clock = MONOTONIC
) -> tuple[Timed, StageTimes]:
    """One call of a network with a probe on: the whole call, timed as by `timed`, and its stages.

    Stage times from events are differences of times since the call's first event. Each such time is rounded
    once, and rounding keeps their order, so the stages can never add up to more than the call; neither can
    their sum, which is rounded once too.
    """
    result, whole, origin = _marked(lambda: forward(probe), device, clock)
    del result  # freeing it is no part of the call, as it is none of a call without a probe
    return whole, _stage_times(probe.intervals, whole, lambda event: device.elapsed_s(origin, event))


def _stage_times(
    intervals: list[_Interval], whole: Timed, since_origin: Callable[[Any], float | None]
) -> StageTimes:
    start: dict[str, float] = {}
    wall: dict[str, list[float]] = {}  # ends, and starts negated: see _sum_all
    device: dict[str, list[float]] = {}
    for interval in intervals:
        stage = interval.stage
        start.setdefault(stage, interval.start_s)
        wall.setdefault(stage, []).extend((interval.end_s, -interval.start_s))
        if interval.first is not None:
            first, last = since_origin(interval.first), since_origin(interval.last)
            if first is not None and last is not None:
                device.setdefault(stage, []).extend((last, -first))
    return StageTimes(
        start_s=start,
        wall_s={stage: fsum(terms) for stage, terms in wall.items()},
        device_s={stage: fsum(terms) for stage, terms in device.items()},
        other_wall_s=whole.wall_s - _sum_all(wall),
        other_device_s=whole.device_s - _sum_all(device) if device and whole.device_s is not None else None,
    )


def _sum_all(terms: dict[str, list[float]]) -> float:
    """Correctly rounded once: sums of rounded sums could exceed the whole by an ulp."""
    return fsum(chain.from_iterable(terms.values()))
