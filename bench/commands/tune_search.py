"""The search for the fastest backend: from a grid to a backend file, stage by stage, each an ordinary run.

request.json config.yaml        what was asked for; the grid as given, whose clips are tuned for
1-alone/ 2-together-1/ ...      the stages: runs, with a report each
confirm/                        the best beside the plain network, measured afresh
tune.csv tuned.yaml             what was tried; the answer, which goes where it is looked up, too
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from bench.commands import lifecycle as runs
from bench.commands.requests import alone, read_experiment, read_request, write_request
from bench.grid import config, plan
from bench.grid.backend import Backend
from bench.grid.config import Experiment
from bench.grid.plan import Job
from bench.machine import environment
from bench.measure import preflight
from bench.messages import Progress
from bench.process.forecast import Expected
from bench.process.launcher import Launch, shared_launchers
from bench.process.runner import Observer
from bench.records import JOURNAL_NAME, CellRecord, Status, read_journal
from bench.reporting.rendering import REPORT_STEM
from bench.results.files import to_csv, write_whole
from bench.results.run_folder import RunFolder, check_free, free_path, is_begun
from bench.stats.intervals import MIN_ROUNDS
from bench.tuning.report import file_text, format_budget
from bench.tuning.request import REQUEST_NAME, Request, check_file
from bench.tuning.search import CONFIRM, CONFIRM_ROUNDS, Search, Stage, answered, others, table
from bench.tuning.space import PLAIN_NAME, axes, plain
from bench.tuning.verdict import Verdict, verdict
from vsr_model.errors import BadInput

STEM: Final = "tune"
TUNED_NAME: Final = "tuned.yaml"
TABLE_NAME: Final = "tune.csv"

Say = Callable[[str], None]
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Result of a search."""

    folder: Path
    asked: Request
    interrupted: bool = False
    stages: tuple[Stage, ...] = ()
    out_of_time: bool = False  # before the search came to its own end
    verdict: Verdict | None = None  # None where it was interrupted, or has no answer
    no_answer: str = ""  # why there is none: no file is written then


def start(
    experiment: Experiment,
    ask: Callable[[str], Request],
    display: runs.DisplayFactory,
    say: Say,
    *,
    device: str | None = None,
    folder: Path | None = None,
    clock: Clock = monotonic,
) -> Tuned:
    """Search in a new folder.

    `ask` makes the request for a device, which is this machine's where none is given. Raises BadInput, before
    anything is written, for a request that cannot be met.
    """
    check_free(folder or free_path(f"{STEM}-{experiment.name}"))
    if device is not None:
        ask(device)  # what is wrong is found before a process is started
    with shared_launchers() as launch:
        asked = ask(device or ("cpu" if _unavailable(experiment, "cuda", launch) else "cuda"))
        if reason := _unavailable(experiment, asked.device, launch, asked.filters):
            raise BadInput(f"--device {asked.device}: {reason}")
        folder = folder or free_path(f"{STEM}-{experiment.name}")
        write_request(folder, REQUEST_NAME, asked, experiment)
        with alone(folder, REQUEST_NAME):
            return _Tuning(folder, asked, experiment, display, say, launch, clock).done()


def resume(folder: Path, display: runs.DisplayFactory, say: Say, *, clock: Clock = monotonic) -> Tuned:
    """Resume a search for the time that is left of it.

    Raises BadInput for a folder without a search, and where machine or program are not those it began with.
    """
    asked = read_request(folder, REQUEST_NAME, Request, "search for a backend")
    experiment = read_experiment(folder)
    check_file(asked.file)
    with alone(folder, REQUEST_NAME), shared_launchers() as launch:
        return _Tuning(folder, asked, experiment, display, say, launch, clock).done()


def again(folder: Path) -> str:
    """Return the command that resumes a search."""
    return f"vsr-bench tune --resume {folder}"


@dataclass(frozen=True, kw_only=True)
class _Limited:
    """An observer that interrupts the run before a job that may not start; finished jobs are kept."""

    inner: Observer
    may_start: Callable[[Job], bool]

    def job_started(self, job: Job) -> None:
        if not self.may_start(job):
            raise KeyboardInterrupt
        self.inner.job_started(job)

    def job_progressed(self, job: Job, progress: Progress) -> None:
        self.inner.job_progressed(job, progress)

    def job_ended(self, job: Job, record: CellRecord) -> None:
        self.inner.job_ended(job, record)


