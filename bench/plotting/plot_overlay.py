"""Several runs in one figure: a curve per run and backend, of times, speedups or speed over one reference.

A backend has one colour in all runs, a run has one line and marker over all its backends. More curves than a
figure can tell apart go on in another one with the same axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.grid.baseline import Baseline
from bench.plotting.plot_curves import interval_notes, spread_of
from bench.plotting.plot_data import data
from bench.plotting.plot_labels import REFERENCE_LINE, backend_rows, reference_handle
from bench.plotting.plot_series import Curve
from bench.plotting.plot_style import (
    LOG_RATIO,
    MARKERS,
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

RELATIVE: Final = "relative"
"""A kind whose curves come from more than one run (bench.reporting.side_by_side_relative)."""

DRAWN: Final = 8
"""Curves in one figure; more go on in another."""

LARGEST: Final = 1e300
"""Of an axis: matplotlib takes no infinite one, and a journal may hold any finite time."""

_TIMES: Final = Unit(name="×", scale=1.0)


@dataclass(frozen=True, kw_only=True)
class OverlaidRun:
    """A run as these figures need it; its name tells it from the others."""

    name: str
    baseline: Baseline
    tables: Tables


@dataclass(frozen=True, kw_only=True)
class OverlaidCurve:
    """A backend's medians in one run."""

    run: int  # its place among the runs
    curve: Curve
    said: str = ""  # behind its name, where that does not tell all


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """All that one figure shows: runs' curves of one input, batch and size."""

    kind: str  # OVERLAY_KINDS or RELATIVE
    subject: str  # network and input, as far as the runs have several; empty where it is of all
    batch: int
    height: int
    width: int
    runs: tuple[str, ...]
    backends: tuple[str, ...]  # of all runs and figures: a backend's place decides its colour
    baselines: tuple[str, ...]  # of the runs that have a curve here; the reference where the kind is RELATIVE
    curves: tuple[OverlaidCurve, ...]  # never empty
    part: int = 1
    parts: int = 1
    elsewhere: tuple[OverlaidCurve, ...] = ()  # in the other parts, which have the same axes

    @property
    def on_axes(self) -> tuple[Curve, ...]:
        """What the axes have room for."""
        return tuple(item.curve for item in (*self.curves, *self.elsewhere))

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(sorted({point.frames for curve in self.on_axes for point in curve.points}))


def overlays(kind: str, runs: Sequence[OverlaidRun]) -> list[Overlay]:
    """A figure per (network, input, batch, height, width) at which any run has a curve, in the order of the
    data; several where there are more curves than DRAWN.

    The baseline's speedup over itself is left out: it is the line at 1.
    """
    found: dict[tuple[str, int, int, int], list[OverlaidCurve]] = {}
    models = {name for run in runs for name in run.tables.cells["model"]}
    for place, run in enumerate(runs):
        for group in data(kind, run.tables):
            curves = [
                OverlaidCurve(run=place, curve=series)
                for series in group.series
                if isinstance(series, Curve) and not (kind == "speedup" and series.is_unit)
            ]
            subject = group.input if len(models) == 1 else f"{group.model}, {group.input}"
            found.setdefault((subject, group.batch, group.height, group.width), []).extend(curves)
    backends = tuple(dict.fromkeys(name for run in runs for name in run.tables.cells["backend"]))
    whole = [
        Overlay(
            kind=kind,
            subject=subject,
            batch=batch,
            height=height,
            width=width,
            runs=tuple(run.name for run in runs),
            backends=backends,
            baselines=tuple(dict.fromkeys(str(runs[item.run].baseline) for item in curves)),
            curves=tuple(curves),
        )
        for (subject, batch, height, width), curves in found.items()
        if curves
    ]
    return [part for overlay in whole for part in in_parts(overlay)]


