"""Measure a machine's ceilings in a worker. Free of torch: the parent imports it.

One worker measures all of them, before the first cell is measured. Each is kept as soon as it is known; one
that could not be measured, with its reason.
"""

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Final

from bench.errors import ServerDiedError
from bench.grid.ceilings import Ceiling, CeilingSpec
from bench.process.launcher import Launcher, WorkerProcess

TIMEOUT_S: Final = 120.0
"""For one ceiling, of which most take less than a second."""

TARGET: Final = "bench.measure.ceilings:main"


def measure(launcher: Launcher, specs: Sequence[CeilingSpec], keep: Callable[[Ceiling], None]) -> None:
    """Measure every ceiling in order, and pass each to `keep`, with samples or with a reason."""
    left = list(specs)
    if not left:
        return
    reason = ""
    try:
        worker = launcher.spawn(TARGET)
        try:
            reason = _receive(launcher, worker, left, keep)
            status = os.waitstatus_to_exitcode(launcher.exit_status(worker))
        except BaseException:
            launcher.kill(worker)
            raise
        if left and not reason:
            reason = f"the process that measures ceilings ended with exit status {status}"
            if words := launcher.last_line():
                reason += f" ({words})"
    except ServerDiedError as error:
        reason = f"the process that workers come from ended ({error})"
        launcher.restart()
    for spec in left:
        keep(Ceiling(spec=spec, reason=reason))


def _receive(
    launcher: Launcher, worker: WorkerProcess, left: list[CeilingSpec], keep: Callable[[Ceiling], None]
) -> str:
    """Keep what the worker sends and remove it from `left`; return why the worker was ended, if it was."""
    with worker.connection as connection:
        try:
            connection.send(tuple(left))
        except OSError:  # it is gone; its exit status says how
            return ""
        while left:
            try:
                if not connection.poll(TIMEOUT_S):
                    launcher.kill(worker)
                    return f"{left[0].kind} was not measured within {TIMEOUT_S:.0f} s"
                ceiling: Ceiling = connection.recv()
            except (EOFError, OSError):
                return ""
            keep(ceiling)
            left.pop(0)
    return ""


def main(connection: Connection) -> None:
    """Measure the requested ceilings, in a worker."""
    from bench.measure.ceiling_calls import measured  # noqa: PLC0415 - torch, in a worker only

    for spec in connection.recv():
        connection.send(measured(spec))
