"""A run's cells as a comparison needs them: which is which of another run's, and their rounds in turn. Pure.

Rounds were measured in turn if their times say so. It does not matter who made the runs, or where they have
been copied since. The clocks are those of the machines: two runs that two machines made at the same time
overlap, and are not in turn.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Any, Final

import pandas as pd

from bench.comparison.facets import Facets, facets_of, key
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.grid.spans import SPANS
from bench.records import Pass, Phase, Status, worst_status
from bench.results.tables import Row, Tables, moment, rows_of

MEMORY: Final = {
    "host peak": "peak_host_bytes",
    "host growth": "host_growth_bytes",
    "device peak": "peak_device_bytes",
    "device reserved": "peak_device_reserved_bytes",
}
"""Columns of memory by what they are called."""

FIRST_AT_LEAST: Final = 1 / 4
"""Of the pairs, in which either side has to go first: always the same one would carry the order into the
ratio."""

FAR_APART: Final = 10.0
FAR_APART_AT_LEAST_S: Final = 60.0
"""A pair that lies so many times further apart than the middle one, and by so much, was interrupted."""


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """One cell of one run."""

    cell: Cell
    facets: Facets
    rounds: tuple[Row, ...]  # of cells.csv, in their order; empty where the run did not come to it
    samples: pd.DataFrame  # its rows of samples.csv

    @property
    def id(self) -> str:
        return self.cell.id

    @property
    def status(self) -> Status | None:
        """Return its worst round's."""
        return worst_status(Status(one["status"]) for one in self.rounds) if self.rounds else None

    @property
    def reason(self) -> str:
        """Return why its worst round did not end ok."""
        return next((one["reason"] or "" for one in self.rounds if one["status"] == self.status), "")

    @cached_property
    def ok(self) -> dict[int, Row]:
        """Return the rounds that ended ok, by number."""
        return {one["round"]: one for one in self.rounds if one["status"] == Status.OK}

    @property
    def stages(self) -> list[str]:
        """Return the network's stages that were timed, in their order."""
        return [stage for stage in self.samples["stage"].unique() if stage not in SPANS]

    def levels(self, stage: str, pass_: Pass, clock: str) -> dict[int, float]:
        """Return the median of each round's steady samples in seconds, by round."""
        found = {number: self._medians.get((pass_, stage, number), {}).get(clock, 0.0) for number in self.ok}
        return {number: level for number, level in found.items() if level > 0}  # a coarse clock may give 0

    @cached_property
    def _medians(self) -> dict[Any, dict[Any, float]]:
        """Return the medians of steady samples by clock, for each pass, stage and round."""
        steady = self.samples[self.samples["phase"] == Phase.STEADY]
        medians = steady.groupby(["pass", "stage", "round"])[["wall_s", "device_s"]].median()
        return medians.to_dict("index")

    def figures(self, column: str) -> list[Any]:
        """Return a figure of each ok round that has it."""
        return [value for one in self.ok.values() if (value := one[column]) is not None]


def cells_of(
    planned: Sequence[Cell],
    tables: Tables,
    *,
    experiment: Experiment,
    files: Mapping[str, str],
    environment: Mapping[str, Any],
) -> list[MeasuredCell]:
    """Return every planned cell with its own rows of a run's tables."""
    rounds = {cell: rows_of(own) for cell, own in tables.cells.groupby("cell")}
    samples = dict(iter(tables.samples.groupby("cell")))
    return [
        MeasuredCell(
            cell=cell,
            facets=facets_of(
                cell, rounds.get(cell.id, ()), experiment=experiment, files=files, environment=environment
            ),
            rounds=tuple(rounds.get(cell.id, ())),
            samples=samples.get(cell.id, tables.samples[:0]),
        )
        for cell in planned
    ]


Pair = tuple[MeasuredCell | None, MeasuredCell | None]


def matched(base: Sequence[MeasuredCell], new: Sequence[MeasuredCell]) -> list[Pair]:
    """Return every cell of both runs once: those of `new` in their order, then what only `base` has.

    Cells with the same id that measure the same are a pair. Of the others, a cell that measures what just
    one of the other run measures is its pair, whatever the two are called; what is left is paired by id, so
    that the difference can be told.
    """
    names: tuple[Callable[[MeasuredCell], str], ...] = (
        lambda cell: f"{cell.id} {key(cell.facets)}",
        lambda cell: key(cell.facets),
        lambda cell: cell.id,
    )
    left = list(base)
    found: dict[str, MeasuredCell] = {}
    for name in names:
        unmatched = [cell for cell in new if cell.id not in found]
        here, there = Counter(map(name, unmatched)), Counter(map(name, left))
        others = {name(cell): cell for cell in left}
        found |= {cell.id: others[n] for cell in unmatched if here[n := name(cell)] == there[n] == 1}
        taken = {cell.id for cell in found.values()}
        left = [cell for cell in left if cell.id not in taken]
    return [(found.get(cell.id), cell) for cell in new] + [(cell, None) for cell in left]


def neighbours(base: MeasuredCell, new: MeasuredCell, rounds: Sequence[int]) -> Sequence[int]:
    """Return those of the rounds that make pairs; none where the two were not measured in turn."""
    spans = [(a, b) for n in rounds if (a := _span(base.ok[n])) and (b := _span(new.ok[n]))]
    if not rounds or len(spans) < len(rounds):
        return ()
    ordered = [sorted(pair) for pair in spans]
    one_by_one = [span for pair in ordered for span in pair]
    if not all(before[1] <= after[0] and before[0] < after[0] for before, after in pairwise(one_by_one)):
        return ()
    base_first = sum(of_base < of_new for of_base, of_new in spans)
    if min(base_first, len(spans) - base_first) < int(FIRST_AT_LEAST * len(spans)):
        return ()
    gaps = [(later[0] - earlier[1]).total_seconds() for earlier, later in ordered]
    most = max(FAR_APART_AT_LEAST_S, FAR_APART * median(gaps))
    return [n for n, gap in zip(rounds, gaps, strict=True) if gap <= most]


def _span(row: Row) -> tuple[datetime, datetime] | None:
    """Return when a round began, and when its last call must have ended, as far as its row tells."""
    began = moment(row["started_at"])
    try:
        return None if began is None else (began, began + timedelta(seconds=row["measured_s"] or 0.0))
    except OverflowError:  # beyond the calendar, as of a journal that was not measured
        return None
