"""`vsr-bench paper`: the paper's experiments on this machine, one run after another, and their page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.commands import exits
from bench.commands import lifecycle as runs
from bench.commands.options import ResumeAsBegunOption
from bench.commands.progress import ProgressConsole, shown
from bench.commands.requests import alone, read_request, write_request
from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.paper import claims, page
from bench.paper.experiments import (
    KEYS,
    Edition,
    Fault,
    Request,
    Step,
    Version,
    in_order,
    is_done,
    runs_of,
    text_of,
)
from bench.process.launcher import Launch, shared_launchers
from bench.records import Status
from bench.reporting import folders
from bench.results.run_folder import RunFolder, free_path
from vsr_model.errors import BadInput

PAPER_NAME: Final = "paper.json"

SCRIPT: Final = "bench.paper.script:main"
"""Worker that measures with the method of the paper."""


class Method(StrEnum):
    """Values of `--method`."""

    CORRECTED = Edition.CORRECTED
    FAITHFUL = Edition.FAITHFUL
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
        typer.Option("--brief", help="The paper's sizes with few calls of each: for a machine with a GPU."),
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
    resume: ResumeAsBegunOption = None,
    fail_on_refuted: Annotated[
        bool,
        typer.Option("--fail-on-refuted", help="Exit with 1 if this machine refutes a claim of the paper."),
    ] = False,
) -> None:
    """Reproduce the course paper here: its figures and tables beside this machine's, and a verdict on each
    of its claims.

    Ctrl-C keeps what is done; the same command, or `--resume DIR`, does the rest.

    Exit status:

    * 0: done
    * 1: a claim is refuted (with --fail-on-refuted)
    * 2: the request was wrong
    * 3: some cells did not end `ok` or `skipped`
    * 70: the disk filled or the like; what is done is kept
    * 130: interrupted; what is done is kept
    """
    if resume is not None:
        if output is not None or figures is not None or quick or brief or method is not Method.BOTH:
            raise BadInput("--resume: method, figures and folder are those it began with; give none of them")
        folder, wanted = resume, asked(resume)
    else:
        if quick and brief:
            raise BadInput("--quick and --brief: give one of the two")
        wanted = Request(
            methods=tuple(Edition) if method is Method.BOTH else (Edition(method),),
            figures=KEYS if figures is None else in_order(tuple(map(str.strip, figures.split(",")))),
            version=Version.QUICK if quick else Version.BRIEF if brief else Version.FULL,
        )
        folder = begin(output, wanted)
    again = f"vsr-bench paper --resume {folder}"
    typer.echo(f"{folder}: {len(wanted.steps)} runs; if they are stopped, {again} does the rest")
    try:
        with alone(folder, PAPER_NAME):
            done = reproduce(folder, wanted, shown, ProgressConsole().out)
            written = page.write(folder, wanted)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the rest, and the page: {again}")
        raise typer.Exit(exits.INTERRUPTED) from None
    counts = ", ".join(f"{n} {status}" for status, n in sorted(done.statuses.items())) or "none done"
    typer.echo(f"\n{done.done} of {len(wanted.steps)} runs; cells: {counts}")
    for line in claims.tallies(written.found):
        typer.echo(line)
    typer.echo(f"claims  {written.claims}")
    typer.echo(f"report  {written.html}, {written.markdown.name}")
    if done.interrupted:
        typer.echo(f"interrupted; the rest: {again}")
        raise typer.Exit(exits.INTERRUPTED)
    if done.statuses.keys() - {Status.OK, Status.SKIPPED}:
        raise typer.Exit(exits.SOME_FAILED)
    if fail_on_refuted and claims.refuted(written.found, wanted.methods[0]):
        raise typer.Exit(exits.FOUND)


def begin(folder: Path | None, wanted: Request) -> Path:
    """Return the folder of the experiments, made, or found with the same experiments in it.

    Raises BadInput for a folder that holds something else.
    """
    folder = folder or free_path("paper")
    if (folder / PAPER_NAME).exists():
        if (known := asked(folder)) != wanted:
            raise BadInput(
                f"{folder}: holds the paper's experiments as asked for otherwise (method "
                f"{' and '.join(known.methods)}, figures {', '.join(known.figures)}, {known.version}); name "
                f"another folder, or go on with it by --resume {folder}"
            )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is no empty folder; the paper's experiments need one that is new or empty")
    write_request(folder, PAPER_NAME, wanted)
    return folder


def asked(folder: Path) -> Request:
    """Return what a folder was begun with. Raises BadInput for one that holds no such experiments."""
    return read_request(folder, PAPER_NAME, Request, "reproduction of the course paper")


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """Result of a reproduction: the runs done so far."""

    statuses: Counter[Status]  # of the cells of all runs
    done: int  # runs
    interrupted: bool


def reproduce(
    folder: Path, wanted: Request, display: runs.DisplayFactory, progress: Callable[[str], None]
) -> Reproduced:
    """Do every missing run, in order; Ctrl-C keeps what is done.

    `progress` is called with a line for each. Raises BadInput where going on would mix in figures of another
    machine or of other code.
    """
    steps, begun = wanted.steps, runs_of(folder, wanted)
    left = [step.folder for step in steps if not is_done(begun.get(step.folder))]
    for step in steps:
        if run := begun.get(step.folder):
            # Presets that have changed since are no harm where nothing is added to what is there.
            run.check_config(_experiment(step) if left else None)
    interrupted = False
    try:
        with shared_launchers() as launch:
            for number, step in enumerate(steps, start=1):
                if step.folder in left:
                    progress(f"[{number}/{len(steps)}] {step.folder}")
                    beside = list(runs_of(folder, wanted).values())
                    if interrupted := _carry_out(folder / step.folder, step, display, launch, beside):
                        break
                elif not folders.is_derived(folder / step.folder):  # killed after its last record
                    runs.rebuild(folder / step.folder)
    except KeyboardInterrupt:  # where a run begins or ends, and not while it measures
        interrupted = True
    begun = runs_of(folder, wanted)
    tables = [run.tables().summary.drop_duplicates("cell") for run in begun.values()]
    return Reproduced(
        statuses=Counter(Status(status) for table in tables for status in table["status"]),
        done=sum(map(is_done, begun.values())),
        interrupted=interrupted,
    )


def _carry_out(
    path: Path, step: Step, display: runs.DisplayFactory, launch: Launch, beside: Sequence[RunFolder]
) -> bool:
    """Do one run, or the rest of it; return whether it was interrupted."""
    experiment, script = _experiment(step), None
    if step.method is not None:
        script = runs.Script(worker=SCRIPT, method=step.method, says=text_of(step.method))
    return runs.start_or_resume(
        path, experiment, display, launch=launch, beside=beside, script=script
    ).interrupted


def _experiment(step: Step) -> Experiment:
    changed = ["measure.isolation=experiment"] if Fault.ONE_PROCESS in (step.method or ()) else []
    return config.load(presets.find(step.preset), changed, step.variants)[0]
