"""`vsr-bench paper`."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import paper_run
from bench.commands import exits
from bench.commands.progress import ProgressConsole, shown
from bench.messages import RunStoppedError
from bench.paper import folder as folders
from bench.paper import page as pages
from bench.paper.experiments import (
    BRIEF,
    CORRECTED,
    FAITHFUL,
    FULL,
    KEYS,
    METHODS,
    QUICK,
    Step,
    request,
    steps,
)
from vsr_model.errors import BadInput

KEPT: Final = "; what is done is kept"


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
    if resume is not None:
        if output is not None or figures is not None or quick or brief or method is not Method.BOTH:
            raise BadInput("--resume: method, figures and folder are those it began with; give none of them")
        folder, wanted = resume, folders.read_request(resume)
    else:
        if quick and brief:
            raise BadInput("--quick and --brief: give one of the two")
        version = QUICK if quick else BRIEF if brief else FULL
        methods = METHODS if method is Method.BOTH else (method.value,)
        keys = [] if figures is None else [key.strip() for key in figures.split(",")]
        wanted = request(methods, keys, version=version)
        folder = folders.begin(output, wanted)
    typer.echo(f"{folder}: {len(steps(wanted))} runs")
    again = f"vsr-bench paper --resume {folder}"
    with _telling_how_to_go_on(folder, again):
        done = paper_run.reproduce(folder, wanted, shown, _announce)
        page = pages.write(folder, wanted)
    counts = ", ".join(f"{n} {status}" for status, n in sorted(done.statuses.items())) or "none done"
    typer.echo(f"\n{done.done} of {done.planned} runs; cells: {counts}")
    for line in page.verdicts:
        typer.echo(line)
    typer.echo(f"claims  {page.claims}")
    typer.echo(f"report  {page.html}, {page.markdown.name}")
    if done.interrupted:
        typer.echo(f"interrupted; the rest: {again}")
        raise typer.Exit(exits.INTERRUPTED)
    if done.failed:
        raise typer.Exit(exits.SOME_FAILED)
    if fail_on_refuted and page.refuted:
        raise typer.Exit(exits.FOUND)


def _announce(number: int, planned: int, step: Step) -> None:
    ProgressConsole().out(f"[{number}/{planned}] {step.folder}", highlight=False)


@contextmanager
def _telling_how_to_go_on(folder: Path, again: str) -> Iterator[None]:
    """Whatever ends the runs, or their page, says how the rest is done."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the rest, and the page: {again}")
        raise typer.Exit(exits.INTERRUPTED) from None
    except BrokenPipeError:  # whoever read the output has enough
        raise
    except OSError as error:
        raise _stopped(error, f"{error.filename or folder}: {error.strerror or error}", again) from error
    except (RunStoppedError, BadInput) as error:
        if not isinstance(error.__cause__, OSError):
            raise
        said = str(error).partition(KEPT)[0]  # what comes behind it leads to one run alone
        raise _stopped(error.__cause__, said, again) from error


def _stopped(cause: OSError, said: str, again: str) -> BadInput | RunStoppedError:
    """What the system refused, and how to go on: the request's fault, or the machine's."""
    kind = BadInput if cause.errno in exits.OF_THE_REQUEST else RunStoppedError
    return kind(f"{said}{KEPT}: {again}")
