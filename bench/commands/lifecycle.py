"""A run from its plan to its report; nothing is written before everything that can be checked has been."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import Final

from bench.commands.calibration import calibrate, small_cells
from bench.errors import RunStoppedError
from bench.grid import plan
from bench.grid.ceilings import CeilingSpec, wanted
from bench.grid.config import Experiment
from bench.grid.plan import Cell, Job
from bench.grid.yaml_source import places_named
from bench.machine import environment, timer, variables
from bench.measure import ceilings, preflight
from bench.measure.preflight import TraceProgress
from bench.plotting.plots import EmptyPlot, write_plots
from bench.process.admission import Admission, rooms
from bench.process.budget import Budget
from bench.process.forecast import Expected, Forecast
from bench.process.launcher import Launch, Launcher
from bench.process.runner import Observer, Run, execute
from bench.records import Journal, Status, append_ceiling, read_ceilings
from bench.reporting import page
from bench.reporting.ladder import ladder_images, write_ladder
from bench.reporting.rendering import Pages
from bench.reporting.runs import ReportedRun, together
from bench.results.run_folder import RunFolder, check_free, clear_unbegun, free_path, is_begun
from bench.stats.changes import one_round
from bench.tuning.tuned import notes as tuned_notes

DisplayFactory = Callable[[Sequence[Job], Expected], AbstractContextManager[Observer]]
"""Factory of the display of the jobs' progress."""


SOON_KNOWN: Final = 3
"""Backends that a run's first cells show soon enough for what it says of the time left."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A different measuring worker with its own method: all cells of a backend before those of the next."""

    worker: str  # bench.process.runner.Run.worker
    method: object  # goes to the worker with every task
    says: str  # how it measures, for environment.json and the report


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """End of a run, and the paths of its results."""

    folder: Path
    statuses: dict[Status, int]  # of the cells that have a record
    planned: int  # cells
    interrupted: bool
    report: Pages
    images: tuple[Path, ...]  # plots
    empty: tuple[EmptyPlot, ...]  # plots that were asked for and have nothing to show
    warnings: dict[str, int]  # cells by what they are warned of
    notes: tuple[str, ...] = ()  # on backends that were tuned elsewhere

    @property
    def failed(self) -> int:
        """Cells that ended neither `ok` nor `skipped`."""
        return sum(n for status, n in self.statuses.items() if status not in (Status.OK, Status.SKIPPED))


def start(
    experiment: Experiment,
    display: DisplayFactory,
    *,
    filters: Sequence[str] = (),
    output: Path | None = None,
    with_host_name: bool = False,
    launch: Launch = Launcher,
    beside: Sequence[RunFolder] = (),
    script: Script | None = None,
    calibrates: bool = True,
    tracing: Callable[[], AbstractContextManager[TraceProgress]] | None = None,
) -> Outcome:
    """Run the experiment in a new folder, measured by the ordinary worker or by a `script`.

    `calibrates`: a long run times a small clip on each backend first, for what it says of the time left.
    `tracing` opens a context whose value is called with the progress of tracing the cells' costs.
    Raises BadInput, before anything is written, for what cannot be run, and where a run `beside` which the
    results will stand was made by another machine or other code. KeyboardInterrupt has the command that does
    the rest as its argument, where there is any.
    """
    began_s = monotonic()
    cells = plan.cells(experiment, filters)
    check_free(output or free_path(experiment.name))
    variables = environment.ALLOCATOR_VARIABLES[experiment.measure.allocator]
    folder = None
    try:
        with launch(variables) as launcher:
            # It ends before anything is measured: what it shows is drawn by a thread.
            small = _timed_before(experiment, cells, calibrates=calibrates)
            with nullcontext() if tracing is None else tracing() as progress:
                answer = preflight.ask(launcher, cells, besides=small, progress=progress)
            experiment = _written_out(experiment, answer)
            cells = plan.cells(experiment, filters)
            described = {
                **environment.collect(answer.torch, variables, with_host_name=with_host_name),
                "timer": asdict(timer.measure()),
                **_method(script),
            }
            for other in beside:
                # The variables are the allocator's.
                other.check_same(described, but=("workers_environment", "method"))
            folder = RunFolder.create(output or free_path(experiment.name), experiment, described, filters)
            with folder.journal() as journal:
                return _carry_out(folder, journal, cells, launcher, answer, display, script, began_s, small)
    except KeyboardInterrupt:  # while it begins, or while results are written and its server ends
        if folder is None:
            raise
        raise KeyboardInterrupt(_again(folder)) from None


