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

from bench.commands.console import StreamConsole
from bench.grid.plan import Job
from bench.grid.spans import FORWARD
from bench.messages import Progress as Doing
from bench.process.forecast import Expected, total
from bench.records import CellRecord, Pass, Status
from bench.units import time_left, with_unit
from vsr_model.one_line import visible

BETWEEN_LINES_S: Final = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class ProgressConsole(StreamConsole):
    """Standard error, whose reader may go away without ending the run."""

    def __init__(self) -> None:
        super().__init__(cast(TextIO, _Patient(sys.stderr)))


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

    def __init__(self, jobs: Sequence[Job], expected: Expected, console: Console) -> None:
        self._console = console
        self._expected = expected
        self._left = [*jobs]
        self._all = len(jobs)
        self._ended = 0
        self._began_s = monotonic()
        self._job_s: float | None = None  # of the current job, and of those after it
        self._after_s: float | None = None
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
            disable=not console.is_interactive,
        )
        self._task = self.bar.add_task("starting", total=100, left="")

    def of_side(self, name: str) -> "Display":
        """Return this display, which from here on reports this side's jobs."""
        self._side = f"{name} "
        return self

    def job_started(self, job: Job) -> None:
        self.print_skipped()
        # Worked out here and not while the job runs, beside what is measured.
        after = [other for other in self._left if other != job]
        self._job_s, *after_s = self._expected([job, *after])
        self._after_s = total(after_s) if after else 0.0
        self._show(job, "starting", 0.0)

    def job_progressed(self, job: Job, progress: Doing) -> None:
        self._show(job, progress.doing, progress.done / progress.total)

    def job_ended(self, job: Job, record: CellRecord) -> None:
        with suppress(ValueError):
            self._left.remove(job)
        if record.status is Status.SKIPPED:
            self._all -= 1
            self._skipped.setdefault(record.reason, []).append(f"{self._side}{record.cell}")
            return
        self._ended += 1
        number = f"{self._ended:>{len(str(self._all))}}/{self._all}"
        of_round = f" round {job.round + 1}" if job.round else ""
        left_s = total(self._expected(self._left)) if self._left else None
        left = time_left(left_s) if left_s and self.bar.disable else ""
        self._print(f"{number}  {self._side}{record.cell}{of_round}  {_result(record)}  {left}".rstrip())
        self.bar.update(self._task, completed=self._percent(left_s or 0.0), refresh=True)

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
        left_s = None
        if self._job_s is not None:
            left_s = self._job_s * (1 - share) + (self._after_s or 0.0)
        self.bar.update(
            self._task,
            description=escape(f"{self._side}{job.cell.id}: {doing}"),
            completed=self._percent(left_s or 0.0),
            left=time_left(left_s),
            refresh=True,
        )

    def _percent(self, left_s: float) -> float:
        spent_s = monotonic() - self._began_s
        return 100 * spent_s / (spent_s + left_s) if left_s or not self._left else 0.0


@contextmanager
def shown(jobs: Sequence[Job], expected: Expected, console: Console | None = None) -> Iterator[Display]:
    """Show the progress of the jobs on standard error, or on the `console`."""
    display = Display(jobs, expected, console or ProgressConsole())
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
        console.status("looking at networks, inputs and devices") if console.is_interactive else nullcontext()
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


def _result(record: CellRecord) -> str:
    reason = f": {record.reason}" if record.reason else ""
    seconds = [call.wall_s for call in record.steady(Pass.END_TO_END, FORWARD)]
    if not seconds:
        return f"{record.status}{reason}"
    return f"{record.status}  {FORWARD} {with_unit(median(seconds))} (median of {len(seconds)}){reason}"