@dataclass
class _Tuning:
    """A search in its folder."""

    folder: Path
    asked: Request
    experiment: Experiment
    display: runs.DisplayFactory
    say: Say
    launch: Launch
    clock: Clock
    out_of_time: bool = False

    def __post_init__(self) -> None:
        asked = self.asked
        self.plain = plain(asked.device)
        self.search = Search(
            plain=self.plain,
            axes=axes(asked.device, cores=asked.cores, min_psnr_db=asked.min_psnr_db, without=asked.without),
        )
        # What was spent between the rounds of an earlier process is not known.
        self.began_s = self.clock() - sum(
            record.round_wall_s or 0.0 for record in _records_below(self.folder)
        )

    def done(self) -> Tuned:
        """Do all that is left, and return the answer."""
        with runs.kept(self.folder, again(self.folder)):
            found: list[Stage] = []
            try:
                confirmed = self._measured(found)
            except KeyboardInterrupt:
                return Tuned(folder=self.folder, asked=self.asked, interrupted=True)
            stages = (*found, *([confirmed] if confirmed else ()))
            ended = Tuned(folder=self.folder, asked=self.asked, stages=stages, out_of_time=self.out_of_time)
            if stages:
                write_whole(self.folder / TABLE_NAME, to_csv(table(stages)))
            if why := self._no_answer(found, confirmed):
                return replace(ended, no_answer=why)
            ended = replace(ended, verdict=verdict(confirmed, self.plain))
            text = self._text(ended)
            for file in (self.folder / TUNED_NAME, self.asked.file):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, text)
            return ended

    def _no_answer(self, found: Sequence[Stage], confirmed: Stage | None) -> str:
        """Return why the search has no answer, in a sentence, or an empty text if it has one.

        An unknown answer must not replace an existing backend file.
        """
        for stage in (*found[:1], *([confirmed] if confirmed else ())):
            of_plain = stage.answers[self.plain]
            if of_plain.status != Status.OK:
                return (
                    f"the plain network, which all is compared with, was not measured in {stage.name} "
                    f"({of_plain.in_short})"
                )
        if any(stage.speedup(candidate, right=False) is not None for stage, candidate in others(found)):
            return ""
        if found and not self.out_of_time:
            return "none of the backends that were tried could be measured"
        within = format_budget(self.asked.within_s)
        return f"the time, {within}, was over before any backend was measured beside the plain network"

    def _measured(self, found: list[Stage]) -> Stage | None:
        """Run the stages into `found` and return the confirmation, or None with nothing to confirm."""
        confirm = self.folder / CONFIRM
        over = is_begun(confirm)  # then the search is, whatever time there was
        while not self.out_of_time and (stage := self.search.next_stage(found)) is not None:
            path = self.folder / f"{len(found) + 1}-{stage.name}"
            if (over or self._search_is_over()) and not is_begun(path):
                self.out_of_time = True
            else:
                found.append(self._stage(path, stage, read_only=over))
        if self.search.best(found) == self.plain:
            return None
        return self._stage(confirm, self.search.confirmation(found))

    def _stage(self, path: Path, stage: Stage, *, read_only: bool = False) -> Stage:
        experiment = _experiment_of(stage, self.experiment, self.plain, self.asked.min_psnr_db)
        if not read_only and not _is_whole(path):
            names = ", ".join(candidate.name for candidate in stage.candidates)
            self.say(f"{path.name}: {PLAIN_NAME}, {names}")
            self._run(path, stage, experiment)
        run = RunFolder.open(path)
        run.check_config(experiment)
        return answered(stage, self.plain, run.cells(), run.tables())

    def _run(self, path: Path, stage: Stage, experiment: Experiment) -> None:
        """Measure what is left of a stage, until the time is over. Raises KeyboardInterrupt."""
        stopped = False

        def may_start(job: Job) -> bool:
            nonlocal stopped
            if stage.name == CONFIRM:
                stopped = job.round >= MIN_ROUNDS and self._spent_s() >= self.asked.within_s
            else:
                plain_known = job.cell.backend.name == PLAIN_NAME and job.round == 0
                stopped = not plain_known and self._search_is_over()
            return not stopped

        @contextmanager
        def display(jobs: Sequence[Job], expected: Expected) -> Iterator[Observer]:
            with self.display(jobs, expected) as inner:
                yield _Limited(inner=inner, may_start=may_start)

        outcome = runs.start_or_resume(
            path, experiment, display, filters=self.asked.filters, launch=self.launch
        )
        if outcome.interrupted and not stopped:
            raise KeyboardInterrupt
        self.out_of_time = self.out_of_time or stopped

    def _search_is_over(self) -> bool:
        """Return whether the remaining time is for the confirmation."""
        return self._spent_s() + self._confirmation_s() > self.asked.within_s

    def _spent_s(self) -> float:
        return self.clock() - self.began_s

    def _confirmation_s(self) -> float:
        """Return the expected time of the confirmation, from the plain network's rounds so far.

        Two backends are confirmed, none slower than the plain network. The result is at most half of the
        time: with fewer rounds the interval is wider, and without a search there is nothing to confirm.
        """
        longest: dict[str, float] = {}
        for record in _records_below(self.folder):
            if record.backend == PLAIN_NAME and record.round_wall_s is not None:
                longest[record.cell] = max(longest.get(record.cell, 0.0), record.round_wall_s)
        return min(2 * CONFIRM_ROUNDS * sum(longest.values()), self.asked.within_s / 2)

    def _text(self, ended: Tuned) -> str:
        assert ended.verdict is not None
        first = RunFolder.open(self.folder / f"1-{ended.stages[0].name}")
        return file_text(self.asked, ended.verdict, ended.stages, first, when=datetime.now(UTC))