def in_parts(overlay: Overlay) -> list[Overlay]:
    """The figure, or several of DRAWN curves at most; the curves of each by backend, then by run.

    A run's curves stay together where they fit, and runs in one figure differ in their markers.
    """
    by_run: dict[int, list[OverlaidCurve]] = {}
    for item in sorted(overlay.curves, key=lambda item: item.run):
        by_run.setdefault(item.run, []).append(item)
    parts: list[list[OverlaidCurve]] = []
    for run, own in by_run.items():
        beside = parts[-1] if parts else []
        if (
            not beside
            or len(beside) + len(own) > DRAWN
            or any((run - other.run) % len(MARKERS) == 0 for other in beside)
        ):
            parts += [own[start : start + DRAWN] for start in range(0, len(own), DRAWN)]
        else:
            beside += own
    return [
        replace(
            overlay,
            curves=tuple(
                sorted(own, key=lambda item: (overlay.backends.index(item.curve.backend), item.run))
            ),
            part=number,
            parts=len(parts),
            elsewhere=tuple(item for other in parts if other is not own for item in other),
        )
        for number, own in enumerate(parts, start=1)
    ]


def overlay_figure(overlay: Overlay) -> Figure:
    """The figure; save it inside `plot_style.style()`."""
    with style():
        curves = [item.curve for item in overlay.curves]
        if overlay.kind == "time":
            unit = unit_for(point.value for curve in overlay.on_axes for point in curve.points)
            title, label = "Time", f"time ({unit.name})"
        elif overlay.kind == RELATIVE:
            unit = _TIMES
            title, label = f"Speed relative to {overlay.baselines[0]}", "relative speed (×)"
        else:
            unit = _TIMES
            over = overlay.baselines[0] if len(overlay.baselines) == 1 else "each run's baseline"
            title, label = f"Speedup over {over}", "speedup (×)"
        few = len(overlay.frames) == 1
        place = ", ".join(
            [
                *([overlay.subject] if overlay.subject else []),
                f"{overlay.height}×{overlay.width}",
                f"batch {overlay.batch}",
                *([f"t={overlay.frames[0]}"] if few else []),
            ]
        )
        part = f" ({overlay.part} of {overlay.parts})" if overlay.parts > 1 else ""
        legend: list[tuple[Any, str]] = [] if few else [_entry(overlay, item) for item in overlay.curves]
        if overlay.kind != "time":
            said = f"reference: {overlay.baselines[0]}" if overlay.kind == RELATIVE else "baseline"
            legend.insert(0, (reference_handle(), said))
        drawn = sheet(
            title=f"{title}: {place}{part}",
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
    return f"{overlay.runs[item.run]}: {item.curve.backend}{item.said}"


def _colour(overlay: Overlay, item: OverlaidCurve) -> str:
    return colour(overlay.backends.index(item.curve.backend))


def _extent(overlay: Overlay, unit: Unit) -> tuple[float, float]:
    values = [
        value / unit.scale
        for curve in overlay.on_axes
        for point in curve.points
        for value in (point.value, point.low, point.high)
        if value is not None
    ] + ([] if overlay.kind == "time" else [1.0])
    return min(values), max(values)


def _lines(axes: Axes, overlay: Overlay, unit: Unit, label: str) -> None:
    if overlay.kind != "time":
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
    if spread_of(overlay.on_axes) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, lowest, highest)
    else:
        axes.set_ylim(0, highest * 1.06)
    margin = 0.05 * (overlay.frames[-1] - overlay.frames[0])
    axes.set_xlim(overlay.frames[0] - margin, overlay.frames[-1] + margin)
    frame_ticks(axes, overlay.frames)
    axes.set_xlabel("frames")
    axes.set_ylabel(label)


def _rows(axes: Axes, overlay: Overlay, unit: Unit, label: str) -> None:
    """One frame count: a row per run and backend."""
    if overlay.kind != "time":
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
        axes.annotate(
            said,
            (high, row),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},  # the line at 1 may be behind it
        )
    lowest, highest = _extent(overlay, unit)
    if spread_of(overlay.on_axes) > LOG_RATIO:
        logarithmic(axes, axes.xaxis, lowest, highest)
        axes.set_xlim(lowest / 1.25, min(highest * (highest / lowest) ** 0.17, LARGEST))
    else:
        axes.set_xlim(0, min(highest * 1.2, LARGEST))
    backend_rows(axes, [_name(overlay, item) for item in overlay.curves])
    axes.set_xlabel(label)