def _written_out(experiment: Experiment, answer: preflight.Answer) -> Experiment:
    """Write out the arguments of registered networks: defaults may change with a version."""
    models = tuple(
        model.model_copy(update={"parameters": answer.networks[model.name].arguments})
        if model.import_ is None and model.name in answer.networks
        else model
        for model in experiment.models
    )
    return experiment.model_copy(update={"models": models})


def resume(
    path: Path,
    display: DisplayFactory,
    *,
    given: Experiment | None = None,
    launch: Launch = Launcher,
    script: Script | None = None,
    calibrates: bool = True,
) -> Outcome:
    """Run what a folder's run has not done yet; `calibrates` as in `start`.

    Raises BadInput for a folder without a run, and where the run would be another one: its configuration (and
    `given`, if any), machine, code or files are not the same.
    """
    began_s = monotonic()
    folder = RunFolder.open(path)
    folder.check_config(given)
    cells = folder.cells()
    variables = environment.ALLOCATOR_VARIABLES[folder.experiment.measure.allocator]
    # The lock comes first: beside a run that is going on, not even torch is to be imported.
    small = _timed_before(folder.experiment, cells, calibrates=calibrates)
    with folder.journal() as journal, launch(variables) as launcher:
        with places_named(folder.named):
            answer = preflight.ask(launcher, cells, besides=small)
        if len(folder.records()) < plan.round_count(cells, folder.experiment.measure):
            folder.check_same({**environment.collect(answer.torch, variables), **_method(script)})
        return _carry_out(folder, journal, cells, launcher, answer, display, script, began_s, small)


def start_or_resume(
    path: Path,
    experiment: Experiment,
    display: DisplayFactory,
    *,
    filters: Sequence[str] = (),
    launch: Launch = Launcher,
    beside: Sequence[RunFolder] = (),
    script: Script | None = None,
) -> Outcome:
    """Run the experiment in the folder, or what a run that has begun there has not done yet.

    It is one of several runs of a command, and nothing is calibrated for it alone.
    """
    if is_begun(path):
        return resume(path, display, given=experiment, launch=launch, script=script, calibrates=False)
    clear_unbegun(path)
    return start(
        experiment, display, filters=filters, output=path, launch=launch, beside=beside, script=script,
        calibrates=False,
    )  # fmt: skip


def _method(script: Script | None) -> dict[str, str]:
    """Return what environment.json records of a script, so that no other one resumes its run."""
    return {} if script is None else {"method": script.says}


def rebuild(path: Path) -> Outcome:
    """Derive a run's tables, plots and report from its journal again."""
    folder = RunFolder.open(path)
    with folder.journal() as journal:
        rmtree(folder.references, ignore_errors=True)  # of a run that was killed
        return derive(folder, again=_again(folder), interrupted=False, unlocked=journal.unlocked)


def _carry_out(
    folder: RunFolder,
    journal: Journal,
    cells: Sequence[Cell],
    launcher: Launcher,
    answer: preflight.Answer,
    display: DisplayFactory,
    script: Script | None,
    began_s: float,
    small: Sequence[Cell],
) -> Outcome:
    jobs, run = left_to_do(folder, journal, cells, answer)
    expected = run.forecast.seconds
    if (budget_s := folder.experiment.measure.budget_s) is not None:
        budget = Budget(seconds=budget_s, forecast=run.forecast, began_s=began_s)
        run, expected = replace(run, budget=budget), budget.expected
    if script is not None:
        run = replace(run, worker=script.worker, method=script.method)
        jobs = _backend_by_backend(jobs, cells)

    interrupted = False
    try:
        with kept(folder.path, _again(folder)):
            if jobs:
                unknown = [cell for cell in small if not run.forecast.knows(cell)]
                calibrate(run.forecast, folder.experiment, unknown, answer, launcher)
                missing = _ceilings_missing(folder, cells, answer)
                ceilings.measure(launcher, missing, partial(append_ceiling, folder.path))
            with display(jobs, expected) as observer:
                execute(jobs, run, launcher, observer)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        rmtree(folder.references, ignore_errors=True)
    return derive(folder, again=_again(folder), interrupted=interrupted, unlocked=journal.unlocked)


def _timed_before(experiment: Experiment, cells: Sequence[Cell], *, calibrates: bool) -> list[Cell]:
    """Return the cells that are timed before a run, for its forecast.

    Those are none where the first cells soon show all backends, or a short run is over by then.
    """
    small = small_cells(cells)
    is_long = len(small) > SOON_KNOWN and plan.round_count(cells, experiment.measure) > 2 * len(small)
    return small if experiment.measure.budget_s is not None or (calibrates and is_long) else []


