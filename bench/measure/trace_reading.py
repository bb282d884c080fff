"""Reads a profiler's trace of one call: what ran, in which stage, how long, and how busy the device was.

Pure: a trace is the JSON of Chrome's trace event format as torch.profiler exports it, times in microseconds.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.records import KernelUse

CALL_LABEL: Final = "call"
"""Label of the range that spans the call, from before its first launch until the device has done its work."""

STAGE_LABEL: Final = "stage: "
"""The start of the label of a stage's range; the stage's name follows."""

_ON_DEVICE: Final = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES: Final = ("cuda_runtime", "cuda_driver")
_LAUNCHES_WORK: Final = re.compile(r"(cuda|cu)(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)")

Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TracedCall:
    """One call in a trace."""

    wall_s: float  # of the call's range, by the trace's clock
    busy_s: float | None  # the part with the device at work; None on a CPU, and where launches are unseen
    uses: tuple[KernelUse, ...]  # those that took longest first
    unseen: int  # launches of which the trace does not show what they ran


def read(trace: Mapping[str, Any], *, on_device: bool) -> TracedCall:
    """Return what the call in a trace ran.

    `on_device` these are its kernels and copies, otherwise its operators, each without the operators that it
    called. Raises ValueError for a trace that has no call in it.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    call = next((event for event in events if _is_label(event) and event["name"] == CALL_LABEL), None)
    if call is None:
        raise ValueError("the profiler's trace does not show the call")
    begin_us, end_us = call["ts"], call["ts"] + call["dur"]
    placed = [item for item in _placed(events) if begin_us <= item.event["ts"] < end_us]
    wall_s = call["dur"] / 1e6
    if not on_device:
        # Ends are rounded: a child's may lie after its caller's.
        own = (
            (item.stage, item.event["name"], max(0.0, item.self_us)) for item in placed if item.is_operator
        )
        return TracedCall(wall_s=wall_s, busy_s=None, uses=_uses(own, "cpu_s"), unseen=0)
    stages = {_correlation(item.event): item.stage for item in placed if item.is_launch}
    work = [
        event
        for event in events
        if event.get("cat") in _ON_DEVICE and event["ts"] < end_us and event["ts"] + event["dur"] > begin_us
    ]
    unseen = _unseen(placed, {_correlation(event) for event in work})
    spans = ((max(event["ts"], begin_us), min(event["ts"] + event["dur"], end_us)) for event in work)
    launched = ((stages.get(_correlation(event)), event["name"], event["dur"]) for event in work)
    return TracedCall(
        wall_s=wall_s,
        # Work that the trace does not show may have run at any time, which leaves the idle time unknown.
        busy_s=covered(spans) / 1e6 if work and not unseen else None,
        uses=_uses(launched, "device_s"),
        unseen=unseen,
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of spans (begin, end), in their unit."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def launch_bound_share(wall_s: float, busy_s: float) -> float:
    """Return the share of a call's wall time in which the device had nothing to do.

    0 where the device was busy for longer than the call took: the two may come from different calls.
    """
    return max(0.0, 1 - busy_s / wall_s)


@dataclass(kw_only=True, eq=False)
class _Placed:
    """An event of a host thread: the innermost stage around its begin, and its time without its children."""

    event: Event
    stage: str | None
    self_us: float
    launch: "_Placed | None" = None  # the outermost launch that it is, or is part of

    @property
    def is_operator(self) -> bool:
        return self.event.get("cat") == "cpu_op"

    @property
    def is_launch(self) -> bool:
        return self.event.get("cat") in _LAUNCHES


def _placed(events: Iterable[Event]) -> Iterator[_Placed]:
    """Yield the operators and launches of each thread."""
    threads: dict[tuple[Any, Any], list[Event]] = defaultdict(list)
    for event in events:
        if _is_label(event) or event.get("cat") in ("cpu_op", *_LAUNCHES):
            threads[event.get("pid"), event.get("tid")].append(event)
    for of_thread in threads.values():
        around: list[tuple[float, _Placed]] = []  # with their ends, outermost first
        for event in sorted(of_thread, key=lambda item: (item["ts"], -item["dur"])):
            while around and around[-1][0] <= event["ts"]:
                around.pop()
            outer = around[-1][1] if around else None
            item = _Placed(event=event, stage=outer.stage if outer else None, self_us=event["dur"])
            if _is_label(event) and event["name"].startswith(STAGE_LABEL):
                item.stage = event["name"].removeprefix(STAGE_LABEL)
            if item.is_operator:
                caller = next((one for _, one in reversed(around) if one.is_operator), None)
                if caller is not None:
                    caller.self_us -= event["dur"]
            if item.is_launch:
                item.launch = (outer.launch if outer else None) or item
            around.append((event["ts"] + event["dur"], item))
            if not _is_label(event):
                yield item


def _unseen(placed: Iterable[_Placed], shown: set[Any]) -> int:
    """Count the launches of which no device event is shown.

    The runtime's may call the driver's, and a kernel may be attributed to either.
    """
    of_launch: dict[_Placed, list[bool]] = defaultdict(list)
    for item in placed:
        if item.launch is not None and _LAUNCHES_WORK.match(item.event["name"]):
            of_launch[item.launch].append(_correlation(item.event) in shown)
    return sum(not any(seen) for seen in of_launch.values())


def _uses(items: Iterable[tuple[str | None, str, float]], field: str) -> tuple[KernelUse, ...]:
    """Add up the microseconds of (stage, name, microseconds), the longest first."""
    times: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for stage, name, microseconds in items:
        times[stage, name].append(microseconds / 1e6)
    uses = (
        KernelUse.model_validate({"stage": stage, "name": name, "calls": len(some), field: sum(some)})
        for (stage, name), some in times.items()
    )
    return tuple(sorted(uses, key=lambda use: (-use.seconds, use.stage or "", use.name)))


def _is_label(event: Event) -> bool:
    return event.get("cat") == "user_annotation"


def _correlation(event: Event) -> Any:
    return event.get("args", {}).get("correlation")
