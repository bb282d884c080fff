"""`vsr-bench compare`: parses and prints, nothing else."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import exits
from vsr_model.one_line import one_line

Threshold = Annotated[
    str,
    typer.Option(
        metavar="PERCENT", help="A change of time below it does not count; docs/ci.md says how to choose one."
    ),
]
MemoryThreshold = Annotated[
    str, typer.Option("--memory-threshold", metavar="PERCENT", help="The same for peaks of memory.")
]
FailOn = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="WHAT",
        help="What ends with exit status 1: `slower` (with worse, memory, accuracy), `any`, `never`, or with "
        "commas, some of slower, worse, memory, accuracy, unclear, missing, incomparable, stage, failed.",
    ),
]


class Format(StrEnum):
    """What is printed."""

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
    holds what the machine did meanwhile, too. Exit status: 0 nothing failed, 1 a regression, 2 the request
    was wrong.
    """
    from bench import compare_pages, compare_run  # noqa: PLC0415 - pandas and scipy: only where they are needed
    from bench.comparison import facets, policy  # noqa: PLC0415
    from bench.comparison.comparison import Limits  # noqa: PLC0415
    from bench.comparison.shares import share  # noqa: PLC0415
    from bench.reporting.comparison.json import to_json  # noqa: PLC0415
    from bench.reporting.comparison.junit import to_junit  # noqa: PLC0415
    from bench.reporting.comparison.page import render  # noqa: PLC0415
    from bench.reporting.comparison.terminal import tables  # noqa: PLC0415

    limits = Limits(
        threshold=share(threshold, "--threshold"),
        memory_threshold=share(memory_threshold, "--memory-threshold"),
        apart=share(apart, "--apart", may_be_zero=True),
        across=frozenset() if across is None else facets.across(across),
    )
    failing = policy.fail_on(fail_on)
    comparisons = compare_run.compare(base, new, limits)
    pages = None if output is None else compare_pages.write(output, comparisons, failing)
    if form is Format.TEXT:
        console = Console(soft_wrap=False)
        for shown in tables(comparisons, failing):
            console.print(shown)
        if pages is not None:
            others = ", ".join(path.name for path in (pages.markdown, pages.json, pages.junit))
            typer.echo(f"page    {one_line(str(pages.html))}, {others}")
    else:
        made = {Format.MARKDOWN: render, Format.JSON: to_json, Format.JUNIT: to_junit}[form]
        typer.echo(made(comparisons, failing), nl=False)
    if any(policy.failures(comparison, failing) for comparison in comparisons):
        raise typer.Exit(exits.FOUND)
