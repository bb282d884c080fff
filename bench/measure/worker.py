"""The process that measures rounds of cells, each by the protocol in docs/measurement.md.

Forked from a server process that has imported torch (bench.process.server). Talks to the parent through a
connection: a Task comes in; Progress, then Measured, then CellRecord go out.
"""

import gc
from multiprocessing.connection import Connection
from time import perf_counter

from bench.measure import backends
from bench.measure.draft import Draft, in_words
from bench.measure.passes import Report, Round
from bench.messages import Task
from bench.records import CellRecord, Status


def main(connection: Connection) -> None:
    """Serve tasks until the parent hangs up."""
    # What the server imported is never freed: keep the collector from walking it, and from running at
    # all while something is timed, as timeit does.
    gc.freeze()
    gc.disable()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        gc.collect()  # of what an earlier task left
        connection.send(run(task, connection.send))


def run(task: Task, report: Report) -> CellRecord:
    """Measure the round. Whatever the cell raises ends as its record's status and reason."""
    draft = Draft(task, origin_s=perf_counter())
    try:
        Round(task, draft, report).run()
    except Exception as error:
        status = Status.OOM if backends.is_out_of_memory(error) else Status.ERROR
        return draft.record(status, in_words(error))
    return draft.record(draft.status, draft.reason)
