"""`vsr-bench run`."""

from typing import Annotated, Final

import typer

from bench.commands import exits, lifecycle
from bench.commands.lifecycle import Outcome
from bench.commands.options import (
    FilterOption,
    OutputOption,
    ResumeOption,
    SetOption,
    VariantOption,
    experiment_of,
    given_beside_resume,
)
from bench.commands.progress import shown, tracing
from bench.grid import presets
from bench.grid.yaml_source import places_named
from bench.units import counted
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

IMAGES_NAMED: Final = 8
"""Number of images of a run that the terminal names."""


def run(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A YAML file, or the name of a preset such as `quickstart`.",
            show_default=False,
        ),
    ] = None,
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

    Ctrl-C, SIGTERM and a closed terminal keep what is done; `--resume DIR` does the rest. Exit status: 0
    done, 2 the request was wrong and nothing was written, 3 some cells did not end `ok` or `skipped`, 70 the
    disk filled or the like (what is done is kept), 130 interrupted.
    """
    if resume is not None:
        given = given_beside_resume(source, variants, assignments, filters, output)
        outcome = lifecycle.resume(resume, shown, given=given)
    elif source is None:
        raise BadInput(f"run: needs a CONFIG; presets are {', '.join(presets.names())}")
    else:
        experiment, source_of = experiment_of(source, variants, assignments)
        with places_named(source_of.named):
            outcome = lifecycle.start(
                experiment, shown, filters=filters or (), output=output, with_host_name=record_host_name,
                tracing=tracing,
            )  # fmt: skip
    print_outcome(outcome)
    if outcome.interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if outcome.failed:
        raise typer.Exit(exits.SOME_FAILED)


def print_outcome(outcome: Outcome) -> None:
    """Print how a run ended and where its results are."""
    counts = ", ".join(f"{n} {status}" for status, n in sorted(outcome.statuses.items())) or "none done"
    typer.echo(f"\n{counted(outcome.planned, 'cell')}: {counts}")
    for note in outcome.notes:
        typer.echo(f"note: {one_line(note)}")
    empty: dict[str, list[str]] = {}
    for plot in outcome.plots.empty:
        empty.setdefault(plot.reason, []).append(plot.name)
    for reason, names in empty.items():
        typer.echo(f"no plot {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}")
    images = [path.name for path in outcome.plots.images]
    named = ", ".join(images) if len(images) <= IMAGES_NAMED else counted(len(images), "image")
    typer.echo(f"tables  {outcome.folder}/summary.csv, cells.csv, samples.csv, ...")
    typer.echo(f"plots   {outcome.folder}/plots/ ({named})")
    typer.echo(f"report  {outcome.report.html}, {outcome.report.markdown.name}")
    if outcome.warnings:
        named = ", ".join(f"{code} ({n})" if n > 1 else code for code, n in outcome.warnings.items())
        typer.echo(f"warned of {named}: the report says what was seen and what to do")
    if outcome.interrupted:
        typer.echo(f"interrupted; the rest: vsr-bench run --resume {outcome.folder}")
