"""The figures `time` and `speedup`: medians against the frame count, or by backend where there is but one."""

import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_labels import (
    REFERENCE_LINE,
    backend_rows,
    frames_of,
    handle,
    missing,
    reference_handle,
    title_of,
)
from bench.plotting.plot_series import Curve
from bench.plotting.plot_style import LOG_RATIO, colour, frames_axis, line, logarithmic, marker, plain, sheet
from bench.statistics.stats import CONFIDENCE, IntervalKind
from bench.units import Unit, significant, unit_for

INTERVALS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between processes",
    IntervalKind.BETWEEN_ROUNDS_T: "between three to five processes, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within these processes only",
}

_TIMES: Final = Unit(name="×", scale=1.0)


def time_figure(group: PlotGroup, _baseline: str) -> Figure:
    curves = [series for series in group.series if isinstance(series, Curve)]
    unit = unit_for(point.value for curve in curves for point in curve.points)
    return _curves(group, curves, "Time of one forward", f"forward time ({unit.name})", unit, reference="")


def speedup_figure(group: PlotGroup, baseline: str) -> Figure:
    curves = [series for series in group.series if isinstance(series, Curve) and not series.is_unit]
    title = f"Speedup over {baseline}"
    return _curves(group, curves, title, f"speedup over {plain(baseline)} (×)", _TIMES, reference=baseline)


def _curves(
    group: PlotGroup, curves: Sequence[Curve], title: str, label: str, unit: Unit, *, reference: str
) -> Figure:
    notes = [*interval_notes(curves), *missing(group)]
    values = [
        value / unit.scale
        for curve in curves
        for point in curve.points
        for value in (point.value, point.low, point.high)
        if value is not None
    ] + ([1.0] if reference else [])
    if len(group.frames) == 1:
        return _dots(
            group,
            curves,
            title=f"{title}, {frames_of(group)}",
            label=label,
            unit=unit,
            notes=notes,
            values=values,
            reference=reference,
        )
    handles: list[tuple[Any, str]] = [(handle(group, curve.backend), curve.backend) for curve in curves]
    if reference:
        handles.insert(0, (reference_handle(), f"{reference} (baseline)"))
    figure = sheet(title=title_of(group, title), legend=handles, notes=notes, axes_height_in=3.5).figure
    axes = figure.add_subplot()
    if reference:
        axes.axhline(1, **REFERENCE_LINE)
    for curve in curves:
        place = group.backends.index(curve.backend)
        frames = [point.frames for point in curve.points]
        low, high = (
            [math.nan if bound is None else bound / unit.scale for bound in bounds]
            for bounds in ([p.low for p in curve.points], [p.high for p in curve.points])
        )
        axes.fill_between(frames, low, high, color=colour(place), alpha=0.18, linewidth=0)
        # Where only one of two neighbours has an interval there is no band.
        axes.vlines(frames, low, high, color=colour(place), linewidth=1)
        axes.plot(
            frames,
            [point.value / unit.scale for point in curve.points],
            color=colour(place),
            linestyle=line(place),
            marker=marker(place),
        )
    if spread_of(curves) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, min(values), max(values))
    else:
        axes.set_ylim(0, max(values) * 1.06)
    frames_axis(axes, group.frames)
    axes.set_xlabel("frames")
    axes.set_ylabel(label)
    return figure


def _dots(
    group: PlotGroup,
    curves: Sequence[Curve],
    *,
    title: str,
    label: str,
    unit: Unit,
    notes: Sequence[str],
    values: Sequence[float],
    reference: str,
) -> Figure:
    """One frame count: a line of one point says nothing, a row per backend compares them."""
    legend = [(reference_handle(), f"{reference} (baseline)")] if reference else []
    height = 0.75 + 0.38 * len(curves)
    figure = sheet(title=title_of(group, title), legend=legend, notes=notes, axes_height_in=height).figure
    axes = figure.add_subplot()
    if reference:
        axes.axvline(1, **REFERENCE_LINE)
    for row, curve in enumerate(curves):
        (point,) = curve.points
        place = group.backends.index(curve.backend)
        value = point.value / unit.scale
        low, high = (value if bound is None else bound / unit.scale for bound in (point.low, point.high))
        axes.errorbar(
            value,
            row,
            xerr=[[value - low], [high - value]],
            color=colour(place),
            marker=marker(place),
            markersize=7,
            elinewidth=1.5,
            capsize=3,
        )
        axes.annotate(
            f"{significant(value)}{unit.name}" if unit is _TIMES else f"{significant(value)} {unit.name}",
            (high, row),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    if spread_of(curves) > LOG_RATIO:
        logarithmic(axes, axes.xaxis, min(values), max(values))
        # The room that the last label needs grows with the axis.
        axes.set_xlim(min(values) / 1.25, max(values) * (max(values) / min(values)) ** 0.17)
    else:
        axes.set_xlim(0, max(values) * 1.2)
    backend_rows(axes, [curve.backend for curve in curves])
    axes.set_xlabel(label)
    return figure


def spread_of(curves: Sequence[Curve]) -> float:
    """How many times the largest value is the smallest, at the frame count where that is most.

    Growth with the frames is no reason for a logarithmic axis: it would bend what is straight.
    """
    at: dict[int, list[float]] = {}
    for curve in curves:
        for point in curve.points:
            at.setdefault(point.frames, []).append(point.value)
    return max(max(values) / min(values) for values in at.values())


def interval_notes(curves: Sequence[Curve]) -> list[str]:
    points = [point for curve in curves if not curve.is_unit for point in curve.points]
    kinds = {point.interval for point in points if point.low is not None}
    said = [text for kind, text in INTERVALS.items() if kind in kinds]
    if not said:
        return ["Medians of the steady calls; too few for an interval."]
    return [f"Medians of the steady calls with {100 * CONFIDENCE:g} % intervals ({' or '.join(said)})."]
