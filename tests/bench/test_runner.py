"""The runner: on scripted workers and a clock of the test's, and once on real ones."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.grid.backend import Backend
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.machine.host_memory import OomKills
from bench.messages import Measured, Progress, Ready, blank_record
from bench.process import runner
from bench.process.admission import Admission, Room
from bench.process.forecast import Forecast
from bench.process.launcher import Launcher, WorkerProcess
from bench.process.runner import EXIT_TIMEOUT_S, Run, execute
from bench.records import CellRecord, Status
from tests.bench.fakes import (
    TICK_S,
    Dies,
    FakeClock,
    FakeWorkers,
    Says,
    Script,
    Watching,
    experiment,
    jobs_of,
    peak_of,
)

NO_KILLS = OomKills(group=0, machine=0)
KILLED = Dies(0.5, status=signal.SIGKILL)


class Bench:
    """The runner on fake workers; `scripts` say what the jobs' workers do, by place in the schedule."""

    def __init__(
        self,
        one: Experiment,
        scripts: Sequence[Script],
        monkeypatch: Any,
        *,
        rooms: Sequence[int] = (),
        **workers: Any,
    ) -> None:
        """`rooms`: bytes that are found free, one after the other; without them memory is not known."""
        self.clock = FakeClock()
        self.rooms = list(rooms)
        self.oom_kills: list[OomKills] = []
        self.jobs = jobs_of(one)
        runnable = [job for job in self.jobs if not job.cell.backend.is_cuda]
        self.workers = FakeWorkers(
            self.clock,
            {(job.cell.id, job.round): script for job, script in zip(runnable, scripts, strict=True)},
            **workers,
        )
        monkeypatch.setattr(runner, "wait", self.workers.wait)
        self.kept: list[CellRecord] = []
        self.watching = Watching()
        self.run = Run(
            experiment=one,
            references=Path("references"),
            skip_reason=_no_cuda,
            costs_of=peak_of,
            admission=Admission(one.measure, self.room, peak_of),
            forecast=Forecast(one.measure, peak_of),
            keep=self.kept.append,
            clock=self.clock,
            oom_kills=lambda: self.oom_kills.pop(0) if self.oom_kills else NO_KILLS,
        )

    def room(self, _backend: Backend) -> Room | None:
        if not self.rooms:
            return None
        self.workers.log.append("look at memory")
        return Room(available_bytes=self.rooms.pop(0), place="host memory")

    def __call__(self) -> list[CellRecord]:
        execute(self.jobs, self.run, self.workers, self.watching)
        return self.kept

    @property
    def statuses(self) -> list[str]:
        return [str(record.status) for record in self()]

    def logged(self, *begins: str) -> list[str]:
        return [line for line in self.workers.log if line.startswith(begins)]


def _no_cuda(cell: Cell) -> str | None:
    return "no CUDA here" if cell.backend.is_cuda else None


