"""What the commands that measure in turn tell meanwhile."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import typer

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
