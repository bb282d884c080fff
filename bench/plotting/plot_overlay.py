"""Several runs in one figure: a curve per run and backend, of times or of speedups.

A backend has one colour in all runs, a run has one line and marker over all its backends.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plotting.plot_curves import interval_notes, spread_of
from bench.plotting.plot_data import data
from bench.plotting.plot_labels import REFERENCE_LINE, backend_rows, reference_handle
from bench.plotting.plot_series import Curve
from bench.plotting.plot_style import (
    LOG_RATIO,
    colour,
    frame_ticks,
    line,
    logarithmic,
    marker,
    sheet,
    style,
)
from bench.results.analysis import Tables
from bench.units import Unit, significant, unit_for

OVERLAY_KINDS: Final = ("time", "speedup")

LARGEST: Final = 1e300
"""Of an axis: matplotlib takes no infinite one, and a journal may hold any finite time."""

_TIMES: Final = Unit(name="×", scale=1.0)


@dataclass(frozen=True, kw_only=True)
class OverlaidRun:
    """A run as these figures need it; its name tells it from the others."""

    name: str
    baseline: str
    tables: Tables


@dataclass(frozen=True, kw_only=True)
class OverlaidCurve:
    """A backend's medians in one run."""

    run: int  # its place among the runs
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """All that one figure shows: every run's curves of one input, batch and size."""

    kind: str  # OVERLAY_KINDS
    input: str
    batch: int
    height: int
    width: int
    runs: tuple[str, ...]
    backends: tuple[str, ...]  # of all runs and figures: a backend's place decides its colour
    baselines: tuple[str, ...]  # of the runs that have a curve here
    curves: tuple[OverlaidCurve, ...]  # never empty

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(sorted({point.frames for item in self.curves for point in item.curve.points}))


def overlays(kind: str, runs: Sequence[OverlaidRun]) -> list[Overlay]:
    """A figure per (input, batch, height, width) at which any run has a curve, in the order of the data.

    The baseline's speedup over itself is left out: it is the line at 1.
    """
    found: dict[tuple[str, int, int, int], list[OverlaidCurve]] = {}
    for place, run in enumerate(runs):
        for group in data(kind, run.tables):
            curves = [
                OverlaidCurve(run=place, curve=series)
                for series in group.series
                if isinstance(series, Curve) and not (kind == "speedup" and series.backend == run.baseline)
            ]
            found.setdefault((group.input, group.batch, group.height, group.width), []).extend(curves)
    backends = tuple(dict.fromkeys(name for run in runs for name in run.tables.cells["backend"]))
    return [
        Overlay(
            kind=kind,
            input=input_,
            batch=batch,
            height=height,
            width=width,
            runs=tuple(run.name for run in runs),
            backends=backends,
            baselines=tuple(dict.fromkeys(runs[item.run].baseline for item in curves)),
            curves=tuple(sorted(curves, key=lambda item: (backends.index(item.curve.backend), item.run))),
        )
        for (input_, batch, height, width), curves in found.items()
        if curves
    ]


def overlay_figure(overlay: Overlay) -> Figure:
    """The figure; save it inside `plot_style.style()`."""
    with style():
        curves = [item.curve for item in overlay.curves]
        if overlay.kind == "time":
            unit = unit_for(point.value for curve in curves for point in curve.points)
            title, label = "Time", f"time ({unit.name})"
        else:
            unit = _TIMES
            over = overlay.baselines[0] if len(overlay.baselines) == 1 else "each run's baseline"
            title, label = f"Speedup over {over}", "speedup (×)"
        few = len(overlay.frames) == 1
        place = f"{overlay.input}, {overlay.height}×{overlay.width}, batch {overlay.batch}"
        legend: list[tuple[Any, str]] = [] if few else [_entry(overlay, item) for item in overlay.curves]
        if overlay.kind == "speedup":
            legend.insert(0, (reference_handle(), "baseline"))
        drawn = sheet(
            title=f"{title}: {place}" + (f", t={overlay.frames[0]}" if few else ""),
            legend=legend,
            notes=interval_notes(curves),
            axes_height_in=0.75 + 0.45 * len(curves) if few else 3.7,
        ).figure
        (_rows if few else _lines)(drawn.add_subplot(), overlay, unit, label)
        return drawn


def _entry(overlay: Overlay, item: OverlaidCurve) -> tuple[Line2D, str]:
    look = {"color": _colour(overlay, item), "linestyle": line(item.run), "marker": marker(item.run)}
    return Line2D([], [], **look), _name(overlay, item)


def _name(overlay: Overlay, item: OverlaidCurve) -> str:
    return f"{overlay.runs[item.run]}: {item.curve.backend}"


def _colour(overlay: Overlay, item: OverlaidCurve) -> str:
    return colour(overlay.backends.index(item.curve.backend))


def _extent(overlay: Overlay, unit: Unit) -> tuple[float, float]:
    values = [
        value / unit.scale
        for item in overlay.curves
        for point in item.curve.points
        for value in (point.value, point.low, point.high)
        if value is not None
    ] + ([1.0] if overlay.kind == "speedup" else [])
    return min(values), max(values)


def _lines(axes: Axes, overlay: Overlay, unit: Unit, label: str) -> None:
    if overlay.kind == "speedup":
        axes.axhline(1, **REFERENCE_LINE)
    for item in overlay.curves:
        points = item.curve.points
        frames = [point.frames for point in points]
        low, high = (
            [math.nan if bound is None else bound / unit.scale for bound in bounds]
            for bounds in ([point.low for point in points], [point.high for point in points])
        )
        tint = _colour(overlay, item)
        axes.fill_between(frames, low, high, color=tint, alpha=0.15, linewidth=0)
        axes.vlines(frames, low, high, color=tint, linewidth=1)
        axes.plot(
            frames,
            [point.value / unit.scale for point in points],
            color=tint,
            linestyle=line(item.run),
            marker=marker(item.run),
        )
    lowest, highest = _extent(overlay, unit)
    if spread_of([item.curve for item in overlay.curves]) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, lowest, highest)
    else:
        axes.set_ylim(0, highest * 1.06)
    frame_ticks(axes, overlay.frames)
    axes.set_xlabel("frames")
    axes.set_ylabel(label)


def _rows(axes: Axes, overlay: Overlay, unit: Unit, label: str) -> None:
    """One frame count: a row per run and backend."""
    if overlay.kind == "speedup":
        axes.axvline(1, **REFERENCE_LINE)
    for row, item in enumerate(overlay.curves):
        (point,) = item.curve.points
        value = point.value / unit.scale
        low, high = (value if bound is None else bound / unit.scale for bound in (point.low, point.high))
        axes.errorbar(
            value,
            row,
            xerr=[[value - low], [high - value]],
            color=_colour(overlay, item),
            marker=marker(item.run),
            markersize=7,
            elinewidth=1.5,
            capsize=3,
        )
        said = f"{significant(value)}{'' if unit is _TIMES else ' '}{unit.name}"
        axes.annotate(said, (high, row), xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5)
    lowest, highest = _extent(overlay, unit)
    if spread_of([item.curve for item in overlay.curves]) > LOG_RATIO:
        logarithmic(axes, axes.xaxis, lowest, highest)
        axes.set_xlim(lowest / 1.25, min(highest * (highest / lowest) ** 0.17, LARGEST))
    else:
        axes.set_xlim(0, min(highest * 1.2, LARGEST))
    backend_rows(axes, [_name(overlay, item) for item in overlay.curves])
    axes.set_xlabel(label)
