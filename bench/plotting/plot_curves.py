"""Medians against the frame count, or by backend where there is but one: times, speedups, relative speed."""

from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plotting.plot_data import Labels
from bench.plotting.plot_labels import (
    REFERENCE_LINE,
    backend_rows,
    frames_of,
    handles,
    known,
    look,
    missing,
    reference_handle,
    series,
    title_of,
)
from bench.plotting.plot_style import LOG_RATIO, frames_axis, logarithmic, plain, sheet
from bench.stats.intervals import CONFIDENCE, IntervalKind
from bench.units import Unit, significant, unit_for

INTERVALS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between processes",
    IntervalKind.BETWEEN_ROUNDS_T: "between three to five processes, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within these processes only",
}

_TIMES: Final = Unit(name="×", scale=1.0)


def time_figure(table: pd.DataFrame, labels: Labels, _baseline: str) -> Figure:
    unit = unit_for(known(table["value"]))
    return _curves(table, labels, "Time of one forward", f"forward time ({unit.name})", unit)


def speedup_figure(table: pd.DataFrame, labels: Labels, baseline: str) -> Figure:
    title, label = f"Speedup over {baseline}", f"speedup over {plain(baseline)} (×)"
    said = "baseline" if labels.runs else f"{baseline} (baseline)"
    return _curves(table, labels, title, label, _TIMES, said)


def relative_figure(table: pd.DataFrame, labels: Labels, reference: str) -> Figure:
    return _curves(table, labels, f"Speed relative to {reference}", "relative speed (×)", _TIMES, reference)


def _curves(
    table: pd.DataFrame, labels: Labels, title: str, label: str, unit: Unit, reference: str = ""
) -> Figure:
    """`table` has `value`, `low`, `high` and `interval` by `label` and `frames`."""
    values = table[["value", "low", "high"]].astype(float) / unit.scale
    shown = table.assign(low=values["low"], value=values["value"], high=values["high"])
    ends = [end for name in values for end in known(values[name])] + [1.0] * bool(reference)
    few = table["frames"].nunique() == 1
    legend: list[tuple[Any, str]] = [(reference_handle(), reference)] * bool(reference)
    figure = sheet(
        title=title_of(labels, f"{title}, {frames_of(table)}" if few else title),
        legend=legend if few else [*legend, *handles(table, labels)],
        notes=[*interval_notes(table), *missing(labels)],
        axes_height_in=0.75 + 0.38 * len(series(table)) if few else 3.5,
    ).figure
    axes = figure.add_subplot()
    if reference:
        (axes.axvline if few else axes.axhline)(1, **REFERENCE_LINE)
    (_rows if few else _lines)(axes, shown, labels, unit, (min(ends), max(ends)))
    (axes.set_xlabel if few else axes.set_ylabel)(label)
    return figure


def _lines(axes: Axes, table: pd.DataFrame, labels: Labels, _unit: Unit, ends: tuple[float, float]) -> None:
    for _, rows in series(table):
        style = look(rows, labels)
        axes.fill_between(
            rows["frames"], rows["low"], rows["high"], color=style["color"], alpha=0.18, linewidth=0
        )
        # Where only one of two neighbours has an interval there is no band.
        axes.vlines(rows["frames"], rows["low"], rows["high"], color=style["color"], linewidth=1)
        axes.plot(rows["frames"], rows["value"], **style)
    if spread_of(table) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, *ends)
    else:
        axes.set_ylim(0, ends[1] * 1.06)
    frames_axis(axes, sorted(table["frames"].unique()))
    axes.set_xlabel("frames")


def _rows(axes: Axes, table: pd.DataFrame, labels: Labels, unit: Unit, ends: tuple[float, float]) -> None:
    """One frame count: a line of one point says nothing, a row per series compares them."""
    names = series(table)
    for place, (_, rows) in enumerate(names):
        value, low, high = (float(rows[name].iloc[0]) for name in ("value", "low", "high"))
        low, high = (value if pd.isna(bound) else bound for bound in (low, high))
        axes.errorbar(
            value, place, xerr=[[value - low], [high - value]],
            **(look(rows, labels) | {"linestyle": "none"}), markersize=7, elinewidth=1.5, capsize=3,
        )  # fmt: skip
        axes.annotate(
            f"{significant(value)}{'' if unit is _TIMES else ' '}{unit.name}", (high, place),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},  # of the line at 1
        )  # fmt: skip
    lowest, highest = ends
    if spread_of(table) > LOG_RATIO:
        logarithmic(axes, axes.xaxis, lowest, highest)
        # The room that the last label needs grows with the axis.
        axes.set_xlim(lowest / 1.25, highest * (highest / lowest) ** 0.17)
    else:
        axes.set_xlim(0, highest * 1.2)
    backend_rows(axes, [name for name, _ in names])


def spread_of(table: pd.DataFrame) -> float:
    """Return how many times the largest value is the smallest, at the frame count where that is most.

    Growth with the frames is no reason for a logarithmic axis: it would bend what is straight.
    """
    values = table["value"].astype(float).groupby(table["frames"])
    return float((values.max() / values.min()).max())


def interval_notes(table: pd.DataFrame) -> list[str]:
    kinds = set(table[table["low"].notna()]["interval"])
    said = [text for kind, text in INTERVALS.items() if kind in kinds]
    if not said:
        return ["Medians of the steady calls; too few for an interval."]
    return [f"Medians of the steady calls with {100 * CONFIDENCE:g} % intervals ({' or '.join(said)})."]
