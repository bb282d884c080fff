"""The first memory plan that keeps to limits. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Final, cast

from vsr_model.errors import BadInput
from vsr_model.memory_plan import PLACES, MemoryPlan, Place

RECOMPUTE: Final = "recompute"
PLAN_NAMES: Final = (*PLACES, RECOMPUTE)
"""Users' names of the plans, in the order in which they are tried."""

_MIB: Final = 2**20
_MEMORIES: Final = {
    "disk_bytes": "of disk space",
    "device_bytes": "of device memory",
    "host_bytes": "of host memory",
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes that a call takes. On a CPU all memory is the host's."""

    device_bytes: int
    host_bytes: int
    disk_bytes: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes that a call may take; None is no limit."""

    device_bytes: int | None = None
    host_bytes: int | None = None
    disk_bytes: int | None = None

    def exceeded_by(self, taken: Needs) -> dict[str, int]:
        """Return the bytes taken of each memory that is too small for them, by the field's name."""
        sizes = {name: getattr(taken, name) for name in _MEMORIES}
        limits = {name: getattr(self, name) for name in _MEMORIES}
        return {
            name: size for name, size in sizes.items() if limits[name] is not None and size > limits[name]
        }


def least_interval(frames: int) -> int:
    """Return the interval that holds the fewest frames' features, about the root of the clip's length."""
    return isqrt(max(frames - 1, 0)) + 1


def named_plan(name: str, frames: int, folder: Path) -> MemoryPlan:
    """Return the plan that a user's name means for a clip of so many frames; `folder` is for the disk."""
    if name == RECOMPUTE:
        return MemoryPlan(interval=least_interval(frames))
    return MemoryPlan(place=cast(Place, name), folder=folder if name == "disk" else None)


def first_that_fits(
    plans: Mapping[str, MemoryPlan], needs: Callable[[MemoryPlan], Needs], limits: Limits
) -> MemoryPlan:
    """Return the first of the named plans that keeps to the limits.

    Raises BadInput with the least that works where none does.
    """
    exceeded = {name: limits.exceeded_by(needs(plan)) for name, plan in plans.items()}
    for name, plan in plans.items():
        if not exceeded[name]:
            return plan

    def distance(name: str) -> tuple[bool, int, int]:
        """No option gives more disk space, so a plan that lacks it comes last."""
        sizes = exceeded[name]
        return "disk_bytes" in sizes, len(sizes), sum(sizes.values())

    nearest = min(plans, key=distance)
    allowed, least = (
        " and ".join(f"{size} MiB {_MEMORIES[memory]}" for memory, size in sizes.items())
        for sizes in (
            {memory: getattr(limits, memory) // _MIB for memory in exceeded[nearest]},
            {memory: -(-size // _MIB) for memory, size in exceeded[nearest].items()},
        )
    )
    raise BadInput(
        f"the clip does not fit into {allowed}: the least that works is {least}, with the memory plan"
        f" {nearest!r}."
    )