def measure(**changes: Any) -> dict[str, Any]:
    return {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off", **changes}


def clips(*frames: int, **changes: Any) -> Experiment:
    """Return an experiment with a cell for each number of frames; `changes` are of its measure."""
    return experiment(grid={"frames": [*frames], "size": [[16, 16]]}, measure=measure(**changes))


def done(one: Experiment, index: int = 0, **values: Any) -> CellRecord:
    """Return the record that a worker sends for a job."""
    return blank_record(jobs_of(one)[index], Status.OK, "").model_copy(update=values)


def fine(one: Experiment, index: int = 0) -> Script:
    return [Says(0.0, Ready()), Says(1.0, done(one, index))]


def all_fine(one: Experiment) -> list[Script]:
    return [fine(one, index) for index in range(len(jobs_of(one)))]


def out_of_memory(one: Experiment, index: int) -> Script:
    return [Says(1.0, blank_record(jobs_of(one)[index], Status.OOM, "so torch says"))]


def test_jobs_run_in_order_each_in_a_process_of_its_own(monkeypatch):
    one = clips(1, 2, rounds=2)
    scripts = [[Says(0.5, Progress(doing="x", done=index, total=9)), *fine(one, index)] for index in range(4)]
    bench = Bench(one, scripts, monkeypatch)
    kept = bench()
    first, second = "basicvsr/noise/b1/t1/16x16/cpu", "basicvsr/noise/b1/t2/16x16/cpu"
    assert [(record.cell, record.round) for record in kept] == [
        (first, 0), (second, 0), (first, 1), (second, 1),
    ]  # fmt: skip
    assert kept == bench.watching.records
    assert bench.watching.log[:3] == [f"started {first} 0", "progress x 0/9", f"ended {first} 0 ok"]
    # Each has ended before the next one measures.
    assert bench.workers.log[:6] == [
        "forget", "spawn 1", f"task {first} 0 to 1", "go to 1", "forget", "spawn 2",
    ]  # fmt: skip
    assert bench.workers.log[6:10] == [f"task {second} 0 to 2", "ended 1", "forget", "go to 2"]
    assert bench.workers.log[-1] == "ended 4"
    task = bench.workers.tasks[1]
    assert task.reference == Path("references/basicvsr-noise-b1-t2-16x16.npy")
    assert (task.measure, task.import_torch_s) == (one.measure, 1.5)
    assert (task.costs, task.costs_missing) == (peak_of(task.job.cell), "")
    assert task.plain_peak_bytes == 8192 * 2 * 16 * 16


def test_a_cell_without_costs_runs_and_is_told_why(monkeypatch):
    one = experiment()
    bench = Bench(one, [fine(one)], monkeypatch, rooms=[0])
    bench.run = replace(
        bench.run,
        costs_of=lambda _: None,
        costs_missing={"basicvsr": "it cannot be traced", "other": "nor can this"},
        admission=Admission(one.measure, bench.room, lambda _: None),
    )
    assert bench.statuses == ["ok"]
    (task,) = bench.workers.tasks
    assert (task.costs, task.costs_missing) == ({}, "it cannot be traced")
    assert task.plain_peak_bytes is None


def test_skipped_cells_take_no_worker(monkeypatch):
    one = experiment(backends=["cudnn", "cpu"])
    bench = Bench(one, [fine(one, 1)], monkeypatch)
    skipped, ok = bench()
    assert (skipped.status, skipped.reason) == (Status.SKIPPED, "no CUDA here")
    assert skipped.round_wall_s is None
    assert ok.status is Status.OK
    assert bench.watching.log[0] == f"ended {skipped.cell} 0 skipped"
    assert bench.logged("spawn") == ["spawn 1"]


def test_the_harness_costs_what_was_not_measured(monkeypatch):
    one = experiment()
    record = done(one, measured_s=2.0, reference_s=0.25)
    script = [Says(TICK_S, Progress(doing="x", done=0, total=1)), Says(4.0, record)]
    (kept,) = Bench(one, [script], monkeypatch, spawn_s=0.5)()
    assert kept.round_wall_s == 0.5 + TICK_S + 4
    assert kept.worker_start_s == 0.5 + TICK_S  # from asking for the worker
    assert kept.harness_s == 0.5 + TICK_S + 4 - 2 - 0.25
    (lost,) = Bench(experiment(), [[KILLED]], monkeypatch)()
    assert (lost.round_wall_s, lost.harness_s) == (0.5, None)


def test_a_job_beyond_its_deadline_is_killed(monkeypatch):
    one = clips(1, timeout_s=10.0)
    script = [Says(4.0, Progress(doing="cold call", done=0, total=3)), Says(6.5, done(one))]
    bench = Bench(one, [script], monkeypatch)
    (kept,) = bench()
    assert (kept.status, kept.reason) == (Status.TIMEOUT, "not done within 10 s (while at: cold call)")
    assert kept.round_wall_s == 10
    assert bench.workers.log[-2:] == ["kill 1", "ended 1"]
    assert Bench(one, [[script[0], Says(6.0, done(one))]], monkeypatch).statuses == ["ok"]


def test_the_reference_has_as_long_again(monkeypatch):
    one = clips(1, timeout_s=10.0)
    script = [Says(9.0, Measured(record=done(one))), Says(9.5, done(one, output_psnr_db=99.0))]
    (kept,) = Bench(one, [script], monkeypatch)()
    assert (kept.status, kept.output_psnr_db, kept.round_wall_s) == (Status.OK, 99, 18.5)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (Says(10.5, Progress(doing="late", done=1, total=1)), "not done within 10 s"),
        (KILLED, "the worker was killed by SIGKILL"),
        (Dies(1.0, status=5 << 8), "the worker ended with exit status 5"),
        (Dies(1.0, with_server=True), "the process that starts workers was lost"),
    ],
)
def test_measurements_survive_their_output_check(monkeypatch, end, why):
    one = clips(1, timeout_s=10.0)
    measured = done(one, measured_s=2.0, first_forward_s=0.5, warnings=("as before",))
    (kept,) = Bench(one, [[Says(3.0, Measured(record=measured)), end]], monkeypatch)()
    assert (kept.status, kept.first_forward_s) == (Status.OK, 0.5)
    assert kept.warnings[0] == "as before"
    assert kept.warnings[1].startswith(f"output not checked: {why}")
    assert kept.harness_s == kept.round_wall_s - 2


