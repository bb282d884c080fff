"""`vsr-bench tune`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from bench.commands import console, exits, tune_search
from bench.commands.options import SetOption, VariantOption, experiment_of
from bench.commands.progress import shown
from bench.commands.tune_search import Tuned
from bench.grid import presets
from bench.grid.yaml_source import places_named
from bench.machine.host import allowed_cores
from bench.reporting.markdown import Column
from bench.tuning.format import decibels
from bench.tuning.request import Request, request
from bench.tuning.tuned import format_runner_up_gain, format_verdict
from bench.units import counted
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line


def tune(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A grid whose clips and network are tuned for: a YAML file, or the name of a preset. "
            "Its backends are not used.",
            show_default=False,
        ),
    ] = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Keep only some clips: `frames=4`, `size=64x64`, `input=noise`, `batch=1`. Given again, "
            "every filter must hold.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long to search, with the confirmation at its end: `90s`, `5min`, `1h`; a second at "
            "least. [default: 5min]",
            show_default=False,
        ),
    ] = None,
    min_psnr_db: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="How close to the CPU float32 result outputs have to be, peak 1.0. 80 keeps full float32; "
            "60 allows tf32 and float16, 45 bfloat16. [default: 80]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="cpu, cuda or cuda:1. [default: cuda where there is one, otherwise cpu]",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Leave this field of a backend alone, as in `--without compile`. May be given again.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the backend is called. [default: tuned]", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The .yaml file to write it to. [default: NAME.yaml in the user's configuration folder, "
            "where it is found by its name]",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for what is measured; new or empty. [default: results/tune-NAME-TIME, in UTC]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Go on with an interrupted search, as it was asked for, in the time that it has left.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find the fastest backend for this machine and a grid's clips, and write it as one to be used by name.

    First each optimisation is measured alone, beside the plain network; then, from the fastest on, one field
    is changed at a time, until that brings no more than 1 % or the time is over. Every output is checked.
    The fastest is then measured afresh beside the plain network and the runner-up: the gain that is told is
    of that alone, since the fastest of many is also the luckiest.

    Use what was found by its name: `vsr-bench upscale --backend tuned IN OUT`, or in a grid
    `backends: [cpu, {name: tuned, from: tuned}]`; a file is named by its path. Where machine or torch are
    others than it was tuned on, there is a note.

    Each stage is a run like any other, in the folder; `tune.csv` lists what was tried. Ctrl-C keeps what is
    done; `--resume DIR` does the rest. Exit status: 0 done, 2 the request was wrong and nothing was written,
    3 there is no answer, since the plain network or every other backend failed or was not measured (the
    folder has what was; no backend is written, and an earlier one stays), 70 the disk filled or the like
    (what is done is kept; where FILE alone could not be written the answer is the folder's tuned.yaml), 130
    interrupted.
    """
    with console.report_early_interrupt("tune", resume):
        if resume is not None:
            given = (source, variants, assignments, filters, within, device, without, name, output, folder)
            if any(item for item in given) or min_psnr_db is not None:
                raise BadInput("--resume: all is as it began; give nothing else")
            found = tune_search.resume(resume, shown, console.say)
        elif source is None:
            raise BadInput(f"tune: needs a CONFIG; presets are {', '.join(presets.names())}")
        else:
            experiment, source_of = experiment_of(source, variants, assignments)

            def ask(on: str) -> Request:
                return request(
                    device=on,
                    cores=len(allowed_cores()),
                    within="5min" if within is None else within,
                    min_psnr_db=80.0 if min_psnr_db is None else min_psnr_db,
                    without=without or (),
                    name="tuned" if name is None else name,
                    output=output,
                    filters=filters or (),
                )

            with places_named(source_of.named):
                found = tune_search.start(experiment, ask, shown, console.say, device=device, folder=folder)
    _print(found)
    if found.interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if found.verdict is None:
        raise typer.Exit(exits.SOME_FAILED)
    if found.unwritten:
        raise typer.Exit(exits.FAILED)


def _print(found: Tuned) -> None:

    if found.interrupted:
        typer.echo(f"interrupted; the rest: {one_line(tune_search.again(found.folder))}")
        return
    out = console.output()
    lines = tune_search.lines(found)
    out.print()
    out.print(
        console.table_of([Column(title=title, cells=[row[place] for row in lines])
                  for place, title in enumerate(("stage", "backend", "speed, output"))])
    )  # fmt: skip
    verdict = found.verdict
    if verdict is None:
        typer.echo(f"\nno backend is written: {one_line(found.no_answer)}")
        typer.echo(f"folder  {one_line(str(found.folder))}")
        return
    typer.echo(f"\n{verdict.chosen.name}: {format_verdict(verdict)}")
    if verdict.psnr_db is not None:
        typer.echo(f"output  {decibels(verdict.psnr_db)} against the CPU float32 result")
    if verdict.over_runner_up is not None:
        typer.echo(f"beside the runner-up  {format_runner_up_gain(verdict.over_runner_up)}")
    for note in verdict.notes:
        typer.echo(f"note    {one_line(note)}")
    if found.out_of_time:
        typer.echo(
            f"note    the time was over before the search was; tried: {counted(found.tried, 'backend')}"
        )
    if found.unwritten:
        typer.echo(f"note    {one_line(found.unwritten)}")
    typer.echo(f"backend {one_line(str(found.file))}")
    typer.echo(f"table   {one_line(str(found.folder))}/tune.csv, and a run for each stage")
    typer.echo(f"use     vsr-bench upscale --backend {one_line(quote(found.used_as))} INPUT OUTPUT")
