"""The record of a round while it is being filled: a failure keeps what came before it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.measure.timing import Timed
from bench.messages import Task, blank_record
from bench.records import CellRecord, Pass, Phase, Sample, Status


@dataclass
class Draft:
    """A round's figures so far; `values` are fields of the record."""

    task: Task
    origin_s: float  # the clock's time at which the round began, which samples count from
    status: Status = Status.OK
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    calls: int = 0  # done, of the workload
    measured_s: float = 0.0

    def __post_init__(self) -> None:
        self.values["costs"] = dict(self.task.costs)
        if self.task.costs_missing:
            self.warn(f"costs are not known: {self.task.costs_missing}")
        self.values["started_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.values["first_in_process"] = self.task.first_in_process
        if self.task.first_in_process:
            self.values["import_torch_s"] = self.task.import_torch_s

    def record(self, status: Status, reason: str) -> CellRecord:
        """The record as it stands."""
        return blank_record(self.task.job, status, reason).model_copy(
            update={**self.values, "samples": tuple(self.samples), "measured_s": self.measured_s}
        )

    def keep(self, name: str, span: Timed) -> None:
        """A span that is measured once, under its own name."""
        self.values[name] = span.wall_s
        self.measured_s += span.wall_s

    def sample(self, pass_: Pass, phase: Phase, repetition: int, stage: str, span: Timed) -> None:
        self.samples.append(
            Sample(
                pass_=pass_,
                phase=phase,
                repetition=repetition,
                stage=stage,
                start_s=span.start_s - self.origin_s,
                wall_s=span.wall_s,
                device_s=span.device_s,
            )
        )

    def mark_tuning(self, calls: int) -> None:
        """The first `calls` calls, the cold one among them, were autotuning or compilation."""
        self.samples = [
            item.model_copy(update={"phase": Phase.TUNING})
            if item.phase is Phase.WARMUP and item.repetition < calls - 1
            else item
            for item in self.samples
        ]

    def warn(self, warning: str) -> None:
        self.values["warnings"] = (*self.values.get("warnings", ()), warning)


def in_words(error: BaseException) -> str:
    """The exception's type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
