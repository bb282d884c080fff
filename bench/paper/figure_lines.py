"""Panels of lines, one above the other: an edition's own, and the paper's thin and dashed behind them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from bench.paper.editions import Role
from bench.paper.figure_panels import ROLES
from bench.plotting.plot_labels import REFERENCE_LINE
from bench.plotting.plot_style import (
    GREY,
    LOG_RATIO,
    colour,
    frame_ticks,
    logarithmic,
    marker,
    sheet,
    wrapped,
)

PANEL_HEIGHT_IN: Final = 2.35
HEADING_WIDTH: Final = 97
"""Characters of a panel's heading in one line."""

HEADING_LEFT: Final = 0.012
"""Share of the figure's width; where its title and its notes begin."""

HEADING_PAD_PT: Final = 4.0

_MARKED: Final = 24
"""Points up to which each gets its marker; the paper's longest series in frames has 21."""

_MARKER_SPACE: Final = 0.08
"""Between the markers of a line of more points, as a share of the panel's diagonal."""

_THEIRS: Final[dict[str, Any]] = {
    "linestyle": (0, (4, 2)),
    "linewidth": 0.8,
    "color": "#888888",
    "zorder": 1.8,
}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A line: of a backend, or of one of its processes."""

    role: Role
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float | None, ...] = ()  # like y, or empty
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LinePanel:
    heading: str
    own: tuple[Trace, ...]
    theirs: tuple[Trace, ...] = ()  # the paper's


def lines_figure(
    drawn: Sequence[LinePanel],
    *,
    title: str,
    labels: Mapping[Role, str],
    x_label: str,
    y_label: str,
    notes: Iterable[str],
    unit_line: bool = False,
    counts: bool = True,
    may_be_logarithmic: bool = True,
) -> Figure:
    """The panels from the top down, with a line at 1 if asked for.

    With `counts` x is a number of frames or calls.
    A panel that may be is logarithmic where its lines lie further apart than LOG_RATIO; one without series
    behind it, such as the paper's own, is linear like the paper's figure.
    """
    legend = [(handle(role), text) for role, text in labels.items()]
    if any(panel.theirs for panel in drawn):
        legend.append((theirs_handle(), "the paper's, for comparison"))
    figure = sheet(
        title=title, legend=legend, notes=notes, axes_height_in=PANEL_HEIGHT_IN * len(drawn) + 0.2
    ).figure
    rows = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for axes, panel in zip(rows, drawn, strict=True):
        _draw(axes, panel, unit_line=unit_line, may_be_logarithmic=may_be_logarithmic)
        write_heading(axes, panel.heading)
        axes.set_ylabel(y_label)
        # Beside a linear panel a logarithmic one reads as if it were of the same kind.
        if axes.get_yscale() == "log":
            axes.set_ylabel(f"{y_label}, log scale")
        if counts:
            frame_ticks(axes, sorted({int(x) for trace in _all(panel) for x in trace.x}))
    rows[-1].set_xlabel(x_label)
    return figure


def write_heading(axes: Axes, heading: str) -> None:
    """A panel's heading above it, from the figure's edge on: labels of the y axis leave it no less room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    text = wrapped(heading, HEADING_WIDTH, lines=2)
    title = axes.set_title(text, loc="left", fontsize=8.5, x=HEADING_LEFT)
    across = blended_transform_factory(figure.transFigure, axes.transAxes)
    title.set_transform(across + ScaledTranslation(0, HEADING_PAD_PT / 72, figure.dpi_scale_trans))


def with_room(lowest: float, highest: float) -> tuple[float, float]:
    """Limits of a logarithmic axis that leave room for a marker, over however many decades it goes."""
    room = max(1.25, (highest / lowest) ** 0.05)
    return lowest / room, highest * room


def handle(role: Role) -> Line2D:
    place = ROLES.index(role)
    return Line2D([], [], color=colour(place), marker=marker(place))


def theirs_handle(*, joined: bool = True) -> Line2D:
    look = _THEIRS if joined else {"linestyle": ""}
    return Line2D([], [], **look, marker="o", markersize=4, markerfacecolor="white", markeredgecolor=GREY)


def _draw(axes: Axes, panel: LinePanel, *, unit_line: bool, may_be_logarithmic: bool) -> None:
    if unit_line:
        axes.axhline(1, **REFERENCE_LINE)
    for trace in panel.theirs:
        place = ROLES.index(trace.role)
        axes.plot(
            trace.x,
            trace.y,
            **_THEIRS,
            marker=marker(place),
            markersize=3.6,
            markerfacecolor="white",
            markeredgecolor=colour(place),
            markeredgewidth=0.7,
            markevery=_every(trace),
        )
    per_role = max(sum(other.role is trace.role for other in panel.own) for trace in panel.own)
    for trace in panel.own:
        place = ROLES.index(trace.role)
        low, high = (
            [math.nan if bound is None else bound for bound in bounds] for bounds in (trace.low, trace.high)
        )
        if low:
            axes.fill_between(trace.x, low, high, color=colour(place), alpha=0.18, linewidth=0)
            # Where only one of two neighbours has an interval there is no band.
            axes.vlines(trace.x, low, high, color=colour(place), linewidth=1)
        axes.plot(
            trace.x,
            trace.y,
            color=colour(place),
            marker=marker(place),
            markersize=4.5 if per_role == 1 else 3,
            linewidth=1.4 if per_role == 1 else 0.7,
            alpha=1 if per_role == 1 else 0.7,
            markevery=_every(trace),
        )
    values = [value for trace in _all(panel) for value in trace.y]
    values += [b for trace in _all(panel) for b in (*trace.low, *trace.high) if b is not None]
    values += [1.0] if unit_line else []
    if may_be_logarithmic and panel.theirs and min(values) > 0 and _apart(_all(panel)) > LOG_RATIO:
        logarithmic(axes, axes.yaxis, min(values), max(values))
        axes.set_ylim(*with_room(min(values), max(values)))
    else:
        axes.set_ylim(min(0.0, *values) * 1.06, max(values) * 1.06 or 1.0)


def _all(panel: LinePanel) -> list[Trace]:
    return [*panel.own, *panel.theirs]


def _every(trace: Trace) -> int | float:
    return 1 if len(trace.x) <= _MARKED else _MARKER_SPACE


def _apart(traces: Sequence[Trace]) -> float:
    """How many times the highest line is the lowest: the middle over all x, so that one odd point is none."""
    at: dict[float, list[float]] = {}
    for trace in traces:
        for x, y in zip(trace.x, trace.y, strict=True):
            at.setdefault(x, []).append(y)
    ratios = [max(values) / min(values) for values in at.values() if len(values) > 1]
    if not ratios:
        middles = [median(trace.y) for trace in traces]
        ratios = [max(middles) / min(middles)]
    return median(ratios)
