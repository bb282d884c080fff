"""A run's cells as a comparison needs them: what each measures, how it ended, its rounds. No files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, Final

from bench.comparison.facets import Facets, facets_of
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.records import CellRecord, Status, worst_status
from bench.results.samples import sources_of, steady_samples

MEMORY: Final = {
    "host peak": "peak_host_bytes",
    "host growth": "host_growth_bytes",
    "device peak": "peak_device_bytes",
    "device reserved": "peak_device_reserved_bytes",
}
"""Columns of memory by what they are called."""

HOST_MEMORY: Final = ("host peak", "host growth")


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """One cell of one run."""

    cell: Cell
    facets: Facets
    records: tuple[CellRecord, ...]  # of its rounds, in their order; empty where the run did not come to it

    @property
    def id(self) -> str:
        return self.cell.id

    @property
    def status(self) -> Status | None:
        return worst_status(self.records) if self.records else None

    @property
    def reason(self) -> str:
        """Why its worst round did not end ok."""
        return next((found.reason for found in self.records if found.status is self.status), "")

    @cached_property
    def ok(self) -> dict[int, CellRecord]:
        """The rounds that ended ok, by number."""
        return {record.round: record for record in self.records if record.status is Status.OK}

    def levels(self, stage: str, source: tuple[str, str] | None = None) -> dict[int, float]:
        """The median of each round's steady samples in seconds, by round; of one pass and clock."""
        for pass_, clock in sources_of(stage):
            if source is not None and (str(pass_), clock) != source:
                continue
            samples = steady_samples(list(self.ok.values()), pass_, stage, clock)
            levels = {n: median(of) for n, of in zip(self.ok, samples, strict=True) if of}
            if found := {n: level for n, level in levels.items() if level > 0}:  # a coarse clock may give 0
                return found
        return {}

    def bytes_of(self, column: str) -> list[int]:
        """A memory figure of each round that has it."""
        return [value for record in self.ok.values() if (value := getattr(record, column)) is not None]

    @property
    def psnr_db(self) -> float | None:
        """The worst round's; None where the output was not compared."""
        known = [r.output_psnr_db for r in self.ok.values() if r.output_psnr_db is not None]
        return min(known, default=None)


def cells_of(
    planned: Sequence[Cell],
    records: Sequence[CellRecord],
    *,
    experiment: Experiment,
    files: Mapping[str, str],
    environment: Mapping[str, Any],
) -> list[MeasuredCell]:
    """Every planned cell, with the records that are its own."""
    by_cell: dict[str, list[CellRecord]] = {}
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    return [
        MeasuredCell(
            cell=cell,
            facets=facets_of(cell, of_cell, experiment=experiment, files=files, environment=environment),
            records=tuple(of_cell),
        )
        for cell in planned
        for of_cell in (by_cell.get(cell.id, []),)
    ]


def common_source(base: MeasuredCell, new: MeasuredCell, stage: str) -> tuple[str, str] | None:
    """The first pass and clock of which both have samples; None where there is none."""
    for pass_, clock in sources_of(stage):
        source = (str(pass_), clock)
        if base.levels(stage, source) and new.levels(stage, source):
            return source
    return None
