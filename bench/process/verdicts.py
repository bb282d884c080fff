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
    may_measure: bool = False  # it was told to go on from its set-up
    timed_out_s: float | None = None  # the limit that passed
    unfinished_s: float | None = None  # how long a message had begun and did not end


def of_lost_worker(
    job: Job, received: Received, status: int, *, oom_evidence: str | None, last_line: str
) -> CellRecord:
    """Return the record of a job whose worker sent none.

    `status` is the worker's wait status (os.waitpid), `oom_evidence` the kernel's report of a kill for lack
    of memory (bench.machine.host_memory).
    """
    at = f"while at: {received.doing}"
    kind = Status.ERROR
    printed = f" ({last_line})" if last_line else ""
    if received.timed_out_s is not None:
        kind = Status.TIMEOUT
        reason = f"not done within {received.timed_out_s:g} s ({at})"
    elif received.unfinished_s is not None:
        reason = (
            f"the worker began to send a message, of which the end never came: it was killed after "
            f"{received.unfinished_s:g} s ({at})"
        )
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = f"the worker was killed by {signal_name(number)} {at}"
        if number == signal.SIGKILL and oom_evidence is not None:
            kind = Status.OOM
            reason += f" ({oom_evidence})"
        elif _mentions_memory(last_line):  # C++ aborts on an allocation that nothing caught
            kind = Status.OOM
            reason += printed
    else:
        kind = Status.OOM if _mentions_memory(last_line) else Status.ERROR
        reason = f"the worker ended with exit status {os.waitstatus_to_exitcode(status)} {at}{printed}"
    return partial_record(job, received, kind, reason)


def of_lost_server(job: Job, received: Received, error: Exception) -> CellRecord:
    """Return the record of a job during which the process that starts workers was lost."""
    return partial_record(job, received, Status.ERROR, f"the process that starts workers was lost: {error}")


def partial_record(job: Job, received: Received, kind: Status, reason: str) -> CellRecord:
    """Return the measurements if only the output check is missing, otherwise a record without figures."""
    if received.measured is not None:
        warning = f"output not checked: {reason}"
        return received.measured.model_copy(update={"warnings": (*received.measured.warnings, warning)})
    return blank_record(job, kind, reason)


def _mentions_memory(line: str) -> bool:
    return any(message in line for message in _OUT_OF_MEMORY_MESSAGES)
