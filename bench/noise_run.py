"""A machine's noise, from a program measured against itself, and the threshold that a gate can have there.

request.json config.yaml            what was asked for; the configuration is the gate's
a/  b/                              the same program twice: runs like any other, measured in turn
noise.json .md .html .png .svg      what was found
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench import in_turn
from bench import run as runs
from bench.comparison.cells import MeasuredCell, cells_of, common_source
from bench.comparison.noise import (
    LeftOut,
    MachineNoise,
    Noise,
    Pairs,
    drawn_together,
    noise,
    over_rounds,
    wander,
)
from bench.grid import plan
from bench.grid.config import Experiment
from bench.in_turn import ReadySide, Side
from bench.machine.environment import in_short
from bench.noise_request import REQUEST_NAME, Request, read_request
from bench.plotting.plot_noise import noise_figure
from bench.plotting.plots import FORMATS, save
from bench.process.launcher import Launcher
from bench.records import Status
from bench.reporting.html_files import REPORT_STEM
from bench.reporting.noise_page import STEM, cautions, not_covered, recommendation, write_noise
from bench.request_file import alone, write_request
from bench.results.run_folder import RunFolder, check_free, free_path, is_begun
from bench.results.whole_file import write_whole
from bench.statistics.changes import MIN_ROUNDS
from vsr_model.errors import BadInput

JSON_NAME: Final = f"{STEM}.json"
JSON_SCHEMA_VERSION: Final = 1
"""Raised whenever a field of noise.json changes its meaning or goes. History: 1, the first."""

SIDES: Final = ("a", "b")

Levels = dict[int, float]
"""Seconds by round."""

Say = Callable[[str], None]
"""Told, in a sentence, what a user should know meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """How it ended."""

    folder: Path
    interrupted: bool
    noise: MachineNoise | None = None  # None where it was interrupted before there was enough to judge
    pages: tuple[Path, ...] = ()


def start(
    asked: Request,
    experiment: Experiment,
    display: in_turn.DisplayFactory,
    say: Say,
    *,
    output: Path | None = None,
    launch: in_turn.Launch = Launcher,
) -> Found:
    """Measure and judge in a new folder. Raises BadInput where it cannot be, and KeyboardInterrupt where it
    is interrupted too early for anything to be kept; nothing is written then."""
    name = f"{STEM}-{experiment.name}"
    check_free(output or free_path(name))
    folder: Path | None = None
    try:
        with _ready(asked, experiment, launch) as sides:
            folder = output or free_path(name)
            write_request(folder, REQUEST_NAME, asked, experiment)
            with alone(folder, REQUEST_NAME):
                return _carry_out(folder, asked, experiment, sides, display, say)
    except KeyboardInterrupt:  # while it begins, or its servers end
        if folder is None or not (folder / REQUEST_NAME).is_file():
            raise
        return Found(folder=folder, interrupted=True)


def resume(
    folder: Path,
    display: in_turn.DisplayFactory,
    say: Say,
    *,
    threshold: float | None = None,
    launch: in_turn.Launch = Launcher,
) -> Found:
    """Measure what is missing, and judge; at another threshold than before, if one is given.

    Raises BadInput for a folder that holds none, and where machine or program are not those it began with.
    """
    asked, experiment = read_request(folder)
    if threshold is not None:
        asked = asked.model_copy(update={"threshold": threshold})
    with alone(folder, REQUEST_NAME):
        if _is_whole(folder, asked):  # nothing is left that would have to be this machine's
            return _judged(folder, asked, experiment, say, interrupted=False)
        with _ready(asked, experiment, launch) as sides:
            return _carry_out(folder, asked, experiment, sides, display, say)


def again(folder: Path) -> str:
    """The command that goes on."""
    return f"vsr-bench noise --resume {folder}"


@contextmanager
def _ready(asked: Request, experiment: Experiment, launch: in_turn.Launch) -> Iterator[tuple[ReadySide, ...]]:
    cells = plan.cells(experiment, asked.filters)
    with in_turn.ready(experiment, cells, [Side(name=name) for name in SIDES], launch=launch) as ready:
        in_turn.check_measurable(cells, ready)
        yield ready


def _carry_out(
    folder: Path,
    asked: Request,
    experiment: Experiment,
    sides: Sequence[ReadySide],
    display: in_turn.DisplayFactory,
    say: Say,
) -> Found:
    measured = _measured(asked, experiment)
    paths = [folder / name for name in SIDES]
    try:
        done = in_turn.measure(measured, sides, paths, display, again=again(folder), filters=asked.filters)
    except KeyboardInterrupt:  # where it begins or ends, and not while it measures
        return Found(folder=folder, interrupted=True)
    return _judged(folder, asked, experiment, say, interrupted=done.interrupted)


def _measured(asked: Request, experiment: Experiment) -> Experiment:
    """The gate's experiment with as many rounds as are measured."""
    measure = experiment.measure.model_copy(update={"rounds": asked.rounds})
    return experiment.model_copy(update={"measure": measure})


