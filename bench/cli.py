"""The command line: parses and prints, nothing else."""

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import (
    __version__,
    cli_ci,
    cli_compare,
    cli_export,
    cli_ladder,
    cli_paper,
    cli_tune,
    cli_upscale,
    exits,
)
from bench.cli_options import FilterOption, OutputOption, ResumeOption, SetOption, VariantOption
from bench.grid import config, estimate, plan, presets
from bench.grid.yaml_source import Source
from bench.process import interrupts
from bench.units import BYTES, counted, with_unit
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

app = typer.Typer(
    name="vsr-bench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Benchmarks video super-resolution: BasicVSR on CPU, CUDA and cuDNN, stage by stage.",
)

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of a preset such as `quickstart`.",
        show_default=False,
    ),
]

IMAGES_NAMED = 8
"""Of a run, on the terminal."""

LEFT_OUT_NAMED = 5
"""Folders that a report leaves out, by name on the terminal."""


def _out() -> Console:
    """Standard output; a table that goes to a file or a pipe is not cut to a terminal's width."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"vsr-bench {__version__}")
        raise typer.Exit


@app.command()
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
    from bench import run as runs  # noqa: PLC0415 - matplotlib and pandas: only where they are needed
    from bench.progress import shown, tracing  # noqa: PLC0415

    if resume is not None:
        if filters or output or ((assignments or variants) and source is None):
            raise BadInput("--resume: fields, filters and folder are the run's own; give none of them")
        given = None if source is None else _experiment(source, variants, assignments)[0]
        outcome = runs.resume(resume, shown, given=given)
    elif source is None:
        raise BadInput(f"run: needs a CONFIG; presets are {', '.join(presets.names())}")
    else:
        experiment, source_of = _experiment(source, variants, assignments)
        with tracing() as tell:
            outcome = runs.start(
                experiment, shown, filters=filters or (), output=output, with_host_name=record_host_name,
                where=source_of.named, tell=tell,
            )  # fmt: skip
    _print_outcome(outcome)
    if outcome.interrupted:
        raise typer.Exit(exits.INTERRUPTED)
    if outcome.failed:
        raise typer.Exit(exits.SOME_FAILED)


@app.command("plan")
def show_plan(
    source: ConfigArgument,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
) -> None:
    """List the cells of a grid with their FLOPs, memory and seconds as estimated; run none of them."""
    from bench.measure import preflight  # noqa: PLC0415 - needed by no other command
    from bench.process.launcher import Launcher  # noqa: PLC0415
    from bench.progress import tracing  # noqa: PLC0415

    experiment, source_of = _experiment(source, variants, assignments)
    cells = plan.cells(experiment, filters or ())
    with tracing() as tell, Launcher({}) as launcher:
        answer = preflight.ask(launcher, cells, where=source_of.named, tell=tell)
    rates = estimate.machine_rates(cells)
    estimates = [estimate.cost(cell, answer.costs_of(cell), experiment.measure, rates) for cell in cells]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for name in ("GFLOP", "calls", "memory", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in estimates:
        table.add_row(
            item.cell.id,
            "?" if item.flops is None else f"{item.flops / 1e9:,.1f}",
            str(item.calls),
            "?" if item.peak_bytes is None else with_unit(item.peak_bytes, BYTES),
            "?" if item.seconds is None else f"{item.seconds:,.1f}",
        )
    out = _out()
    out.print(table)
    rounds = experiment.measure.rounds
    known = sum(item.seconds for item in estimates if item.seconds is not None) * rounds
    unknown = sum(item.seconds is None for item in estimates)
    out.print(
        f"{counted(len(cells), 'cell')}, {counted(rounds, 'round')} each: about {_duration(known)}"
        + (f", and {counted(unknown, 'cell')} whose device or costs are not known here" if unknown else ""),
        highlight=False,
    )
    out.print(
        "GFLOP and memory are of one forward (live tensors and weights); calls and seconds of one round. "
        "Seconds are rough: they assume a share of this machine's matrix-multiply rate.",
        style="dim",
        highlight=False,
    )


@app.command()
def rebuild(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.", show_default=False)],
) -> None:
    """Make a run's tables, plots and report anew from its journal."""
    from bench import run as runs  # noqa: PLC0415

    _print_outcome(runs.rebuild(folder))