@pytest.mark.parametrize(
    ("end", "line", "status", "reason"),
    [
        (Dies(0.5, status=5 << 8), "boo", "error", "ended with exit status 5 while at: cold (boo)"),
        (Dies(0.5, status=signal.SIGSEGV), "boo", "error", "was killed by SIGSEGV while at: cold"),
        (Dies(0.5, status=60), "boo", "error", "was killed by signal 60 while at: cold"),
        (Says(0.5, ConnectionResetError()), "", "error", "ended with exit status 0 while at: cold"),
        (Dies(0.5, status=1 << 8), "MemoryError", "oom",
         "ended with exit status 1 while at: cold (MemoryError)"),
        (Dies(0.5, status=signal.SIGABRT), "std::bad_alloc", "oom",
         "was killed by SIGABRT while at: cold (std::bad_alloc)"),
    ],
)  # fmt: skip
def test_a_lost_worker_has_a_reason(monkeypatch, end, line, status, reason):
    script = [Says(0.5, Progress(doing="cold", done=0, total=1)), end]
    (kept,) = Bench(experiment(), [script], monkeypatch, line=line)()
    assert (str(kept.status), kept.reason) == (status, f"the worker {reason}")


@pytest.mark.parametrize(
    ("number", "rises", "status", "reason"),
    [
        (signal.SIGKILL, False, "error", "SIGKILL while at: starting"),
        (signal.SIGKILL, True, "oom", "SIGKILL while at: starting (the kernel's count of out-of-memory "
         "kills in this control group rose)"),
        (signal.SIGSEGV, True, "error", "SIGSEGV while at: starting"),
    ],
)  # fmt: skip
def test_a_kill_is_out_of_memory_on_the_kernels_evidence_alone(monkeypatch, number, rises, status, reason):
    bench = Bench(experiment(), [[Dies(0.5, status=number)]], monkeypatch)
    bench.oom_kills = [OomKills(group=count, machine=count) for count in (7, 7 + rises)]  # before, after
    (kept,) = bench()
    assert (str(kept.status), kept.reason) == (status, f"the worker was killed by {reason}")


def test_a_cell_that_is_not_admitted_is_skipped_once_room_was_made(monkeypatch):
    one = experiment(grid={"frames": [1], "size": [[16, 16], [1024, 1024]]})
    bench = Bench(one, [fine(one, 0), []], monkeypatch, rooms=[2**31, 2**31, 2**31])
    ok, skipped = bench()
    assert (ok.status, skipped.status) == (Status.OK, Status.SKIPPED)
    assert "its tensors take about 8.00 GiB" in skipped.reason
    assert "2.00 GiB of host memory is free" in skipped.reason
    assert bench.workers.log[-3:] == ["look at memory", "ended 1", "look at memory"]