def _backend_by_backend(jobs: Sequence[Job], cells: Sequence[Cell]) -> list[Job]:
    """Return each round in the order of the grid, all cells of a backend before those of the next."""
    backends = list(dict.fromkeys(cell.backend.name for cell in cells))
    place = {cell.id: (backends.index(cell.backend.name), index) for index, cell in enumerate(cells)}
    return sorted(jobs, key=lambda job: (job.round, place[job.cell.id]))


def _ceilings_missing(
    folder: RunFolder, cells: Sequence[Cell], answer: preflight.Answer
) -> list[CeilingSpec]:
    """Return the ceilings that the run needs and has no samples of, including failed ones."""
    if not folder.experiment.measure.ceilings:
        return []
    backends = {cell.backend.name: cell.backend for cell in cells}
    specs = wanted(backend for name, backend in backends.items() if name not in answer.unavailable)
    known = {ceiling.spec for ceiling in read_ceilings(folder.path) if ceiling.samples_s}
    return [spec for spec in specs if spec not in known]


def left_to_do(
    folder: RunFolder, journal: Journal, cells: Sequence[Cell], answer: preflight.Answer
) -> tuple[list[Job], Run]:
    """Return the rounds that a run has no record of, in order, and the settings that they share."""
    records = folder.records()
    finished = {(record.cell, record.round) for record in records}
    planned = plan.schedule(cells, folder.experiment.measure)
    rmtree(folder.references, ignore_errors=True)  # of a part of this run that was killed
    by_id = {cell.id: cell for cell in cells}
    measured = [(by_id[record.cell], record) for record in records]
    run = Run(
        experiment=folder.experiment,
        references=folder.references,
        profiles=folder.profiles,
        skip_reason=lambda cell: preflight.skip_reason(cell, answer),
        costs_of=answer.costs_of,
        costs_missing=answer.costs_missing,
        admission=Admission(
            folder.experiment.measure,
            rooms(answer.free_device_bytes),
            answer.costs_of,
            measured,
        ),
        forecast=Forecast(folder.experiment.measure, answer.costs_of, measured),
        keep=journal.append,
    )
    return [job for job in planned if (job.cell.id, job.round) not in finished], run


def _again(folder: RunFolder) -> str:
    return f"vsr-bench run --resume {folder.path}"


@contextmanager
def kept(path: Path, again: str) -> Iterator[None]:
    """Turn a failed write of results, most often for lack of space, into RunStoppedError.

    `again` is the command that does the rest.
    """
    try:
        yield
    except OSError as error:
        raise RunStoppedError(
            f"{error.filename or path}: {error.strerror or error}; what is done is kept, and the rest is for "
            f"{again}"
        ) from error


def derive(folder: RunFolder, *, again: str, interrupted: bool, unlocked: str | None = None) -> Outcome:
    """Derive tables, plots and report from the journal. Raises RunStoppedError naming the command `again`.

    `unlocked` says why the journal was not locked, where it was not.
    """
    with kept(folder.path, again):
        rmtree(folder.path / "plots", ignore_errors=True)  # figures that are no longer asked for, too
        tables = folder.write_tables()
        plots = write_plots(
            tables, baseline=folder.baseline, kinds=folder.experiment.plots, folder=folder.path / "plots"
        )
        write_ladder(folder, tables)
        tuned = tuned_notes(folder.experiment.backends, folder.environment)
        few = one_round(folder.experiment.measure.rounds)  # which the page says by itself
        notes = [few] * bool(few and Status.OK in set(tables.summary["status"]))
        dropped = variables.dropped_note(folder.environment)
        notes += [dropped] if dropped else []
        notes += [f"{folder.path}: {unlocked}"] if unlocked else []
        planned = len(folder.cells())
        missing = folder.round_count() - len(tables.cells)
        run = ReportedRun.of(folder, tables, files=folder.written(), notes=(page.unfinished(missing), *tuned))
        images = [*plots.images, *ladder_images(folder)]
        return Outcome(
            folder=folder.path,
            statuses=dict(Counter(map(Status, tables.summary.drop_duplicates("cell")["status"]))),
            planned=planned,
            interrupted=interrupted,
            report=page.write(folder.path, together([run]), plots=images),
            images=tuple(images),
            empty=plots.empty,
            warnings=dict(Counter(tables.warnings["code"])),
            notes=(*tuned, *notes),
        )
