"""Why a job has no record of its worker's own: a status, and a reason that names its evidence. Pure."""

import os
import signal
from dataclasses import dataclass
from typing import Final

from bench.grid.plan import Job
from bench.messages import blank_record
from bench.process.launcher import signal_name
from bench.records import CellRecord, Status

_SAY_OUT_OF_MEMORY: Final = ("MemoryError", "OutOfMemoryError", "std::bad_alloc", "can't allocate memory")
"""What Python, torch and C++ print last where memory ran out and nothing caught that."""


@dataclass(kw_only=True)
class Heard:
    """What a worker said of a job, and what kept it from saying more."""

    record: CellRecord | None = None
    measured: CellRecord | None = None  # all but the output check
    worker_start_s: float | None = None
    doing: str = "starting"
    may_measure: bool = False  # it was told to go on from its set-up
    timed_out_s: float | None = None  # the limit that passed
    unfinished_s: float | None = None  # how long a message had begun and did not end


def of_lost_worker(
    job: Job, heard: Heard, status: int, *, oom_evidence: str | None, last_words: str
) -> CellRecord:
    """The record of a job whose worker sent none. `status` is the worker's wait status (os.waitpid),
    `oom_evidence` what the kernel says of a kill for want of memory (bench.machine.host_memory)."""
    at = f"while at: {heard.doing}"
    kind = Status.ERROR
    said = f" ({last_words})" if last_words else ""
    if heard.timed_out_s is not None:
        kind = Status.TIMEOUT
        reason = f"not done within {heard.timed_out_s:g} s ({at})"
    elif heard.unfinished_s is not None:
        reason = (
            f"the worker began to send a message, of which the end never came: it was killed after "
            f"{heard.unfinished_s:g} s ({at})"
        )
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = f"the worker was killed by {signal_name(number)} {at}"
        if number == signal.SIGKILL and oom_evidence is not None:
            kind = Status.OOM
            reason += f" ({oom_evidence})"
        elif _speak_of_memory(last_words):  # C++ aborts on an allocation that nothing caught
            kind = Status.OOM
            reason += said
    else:
        kind = Status.OOM if _speak_of_memory(last_words) else Status.ERROR
        reason = f"the worker ended with exit status {os.waitstatus_to_exitcode(status)} {at}{said}"
    return as_far_as_heard(job, heard, kind, reason)


def of_lost_server(job: Job, heard: Heard, error: Exception) -> CellRecord:
    """The record of a job during which the process that starts workers was lost."""
    return as_far_as_heard(job, heard, Status.ERROR, f"the process that starts workers was lost: {error}")


def as_far_as_heard(job: Job, heard: Heard, kind: Status, reason: str) -> CellRecord:
    """What was measured, where only the output check is missing; otherwise a record without figures."""
    if heard.measured is not None:
        warning = f"output not checked: {reason}"
        return heard.measured.model_copy(update={"warnings": (*heard.measured.warnings, warning)})
    return blank_record(job, kind, reason)


def _speak_of_memory(words: str) -> bool:
    return any(said in words for said in _SAY_OUT_OF_MEMORY)
