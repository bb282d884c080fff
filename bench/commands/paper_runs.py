"""The paper's experiments on this machine, one run after another (bench.paper.folder says where)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.commands import lifecycle as runs
from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.paper.experiments import Request, Step
from bench.paper.folder import is_done, runs_of
from bench.paper.method import Fault, text_of
from bench.process.launcher import SharedLaunchers
from bench.records import Status
from bench.reporting import folders
from bench.results.run_folder import RunFolder

SCRIPT: Final = "bench.paper.script:main"
"""Worker that measures with the method of the paper."""


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
        with SharedLaunchers() as launch:
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
    path: Path, step: Step, display: runs.DisplayFactory, launch: runs.Launch, beside: Sequence[RunFolder]
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
