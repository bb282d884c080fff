"""The command `ladder`: parses and prints, nothing else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import cli_sides, exits
from bench.cli_options import FilterOption, OutputOption, ResumeOption, SetOption, VariantOption
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line, visible

if TYPE_CHECKING:
    from bench.reporting.markdown import Column
    from bench.run import Outcome

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
    with cli_sides.told_if_early("ladder", resume):
        from bench import ladder_run  # noqa: PLC0415 - matplotlib and pandas: only where they are needed
        from bench.grid import config, presets  # noqa: PLC0415

        def experiment(of: str) -> config.Experiment:
            return config.load(presets.find(of), assignments or (), variants or ())[0]

        if resume is not None:
            if filters or output or ((assignments or variants) and source is None):
                raise BadInput("--resume: fields, filters and folder are the run's own; give none of them")
            given = None if source is None else experiment(source)
            outcome = ladder_run.resume(resume, cli_sides.display, given=given)
        else:
            outcome = ladder_run.start(
                experiment(source or PRESET), cli_sides.display, filters=filters or (), output=output
            )
    _print(outcome)
    if outcome.interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if outcome.failed:
        raise typer.Exit(exits.SOME_FAILED)


def _print(outcome: "Outcome") -> None:
    from bench import ladder_run  # noqa: PLC0415
    from bench.reporting.ladder_section import doubts, in_a_sentence, step_columns  # noqa: PLC0415

    console = Console()
    console = console if console.is_terminal else Console(width=200)
    found = ladder_run.steps(outcome.folder)
    for one in found:
        console.print()
        if len(found) > 1:
            console.print(Text(visible(" ".join(one.clip_id)), style="bold"))
        console.print(table_of(step_columns(one)))
        console.print(Text(visible(in_a_sentence(one)).strip()), soft_wrap=True)
        for doubt in doubts(one):
            console.print(Text(f"note    {visible(doubt)}"), soft_wrap=True)
    folder = one_line(str(outcome.folder))
    typer.echo(f"\ntable   {folder}/ladder.csv")
    typer.echo(f"plot    {folder}/plots/ladder{'*' if len(found) > 1 else ''}.png")
    typer.echo(f"report  {one_line(str(outcome.report.html))}, {outcome.report.markdown.name}")
    if outcome.interrupted:
        typer.echo(f"interrupted; the rest: vsr-bench ladder --resume {folder}")


def table_of(columns: "Sequence[Column]") -> Table:
    """The columns as a terminal shows them."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    shown = [column for column in columns if any(column.cells)]
    for column in shown:
        made.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in zip(*(column.cells for column in shown), strict=True):
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made
