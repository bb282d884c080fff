"""A run whose backends are a ladder, from its YAML to its steps."""

from collections.abc import Sequence
from pathlib import Path

from bench import run as runs
from bench.grid.config import Experiment
from bench.ladder_files import ladders_of
from bench.results.run_folder import RunFolder
from bench.tuning.ladder import Ladder
from vsr_model.errors import BadInput


def start(
    experiment: Experiment,
    display: runs.DisplayFactory,
    *,
    filters: Sequence[str] = (),
    output: Path | None = None,
) -> runs.Outcome:
    """Run it into a new folder. Raises BadInput, before anything is written, where its backends are no
    ladder, or it cannot be run."""
    if not experiment.ladder:
        raise BadInput(
            f"{experiment.name}: is no ladder: its backends need not add to each other; where each does, "
            "say `ladder: true` in the YAML"
        )
    return runs.start(experiment, display, filters=filters, output=output)


def resume(folder: Path, display: runs.DisplayFactory, *, given: Experiment | None = None) -> runs.Outcome:
    """Go on with one. Raises BadInput for a folder that holds none, and as `bench.run.resume` does."""
    if not RunFolder.open(folder).experiment.ladder:
        raise BadInput(f"{folder}: holds a run that is no ladder; vsr-bench run --resume goes on with it")
    return runs.resume(folder, display, given=given)


def steps(folder: Path) -> list[Ladder]:
    """What has been measured so far."""
    return ladders_of(RunFolder.open(folder))
