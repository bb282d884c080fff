"""`vsr-bench compare`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.commands import console, exits
from bench.commands.options import FailOn, MemoryThreshold, Threshold, share, words
from bench.comparison import policy
from bench.comparison.comparison import Limits
from bench.comparison.facets import FACETS
from bench.comparison.runs import compare as compare_runs
from bench.reporting.comparison.formats import to_json, to_junit
from bench.reporting.comparison.page import render, write
from bench.reporting.comparison.terminal import tables
from vsr_model.one_line import one_line


class Format(StrEnum):
    """Values of `--format`."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    JUNIT = "junit"


def compare(
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="The run to compare with.", show_default=False)
    ],
    new: Annotated[
        list[Path], typer.Argument(metavar="NEW...", help="One run, or several.", show_default=False)
    ],
    threshold: Threshold = "3%",
    memory_threshold: MemoryThreshold = "10%",
    fail_on: FailOn = "slower",
    across: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Compare cells all the same that differ in these, with commas: network, input, precision, "
            "backend, method, device, torch. Two GPUs: `--across device`.",
            show_default=False,
        ),
    ] = None,
    apart: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="By how much the machine itself may have changed between runs not measured in turn.",
        ),
    ] = "0%",
    form: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write comparison.html, comparison.md, comparison.json and junit.xml into this folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say of every cell whether a new run is slower than a base, faster, the same, or whether it is unclear.

    Cells are matched by what they measure. Each has the ratio of its times, new over base, with an interval;
    all intervals hold together with 95 %. `slower` is said where the whole interval lies above 1 + threshold,
    and `unclear`, with the rounds that would settle it, where an interval does not tell. Memory, accuracy and
    how cells ended are compared, too, and stages, so that a slow commit points at a module.

    Runs that were measured in turn (`vsr-bench ci` does so) are compared round by round; of others the ratio
    holds what the machine did meanwhile, too.

    Exit status: 0 nothing failed, 1 a regression, 2 the request was wrong.
    """

    limits = Limits(
        threshold=share(threshold, "--threshold"),
        memory_threshold=share(memory_threshold, "--memory-threshold"),
        apart=share(apart, "--apart", may_be_zero=True),
        across=frozenset(words(across, "--across", FACETS) if across is not None else ()),
    )
    failing = policy.chosen(words(fail_on, "--fail-on", policy.FAIL_ON))
    comparisons = compare_runs(base, new, limits)
    pages = () if output is None else write(output, comparisons, failing)
    if form is Format.TEXT:
        out = console.output()
        for shown in tables(comparisons, failing):
            out.print(shown)
        if pages:
            typer.echo(f"page    {one_line(str(pages[0]))}, {', '.join(path.name for path in pages[1:])}")
    else:
        made = {Format.MARKDOWN: render, Format.JSON: to_json, Format.JUNIT: to_junit}[form]
        typer.echo(made(comparisons, failing), nl=False)
    if any(policy.failures(comparison, failing) for comparison in comparisons):
        raise typer.Exit(exits.FOUND)
