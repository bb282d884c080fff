"""Measure several sides of one experiment in turn, so that changes of the machine affect all of them alike.

Group by group (bench.grid.plan.groups; with `isolation: cell` a group is one round of one cell) every side is
measured before any goes on to the next group: A B in even rounds and B A in odd ones, so that neither always
follows the other, and a drift within a pair has the other sign in the next. Each side is a run like any
other, in a folder of its own, whose records show by their `started_at` that they were measured so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Final, Protocol, TypeVar

from bench.commands import lifecycle as runs
from bench.grid import plan
from bench.grid.config import Experiment
from bench.grid.config_measure import Measure
from bench.grid.plan import Cell, Job
from bench.grid.yaml_source import BadPlace
from bench.machine import environment, timer
from bench.measure import preflight
from bench.process.forecast import Expected
from bench.process.launcher import Launcher, ServerRefusedError
from bench.process.runner import Observer, Run, execute
from bench.results import identity
from bench.results.files import write_whole
from bench.results.identity import CodeVersion
from bench.results.outputs import OutputDifference, of_json, output_differences, to_json
from bench.results.run_folder import RunFolder, clear_unbegun, is_begun
from vsr_model.errors import BadInput

OUTPUTS_NAME: Final = "outputs.json"

_T = TypeVar("_T")


class SidesObserver(Protocol):
    """An observer that shows one progress of all sides."""

    def of_side(self, name: str, /) -> Observer: ...


DisplayFactory = Callable[[Sequence[Job], Expected], AbstractContextManager[SidesObserver]]
"""Factory of the display of the progress of all sides' jobs."""

Launch = Callable[[Mapping[str, str], Path], AbstractContextManager[Launcher]]
"""Factory of a launcher whose workers have the variables and the network."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A network that is measured in turn with others."""

    name: str  # shown in progress and on pages
    network: Path  # the folder that its vsr_model is imported from
    commit: str  # of that vsr_model, `-dirty` at its end where files differ from it
    origin: str  # what a message calls that vsr_model


@dataclass(frozen=True, kw_only=True)
class ReadySide:
    """A side whose workers can be started, with what must be known before they are."""

    name: str
    launcher: Launcher
    answer: preflight.Answer
    environment: Mapping[str, Any]
    code: CodeVersion


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """A side, its folder, and the jobs left to run there, by cell and round."""

    side: ReadySide
    folder: RunFolder
    left: Mapping[tuple[str, int], Job]
    run: Run


@contextmanager
def ready(
    experiment: Experiment, cells: Sequence[Cell], sides: Sequence[Side], *, launch: Launch = Launcher
) -> Iterator[tuple[ReadySide, ...]]:
    """Yield every side with its server started and its questions answered; nothing is written.

    Raises BadInput for cells that cannot be met or measured here, and for a network that this program cannot
    use.
    """
    if experiment.measure.budget_s is not None:
        raise BadInput(
            "measure.budget_s: is for `run`; here every cell of each side is measured. Set it to null"
        )
    variables = environment.ALLOCATOR_VARIABLES[experiment.measure.allocator]
    timed = asdict(timer.measure())
    with ExitStack() as opened:

        def made_ready(side: Side) -> ReadySide:
            try:
                launcher = opened.enter_context(launch(variables, side.network))
                answer = preflight.ask(launcher, cells)
            except ServerRefusedError as error:
                raise BadInput(
                    f"{side.origin}: its vsr_model cannot be measured by this program ({error})"
                ) from error
            except BadPlace as error:
                raise BadPlace(error.place, f"{side.origin}: {error.message}") from error
            except BadInput as error:
                raise BadInput(f"{side.origin}: {error}") from error
            described = environment.collect(answer.torch, variables)
            commits = {"git_commit": side.commit, "harness_commit": described["git_commit"]}
            return ReadySide(
                name=side.name,
                launcher=launcher,
                answer=answer,
                environment={**described, "timer": timed, **commits},
                code=identity.code_version(side.commit, side.network),
            )

        made = tuple(map(made_ready, sides))
        reasons = [preflight.skip_reason(cell, made[0].answer) for cell in cells]
        if all(reasons):
            raise BadInput(f"none of the {len(cells)} cells can be measured here: {reasons[0]}")
        yield made


