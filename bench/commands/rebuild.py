"""`vsr-bench rebuild`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import lifecycle
from bench.commands.run import print_outcome


def rebuild(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.", show_default=False)],
) -> None:
    """Make a run's tables, plots and report anew from its journal."""
    print_outcome(lifecycle.rebuild(folder))
