"""`vsr-bench run`, and what `ladder` has in common with it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.commands import console, exits, lifecycle
from bench.commands.lifecycle import Outcome
from bench.commands.options import (
    ConfigArgument,
    FilterOption,
    OutputOption,
    ResumeOption,
    SetOption,
    VariantOption,
    experiment_of,
)
from bench.commands.progress import shown, tracing
from bench.grid.config import Experiment
from bench.grid.yaml_source import places_named
from bench.results.run_folder import RunFolder
from bench.units import counted
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

IMAGES_NAMED: Final = 8
"""Number of images of a run that the terminal names."""


def run(
    source: ConfigArgument = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
    record_host_name: Annotated[
        bool, typer.Option("--record-host-name", help="Put this machine's name into environment.json.")
    ] = False,
) -> None:
    """Measure every cell of a grid, each in a process of its own, into tables, plots and a report.

    A first run: `vsr-bench run quickstart`. What a grid would measure, and how long that takes:
    `vsr-bench plan CONFIG`.

    Ctrl-C, SIGTERM and a closed terminal keep what is done; `--resume DIR` does the rest.

    Exit status:

    * 0: done
    * 2: the request was wrong, and nothing was written
    * 3: some cells did not end `ok` or `skipped`
    * 70: the disk filled or the like; what is done is kept
    * 130: interrupted; what is done is kept
    """
    outcome = measured(
        "run", source, variants, assignments, filters, output, resume, with_host_name=record_host_name
    )
    print_outcome(outcome)
    raise typer.Exit(status_of(outcome))


def measured(
    command: str,
    source: str | None,
    variants: Sequence[str] | None,
    assignments: Sequence[str] | None,
    filters: Sequence[str] | None,
    output: Path | None,
    resume: Path | None,
    *,
    check: Callable[[Experiment], None] = lambda _: None,
    with_host_name: bool = False,
) -> Outcome:
    """Carry out a new run, or the rest of one, as the command's options say.

    Raises BadInput, and typer.Exit where it is interrupted before anything is measured. `check` may refuse
    the experiment.
    """
    with console.report_early_interrupt(command, resume):
        if resume is None:
            experiment, source_of = experiment_of(source, variants, assignments)
            check(experiment)
            with places_named(source_of.named):
                return lifecycle.start(
                    experiment, shown, filters=filters or (), output=output, with_host_name=with_host_name,
                    tracing=tracing,
                )  # fmt: skip
        if filters or output or ((assignments or variants) and source is None):
            raise BadInput("--resume: fields, filters and folder are the run's own; give none of them")
        check(RunFolder.open(resume).experiment)
        given = None if source is None else experiment_of(source, variants, assignments)[0]
        return lifecycle.resume(resume, shown, given=given)


def status_of(outcome: Outcome) -> int:
    """Return the exit status of a run."""
    if outcome.interrupted:
        return exits.INTERRUPTED
    return exits.SOME_FAILED if outcome.failed else exits.OK


def print_outcome(outcome: Outcome, command: str = "run") -> None:
    """Print how a run ended and where its results are; `command` is the one that does the rest."""
    counts = ", ".join(f"{n} {status}" for status, n in sorted(outcome.statuses.items())) or "none done"
    typer.echo(f"\n{counted(outcome.planned, 'cell')}: {counts}")
    for note in outcome.notes:
        typer.echo(f"note: {one_line(note)}")
    empty: dict[str, list[str]] = {}
    for plot in outcome.empty:
        empty.setdefault(plot.reason, []).append(plot.name)
    for reason, names in empty.items():
        typer.echo(f"no plot {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}")
    images = [path.name for path in outcome.images]
    named = ", ".join(images) if len(images) <= IMAGES_NAMED else counted(len(images), "image")
    folder = one_line(str(outcome.folder))
    first = "summary.csv, ladder.csv" if command == "ladder" else "summary.csv"
    typer.echo(f"tables  {folder}/{first}, cells.csv, samples.csv, ...")
    if images:
        typer.echo(f"plots   {folder}/plots/ ({named})")
    typer.echo(f"report  {one_line(str(outcome.report.html))}, {outcome.report.markdown.name}")
    if outcome.warnings:
        named = ", ".join(f"{code} ({n})" if n > 1 else code for code, n in outcome.warnings.items())
        typer.echo(f"warned of {named}: the report says what was seen and what to do")
    if outcome.interrupted:
        typer.echo(f"interrupted; the rest: vsr-bench {command} --resume {folder}")
