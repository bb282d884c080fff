"""The messages between the parent and a worker. Free of torch: both sides import it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.grid.config_measure import Measure
from bench.grid.costs import StageCost
from bench.grid.plan import Job
from bench.records import CellRecord, Status


@dataclass(frozen=True, kw_only=True)
class Task:
    """A round for a worker to measure."""

    job: Job
    measure: Measure
    costs: Mapping[str, StageCost] = field(default_factory=dict)  # of a forward, by stage; empty: not known
    costs_missing: str = ""  # why they are not known
    # Of the CPU float32 call that outputs are checked against; None: not known.
    plain_peak_bytes: int | None = None
    reference: Path  # file of the CPU float32 result of this clip, which the first round that needs it makes
    profiles: Path | None = None  # folder for the profiler's traces; None: they are not kept
    budget_s: float | None = None  # for the round, set-up included; None: as long as its samples take
    import_torch_s: float
    first_in_process: bool = True  # False: an earlier task of the process has paid for import and context
    method: object = None  # of a worker with its own way of measuring (bench.commands.lifecycle.Script)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The worker has made the model and the clip, and waits for GO before it measures."""


GO: Final = "go"
"""The parent's answer to Ready: no other worker is at work."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The worker's activity, and how many calls it has finished."""

    doing: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All but the output check is done. The record is the round's if that check does not end."""

    record: CellRecord


Message = Ready | Progress | Measured | CellRecord


def blank_record(job: Job, status: Status, reason: str) -> CellRecord:
    """Make a record of a round that holds no figures."""
    cell = job.cell
    return CellRecord(
        cell=cell.id,
        round=job.round,
        model=cell.model.name,
        input=cell.input.name,
        batch=cell.batch,
        frames=cell.frames,
        height=cell.height,
        width=cell.width,
        backend=cell.backend.name,
        dtype=cell.backend.dtype,
        fp32_precision=cell.backend.fp32_precision,
        memory_format=cell.backend.features_format,
        status=status,
        reason=reason,
    )