@app.command("report")
def make_report(
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

    A folder that is no run stands for all runs below it; what of those cannot be read is named and left out.
    """
    from bench import report_run  # noqa: PLC0415 - matplotlib and pandas

    pages = report_run.report(runs, output, reference)
    typer.echo(pages.html)
    typer.echo(pages.markdown)
    if pages.found:
        typer.echo(f"of {len(pages.found)} runs: {one_line(', '.join(map(str, pages.found)))}")
    for reason in pages.left_out[:LEFT_OUT_NAMED]:
        typer.echo(f"left out: {one_line(reason)}", err=True)
    if len(pages.left_out) > LEFT_OUT_NAMED:
        typer.echo(f"left out: {len(pages.left_out) - LEFT_OUT_NAMED} more, named on the page", err=True)


@app.command("env")
def show_environment(
    check: Annotated[
        bool,
        typer.Option("--check", help="Say what would spoil a measurement here, and how to mend it."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check: as JSON. Without, the output is JSON anyway.")
    ] = False,
) -> None:
    """Print what environment.json of a run here would hold; with --check, what is wrong with this machine.

    Exit status of --check: 0 if nothing found would spoil a measurement, 1 if something would.
    """
    from bench import environment_check  # noqa: PLC0415 - starts a worker and looks at the machine

    described = environment_check.here()
    if not check:
        typer.echo(json.dumps(described, indent=2))
        return
    now = environment_check.look()
    findings = environment_check.findings(described, now)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.weight}: {finding.seen}\n  {finding.remedy}")
        typer.echo(environment_check.in_short(findings, now))
    if any(finding.weight is environment_check.Weight.SPOILS for finding in findings):
        raise typer.Exit(exits.FOUND)


app.command("upscale")(cli_upscale.upscale)
app.command("compare")(cli_compare.compare)
app.command("ci")(cli_ci.ci)
app.command("ladder")(cli_ladder.ladder)
app.command("tune")(cli_tune.tune)
app.command("export")(cli_export.export)
app.command("paper")(cli_paper.paper)


RETIRED_COMMANDS: dict[str, str] = {
    "history": "keep series of results with Bencher or github-action-benchmark, which `vsr-bench export` "
    "writes for",
    "noise": "`vsr-bench ci --base HEAD --head HEAD` measures a revision against itself, and says how "
    "small a slowdown it could have told",
}
"""Commands that earlier versions had, each with what replaces it."""


def _retire(name: str, replacement: str) -> None:
    """Answer a command that went with one sentence, whatever its options."""

    @app.command(
        name, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )
    def _refuse(_context: typer.Context) -> None:
        raise BadInput(f"{name}: this command is no longer there; {replacement}")


for _name, _replacement in RETIRED_COMMANDS.items():
    _retire(_name, _replacement)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the YAML, for editors.

    With the YAML extension of an editor: `vsr-bench schema > vsr-bench.schema.json`, and
    `# yaml-language-server: $schema=vsr-bench.schema.json` as the YAML's first line.
    """
    from vsr_model.registry import NETWORKS, arguments_of, network_class  # noqa: PLC0415 - imports torch

    networks = {name: arguments_of(network_class(name)) for name in NETWORKS}
    typer.echo(json.dumps(config.json_schema(networks), indent=2))


def _experiment(
    source: str, variants: Sequence[str] | None, assignments: Sequence[str] | None
) -> tuple[config.Experiment, Source]:
    """Read what a CONFIG, its variants and the fields set on top mean, and where each value stands."""
    return config.load(presets.find(source), assignments or (), variants or ())


def _print_outcome(outcome: Any) -> None:
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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    _stand_in_for_closed_streams()
    _show_what_cannot_be_encoded()
    try:
        interrupts.listen()
        status = app(args=arguments, prog_name="vsr-bench", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever read the output has enough (typer turns it into SystemExit, and into nothing else).
        return exits.without_output()
    except Exception as error:
        try:
            return exits.explain(error)
        except OSError:
            return exits.without_output()
    return status if isinstance(status, int) else exits.OK


def _stand_in_for_closed_streams() -> None:
    """Python has None where a stream was closed before it began, which nothing can be written to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good


def _show_what_cannot_be_encoded() -> None:
    """As an escape, where the output's encoding lacks a character that a name or a table of ours has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
