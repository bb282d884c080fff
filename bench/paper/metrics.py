"""The values that the paper's claims are about, each from a source's ordinary tables. Pure.

A metric, each function in METRICS, gives the value that is judged first, and then those that it rests on.
It raises NotKnownError for what is lacking.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
from scipy import stats

from bench.paper.sources import PAPER, Cell, NotKnownError, Role, Source
from bench.stats.intervals import Summary, median_interval, ratio, summarise
from bench.units import BYTES, SECONDS, significant, with_unit
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

GPU: Final = (Role.CUDNN, Role.CUDNN_AUTOTUNE)
"""The paper's "CUDA" and its "cuDNN"."""

OTHERS: Final = (ALIGNMENT, AGGREGATION, UPSAMPLING)
STAGES: Final = (ALIGNMENT, PROPAGATION, AGGREGATION, UPSAMPLING)

LONG_FRAMES: Final = 10
"""Frames of a long clip at least: below, what a call costs whatever its length is a visible part of it."""

MIN_LENGTHS: Final = 4
MIN_SPAN: Final = 2
"""Lengths that a trend is judged from, and how many times the shortest the longest is, at least."""

MIN_ON_LINE: Final = 6
"""Lengths that a line is judged from."""

MIN_LATER: Final = 6
"""Calls after the first that a scatter is judged from."""

BEGINNING: Final = 0.1
"""The share of the whole rise of memory that the beginning takes, which the paper leaves out of its claim."""

PARTS: Final = 4
"""Equal parts of the rise's time whose rates are compared."""

COPIED_BYTES: Final = 12 * (1 + 4**2)
"""Per pixel of the clip: it and its output of four times the side, in float32."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A named number with its unit; `low` and `high` are NaN where it has no 95 % interval."""

    name: str
    value: float
    unit: str = "×"  # × | s | bytes | bytes/s | %, which is of a share
    low: float = math.nan
    high: float = math.nan
    n: int | None = None  # of values behind it

    def __str__(self) -> str:
        return f"{self.name}: {self.amount}"

    @property
    def amount(self) -> str:
        """The value and its interval, such as `3.45× (3.36× to 3.50×, n = 20)`."""
        notes = (
            [] if math.isnan(self.low) else [f"{shown(self.low, self.unit)} to {shown(self.high, self.unit)}"]
        )
        notes += [] if self.n is None else [f"n = {self.n}"]
        return shown(self.value, self.unit) + (f" ({', '.join(notes)})" if notes else "")


Metric = Callable[[Source, Role], list[Value]]


def shown(value: float, unit: str) -> str:
    """Format the number with its unit."""
    size, sign = abs(value), "−" if value < 0 else ""
    match unit:
        case "s":
            return sign + with_unit(size, SECONDS)
        case "bytes" | "bytes/s":
            return sign + with_unit(size, BYTES) + unit.removeprefix("bytes")
        case "%":
            return f"{sign}{significant(100 * size)} %"
        case "":
            return f"{value:g}"
        case _:
            return f"{sign}{significant(size)}{unit}"


def value_of(source: Source, cell: Cell, what: str) -> Value:
    """Return a metric of a cell's backend, its speedup, the seconds of a stage, or a column of cells.csv."""
    if what in METRICS:
        return METRICS[what](source, cell.role)[0]
    for ending, unit in (("_s", "s"), ("_bytes", "bytes"), ("_error", "")):
        if what.endswith(ending):
            return Value(name=what, value=cell.column(what), unit=unit)
    return _speedup(cell) if what == "speedup" else _value(what, "s", cell.summary(what))


def _value(name: str, unit: str, found: Summary, n: int | None = None) -> Value:
    low, high = _ends(found.low, found.high)
    return Value(name=name, value=found.median, unit=unit, low=low, high=high, n=n)


def _speedup(cell: Cell, name: str = "speedup") -> Value:
    row = cell.stage()
    if row["speedup"] is None:
        raise NotKnownError(f"{cell.backend} has no speedup")
    low, high = _ends(row["speedup_low"], row["speedup_high"])
    return Value(name=name, value=row["speedup"], low=low, high=high)


def _ratio(name: str, above: Summary, below: Summary) -> Value:
    """Return the ratio of two medians."""
    found = ratio(above, below)
    low, high = _ends(found.low, found.high)
    return Value(name=name, value=found.ratio, low=low, high=high)


