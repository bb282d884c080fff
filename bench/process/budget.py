"""Spend a run's budget of seconds over its rounds, and leave out what does not fit.

Whole clips are left out, the largest first, so that a speedup that is shown has its baseline. Where one clip
alone is too much, its later rounds go, and then its last backends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from bench.grid.plan import Job
from bench.process.forecast import Forecast

MARGIN: Final = 1.2
"""The least seconds of a round are taken for so much more: a forecast errs, and a budget is kept."""


@dataclass(kw_only=True)
class Budget:
    """The seconds that a run may take, on a clock that has begun."""

    seconds: float
    forecast: Forecast
    began_s: float  # on the clock
    clock: Callable[[], float] = monotonic
    _started: set[tuple[str, ...]] = field(default_factory=set)  # clips that have been measured
    _gone: set[tuple[str, ...]] = field(default_factory=set)  # clips that have been left out

    @property
    def reason(self) -> str:
        """Why a cell is left out."""
        return f"left out: it does not fit into the run's {self.seconds:g} s (measure.budget_s)"

    def share_s(self, jobs: Sequence[Job]) -> float | None:
        """Return the seconds that the first of the jobs, which are all that is left, may take.

        None where it is left out.
        """
        share_s = self._shares(jobs)[0]
        (self._gone if share_s is None else self._started).add(jobs[0].cell.clip_id)
        return share_s

    def expected(self, jobs: Sequence[Job]) -> list[float | None]:
        """Return the seconds that each job will take: no more than its share, and none if it is left out.

        Samples that scatter are taken for longer than is usual, where the share has room.
        """
        wanted = self.forecast.seconds(jobs)
        return [
            0.0 if share is None else None if wish is None else min(share, MARGIN * wish)
            for wish, share in zip(wanted, self._shares(jobs), strict=True)
        ]

    def _shares(self, jobs: Sequence[Job]) -> list[float | None]:
        """Return each job's share of what is left: the least that it needs, and a part of the rest.

        The rest is divided by what the jobs would take beyond their least.
        """
        left_s = self.seconds - (self.clock() - self.began_s)
        least = [(seconds or 0.0) * MARGIN for seconds in self.forecast.least_seconds(jobs)]
        kept = _kept(jobs, least, left_s, started=self._started, gone=self._gone)
        wanted = self.forecast.seconds(jobs)
        beyond = [
            max((wish or 0.0) - need, 0.0) + 1e-3 if index in kept else 0.0
            for index, (wish, need) in enumerate(zip(wanted, least, strict=True))
        ]
        spare_s = max(0.0, left_s - sum(least[index] for index in kept))
        return [
            least[index] + spare_s * beyond[index] / sum(beyond) if index in kept else None
            for index in range(len(jobs))
        ]


def _kept(
    jobs: Sequence[Job],
    least: Sequence[float],
    left_s: float,
    *,
    started: set[tuple[str, ...]],
    gone: set[tuple[str, ...]],
) -> set[int]:
    """Return the places of the jobs that fit into the seconds."""
    clips: dict[tuple[str, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        if job.cell.clip_id not in gone:
            clips.setdefault(job.cell.clip_id, []).append(index)

    def need(clip: tuple[str, ...]) -> float:
        return sum(least[index] for index in clips[clip])

    fresh = sorted((clip for clip in clips if clip not in started), key=need)
    while fresh and (len(fresh) > 1 or started) and sum(map(need, clips)) > left_s:
        del clips[fresh.pop()]
    kept = [index for of_clip in clips.values() for index in of_clip]
    # What is left of one clip, or of those that have begun: later rounds go first, then later backends.
    kept.sort(key=lambda index: (jobs[index].round, index))
    while kept and sum(least[index] for index in kept) > left_s and (len(kept) > 1 or started):
        kept.pop()
    return {*kept}
