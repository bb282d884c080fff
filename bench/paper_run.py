"""The paper's experiments on this machine, one run after another (bench.paper.folder says where)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import report_run
from bench.commands import lifecycle as runs
from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.paper.experiments import Request, Step
from bench.paper.folder import is_done, runs_of
from bench.paper.method import Fault, text_of
from bench.process.launcher import SharedLaunchers
from bench.records import Status
from bench.results.run_folder import clear_unbegun

SCRIPT: Final = "bench.paper.script:main"
"""The worker that measures as the paper did."""

Announce = Callable[[int, int, Step], None]
"""Told which run comes next, and of how many."""


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """How far the experiments came."""

    statuses: Counter[Status]  # of the cells of all runs
    done: int  # runs
    planned: int
    interrupted: bool


def reproduce(folder: Path, wanted: Request, display: runs.DisplayFactory, announce: Announce) -> Reproduced:
    """Do every run that is not done yet, in order; Ctrl-C keeps what is done.

    Raises BadInput where going on would lay another machine's figures, or other code's, beside those that
    are there.
    """
    planned = wanted.steps
    interrupted = False
    with SharedLaunchers() as launch:
        begun = runs_of(folder, wanted)
        left = [step for step in planned if not is_done(begun.get(step.folder))]
        for step in planned:
            if run := begun.get(step.folder):
                # Presets that have changed since are no harm where nothing is added to what is there.
                run.check_config(_experiment(step) if left else None)
        try:
            for number, step in enumerate(planned, start=1):
                if step in left:
                    announce(number, len(planned), step)
                    interrupted = _carry_out(folder, wanted, step, display, launch)
                elif not report_run.is_derived(folder / step.folder):  # killed after its last record
                    runs.rebuild(folder / step.folder)
                if interrupted:
                    break
        except KeyboardInterrupt:  # where a run begins or ends, and not while it measures
            interrupted = True
    begun = runs_of(folder, wanted)
    statuses = [
        Status(status)
        for run in begun.values()
        for status in run.tables().summary.drop_duplicates("cell")["status"]
    ]
    return Reproduced(
        statuses=Counter(statuses),
        done=sum(map(is_done, begun.values())),
        planned=len(planned),
        interrupted=interrupted,
    )


def _carry_out(
    folder: Path, wanted: Request, step: Step, display: runs.DisplayFactory, launch: runs.Launch
) -> bool:
    """Do one run, or the rest of it; return whether it was interrupted."""
    experiment, path = _experiment(step), folder / step.folder
    script = None
    if step.method is not None:
        script = runs.Script(worker=SCRIPT, method=step.method, says=text_of(step.method))
    begun = runs_of(folder, wanted)
    if step.folder in begun:
        return runs.resume(path, display, given=experiment, launch=launch, script=script).interrupted
    clear_unbegun(path)
    beside = list(begun.values())
    return runs.start(
        experiment, display, output=path, launch=launch, beside=beside, script=script
    ).interrupted


def _experiment(step: Step) -> Experiment:
    changed = ["measure.isolation=experiment"] if Fault.ONE_PROCESS in (step.method or ()) else []
    return config.load(presets.find(step.preset), changed, step.variants)[0]
