"""The quickest `MemoryPlan` that keeps to limits of memory. Free of torch."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Final, TypeAlias, cast

from vsr_model.errors import BadInput
from vsr_model.memory_cost import Call, Needs, flow_moment_bytes, needs, upsampling_moment_bytes
from vsr_model.memory_plan import PLACES, MemoryPlan, Place

Cost: TypeAlias = Callable[[Call, MemoryPlan], Needs]
"""What a call takes under a plan: `memory_cost.needs`, or that and what a process takes beside it. Where a
plan keeps or holds more it must not fall."""

RECOMPUTE: Final = "recompute"
PLAN_NAMES: Final = (*PLACES, RECOMPUTE)
"""What users call the plans that `named_plan` makes."""

_MIB: Final = 2**20
_MOST_MIB: Final = 2**40


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes that a call may take; None is no limit. On a CPU `device_bytes` does not matter.

    Without a `folder` no disk is used.
    """

    host_bytes: int | None = None
    device_bytes: int | None = None
    disk_bytes: int | None = None
    folder: Path | None = None

    def hold(self, taken: Needs) -> bool:
        """Whether a call that takes so much keeps to all of them."""
        return all(
            limit is None or size <= limit
            for size, limit in (
                (taken.device_bytes, self.device_bytes),
                (taken.host_bytes, self.host_bytes),
                (taken.disk_bytes, self.disk_bytes),
            )
        )


def cheapest_plan(call: Call, limits: Limits, cost: Cost = needs) -> MemoryPlan:
    """The plan that costs the least time of those that keep to the limits.

    Every frame's features on the device come first, then in host memory, then on disk; then plans that
    compute features again, those of as few frames as fit. Flow is estimated for as many pairs at once as
    takes no more memory than upsampling does; where no such plan fits, for one. Raises BadInput that says the
    least that works if none fits at all.
    """
    plan = _fitting_plan(call, limits, cost)
    if plan is None:
        raise BadInput(_refusal(call, limits, cost))
    return plan


def named_plan(name: str, call: Call, limits: Limits, cost: Cost = needs) -> MemoryPlan:
    """The plan of which a user gives the name: a place that keeps every frame's features, or `recompute`.

    The latter keeps those of frames as far apart as holds the least, on the device. Flow is estimated as in
    `cheapest_plan`. Raises BadInput for another name, for `disk` without a folder, and where it does not keep
    to the limits.
    """
    if name not in PLAN_NAMES:
        *others, last = map(repr, PLAN_NAMES)
        raise BadInput(f"the memory plan is {name!r}, and {', '.join(others)} and {last} are allowed.")
    recompute = name == RECOMPUTE
    plans = [
        MemoryPlan(
            place="device" if recompute else cast(Place, name),
            chunk=chunk,
            folder=limits.folder if name == "disk" else None,
        )
        for chunk in sorted({chunk_beside_upsampling(call), 1}, reverse=True)
    ]
    if recompute and call.frames > 2:
        plans = [replace(plan, interval=_least_held(call, cost, plan)) for plan in plans]
    for plan in plans:
        if limits.hold(cost(call, plan)):
            return plan
    least = cost(call, plans[-1])
    taken = " and ".join(
        f"{-(-size // _MIB)} MiB {where}"
        for size, limit, where in (
            (least.device_bytes, limits.device_bytes, "of device memory"),
            (least.host_bytes, limits.host_bytes, "of host memory"),
            (least.disk_bytes, limits.disk_bytes, "on disk"),
        )
        if limit is not None and size > limit
    )
    raise BadInput(
        f"{call.frames} frame{'s' if call.frames > 1 else ''} of {call.height} x {call.width} take {taken}"
        f" with the memory plan {name!r}, and that is more than is allowed."
    )


def least_interval(frames: int) -> int:
    """The interval with which the fewest frames' features are held at once: the root of the clip's length."""
    return isqrt(max(frames - 1, 0)) + 1


def chunk_beside_upsampling(call: Call) -> int:
    """The most pairs whose flow can be estimated at once in no more memory than upsampling takes, or 1."""

    def is_worst(pairs: int) -> bool:
        plan = MemoryPlan(chunk=pairs)
        return flow_moment_bytes(call, plan) > upsampling_moment_bytes(call, plan)

    return max(1, bisect_left(range(1, call.frames), True, key=is_worst))


def _fitting_plan(call: Call, limits: Limits, cost: Cost) -> MemoryPlan | None:
    return next((plan for plan in _candidates(call, limits, cost) if limits.hold(cost(call, plan))), None)


