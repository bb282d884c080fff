"""`vsr-bench ci`."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from bench.commands import console, exits, gate
from bench.commands.gate import Found, Request
from bench.commands.options import (
    FailOn,
    FilterOption,
    MemoryThreshold,
    ResumeAsBegunOption,
    SetOption,
    Threshold,
    VariantOption,
    experiment_of,
    given_options,
    optional_config,
    share,
    words,
)
from bench.commands.progress import shown
from bench.commands.revisions import Repository
from bench.comparison import policy
from bench.comparison.comparison import Limits, Verdict
from bench.grid.yaml_source import places_named
from bench.reporting.comparison.terminal import tables
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

PRESET: Final = "ci"
HERE: Final = Path()


def ci(
    context: typer.Context,
    source: Annotated[str | None, optional_config(PRESET)] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REV", help="The revision to compare with: a branch, tag or commit.", show_default=False
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="The revision that is judged; `.` is the files as they lie, committed or not. "
            "[default: HEAD]",
            show_default=False,
        ),
    ] = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
    threshold: Threshold = "3%",
    memory_threshold: MemoryThreshold = "10%",
    fail_on: FailOn = "slower",
    once: Annotated[
        bool,
        typer.Option("--once", help="No second look: what fails at the first one counts."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for both runs and the pages; new or empty. [default: results/ci-TIME, in UTC]",
            show_default=False,
        ),
    ] = None,
    resume: ResumeAsBegunOption = None,
    repository: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where the revisions are. [default: the repository that the working directory is in]",
            show_default=False,
        ),
    ] = HERE,
) -> None:
    """Say whether the network of one git revision is slower than that of another, measured on this machine
    in turn.

    What is compared is `vsr_model/`, as it is in the two revisions of the repository. What measures is the
    `vsr-bench` that you have called, for both: its own `vsr_model/` plays no part. A round of a cell is
    measured on one side, then on the other, and in the next round the other way round, so that what the
    machine does meanwhile it does to both.

    Where a cell fails it is measured anew, and counts if it fails a second time; an error, a lack of memory
    or a wrong output counts in any case. The folder gets comment.md (for a pull request), comparison.html,
    .md and .json, junit.xml, and the runs of both sides. `git` takes the files out; nothing is changed or
    left in your repository.

    Before you commit: `vsr-bench ci --base HEAD --head . --variant cpu`. How small a slowdown can be
    told on this machine: `--base HEAD --head HEAD`, which compares a revision with itself.

    Ctrl-C keeps what is done; `--resume DIR` does the rest.

    Exit status:

    * 0: no regression
    * 1: a regression that was confirmed
    * 2: the request was wrong, and nothing was written
    * 3: no regression, but cells that fail on both sides, or no cell that anything is known of
    * 70: the disk filled or the like; what is done is kept
    * 130: interrupted; what is done is kept
    """
    with console.report_early_interrupt("ci", resume):
        if resume is not None:
            if given_options(context) - {"resume", "repository"}:
                raise BadInput("--resume: all but --repository is as it began; give nothing else")
            found = gate.resume(resume, Repository(repository), shown, console.say)
        else:
            if base is None:
                raise BadInput("ci: needs --base, the revision to compare with, such as --base main")
            experiment, source_of = experiment_of(source or PRESET, variants, assignments)
            known = Repository(repository)
            request = Request(
                base=known.revision(base, "--base"),
                head=known.revision(head or "HEAD", "--head"),
                filters=tuple(filters or ()),
                limits=Limits(
                    threshold=share(threshold, "--threshold"),
                    memory_threshold=share(memory_threshold, "--memory-threshold"),
                ),
                fail_on=policy.chosen(words(fail_on, "--fail-on", policy.FAIL_ON)),
                second_look=not once,
            )
            with places_named(source_of.named):
                found = gate.start(request, experiment, known, shown, console.say, output=output)
    _print(found)
    raise typer.Exit(_status(found))


def _print(found: Found) -> None:
    out = console.output()
    if found.comparison is None:
        typer.echo(f"interrupted; the rest: {one_line(gate.again(found.folder))}")
        return
    out.print()
    for table in tables([found.comparison], found.request.fail_on):
        out.print(table)
    if found.message:
        out.print(Text(one_line(found.message)))
    html, *others = found.pages
    typer.echo(f"page    {one_line(str(html))}, {', '.join(path.name for path in others)}")


def _status(found: Found) -> int:
    if found.comparison is None:
        return exits.INTERRUPTED
    if policy.failures(found.comparison, found.request.fail_on):
        return exits.FOUND
    both_failed = found.comparison.counts[Verdict.FAILED]
    return exits.SOME_FAILED if both_failed or not found.comparison.is_conclusive else exits.OK
