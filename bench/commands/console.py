"""Standard output and error of a command, and an interrupt that comes before anything is measured."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands import exits
from bench.reporting.markdown import Column, filled
from vsr_model.one_line import one_line, visible

_ENDLESS: Final = 100_000
"""Characters of a line that goes to a file or a pipe: none is folded."""


class StreamConsole(Console):
    """A console on a stream, which alone says whether it is a terminal.

    To a file or a pipe no bar is drawn and no line is folded, whatever a variable such as FORCE_COLOR says;
    that is for colours alone, as NO_COLOR is.
    """

    def __init__(self, stream: TextIO) -> None:
        is_terminal = stream.isatty()
        forced = os.environ.get("FORCE_COLOR", "0") not in ("", "0")
        super().__init__(
            file=stream,
            force_terminal=is_terminal,
            force_interactive=is_terminal and os.environ.get("TERM", "") not in ("dumb", "unknown"),
            width=None if is_terminal else _ENDLESS,
            color_system="auto" if is_terminal else "standard" if forced else None,
        )


def output() -> Console:
    """Return standard output."""
    return StreamConsole(sys.stdout)


def is_closed() -> bool:
    """Return whether standard output was closed before the program began (bench.cli stands in for it)."""
    return sys.stdout.name == os.devnull


def say(sentence: str) -> None:
    """Write a sentence to standard error, in one line."""
    typer.echo(one_line(sentence), err=True)


def table_of(columns: Sequence[Column]) -> Table:
    """Return the columns that are not empty as a table for a terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    shown = filled(columns)
    for column in shown:
        made.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in zip(*(column.cells for column in shown), strict=True):
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made


@contextmanager
def report_early_interrupt(command: str, resume: Path | None) -> Iterator[None]:
    """End with a line and the exit status where Ctrl-C comes before anything is measured, or after all is."""
    try:
        yield
    except KeyboardInterrupt as error:
        if error.args:  # from bench.commands.lifecycle.start
            text = f"interrupted; the rest: {error.args[0]}"
        elif resume is None:
            text = "interrupted before anything was measured; nothing is kept"
        else:
            rest = f"vsr-bench {command} --resume {resume}"
            text = f"interrupted before anything more was measured; the rest: {rest}"
        typer.echo(one_line(text))
        raise typer.Exit(exits.INTERRUPTED) from None
