"""Records for jobs whose worker sent none: a status, and a reason that names its evidence. Pure."""

import os
import signal
from dataclasses import dataclass
from typing import Final

from bench.grid.plan import Job
from bench.messages import blank_record
from bench.process.launcher import signal_name
from bench.records import CellRecord, Status

_OUT_OF_MEMORY_MESSAGES: Final = (
    "MemoryError",
    "OutOfMemoryError",
    "std::bad_alloc",
    "can't allocate memory",
)
"""Last output of Python, torch and C++ when memory ran out and nothing caught the error."""


@dataclass(kw_only=True)
class Received:
    """Messages received from a worker about a job, and what kept it from sending more."""

    record: CellRecord | None = None
    measured: CellRecord | None = None  # all but the output check
    worker_start_s: float | None = None
    doing: str = "starting"
    may_measure: bool = False  # it was sent on from its set-up
    timed_out_s: float | None = None  # the limit that passed
    unfinished_s: float | None = None  # how long a message had begun and did not end

    @property
    def hangs(self) -> bool:
        """True if the worker would go on if it were not killed."""
        return self.timed_out_s is not None or self.unfinished_s is not None


def lost_worker_record(
    job: Job, received: Received, status: int, *, oom_evidence: str | None, last_line: str
) -> CellRecord:
    """Return the record of a job whose worker sent none.

    `status` is the worker's wait status (os.waitpid), `oom_evidence` the kernel's report of a kill for lack
    of memory (bench.machine.host_memory).
    """
    at = f"while at: {received.doing}"
    if received.timed_out_s is not None:
        reason = f"not done within {received.timed_out_s:g} s ({at})"
        return partial_record(job, received, Status.TIMEOUT, reason)
    if received.unfinished_s is not None:
        reason = (
            "the worker began to send a message, of which the end never came: it was killed after "
            f"{received.unfinished_s:g} s ({at})"
        )
        return partial_record(job, received, Status.ERROR, reason)
    names_memory = any(message in last_line for message in _OUT_OF_MEMORY_MESSAGES)
    printed = f" ({last_line})" if last_line else ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = f"the worker was killed by {signal_name(number)} {at}"
        if number == signal.SIGKILL and oom_evidence is not None:
            return partial_record(job, received, Status.OOM, f"{reason} ({oom_evidence})")
        reason += printed if names_memory else ""  # C++ aborts on an allocation that nothing caught
    else:
        reason = f"the worker ended with exit status {os.waitstatus_to_exitcode(status)} {at}{printed}"
    return partial_record(job, received, Status.OOM if names_memory else Status.ERROR, reason)


def partial_record(job: Job, received: Received, kind: Status, reason: str) -> CellRecord:
    """Return the measurements if only the output check is missing, otherwise a record without figures."""
    if received.measured is not None:
        warning = f"output not checked: {reason}"
        return received.measured.model_copy(update={"warnings": (*received.measured.warnings, warning)})
    return blank_record(job, kind, reason)
