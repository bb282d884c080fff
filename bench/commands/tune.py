"""`vsr-bench tune`."""

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from bench.commands import console, exits, tune_search
from bench.commands.options import (
    ConfigArgument,
    ResumeAsBegunOption,
    SetOption,
    VariantOption,
    experiment_of,
    given_options,
)
from bench.commands.progress import shown
from bench.commands.tune_search import Tuned
from bench.grid.yaml_source import places_named
from bench.machine.host import allowed_cores
from bench.reporting.markdown import Column
from bench.tuning.report import details, format_verdict
from bench.tuning.request import request
from bench.tuning.search import standings, tried
from bench.units import counted
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line


def tune(
    context: typer.Context,
    source: ConfigArgument = None,
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
        str,
        typer.Option(
            metavar="TIME",
            help="How long to search, with the confirmation at its end: `90s`, `5min`, `1h`; one second to "
            "one day.",
        ),
    ] = "5min",
    min_psnr_db: Annotated[
        float,
        typer.Option(
            metavar="DB",
            help="How close to the CPU float32 result outputs have to be, peak 1.0. 80 keeps full float32; "
            "60 allows tf32 and float16, 45 bfloat16.",
        ),
    ] = 80.0,
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
            help="Do not try this field of a backend, as in `--without compile`. May be given again.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="The name of the backend.")] = "tuned",
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
            help="Folder for the measurements; new or empty. [default: results/tune-NAME-TIME, in UTC]",
            show_default=False,
        ),
    ] = None,
    resume: ResumeAsBegunOption = None,
) -> None:
    """Find the fastest backend for this machine and a grid's clips, and write it to a file for use by name.

    CONFIG gives the clips and the network; its backends are not used. First each optimisation is measured
    alone, beside the plain network. Then, from the fastest on, one field is changed at a time, until that
    brings no more than 1 % or the time is over. Every output is checked. At last the fastest is measured
    afresh beside the plain network. The reported gain is of these rounds alone, since the
    fastest of many is also the luckiest.

    Use the backend by its name: `vsr-bench upscale --backend tuned IN OUT`, or in a grid
    `backends: [cpu, {name: tuned, from: tuned}]`. A file is named by its path. A note says so where machine
    or torch are others than it was tuned on.

    Each stage is a run like any other, in the folder; `tune.csv` lists what was tried. Ctrl-C keeps what is
    done; `--resume DIR` does the rest.

    Exit status:

    * 0: done
    * 2: the request was wrong, and nothing was written
    * 3: there is no answer, since the plain network or every other backend failed or was not measured; no
      backend is written, and an earlier one stays
    * 70: the disk filled or the like; what is done is kept
    * 130: interrupted; what is done is kept
    """
    with console.report_early_interrupt("tune", resume):
        if resume is not None:
            if given_options(context) - {"resume"}:
                raise BadInput("--resume: all is as it began; give nothing else")
            found = tune_search.resume(resume, shown, console.say)
        else:
            experiment, source_of = experiment_of(source, variants, assignments)
            ask = partial(
                request,
                cores=len(allowed_cores()),
                within=within,
                min_psnr_db=min_psnr_db,
                without=without or (),
                name=name,
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


def _print(found: Tuned) -> None:
    if found.interrupted:
        typer.echo(f"interrupted; the rest: {one_line(tune_search.again(found.folder))}")
        return
    out = console.output()
    out.print()
    columns = zip(
        ("stage", "backend", "speed, output"), zip(*standings(found.stages), strict=True), strict=False
    )
    out.print(console.table_of([Column(title=title, cells=cells) for title, cells in columns]))
    if found.verdict is None:
        typer.echo(f"\nno backend is written: {one_line(found.no_answer)}")
        typer.echo(f"folder  {one_line(str(found.folder))}")
        return
    typer.echo(f"\n{found.verdict.chosen.name}: {format_verdict(found.verdict)}")
    lines = [*details(found.verdict, found.asked.min_psnr_db)]
    if found.out_of_time:
        over = f"the time was over before the search was; tried: {counted(tried(found.stages), 'backend')}"
        lines.append(("note", over))
    lines += [
        ("backend", str(found.asked.file)),
        ("table", f"{found.folder}/tune.csv, and a run for each stage"),
        ("use", f"vsr-bench upscale --backend {quote(found.asked.used_as)} INPUT OUTPUT"),
    ]
    for label, text in lines:
        typer.echo(f"{label:<7} {one_line(text)}")
