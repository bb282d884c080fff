"""The paper's experiments on this machine, one run after another (bench.paper.folder says where)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import report_run
from bench.commands import lifecycle as runs
from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.paper.experiments import Request, Step, steps
from bench.paper.folder import alone, is_done, runs_of
from bench.process.launcher import SharedLaunchers
from bench.records import CellRecord, Status, worst_status
from bench.results.run_folder import RunFolder, clear_unbegun, is_begun

SCRIPT: Final = "bench.paper.script:main"
"""The worker that measures as the paper did."""

Announce = Callable[[int, int, Step], None]
"""Told which run comes next, and of how many."""


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """How far the experiments came."""

    folder: Path
    statuses: dict[Status, int]  # of the cells of all runs
    done: int  # runs
    planned: int
    interrupted: bool

    @property
    def failed(self) -> int:
        """Cells that ended neither `ok` nor `skipped`."""
        return sum(n for status, n in self.statuses.items() if status not in (Status.OK, Status.SKIPPED))


def reproduce(folder: Path, wanted: Request, display: runs.DisplayFactory, announce: Announce) -> Reproduced:
    """Do every run that is not done yet, in order; Ctrl-C keeps what is done.

    Raises BadInput where another process is at it, and where going on would lay another machine's figures, or
    other code's, beside those that are there.
    """
    planned = steps(wanted)
    interrupted = False
    with alone(folder), SharedLaunchers() as launch:
        left = [step for step in planned if not is_done(folder / step.folder)]
        for step, run in runs_of(folder, wanted):
            # Presets that have changed since are no harm where nothing is added to what is there.
            run.check_config(_experiment(step) if left else None)
        try:
            for number, step in enumerate(planned, start=1):
                path = folder / step.folder
                if step not in left:
                    if not report_run.is_derived(path):  # killed after its last record
                        runs.rebuild(path)
                    continue
                announce(number, len(planned), step)
                begun = [run for _, run in runs_of(folder, wanted)]
                if _carry_out(path, step, display, launch, begun).interrupted:
                    interrupted = True
                    break
        except KeyboardInterrupt:  # where a run begins or ends, and not while it measures
            interrupted = True
    return Reproduced(
        folder=folder,
        statuses=dict(Counter(found for step in planned for found in _statuses(folder / step.folder))),
        done=sum(is_done(folder / step.folder) for step in planned),
        planned=len(planned),
        interrupted=interrupted,
    )


def _carry_out(
    path: Path, step: Step, display: runs.DisplayFactory, launch: runs.Launch, begun: Sequence[RunFolder]
) -> runs.Outcome:
    experiment = _experiment(step)
    script = None
    if step.method is not None:
        script = runs.Script(worker=SCRIPT, method=step.method, says=str(step.method))
    if is_begun(path):
        return runs.resume(path, display, given=experiment, launch=launch, script=script)
    clear_unbegun(path)
    return runs.start(experiment, display, output=path, launch=launch, beside=begun, script=script)


def _experiment(step: Step) -> Experiment:
    one_process = step.method is not None and step.method.one_process
    changed = ["measure.isolation=experiment"] if one_process else []
    return config.load(presets.find(step.preset), changed, step.variants)[0]


def _statuses(path: Path) -> list[Status]:
    """Of the cells that have a record."""
    if not is_begun(path):
        return []
    rounds: dict[str, list[CellRecord]] = {}
    for record in RunFolder.open(path).records():
        rounds.setdefault(record.cell, []).append(record)
    return [worst_status(records) for records in rounds.values()]
