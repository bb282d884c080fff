"""Run the jobs: a worker per group, a deadline per job, and one record per job, however it ends."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from pickle import UnpicklingError
from time import monotonic
from typing import Final, Protocol

from bench.errors import ServerDiedError
from bench.grid.config import Experiment
from bench.grid.costs import Costs
from bench.grid.estimate import peak_bytes
from bench.grid.plan import Cell, Job, groups
from bench.machine.host_memory import OomKills, oom_evidence, oom_kills
from bench.messages import GO, Measured, Progress, Ready, Task, blank_record
from bench.process import launcher, verdicts
from bench.process.admission import Admission
from bench.process.budget import Budget
from bench.process.forecast import Forecast
from bench.process.interrupts import held_back
from bench.process.launcher import WorkerProcess
from bench.process.verdicts import Received
from bench.records import CellRecord, Status

WORKER: Final = "bench.measure.worker:main"

EXIT_TIMEOUT_S: Final = 10.0
"""A worker that is done ends within milliseconds; one that has not after this long is killed."""


class Workers(Protocol):
    """The part of bench.process.launcher.Launcher that the runner uses."""

    import_torch_s: float

    def spawn(self, target: str) -> WorkerProcess: ...
    def kill(self, worker: WorkerProcess) -> None: ...
    def exit_status(self, worker: WorkerProcess, timeout_s: float) -> int: ...
    def last_line(self) -> str: ...
    def clear_output(self) -> None: ...
    def restart(self) -> None: ...


class Observer(Protocol):
    """A listener to the events of a run."""

    def job_started(self, job: Job) -> None: ...
    def job_progressed(self, job: Job, progress: Progress) -> None: ...
    def job_ended(self, job: Job, record: CellRecord) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings that the jobs of a run share."""

    experiment: Experiment
    references: Path  # a folder where CPU float32 results are kept meanwhile
    profiles: Path | None = None  # a folder where profilers' traces are kept for good
    skip_reason: Callable[[Cell], str | None]  # what this machine or the inputs lack for a cell
    costs_missing: Mapping[str, str] = field(default_factory=dict)  # why costs are not known, by network
    costs_of: Callable[[Cell], Costs | None] = lambda _cell: None  # of a forward, by stage
    admission: Admission
    forecast: Forecast
    budget: Budget | None = None
    keep: Callable[[CellRecord], None]  # puts a record on disk
    worker: str = WORKER
    method: object = None  # goes to the worker with every task
    clock: Callable[[], float] = monotonic
    oom_kills: Callable[[], OomKills] = oom_kills


def execute(jobs: Sequence[Job], run: Run, workers: Workers, observer: Observer) -> None:
    """Run every job and keep its record. An interrupt loses only the current job."""
    runnable = []
    for job in jobs:
        reason = run.skip_reason(job.cell)
        if reason is None:
            runnable.append(job)
        else:
            _keep(job, blank_record(job, Status.SKIPPED, reason), run, observer)
    processes = _Processes(run, workers)
    in_groups = [*groups(runnable, isolation=run.experiment.measure.isolation)]
    left = [job for group in in_groups for job in group]
    try:
        for group in in_groups:
            for job in group:
                seconds = run.budget.share_s(left) if run.budget is not None else None
                left = left[1:]
                if run.budget is not None and seconds is None:
                    reason = run.budget.reason
                else:
                    reason = run.admission.refusal(job.cell, processes.make_room)
                if reason is None:
                    observer.job_started(job)
                    record = processes.record_of(job, observer, seconds, last=job is group[-1])
                    run.admission.learn(job.cell, record)
                    run.forecast.learn(job.cell, record)
                else:
                    record = blank_record(job, Status.SKIPPED, reason)
                _keep(job, record, run, observer)
            processes.dismiss()  # where the last of the group was skipped
    finally:
        processes.end()


def _keep(job: Job, record: CellRecord, run: Run, observer: Observer) -> None:
    with held_back():  # a record that is begun is written whole
        run.keep(record)
    observer.job_ended(job, record)