def _judged(folder: Path, asked: Request, experiment: Experiment, say: Say, *, interrupted: bool) -> Found:
    try:
        a, b = (RunFolder.open(folder / name) for name in SIDES)
        for run in (a, b):
            run.check_config(_measured(asked, experiment))
            if run.filters != asked.filters:
                raise BadInput(f"{run.path}: begun with other filters than {folder}: it is not its own")
        pairs, left_out = _pairs(_cells(a), _cells(b))
        if not pairs and interrupted:
            return Found(folder=folder, interrupted=True)
        if not pairs:
            told = "; ".join(f"{cell.cell}: {cell.why}" for cell in left_out)
            raise BadInput(f"{folder}: none of its cells can be judged ({told})")
        say("drawing gates from the pairs")
        found = _noise(a, b, pairs, left_out, asked, experiment)
        return Found(folder=folder, interrupted=interrupted, noise=found, pages=_write(folder, found))
    except KeyboardInterrupt:
        return Found(folder=folder, interrupted=True)
    except OSError as error:
        raise runs.stopped(error, folder, again(folder)) from error


def _cells(run: RunFolder) -> list[MeasuredCell]:
    return cells_of(
        run.cells(),
        run.records(),
        experiment=run.experiment,
        files=run.files,
        environment=run.environment,
    )


def _pairs(
    a: Sequence[MeasuredCell], b: Sequence[MeasuredCell]
) -> tuple[dict[str, Pairs], tuple[LeftOut, ...]]:
    """The levels of the rounds that both sides have, of every cell that a gate would compare."""
    others = {cell.id: cell for cell in b}
    levels: dict[str, tuple[Levels, Levels]] = {}
    left_out = []
    for cell in a:
        other = others[cell.id]
        source = common_source(cell, other, cell.figure)
        here, there = cell.levels(cell.figure, source), other.levels(cell.figure, source)
        shared = [] if source is None else sorted(here.keys() & there.keys())
        bad = next((one for one in (cell, other) if one.status not in (None, Status.OK)), None)
        if bad is not None:
            why = f"{bad.status}: {bad.reason}" if bad.reason else str(bad.status)
            left_out.append(LeftOut(cell=cell.id, why=why, failed=bad.status is not Status.SKIPPED))
        elif len(shared) < MIN_ROUNDS:
            why = f"too few pairs of rounds: {len(shared)}, of {MIN_ROUNDS} at least"
            left_out.append(LeftOut(cell=cell.id, why=why, failed=False))
        else:
            levels[cell.id] = here, there
    rounds = drawn_together(
        {cell: sorted(here.keys() & there.keys()) for cell, (here, there) in levels.items()}
    )
    why = "too few pairs of rounds that the other cells have, too"
    left_out += [LeftOut(cell=cell, why=why, failed=False) for cell in levels if cell not in rounds]
    pairs: dict[str, Pairs] = {
        cell: ([levels[cell][0][n] for n in numbers], [levels[cell][1][n] for n in numbers])
        for cell, numbers in rounds.items()
    }
    return pairs, tuple(left_out)


def _noise(
    a: RunFolder,
    b: RunFolder,
    pairs: Mapping[str, Pairs],
    left_out: tuple[LeftOut, ...],
    asked: Request,
    experiment: Experiment,
) -> MachineNoise:
    begun = sorted(record.started_at for run in (a, b) for record in run.records() if record.started_at)
    gate, by_rounds = over_rounds(pairs, experiment.measure.rounds, threshold=asked.threshold)
    return MachineNoise(
        experiment=experiment.name,
        machine=in_short(a.environment),
        code=a.code.in_short if a.code else "not known",
        began_at=begun[0] if begun else "",
        last_began_at=begun[-1] if begun else "",
        gate_rounds=experiment.measure.rounds,
        planned_pairs=asked.rounds,
        whole=all(len(base) == asked.rounds for base, _ in pairs.values()),
        gate=gate,
        recommended=gate if gate.recommended else noise(pairs, gate.rounds),
        by_rounds=by_rounds,
        pairs=pairs,
        wander={cell: wander(pair) for cell, pair in pairs.items()},
        left_out=left_out,
    )


def _write(folder: Path, found: MachineNoise) -> tuple[Path, ...]:
    pictures = [folder / f"{STEM}.{ending}" for ending in FORMATS]
    save(noise_figure(found), pictures)
    write_whole(folder / JSON_NAME, to_json(found))
    pages = write_noise(folder, found, picture=pictures[0])
    return pages.html, pages.markdown, folder / JSON_NAME, *pictures


def to_json(found: MachineNoise) -> str:
    """noise.json, as docs/noise.md names its fields; ends in a newline."""
    document = {
        "schema_version": JSON_SCHEMA_VERSION,
        "recommendation": recommendation(found),
        **asdict(found),
        "gate": _gate(found.gate),
        "recommended": _gate(found.recommended),
        "by_rounds": [_gate(of) for of in found.by_rounds],
        "pairs": {cell: {"a_s": base, "b_s": new} for cell, (base, new) in found.pairs.items()},
        "cautions": cautions(found),
        "not_covered": not_covered(found),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _gate(of: Noise) -> dict[str, Any]:
    return {**asdict(of), "detectable": of.detectable}


def _is_whole(folder: Path, asked: Request) -> bool:
    for path in (folder / name for name in SIDES):
        if not is_begun(path) or not (path / f"{REPORT_STEM}.html").is_file():
            return False
        run = RunFolder.open(path)
        if len(run.records()) < len(run.cells()) * asked.rounds:
            return False
    return True
