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
from bench.plotting.groups import data, figure, in_parts, place_names
from bench.plotting.plots import FORMATS, save, write_plots
from bench.records import JOURNAL_NAME
from bench.reporting.ladder_files import read_ladder
from bench.reporting.rendering import Pages
from bench.reporting.report import unfinished, view_of, write_report
from bench.reporting.several import Cells, SideRun, cells_of, relative_plots
from bench.reporting.side_by_side import write_side_by_side
from bench.results.files import inert
from bench.results.identity import device_name
from bench.results.run_folder import RunFolder, run_names
from bench.results.tables import Tables
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


@dataclass(frozen=True, kw_only=True)
class Reported(Pages):
    """A page, and of which runs it is where folders were searched for them."""

    found: tuple[Path, ...] = ()  # that were found below a folder and taken
    left_out: tuple[str, ...] = ()  # of those that could not be, why


def report(paths: Sequence[Path], output: Path | None = None, reference: str | None = None) -> Reported:
    """Write `report.md` and `report.html` of one run, or of several side by side with their `devices.csv`.

    A folder that is no run stands for all runs below it; one of those that cannot be read is left out, and
    named. One run's page goes into its own folder where no `output` is given, several runs' into
    `./report-<names as given>`. `reference` is what the runs are compared with (bench.reporting.several).
    Raises BadInput for what holds no run, or one without a record, for the same folder twice, for an unknown
    reference, and for an `output` that cannot be written to or holds another run.
    """
    given = [path.resolve() for path in paths]
    for place, path in enumerate(given):
        if path in given[:place]:
            raise BadInput(f"{paths[place]}: is named twice; a run stands beside others, not beside itself")
    taken = _take(paths)
    opened = taken.runs
    real = [run.folder.path.resolve() for run in opened]
    names = run_names(real)
    several = _sides(opened, names)
    if reference is not None and len(opened) == 1:
        raise BadInput(f"--reference {reference}: is for several runs side by side, and this is one")
    folder = output or (opened[0].folder.path if len(opened) == 1 else Path(default_folder(run_names(given))))
    cells = cells_of(several, reference) if len(opened) > 1 else None
    if (folder / JOURNAL_NAME).exists() and [folder.resolve()] != real:
        raise BadInput(f"{folder}: holds a run with a report of its own; name another folder by --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pages = _one(opened[0], folder) if cells is None else _several(several, cells, folder, taken.left_out)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise BadInput(
            f"{folder}: cannot be written to ({error.strerror}); name another folder by --output"
        ) from error
    return Reported(markdown=pages.markdown, html=pages.html, found=taken.found, left_out=taken.left_out)


@dataclass(frozen=True, kw_only=True)
class _Taken:
    runs: list[Opened]  # never empty
    found: tuple[Path, ...]
    left_out: tuple[str, ...]


def _take(paths: Sequence[Path]) -> _Taken:
    """The runs that are named, and those below the folders that are named, each once."""
    runs: dict[Path, Opened] = {}
    found: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        below = [] if _is_named(path) else runs_below(path)
        if not below:
            runs[path.resolve()] = _open(path)
        for run in below:
            if run.resolve() in runs:
                continue
            try:
                opened = _open(run)
                if method := opened.folder.environment.get("method"):
                    raise BadInput(f"{run}: measured by {method}; name it to have it beside others")
                runs[run.resolve()] = opened
                found.append(run)
            except BadInput as error:
                left_out.append(str(error))
            except OSError as error:
                left_out.append(f"{error.filename or run}: cannot be read ({error.strerror})")
        if below and not any(run.resolve() in runs for run in below):
            raise BadInput(f"{path}: holds no run that can be read; the first: {left_out[-len(below)]}")
    return _Taken(runs=list(runs.values()), found=tuple(found), left_out=tuple(left_out))


def _is_named(path: Path) -> bool:
    """Whether this very path is meant: a run, or what has no folders at all."""
    return not path.is_dir() or (path / JOURNAL_NAME).exists()


def runs_below(folder: Path) -> list[Path]:
    """Folders of runs below a folder that is none itself, by name.

    Nothing is searched for in runs, in hidden folders, or behind links to folders that are no runs. A folder
    that cannot be looked into is among them: it may hold one.
    """
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            if _is_named(path):
                found.append(path)
            elif not path.is_symlink():
                found += runs_below(path)
    except PermissionError:
        found.append(folder)
    return found


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
    folder = RunFolder.open(path)
    records = folder.records()
    if not records:
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to report")
    missing = len(folder.cells()) * folder.experiment.measure.rounds - len(records)
    return Opened(
        folder=folder,
        tables=folder.tables(records),
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
    ladder = read_ladder(run.folder)
    view = view_of(
        run.tables,
        folder=folder,
        title=run.folder.experiment.name,
        baseline=run.folder.baseline,
        environment=run.folder.environment,
        plots=[*drawn.images, *ladder.images],
        files=_files(run),
        exit_note=" ".join(filter(None, (run.note, _stale(run)))) or None,
        ladder=ladder.section,
    )
    return write_report(view)


def _sides(runs: Sequence[Opened], names: Sequence[str]) -> list[SideRun]:
    return [
        SideRun(
            name=name,
            experiment=run.folder.experiment.name,
            baseline=run.folder.baseline,
            tables=run.tables,
            environment=run.folder.environment,
            configuration=config.plain(run.folder.experiment),
            files=_files(run),
            note=" ".join(filter(None, (run.note, _stale(run)))) or None,
            devices={
                backend.name: device_name(run.folder.environment, backend.device)
                for backend in run.folder.experiment.backends
            },
        )
        for name, run in zip(names, runs, strict=True)
    ]


def _several(sides: Sequence[SideRun], cells: Cells, folder: Path, left_out: Sequence[str]) -> Pages:
    plots = []
    for kind in ("relative", "time", "speedup", "stages"):
        groups = relative_plots(cells) if kind == "relative" else data(kind, cells.tables)
        groups = [group for group in groups if not group.empty]
        for name, group in zip(place_names(kind, groups), groups, strict=True):
            for number, part in enumerate(in_parts(group), start=1):
                stem = f"{name}-{number}" if part.labels.part else name
                paths = [folder / "plots" / f"{stem}.{ending}" for ending in FORMATS]
                over = str(cells.reference) if kind == "relative" else _baselines(sides)
                save(figure(part, baseline=over), paths)
                plots.append(paths[0])
    return write_side_by_side(folder, sides, plots=plots, cells=cells, left_out=left_out)


def _baselines(sides: Sequence[SideRun]) -> str:
    names = {str(side.baseline) for side in sides}
    return names.pop() if len(names) == 1 else "each run's baseline"


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
