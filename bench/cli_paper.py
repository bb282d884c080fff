"""The command `paper`: parses and prints, nothing else."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.grid.config_measure import Measure
from bench.grid.plan import Job
from bench.messages import RunStoppedError
from bench.paper.editions import CORRECTED, FAITHFUL
from bench.paper.experiments import BRIEF, FULL, KEYS, METHODS, QUICK, Step, request
from vsr_model.errors import BadInput

REFUTED: Final = 1
SOME_FAILED: Final = 3
INTERRUPTED: Final = 130


class Method(StrEnum):
    """What `--method` may be."""

    CORRECTED = CORRECTED
    FAITHFUL = FAITHFUL
    BOTH = "both"


def paper(
    method: Annotated[
        Method,
        typer.Option(help="`corrected`: measured properly; `faithful`: as the paper's code did it."),
    ] = Method.BOTH,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Shorter clips and fewer calls: minutes on two CPU cores, not hours."),
    ] = False,
    brief: Annotated[
        bool,
        typer.Option(
            "--brief",
            help="The paper's sizes with few calls of each: for a machine with a GPU.",
        ),
    ] = False,
    figures: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"Only some, as in `14,15`: {', '.join(KEYS)}. `faults` turns one fault of the method on at "
            "a time.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the runs and the report; what is done in it is kept. "
            "[default: results/paper-TIME, in UTC]"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on where an earlier one stopped.", show_default=False),
    ] = None,
    fail_on_refuted: Annotated[
        bool,
        typer.Option("--fail-on-refuted", help="Exit with 1 if this machine refutes a claim of the paper."),
    ] = False,
) -> None:
    """Reproduce the course paper here: its figures and tables beside this machine's, and a verdict on each
    of its claims.

    Ctrl-C keeps what is done; the same command, or `--resume DIR`, does the rest. Exit status: 0 done, 1 a
    claim is refuted (with --fail-on-refuted), 2 the request was wrong, 3 some cells did not end `ok` or
    `skipped`, 70 the disk filled or the like (what is done is kept), 130 interrupted.
    """
    from bench import paper_page, paper_run  # noqa: PLC0415 - matplotlib and pandas

    if resume is not None:
        if output is not None or figures is not None or quick or brief or method is not Method.BOTH:
            raise BadInput("--resume: method, figures and folder are those it began with; give none of them")
        folder, wanted = resume, paper_run.read_request(resume)
    else:
        if quick and brief:
            raise BadInput("--quick and --brief: give one of the two")
        version = QUICK if quick else BRIEF if brief else FULL
        methods = METHODS if method is Method.BOTH else (method.value,)
        keys = [] if figures is None else [key.strip() for key in figures.split(",")]
        wanted = request(methods, keys, version=version)
        folder = paper_run.begin(output, wanted)
    typer.echo(
        f"{folder}: about {max(1, round(paper_run.seconds(wanted) / 60))} min of calls for the devices "
        "whose speed is known here, less what is done already"
    )
    again = f"vsr-bench paper --resume {folder}"
    try:
        done = paper_run.reproduce(folder, wanted, _display, _announce)
        page = paper_page.write(folder, wanted)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the rest, and the page: {again}")
        raise typer.Exit(INTERRUPTED) from None
    except RunStoppedError as error:  # its own words lead to one run alone
        raise RunStoppedError(f"{str(error).partition(';')[0]}; what is done is kept: {again}") from error
    except OSError as error:
        raise RunStoppedError(
            f"{error.filename or folder}: {error.strerror}; what is done is kept: {again}"
        ) from error
    counts = ", ".join(f"{n} {status}" for status, n in sorted(done.statuses.items())) or "none done"
    typer.echo(f"\n{done.done} of {done.planned} runs; cells: {counts}")
    for line in page.verdicts:
        typer.echo(line)
    typer.echo(f"claims  {page.claims}")
    typer.echo(f"report  {page.html}, {page.markdown.name}")
    if done.interrupted:
        typer.echo(f"interrupted; the rest: vsr-bench paper --resume {folder}")
        raise typer.Exit(INTERRUPTED)
    if done.failed:
        raise typer.Exit(SOME_FAILED)
    if fail_on_refuted and page.refuted:
        raise typer.Exit(REFUTED)


def _announce(number: int, planned: int, step: Step) -> None:
    typer.echo(f"[{number}/{planned}] {step.folder}", err=True)


def _display(jobs: Sequence[Job], measure: Measure) -> AbstractContextManager[Any]:
    from bench.progress import Display, ProgressConsole  # noqa: PLC0415

    return Display(jobs, measure, ProgressConsole())
