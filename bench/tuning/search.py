"""Decide what a search measures next. Pure: the same answers lead to the same questions.

A greedy search over fields, in stages. The first measures every value alone against the plain network; each
later one starts from the fastest so far, which it measures again, and changes one field at a time, and the
first of those also tries everything together that paid alone. It ends where a stage brings less than
MIN_GAIN. All of a stage is measured in turn with the plain network, and compared with it round by round.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from bench.records import Status
from bench.stats.changes import of_pairs
from bench.stats.intervals import CONFIDENCE
from bench.tuning.space import Axis, Candidate, alone, is_possible, neighbours

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

Levels = Mapping[str, Mapping[int, float]]
"""A candidate's seconds by clip and round."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of the plain backend and these candidates."""

    name: str
    candidates: tuple[Candidate, ...]  # without the plain one
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a candidate in a stage."""

    candidate: Candidate
    levels: Levels = field(default_factory=dict)  # of the rounds with the right answer
    status: str = "ok"  # the worst of its cells, as a record has it; not measured where there is none
    reason: str = ""
    psnr_db: float | None = None  # the worst


@dataclass(frozen=True, kw_only=True)
class Done:
    """A stage with its answers, the plain network's among them; it may have been ended early."""

    stage: Stage
    answers: Mapping[Candidate, Answer]

    def ratio(self, candidate: Candidate, plain: Candidate, *, right: bool = True) -> float | None:
        """Return a candidate's time over the plain network's, by rounds, the mean over the clips that both
        have.

        None where there is none: a stage that is ended early comes to some clips only, or to no candidate.

        Where its answer need not be `right`, that of an inaccurate one, too.
        """
        statuses = (Status.OK,) if right else (Status.OK, Status.INACCURATE)
        one, base = self.answers.get(candidate), self.answers.get(plain)
        if one is None or base is None or one.status not in statuses:
            return None
        found = []
        for clip, levels in one.levels.items():
            shared = sorted(levels.keys() & base.levels.get(clip, {}).keys())
            if not shared:
                continue
            pairs = of_pairs(
                [base.levels[clip][number] for number in shared],
                [levels[number] for number in shared],
                CONFIDENCE,
            )
            found.append(math.log(pairs.ratio))
        return math.exp(fmean(found)) if found else None


@dataclass(frozen=True, kw_only=True)
class Search:
    """The space of a search, and its decisions."""

    plain: Candidate
    axes: tuple[Axis, ...]

    def next_stage(self, done: Sequence[Done]) -> Stage | None:
        """Return the stage to measure next; None where the search has come to its end."""
        if not done:
            return Stage(name=ALONE, candidates=tuple(alone(self.plain, self.axes)), rounds=ALONE_ROUNDS)
        start = self.best(done)
        if len(done) > 1 and not self._has_improved(done):
            return None
        hopeful = self._hopeful(done[0])
        known = {candidate for one in done for candidate in one.answers}
        new = [*self._everything_that_paid(done), *neighbours(start, hopeful)]
        new = [candidate for candidate in dict.fromkeys(new) if candidate not in known]
        if not new:
            return None
        again = () if start.is_plain else (start,)
        return Stage(name=f"{TOGETHER}-{len(done)}", candidates=(*again, *new), rounds=TOGETHER_ROUNDS)

    def best(self, done: Sequence[Done]) -> Candidate:
        """Return the fastest of the last stage that has any answer; the plain network where nothing is
        faster.
        """
        for one in reversed(done):
            found = self._ranked(one)
            if found:
                return found[0] if (one.ratio(found[0], self.plain) or 1.0) < 1 else self.plain
        return self.plain

    def runner_up(self, done: Sequence[Done]) -> Candidate | None:
        """Return the fastest but the best, by its latest answer; None where no other is faster than plain."""
        best = self.best(done)
        latest = {
            candidate: ratio
            for one in done
            for candidate in one.answers
            if (ratio := one.ratio(candidate, self.plain)) is not None
        }
        others = [one for one in latest if one not in (best, self.plain) and latest[one] < 1]
        return min(others, key=lambda one: latest[one], default=None)

    def confirmation(self, done: Sequence[Done]) -> Stage:
        """Return the last stage: a fresh measurement of the best, the plain network and the runner-up."""
        best, other = self.best(done), self.runner_up(done)
        candidates = () if best.is_plain else (best,)
        return Stage(
            name=CONFIRM, candidates=(*candidates, *((other,) if other else ())), rounds=CONFIRM_ROUNDS
        )

    def _ranked(self, one: Done) -> list[Candidate]:
        """Return the candidates of a stage that have a ratio, the fastest first."""
        ratios = {
            candidate: ratio
            for candidate in one.answers
            if not candidate.is_plain and (ratio := one.ratio(candidate, self.plain)) is not None
        }
        return sorted(ratios, key=lambda candidate: ratios[candidate])

    def _has_improved(self, done: Sequence[Done]) -> bool:
        """Return whether the last stage's best is clearly faster than its starting point."""
        before, best = self.best(done[:-1]), self.best(done)
        if best == before:
            return False
        was = 1.0 if before.is_plain else done[-1].ratio(before, self.plain)
        now = done[-1].ratio(best, self.plain)
        return was is not None and now is not None and now < was * (1 - MIN_GAIN)

    def _hopeful(self, first: Done) -> tuple[Axis, ...]:
        """Return the axes without the values that alone failed or were far too slow.

        A value that is inaccurate alone may be right with others, which do a part of its work otherwise.
        """
        kept = []
        for axis in self.axes:
            values = []
            for value in axis.values:
                candidate = self.plain.with_value(axis.field, value)
                ratio = first.ratio(candidate, self.plain, right=False)
                untried = candidate not in first.answers  # alone it cannot be, with others it may
                if untried or (ratio is not None and ratio < HOPELESS):
                    values.append(value)
            if values:
                kept.append(Axis(field=axis.field, values=tuple(values)))
        return tuple(kept)

    def _everything_that_paid(self, done: Sequence[Done]) -> list[Candidate]:
        """Combine each field's fastest value, if faster alone, less what contradicts those before it."""
        if len(done) > 1:
            return []
        found = self.plain
        for candidate in self._ranked(done[0]):
            ((name, value),) = candidate.fields
            ratio = done[0].ratio(candidate, self.plain)
            if ratio is None or ratio >= 1 or found.value(name) is not None:
                continue
            more = found.with_value(name, value)
            found = more if is_possible(more) else found
        return [found] if len(found.fields) > 1 else []
