"""A page from runs that are there: one run's report, or several runs side by side. Nothing is measured."""

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from bench.plotting.groups import data, figure, in_parts, place_names
from bench.plotting.plots import FORMATS, remove_stale, save, write_plots
from bench.records import JOURNAL_NAME
from bench.reporting.ladder import ladder_images
from bench.reporting.page import unfinished, write
from bench.reporting.rendering import Pages
from bench.reporting.runs import ReportedRun, Runs, relative_plots, together
from bench.results.files import inert
from bench.results.run_folder import RunFolder, run_names
from bench.results.tables import Tables
from vsr_model.errors import BadInput

NAME_CHARACTERS: Final = 100
"""Length of a folder's name that is made of runs' names; a file system takes 255 bytes."""

NOT_WRITABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run that is there, whole or begun."""

    folder: RunFolder
    run: ReportedRun  # without a name
    is_derived: bool  # whether the folder's tables, and so its figures, are those of its journal


@dataclass(frozen=True, kw_only=True)
class Reported(Pages):
    """A page, and of which runs it is where folders were searched for them."""

    found: Sequence[Path]  # that were found below a folder and taken
    left_out: Sequence[str]  # of those that could not be, why


def report(paths: Sequence[Path], output: Path | None = None, reference: str | None = None) -> Reported:
    """Write `report.md` and `report.html` of one run, or of several side by side with their `devices.csv`.

    A folder that is no run stands for all runs below it; one of those that cannot be read is left out, and
    named. One run's page goes into its own folder where no `output` is given, several runs' into
    `./report-<names as given>`. `reference` is what the runs are compared with (bench.reporting.runs).
    Raises BadInput for what holds no run, or one without a record, for the same folder twice, for an unknown
    reference, and for an `output` that cannot be written to or holds another run.
    """
    given = [path.resolve() for path in paths]
    for place, path in enumerate(given):
        if path in given[:place]:
            raise BadInput(f"{paths[place]}: is named twice; a run stands beside others, not beside itself")
    opened, found, left_out = _take(paths)
    real = [run.folder.path.resolve() for run in opened]
    several = len(opened) > 1
    if reference is not None and not several:
        raise BadInput(f"--reference {reference}: is for several runs side by side, and this is one")
    named = [replace(one.run, name=name) for one, name in zip(opened, run_names(real), strict=True)]
    runs = together(named, reference)
    folder = output or (Path(default_folder(run_names(given))) if several else opened[0].folder.path)
    if (folder / JOURNAL_NAME).exists() and [folder.resolve()] != real:
        raise BadInput(f"{folder}: holds a run with a report of its own; name another folder by --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = _draw_several(runs, folder) if several else _draw(opened[0], folder)
        plots = [*drawn, *(image for run in opened for image in ladder_images(run.folder))]
        pages = write(folder, runs, plots=plots, left_out=left_out)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise BadInput(
            f"{folder}: cannot be written to ({error.strerror}); name another folder by --output"
        ) from error
    return Reported(markdown=pages.markdown, html=pages.html, found=found, left_out=left_out)


def is_derived(path: Path) -> bool:
    """Return whether a run's tables and report are those of its journal.

    Raises BadInput for what holds no run.
    """
    return (path / "report.md").is_file() and _open(path).is_derived


def default_folder(names: Sequence[str]) -> str:
    """Return the folder for the page of several runs."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run" for name in names]
    whole = "-".join(["report", *plain])
    if len(whole) <= NAME_CHARACTERS:
        return whole
    return f"report-{plain[0][: NAME_CHARACTERS // 2]}-and-{len(plain) - 1}-more"


def _take(paths: Sequence[Path]) -> tuple[list[Opened], list[Path], list[str]]:
    """Return the runs that are named and those below the folders that are named, each once.

    With them the paths of those that were found, and why others were left out.
    """
    runs: dict[Path, Opened] = {}
    found: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        below = [] if _is_named(path) else _runs_below(path)
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
    return list(runs.values()), found, left_out


def _is_named(path: Path) -> bool:
    """Return whether this very path is meant: a run, or what has no folders at all."""
    return not path.is_dir() or (path / JOURNAL_NAME).exists()


def _runs_below(folder: Path) -> list[Path]:
    """Return the folders of runs below a folder that is none itself, by name.

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
                found += _runs_below(path)
    except PermissionError:
        found.append(folder)
    return found


def _open(path: Path) -> Opened:
    folder = RunFolder.open(path)
    records = folder.records()
    if not records:
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to report")
    missing = folder.round_count() - len(records)
    notes = [unfinished(missing, "the run was interrupted, or is going on")]
    tables = folder.tables(records)
    files, is_derived = folder.written(), _is_derived(path, tables)
    if not is_derived and any(file.suffix == ".csv" for file in files):
        files = [file for file in files if file.suffix != ".csv"]
        notes.append(
            "The CSV tables in the run's folder are not those of this page, which is made from the journal; "
            f"vsr-bench rebuild {path.resolve().name} brings them up to date."
        )
    run = ReportedRun.of(folder, tables, files=files, notes=notes)
    return Opened(folder=folder, run=run, is_derived=is_derived)


def _is_derived(path: Path, tables: Tables) -> bool:
    """Return whether the folder's tables are of these rounds.

    Another version of this program may give its tables other columns; what they are of stays the same.
    """
    try:
        rounds = _columns(path / "cells.csv", "cell", "round", "status")
        samples = _columns(path / "samples.csv", "cell", "round")
    except (OSError, ValueError):  # not there, or no such tables
        return False
    ours = tables.cells[["cell", "round", "status"]].astype(str)
    ours["cell"] = ours["cell"].map(inert)
    return len(samples) == len(tables.samples) and rounds == ours.values.tolist()


def _columns(path: Path, *names: str) -> list[list[str]]:
    """Return columns of a CSV, row by row, as they are written there. Raises OSError where it is no file."""
    if not path.is_file():  # opening a pipe would wait for someone to write
        raise FileNotFoundError(path)
    table = pd.read_csv(path, usecols=list(names), dtype=str, keep_default_na=False)
    return table[list(names)].values.tolist()


def _draw(one: Opened, folder: Path) -> Sequence[Path]:
    """Draw the figures of one run that its folder does not have; return the images of all."""
    drawn = write_plots(
        one.run.tables,
        baseline=one.run.baseline,
        kinds=one.folder.experiment.plots,
        folder=folder / "plots",
        drawn=one.folder.path / "plots" if one.is_derived else None,
    )
    return drawn.images


def _draw_several(runs: Runs, folder: Path) -> list[Path]:
    baselines = {str(run.baseline) for run in runs.runs}
    own = baselines.pop() if len(baselines) == 1 else "each run's baseline"
    images = []
    for kind in ("relative", "time", "speedup", "stages"):
        groups = relative_plots(runs) if kind == "relative" else data(kind, runs.tables)
        groups = [group for group in groups if not group.empty]
        for name, group in zip(place_names(kind, groups), groups, strict=True):
            for number, part in enumerate(in_parts(group), start=1):
                stem = f"{name}-{number}" if part.labels.part else name
                paths = [folder / "plots" / f"{stem}.{ending}" for ending in FORMATS]
                save(figure(part, baseline=str(runs.reference) if kind == "relative" else own), paths)
                images.append(paths[0])
    remove_stale(folder / "plots", [path.with_suffix(f".{ending}") for path in images for ending in FORMATS])
    return images
