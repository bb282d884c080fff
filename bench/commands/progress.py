"""Progress of a run: a bar on a terminal, plain lines elsewhere. Both go to stderr."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Final, TextIO, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.grid.config_measure import Measure
from bench.grid.estimate import expected_calls
from bench.grid.plan import Job
from bench.grid.spans import FORWARD
from bench.messages import Progress as Doing
from bench.records import CellRecord, Pass, Status
from bench.units import time_left, with_unit
from vsr_model.one_line import visible

BETWEEN_LINES_S: Final = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class ProgressConsole(Console):
    """Standard error, whose reader may go away without ending the run."""

    def __init__(self) -> None:
        super().__init__(file=cast(TextIO, _Patient(sys.stderr)))


class _Patient:
    """A stream that drops what it cannot write: no reader of the pipe, a closed terminal, or a full disk.

    From then on its file is the null device: a failing last flush, as Python exits, would change the exit
    status.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        with suppress(OSError), Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), self._stream.fileno())


class Display:
    """Observer of the runner that counts the work and shows it."""

    def __init__(self, jobs: Sequence[Job], measure: Measure, console: Console) -> None:
        self._console = console
        self._measure = measure
        self._left = sum(_weight(job, measure) for job in jobs)
        self._total = self._left or 1.0
        self._all = len(jobs)
        self._ended = 0
        self._worked = 0.0  # weight of what has run, and the time that it took
        self._worked_s = 0.0
        self._began = 0.0
        self._side = ""  # whose job it is, and a blank, where there are several
        self._skipped: dict[str, list[str]] = {}  # cells to report, by reason
        self.bar = Progress(
            TextColumn("{task.completed:.0f}%"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            auto_refresh=False,  # a thread that draws would do so beside what is measured
            disable=not console.is_terminal,
        )
        self._task = self.bar.add_task("starting", total=100, left="")

    def of_side(self, name: str) -> "Display":
        """Return this display, which from here on reports this side's jobs."""
        self._side = f"{name} "
        return self

    def job_started(self, job: Job) -> None:
        self.print_skipped()
        self._began = monotonic()
        self._show(job, "starting", 0.0)

    def job_progressed(self, job: Job, progress: Doing) -> None:
        self._show(job, progress.doing, progress.done / progress.total)

    def job_ended(self, job: Job, record: CellRecord) -> None:
        self._ended += 1
        weight = _weight(job, self._measure)
        self._left -= weight
        if record.status is Status.SKIPPED:
            self._skipped.setdefault(record.reason, []).append(f"{self._side}{record.cell}")
            return
        self._worked += weight
        self._worked_s += monotonic() - self._began
        number = f"{self._ended:>{len(str(self._all))}}/{self._all}"
        of_round = f" round {job.round + 1}" if job.round else ""
        left = "" if self._ended == self._all or not self.bar.disable else self._time_left(self._left)
        self._print(f"{number}  {self._side}{record.cell}{of_round}  {_result(record)}  {left}".rstrip())
        self.bar.update(self._task, completed=self._percent(self._left), refresh=True)

    def print_skipped(self) -> None:
        """Print once per reason how many cells were skipped since the last time."""
        for reason, cells in self._skipped.items():
            different = list(dict.fromkeys(cells))
            what = different[0] if len(different) == 1 else f"{len(different)} cells"
            self._print(f"skipped {what}: {reason}")
        self._skipped.clear()

    def _print(self, line: str) -> None:
        self._console.print(escape(visible(line)), highlight=False, soft_wrap=True)

    def _show(self, job: Job, doing: str, share: float) -> None:
        left = self._left - _weight(job, self._measure) * share
        self.bar.update(
            self._task,
            description=escape(f"{self._side}{job.cell.id}: {doing}"),
            completed=self._percent(left),
            left=self._time_left(left),
            refresh=True,
        )

    def _percent(self, left: float) -> float:
        return 100 * (1 - left / self._total)

    def _time_left(self, weight: float) -> str:
        return time_left(weight * self._worked_s / self._worked if self._worked else None)


@contextmanager
def shown(jobs: Sequence[Job], measure: Measure, console: Console | None = None) -> Iterator[Display]:
    """Show the progress of the jobs on standard error, or on the `console`."""
    display = Display(jobs, measure, console or ProgressConsole())
    with display.bar:
        try:
            yield display
        finally:
            display.print_skipped()


@contextmanager
def tracing() -> Iterator[Callable[[int, int], None]]:
    """Show the progress of tracing the costs of a grid's cells.

    On a terminal it is a line that disappears, elsewhere a line now and then.
    """
    console = ProgressConsole()
    printed_s = monotonic()
    shown = (
        console.status("looking at networks, inputs and devices") if console.is_terminal else nullcontext()
    )
    with shown as line:

        def progress(done: int, total: int) -> None:
            nonlocal printed_s
            text = f"tracing costs: {done} of {total} cells"
            if line is not None:
                line.update(text)
            elif monotonic() - printed_s >= BETWEEN_LINES_S:
                printed_s = monotonic()
                console.print(text, highlight=False)

        yield progress


def _weight(job: Job, measure: Measure) -> float:
    """Return the work of a job, up to a factor that jobs share."""
    cell = job.cell
    slowness = 2.0 if cell.backend.threads == 1 else 1.0
    pixels = cell.batch * cell.frames * cell.height * cell.width
    return pixels * expected_calls(measure, cell.backend).total * slowness


def _result(record: CellRecord) -> str:
    reason = f": {record.reason}" if record.reason else ""
    seconds = [call.wall_s for call in record.steady(Pass.END_TO_END, FORWARD)]
    if not seconds:
        return f"{record.status}{reason}"
    return f"{record.status}  {FORWARD} {with_unit(median(seconds))} (median of {len(seconds)}){reason}"