def test_a_cell_that_fits_once_the_worker_before_it_has_left_is_run(monkeypatch):
    one = clips(1, 2, isolation="experiment")
    bench = Bench(one, all_fine(one), monkeypatch, rooms=[2**40, 0, 2**40])
    assert bench.statuses == ["ok", "ok"]
    assert bench.logged("spawn", "ended") == ["spawn 1", "ended 1", "spawn 2", "ended 2"]
    assert [task.first_in_process for task in bench.workers.tasks] == [True, True]


def test_a_group_whose_last_cell_is_skipped_still_ends_its_process(monkeypatch):
    one = clips(1, 2, isolation="experiment", rounds=2)
    bench = Bench(one, [fine(one, 0), out_of_memory(one, 1), fine(one, 2), []], monkeypatch)
    assert bench.statuses == ["ok", "oom", "ok", "skipped"]
    assert bench.workers.log[-1] == "ended 2"


@pytest.mark.parametrize("isolation", ["backend", "experiment"])
def test_a_group_shares_a_worker(monkeypatch, isolation):
    one = clips(1, 2, 3, rounds=2, isolation=isolation)
    bench = Bench(one, all_fine(one), monkeypatch)
    assert bench.statuses == ["ok"] * 6
    assert bench.logged("spawn", "ended") == ["spawn 1", "spawn 2", "ended 1", "ended 2"]


def test_the_rest_of_a_group_gets_a_new_worker(monkeypatch):
    one = clips(1, 2, 3, isolation="experiment")
    bench = Bench(one, [fine(one, 0), [KILLED], fine(one, 2)], monkeypatch)
    assert bench.statuses == ["ok", "error", "ok"]
    cell = "basicvsr/noise/b1/t{}/16x16/cpu 0"
    assert bench.logged("spawn", "task") == [
        "spawn 1", f"task {cell.format(1)} to 1", f"task {cell.format(2)} to 1",
        "spawn 2", f"task {cell.format(3)} to 2",
    ]  # fmt: skip


@pytest.mark.parametrize(("status", "workers"), [(Status.INACCURATE, 1), (Status.OOM, 2), (Status.ERROR, 2)])
def test_a_process_that_met_an_error_measures_nothing_more(monkeypatch, status, workers):
    one = clips(2, 1, isolation="experiment")
    failed = [Says(1.0, blank_record(jobs_of(one)[0], status, "so"))]
    bench = Bench(one, [failed, fine(one, 1)], monkeypatch)
    assert bench.statuses == [status, "ok"]
    assert len(bench.logged("spawn")) == workers


def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    one = clips(1, 2)
    bench = Bench(one, all_fine(one), monkeypatch, lingering=True)
    first, second = bench()
    assert bench.workers.log[-6:] == ["kill 1", "ended 1", "forget", "go to 2", "kill 2", "ended 2"]
    assert first.round_wall_s == 1
    assert second.round_wall_s == 1 + EXIT_TIMEOUT_S  # nothing is measured beside it


# The server is lost.


def test_a_job_that_the_server_dies_in_is_an_error_and_the_next_one_runs(monkeypatch):
    one = clips(1, 2)
    bench = Bench(one, [[Says(0.5, Ready()), Dies(1.0, with_server=True)], fine(one, 1)], monkeypatch)
    lost, ok = bench()
    assert (lost.status, ok.status) == (Status.ERROR, Status.OK)
    assert lost.reason == "the process that starts workers was lost: exit status -9"
    assert bench.logged("restart") == ["restart"]


@pytest.mark.parametrize("rooms", [[], [2**40, 0, 2**40]], ids=["", "while room is made"])
def test_a_server_that_dies_between_two_jobs_harms_neither(monkeypatch, rooms):
    one = clips(1, 2)
    bench = Bench(one, all_fine(one), monkeypatch, rooms=rooms)

    def die_after_the_first(done: int) -> None:
        bench.workers.server_is_dead = done == 1

    bench.watching = Watching(die_after_the_first)
    assert bench.statuses == ["ok", "ok"]
    assert bench.logged("restart") == ["restart"]


def test_a_job_that_had_measured_nothing_is_tried_twice(monkeypatch):
    bench = Bench(experiment(), [[Dies(1.0, with_server=True)]], monkeypatch)
    assert bench.statuses == ["error"]
    assert len(bench.logged("restart")) == len(bench.logged("spawn")) == 2