def _sum(name: str, unit: str, terms: Sequence[tuple[float, Summary]], per: float = 1.0) -> Value:
    """Return the sum of medians, each times its factor, over `per`; its interval is MOVER's, as a ratio's."""
    value = math.fsum(factor * one.median for factor, one in terms) / per
    ends = np.array([[f * (end - one.median) for end in _ends(one.low, one.high)] for f, one in terms])
    down, up = np.linalg.norm(np.sort(ends), axis=0) / per
    return Value(name=name, value=value, unit=unit, low=value - float(down), high=value + float(up))


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    """Return the ends of an interval, NaN where there is none."""
    return (math.nan, math.nan) if low is None or high is None else (low, high)


def _columns(values: Sequence[Value]) -> tuple[Any, Any, Any]:
    """Return values, lower and upper bounds as arrays; NaN spreads."""
    found, lows, highs = np.array([(one.value, one.low, one.high) for one in values]).T
    return found, lows, highs


# Speedups.


def median_speedup(source: Source, role: Role) -> list[Value]:
    """Return the median speedup over all clips of more than one frame."""
    return [_middle(_speedups(_sweep(source, role)))]


def time_saved_on_long_clips(source: Source, role: Role) -> list[Value]:
    """Return the share of the CPU's time that is saved on the longest third of the clips, six at most."""
    cells = _sweep(source, role)
    if cells[-1].frames < LONG_FRAMES:
        raise NotKnownError(f"no clip of {LONG_FRAMES} frames or more was measured")
    speedup = _middle(_speedups(cells[-max(1, min(6, len(cells) // 3)) :]))
    value, low, high = (1 - 1 / one for one in (speedup.value, speedup.low, speedup.high))
    return [replace(speedup, name="time saved", unit="%", value=value, low=low, high=high), speedup]


def speedup_per_doubling(source: Source, role: Role) -> list[Value]:
    """Return the factor that the speedup gains where a clip's length doubles.

    Least squares on logarithms, over the lengths from a third of the longest on.
    """
    cells = _sweep(source, role)
    longest = cells[-1].frames
    cells = [cell for cell in cells if 3 * cell.frames >= longest]
    if longest < LONG_FRAMES or len(cells) < MIN_LENGTHS or longest < MIN_SPAN * cells[0].frames:
        raise NotKnownError(
            f"too few frame counts: {', '.join(str(cell.frames) for cell in cells)}; from a third of the "
            f"longest on {MIN_LENGTHS} are needed, the longest {LONG_FRAMES} or more, and {MIN_SPAN} times "
            "the shortest"
        )
    found = _speedups(cells)
    line = stats.linregress([math.log2(t) for t in found], [math.log2(one.value) for one in found.values()])
    # Where all are the same there is no error, which is a quotient of nothing to scipy.
    reach = stats.t.ppf(0.975, len(cells) - 2) * np.nan_to_num(line.stderr)
    low, value, high = (2**slope for slope in (line.slope - reach, line.slope, line.slope + reach))
    name = "the speedup's change where the length doubles"
    return [Value(name=name, value=value, low=low, high=high, n=len(cells)), _middle(found)]


def speedup_of_one_frame(source: Source, role: Role) -> list[Value]:
    source.run("frames").cells(Role.CPU)
    single = [cell for cell in source.run("frames").cells(role) if cell.frames == 1]
    if not single:
        raise NotKnownError("no clip of one frame was measured")
    return [_speedup(single[0], "speedup at t = 1")]


def headline_speedup(source: Source, role: Role) -> list[Value]:
    source.run("headline").cells(Role.CPU)
    cell = source.longest("headline", role)
    return [_speedup(cell, f"speedup, t = {cell.frames}")]


def headline_tuned_over_plain(source: Source, _: Role) -> list[Value]:
    plain, tuned = (source.longest("headline", role).summary() for role in GPU)
    return [_ratio("cuDNN's time over CUDA's", tuned, plain), *_both(plain, tuned)]


def speed_of_tuned_over_plain(source: Source, _: Role) -> list[Value]:
    """Return the median ratio of speeds over the longer half of the clips that both have."""
    plain, tuned = ({cell.frames: cell for cell in _sweep(source, role)} for role in GPU)
    lengths = sorted(plain.keys() & tuned.keys())
    if len(lengths) < 2 or lengths[-1] < LONG_FRAMES:
        raise NotKnownError(f"too few frame counts: two are needed, the longest {LONG_FRAMES} or more")
    longer = lengths[len(lengths) // 2 :]
    ratios = {t: _ratio("", plain[t].summary(), tuned[t].summary()) for t in longer}
    faster = sum(found.value > 1 for found in ratios.values())
    more = Value(name=f"lengths at which cuDNN is faster, of {len(longer)}", value=faster, unit="")
    return [_middle(ratios, "cuDNN's speed over CUDA's"), more]


def farthest_from_the_line(source: Source, role: Role) -> list[Value]:
    """Return the largest distance of a cell from the line through all lengths (Theil and Sen)."""
    cells = [cell for cell in source.run("frames").cells(role) if cell.frames > 1]
    if len(cells) < MIN_ON_LINE:
        raise NotKnownError(f"too few frame counts: {len(cells)} beside t = 1, of {MIN_ON_LINE} needed")
    frames, seconds = np.array([(cell.frames, cell.summary().median) for cell in cells]).T
    slope = stats.theilslopes(seconds, frames).slope
    line = np.median(seconds - slope * frames) + slope * frames
    off = np.abs(seconds / line - 1)
    worst = int(off.argmax())
    return [
        Value(name=f"farthest from the line, t = {frames[worst]:g}", value=float(off[worst]), unit="%"),
        Value(name="median distance from it", value=float(np.median(off)), unit="%", n=len(cells)),
    ]


def _sweep(source: Source, role: Role) -> list[Cell]:
    """Return the clips of more than one frame."""
    run = source.run("frames")
    run.cells(Role.CPU)  # without it nothing has a speedup, and the reason is its
    cells = [cell for cell in run.cells(role) if cell.frames > 1]
    if not cells:
        raise NotKnownError("too few frame counts: no clip of more than one frame was measured")
    return cells


def _speedups(cells: Sequence[Cell]) -> dict[int, Value]:
    return {cell.frames: _speedup(cell) for cell in cells}


def _middle(found: Mapping[int, Value], name: str = "speedup") -> Value:
    """Return the median over lengths; its interval is of theirs where all have one, or of their scatter."""
    value, low, high = map(float, map(np.median, _columns([*found.values()])))
    if math.isnan(low):
        low, high = median_interval([one.value for one in found.values()]) or (math.nan, math.nan)
    name = f"{name}, t = {min(found)} to {max(found)}"
    return Value(name=name, value=value, low=low, high=high, n=len(found))


def _both(plain: Summary, tuned: Summary) -> list[Value]:
    return [_value(name, "s", one, one.n) for name, one in (("CUDA", plain), ("cuDNN", tuned))]


# Repeated calls.


def first_call_of_tuned_over_plain(source: Source, _: Role) -> list[Value]:
    plain, tuned = (_first(source, role) for role in GPU)
    return [_ratio("cuDNN's first call over CUDA's", tuned, plain), *_both(plain, tuned)]


def first_call_over_later(source: Source, role: Role) -> list[Value]:
    return [_ratio("first call over later ones", _first(source, role), _later(source, role))]


def later_calls_of_plain_over_tuned(source: Source, _: Role) -> list[Value]:
    plain, tuned = (_later(source, role) for role in GPU)
    return [_ratio("CUDA's later calls over cuDNN's", plain, tuned), *_both(plain, tuned)]


def mean_saved_by_tuning(source: Source, _: Role) -> list[Value]:
    plain, tuned = (fmean(value for _, later in _rounds(source, role) for value in later) for role in GPU)
    return [Value(name="mean time saved after the first call", value=plain - tuned, unit="s")]


def variation(source: Source, role: Role) -> list[Value]:
    """Return the coefficient of variation after the first call, over all processes, by chi squared."""
    rounds = [later for _, later in _rounds(source, role) if len(later) > 1]
    freedom = sum(len(later) - 1 for later in rounds)
    if freedom < MIN_LATER - 1:
        raise NotKnownError(f"too few samples: {MIN_LATER} calls after the first are needed")
    squares = sum((len(later) - 1) * (stdev(later) / fmean(later)) ** 2 for later in rounds)
    low, high = (math.sqrt(squares / stats.chi2.ppf(tail, freedom)) for tail in (0.975, 0.025))
    value, n = math.sqrt(squares / freedom), sum(map(len, rounds))
    return [Value(name="coefficient of variation", value=value, unit="%", low=low, high=high, n=n)]


def _rounds(source: Source, role: Role) -> list[tuple[float, list[float]]]:
    cell = source.longest("repetitions", role)
    rounds = cell.calls()
    if not any(later for _, later in rounds):
        raise NotKnownError(f"too few samples: {cell.backend} has no call after its first")
    return rounds


def _first(source: Source, role: Role) -> Summary:
    return summarise([[first] for first, _ in _rounds(source, role)])


def _later(source: Source, role: Role) -> Summary:
    return summarise([later for _, later in _rounds(source, role) if later])


# Stages.


def propagation_over_others(source: Source, role: Role) -> list[Value]:
    """Return propagation over the stage that comes nearest to it."""
    found = _stages(source, role)
    of_each = _columns([_ratio("", found[PROPAGATION], found[stage]) for stage in OTHERS])
    value, low, high = (float(column.min()) for column in of_each)
    name, share = "propagation over the longest other stage", found[PROPAGATION].median / _whole(found)
    least = Value(name=name, value=value, low=low, high=high)
    return [least, Value(name="propagation's share", value=share, unit="%")]


def unevenness_of_stages(source: Source, role: Role) -> list[Value]:
    """Return the largest of the stages' speedups over the smallest, as far as their intervals allow."""
    cpu, gpu = _stages(source, Role.CPU), _stages(source, role)
    speedups = [_ratio(f"speedup of {stage}", cpu[stage], gpu[stage]) for stage in STAGES]
    values, lows, highs = _columns(speedups)
    low, high = float(np.maximum(1.0, lows.max() / highs.min())), float(highs.max() / lows.min())
    name, value = "the largest over the smallest", float(values.max() / values.min())
    return [Value(name=name, value=value, low=low, high=high), *speedups]


def lead_of_propagation(source: Source, _: Role) -> list[Value]:
    """Return the time saved in propagation less what all other stages change."""
    plain, tuned = (_stages(source, role) for role in GPU)
    terms = [(1.0, plain[PROPAGATION]), (-1.0, tuned[PROPAGATION])]
    saved = _sum("time saved in propagation", "s", terms)
    for stage in OTHERS:
        sign = math.copysign(1.0, plain[stage].median - tuned[stage].median)
        terms += [(-sign, plain[stage]), (sign, tuned[stage])]
    return [_sum("by how much that exceeds what the others change", "s", terms), saved]


def largest_change_of_others(source: Source, _: Role) -> list[Value]:
    """Return the largest change of another stage from "CUDA" to "cuDNN", as a share of the whole forward."""
    plain, tuned = (_stages(source, role) for role in GPU)
    name, whole = "change of {}, of the whole", _whole(plain)
    moved = [_sum(name.format(of), "%", [(1, tuned[of]), (-1, plain[of])], whole) for of in OTHERS]
    values, lows, highs = _columns(moved)
    low = float(np.maximum(0.0, np.maximum(lows, -highs)).max())  # of the nearest to 0 in each interval
    high = float(np.maximum(-lows, highs).max())
    value = float(np.abs(values).max())
    return [Value(name="the largest change", value=value, unit="%", low=low, high=high), *moved]


def _stages(source: Source, role: Role) -> dict[str, Summary]:
    """Return each stage's seconds; of the paper, which printed three of each, the means, as it has them."""
    cell = source.longest("stages", role)
    found = {stage: cell.summary(stage) for stage in STAGES}
    if source.name == PAPER:
        samples = cell.rows("samples").groupby("stage")["wall_s"].mean()
        found = {stage: replace(one, median=float(samples[stage])) for stage, one in found.items()}
    if any(summary.median <= 0 for summary in found.values()):
        raise NotKnownError(f"a stage on {cell.backend} took no time that the clock could tell")
    return found


def _whole(stages: Mapping[str, Summary]) -> float:
    return math.fsum(summary.median for summary in stages.values())


# Memory.


def unsteadiness_of_growth(source: Source, role: Role) -> list[Value]:
    """Return how far the rate of one of four parts of the rise's time is from the whole's, at most."""
    seconds, size = _rise(source, role)
    marks = np.interp(np.linspace(0, seconds[-1], PARTS + 1), seconds, size)
    overall = (size[-1] - size[0]) / seconds[-1]
    off = np.diff(marks) / (seconds[-1] / PARTS) / overall - 1
    worst = float(off[np.abs(off).argmax()])
    return [Value(name="the rate farthest from the whole's", value=worst, unit="%")]


def memory_kept(source: Source, role: Role) -> list[Value]:
    """Return the growth of host memory in a forward, per frame and pixel of its input."""
    cell = source.longest("memory", role)
    grown = cell.column("peak_host_bytes") - cell.column("host_before_bytes")
    return [Value(name="growth per frame and input pixel", value=grown / cell.pixels, unit="bytes")]


def straightness_of_growth(source: Source, role: Role) -> list[Value]:
    """Return the share of the curve's variance that a straight line explains (R squared)."""
    seconds, size = _rise(source, role)
    explained = float(stats.linregress(seconds, size).rvalue ** 2)
    name = "part of the rise that a straight line explains"
    return [Value(name=name, value=explained, unit="%", n=len(size)), *rate_of_growth(source, role)]


def rate_of_growth(source: Source, role: Role) -> list[Value]:
    seconds, size = _rise(source, role)
    rate = float((size[-1] - size[0]) / seconds[-1])
    return [Value(name="rate of the whole rise", value=rate, unit="bytes/s")]


def growth_in_first_half(source: Source, role: Role) -> list[Value]:
    seconds, size = _rise(source, role)
    half = float(np.interp(seconds[-1] / 2, seconds, size))
    share = (half - size[0]) / (size[-1] - size[0])
    return [Value(name="part of the rise in the first half of its time", value=float(share), unit="%")]


def memory_where_most_is_convolved(source: Source, role: Role) -> list[Value]:
    """Return the growth of memory in the stage with most FLOPs over the largest growth in another one."""
    cell = source.longest("memory", role)
    stages = {stage: cell.stage(stage) for stage in STAGES}
    known = {
        name: row for name, row in stages.items() if row["flops"] and row["host_growth_bytes"] is not None
    }
    if len(known) < len(STAGES):
        raise NotKnownError("memory by stage was not measured")
    most = max(known, key=lambda name: known[name]["flops"])
    grown = {name: float(row["host_growth_bytes"]) for name, row in known.items()}
    largest = max(bytes_ for name, bytes_ in grown.items() if name != most)
    if largest <= 0:
        raise NotKnownError("host memory did not grow in any other stage")
    return [
        Value(name=f"growth in {most} over the largest in another stage", value=grown[most] / largest),
        *(Value(name=f"growth in {name}", value=bytes_, unit="bytes") for name, bytes_ in grown.items()),
    ]


def transfers_of_device_memory(source: Source, role: Role) -> list[Value]:
    """Return the clip and its output over the peak of device memory."""
    cell = source.longest("memory", role)
    copied, name = COPIED_BYTES * cell.pixels, "the clip and its output"
    share = copied / cell.column("peak_device_bytes")
    whole = Value(name=f"{name} over the peak of device memory", value=share, unit="%")
    return [whole, Value(name=name, value=copied, unit="bytes")]


def _rise(source: Source, role: Role) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return seconds and bytes of the curve from where a tenth of its rise is done to its peak."""
    cell = source.longest("memory", role)
    points = cell.rows("memory")
    if not len(points):
        raise NotKnownError(f"memory of {cell.backend} over time was not measured")
    size = points["host_bytes"].to_numpy(dtype=float)
    peak = int(size.argmax())
    begun = int((size[: peak + 1] >= size[0] + BEGINNING * (size[peak] - size[0])).argmax())
    seconds = points["elapsed_s"].to_numpy(dtype=float)[begun : peak + 1]
    if len(seconds) < 2 * PARTS or seconds[-1] <= seconds[0]:
        raise NotKnownError(f"too few points: {len(seconds)} of {2 * PARTS} on the rise of host memory")
    return seconds - seconds[0], size[begun : peak + 1]


# Experiments on one fault.


def saved_by_pinned_memory(source: Source, role: Role) -> list[Value]:
    """Return the part of copies and forward together that pinned memory saves."""
    off, on = _pairs(source, "transfers", role)[-1]
    ways = ("host_to_device", "device_to_host")
    before, after = ([cell.summary(way) for way in ways] for cell in (off, on))
    copies = math.fsum(copy.median for copy in before)
    whole = copies + off.summary().median
    terms = [*((1.0, copy) for copy in before), *((-1.0, copy) for copy in after)]
    most = Value(name="what copies that cost nothing would save", value=copies / whole, unit="%")
    return [_sum("saved by pinned memory", "%", terms, whole), most]


def first_point_after_another_backend(source: Source, role: Role) -> list[Value]:
    """Return the first point in a process that another backend has started, over that in its own."""
    apart, shared = (cell.summary().median for cell in _pairs(source, "order", role)[0])
    return [Value(name="first point in a shared process over that in its own", value=shared / apart)]


# Beyond the paper's measurements.


def setting_up_over_computing_one_frame(source: Source, role: Role) -> list[Value]:
    """Return what a GPU's first call costs beyond computing, over the CPU's time of one frame.

    That is making the context, moving the model, and what the first call takes beyond later ones.
    """
    cpu, gpu = (
        [cell for cell in source.run("frames").cells(one) if cell.frames == 1] for one in (Role.CPU, role)
    )
    if not cpu or not gpu:
        raise NotKnownError("no clip of one frame was measured")
    parts = {
        "context": gpu[0].column("context_s"),
        "model to the device": gpu[0].column("model_to_device_s"),
        "first call beyond later ones": max(0.0, gpu[0].column("first_forward_s") - gpu[0].summary().median),
    }
    computing = cpu[0].summary().median
    return [
        Value(name="setting up over the CPU's one frame", value=math.fsum(parts.values()) / computing),
        *(Value(name=name, value=seconds, unit="s") for name, seconds in parts.items()),
    ]


def speed_of_fft(source: Source, role: Role) -> list[Value]:
    """Return the speed with convolutions by spectra over the fastest of the other ways."""
    fft = source.backend("convolutions", f"{role}-fft").summary()
    others = [source.backend("convolutions", name).summary() for name in (str(role), f"{role}-im2col")]
    return [
        _ratio("FFT's speed over the fastest other way's", min(others, key=lambda one: one.median), fft),
        _value("by FFT", "s", fft),
        *(_value(name, "s", one) for name, one in zip(("by the library", "by im2col"), others, strict=True)),
    ]


def speed_of_threads(source: Source, _: Role) -> list[Value]:
    return [_over(source, "processes", "threads", "one_thread")]


def speed_of_processes(source: Source, _: Role) -> list[Value]:
    return [_over(source, "processes", "processes", "one_thread")]


def speed_of_map_reduce(source: Source, _: Role) -> list[Value]:
    return [_over(source, "processes", "map_reduce", "one_thread")]


def speed_of_two_gpus(source: Source, _: Role) -> list[Value]:
    return [_over(source, "processes", "two_gpus", "one_gpu")]


def speed_of_pipelined_upsampling(source: Source, _: Role) -> list[Value]:
    return [_over(source, "schedule", "pipelined", "sequential")]


def speed_of_one_graph(source: Source, _: Role) -> list[Value]:
    return [_over(source, "schedule", "graph", "sequential")]


def _over(source: Source, experiment: str, new: str, base: str) -> Value:
    """Return the speed of one of an experiment's backends over that of another."""
    times = [source.backend(experiment, name).summary() for name in (base, new)]
    return _ratio(f"speed of {new} over {base}".replace("_", " "), *times)


def _pairs(source: Source, fault: str, role: Role) -> list[tuple[Cell, Cell]]:
    """Return each length's cell without the fault and with it, shortest first."""
    off, on = (
        {cell.frames: cell for cell in source.run(f"{fault}/{which}").cells(role)} for which in ("off", "on")
    )
    if not off.keys() & on.keys():
        raise NotKnownError("no length ended well both with the fault and without")
    return [(off[frames], on[frames]) for frames in sorted(off.keys() & on.keys())]


METRICS: Final[Mapping[str, Metric]] = {
    metric.__name__: metric
    for metric in (
        median_speedup, time_saved_on_long_clips, speedup_per_doubling, speedup_of_one_frame,
        headline_speedup, headline_tuned_over_plain, speed_of_tuned_over_plain, farthest_from_the_line,
        first_call_of_tuned_over_plain, first_call_over_later, later_calls_of_plain_over_tuned,
        mean_saved_by_tuning, variation, propagation_over_others, unevenness_of_stages, lead_of_propagation,
        largest_change_of_others, unsteadiness_of_growth, memory_kept, straightness_of_growth, rate_of_growth,
        growth_in_first_half, memory_where_most_is_convolved, transfers_of_device_memory,
        saved_by_pinned_memory, first_point_after_another_backend, setting_up_over_computing_one_frame,
        speed_of_fft, speed_of_threads, speed_of_processes, speed_of_map_reduce, speed_of_two_gpus,
        speed_of_pipelined_upsampling, speed_of_one_graph,
    )
}  # fmt: skip
"""By the names that claims.yaml and figures.yaml have for them."""
