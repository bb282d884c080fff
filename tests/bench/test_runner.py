import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import runner
from bench.config import Experiment
from bench.launcher import Launcher
from bench.messages import Measured, Progress, blank_record
from bench.plan import Cell
from bench.records import CellRecord, Status
from bench.runner import EXIT_TIMEOUT_S, Run, execute
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
)

KILLED = Dies(0.5, status=signal.SIGKILL)


class Bench:
    """The runner on fake workers; `scripts` say what the jobs' workers do, by place in the schedule."""

    def __init__(self, one: Experiment, scripts: Sequence[Script], monkeypatch: Any, **workers: Any) -> None:
        self.clock = FakeClock()
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
            keep=self.kept.append,
            clock=self.clock,
        )

    def __call__(self) -> list[CellRecord]:
        execute(self.jobs, self.run, self.workers, self.watching)
        return self.kept


def _no_cuda(cell: Cell) -> str | None:
    return "no CUDA here" if cell.backend.is_cuda else None


def done(one: Experiment, index: int = 0, **values: Any) -> CellRecord:
    """The record that a worker sends for a job."""
    return blank_record(jobs_of(one)[index], Status.OK, "").model_copy(update=values)


def fine(one: Experiment, index: int = 0) -> Script:
    return [Says(1.0, done(one, index))]


def measure(**changes: Any) -> dict[str, Any]:
    base = {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off"}
    return base | changes


def test_order_and_progress(monkeypatch):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]}, measure=measure(rounds=2))
    scripts = [[Says(0.5, Progress(doing="x", done=index, total=9)), *fine(one, index)] for index in range(4)]
    bench = Bench(one, scripts, monkeypatch)
    kept = bench()

    first, second = "noise/b1/t1/16x16/cpu", "noise/b1/t2/16x16/cpu"
    assert [(record.cell, record.round) for record in kept] == [
        (first, 0), (second, 0), (first, 1), (second, 1),
    ]  # fmt: skip
    assert kept == bench.watching.records
    assert bench.watching.log[:3] == [f"started {first} 0", "progress x 0/9", f"ended {first} 0 ok"]
    # Each job has a process of its own, which has ended before the next is given its task.
    assert bench.workers.log[:6] == [
        "forget", "spawn 1", f"task {first} 0 to 1", "forget", "spawn 2", "ended 1",
    ]  # fmt: skip
    assert bench.workers.log[-1] == "ended 4"
    task = bench.workers.tasks[1]
    assert task.reference == Path("references/noise-b1-t2-16x16.npy")
    assert (task.model, task.measure, task.import_torch_s) == (one.model, one.measure, 1.5)


def test_skipped_cells_take_no_worker(monkeypatch):
    one = experiment(backends=["cudnn", "cpu"])
    bench = Bench(one, [fine(one, 1)], monkeypatch)
    skipped, ok = bench()
    assert (skipped.status, skipped.reason) == (Status.SKIPPED, "no CUDA here")
    assert skipped.round_wall_s is None
    assert ok.status is Status.OK
    assert bench.watching.log[0] == f"ended {skipped.cell} 0 skipped"
    assert bench.workers.log.count("spawn 1") == 1


def test_costs(monkeypatch):
    one = experiment()
    record = done(one, measured_s=2.0, reference_s=0.25)
    script = [Says(TICK_S, Progress(doing="x", done=0, total=1)), Says(4.0, record)]
    (kept,) = Bench(one, [script], monkeypatch, spawn_s=0.5)()
    assert kept.round_wall_s == 0.5 + TICK_S + 4
    assert kept.worker_start_s == 0.5 + TICK_S  # from asking for the worker
    assert kept.harness_s == 0.5 + TICK_S + 4 - 2 - 0.25


def test_a_record_without_times_has_no_harness_cost(monkeypatch):
    (kept,) = Bench(experiment(), [[KILLED]], monkeypatch)()
    assert kept.round_wall_s == 0.5
    assert kept.harness_s is None


