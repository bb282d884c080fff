"""What the commands that measure in turn tell meanwhile."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench import exits
from bench.grid.config_measure import Measure
from bench.grid.plan import Job
from vsr_model.one_line import one_line

if TYPE_CHECKING:
    from bench.progress import Display


def say(sentence: str) -> None:
    """On stderr, in one line."""
    typer.echo(one_line(sentence), err=True)


def display(jobs: Sequence[Job], measure: Measure) -> AbstractContextManager["Display"]:
    """Shows the progress of the jobs of all sides."""
    from bench.progress import shown  # noqa: PLC0415 - rich's live display: only where something is measured

    return shown(jobs, measure)


@contextmanager
def told_if_early(command: str, resume: Path | None) -> Iterator[None]:
    """Where Ctrl-C comes while nothing is measured yet, say so in a line, and end with the status for it."""
    try:
        yield
    except KeyboardInterrupt:
        if resume is None:
            typer.echo("interrupted before anything was measured; nothing is kept")
        else:
            rest = f"vsr-bench {command} --resume {resume}"
            typer.echo(one_line(f"interrupted before anything more was measured; the rest: {rest}"))
        raise typer.Exit(exits.INTERRUPTED) from None