def test_a_worker_that_nothing_ends_costs_the_next_job_nothing(monkeypatch):
    """As in a hung driver: the server is begun anew, and the job with it, on a clock of its own."""
    one = clips(1, 2, timeout_s=5.0)
    bench = Bench(one, all_fine(one), monkeypatch)
    exit_status = bench.workers.exit_status

    def stuck(worker: WorkerProcess, timeout_s: float) -> int:
        if worker.pid == 1:
            bench.clock.advance(timeout_s)
            raise TimeoutError
        return exit_status(worker, timeout_s)

    monkeypatch.setattr(bench.workers, "exit_status", stuck)
    assert bench.statuses == ["ok", "ok"]
    assert bench.logged("restart") == ["restart"]


@pytest.mark.parametrize("isolation", ["cell", "experiment"])
def test_an_interrupt_keeps_finished_records_and_kills_the_worker(monkeypatch, isolation):
    one = clips(1, 2, 3, isolation=isolation)
    bench = Bench(one, [fine(one), [Says(0.5, KeyboardInterrupt())], fine(one, 2)], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        bench()
    assert [record.frames for record in bench.kept] == [1]
    killed, *ended = bench.logged("kill", "ended")
    spawned = len(bench.logged("spawn"))
    assert killed == f"kill {spawned}"
    assert sorted(ended) == [f"ended {pid}" for pid in range(1, spawned + 1)]


# Real workers.


NAMES = ("first", "raises", "exits", "killed", "torn", "stopped", "hangs", "memory", "limited", "last")


def test_whatever_a_real_worker_does_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.process.launcher.MESSAGE_TIMEOUT_S", 1)
    kept: list[CellRecord] = []
    one = experiment(
        input=[{"name": name, "kind": "random"} for name in NAMES],
        measure=measure(after_oom="continue", isolation="experiment"),
    )
    run = Run(
        experiment=one,
        references=tmp_path,
        skip_reason=_no_cuda,
        admission=Admission(one.measure, lambda _: None, lambda _: None),
        forecast=Forecast(one.measure, lambda _: None),
        keep=kept.append,
        worker="tests.bench.faulty_workers:serve",
    )
    watching = Watching()
    wait: Callable[..., list[Any]] = runner.wait

    def soon(connections: Sequence[Any], timeout_s: float) -> list[Any]:
        """The deadline comes at once for what hangs, and for nothing else, however busy the machine is."""
        started = next(line for line in reversed(watching.log) if line.startswith("started"))
        hangs = "/hangs/" in started and "building the model" in watching.log[-1]
        return wait(connections, 0.1 if hangs else timeout_s)

    monkeypatch.setattr(runner, "wait", soon)
    with Launcher() as launcher:
        execute(jobs_of(one), run, launcher, watching)
    found = {record.input: (str(record.status), record.reason) for record in kept}

    assert list(found) == list(NAMES)
    assert found["first"] == found["last"] == ("ok", "")
    assert found["raises"] == ("error", "LookupError: as it is meant to")
    at = "while at: building the model"
    assert found["exits"] == ("error", f"the worker ended with exit status 5 {at}")
    assert found["killed"][1].startswith(f"the worker was killed by SIGKILL {at}")
    assert found["torn"][1].startswith(f"the worker was killed by SIGKILL {at}")
    assert found["stopped"] == (
        "error",
        f"the worker began to send a message, of which the end never came: it was killed after 1 s ({at})",
    )
    assert found["hangs"] == ("timeout", f"not done within {one.measure.timeout_s:.0f} s ({at})")
    assert found["memory"][0] == found["limited"][0] == "oom"
    assert "can't allocate memory" in found["memory"][1]
    for record in kept:
        assert record.round_wall_s is not None
        if record.status is Status.OK:
            assert record.measured_s is not None
            assert record.worker_start_s is not None
            assert 0 < record.measured_s < record.round_wall_s
            assert 0 <= record.worker_start_s < record.round_wall_s