def test_timeout(monkeypatch):
    one = experiment(measure=measure(timeout_s=10.0))
    script = [Says(4.0, Progress(doing="cold call", done=0, total=3)), Says(6.5, done(one))]
    bench = Bench(one, [script], monkeypatch)
    (kept,) = bench()
    assert kept.status is Status.TIMEOUT
    assert kept.reason == "not done within 10 s (while at: cold call)"
    assert kept.round_wall_s == 10
    assert bench.workers.log[-2:] == ["kill 1", "ended 1"]


def test_a_record_just_in_time(monkeypatch):
    one = experiment(measure=measure(timeout_s=10.0))
    (kept,) = Bench(one, [[Says(4.0, Progress(doing="x", done=0, total=3)), Says(6.0, done(one))]],
                    monkeypatch)()  # fmt: skip
    assert kept.status is Status.OK


def test_the_reference_has_as_long_again(monkeypatch):
    one = experiment(measure=measure(timeout_s=10.0))
    script = [Says(9.0, Measured(record=done(one))), Says(9.5, done(one, output_psnr_db=99.0))]
    (kept,) = Bench(one, [script], monkeypatch)()
    assert kept.status is Status.OK
    assert kept.output_psnr_db == 99
    assert kept.round_wall_s == 18.5


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (Says(10.5, Progress(doing="late", done=1, total=1)), "not done within 10 s"),
        (KILLED, "the worker was killed by SIGKILL"),
        (Dies(1.0, status=5 << 8), "the worker ended with exit status 5"),
        (Dies(1.0, with_server=True), "the process that starts workers was lost"),
    ],
)
def test_what_was_measured_survives_its_output_check(monkeypatch, end, why):
    one = experiment(measure=measure(timeout_s=10.0))
    measured = done(one, measured_s=2.0, first_forward_s=0.5, warnings=("as before",))
    bench = Bench(one, [[Says(3.0, Measured(record=measured)), end]], monkeypatch)
    (kept,) = bench()
    assert kept.status is Status.OK
    assert kept.first_forward_s == 0.5
    assert kept.warnings[0] == "as before"
    assert kept.warnings[1].startswith(f"output not checked: {why}")
    assert kept.harness_s == kept.round_wall_s - 2


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (Dies(0.5, status=5 << 8), Status.ERROR, "the worker ended with exit status 5 while at: cold (boo)"),
        (Dies(0.5, status=0), Status.ERROR, "the worker ended with exit status 0 while at: cold (boo)"),
        (Dies(0.5, status=signal.SIGSEGV), Status.ERROR, "the worker was killed by SIGSEGV while at: cold"),
        (Dies(0.5, status=60), Status.ERROR, "the worker was killed by signal 60 while at: cold"),
        (Says(0.5, ConnectionResetError()), Status.ERROR,
         "the worker ended with exit status 0 while at: cold (boo)"),
    ],
)  # fmt: skip
def test_a_lost_worker(monkeypatch, end, status, reason):
    script = [Says(0.5, Progress(doing="cold", done=0, total=1)), end]
    (kept,) = Bench(experiment(), [script], monkeypatch, words="boo")()
    assert (kept.status, kept.reason) == (status, reason)


def test_a_kill_is_out_of_memory_on_the_kernels_word_alone(monkeypatch):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]})
    counts = iter([7, 7, 7, 8])  # before and after each of the two
    monkeypatch.setattr(runner, "oom_kills", lambda: next(counts))
    first, second = Bench(one, [[KILLED], [KILLED]], monkeypatch)()
    assert first.status is Status.ERROR
    assert first.reason == "the worker was killed by SIGKILL while at: starting"
    assert second.status is Status.OOM
    assert second.reason.startswith("the worker was killed by SIGKILL while at: starting (the kernel ran out")


def test_the_kernels_count_is_read():
    assert runner.oom_kills() >= 0


