"""Forecast how long rounds will take: costs as traced, at the speed that calls before had here.

What has been measured teaches the forecast, be it the short rounds of a calibration or the run's own.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Final

from bench.grid.config_measure import Measure
from bench.grid.costs import Costs
from bench.grid.estimate import TYPICAL_REPETITIONS, TYPICAL_WARMUP, expected_calls
from bench.grid.plan import Cell, Job
from bench.grid.spans import FORWARD, FORWARD_UNPROBED
from bench.records import CellRecord, Pass, Phase
from bench.stats.stopping import Stop

FIXED_S: Final = 0.5
"""Seconds of a round beside its calls, before any round has shown them: starting, building, checking."""

SECOND_REFERENCE: Final = 2
"""Calls that the reference's second computation takes as long as: it has half the threads."""

NEAREST: Final = 3
"""Cells that the time of a call is taken from."""

Expected = Callable[[Sequence[Job]], list[float | None]]
"""Seconds that each of the jobs will take, run in this order; None where nothing is known."""


class Forecast:
    """Expected seconds of rounds, corrected by each record that it learns of."""

    def __init__(
        self,
        measure: Measure,
        costs_of: Callable[[Cell], Costs | None],
        measured: Iterable[tuple[Cell, CellRecord]] = (),
    ) -> None:
        """`costs_of` returns a forward's costs, if known; `measured` has the records of earlier parts."""
        self._measure = measure
        self._costs_of = costs_of
        self._calls: dict[tuple[str, str], dict[str, tuple[Cell, float]]] = {}  # by network and backend
        self._first_s: dict[tuple[str, str], list[float]] = {}  # of a first call, beyond a later one's time
        self._fixed_s: dict[tuple[str, str], list[float]] = {}  # of a round, beside its calls
        self._repetitions: list[int] = []
        self._warmups: list[int] = []
        self._references: set[tuple[str, ...]] = set()  # clips whose CPU float32 result is there
        for cell, record in measured:
            self.learn(cell, record)

    def learn(self, cell: Cell, record: CellRecord, measure: Measure | None = None) -> None:
        """Learn from a round's record, which was measured as `measure` asks if that is not the run's."""
        steady = [call.wall_s for call in record.steady(Pass.END_TO_END, FORWARD)]
        if record.output_check is not None:
            self._references.add(cell.clip_id)
        if not steady:
            return
        pair, call_s = _pair(cell), median(steady)
        self._calls.setdefault(pair, {})[cell.id] = cell, call_s
        if record.first_forward_s is not None:
            self._first_s.setdefault(pair, []).append(max(0.0, record.first_forward_s - call_s))
        if record.round_wall_s is not None:
            calls = expected_calls(measure or self._measure, cell.backend, call_s)
            timed_s = sum(item.wall_s for item in record.samples if item.stage in (FORWARD, FORWARD_UNPROBED))
            beside_s = timed_s + calls.untimed * call_s + (record.reference_s or 0.0)
            self._fixed_s.setdefault(pair, []).append(max(0.0, record.round_wall_s - beside_s))
        if record.stop_end_to_end in (Stop.TARGET, Stop.MAX):
            self._repetitions.append(len(steady))
        if self._measure.warmup == "auto" and measure is None:
            self._warmups.append(
                sum(
                    (item.pass_, item.phase, item.stage) == (Pass.END_TO_END, Phase.WARMUP, FORWARD)
                    for item in record.samples
                )
            )

    def knows(self, cell: Cell) -> bool:
        """Return whether a cell of this network and backend has been measured."""
        return _pair(cell) in self._calls

    def seconds(self, jobs: Sequence[Job]) -> list[float | None]:
        """Return the seconds that each job will take; of what no network like it has been measured, None."""
        return self._seconds(jobs, _typical(self._repetitions, TYPICAL_REPETITIONS))

    def least_seconds(self, jobs: Sequence[Job]) -> list[float | None]:
        """Return the seconds that each job takes with the fewest samples that the measure allows."""
        return self._seconds(jobs, 0)

    def calls(self, cell: Cell) -> int:
        """Return how many calls a round of the cell will make."""
        return expected_calls(
            self._measure,
            cell.backend,
            self.call_s(cell),
            repetitions=_typical(self._repetitions, TYPICAL_REPETITIONS),
            warmup=_typical(self._warmups, TYPICAL_WARMUP),
        ).total

    def call_s(self, cell: Cell) -> float | None:
        """Return the expected seconds of one forward: those of the nearest cell of the same network and
        backend, by work; where there is none, at the median speed of the network's other backends there.
        """
        if (own := self._calls.get(_pair(cell))) is not None:
            return own[cell.id][1] if cell.id in own else self._like(cell, own.values())
        others = [
            self._like(cell, seen.values())
            for (model, _), seen in self._calls.items()
            if model == cell.model.name
            and next(iter(seen.values()))[0].backend.is_cuda == cell.backend.is_cuda
        ]
        return median(others) if others else None

    def _like(self, cell: Cell, seen: Iterable[tuple[Cell, float]]) -> float:
        """Return the seconds of the cell itself, or of those that take most nearly as much work, scaled.

        The median of three, as one may have been disturbed.
        """
        scaled = [(self._work_over(cell, other), call_s) for other, call_s in seen]
        scaled.sort(key=lambda item: abs(math.log(item[0])))
        nearest = scaled[:NEAREST] if len(scaled) >= NEAREST else scaled[:1]
        return median(ratio * call_s for ratio, call_s in nearest)

    def _work_over(self, cell: Cell, other: Cell) -> float:
        """Return how much more work a cell is than another one: FLOPs, or pixels where those are unknown."""
        costs = self._costs_of(cell), self._costs_of(other)
        if costs[0] and costs[1]:
            ours, theirs = (sum(stage.flops for stage in one.values()) for one in costs if one)
            if ours and theirs:
                return ours / theirs
        ours, theirs = (item.batch * item.frames * item.height * item.width for item in (cell, other))
        return ours / theirs

    def _seconds(self, jobs: Sequence[Job], repetitions: int) -> list[float | None]:
        every = [seconds for of_pair in self._fixed_s.values() for seconds in of_pair] or [FIXED_S]
        warmup = _typical(self._warmups, TYPICAL_WARMUP)
        references = {*self._references}
        found: list[float | None] = []
        for job in jobs:
            cell = job.cell
            call_s = self.call_s(cell)
            if call_s is None:
                found.append(None)
                continue
            calls = expected_calls(
                self._measure, cell.backend, call_s, repetitions=repetitions, warmup=warmup
            ).total
            reference_s = 0.0
            if cell.clip_id not in references:
                made = SECOND_REFERENCE if cell.backend.is_reference else 1 + SECOND_REFERENCE
                reference_s = made * (self.call_s(cell.reference) or 0.0)
            references.add(cell.clip_id)
            first_s = self._first_s.get(_pair(cell), [0.0])
            fixed_s = median(self._fixed_s.get(_pair(cell), every))
            found.append(fixed_s + median(first_s) + calls * call_s + reference_s)
        return found


def total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum of the seconds that are known; None where none are."""
    known = [each for each in seconds if each is not None]
    return sum(known) if known else None


def _pair(cell: Cell) -> tuple[str, str]:
    return cell.model.name, cell.backend.name


def _typical(seen: Sequence[int], usual: int) -> int:
    return round(median(seen)) if seen else usual
