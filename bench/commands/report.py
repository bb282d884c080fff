"""`vsr-bench report`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from bench.reporting import folders
from vsr_model.one_line import one_line

LEFT_OUT_NAMED: Final = 5
"""Number of left-out folders that the terminal names."""


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, or folders with runs below them.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page. [default: the run's own; ./report-NAMES for several runs]",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="RUN[:BACKEND]",
            help="What devices are compared with. [default: the baseline of the first run]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make report.html and report.md of a run, or of several runs side by side; nothing is measured.

    A folder that is no run stands for all runs below it. Those that cannot be read are named and left out.
    """
    pages = folders.report(runs, output, reference)
    typer.echo(pages.html)
    typer.echo(pages.markdown)
    if pages.found:
        typer.echo(f"of {len(pages.found)} runs: {one_line(', '.join(map(str, pages.found)))}")
    for reason in pages.left_out[:LEFT_OUT_NAMED]:
        typer.echo(f"left out: {one_line(reason)}", err=True)
    if len(pages.left_out) > LEFT_OUT_NAMED:
        typer.echo(f"left out: {len(pages.left_out) - LEFT_OUT_NAMED} more, named on the page", err=True)
