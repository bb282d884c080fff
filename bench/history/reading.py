"""A run's folder to what a history needs of it: when, where and with what it ran, and each cell's figure."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.comparison.facets import Facets, facets_of
from bench.grid import config
from bench.grid.plan import Cell
from bench.records import JOURNAL_NAME, CellRecord, Status, worst_status
from bench.results.identity import CodeVersion
from bench.results.run_about import read_about
from bench.results.run_folder import RUN_NAME, RunFolder
from bench.results.samples import figure_of
from bench.statistics.stats import STUDENT_T, IntervalKind, Summary, summarise
from vsr_model.errors import BadInput

COMMIT_CHARACTERS: Final = 7
"""Of a commit where people read it."""

NORMAL: Final = 1.96
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True, kw_only=True)
class CellFigure:
    """What one run says of one cell."""

    cell: str  # its id
    machine: str  # that it was measured on, in words: runs on two machines of one kind are not told apart
    facets: Facets  # what was measured (bench.comparison.facets)
    input: str
    batch: int
    frames: int
    height: int
    width: int
    backend: str
    status: Status
    stage: str = ""  # forward or call; empty where there is no figure
    summary: Summary | None = None  # seconds; only of a cell that ended ok


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A run as a history needs it."""

    path: Path
    journal_sha256: str  # a copy of a run has the same
    rounds: frozenset[str]  # a digest of each that was measured: a copy from before a run went on has some
    started_at: datetime  # UTC
    code: CodeVersion | None
    commit: str | None  # of the code, with a mark where files differed from it
    torch: str | None
    environment: Mapping[str, Any]
    configuration: Mapping[str, Any]
    cells: tuple[CellFigure, ...]  # those that it skipped are left out

    @property
    def short_commit(self) -> str | None:
        return None if self.commit is None else self.commit.partition("-")[0][:COMMIT_CHARACTERS]


def started_at(path: Path) -> datetime:
    """When the run in this folder began. Raises BadInput where its run.json does not say."""
    text = read_about(path / RUN_NAME).started_at
    try:
        return moment(text)
    except ValueError:
        raise BadInput(
            f"{path / RUN_NAME}: started_at: {text!r} is no time such as 2026-11-20T23:43:02+00:00"
        ) from None


def moment(text: str) -> datetime:
    """An ISO 8601 date or time as UTC, which it is in where it does not say. Raises ValueError for others."""
    found = datetime.fromisoformat(text)
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:  # the first or the last day that there is, elsewhere
        raise ValueError(text) from error


def read_run(path: Path) -> PastRun:
    """Raises BadInput for what holds no run, another version's, a damaged one, or one without a record."""
    folder = RunFolder.open(path)
    records = folder.records()
    if not records:
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to lay in order")
    rounds: dict[str, list[CellRecord]] = {}
    for record in records:
        rounds.setdefault(record.cell, []).append(record)
    torch_side = folder.environment.get("torch")
    torch = torch_side.get("torch") if isinstance(torch_side, Mapping) else None
    return PastRun(
        path=path,
        journal_sha256=hashlib.sha256((path / JOURNAL_NAME).read_bytes()).hexdigest(),
        rounds=frozenset(
            hashlib.sha256(record.model_dump_json().encode()).hexdigest()
            for record in records
            if record.samples
        ),
        started_at=started_at(path),
        code=folder.code,
        commit=_commit(folder),
        torch=None if torch is None else str(torch),
        environment=folder.environment,
        configuration=config.plain(folder.experiment),
        cells=tuple(
            _figure(cell, rounds[cell.id], folder)
            for cell in folder.cells()
            if cell.id in rounds and worst_status(rounds[cell.id]) is not Status.SKIPPED
        ),
    )


def _commit(folder: RunFolder) -> str | None:
    if folder.code is not None:
        return (
            f"{folder.code.git_commit}{'-dirty' if folder.code.dirty else ''}"
            if folder.code.git_commit
            else None
        )
    described = folder.environment.get("git_commit")
    return None if described is None else str(described)


def _figure(cell: Cell, records: Sequence[CellRecord], folder: RunFolder) -> CellFigure:
    status = worst_status(records)
    facets = facets_of(
        cell,
        records,
        experiment=folder.experiment,
        files=folder.files,
        environment=folder.environment,
    )
    timed = figure_of(records) if status is Status.OK else None
    return CellFigure(
        cell=cell.id,
        machine=machine_of(folder.environment, facets),
        facets=facets,
        input=cell.input.name,
        batch=cell.batch,
        frames=cell.frames,
        height=cell.height,
        width=cell.width,
        backend=cell.backend.name,
        status=status,
        stage=timed.stage if timed else "",
        summary=summarise(timed.rounds) if timed else None,
    )


def machine_of(environment: Mapping[str, Any], facets: Facets) -> str:
    """The hardware that a cell ran on: the processor, and the GPU if it ran there.

    Neither software nor settings have a say: what changes them is what a history shows. A GPU beside a cell
    of the CPU is no part of its machine; the same processor with other cores is another machine.
    """
    cores = environment.get("cpu_physical_cores") or environment.get("cpu_logical_cores")
    cpu = str(environment.get("cpu") or "a processor that is not known")
    said = f"{cpu} ({cores} cores)" if cores else cpu
    device = facets["device"]
    if "gpu" in device:
        said = f"{device['gpu'] or 'a GPU that is not known'} in {said}"
    if environment.get("host_name"):
        said = f"{said}, {environment['host_name']}"
    return " ".join(said.split())


def deviation(summary: Summary) -> float | None:
    """The standard deviation of the figure's logarithm, from its interval; None where there is none."""
    if summary.low is None or summary.high is None or summary.low <= 0 or not math.isfinite(summary.high):
        return None
    from_t = summary.interval is IntervalKind.BETWEEN_ROUNDS_T
    quantile = STUDENT_T.get(summary.n_rounds, NORMAL) if from_t else NORMAL
    return math.log(summary.high / summary.low) / (2 * quantile)
