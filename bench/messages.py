"""The messages between the parent and a worker. No torch: both sides import it."""

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
    costs: Mapping[str, StageCost] = field(default_factory=dict)  # of a forward, by stage; empty: not known
    costs_missing: str = ""  # why they are not known
    plain_peak_bytes: int | None = (
        None  # of the CPU float32 call that outputs are checked against; None: not known
    )
    measure: Measure
    reference: Path  # where the CPU float32 result of this clip is kept, once it has been made
    profiles: Path | None = None  # the folder that profilers' traces are kept in; None: they are not kept
    import_torch_s: float
    first_in_process: bool = (
        True  # otherwise an earlier task of the same process has paid for import and context
    )
    method: object = None  # for a worker that measures in a way of its own (bench.commands.lifecycle.Script)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The worker has made the model and the clip, has measured nothing, and waits for GO."""


GO: Final = "go"
"""The parent's answer: the machine is the worker's own."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The activity of the worker, and the number of calls that it has finished."""

    doing: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All but the output check is done. This is the round's record if that check fails to end."""

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
