"""Which runs lie in some folders, each once. Reads no run."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.records import JOURNAL_NAME
from vsr_model.errors import BadInput

MAX_DEPTH: Final = 8
"""Of a run below a folder that is given: enough for any way to file runs, and an end to a whole disk."""


@dataclass(frozen=True, kw_only=True)
class FoundRuns:
    """Folders with a journal, in the order in which they were found."""

    given: tuple[Path, ...]  # named themselves: each has to be read
    below: tuple[Path, ...]  # found in a folder: one that cannot be read is left out
    unseen: tuple[str, ...]  # what could not be looked into, a sentence each


def find_runs(folders: Sequence[Path]) -> FoundRuns:
    """The runs in these folders, and in the folders in them; one that can be reached twice is there once.

    A link to a run stands for it. Links to other folders are not followed, wherever they lead; hidden
    folders, and what lies in a run, are not looked into. Raises BadInput for what is no folder, and for a
    folder without a run.
    """
    given: dict[Path, Path] = {}
    below: dict[Path, Path] = {}
    unseen: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            said = "is a file" if folder.exists() else "is not there"
            raise BadInput(f"{folder}: {said}; name folders of runs, or folders that hold some")
        if _holds_run(folder):
            given.setdefault(folder.resolve(), folder)
            continue
        found = list(_runs_in(folder, MAX_DEPTH, unseen))
        if not found:
            closed = f"; {unseen[-1]}" if unseen else ""
            raise BadInput(f"{folder}: holds no run (there is no {JOURNAL_NAME} in or below it{closed})")
        for path in found:
            below.setdefault(path.resolve(), path)
    return FoundRuns(
        given=tuple(given.values()),
        below=tuple(path for real, path in below.items() if real not in given),
        unseen=tuple(unseen),
    )


def _holds_run(folder: Path) -> bool:
    return (folder / JOURNAL_NAME).exists()


def _runs_in(folder: Path, depth: int, unseen: list[str]) -> Iterator[Path]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        unseen.append(f"{folder}: cannot be looked into ({error.strerror})")
        return
    for name in entries:
        path = folder / name
        if name.startswith("."):
            continue
        if _can_hold_run(path, unseen):
            yield path
        elif path.is_symlink():
            unseen.append(f"{path}: is a link to a folder that is no run; it is not followed")
        elif depth > 1:
            yield from _runs_in(path, depth - 1, unseen)


def _can_hold_run(path: Path, unseen: list[str]) -> bool:
    try:
        return _holds_run(path)
    except OSError as error:
        unseen.append(f"{path}: cannot be looked into ({error.strerror})")
        return False
