"""A history from runs that are there: found, read, laid in order, and written. Nothing is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from bench.history.finding import FoundRuns, find_runs
from bench.history.reading import PastRun, moment, read_run, started_at
from bench.history.series import History, history_of
from bench.paper.experiments import PAPER_NAME
from bench.plotting.plot_history import history_figure, history_groups
from bench.plotting.plots import FORMATS, save
from bench.records import JOURNAL_NAME
from bench.report_run import NOT_WRITABLE, run_names
from bench.reporting.history_page import write_history
from bench.reporting.html_files import Pages
from bench.results.run_folder import to_csv
from bench.results.whole_file import write_whole
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

DEFAULT_FOLDER: Final = Path("history")

CSV_NAME: Final = "history.csv"

COLUMNS: Final = (
    "machine", "cell", "settings", "run", "started_at", "commit", "torch", "stage", "median_s", "low_s",
    "high_s", "interval", "n_rounds", "segment",
)  # fmt: skip

Told = Callable[[int, int], None]
"""Called with how many runs are read, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What `write` did."""

    pages: Pages
    csv: Path
    history: History
    left_out: tuple[str, ...]  # why some runs are not in it, a line each


def silent(_done: int, _all: int) -> None:
    """Nobody is told."""


def write(
    folders: Sequence[Path], output: Path | None = None, since: str | None = None, told: Told = silent
) -> Written:
    """Write `history.md`, `history.html`, `history.csv` and their figures into `output`, or `./history`.

    `since` is a date, or a time, before which runs are left out. Raises BadInput for what holds no run, for
    a run that is named itself and cannot be read, where none can, where none began since then, and for an
    `output` that holds a run or cannot be written to.
    """
    after = None if since is None else _moment(since)
    folder = output or DEFAULT_FOLDER
    found = find_runs(folders)
    for name, what in ((JOURNAL_NAME, "a run"), (PAPER_NAME, "the paper's experiments")):
        if (folder / name).exists():
            raise BadInput(f"{folder}: holds {what}; name another folder by --output")
    runs, left_out = _read(found, after, told)
    if not runs:
        every = len(found.given) + len(found.below)
        raise BadInput(
            f"no run of {every} can be laid in order; the first: {left_out[0]}"
            if left_out
            else f"--since {since}: no run of {every} began since then"
        )
    history = history_of(runs)
    left_out += _copies(history)
    if not history.series:
        raise BadInput(f"no run of {len(runs)} has a cell that ended ok with timed calls")
    try:
        return _write(folder, history, left_out)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise BadInput(
            f"{folder}: cannot be written to ({error.strerror}); name another folder by --output"
        ) from error


def _moment(text: str) -> datetime:
    try:
        return moment(text)
    except ValueError:
        raise BadInput(
            f"--since {text}: is no date such as 2026-11-20, or time such as 2026-11-20T18:00"
        ) from None


def _read(found: FoundRuns, after: datetime | None, told: Told) -> tuple[list[PastRun], list[str]]:
    """The runs that can be read, and why others cannot; one that was named itself has to be."""
    runs: list[PastRun] = []
    left_out = list(found.unseen)
    paths = (*found.given, *found.below)
    for number, path in enumerate(paths, start=1):
        told(number, len(paths))
        try:
            if after is None or started_at(path) >= after:
                runs.append(read_run(path))
        except BadInput as error:
            if path in found.given:
                raise
            left_out.append(one_line(str(error)))
        except OSError as error:
            if path in found.given:
                raise
            left_out.append(one_line(f"{error.filename or path}: cannot be read ({error.strerror})"))
    return runs, left_out


def _copies(history: History) -> list[str]:
    return [one_line(f"{run.path}: {_of_which(run, kept)}") for run, kept in history.copies]


def _of_which(run: PastRun, kept: PastRun) -> str:
    if run.journal_sha256 == kept.journal_sha256:
        return f"is a copy of {kept.path}, which counts once"
    if run.rounds < kept.rounds:
        return f"is a copy of {kept.path} from before that went on; the longer one counts"
    return f"has rounds of {kept.path}, which is as long or longer, and counts"


def _write(folder: Path, history: History, left_out: Sequence[str]) -> Written:
    names = run_names([run.path.resolve() for run in history.runs])
    folder.mkdir(parents=True, exist_ok=True)
    plots: list[Path] = []
    for group in history_groups(history):
        paths = [folder / "plots" / f"{group.name}.{ending}" for ending in FORMATS]
        save(history_figure(group, history.runs), paths)
        plots += [path for path in paths if path.suffix == ".png"]
    _remove_others(folder / "plots", plots)
    write_whole(folder / CSV_NAME, to_csv(points_table(history, names)))
    pages = write_history(folder, history, names=names, plots=plots, left_out=left_out)
    return Written(pages=pages, csv=folder / CSV_NAME, history=history, left_out=tuple(left_out))


def _remove_others(folder: Path, kept: Sequence[Path]) -> None:
    """Figures of an earlier history, which are of other series."""
    stems = {path.stem for path in kept}
    for ending in FORMATS:
        for path in folder.glob(f"history-*.{ending}"):
            if path.stem not in stems:
                path.unlink(missing_ok=True)


def points_table(history: History, names: Sequence[str]) -> pd.DataFrame:
    """A row per series and run, in the order of the page; `segment` is empty for a run of no level."""
    rows = [
        {
            "machine": series.figure.machine,
            "cell": series.figure.cell,
            "settings": series.settings,
            "run": names[point.run],
            "started_at": run.started_at.isoformat(timespec="seconds"),
            "commit": run.commit,
            "torch": run.torch,
            "stage": series.figure.stage,
            "median_s": point.summary.median,
            "low_s": point.summary.low,
            "high_s": point.summary.high,
            "interval": point.summary.interval,
            "n_rounds": point.summary.n_rounds,
            "segment": series.level_of(place),
        }
        for series in history.series
        for place, point in enumerate(series.points)
        for run in (history.runs[point.run],)
    ]
    numbers = {"median_s": "float64", "low_s": "float64", "high_s": "float64", "segment": "Int64"}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers)
