"""Warnings that name their remedy, from a run's records and environment. Pure: a rebuild makes them anew.

Telemetry of every round is looked at between the readings around its steady calls: neither the cold call nor
the memory pass speaks for the samples. A caution stands once for a cell, with the round that shows it most.
What a record or an environment does not hold, as those of older runs, gives no caution.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cautions.caution import Caution, Notice
from bench.cautions.cautions_machine import of_machine, of_telemetry
from bench.cautions.cautions_samples import of_run, of_samples
from bench.records import CellRecord, Status

__all__ = ["Caution", "Notice", "cautions"]


def cautions(records: Sequence[CellRecord], environment: Mapping[str, Any]) -> tuple[Notice, ...]:
    """Every caution about a run: the whole run's first, then cell by cell in the order of the records.

    `environment` is environment.json's content, and may be empty.
    """
    measured = [record for record in records if record.status in (Status.OK, Status.INACCURATE)]
    if not measured:
        return ()
    cells: dict[str, list[CellRecord]] = {}
    for record in measured:
        cells.setdefault(record.cell, []).append(record)
    found = [*of_machine(environment), *of_run(list(cells.values()))]
    for rounds in cells.values():
        found += of_telemetry(rounds, environment)
        found += of_samples(rounds, environment)
    return tuple(found)
