"""What is free where; that the runner acts upon it is in test_runner.py."""

import pytest

from bench.grid.backend import BUILT_IN
from bench.grid.estimate import peak_bytes
from bench.messages import blank_record
from bench.process import admission
from bench.process.admission import NEEDED_SHARE, Admission, Room, rooms
from bench.records import Status
from tests.bench.fakes import experiment, jobs_of, peak_of


def never() -> None:
    raise AssertionError("nothing of the run is in the way of a device's memory")


def test_the_host_is_asked_at_each_time_and_devices_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([100, 50])
    monkeypatch.setattr(admission.host_memory, "available_bytes", lambda: next(found))
    room = rooms({"cuda": 7})
    cpu, cudnn = BUILT_IN["cpu"], BUILT_IN["cudnn"]
    assert room(cpu) == Room(available_bytes=100, place="host memory")
    assert room(cpu) == Room(available_bytes=50, place="host memory")
    assert room(cudnn) == Room(available_bytes=7, place="memory on cuda when the run began")
    assert room(cudnn.replace(device="cuda:1")) is None


@pytest.mark.parametrize(("share", "refused"), [(NEEDED_SHARE - 0.01, True), (NEEDED_SHARE + 0.01, False)])
def test_a_device_is_held_against_the_least_that_a_cell_takes(share: float, refused: bool) -> None:
    one = experiment(backends=["cudnn"])
    cell = jobs_of(one)[0].cell
    free = int(share * (peak_bytes(peak_of(cell)) or 0))
    gate = Admission(one.measure, rooms({cell.backend.device: free}), peak_of)
    assert (gate.refusal(cell, never) is not None) == refused


def test_compiled_cells_are_not_held_against_an_estimate_of_others() -> None:
    one = experiment(backends=[{"name": "compiled", "from": "cudnn", "compile": True}])
    cell = jobs_of(one)[0].cell
    assert Admission(one.measure, rooms({cell.backend.device: 0}), peak_of).refusal(cell, never) is None


def test_the_least_that_ran_out_is_what_counts() -> None:
    one = experiment(grid={"frames": [1, 2, 3, 4], "size": [[16, 16]]})
    jobs = jobs_of(one)
    gate = Admission(one.measure, lambda _: None, peak_of)
    for index in (2, 1, 3):
        gate.learn(jobs[index].cell, blank_record(jobs[index], Status.OOM, ""))
    gate.learn(jobs[0].cell, blank_record(jobs[0], Status.ERROR, ""))
    refused = [gate.refusal(job.cell, never) for job in jobs]
    assert refused[0] is None
    assert all("t2/16x16/cpu ran out of memory" in str(reason) for reason in refused[1:])
    assert "not tried again" in str(refused[1])
