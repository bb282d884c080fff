"""Cautions about the samples themselves: too few, too wide, or not of one kind. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench.cautions.caution import Caution, Notice
from bench.cautions.cautions_machine import steady_figure_s
from bench.grid.spans import FORWARD
from bench.records import CellRecord, Pass, Phase
from bench.stats import patterns
from bench.stats.intervals import IntervalKind, spread, summarise

WIDE: Final = 0.05
"""A standard deviation as a share of the median. With ten samples the median's interval is then about as wide
to either side, and backends 5 % apart cannot be told from each other."""

DRIFT: Final = 0.02
"""Of the median, over a round or over the run: the target that a median is measured to."""

FIRST: Final = 0.05
"""Of the median. One sample among many moves the median by far less than its own excess."""

MODES: Final = 0.05
"""Of the median, between two modes. The median falls into either, by chance."""

TIMER_STEPS: Final = 100
"""A sample of so many steps, or so many times a timer's cost, is known to 1 %."""

TIMER_STEP_S: Final = 1e-7
"""Where the environment does not hold what the timer was measured to cost."""

EVENT_STEP_S: Final = 0.5e-6
"""Resolution of CUDA events (cudaEventElapsedTime, CUDA Runtime API)."""

MIN_RUN_ROUNDS: Final = 2
"""Of a cell that is to say something of the run's drift."""


def of_samples(rounds: Sequence[CellRecord], environment: Mapping[str, Any]) -> list[Notice]:
    """What the samples of a cell's rounds say of themselves."""
    values = [samples for record in rounds if (samples := steady_figure_s(record))]
    if not values:
        return []
    found = [*_few(values), *_wide(values), *_first(values), *_drifting(values), *_bimodal(values)]
    found += _coarse(rounds, values, environment)
    return [Notice(code=code, cell=rounds[0].cell, seen=seen, remedy=remedy) for code, seen, remedy in found]


def of_run(cells: Sequence[Sequence[CellRecord]]) -> list[Notice]:
    """What the rounds of all cells say of the run: a machine that became slower or faster meanwhile."""
    medians = []
    for rounds in cells:
        in_time = sorted(rounds, key=lambda record: (record.started_at, record.round))
        levels = [median(samples) for record in in_time if (samples := steady_figure_s(record))]
        if len(levels) >= MIN_RUN_ROUNDS:
            medians.append(levels)
    change = patterns.drift(medians)
    if change is None or abs(change) < DRIFT:
        return []
    return [
        Notice(
            code=Caution.DRIFT,
            seen=f"cells became {_faster_or_slower(change)} from their first round to their last",
            remedy="use `order: interleaved`, so that it hits all backends alike, wait until the machine is "
            "warm, and look at its clocks and what else it runs",
        )
    ]


_Found = list[tuple[Caution, str, str]]


def _few(values: Sequence[Sequence[float]]) -> _Found:
    if summarise(values).interval is not IntervalKind.NONE:
        return []
    n = sum(map(len, values))
    seen = f"{n} {'sample has' if n == 1 else 'samples have'} no interval"
    return [(Caution.FEW_SAMPLES, seen, "ask for at least 6 `repetitions`, or for 6 `rounds`")]


def _wide(values: Sequence[Sequence[float]]) -> _Found:
    found = spread(values)
    if found.within is not None and found.within > WIDE:
        seen = f"samples scatter by {100 * found.within:.2g} % of their median"
        return [
            (
                Caution.SPREAD_WIDE,
                seen,
                "quiet the machine, or ask for more `repetitions` (`{min, max, target}`)",
            )
        ]
    if found.between is not None and found.between > WIDE:
        seen = f"processes differ by {100 * found.between:.2g} %, more than their samples explain"
        return [(Caution.SPREAD_WIDE, seen, "ask for more `rounds`: more samples in each do not help")]
    return []


def _first(values: Sequence[Sequence[float]]) -> _Found:
    excess = patterns.first_excess(values)
    if excess is None or excess < FIRST:
        return []
    seen = f"the first sample is {100 * excess:.2g} % above the others, and apart from all of them"
    return [(Caution.FIRST_OUTLIER, seen, "ask for more `warmup`, or for `warmup: auto`")]


def _drifting(values: Sequence[Sequence[float]]) -> _Found:
    change = patterns.drift(values)
    if change is None or abs(change) < DRIFT:
        return []
    seen = f"samples became {_faster_or_slower(change)} within a round"
    cure = "warm up longer (`warmup: auto`)" if change < 0 else "let the machine cool, and look at its clocks"
    return [(Caution.DRIFT, seen, cure)]


def _bimodal(values: Sequence[Sequence[float]]) -> _Found:
    modes = patterns.modes(values)
    if modes is None or modes.high - modes.low < MODES:
        return []
    seen = (
        f"samples have two modes, {100 * (modes.high / modes.low - 1):.2g} % apart, "
        f"{100 * modes.share_low:.0f} % of them in the lower"
    )
    remedy = (
        "look at samples.csv for what alternates (clocks, another process, memory that is freed in turn), "
        "and ask for more `rounds`"
    )
    return [(Caution.BIMODAL, seen, remedy)]


def _coarse(
    rounds: Sequence[CellRecord], values: Sequence[Sequence[float]], environment: Mapping[str, Any]
) -> _Found:
    remedy = "measure a larger `size`, more `frames` or a larger `batch`"
    step_s = _timer_step_s(environment)
    wall_s = median(sample for samples in values for sample in samples)
    if wall_s < TIMER_STEPS * step_s:
        seen = (
            f"samples of {1e6 * wall_s:.3g} µs are shorter than {TIMER_STEPS} times the timer's "
            f"{1e6 * step_s:.2g} µs"
        )
        return [(Caution.TIMER_COARSE, seen, remedy)]
    on_device = [
        item.device_s
        for record in rounds
        for item in record.samples
        if item.pass_ is Pass.END_TO_END and item.phase is Phase.STEADY and item.stage == FORWARD
        if item.device_s is not None
    ]
    if on_device and (device_s := median(on_device)) < TIMER_STEPS * EVENT_STEP_S:
        seen = (
            f"{1e6 * device_s:.3g} µs between CUDA events are few of their {1e6 * EVENT_STEP_S:.2g} µs steps"
        )
        return [(Caution.TIMER_COARSE, seen, remedy)]
    return []


def _timer_step_s(environment: Mapping[str, Any]) -> float:
    timer = environment.get("timer")
    known = [
        float(value)
        for name in ("cost_s", "resolution_s")
        if isinstance(timer, Mapping) and isinstance(value := timer.get(name), int | float)
    ]
    return max(known, default=TIMER_STEP_S)


def _faster_or_slower(change: float) -> str:
    return f"{100 * abs(change):.2g} % {'slower' if change > 0 else 'faster'}"
