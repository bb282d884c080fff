"""Admission of cells by free memory and by what ran out before."""

from typing import Any

import pytest

from bench.grid.backend import BUILT_IN
from bench.grid.estimate import peak_bytes
from bench.grid.plan import Job
from bench.messages import blank_record
from bench.process import admission
from bench.process.admission import NEEDED_SHARE, Admission, Room, rooms
from bench.records import Status
from tests.bench.fakes import experiment, jobs_of, peak_of


def never() -> None:
    raise AssertionError("nothing of the run is in the way of a device's memory")


def out_of_memory(job: Job) -> Any:
    return job.cell, blank_record(job, Status.OOM, "")


def test_the_host_is_asked_each_time_and_devices_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([100, 50])
    monkeypatch.setattr(admission.host_memory, "available_bytes", lambda: next(found))
    room = rooms({"cuda": 7})
    cpu, cudnn = BUILT_IN["cpu"], BUILT_IN["cudnn"]
    assert room(cpu) == Room(available_bytes=100, place="host memory")
    assert room(cpu) == Room(available_bytes=50, place="host memory")
    assert room(cudnn) == Room(available_bytes=7, place="memory on cuda when the run began")
    assert room(cudnn.replace(device="cuda:1")) is None


@pytest.mark.parametrize(
    ("share", "backend", "changes", "refused"),
    [
        (NEEDED_SHARE - 0.01, {}, {}, True),
        (NEEDED_SHARE + 0.01, {}, {}, False),
        (0, {"compile": True}, {}, False),  # the estimate is of uncompiled modules
        (0, {}, {"memory_check": "force"}, False),
    ],
)
def test_a_cell_needs_room_for_most_of_its_tensors(
    share: float, backend: dict[str, Any], changes: dict[str, Any], refused: bool
) -> None:
    one = experiment(backends=[{"name": "gpu", "from": "cudnn", **backend}], measure=changes)
    cell = jobs_of(one)[0].cell
    free = int(share * (peak_bytes(peak_of(cell)) or 0))
    gate = Admission(one.measure, rooms({cell.backend.device: free}), peak_of)
    assert (gate.refusal(cell, never) is not None) == refused


def test_cells_that_need_no_less_than_the_least_that_ran_out_are_refused() -> None:
    one = experiment(grid={"frames": [1, 2, 3, 4], "size": [[16, 16]]}, backends=["cpu", "cudnn"])
    jobs = jobs_of(one)
    on_cpu, on_gpu = jobs[::2], jobs[1::2]
    gate = Admission(one.measure, lambda _: None, peak_of, [out_of_memory(on_cpu[2])])  # of an earlier part
    gate.learn(*out_of_memory(on_cpu[1]))
    gate.learn(*out_of_memory(on_cpu[3]))
    gate.learn(on_cpu[0].cell, blank_record(on_cpu[0], Status.ERROR, ""))
    refused = [gate.refusal(job.cell, never) for job in on_cpu]
    assert refused[0] is None
    assert all("t2/16x16/cpu ran out of memory in round 0" in str(reason) for reason in refused[1:])
    assert str(refused[1]).startswith("not tried again: ")
    assert str(refused[2]).startswith("not tried: ")
    assert [gate.refusal(job.cell, never) for job in on_gpu] == [None] * 4


def test_cells_are_tried_after_another_ran_out_if_that_is_asked_for() -> None:
    one = experiment(measure={"after_oom": "continue"})
    (job,) = jobs_of(one)
    gate = Admission(one.measure, lambda _: None, peak_of, [out_of_memory(job)])
    assert gate.refusal(job.cell, never) is None
