"""Progress of the work on a file: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from bench.units import significant, time_left

READING: Final = "reading (1 of 3)"
LOOKING_AHEAD: Final = "propagating backward (2 of 3)"
UPSCALING: Final = "upscaling (3 of 3)"
FINISHING: Final = "finishing the file"

BETWEEN_LINES_S: Final = 30.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`doing` is one of the four above, in that order; `done` of `total` frames are done."""

    doing: str
    done: int
    total: int


Listener: TypeAlias = Callable[[Progress], None]


class FileDisplay:
    """Shows the progress of one file, inside a `with` block of its `bar`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._doing = ""
        self._began_s = self._printed_s = monotonic()
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[done]}"),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self._task = self.bar.add_task("starting", total=None, done="")

    def __call__(self, now: Progress, /) -> None:
        if now.doing != self._doing:
            self._doing, self._began_s = now.doing, monotonic()
        done = f"{now.done}/{now.total} frames"
        if now.done and (took_s := monotonic() - self._began_s) > 0:
            left = time_left(took_s * (now.total - now.done) / now.done)
            done += f", {significant(now.done / took_s)} frames/s, {left}"
        if not self.bar.disable:
            self.bar.update(self._task, description=now.doing, completed=now.done, total=now.total, done=done)
        elif monotonic() - self._printed_s >= BETWEEN_LINES_S:
            self._printed_s = monotonic()
            self._console.print(escape(f"{now.doing}: {done}"), highlight=False, soft_wrap=True)
