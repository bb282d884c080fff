"""Decide what a search measures next. Pure: the same answers lead to the same questions.

A greedy search over fields, in stages. The first measures every value alone against the plain network; each
later one starts from the fastest so far, which it measures again, and changes one field at a time, and the
first of those also tries everything together that paid alone. It ends where a stage brings less than
MIN_GAIN. All of a stage is measured in turn with the plain network, and compared with it round by round.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Final

import pandas as pd

from bench.grid.backend import Backend
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.records import Pass, Phase, Status, worst_status
from bench.results.tables import Tables
from bench.stats.changes import of_pairs
from bench.stats.intervals import CONFIDENCE, Ratio
from bench.tuning.format import decibels, times
from bench.tuning.space import Axes, alone, is_possible, neighbours, settings, with_value

ALONE: Final = "alone"
TOGETHER: Final = "together"
CONFIRM: Final = "confirm"

ALONE_ROUNDS: Final = 2
TOGETHER_ROUNDS: Final = 3
CONFIRM_ROUNDS: Final = 6
"""The fewest rounds that give an interval without an assumption."""

MIN_GAIN: Final = 0.01
"""A stage that brings less ends the search: so few rounds cannot resolve a smaller gain."""

HOPELESS: Final = 1.5
"""A value that alone takes this many times as long as the plain network is not tried with others."""

NOT_MEASURED: Final = "not measured"

TABLE_COLUMNS: Final = (
    "stage", "backend", "settings", "status", "reason", "rounds", "speedup", "output_psnr_db",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a candidate in a stage."""

    levels: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # seconds by clip and round
    status: str = "ok"  # the worst of its cells, as a record has it; not measured where there is none
    reason: str = ""
    psnr_db: float | None = None  # the worst

    @property
    def in_short(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of the plain backend and these candidates, with its answers so far; it may be ended early."""

    name: str
    candidates: tuple[Backend, ...]  # without the plain one
    rounds: int
    answers: Mapping[Backend, Answer] = field(default_factory=dict)  # the plain network's is the first

    @property
    def plain(self) -> Backend:
        return next(iter(self.answers))

    def speedup(self, candidate: Backend, *, right: bool = True) -> float | None:
        """Return the plain network's time over a candidate's, by rounds, the mean over the clips of both.

        None where there is none: a stage that is ended early comes to some clips only, or to no candidate.
        Where its answer need not be `right`, that of an inaccurate one, too.
        """
        statuses = (Status.OK,) if right else (Status.OK, Status.INACCURATE)
        if candidate not in self.answers or self.answers[candidate].status not in statuses:
            return None
        found = by_clip(self.answers[self.plain], self.answers[candidate])
        return math.exp(fmean(map(math.log, found.values()))) if found else None

    def ranked(self) -> list[Backend]:
        """Return the candidates that have a speedup, the fastest first."""
        known = {one: speed for one in self.answers if (speed := self.speedup(one)) is not None}
        known.pop(self.plain, None)
        return sorted(known, key=lambda one: known[one], reverse=True)

    def standing(self, candidate: Backend) -> str:
        """Return a candidate's speedup and error, or why it has none."""
        answer, speed = self.answers[candidate], self.speedup(candidate)
        return answer.in_short if speed is None else f"{times(speed)} {decibels(answer.psnr_db)}".rstrip()


def paired(base: Mapping[int, float], new: Mapping[int, float]) -> Ratio | None:
    """Return the ratio of speeds, new over base, in the rounds that both have; None where there are none."""
    rounds = sorted(base.keys() & new.keys())
    if not rounds:
        return None
    return of_pairs([new[number] for number in rounds], [base[number] for number in rounds], CONFIDENCE)


def by_clip(base: Answer, new: Answer) -> dict[str, float]:
    """Return the ratio of speeds, new over base, for each clip that both have rounds of."""
    shared = {clip: paired(base.levels[clip], new.levels[clip]) for clip in base.levels if clip in new.levels}
    return {clip: found.ratio for clip, found in shared.items() if found is not None}


def answered(stage: Stage, plain: Backend, cells: Sequence[Cell], tables: Tables) -> Stage:
    """Return the stage with the answers of its run, whole or not."""
    calls = tables.samples
    timed = calls[
        (calls["pass"] == Pass.END_TO_END) & (calls["phase"] == Phase.STEADY) & (calls["stage"] == FORWARD)
    ]
    levels = timed.groupby(["cell", "round"])["wall_s"].median()
    answers = {}
    for candidate in (plain, *stage.candidates):
        own = {cell.id: "/".join(cell.clip_id) for cell in cells if cell.backend.name == candidate.name}
        rounds = tables.cells[tables.cells["cell"].isin(own)]
        if rounds.empty:
            answers[candidate] = Answer(status=NOT_MEASURED)
            continue
        status = worst_status(map(Status, rounds["status"]))
        reasons = rounds[(rounds["status"] == status) & (rounds["reason"] != "")]["reason"]
        errors = rounds["output_psnr_db"].dropna()
        answers[candidate] = Answer(
            levels={
                clip: levels[cell].to_dict() if cell in levels.index.get_level_values("cell") else {}
                for cell, clip in own.items()
            },
            status=str(status),
            reason=next(iter(reasons), ""),
            psnr_db=None if errors.empty else float(errors.min()),
        )
    return replace(stage, answers=answers)


def table(stages: Sequence[Stage]) -> pd.DataFrame:
    """Return tune.csv: a row per stage and backend, in the order of measuring."""
    rows = [
        (
            stage.name, candidate.name,
            "; ".join(f"{name}: {value}" for name, value in settings(candidate).items()),
            answer.status, answer.reason, min(map(len, answer.levels.values()), default=0),
            stage.speedup(candidate), answer.psnr_db,
        )
        for stage in stages
        for candidate, answer in stage.answers.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def others(stages: Sequence[Stage]) -> list[tuple[Stage, Backend]]:
    """Return everything but the plain network, each with its stage."""
    return [(stage, candidate) for stage in stages for candidate in stage.answers if candidate != stage.plain]


def standings(stages: Sequence[Stage]) -> list[tuple[str, str, str]]:
    """Return stage, backend and result of everything but the plain network."""
    return [(stage.name, one.name, stage.standing(one)) for stage, one in others(stages)]


def tried(stages: Sequence[Stage]) -> int:
    """Return the number of backends with a record beside the plain network, skipped ones included."""
    return len({one for stage, one in others(stages) if stage.answers[one].status != NOT_MEASURED})


@dataclass(frozen=True, kw_only=True)
class Search:
    """The space of a search, and its decisions; stages that are given have answers."""

    plain: Backend
    axes: Axes

    def next_stage(self, done: Sequence[Stage]) -> Stage | None:
        """Return the stage to measure next; None where the search has come to its end."""
        if not done:
            return Stage(name=ALONE, candidates=tuple(alone(self.plain, self.axes)), rounds=ALONE_ROUNDS)
        start = self.best(done)
        if len(done) > 1 and not self._has_improved(done):
            return None
        paid = self._everything_that_paid(done[0]) if len(done) == 1 else []
        known = {candidate for stage in done for candidate in stage.answers}
        new = [*paid, *neighbours(start, self._hopeful(done[0]))]
        new = [candidate for candidate in dict.fromkeys(new) if candidate not in known]
        if not new:
            return None
        again = () if start == self.plain else (start,)
        return Stage(name=f"{TOGETHER}-{len(done)}", candidates=(*again, *new), rounds=TOGETHER_ROUNDS)

    def best(self, done: Sequence[Stage]) -> Backend:
        """Return the fastest of the last stage that has any; the plain network where nothing is faster."""
        for stage in reversed(done):
            for fastest in stage.ranked()[:1]:
                return fastest if (stage.speedup(fastest) or 1.0) > 1 else self.plain
        return self.plain

    def confirmation(self, done: Sequence[Stage]) -> Stage:
        """Return the last stage: a fresh measurement of the best and the plain network."""
        return Stage(name=CONFIRM, candidates=(self.best(done),), rounds=CONFIRM_ROUNDS)

    def _has_improved(self, done: Sequence[Stage]) -> bool:
        """Return whether the last stage's best is clearly faster than its starting point."""
        before, best = self.best(done[:-1]), self.best(done)
        was, now = done[-1].speedup(before), done[-1].speedup(best)
        return was is not None and now is not None and now * (1 - MIN_GAIN) > was

    def _hopeful(self, first: Stage) -> Axes:
        """Return the axes without the values that alone failed or were far too slow.

        A value that is inaccurate alone may be right with others, which do a part of its work otherwise; one
        that cannot be alone may be possible with others.
        """

        def is_hopeful(candidate: Backend) -> bool:
            speed = first.speedup(candidate, right=False)
            return candidate not in first.answers or (speed is not None and speed > 1 / HOPELESS)

        return {
            name: tuple(value for value in values if is_hopeful(with_value(self.plain, name, value)))
            for name, values in self.axes.items()
        }

    def _everything_that_paid(self, first: Stage) -> list[Backend]:
        """Combine each field's fastest value, if faster alone, less what contradicts those before it."""
        found = self.plain
        for candidate in first.ranked():
            ((name, value),) = settings(candidate).items()
            if (first.speedup(candidate) or 0.0) > 1 and name not in settings(found):
                more = with_value(found, name, value)
                found = more if is_possible(more) else found
        return [found] if len(settings(found)) > 1 else []
