"""What a profiler's trace says of one call: what ran, in which stage, how long, and how busy the device was.

Pure: a trace is the JSON of Chrome's trace event format as torch.profiler exports it, times in microseconds.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.records import KernelUse

CALL_LABEL: Final = "call"
"""Of the range that spans the call, from before its first launch until the device has done its work."""

STAGE_LABEL: Final = "stage: "
"""What the label of a stage's range begins with; the stage's name follows."""

_ON_DEVICE: Final = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES: Final = ("cuda_runtime", "cuda_driver")
_LAUNCHES_WORK: Final = re.compile(r"(cuda|cu)(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)")


@dataclass(frozen=True, kw_only=True)
class TracedCall:
    """One call as the trace has it."""

    wall_s: float  # of the call's range, by the trace's clock
    busy_s: float | None  # of that: the device at work; None on a CPU, and where launches are unseen
    uses: tuple[KernelUse, ...]  # those that took longest first
    unseen: int  # launches of which the trace does not show what they ran


def read(trace: Mapping[str, Any], *, on_device: bool) -> TracedCall:
    """What the trace's call ran: `on_device` its kernels and copies, otherwise its operators, each without
    the operators that it called.

    Raises ValueError for a trace that has no call in it.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    call = next((event for event in events if _is_label(event) and event["name"] == CALL_LABEL), None)
    if call is None:
        raise ValueError("the profiler's trace does not show the call")
    begin_us, end_us = call["ts"], call["ts"] + call["dur"]
    placed = [item for item in _placed(events) if begin_us <= item.event["ts"] < end_us]
    wall_s = call["dur"] / 1e6
    if not on_device:
        return TracedCall(wall_s=wall_s, busy_s=None, uses=_operators(placed), unseen=0)
    launched = {_correlation(item.event): item.stage for item in placed if item.event.get("cat") in _LAUNCHES}
    work = [
        event
        for event in events
        if event.get("cat") in _ON_DEVICE and event["ts"] < end_us and event["ts"] + event["dur"] > begin_us
    ]
    shown = {_correlation(event) for event in work}
    unseen = _unseen(placed, shown)
    spans = ((max(event["ts"], begin_us), min(event["ts"] + event["dur"], end_us)) for event in work)
    return TracedCall(
        wall_s=wall_s,
        # What the trace does not show may have run at any time: idle is then not known.
        busy_s=covered(spans) / 1e6 if work and not unseen else None,
        uses=_device_work(work, launched),
        unseen=unseen,
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How much lies in at least one of the spans (begin, end), in their unit."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def launch_bound_share(wall_s: float, busy_s: float) -> float:
    """Which part of a call's wall time the device had nothing to do, 0 to 1.

    0 where the device was busy for longer than the call took: the two may come from different calls.
    """
    return max(0.0, 1 - busy_s / wall_s)


@dataclass(kw_only=True)
class _Placed:
    """An event of a host thread, with the stage whose range it lies in and its time without its children."""

    event: Mapping[str, Any]
    stage: str | None
    self_us: float
    launch: int | None = None  # the number of the outermost launch that it is, or is part of


def _placed(events: Iterable[Mapping[str, Any]]) -> Iterator[_Placed]:
    """The operators and launches of each thread, each within the stage that is innermost around its begin."""
    threads: dict[tuple[Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if _is_label(event) or event.get("cat") in ("cpu_op", *_LAUNCHES):
            threads[event.get("pid"), event.get("tid")].append(event)
    launches = 0
    for of_thread in threads.values():
        around: list[tuple[float, _Placed]] = []  # with their ends, outermost first
        for event in sorted(of_thread, key=lambda item: (item["ts"], -item["dur"])):
            while around and around[-1][0] <= event["ts"]:
                around.pop()
            stage = around[-1][1].stage if around else None
            if _is_label(event) and event["name"].startswith(STAGE_LABEL):
                stage = event["name"].removeprefix(STAGE_LABEL)
            item = _Placed(event=event, stage=stage, self_us=event["dur"])
            if event.get("cat") == "cpu_op":
                caller = next((one for _, one in reversed(around) if one.event.get("cat") == "cpu_op"), None)
                if caller is not None:
                    caller.self_us -= event["dur"]
            if event.get("cat") in _LAUNCHES:
                item.launch = around[-1][1].launch if around else None
                if item.launch is None:
                    item.launch, launches = launches, launches + 1
            around.append((event["ts"] + event["dur"], item))
            if not _is_label(event):
                yield item


def _unseen(placed: Iterable[_Placed], shown: set[Any]) -> int:
    """How many launches there are of which none of these device events is. The runtime's may call the
    driver's, and either may be the one that a kernel is said to come from."""
    of_launch: dict[int, list[bool]] = defaultdict(list)
    for item in placed:
        if item.launch is not None and _LAUNCHES_WORK.match(item.event["name"]):
            of_launch[item.launch].append(_correlation(item.event) in shown)
    return sum(not any(seen) for seen in of_launch.values())


def _operators(placed: Iterable[_Placed]) -> tuple[KernelUse, ...]:
    times: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for item in placed:
        if item.event.get("cat") == "cpu_op":
            # Ends are rounded: a child's may lie after its caller's.
            times[item.stage, item.event["name"]].append(max(0.0, item.self_us) / 1e6)
    return _longest_first(
        KernelUse(stage=stage, name=name, calls=len(some), cpu_s=sum(some))
        for (stage, name), some in times.items()
    )


def _device_work(
    work: Iterable[Mapping[str, Any]], launched: Mapping[Any, str | None]
) -> tuple[KernelUse, ...]:
    times: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for event in work:
        times[launched.get(_correlation(event)), event["name"]].append(event["dur"] / 1e6)
    return _longest_first(
        KernelUse(stage=stage, name=name, calls=len(some), device_s=sum(some))
        for (stage, name), some in times.items()
    )


def _longest_first(uses: Iterable[KernelUse]) -> tuple[KernelUse, ...]:
    return tuple(sorted(uses, key=lambda use: (-use.seconds, use.stage or "", use.name)))


def _is_label(event: Mapping[str, Any]) -> bool:
    return event.get("cat") == "user_annotation"


def _correlation(event: Mapping[str, Any]) -> Any:
    return event.get("args", {}).get("correlation")
