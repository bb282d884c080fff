"""Speedups over clips of several lengths: their level, and how they change with the length. Pure."""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

from bench.paper.editions import Edition, Role, Timing
from bench.paper.needed import cells, measured
from bench.paper.trend import fit
from bench.paper.verdict import INTERVAL_NAMES, OVER_FRAMES, Figure, NotKnownError, Quantity
from bench.statistics.stats import Ratio, median_interval

LONGER_PART: Final = 1 / 3
"""Lengths from this part of the longest on tell whether the speedup settles."""

MIN_LENGTHS: Final = 4
MIN_SPAN: Final = 2
"""Lengths that a trend is judged from, and how many times the shortest of them the longest is, at least."""

WINDOW: Final = 6
"""Lengths in a third at most: six give their median an interval."""

LONG_FRAMES: Final = 10
"""Frames of a long clip at least: below, what a call costs whatever its length is a visible part of it."""

OWN: Final = "from each cell's own interval"
"""What an interval over cells is made of, beside OVER_FRAMES."""


def speedup_figure(timing: Timing, name: str) -> Figure:
    """A cell's speedup over the run's baseline."""
    value = measured(timing.speedup, f"the {name}")
    return Figure(
        name=name,
        value=value,
        quantity=Quantity.RATIO,
        low=timing.speedup_low,
        high=timing.speedup_high,
        n=sum(map(len, timing.steady)),
        interval=INTERVAL_NAMES.get(timing.interval, ""),
    )


def sweep(edition: Edition, role: Role) -> list[Timing]:
    """The role's cells of more than one frame, with a speedup. Raises NotKnownError where there is none."""
    cells(edition.frames, Role.CPU, "frames")  # without it nothing has a speedup, and the reason is its
    found = [timing for timing in cells(edition.frames, role, "frames") if timing.frames > 1]
    found = [timing for timing in found if timing.speedup is not None]
    if not found:
        raise NotKnownError(f"no clip of more than one frame has a speedup on {role}")
    return found


def level(timings: Sequence[Timing], name: str) -> Figure:
    """The median of the cells' speedups.

    Its interval is made of theirs where all have one; otherwise, from six cells on, it is that of a median
    over frame counts.
    """
    speedups = [_speedup(timing, name) for timing in timings]
    return middle(speedups, f"{name}, median over t = {timings[0].frames} to {timings[-1].frames}")


def _speedup(timing: Timing, name: str) -> Ratio:
    value = measured(timing.speedup, name)
    return Ratio(ratio=value, low=timing.speedup_low, high=timing.speedup_high)


def middle(ratios: Sequence[Ratio], name: str) -> Figure:
    """Their median, with an interval as `level` has it."""
    values = [found.ratio for found in ratios]
    low: float | None = None
    high: float | None = None
    interval = ""
    if own := _own_bounds(ratios):
        low, high, interval = median(low for low, _ in own), median(high for _, high in own), OWN
    elif bounds := median_interval(values):
        (low, high), interval = bounds, OVER_FRAMES
    return Figure(
        name=name,
        value=median(values),
        quantity=Quantity.RATIO,
        low=low,
        high=high,
        n=len(values),
        interval=interval,
    )


def _own_bounds(ratios: Sequence[Ratio]) -> list[tuple[float, float]]:
    """Each one's interval; none unless all have one."""
    own = [(found.low, found.high) for found in ratios if found.low is not None and found.high is not None]
    return own if len(own) == len(ratios) else []


def longer_part(timings: Sequence[Timing]) -> list[Timing]:
    """The cells whose lengths tell a trend. Raises NotKnownError where they are too few, or too short."""
    longest = timings[-1].frames
    if longest < LONG_FRAMES:
        raise NotKnownError(f"no clip of {LONG_FRAMES} frames or more")
    part = [timing for timing in timings if timing.frames >= LONGER_PART * longest]
    if len(part) < MIN_LENGTHS or longest < MIN_SPAN * part[0].frames:
        raise NotKnownError(
            f"too few frame counts: t = {', '.join(str(timing.frames) for timing in part)}, where "
            f"{MIN_LENGTHS} from a third of the longest on are needed, and the longest {MIN_SPAN} times the "
            "shortest of these"
        )
    return part


def per_doubling(timings: Sequence[Timing], name: str) -> Figure:
    """By what the speedup is multiplied where the clip's length doubles: least squares on logarithms.

    Its interval is the wider of two to each side: the cells' own ones carried through (MOVER), where all have
    one, and Student's over how the cells scatter about the line.
    """
    logs = [math.log(timing.frames) for timing in timings]
    ratios = [_speedup(timing, name) for timing in timings]
    line = fit(logs, [math.log(found.ratio) for found in ratios])
    if line is None or line.slope_low is None or line.slope_high is None:
        raise NotKnownError(f"too few frame counts: {len(timings)}, of {MIN_LENGTHS} needed")
    low, high, interval = line.slope_low, line.slope_high, OVER_FRAMES
    own_bounds = _own_bounds(ratios)
    if own_bounds and min(low_ for low_, _ in own_bounds) > 0:
        # A slope is the sum of the values, each times its distance from the middle over the squares' sum.
        distances = [at - fmean(logs) for at in logs]
        squares = math.fsum(distance**2 for distance in distances)
        down, up = [], []
        for distance, found, bounds in zip(distances, ratios, own_bounds, strict=True):
            ends = sorted(distance / squares * math.log(bound / found.ratio) for bound in bounds)
            down.append(ends[0])
            up.append(ends[1])
        own = line.slope - math.hypot(*down), line.slope + math.hypot(*up)
        if own[1] - own[0] > high - low:
            interval = OWN
        low, high = min(low, own[0]), max(high, own[1])
    return Figure(
        name=f"{name}, where the clip's length doubles",
        value=2**line.slope,
        quantity=Quantity.RATIO,
        low=2**low,
        high=2**high,
        n=line.n,
        interval=interval,
    )


def longest_third(timings: Sequence[Timing]) -> list[Timing]:
    """The longest third of the lengths, six at most."""
    size = max(1, min(WINDOW, len(timings) // 3))
    if len(timings) < 2:
        raise NotKnownError("too few frame counts: two beside t = 1 are needed")
    if timings[-1].frames < LONG_FRAMES:
        raise NotKnownError(f"no clip of {LONG_FRAMES} frames or more")
    return list(timings[-size:])
