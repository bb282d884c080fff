"""Estimate how many calls a round of a cell makes, and the memory of one. Pure; no torch."""

import math
from dataclasses import dataclass
from typing import Final

from bench.grid.backend import Backend
from bench.grid.config_measure import Measure
from bench.grid.costs import Costs

STREAMED_CLIPS: Final = 9
"""Clips of each sample of `total` where transfers are overlapped: one that fills the pipeline, and eight."""

TYPICAL_REPETITIONS: Final = 12
TYPICAL_WARMUP: Final = 3
"""Calls after which a rule for repetitions, and an automatic warm-up, are most often content."""

_PROBES: Final = {"off": 0, "sync": 1, "events": 0, "both": 1}
_PROBES_WITH_EVENTS: Final = {"off": 0, "sync": 1, "events": 1, "both": 2}


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Expected calls of forward in one round, by pass."""

    first: int  # cold and warm-up
    end_to_end: int
    stages: int  # of all stage passes, in pairs of a probed call and a plain one
    memory: int
    check: int = 0  # of the output, where a call leaves none
    profile: int = 0  # under the profiler: one that is thrown away, and the one that is looked at

    @property
    def total(self) -> int:
        return self.first + self.end_to_end + self.stages + self.memory + self.check + self.profile

    @property
    def untimed(self) -> int:
        """Calls that leave no sample."""
        return self.memory + self.check + self.profile


def expected_calls(
    measure: Measure,
    backend: Backend,
    call_s: float | None = None,
    *,
    repetitions: int = TYPICAL_REPETITIONS,
    warmup: int = TYPICAL_WARMUP,
) -> Calls:
    """Return how many calls a round will make, if one takes `call_s` seconds.

    Exact where the measure gives numbers. Where it gives a rule, the rule is taken to be content after so
    many `repetitions` (0: as few as it allows) or calls of `warmup`, or when its budget is spent.
    """
    probes = stage_passes(measure, backend)
    memory = {"off": 0, "curve": 1, "lines": 2}[measure.memory]
    per_sample = 1 + STREAMED_CLIPS if backend.transfer == "overlapped" else 1

    def samples(each: int) -> int:
        rule = measure.repetitions
        wanted = min(repetitions, rule.max)
        if call_s:
            wanted = min(wanted, math.ceil(rule.budget_s / (each * call_s)))
        return max(wanted, rule.min)

    return Calls(
        first=1 + (warmup if measure.warmup == "auto" else measure.warmup),
        end_to_end=per_sample * samples(per_sample),
        stages=probes * 2 * samples(2),
        memory=0 if backend.is_divided else memory + int(memory and probes > 0),
        check=int(backend.memory_plan is not None),
        profile=2 * int(measure.profile and not backend.is_divided),
    )


def stage_passes(measure: Measure, backend: Backend) -> int:
    """Return the number of stage passes that a round has."""
    if backend.no_stages is not None:
        return 0
    return (_PROBES_WITH_EVENTS if backend.is_cuda else _PROBES)[measure.stages]


def peak_bytes(costs: Costs | None) -> int | None:
    """Return the bytes alive at the worst moment of a forward, weights and clip included, if known."""
    return max((stage.peak_bytes for stage in costs.values()), default=None) if costs else None
