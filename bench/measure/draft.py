"""The record of a round while it is being filled: a failure keeps what came before it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.measure.timing import Timed
from bench.messages import Task, blank_record
from bench.records import CellRecord, Pass, Phase, Sample, Status


@dataclass
class Draft:
    """A round's figures so far."""

    task: Task
    origin_s: float  # when the round began, which samples count from
    status: Status = Status.OK
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)  # fields of the record
    samples: list[Sample] = field(default_factory=list)
    calls: int = 0  # of the network, so far
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
        """Return the record as it stands."""
        return blank_record(self.task.job, status, reason).model_copy(
            update={**self.values, "samples": tuple(self.samples), "measured_s": self.measured_s}
        )

    def keep(self, name: str, span: Timed) -> None:
        """Keep a span that is measured once, under its own name."""
        self.values[name] = span.wall_s
        self.measured_s += span.wall_s

    def sample(self, pass_: Pass, phase: Phase, repetition: int, stage: str, span: Timed) -> None:
        """Keep a span as a sample."""
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

    def count(self, measured_s: float) -> None:
        """Count a call that took so many seconds."""
        self.measured_s += measured_s
        self.calls += 1

    def mark_tuning(self, calls: int) -> None:
        """Mark the first `calls` calls, the cold one among them, as autotuning or compilation."""
        self.samples = [
            item.model_copy(update={"phase": Phase.TUNING})
            if item.phase is Phase.WARMUP and item.repetition < calls - 1
            else item
            for item in self.samples
        ]

    def warn(self, warning: str) -> None:
        self.values["warnings"] = (*self.values.get("warnings", ()), warning)


def error_line(error: BaseException) -> str:
    """Return the exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