@pytest.mark.parametrize("isolation", ["backend", "experiment"])
def test_a_group_shares_a_worker(monkeypatch, isolation):
    one = experiment(
        grid={"frames": [1, 2, 3], "size": [[16, 16]]}, measure=measure(rounds=2, isolation=isolation)
    )
    bench = Bench(one, [fine(one, index) for index in range(6)], monkeypatch)
    assert [record.status for record in bench()] == [Status.OK] * 6
    assert [line for line in bench.workers.log if line.startswith(("spawn", "ended"))] == [
        "spawn 1", "spawn 2", "ended 1", "ended 2",
    ]  # fmt: skip


def test_backends_have_workers_of_their_own(monkeypatch):
    one = experiment(
        grid={"frames": [1, 2], "size": [[16, 16]]},
        backends=["cpu", {"name": "one", "from": "cpu", "threads": 1}],
        measure=measure(isolation="backend"),
    )
    bench = Bench(one, [fine(one, index) for index in range(4)], monkeypatch)
    assert [record.backend for record in bench()] == ["cpu", "cpu", "one", "one"]
    assert bench.workers.log.count("forget") == 2


def test_the_rest_of_a_group_gets_a_new_worker(monkeypatch):
    one = experiment(
        grid={"frames": [1, 2, 3, 4], "size": [[16, 16]]}, measure=measure(isolation="experiment")
    )
    scripts = [fine(one, 0), [KILLED], fine(one, 2), fine(one, 3)]
    bench = Bench(one, scripts, monkeypatch)
    assert [str(record.status) for record in bench()] == ["ok", "error", "ok", "ok"]
    assert [line for line in bench.workers.log if line.startswith(("spawn", "task"))] == [
        "spawn 1",
        "task noise/b1/t1/16x16/cpu 0 to 1",
        "task noise/b1/t2/16x16/cpu 0 to 1",
        "spawn 2",
        "task noise/b1/t3/16x16/cpu 0 to 2",
        "task noise/b1/t4/16x16/cpu 0 to 2",
    ]


@pytest.mark.parametrize(("status", "workers"), [(Status.INACCURATE, 1), (Status.OOM, 2), (Status.ERROR, 2)])
def test_a_process_that_met_an_error_measures_nothing_more(monkeypatch, status, workers):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]}, measure=measure(isolation="experiment"))
    failed = [Says(1.0, blank_record(jobs_of(one)[0], status, "so"))]
    bench = Bench(one, [failed, fine(one, 1)], monkeypatch)
    assert [record.status for record in bench()] == [status, Status.OK]
    assert bench.workers.log.count("forget") == workers


def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]})
    bench = Bench(one, [fine(one), fine(one, 1)], monkeypatch, lingering=True)
    first, second = bench()
    assert (first.status, second.status) == (Status.OK, Status.OK)
    assert bench.workers.log[-6:] == [
        "spawn 2", "kill 1", "ended 1", f"task {second.cell} 0 to 2", "kill 2", "ended 2",
    ]  # fmt: skip
    assert first.round_wall_s == 1
    assert second.round_wall_s == 1 + EXIT_TIMEOUT_S  # nothing is measured beside it


def test_the_servers_death_is_a_record_and_a_restart(monkeypatch):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]})
    bench = Bench(one, [[Dies(1.0, with_server=True)], fine(one, 1)], monkeypatch)
    lost, ok = bench()
    assert lost.status is Status.ERROR
    assert lost.reason == "the process that starts workers was lost: exit status -9"
    assert ok.status is Status.OK
    assert bench.workers.log.count("restart") == 1


def test_a_server_that_dies_between_two_jobs_harms_neither(monkeypatch):
    one = experiment(grid={"frames": [1, 2], "size": [[16, 16]]})
    bench = Bench(one, [fine(one), fine(one, 1)], monkeypatch)

    def die_after_the_first(done: int) -> None:
        bench.workers.server_is_dead = done == 1

    bench.watching = Watching(die_after_the_first)
    first, second = bench()
    assert (first.status, second.status) == (Status.OK, Status.OK)
    assert bench.workers.log.count("restart") == 1


