"""Memory plans: which cannot be, which is meant by a name, and which is chosen within limits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr_model import BadInput
from vsr_model.memory_plan import MemoryPlan
from vsr_model.plan_choice import PLAN_NAMES, Limits, Needs, first_that_fits, least_interval, named_plan

FOLDER = Path("/elsewhere")
MIB = 2**20

PLANS = {name: named_plan(name, 10, FOLDER) for name in PLAN_NAMES}
NEEDS = {
    "device": Needs(device_bytes=9 * MIB, host_bytes=MIB, disk_bytes=0),
    "host": Needs(device_bytes=3 * MIB, host_bytes=7 * MIB, disk_bytes=0),
    "disk": Needs(device_bytes=3 * MIB, host_bytes=MIB, disk_bytes=6 * MIB),
    "recompute": Needs(device_bytes=4 * MIB, host_bytes=MIB, disk_bytes=0),
}


def needs(plan: MemoryPlan) -> Needs:
    return next(NEEDS[name] for name, named in PLANS.items() if named == plan)


def test_named_plans() -> None:
    assert list(PLANS.values()) == [
        MemoryPlan(),
        MemoryPlan(place="host"),
        MemoryPlan(place="disk", folder=FOLDER),
        MemoryPlan(interval=4),
    ]


@given(st.integers(1, 400))
def test_the_least_interval_holds_the_least(frames: int) -> None:
    def held(interval: int) -> int:
        return min(interval, frames) + len(MemoryPlan(interval=interval).kept_frames(frames))

    assert held(least_interval(frames)) == min(held(interval) for interval in range(1, frames + 1))


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(), "device"),
        (Limits(device_bytes=9 * MIB, host_bytes=MIB), "device"),
        (Limits(device_bytes=9 * MIB - 1), "host"),
        (Limits(device_bytes=8 * MIB, host_bytes=6 * MIB), "disk"),
        (Limits(device_bytes=8 * MIB, host_bytes=6 * MIB, disk_bytes=5 * MIB), "recompute"),
    ],
)
def test_the_first_plan_that_fits_is_taken(limits: Limits, name: str) -> None:
    assert first_that_fits(PLANS, needs, limits) == PLANS[name]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            Limits(device_bytes=2 * MIB, host_bytes=2 * MIB, disk_bytes=0),
            "2 MiB of device memory: the least that works is 4 MiB of device memory, with the memory plan "
            "'recompute'.",
        ),
        (
            Limits(device_bytes=2 * MIB, host_bytes=8 * MIB),
            "2 MiB of device memory: the least that works is 3 MiB of device memory, with the memory plan "
            "'host'.",
        ),
        (
            Limits(device_bytes=2 * MIB, host_bytes=MIB - 1),
            "2 MiB of device memory and 0 MiB of host memory: the least that works is 3 MiB of device memory "
            "and 1 MiB of host memory, with the memory plan 'disk'.",
        ),
    ],
)
def test_what_does_not_fit_is_told_the_least_that_works(limits: Limits, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        first_that_fits(PLANS, needs, limits)
    assert str(caught.value) == f"the clip does not fit into {said}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"place": "tape"}, "place is 'tape', and 'device', 'host' and 'disk' are allowed."),
        ({"interval": 0}, "interval is 0, and a whole number of at least 1 is allowed."),
        ({"interval": True}, "interval is True, and a whole number of at least 1 is allowed."),
        ({"chunk": 1.5}, "chunk is 1.5, and a whole number of at least 1 is allowed."),
        ({"place": "disk"}, "place is 'disk' and there is no folder; give the folder to keep features in."),
        ({"folder": FOLDER}, "folder is /elsewhere, and place is 'device'; only 'disk' has a folder."),
    ],
)
def test_plans_that_cannot_be(fields, message):
    with pytest.raises(BadInput) as caught:
        MemoryPlan(**fields)
    assert str(caught.value) == message
