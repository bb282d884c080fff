"""The folder of a reproduction: what was asked for, and the runs that are in it.

paper.json                          what was asked for
corrected/<experiment>/  faithful/<experiment>/  faults/<fault>/off|on/      runs like any other
report.html report.md claims.csv figures/                                    derived (bench.paper.page)
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.paper.experiments import FULL, KEYS, METHODS, PAPER_NAME, VERSIONS, Request, Step, steps
from bench.records import SCHEMA_VERSION
from bench.results.identity import shown
from bench.results.run_about import read_json
from bench.results.run_folder import RunFolder, free_path, is_begun
from bench.results.whole_file import create_whole
from vsr_model.errors import BadInput


def begin(folder: Path | None, wanted: Request) -> Path:
    """Return the folder of the experiments, made, or found with the same experiments in it.

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
    """Return what a folder was begun with. Raises BadInput for one that holds no such experiments."""
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


def _in_words(known: Request) -> str:
    version = "" if known.version == FULL else f", {known.version}"
    return f"method {' and '.join(known.methods)}, figures {', '.join(known.figures)}{version}"


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


def runs_of(folder: Path, wanted: Request) -> Sequence[tuple[Step, RunFolder]]:
    """Return the runs that have begun."""
    return [
        (step, RunFolder.open(folder / step.folder))
        for step in steps(wanted)
        if is_begun(folder / step.folder)
    ]


def is_done(path: Path) -> bool:
    """Whether a run's every round has its record."""
    if not is_begun(path):
        return False
    folder = RunFolder.open(path)
    return len(folder.records()) == len(folder.cells()) * folder.experiment.measure.rounds