def test_a_server_that_cannot_be_started_again_is_a_record(monkeypatch):
    bench = Bench(experiment(), [[]], monkeypatch)
    bench.workers.server_is_dead = True
    monkeypatch.setattr(FakeWorkers, "restart", lambda self: self.log.append("restart"))
    (lost,) = bench()
    assert lost.status is Status.ERROR
    assert lost.reason == "the process that starts workers was lost: no server"


@pytest.mark.parametrize("isolation", ["cell", "experiment"])
def test_an_interrupt_keeps_what_is_done_and_ends_the_worker(monkeypatch, isolation):
    one = experiment(grid={"frames": [1, 2, 3], "size": [[16, 16]]}, measure=measure(isolation=isolation))
    bench = Bench(one, [fine(one), [Says(0.5, KeyboardInterrupt())], fine(one, 2)], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        bench()
    assert [record.frames for record in bench.kept] == [1]
    # It would go on measuring, and writing references, while the parent writes its report.
    assert bench.workers.log[-2].startswith("kill")
    assert bench.workers.log[-1].startswith("ended")


# Real workers.


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


NAMES = ("first", "raises", "exits", "killed", "torn", "stopped", "hangs", "memory", "last")


def _real(tmp_path: Path, kept: list[CellRecord], **changes: Any) -> Run:
    one = experiment(
        input=[{"name": name, "kind": "random"} for name in NAMES],
        measure=measure(timeout_s=3.0, **changes),
    )
    return Run(
        experiment=one,
        references=tmp_path,
        skip_reason=_no_cuda,
        keep=kept.append,
        worker="tests.bench.faulty_workers:serve",
    )


@pytest.mark.parametrize("isolation", ["cell", "experiment"])
def test_whatever_a_real_worker_does_the_rest_goes_on(launcher, tmp_path, isolation, monkeypatch):
    monkeypatch.setattr("bench.launcher.MESSAGE_TIMEOUT_S", 1)
    kept: list[CellRecord] = []
    run = _real(tmp_path, kept, isolation=isolation)
    execute(jobs_of(run.experiment), run, launcher, Watching())
    found = {record.input: (str(record.status), record.reason) for record in kept}

    assert list(found) == list(NAMES)
    assert found["first"] == found["last"] == ("ok", "")
    assert found["raises"] == ("error", "LookupError: as it is meant to")
    at = "while at: building the model"
    assert found["exits"] == ("error", f"the worker ended with exit status 5 {at}")
    assert found["killed"][1].startswith(f"the worker was killed by SIGKILL {at}")
    assert found["torn"][1].startswith(f"the worker was killed by SIGKILL {at}")
    assert found["stopped"][0] == "timeout"
    assert "the end never came" in found["stopped"][1]
    assert found["hangs"] == ("timeout", f"not done within 3 s ({at})")
    assert found["memory"][0] == "oom"
    assert "can't allocate memory" in found["memory"][1]
    for record in kept:
        assert record.round_wall_s is not None
        assert record.status is Status.TIMEOUT or record.round_wall_s < 60
        if record.status is Status.OK:
            assert record.harness_s is not None
            assert record.measured_s is not None
            assert 0 < record.measured_s < record.round_wall_s
            assert record.worker_start_s is not None
            assert 0 <= record.worker_start_s < record.round_wall_s


def test_an_interrupt_with_a_real_worker(launcher, tmp_path):
    kept: list[CellRecord] = []
    run = _real(tmp_path, kept)

    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(jobs_of(run.experiment), run, launcher, Watching(ended=interrupt))
    assert [(record.input, str(record.status)) for record in kept] == [("first", "ok"), ("raises", "error")]
