"""A page from runs that are there: one run's report, or several runs side by side. Nothing is measured."""

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pandas as pd

from bench.grid import config
from bench.paper.experiments import PAPER_NAME
from bench.plotting.plot_overlay import OVERLAY_KINDS, OverlaidRun, overlay_figure, overlays
from bench.plotting.plots import FORMATS, place_names, save, write_plots
from bench.records import JOURNAL_NAME
from bench.reporting.html_files import Pages
from bench.reporting.report import unfinished, write_report
from bench.reporting.side_by_side import SideRun, write_side_by_side
from bench.results.analysis import Tables, tables_of
from bench.results.csv_text import inert
from bench.results.run_folder import RunFolder
from vsr_model.errors import BadInput

NAME_CHARACTERS: Final = 100
"""Of a folder's name that is made of runs' names; a file system takes 255 bytes."""

NOT_WRITABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run that is there, whole or begun."""

    folder: RunFolder
    tables: Tables
    note: str | None

    @cached_property
    def is_derived(self) -> bool:
        """Whether the tables in the folder, and so its figures, are of the rounds that the journal has.

        Another version of this program may give its tables other columns; what they are of stays the same.
        """
        try:
            rounds = _column_texts(self.folder.path / "cells.csv", "cell", "round", "status")
            samples = _column_texts(self.folder.path / "samples.csv", "cell", "round")
        except (OSError, ValueError):  # not there, or no such tables
            return False
        ours = self.tables.cells
        return len(samples) == len(self.tables.samples) and rounds == [
            (inert(cell), str(number), str(status))
            for cell, number, status in zip(ours["cell"], ours["round"], ours["status"], strict=True)
        ]


def report(paths: Sequence[Path], output: Path | None = None) -> Pages:
    """Write `report.md` and `report.html` of one run, or of several side by side.

    One run's page goes into its own folder where no `output` is given, several runs' into
    `./report-<their names>`. Raises BadInput for what holds no run, or one without a record, for the same
    folder twice, and for an `output` that cannot be written to or holds another run.
    """
    opened = [_open(path) for path in paths]
    real = [path.resolve() for path in paths]
    for place, path in enumerate(real):
        if path in real[:place]:
            raise BadInput(f"{paths[place]}: is named twice; a run stands beside others, not beside itself")
    names = run_names(real)
    folder = output or (paths[0] if len(paths) == 1 else Path(default_folder(names)))
    for name, what in ((JOURNAL_NAME, "a run"), (PAPER_NAME, "the paper's experiments")):
        if (folder / name).exists() and [folder.resolve()] != real:
            raise BadInput(
                f"{folder}: holds {what} with a report of its own; name another folder by --output"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _one(opened[0], folder) if len(opened) == 1 else _several(opened, names, folder)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise BadInput(
            f"{folder}: cannot be written to ({error.strerror}); name another folder by --output"
        ) from error


def run_names(paths: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with as many folders above as tell it from the others.

    The paths are absolute, and differ.
    """
    names = []
    for path in paths:
        others = [other.parts for other in paths if other != path]
        for count in range(1, len(path.parts) + 1):
            own = path.parts[-count:]
            if all(other[-count:] != own for other in others):
                break
        names.append("/".join(own))
    return names


def default_folder(names: Sequence[str]) -> str:
    """Where the page of several runs goes."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run" for name in names]
    whole = "-".join(["report", *plain])
    if len(whole) <= NAME_CHARACTERS:
        return whole
    return f"report-{plain[0][: NAME_CHARACTERS // 2]}-and-{len(plain) - 1}-more"


def _column_texts(path: Path, *names: str) -> list[tuple[str, ...]]:
    """Some columns of a CSV, row by row, as they are written there. Raises OSError where it is no file."""
    if not path.is_file():  # opening a pipe would wait for someone to write
        raise FileNotFoundError(path)
    table = pd.read_csv(path, usecols=list(names), dtype=str, keep_default_na=False)
    return list(zip(*(table[name] for name in names), strict=True))


def is_derived(path: Path) -> bool:
    """Whether a run's tables and report are those of its journal. Raises BadInput for what holds no run."""
    return (path / "report.md").is_file() and _open(path).is_derived


def _open(path: Path) -> Opened:
    if (path / PAPER_NAME).is_file() and not (path / JOURNAL_NAME).exists():
        raise BadInput(
            f"{path}: holds the paper's experiments, a run in each folder below it; vsr-bench paper --resume "
            f"{path} makes their page anew"
        )
    folder = RunFolder.open(path)
    records = folder.records()
    if not records:
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to report")
    missing = len(folder.cells()) * folder.experiment.measure.rounds - len(records)
    return Opened(
        folder=folder,
        tables=tables_of(records, folder.baseline, folder.environment),
        note=unfinished(missing, "the run was interrupted, or is going on"),
    )


def _one(run: Opened, folder: Path) -> Pages:
    own = run.folder.path
    drawn = write_plots(
        run.tables,
        baseline=run.folder.baseline,
        kinds=run.folder.experiment.plots,
        folder=folder / "plots",
        drawn=own / "plots" if run.is_derived else None,
    )
    return write_report(
        folder,
        run.tables,
        title=run.folder.experiment.name,
        baseline=run.folder.baseline,
        environment=run.folder.environment,
        plots=drawn.images,
        files=_files(run),
        exit_note=" ".join(filter(None, (run.note, _stale(run)))) or None,
    )


def _several(runs: Sequence[Opened], names: Sequence[str], folder: Path) -> Pages:
    overlaid = [
        OverlaidRun(name=name, baseline=run.folder.baseline, tables=run.tables)
        for name, run in zip(names, runs, strict=True)
    ]
    plots: list[Path] = []
    for kind in OVERLAY_KINDS:
        drawn = overlays(kind, overlaid)
        for stem, overlay in zip(place_names(kind, drawn), drawn, strict=True):
            paths = [folder / "plots" / f"{stem}.{ending}" for ending in FORMATS]
            save(overlay_figure(overlay), paths)
            plots += [path for path in paths if path.suffix == ".png"]
    sides = [
        SideRun(
            name=name,
            experiment=run.folder.experiment.name,
            baseline=run.folder.baseline,
            tables=run.tables,
            environment=run.folder.environment,
            configuration=config.plain(run.folder.experiment),
            files=_files(run),
            note=" ".join(filter(None, (run.note, _stale(run)))) or None,
        )
        for name, run in zip(names, runs, strict=True)
    ]
    return write_side_by_side(folder, sides, plots=plots)


def _files(run: Opened) -> list[Path]:
    """What the page links: CSVs only where they say what it says."""
    return [path for path in run.folder.written() if run.is_derived or path.suffix != ".csv"]


def _stale(run: Opened) -> str | None:
    if run.is_derived or not any(path.suffix == ".csv" for path in run.folder.written()):
        return None
    return (
        "The CSV tables in the run's folder are not those of this page, which is made from the journal; "
        f"vsr-bench rebuild {run.folder.path.name} brings them up to date."
    )
