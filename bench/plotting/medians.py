"""The figures `time`, `speedup` and `relative`: medians over frame counts, or by backend at one of them."""

from collections.abc import Callable
from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.grid.spans import FORWARD
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import (
    LOG_RATIO,
    backend_rows,
    frames_axis,
    frames_of,
    handles,
    logarithmic,
    series,
    sheet,
)
from bench.plotting.style import plain
from bench.results.tables import Tables
from bench.stats.intervals import CONFIDENCE, IntervalKind
from bench.units import Unit, significant, unit_for

INTERVALS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between processes",
    IntervalKind.BETWEEN_ROUNDS_T: "between three to five processes, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within these processes only",
}

_TIMES: Final = Unit(name="×", scale=1.0)
_AT_ONE: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.2, "linestyle": "-"}


def time_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    unit = unit_for(table["value"].astype(float))
    return _figure(table, labels, "Time of one forward", f"forward time ({unit.name})", unit)


def speedup_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    over = labels.baseline
    at_one = "baseline" if labels.runs else f"{over} (baseline)"
    return _figure(table, labels, f"Speedup over {over}", f"speedup over {plain(over)} (×)", at_one=at_one)


def relative_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    over = labels.baseline
    return _figure(table, labels, f"Speed relative to {over}", "relative speed (×)", at_one=over)


def _figure(
    table: pd.DataFrame, labels: Labels, title: str, label: str, unit: Unit = _TIMES, at_one: str = ""
) -> Figure:
    """Draw `value`, `low`, `high` and `interval` by series, over the frame counts where there are several."""
    bounds = ("value", "low", "high")
    table = table.assign(**{name: table[name].astype(float) / unit.scale for name in bounds})
    ends = [*(table[name].min() for name in bounds), *(table[name].max() for name in bounds)]
    ends = [end for end in ends if not pd.isna(end)] + [1.0] * bool(at_one)
    few = table["frames"].nunique() == 1
    legend: list[tuple[Artist, str]] = [(Line2D([], [], **_AT_ONE), at_one)] * bool(at_one)
    figure = sheet(
        labels,
        f"{title}, {frames_of(table)}" if few else title,
        legend=legend if few else [*legend, *handles(table, labels)],
        notes=[_interval_note(table)],
        axes_height_in=0.75 + 0.38 * table["label"].nunique() if few else 3.5,
    )
    axes = figure.add_subplot()
    if at_one:
        (axes.axvline if few else axes.axhline)(1, zorder=1.5, **_AT_ONE)
    if few:
        _rows(axes, table, labels, unit, min(ends), max(ends))
        axes.set_xlabel(label)
    else:
        _lines(axes, table, labels, min(ends), max(ends))
        axes.set_ylabel(label)
    return figure


def _lines(axes: Axes, table: pd.DataFrame, labels: Labels, lowest: float, highest: float) -> None:
    for one in series(table, labels):
        frames, tint = one.rows["frames"], one.look["color"]
        axes.fill_between(frames, one.rows["low"], one.rows["high"], color=tint, alpha=0.18, linewidth=0)
        # Where only one of two neighbours has an interval there is no band.
        axes.vlines(frames, one.rows["low"], one.rows["high"], color=tint, linewidth=1)
        axes.plot(frames, one.rows["value"], **one.look)
    if _spread(table) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, lowest, highest)
    else:
        axes.set_ylim(0, highest * 1.06)
    frames_axis(axes, sorted(table["frames"].unique()))
    axes.set_xlabel("frames")


def _rows(axes: Axes, table: pd.DataFrame, labels: Labels, unit: Unit, lowest: float, highest: float) -> None:
    """Draw one frame count: a line of one point says nothing, a row per series compares them."""
    every = series(table, labels)
    for place, one in enumerate(every):
        value, low, high = (float(one.rows[name].iloc[0]) for name in ("value", "low", "high"))
        low, high = (value if pd.isna(bound) else bound for bound in (low, high))
        axes.errorbar(
            value, place, xerr=[[value - low], [high - value]],
            **{**one.look, "linestyle": "none"}, markersize=7, elinewidth=1.5, capsize=3,
        )  # fmt: skip
        axes.annotate(
            f"{significant(value)}{'' if unit is _TIMES else ' '}{unit.name}", (high, place),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},  # of the line at 1
        )  # fmt: skip
    if _spread(table) > LOG_RATIO:
        logarithmic(axes, axes.xaxis, lowest, highest)
        # The room that the last label needs grows with the axis.
        axes.set_xlim(lowest / 1.25, highest * (highest / lowest) ** 0.17)
    else:
        axes.set_xlim(0, highest * 1.2)
    backend_rows(axes, [one.name for one in every])


def _spread(table: pd.DataFrame) -> float:
    """Return how many times the largest value is the smallest, at the frame count where that is most.

    Growth with the frames is no reason for a logarithmic axis: it would bend what is straight.
    """
    values = table["value"].groupby(table["frames"])
    return float((values.max() / values.min()).max())


def _interval_note(table: pd.DataFrame) -> str:
    kinds = set(table[table["low"].notna()]["interval"])
    names = [text for kind, text in INTERVALS.items() if kind in kinds]
    if not names:
        return "Medians of the steady calls; too few for an interval."
    return f"Medians of the steady calls with {100 * CONFIDENCE:g} % intervals ({' or '.join(names)})."


def _forward(value: str, low: str, high: str, interval: str) -> Callable[[Tables], pd.DataFrame]:
    """Return a finder of `value`, `low`, `high` and `interval` of the forward."""
    names = {value: "value", low: "low", high: "high", interval: "interval"}

    def find(tables: Tables) -> pd.DataFrame:
        rows = tables.summary[(tables.summary["stage"] == FORWARD) & tables.summary[value].notna()]
        return rows[["cell", *names]].rename(columns=names)

    return find


TIME: Final = Kind(
    rows=_forward("median_s", "low_s", "high_s", "interval"),
    draw=time_figure,
    lacking="no steady samples",
    over_frames=True,
)
SPEEDUP: Final = Kind(
    rows=_forward("speedup", "speedup_low", "speedup_high", "speedup_interval"),
    draw=speedup_figure,
    lacking="the baseline was not measured there",
    over_frames=True,
    over_baseline=True,
)
