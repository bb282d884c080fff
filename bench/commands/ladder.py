"""`vsr-bench ladder`."""

from typing import Annotated, Final

import typer
from rich.text import Text

from bench.commands import console
from bench.commands.options import (
    FilterOption,
    OutputOption,
    ResumeOption,
    SetOption,
    VariantOption,
    optional_config,
)
from bench.commands.run import measured, print_outcome, status_of
from bench.grid.config import Experiment
from bench.reporting.ladder import doubts, in_a_sentence, ladders_of, step_columns
from bench.results.run_folder import RunFolder
from vsr_model.errors import BadInput
from vsr_model.one_line import visible

PRESET: Final = "ladder"


def ladder(
    source: Annotated[str | None, optional_config(PRESET)] = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
    output: OutputOption = None,
    resume: ResumeOption = None,
) -> None:
    """Start at the plain network, add one optimisation at a time, and show what each step gains and costs.

    A ladder is a grid with `ladder: true`, whose backends are its rungs, from the plain network up; each has
    something that the one before has not. They are measured in turn, in rounds, and every output is checked.
    A step pays where the whole interval of its gain, between three rounds or more, lies above 1. Rungs that
    this machine cannot run are skipped, with the reason.

    The run's folder gets ladder.csv, plots/ladder.png and .svg (time left per step, stage by stage) and a
    section in report.html and .md. The preset has `--variant gpu` for an NVIDIA GPU,
    `--variant exact` for float32 alone, and `--variant quick` for a first look.

    Ctrl-C keeps what is done; `--resume DIR` does the rest.

    Exit status:

    * 0: done
    * 2: the request was wrong, and nothing was written
    * 3: some cells did not end `ok` or `skipped`
    * 70: the disk filled or the like; what is done is kept
    * 130: interrupted; what is done is kept
    """
    preset = PRESET if resume is None else None
    outcome = measured(
        "ladder", source or preset, variants, assignments, filters, output, resume, check=_check_ladder
    )
    out = console.output()
    folder = RunFolder.open(outcome.folder)
    found = ladders_of(folder, folder.tables())
    for clip, steps in found.items():
        out.print()
        if len(found) > 1:
            out.print(Text(visible(clip.replace("/", " ")), style="bold"))
        out.print(console.table_of(step_columns(steps)))
        out.print(Text(visible(in_a_sentence(steps)).strip()), soft_wrap=True)
        for doubt in doubts(steps):
            out.print(Text(f"note    {visible(doubt)}"), soft_wrap=True)
    print_outcome(outcome, "ladder")
    raise typer.Exit(status_of(outcome))


def _check_ladder(experiment: Experiment) -> None:
    """Raise BadInput where the backends of an experiment need not add to each other."""
    if not experiment.ladder:
        raise BadInput(
            f"{experiment.name}: is no ladder: its backends need not add to each other; where each does, say "
            "`ladder: true` in the YAML"
        )