class _Processes:
    """The current worker, and the one that is ending."""

    def __init__(self, run: Run, workers: Workers) -> None:
        self._run = run
        self._workers = workers
        self._worker: WorkerProcess | None = None
        self._leaving: WorkerProcess | None = None  # done, and giving its memory back

    def record_of(
        self, job: Job, observer: Observer, seconds: float | None, *, last: bool, tries: int = 2
    ) -> CellRecord:
        """Run the job, for so many `seconds` if they are given, and return its record.

        The `last` of the jobs that share a process ends the process, and so does an error. If the server is
        lost before the job measured anything, it is tried again: the job did not cause it.
        """
        began = self._run.clock()
        received = Received()
        try:
            record = self._attempt(job, observer, seconds, last=last, began=began, received=received)
        except (ServerDiedError, TimeoutError) as error:
            # Killed, or waiting for a worker that the kernel does not let die: begin anew without it.
            self._restart()
            if tries > 1 and received.record is None and not received.may_measure:
                return self.record_of(job, observer, seconds, last=last, tries=tries - 1)
            reason = f"the process that starts workers was lost: {error}"
            record = received.record or verdicts.partial_record(job, received, Status.ERROR, reason)
        wall_s = self._run.clock() - began
        return _with_costs(record, round_wall_s=wall_s, worker_start_s=received.worker_start_s)

    def _attempt(
        self,
        job: Job,
        observer: Observer,
        seconds: float | None,
        *,
        last: bool,
        began: float,
        received: Received,
    ) -> CellRecord:
        run, workers = self._run, self._workers
        kills = run.oom_kills()
        fresh = self._worker is None
        if self._worker is None:
            workers.clear_output()
            self._worker = workers.spawn(run.worker)
        worker = self._worker
        task = _task(job, run, workers.import_torch_s, seconds, first_in_process=fresh)
        self._exchange(worker, task, observer, began=began, received=received)
        status = 0
        if received.record is None:
            self._worker = None
            status = _end(worker, workers, by_force=received.hangs)
        # After an error a process may be unfit for more: CUDA's fatal ones stay with it.
        elif last or received.record.status in (Status.ERROR, Status.OOM):
            self._await_leaving()  # where it ended before it was ready
            self.dismiss()
        return received.record or verdicts.lost_worker_record(
            job,
            received,
            status,
            oom_evidence=oom_evidence(kills, run.oom_kills()),
            last_line=workers.last_line(),
        )

    def _exchange(
        self, worker: WorkerProcess, task: Task, observer: Observer, *, began: float, received: Received
    ) -> None:
        """Send the task and receive into `received` until its record, the worker's end or the deadline."""
        run = self._run
        timeout_s = run.experiment.measure.timeout_s
        deadline = began + timeout_s
        try:
            worker.connection.send(task)
            while received.record is None:
                if not wait([worker.connection], max(0.0, deadline - run.clock())):
                    received.timed_out_s = timeout_s
                    break
                message = worker.connection.recv()
                if received.worker_start_s is None:
                    received.worker_start_s = run.clock() - began
                if isinstance(message, CellRecord):
                    received.record = message
                elif isinstance(message, Ready):
                    if self._leaving is not None:
                        asked = run.clock()
                        self._await_leaving()
                        self._workers.clear_output()  # the other's last
                        deadline += run.clock() - asked  # which is not this job's
                    received.may_measure = True
                    worker.connection.send(GO)
                elif isinstance(message, Measured):
                    # The reference is not what the user's limit is about; it has as long again.
                    received.measured, received.doing = message.record, "the CPU float32 reference"
                    deadline = run.clock() + timeout_s
                else:
                    received.doing = message.doing
                    observer.job_progressed(task.job, message)
        except TimeoutError:  # of the worker that leaves; an OSError, too
            raise
        except BlockingIOError:
            received.unfinished_s = launcher.MESSAGE_TIMEOUT_S
        except (EOFError, OSError, UnpicklingError):
            pass  # the worker has ended, perhaps in the middle of a message; its exit status says how

    def _restart(self) -> None:
        self._worker = self._leaving = None
        self._workers.restart()

    def dismiss(self) -> None:
        """Signal the current worker that it gets no more tasks."""
        if self._worker is not None:
            self._worker.connection.close()
            self._worker, self._leaving = None, self._worker

    def make_room(self) -> None:
        """Free the memory of this run: an idle worker keeps what it has freed, for its next cell."""
        try:
            self._await_leaving()
            self.dismiss()
            self._await_leaving()
        except (ServerDiedError, TimeoutError):
            self._restart()

    def _await_leaving(self) -> None:
        """Wait until the ending worker has exited.

        It gives hundreds of megabytes back to the kernel, which takes longer than a fork. Meanwhile the next
        one begins and builds its model; it measures nothing before both are done.
        """
        if self._leaving is not None:
            _end(self._leaving, self._workers, by_force=False)
            self._leaving = None

    def end(self) -> None:
        """Leave no process behind.

        A current worker has been interrupted: alone it would go on measuring, and writing references.
        """
        with suppress(ServerDiedError, TimeoutError):
            if self._worker is not None:
                _end(self._worker, self._workers, by_force=True)
            self._await_leaving()


def _task(
    job: Job, run: Run, import_torch_s: float, seconds: float | None, *, first_in_process: bool
) -> Task:
    costs = run.costs_of(job.cell)
    return Task(
        job=job,
        costs=costs or {},
        costs_missing=run.costs_missing.get(job.cell.model.name, "") if costs is None else "",
        plain_peak_bytes=peak_bytes(run.costs_of(job.cell.reference)),
        measure=run.experiment.measure,
        reference=run.references / ("-".join(job.cell.clip_id) + ".npy"),
        profiles=run.profiles,
        budget_s=seconds,
        import_torch_s=import_torch_s,
        first_in_process=first_in_process,
        method=run.method,
    )


def _end(worker: WorkerProcess, workers: Workers, *, by_force: bool) -> int:
    """Wait for the worker to end, or kill it; return its wait status."""
    if by_force:
        workers.kill(worker)
    worker.connection.close()
    try:
        return workers.exit_status(worker, EXIT_TIMEOUT_S)
    except TimeoutError:
        workers.kill(worker)
        return workers.exit_status(worker, EXIT_TIMEOUT_S)


def _with_costs(record: CellRecord, *, round_wall_s: float, worker_start_s: float | None) -> CellRecord:
    costs: dict[str, float | None] = {"round_wall_s": round_wall_s, "worker_start_s": worker_start_s}
    if record.measured_s is not None:
        costs["harness_s"] = round_wall_s - record.measured_s - (record.reference_s or 0.0)
    return record.model_copy(update=costs)
