"""The process that measures rounds of cells, each by the protocol in docs/measurement.md.

It is forked from a server process that has imported torch (bench.process.server), and talks to the parent
through a connection: it receives a Task, sends Ready, receives GO, and sends Progress, Measured and a
CellRecord.
"""

import gc
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter

from bench.measure import backends
from bench.measure.draft import Draft, error_line
from bench.measure.parallel import DividedRound
from bench.measure.passes import Report, Round
from bench.messages import Ready, Task
from bench.records import CellRecord, Status


def main(connection: Connection) -> None:
    """Serve tasks until the parent hangs up."""
    # Modules that the server imported are never freed: keep the collector from walking them, and from
    # running at all while something is timed, as timeit does.
    gc.freeze()
    gc.disable()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        gc.collect()  # of what an earlier task left

        def wait_for_go() -> None:
            connection.send(Ready())
            connection.recv()

        connection.send(run(task, connection.send, wait_for_go))


def run(task: Task, report: Report, wait_for_go: Callable[[], None]) -> CellRecord:
    """Measure a round and return its record; an exception gives the record's status and reason.

    `wait_for_go` is called when the model and the clip are made, and returns when measuring may begin.
    """
    draft = Draft(task, origin_s=perf_counter())
    try:
        kind = DividedRound if task.job.cell.backend.is_divided else Round
        kind(task, draft, report, wait_for_go).run()
    except Exception as error:
        status = Status.OOM if backends.is_out_of_memory(error) else Status.ERROR
        return draft.record(status, error_line(error))
    return draft.record(draft.status, draft.reason)
