"""Compare two revisions of the network on this machine: measure in turn, and again where something fails.

ci.json config.yaml                 what was asked for
base/  head/                        runs like any other, measured in turn
second/base/  second/head/          the cells that failed, measured anew in turn
outputs.json                        how far the outputs of the two lie apart
comparison.html .md .json  junit.xml  comment.md      what was found
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bench.commands import in_turn
from bench.commands import lifecycle as runs
from bench.commands.in_turn import ReadySide, Side
from bench.commands.requests import alone, read_experiment, read_request, write_request
from bench.commands.revisions import Repository, Revision
from bench.comparison import policy
from bench.comparison import runs as compare_run
from bench.comparison.compare import shared_confidence
from bench.comparison.comparison import Comparison, Limits
from bench.comparison.policy import Failing
from bench.grid import plan
from bench.grid.config import Experiment
from bench.process.launcher import Launcher
from bench.records import JOURNAL_NAME
from bench.reporting.comparison import page
from bench.results.files import write_whole
from bench.results.run_folder import check_free, free_path
from bench.stats.changes import least_rounds
from bench.stats.intervals import MIN_ROUNDS
from vsr_model.errors import BadInput

BASE: Final = "base"
HEAD: Final = "head"
SECOND: Final = "second"

CI_NAME: Final = "ci.json"
COMMENT_NAME: Final = "comment.md"

Say = Callable[[str], None]
"""Receives sentences about the progress, for the user."""


class Request(BaseModel):
    """Revisions and cells to compare, and which verdicts fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Revision
    head: Revision
    filters: tuple[str, ...]
    limits: Limits
    fail_on: tuple[Failing, ...]
    second_look: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """Result of a comparison of revisions."""

    folder: Path
    request: Request
    comparison: Comparison | None = None  # None where it was interrupted before all was there
    message: str = ""  # how the verdict was found
    pages: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Gate:
    """All that a comparison needs to be carried out."""

    folder: Path
    request: Request
    experiment: Experiment
    sides: Sequence[ReadySide]
    display: in_turn.DisplayFactory
    say: Say


def start(
    request: Request,
    experiment: Experiment,
    repository: Repository,
    display: in_turn.DisplayFactory,
    say: Say,
    *,
    output: Path | None = None,
    launch: in_turn.Launch = Launcher,
) -> Found:
    """Compare the revisions in a new folder.

    Raises BadInput where that is not possible, and KeyboardInterrupt where it is interrupted too early for
    anything to be kept; nothing is written then.
    """
    _check_place(output or free_path("ci"))
    folder: Path | None = None
    try:
        with _ready(request, experiment, repository, say, launch) as sides:
            folder = output or free_path("ci")
            write_request(folder, CI_NAME, request, experiment)
            with alone(folder, CI_NAME):
                return _carry_out(_Gate(folder, request, experiment, sides, display, say))
    except KeyboardInterrupt:  # while it begins, or its servers end
        if folder is None or not (folder / CI_NAME).is_file():
            raise
        return Found(folder=folder, request=request)


def resume(
    folder: Path,
    repository: Repository,
    display: in_turn.DisplayFactory,
    say: Say,
    *,
    launch: in_turn.Launch = Launcher,
) -> Found:
    """Continue an interrupted comparison.

    Raises BadInput for a folder without one, and where machine, program or revisions are not those that it
    began with; KeyboardInterrupt where it is interrupted before that.
    """
    request = read_request(folder, CI_NAME, Request, "comparison of revisions")
    experiment = read_experiment(folder)
    with alone(folder, CI_NAME), _ready(request, experiment, repository, say, launch) as sides:
        return _carry_out(_Gate(folder, request, experiment, sides, display, say))


def again(folder: Path) -> str:
    """Return the command that resumes a comparison."""
    return f"vsr-bench ci --resume {folder}"


