"""The paper's experiments on this machine, one run after another, into one folder that can be gone on with.

paper.json                          what was asked for
corrected/<experiment>/  faithful/<experiment>/  faults/<fault>/off|on/      runs like any other
report.html report.md claims.csv figures/                                    derived (bench.paper_page)
"""

import fcntl
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import report_run
from bench import run as runs
from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.paper.experiments import FULL, KEYS, METHODS, PAPER_NAME, VERSIONS, Request, Step, steps
from bench.process.launcher import SharedLaunchers
from bench.records import SCHEMA_VERSION, CellRecord, Status, worst_status
from bench.results.identity import shown
from bench.results.run_about import read_json
from bench.results.run_folder import RunFolder, clear_unbegun, free_path, is_begun
from bench.results.whole_file import create_whole
from vsr_model.errors import BadInput

SCRIPT: Final = "bench.paper.script:main"
"""The worker that measures as the paper did."""

Announce = Callable[[int, int, Step], None]
"""Told which run comes next, and of how many."""


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """How far the experiments came."""

    folder: Path
    statuses: dict[Status, int]  # of the cells of all runs
    done: int  # runs
    planned: int
    interrupted: bool

    @property
    def failed(self) -> int:
        """Cells that ended neither `ok` nor `skipped`."""
        return sum(n for status, n in self.statuses.items() if status not in (Status.OK, Status.SKIPPED))


def begin(folder: Path | None, wanted: Request) -> Path:
    """The folder of the experiments, made, or found with the same experiments in it.

    Raises BadInput for a folder that holds something else.
    """
    if folder is None:
        folder = free_path("paper")
    if (folder / PAPER_NAME).exists():
        known = read_request(folder)
        if known != wanted:
            raise BadInput(
                f"{folder}: holds the paper's experiments as asked for otherwise ({_in_words(known)}); "
                f"name another folder, or go on with it by --resume {folder}"
            )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is no empty folder; the paper's experiments need one that is new or empty")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(wanted)}, indent=2) + "\n"
        create_whole(folder / PAPER_NAME, text)
    except FileExistsError:  # another process was first
        return begin(folder, wanted)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written to ({error.strerror})") from None
    return folder


def read_request(folder: Path) -> Request:
    """What a folder was begun with. Raises BadInput for one that holds no such experiments."""
    path = folder / PAPER_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: holds none of the paper's experiments (there is no {PAPER_NAME} in it)")
    data = read_json(path)
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    kind = data.get("version")
    if kind not in VERSIONS:
        raise BadInput(f"{path}: version: should be one of {', '.join(VERSIONS)}, not {shown(kind)}")
    return Request(
        methods=_some_of(METHODS, data.get("methods"), f"{path}: methods"),
        figures=_some_of(KEYS, data.get("figures"), f"{path}: figures"),
        version=kind,
    )


def _some_of(allowed: Sequence[str], found: object, place: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or not all(item in allowed for item in found):
        raise BadInput(f"{place}: should be a list of some of {', '.join(allowed)}, not {shown(found)}")
    return tuple(item for item in allowed if item in found)


def reproduce(folder: Path, wanted: Request, display: runs.DisplayFactory, announce: Announce) -> Reproduced:
    """Do every run that is not done yet, in order; Ctrl-C keeps what is done.

    Raises BadInput where another process is at it, and where going on would lay another machine's figures, or
    other code's, beside those that are there.
    """
    planned = steps(wanted)
    interrupted = False
    with alone(folder), SharedLaunchers() as launch:
        left = [step for step in planned if not is_done(folder / step.folder)]
        for step, run in runs_of(folder, wanted):
            # Presets that have changed since are no harm where nothing is added to what is there.
            run.check_config(_experiment(step) if left else None)
        try:
            for number, step in enumerate(planned, start=1):
                path = folder / step.folder
                if step not in left:
                    if not report_run.is_derived(path):  # killed after its last record
                        runs.rebuild(path)
                    continue
                announce(number, len(planned), step)
                begun = [run for _, run in runs_of(folder, wanted)]
                if _carry_out(path, step, display, launch, begun).interrupted:
                    interrupted = True
                    break
        except KeyboardInterrupt:  # where a run begins or ends, and not while it measures
            interrupted = True
    return Reproduced(
        folder=folder,
        statuses=dict(Counter(found for step in planned for found in _statuses(folder / step.folder))),
        done=sum(is_done(folder / step.folder) for step in planned),
        planned=len(planned),
        interrupted=interrupted,
    )


def is_done(path: Path) -> bool:
    """Whether a run's every round has its record."""
    if not is_begun(path):
        return False
    folder = RunFolder.open(path)
    return len(folder.records()) == len(folder.cells()) * folder.experiment.measure.rounds


def _carry_out(
    path: Path, step: Step, display: runs.DisplayFactory, launch: runs.Launch, begun: Sequence[RunFolder]
) -> runs.Outcome:
    experiment = _experiment(step)
    script = None
    if step.method is not None:
        script = runs.Script(worker=SCRIPT, method=step.method, says=str(step.method))
    if is_begun(path):
        return runs.resume(path, display, given=experiment, launch=launch, script=script)
    clear_unbegun(path)
    return runs.start(experiment, display, output=path, launch=launch, beside=begun, script=script)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While the block goes on no other process does these runs or writes their page.

    Raises BadInput where one does already.
    """
    with (folder / PAPER_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{folder}: another process is making these runs") from None
        yield


def _experiment(step: Step) -> Experiment:
    one_process = step.method is not None and step.method.one_process
    changed = ["measure.isolation=experiment"] if one_process else []
    return config.load(presets.find(step.preset), changed, step.variants)[0]


def _statuses(path: Path) -> list[Status]:
    """Of the cells that have a record."""
    if not is_begun(path):
        return []
    rounds: dict[str, list[CellRecord]] = {}
    for record in RunFolder.open(path).records():
        rounds.setdefault(record.cell, []).append(record)
    return [worst_status(records) for records in rounds.values()]


def _in_words(known: Request) -> str:
    version = "" if known.version == FULL else f", {known.version}"
    return f"method {' and '.join(known.methods)}, figures {', '.join(known.figures)}{version}"


def runs_of(folder: Path, wanted: Request) -> Sequence[tuple[Step, RunFolder]]:
    """The runs that have begun."""
    return [
        (step, RunFolder.open(folder / step.folder))
        for step in steps(wanted)
        if is_begun(folder / step.folder)
    ]
