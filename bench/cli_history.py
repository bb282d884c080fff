"""The command `history`: parses and prints, nothing else."""

from pathlib import Path
from typing import Annotated, Final

import typer

from vsr_model.one_line import one_line

LEFT_OUT_NAMED: Final = 10
"""Runs that are left out, by name on the terminal."""


def history(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders of runs, or folders that hold some, such as `results`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the page. [default: ./history]", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Leave out runs that began before, as in `2026-11-01` (UTC).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Lay runs in the order of time, per machine and cell, and say between which of them the level changed.

    Runs that cannot be read are named and left out, unless they are named themselves. It is no gate: exit
    status 0 whether there are steps or not, 2 the request was wrong and nothing was written.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    from bench import history_run  # noqa: PLC0415 - matplotlib and pandas
    from bench.progress import ProgressConsole  # noqa: PLC0415

    console = ProgressConsole()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading runs", total=None)
        written = history_run.write(
            folders, output, since, lambda done, every: bar.update(task, completed=done, total=every)
        )
    for line in written.left_out[:LEFT_OUT_NAMED]:
        typer.echo(f"left out: {one_line(line)}", err=True)
    if len(written.left_out) > LEFT_OUT_NAMED:
        typer.echo(f"left out: {len(written.left_out) - LEFT_OUT_NAMED} more, named on the page", err=True)
    found = sum(1 for _ in written.history.found())
    runs = len(written.history.runs)
    typer.echo(
        f"{runs} run{'' if runs == 1 else 's'}, {len(written.history.series)} series, "
        f"{found} step{'' if found == 1 else 's'}"
    )
    typer.echo(f"points  {written.csv}")
    typer.echo(f"page    {written.pages.html}, {written.pages.markdown.name}")
