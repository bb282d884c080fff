"""`vsr-bench ladder`."""

from typing import Annotated, Final

import typer
from rich.text import Text

from bench.commands import console, exits, lifecycle
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
from bench.grid.config import Experiment
from bench.grid.yaml_source import places_named
from bench.reporting.ladder_files import ladders_of
from bench.reporting.ladder_section import doubts, in_a_sentence, step_columns
from bench.results.run_folder import RunFolder
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line, visible

PRESET: Final = "ladder"


def ladder(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A YAML file with `ladder: true`, or the name of a preset. [default: the preset ladder]",
            show_default=False,
        ),
    ] = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
) -> None:
    """Start at the plain network, add one optimisation at a time, and show what each step gains and costs.

    A ladder is a grid whose backends are its rungs, from the plain network up, each with something that the
    one before has not. They are measured in turn, in rounds, and every output is checked. A step pays where
    the whole interval of its gain, between three rounds or more, lies above 1. What this machine lacks is
    skipped, with the reason.

    The run's folder gets ladder.csv, plots/ladder.png and .svg (time left per step, stage by stage) and a
    section in report.html and .md. The preset has `--variant gpu` for an NVIDIA GPU,
    `--variant exact` for float32 alone, and `--variant quick` for a first look.

    Ctrl-C keeps what is done; `--resume DIR` does the rest. Exit status: 0 done, 2 the request was wrong and
    nothing was written, 3 some cells did not end `ok` or `skipped`, 70 the disk filled or the like (what is
    done is kept), 130 interrupted.
    """
    with console.report_early_interrupt("ladder", resume):
        if resume is not None:
            given = given_beside_resume(source, variants, assignments, filters, output)
            _check_ladder(RunFolder.open(resume).experiment, str(resume))
            outcome = lifecycle.resume(resume, shown, given=given)
        else:
            experiment, source_of = experiment_of(source or PRESET, variants, assignments)
            _check_ladder(experiment, experiment.name)
            with places_named(source_of.named):
                outcome = lifecycle.start(
                    experiment, shown, filters=filters or (), output=output, tracing=tracing
                )
    _print(outcome)
    if outcome.interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if outcome.failed:
        raise typer.Exit(exits.SOME_FAILED)


def _check_ladder(experiment: Experiment, what: str) -> None:
    """Raise BadInput where the backends of an experiment need not add to each other."""
    if not experiment.ladder:
        raise BadInput(
            f"{what}: is no ladder: its backends need not add to each other; where each does, say "
            "`ladder: true` in the YAML"
        )


def _print(outcome: Outcome) -> None:

    out = console.output()
    found = ladders_of(RunFolder.open(outcome.folder))
    for one in found:
        out.print()
        if len(found) > 1:
            out.print(Text(visible(" ".join(one.clip_id)), style="bold"))
        out.print(console.table_of(step_columns(one)))
        out.print(Text(visible(in_a_sentence(one)).strip()), soft_wrap=True)
        for doubt in doubts(one):
            out.print(Text(f"note    {visible(doubt)}"), soft_wrap=True)
    folder = one_line(str(outcome.folder))
    typer.echo(f"\ntable   {folder}/ladder.csv")
    typer.echo(f"plot    {folder}/plots/ladder{'*' if len(found) > 1 else ''}.png")
    typer.echo(f"report  {one_line(str(outcome.report.html))}, {outcome.report.markdown.name}")
    if outcome.interrupted:
        typer.echo(f"interrupted; the rest: vsr-bench ladder --resume {folder}")
