"""`vsr-bench paper`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.commands import exits, paper_runs
from bench.commands.progress import ProgressConsole, shown
from bench.commands.requests import alone
from bench.paper import claims, page
from bench.paper import folder as folders
from bench.paper.experiments import KEYS, Edition, Version, request
from bench.records import Status
from vsr_model.errors import BadInput


class Method(StrEnum):
    """Values of `--method`."""

    CORRECTED = Edition.CORRECTED
    FAITHFUL = Edition.FAITHFUL
    BOTH = "both"


def paper(
    method: Annotated[
        Method,
        typer.Option(help="`corrected`: measured properly; `faithful`: as the paper's code did it."),
    ] = Method.BOTH,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Shorter clips and fewer calls: minutes on two CPU cores, not hours."),
    ] = False,
    brief: Annotated[
        bool,
        typer.Option("--brief", help="The paper's sizes with few calls of each: for a machine with a GPU."),
    ] = False,
    figures: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"Only some, as in `14,15`: {', '.join(KEYS)}. `faults` turns one fault of the method on at "
            "a time.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the runs and the report; what is done in it is kept. "
            "[default: results/paper-TIME, in UTC]"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on where an earlier one stopped.", show_default=False),
    ] = None,
    fail_on_refuted: Annotated[
        bool,
        typer.Option("--fail-on-refuted", help="Exit with 1 if this machine refutes a claim of the paper."),
    ] = False,
) -> None:
    """Reproduce the course paper here: its figures and tables beside this machine's, and a verdict on each
    of its claims.

    Ctrl-C keeps what is done; the same command, or `--resume DIR`, does the rest. Exit status: 0 done, 1 a
    claim is refuted (with --fail-on-refuted), 2 the request was wrong, 3 some cells did not end `ok` or
    `skipped`, 70 the disk filled or the like (what is done is kept), 130 interrupted.
    """
    if resume is not None:
        if output is not None or figures is not None or quick or brief or method is not Method.BOTH:
            raise BadInput("--resume: method, figures and folder are those it began with; give none of them")
        folder, wanted = resume, folders.read_request(resume)
    else:
        if quick and brief:
            raise BadInput("--quick and --brief: give one of the two")
        wanted = request(
            Edition if method is Method.BOTH else [Edition(method)],
            KEYS if figures is None else map(str.strip, figures.split(",")),
            Version.QUICK if quick else Version.BRIEF if brief else Version.FULL,
        )
        folder = folders.begin(output, wanted)
    again = f"vsr-bench paper --resume {folder}"
    typer.echo(f"{folder}: {len(wanted.steps)} runs; if they are stopped, {again} does the rest")
    try:
        with alone(folder, folders.PAPER_NAME):
            done = paper_runs.reproduce(folder, wanted, shown, ProgressConsole().out)
            written = page.write(folder, wanted)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the rest, and the page: {again}")
        raise typer.Exit(exits.INTERRUPTED) from None
    counts = ", ".join(f"{n} {status}" for status, n in sorted(done.statuses.items())) or "none done"
    typer.echo(f"\n{done.done} of {len(wanted.steps)} runs; cells: {counts}")
    for line in claims.tallies(written.found):
        typer.echo(line)
    typer.echo(f"claims  {written.claims}")
    typer.echo(f"report  {written.html}, {written.markdown.name}")
    if done.interrupted:
        typer.echo(f"interrupted; the rest: {again}")
        raise typer.Exit(exits.INTERRUPTED)
    if done.statuses.keys() - {Status.OK, Status.SKIPPED}:
        raise typer.Exit(exits.SOME_FAILED)
    if fail_on_refuted and claims.refuted(written.found, wanted.methods[0]):
        raise typer.Exit(exits.FOUND)
