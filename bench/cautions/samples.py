"""Look at the samples themselves: too few, too wide, or not of one kind. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench.cautions.caution import Cell, Environment, Run, Seen
from bench.grid.spans import FORWARD
from bench.records import CellRecord, Pass, Sample
from bench.stats import patterns
from bench.stats.intervals import IntervalKind, spread, summarise

# A standard deviation as a share of the median. With ten samples the median's interval is then about as wide
# to either side, and backends 5 % apart cannot be told from each other.
WIDE: Final = 0.05
DRIFT: Final = 0.02  # of the median, over a round or over the run: the target that a median is measured to
FIRST: Final = 0.05  # of the median: one sample among many moves it by far less than its own excess
MODES: Final = 0.05  # of the median, between two modes: it falls into either, by chance
TIMER_STEPS: Final = 100  # a sample of so many steps, or so many times a timer's cost, is known to 1 %
TIMER_STEP_S: Final = 1e-7  # where the environment does not hold what the timer was measured to cost
EVENT_STEP_S: Final = 0.5e-6  # resolution of CUDA events (cudaEventElapsedTime, CUDA Runtime API)
MIN_RUN_ROUNDS: Final = 2  # of a cell that is to say something of the run's drift


def forward_s(record: CellRecord) -> list[float]:
    """Return the steady samples of what the figures are of, in the order in which they were taken."""
    return [item.wall_s for item in _forwards(record)]


def few_samples(cell: Cell) -> Seen | None:
    if summarise(cell.samples).interval is not IntervalKind.NONE:
        return None
    n = sum(map(len, cell.samples))
    return Seen(text=f"{n} {'sample has' if n == 1 else 'samples have'} no interval")


def spread_wide(cell: Cell) -> Seen | None:
    found = spread(cell.samples)
    if found.within is not None and found.within > WIDE:
        return Seen(text=f"samples scatter by {100 * found.within:.2g} % of their median")
    if found.between is not None and found.between > WIDE:
        text = f"processes differ by {100 * found.between:.2g} %, more than their samples explain"
        return Seen(text=text, remedy="ask for more `rounds`: more samples in each do not help")
    return None


def first_outlier(cell: Cell) -> Seen | None:
    excess = patterns.first_excess(cell.samples)
    if excess is None or excess < FIRST:
        return None
    return Seen(text=f"the first sample is {100 * excess:.2g} % above the others, and apart from all of them")


def drift(cell: Cell) -> Seen | None:
    change = patterns.drift(cell.samples)
    if change is None or abs(change) < DRIFT:
        return None
    warmer = "warm up longer (`warmup: auto`)" if change < 0 else ""
    return Seen(text=f"samples became {_faster_or_slower(change)} within a round", remedy=warmer)


def drift_of_run(run: Run) -> Iterator[Seen]:
    """Look for a machine that became slower or faster from round to round, over all cells."""
    medians = []
    for cell in run.cells:
        in_time = sorted(cell.records, key=lambda record: (record.started_at, record.round))
        levels = [median(samples) for record in in_time if (samples := forward_s(record))]
        if len(levels) >= MIN_RUN_ROUNDS:
            medians.append(levels)
    change = patterns.drift(medians)
    if change is not None and abs(change) >= DRIFT:
        yield Seen(
            text=f"cells became {_faster_or_slower(change)} from their first round to their last",
            remedy="use `order: interleaved`, so that it hits all backends alike, wait until the machine is "
            "warm, and look at its clocks and what else it runs",
        )


def bimodal(cell: Cell) -> Seen | None:
    modes = patterns.modes(cell.samples)
    if modes is None or modes.high - modes.low < MODES:
        return None
    apart = f"{100 * (modes.high / modes.low - 1):.2g} % apart"
    return Seen(text=f"samples have two modes, {apart}, {100 * modes.share_low:.0f} % of them in the lower")


def timer_coarse(cell: Cell) -> Seen | None:
    step_s = _timer_step_s(cell.environment)
    wall_s = median(sample for samples in cell.samples for sample in samples)
    if wall_s < TIMER_STEPS * step_s:
        steps = f"{TIMER_STEPS} times the timer's {1e6 * step_s:.2g} µs"
        return Seen(text=f"samples of {1e6 * wall_s:.3g} µs are shorter than {steps}")
    events = (item.device_s for record in cell.records for item in _forwards(record))
    device_s = [known for known in events if known is not None]
    if device_s and median(device_s) < TIMER_STEPS * EVENT_STEP_S:
        steps = f"few of their {1e6 * EVENT_STEP_S:.2g} µs steps"
        return Seen(text=f"{1e6 * median(device_s):.3g} µs between CUDA events are {steps}")
    return None


def _forwards(record: CellRecord) -> Sequence[Sample]:
    return record.steady(Pass.END_TO_END, FORWARD)


def _timer_step_s(environment: Environment) -> float:
    timer: Any = environment.get("timer")
    values = [timer.get(name) for name in ("cost_s", "resolution_s")] if isinstance(timer, Mapping) else []
    return max((float(value) for value in values if isinstance(value, int | float)), default=TIMER_STEP_S)


def _faster_or_slower(change: float) -> str:
    return f"{100 * abs(change):.2g} % {'slower' if change > 0 else 'faster'}"
