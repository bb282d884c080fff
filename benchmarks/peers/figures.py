"""Turns to ratios, and ratios to a table. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure.output_check import OutputError
from bench.reporting.markdown import Column, escape, table
from bench.statistics.stats import median_interval
from benchmarks.peers.turns import Turn


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How many times as fast as `base` a contestant is: the median of the ratios of calls of the same turn.

    `low` and `high` are its 95 % interval; None with fewer than six turns.
    """

    contestant: str
    base: str
    ratio: float
    low: float | None
    high: float | None
    turns: int


def seconds_of(turns: Sequence[Turn]) -> dict[str, list[float]]:
    """Wall seconds of each contestant, by turn."""
    by_name: dict[str, list[float]] = {}
    for item in sorted(turns, key=lambda item: item.turn):
        by_name.setdefault(item.contestant, []).append(item.span.wall_s)
    return by_name


def speeds(seconds: Mapping[str, Sequence[float]], bases: Sequence[str]) -> list[Speed]:
    """Each contestant against each base, itself left out."""
    found = []
    for base in bases:
        for name, walls in seconds.items():
            if name == base:
                continue
            ratios = [theirs / ours for theirs, ours in zip(seconds[base], walls, strict=True)]
            low, high = median_interval(ratios) or (None, None)
            found.append(
                Speed(contestant=name, base=base, ratio=median(ratios), low=low, high=high, turns=len(ratios))
            )
    return found


def page_table(
    seconds: Mapping[str, Sequence[float]], found: Sequence[Speed], errors: Mapping[str, OutputError]
) -> str:
    """A row of Markdown for each contestant, in the order in which they were given."""
    names = list(seconds)
    bases = list(dict.fromkeys(speed.base for speed in found))
    by_pair = {(speed.contestant, speed.base): speed for speed in found}
    against = [
        Column(
            title=f"times as fast as {escape(base)}",
            cells=[_ratio(by_pair.get((name, base))) for name in names],
            numeric=True,
        )
        for base in bases
    ]
    return table(
        [
            Column(title="network", cells=[escape(name) for name in names]),
            Column(title="median, s", cells=[f"{median(seconds[name]):.4f}" for name in names], numeric=True),
            *against,
            Column(
                title="largest error",
                cells=[f"{errors[name].max_abs_error:.1e}" if name in errors else "" for name in names],
                numeric=True,
            ),
            Column(
                title="PSNR, dB",
                cells=[_decibels(errors[name]) if name in errors else "" for name in names],
                numeric=True,
            ),
        ]
    )


def _ratio(speed: Speed | None) -> str:
    if speed is None:
        return ""
    if speed.low is None or speed.high is None:
        return f"{speed.ratio:.3f}"
    return f"{speed.ratio:.3f} ({speed.low:.3f} to {speed.high:.3f})"


def _decibels(error: OutputError) -> str:
    return "equal" if math.isinf(error.psnr_db) and error.psnr_db > 0 else f"{error.psnr_db:.1f}"