def _experiment_of(stage: Stage, experiment: Experiment, start: Backend, min_psnr_db: float) -> Experiment:
    """Return the run of a stage: the grid's clips on the plain network and timed candidates."""
    checked = [candidate.replace(min_psnr_db=min_psnr_db) for candidate in stage.candidates]
    backends = [backend.model_dump(by_alias=True) for backend in (start, *checked)]
    measure = {
        "warmup": 1,
        "repetitions": {"min": 3, "max": 10, "target": 0.02, "budget_s": 2.0},
        "rounds": stage.rounds,
        "order": "random" if stage.name == CONFIRM else "interleaved",
        "stages": "off",
        "memory": "off",
        "timeout_s": experiment.measure.timeout_s,
        "allocator": experiment.measure.allocator,
        "memory_check": experiment.measure.memory_check,
    }
    data = config.plain(experiment) | {
        "name": f"{STEM}-{stage.name}", "backends": backends, "measure": measure, "plots": [],
    }  # fmt: skip
    for field in ("baseline", "ladder"):
        data.pop(field, None)
    return config.of_plain(data)


def _is_whole(path: Path) -> bool:
    """Return whether a stage is measured to its end and reported."""
    if not is_begun(path) or not (path / f"{REPORT_STEM}.html").is_file():
        return False
    run = RunFolder.open(path)
    return len(run.records()) >= run.round_count()


def _unavailable(
    experiment: Experiment, device: str, launch: Launch, filters: Sequence[str] = ()
) -> str | None:
    """Return why the plain network cannot run on a device here, asked of a worker, or None."""
    stage = Stage(name="ask", candidates=(), rounds=1)
    cells = plan.cells(_experiment_of(stage, experiment, plain(device), 80.0), filters)
    with launch(environment.ALLOCATOR_VARIABLES[experiment.measure.allocator]) as launcher:
        answer = preflight.ask(launcher, cells)
    reasons = {preflight.skip_reason(cell, answer) for cell in cells}
    return None if None in reasons else "; ".join(sorted(filter(None, reasons)))


def _records_below(folder: Path) -> list[CellRecord]:
    return [record for path in sorted(folder.glob(f"*/{JOURNAL_NAME}")) for record in read_journal(path)]