def _candidates(call: Call, limits: Limits, cost: Cost) -> Iterator[MemoryPlan]:
    """Plans of which at least one fits if any does, the quickest first."""
    places: list[Place] = ["device"]
    if not call.on_cpu:
        places.append("host")
    if limits.folder is not None:
        places.append("disk")
    plans = [
        MemoryPlan(place=place, chunk=chunk, folder=limits.folder if place == "disk" else None)
        for place in places
        for chunk in sorted({chunk_beside_upsampling(call), 1}, reverse=True)
    ]
    yield from plans
    longer = [replace(plan, interval=k) for plan in plans for k in _intervals(call, limits, cost, plan)]
    yield from sorted(longer, key=lambda plan: (-plan.chunk, plan.recomputed_frames(call.frames)))


def _intervals(call: Call, limits: Limits, cost: Cost, plan: MemoryPlan) -> Iterator[int]:
    """Intervals above 1 of which one fits if any does, and computes the least again of those that do.

    A longer interval holds more on the device and keeps less at the plan's place. What is computed again is
    most at the root of the clip's length, and less the further from it, so that an end of what fits is best.
    Where the place is the device itself both add up, and what any length holds, one from the least on does.
    """

    def too_long(interval: int) -> bool:
        on_device = Limits(
            device_bytes=limits.device_bytes, host_bytes=limits.host_bytes if call.on_cpu else None
        )
        return not on_device.hold(cost(call, replace(plan, interval=interval)))

    def long_enough(interval: int) -> bool:
        at_place = Limits(disk_bytes=limits.disk_bytes, host_bytes=None if call.on_cpu else limits.host_bytes)
        return at_place.hold(cost(call, replace(plan, interval=interval)))

    least = _least_held(call, cost, plan) if plan.place == "device" else 2
    lengths = range(least, call.frames)
    fitting = lengths[: bisect_left(lengths, True, key=too_long)]
    fitting = fitting[bisect_left(fitting, True, key=long_enough) :]
    yield from sorted({fitting[0], fitting[-1]} if fitting else ())


@lru_cache(maxsize=64)
def _least_held(call: Call, cost: Cost, plan: MemoryPlan) -> int:
    """The interval of 2 or more with which a plan that keeps features on the device takes the least memory.

    It is not far from the root of the clip's length, where what is kept and the segment at hand are as many:
    a process may hold more for the one than for the other.
    """

    def held(interval: int) -> int:
        taken = cost(call, replace(plan, interval=interval))
        return taken.host_bytes if call.on_cpu else taken.device_bytes

    return min(range(2, max(3, min(call.frames, 3 * least_interval(call.frames)))), key=held)


def _refusal(call: Call, limits: Limits, cost: Cost) -> str:
    """That nothing fits, and the least that would; of device memory first, and of host memory beside it."""
    asked: list[str] = []
    least: list[str] = []
    roomy = replace(limits, host_bytes=None)
    if limits.device_bytes is not None and not call.on_cpu:
        asked.append(f"{limits.device_bytes // _MIB} MiB of device memory")
        if _fitting_plan(call, roomy, cost) is None:
            mib = _least_mib(lambda size: replace(roomy, device_bytes=size), call, cost)
            roomy = replace(roomy, device_bytes=_MIB * mib)
            least.append(f"{mib} MiB of device memory")
    if limits.host_bytes is not None:
        asked.append(f"{limits.host_bytes // _MIB} MiB of host memory")
        if _fitting_plan(call, replace(roomy, host_bytes=limits.host_bytes), cost) is None:
            mib = _least_mib(lambda size: replace(roomy, host_bytes=size), call, cost)
            least.append(f"{mib} MiB of host memory")
    single = cost(replace(call, frames=1), MemoryPlan())
    return (
        f"{call.frames} frame{'s' if call.frames > 1 else ''} of {call.height} x {call.width} do"
        f"{'' if call.frames > 1 else 'es'} not fit into {' and '.join(asked)}: the least that works is"
        f" {' and '.join(least)}, and a single frame takes"
        f" {-(-(single.device_bytes + single.host_bytes) // _MIB)} MiB."
    )


def _least_mib(limits_of: Callable[[int], Limits], call: Call, cost: Cost) -> int:
    """The least whole number of MiB within which a plan fits, by what limits so many bytes make."""
    return bisect_left(
        range(_MOST_MIB), True, key=lambda mib: _fitting_plan(call, limits_of(_MIB * mib), cost) is not None
    )