def _check_place(folder: Path) -> None:
    """Raise BadInput where a new comparison must not be written."""
    if (folder / CI_NAME).is_file():
        raise BadInput(
            f"{folder}: holds a comparison of revisions already; name another folder, or go on with it by "
            f"--resume {folder}"
        )
    if (folder / JOURNAL_NAME).exists():
        raise BadInput(f"{folder}: holds a run, which is no comparison of revisions; name another folder")
    check_free(folder)


@contextmanager
def _ready(
    request: Request, experiment: Experiment, repository: Repository, say: Say, launch: in_turn.Launch
) -> Iterator[Sequence[ReadySide]]:
    """Yield both sides with their networks taken out of the repository for as long as they are measured.

    Raises BadInput also where there are too few rounds to show that any cell is slower.
    """
    cells, rounds = plan.cells(experiment, request.filters), experiment.measure.rounds
    if rounds < MIN_ROUNDS:
        raise BadInput(
            f"measure.rounds: is {rounds}; a gate has an interval, and so a verdict, from {MIN_ROUNDS} "
            f"rounds on, and one without an assumption from {least_rounds(shared_confidence(len(cells)))} "
            "on: give more, as in --set measure.rounds=20"
        )
    with tempfile.TemporaryDirectory(prefix="vsr-bench-ci-", ignore_cleanup_errors=True) as networks:
        sides = []
        for name, revision in ((BASE, request.base), (HEAD, request.head)):
            network = Path(networks) / name
            network.mkdir()
            repository.extract(revision, network, f"--{name}")
            origin = f"--{name} {revision.named}"
            sides.append(Side(name=name, network=network, commit=revision.described, origin=origin))
        say("base and head are being loaded")
        with in_turn.ready(experiment, cells, sides, launch=launch) as ready:
            if _same_network(ready):
                say("base and head have the same vsr_model: this compares a network with itself")
            yield ready


def _same_network(sides: Sequence[ReadySide]) -> bool:
    return len({side.code.source_sha256 for side in sides}) == 1


def _carry_out(gate: _Gate) -> Found:
    try:
        with runs.kept(gate.folder, again(gate.folder)):
            return _compared(gate)
    except KeyboardInterrupt:
        return Found(folder=gate.folder, request=gate.request)


def _compared(gate: _Gate) -> Found:
    request = gate.request
    comparison = _look(gate, gate.folder, request.filters)
    messages = ["Both sides have the same vsr_model."] if _same_network(gate.sides) else []
    doubted = dict.fromkeys(failure.cell for failure in policy.failures(comparison, request.fail_on))
    if doubted and request.second_look:
        gate.say("something fails: its cells are measured anew")
        asked_about = sum(cell.change is not None or cell.cell in doubted for cell in comparison.cells)
        filters = (*request.filters, f"cell={','.join(doubted)}")
        second = _look(gate, gate.folder / SECOND, filters, family=asked_about)
        comparison, settled = policy.settle(comparison, second, request.fail_on)
        messages.append(settled)
    if not comparison.is_conclusive:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.most_common())
        messages.insert(0, f"Nothing is known of any cell, a regression as little as its absence ({counts}).")
    message = " ".join(messages)
    comment = gate.folder / COMMENT_NAME
    write_whole(comment, page.render([comparison], request.fail_on, look=message, whole=False))
    return Found(
        folder=gate.folder,
        request=request,
        comparison=comparison,
        message=message,
        pages=(*page.write(gate.folder, [comparison], request.fail_on, look=message), comment),
    )


def _look(gate: _Gate, place: Path, filters: Sequence[str], *, family: int = 0) -> Comparison:
    """Measure both sides in turn, and return their comparison. Raises KeyboardInterrupt if interrupted."""
    request, paths = gate.request, [place / BASE, place / HEAD]
    outputs = in_turn.measure(
        gate.experiment, gate.sides, paths, gate.display, again=again(gate.folder), filters=filters
    )
    names = (request.base.asked, request.head.asked)
    (found,) = compare_run.compare(
        paths[0], paths[1:], request.limits, names=names, family=family, outputs=outputs
    )
    return found
