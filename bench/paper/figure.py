"""A named number with its unit and interval, for verdicts and for people. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.paper.sources import Cell, NotKnownError
from bench.stats.intervals import Summary, ratio
from bench.units import BYTES, SECONDS, significant, with_unit


@dataclass(frozen=True, kw_only=True)
class Figure:
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


def shown(value: float, unit: str) -> str:
    """Return the number for people."""
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


def figure_of(cell: Cell, what: str, name: str = "") -> Figure:
    """Return a cell's speedup, the seconds of a stage, or a figure of cells.csv."""
    if what.endswith(("_s", "_bytes", "_error")):
        unit = {"_s": "s", "_bytes": "bytes", "_error": ""}[what[what.rindex("_") :]]
        return Figure(name=what, value=cell.column(what), unit=unit)
    if what == "speedup":
        row, names, unit = cell.stage(), ("speedup", "speedup_low", "speedup_high"), "×"
    else:
        row, names, unit = cell.stage(what), ("median_s", "low_s", "high_s"), "s"
    value, low, high = (float(row[column]) for column in names)
    if math.isnan(value):
        raise NotKnownError(f"{cell.backend} has no speedup")
    return Figure(name=name or what, value=value, unit=unit, low=low, high=high)


def ratio_of(name: str, above: Summary, below: Summary) -> Figure:
    """Return the ratio of two medians."""
    found = ratio(above, below)
    low, high = (math.nan if bound is None else bound for bound in (found.low, found.high))
    return Figure(name=name, value=found.ratio, low=low, high=high)


def sum_of(name: str, unit: str, terms: Sequence[tuple[float, Summary]], per: float = 1.0) -> Figure:
    """Return the sum of medians, each times its factor, over `per`; its interval is MOVER's, as a ratio's."""
    value = math.fsum(factor * one.median for factor, one in terms) / per
    ends = np.array([[factor * (bound - one.median) for bound in bounds_of(one)] for factor, one in terms])
    down, up = np.linalg.norm(np.sort(ends), axis=0) / per
    return Figure(name=name, value=value, unit=unit, low=value - float(down), high=value + float(up))


def bounds_of(one: Summary) -> tuple[float, float]:
    """Return a summary's interval, NaN where it has none."""
    return (math.nan, math.nan) if one.low is None or one.high is None else (one.low, one.high)


def columns_of(figures: Sequence[Figure]) -> tuple[Any, Any, Any]:
    """Return values, lower and upper bounds as arrays; what is reckoned from a NaN is one."""
    values, lows, highs = np.array([(one.value, one.low, one.high) for one in figures]).T
    return values, lows, highs