def measure(
    experiment: Experiment,
    sides: Sequence[ReadySide],
    paths: Sequence[Path],
    display: DisplayFactory,
    *,
    again: str,
    filters: Sequence[str] = (),
) -> Sequence[OutputDifference]:
    """Measure what is missing of every side in its folder; `again` is the command that resumes it.

    Return how far the outputs of the last side lie from those of the first, which a file beside the folders
    keeps. Raises BadInput, before anything is written, where a folder holds another run, or one that another
    machine or other code began; RunStoppedError where the system refuses to write; and KeyboardInterrupt
    where it is interrupted, with the tables and reports of what was measured written.
    """
    cells = plan.cells(experiment, filters)
    outputs: Sequence[OutputDifference] = ()
    interrupted = False
    with ExitStack() as opened:
        turns = _begun(experiment, cells, sides, paths, filters, opened)
        try:
            with runs.kept(paths[0].parent, again):
                try:
                    _execute(turns, cells, experiment.measure, display)
                except KeyboardInterrupt:  # outputs that are there are compared all the same
                    interrupted = True
                first, *_, last = turns
                found = [*output_differences(first.folder.references, last.folder.references)]
                outputs = _kept(paths[0].parent / OUTPUTS_NAME, found)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            for turn in turns:
                rmtree(turn.folder.references, ignore_errors=True)
        for turn in turns:
            runs.derive(turn.folder, again=again, interrupted=interrupted)
    if interrupted:
        raise KeyboardInterrupt
    return outputs


def _execute(
    turns: Sequence[_Turn], cells: Sequence[Cell], measure: Measure, display: DisplayFactory
) -> None:
    expected = turns[0].run.forecast.seconds
    with display([job for turn in turns for job in turn.left.values()], expected) as shown:
        for jobs, turn in in_order(plan.schedule(cells, measure), turns, measure):
            if left := [turn.left[key] for job in jobs if (key := _key(job)) in turn.left]:
                execute(left, turn.run, turn.side.launcher, shown.of_side(turn.side.name))


def in_order(jobs: Sequence[Job], sides: Sequence[_T], measure: Measure) -> Iterator[tuple[list[Job], _T]]:
    """Yield the jobs of each group with their side: in order in even rounds, reversed in odd ones."""
    for group in plan.groups(jobs, isolation=measure.isolation):
        for side in sides if group[0].round % 2 == 0 else reversed(sides):
            yield group, side


def _begun(
    experiment: Experiment,
    cells: Sequence[Cell],
    sides: Sequence[ReadySide],
    paths: Sequence[Path],
    filters: Sequence[str],
    opened: ExitStack,
) -> list[_Turn]:
    known = {path: RunFolder.open(path) for path in paths if is_begun(path)}
    for side, path in zip(sides, paths, strict=True):
        if path in known:
            _check(known[path], experiment, side, filters)
    turns = []
    for side, path in zip(sides, paths, strict=True):
        if path not in known:
            clear_unbegun(path)
            known[path] = RunFolder.create(path, experiment, side.environment, filters, side.code)
        journal = opened.enter_context(known[path].journal())
        jobs, run = runs.left_to_do(known[path], journal, cells, side.answer)
        turns.append(_Turn(side=side, folder=known[path], left={_key(job): job for job in jobs}, run=run))
    return turns


def _check(folder: RunFolder, experiment: Experiment, side: ReadySide, filters: Sequence[str]) -> None:
    folder.check_config(experiment)
    if folder.filters != tuple(filters):
        raise BadInput(
            f"{folder.path}: begun with the filters {[*folder.filters]}, and not "
            f"{[*filters]}; a run goes on only as it began"
        )
    folder.check_same(side.environment, code=side.code)


def _kept(path: Path, found: Sequence[OutputDifference]) -> Sequence[OutputDifference]:
    """Return and keep the differences found now, and those of other clips found before an interrupt."""
    before = of_json(path) if path.is_file() else []
    by_clip = {item.clip: item for item in (*before, *found)}
    kept = [by_clip[clip] for clip in sorted(by_clip)]
    if found:
        write_whole(path, to_json(kept))
    return kept


def _key(job: Job) -> tuple[str, int]:
    return job.cell.id, job.round
