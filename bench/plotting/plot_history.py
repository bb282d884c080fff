"""The figure `history`: a cell's time run after run, its levels, and the steps between them.

A panel per series, for each has a scale of its own; all panels of a figure share their runs. Runs are equally
spaced: they come in bursts, and on an axis of time those of one afternoon would lie on each other.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from bench.history.reading import PastRun
from bench.history.series import History, Series
from bench.plotting.plot_style import GREY, colour, plain, sheet, style
from bench.statistics.steps import Step
from bench.units import unit_for, with_unit

PANELS: Final = 6
"""Of one figure; more series are in further ones."""

PANEL_IN: Final = 1.25
LABELLED: Final = 8
"""Runs whose date and commit stand below; of more, every second, third, ... one."""

NAME_ROOM: Final = 0.075
"""Of a panel's width, that the name of a step takes: of steps closer together the largest is named."""

MANY: Final = 40
"""Runs in a figure whose points would touch at their usual size."""

LEAST_S: Final = 1e-9
MOST_S: Final = 1e6
"""A figure beyond these is damage, and is told with an exponent."""

LEAST_ROOM: Final = 0.04
"""Of a level: no scale is finer, on which noise would look like steps."""

_POINT: Final = colour(0)
_LEVEL: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.8, "solid_capstyle": "butt", "zorder": 3}
_STEP: Final[dict[str, Any]] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1.5}
_APART: Final[dict[str, Any]] = {"marker": "X", "markerfacecolor": "white", "markeredgecolor": colour(1)}
_LATE: Final[dict[str, Any]] = {"marker": "D", "markerfacecolor": "white", "markeredgecolor": _POINT}


@dataclass(frozen=True, kw_only=True)
class HistoryGroup:
    """All that one figure shows: series of one machine, input, batch and size."""

    machine: str
    series: tuple[Series, ...]  # never empty
    part: int  # of `parts` figures with these in common, from 1
    parts: int
    name: str  # of its file, without an ending

    @property
    def runs(self) -> tuple[int, ...]:
        """The runs that any of the series has, in time order."""
        return tuple(sorted({point.run for series in self.series for point in series.points}))


def history_groups(history: History) -> list[HistoryGroup]:
    """The figures of a history, in the order of its series. One run is no history, and not drawn."""
    places: dict[tuple[str, str, int, int, int], list[Series]] = {}
    for series in history.series:
        figure = series.figure
        if len(series.points) > 1:
            place = (figure.machine, figure.input, figure.batch, figure.height, figure.width)
            places.setdefault(place, []).append(series)
    groups: list[HistoryGroup] = []
    for (machine, *_), found in places.items():
        parts = -(-len(found) // PANELS)
        size = -(-len(found) // parts)
        groups += [
            HistoryGroup(
                machine=machine,
                series=tuple(found[size * part : size * (part + 1)]),
                part=part + 1,
                parts=parts,
                name=f"history-{len(groups) + part + 1:02}-{_file_name(found[0].figure.input)}",
            )
            for part in range(parts)
        ]
    return groups


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:40].strip("._-") or "input"


def history_figure(group: HistoryGroup, runs: Sequence[PastRun]) -> Figure:
    """The figure; save it inside `plot_style.style()`. `runs` are those of the history."""
    with style():
        shown = group.runs
        first = group.series[0].figure
        of = f" ({group.part} of {group.parts})" if group.parts > 1 else ""
        drawn = sheet(
            title=f"{first.input}, {first.height}×{first.width}, batch {first.batch}, run after run{of}",
            legend=list(_legend(group)),
            notes=[f"On {group.machine}.", *_notes(group)],
            axes_height_in=0.55 + PANEL_IN * len(group.series),
        ).figure
        panels = drawn.subplots(len(group.series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, series in zip(panels, group.series, strict=True):
            _draw(axes, series, shown)
        _run_ticks(panels[-1], [runs[number] for number in shown])
        return drawn


def series_name(series: Series) -> str:
    """Of a panel or a row: the cell without what all series of its group share."""
    figure = series.figure
    frames = "1 frame" if figure.frames == 1 else f"{figure.frames} frames"
    more = f", settings {series.settings}" if series.settings > 1 else ""
    return f"{figure.backend}, {frames}{more}"


def percent(ratio: float) -> str:
    """A ratio of times as it is spoken of: +12 %, −3.4 %; in times where it is more than three."""
    if ratio >= 3 or ratio <= 1 / 3:
        return f"×{ratio:.3g}"
    change = 100 * (ratio - 1)
    digits = 0 if abs(change) >= 9.95 else 1
    return f"{change:+.{digits}f} %".replace("-", "−")


def _legend(group: HistoryGroup) -> Iterator[tuple[Line2D, str]]:
    intervals = any(point.summary.low is not None for series in group.series for point in series.points)
    said = "a run's median and 95 % interval" if intervals else "a run's median"
    yield Line2D([], [], color=_POINT, linewidth=1, marker="o"), said
    yield Line2D([], [], **_LEVEL), "level"
    if any(series.steps.steps for series in group.series):
        yield Line2D([], [], **_STEP), "step"
    if any(series.steps.apart for series in group.series):
        yield Line2D([], [], linestyle="", **_APART), "stands apart: counts for no level"
    if any(series.steps.untellable for series in group.series):
        yield Line2D([], [], linestyle="", **_LATE), "differs: not yet tellable"


def _notes(group: HistoryGroup) -> list[str]:
    shown = group.runs
    crowded = any(len(_named(series, shown)) < len(series.steps.steps) for series in group.series)
    return ["Runs are equally spaced, whatever the time between them. Scales do not begin at 0."] + (
        ["Where steps lie close together the largest is named; the page has all."] if crowded else []
    )


def _draw(axes: Axes, series: Series, shown: Sequence[int]) -> None:
    unit = unit_for(point.summary.median for point in series.points)
    at = {run: place for place, run in enumerate(shown)}
    x = [at[point.run] for point in series.points]
    y = [point.summary.median / unit.scale for point in series.points]
    low, high = (
        [math.nan if bound is None or not math.isfinite(bound) else bound / unit.scale for bound in bounds]
        for bounds in (
            [point.summary.low for point in series.points],
            [point.summary.high for point in series.points],
        )
    )
    many = len(shown) > MANY
    axes.vlines(x, low, high, color=_POINT, linewidth=0.5 if many else 1, alpha=0.55)
    for level in series.steps.levels:
        value = level.value / unit.scale
        above = {"zorder": 5, "linewidth": 1.3} if many else {}  # where points touch they would hide it
        axes.plot([x[level.first] - 0.4, x[level.last] + 0.4], [value, value], **_LEVEL | above)
    late = len(x) if series.steps.untellable is None else series.steps.untellable.first
    apart = series.steps.apart
    counted = [place for place in range(late) if place not in apart]
    told = [y[place] for place in (*counted, *range(late, len(y)))]
    bottom, top = _limits(told, [low[place] for place in counted], [high[place] for place in counted])
    axes.set_ylim(bottom, top)
    for places, look, size in (
        (counted, {"marker": "o"}, 2.5 if many else 4.5),
        (apart, _APART, 5.5),
        (range(late, len(x)), _LATE, 5.0),
    ):
        if not places:  # the layout would make room for a line at infinity
            continue
        axes.plot(
            [x[place] for place in places],
            [min(max(y[place], bottom), top) for place in places],
            color=_POINT, linestyle="", markersize=size, markeredgewidth=0.9, zorder=4, clip_on=False, **look,
        )  # fmt: skip
    for place in apart:
        if not bottom <= y[place] <= top:  # at the edge, since its place would make all others one line
            value = y[place] * unit.scale
            text = with_unit(value) if LEAST_S < value < MOST_S else f"{value:.1e} s"
            _beside(axes, x[place], top if y[place] > top else bottom, text, shown)
    _steps(axes, series, shown)
    axes.set_title(plain(series_name(series)), loc="left", fontsize=8.5, pad=12)
    axes.set_ylabel(unit.name)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(shown) - 0.4)


def _limits(medians: Sequence[float], low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """Room for the medians, and for their intervals unless these are much wider than the medians differ."""
    least, most = min(medians), max(medians)
    room = max(most - least, LEAST_ROOM * most)
    bottom = max(min([value for value in low if not math.isnan(value)], default=least), least - room)
    top = min(max([value for value in high if not math.isnan(value)], default=most), most + room)
    edge = 0.12 * room
    return max(0.0, min(bottom, least) - edge), max(top, most) + edge


def _beside(axes: Axes, x: float, y: float, text: str, shown: Sequence[int]) -> None:
    right = x < 0.85 * len(shown)
    axes.annotate(
        text,
        (x, y),
        xytext=(6 if right else -6, 1),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top" if y == axes.get_ylim()[1] else "bottom",
        fontsize=7.5,
    )


def _steps(axes: Axes, series: Series, shown: Sequence[int]) -> None:
    for step in series.steps.steps:
        axes.axvline(_between(series, step, shown), **_STEP)
    for step in _named(series, shown):
        axes.annotate(
            percent(step.ratio),
            (_between(series, step, shown), 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            fontweight="bold",
        )


def _named(series: Series, shown: Sequence[int]) -> list[Step]:
    """The steps that have room for their names, largest first."""
    named: list[Step] = []
    for step in sorted(series.steps.steps, key=lambda step: -abs(math.log(step.ratio))):
        place = _between(series, step, shown)
        if all(abs(place - _between(series, other, shown)) >= NAME_ROOM * len(shown) for other in named):
            named.append(step)
    return named


def _between(series: Series, step: Step, shown: Sequence[int]) -> float:
    """Where on the axis of runs a step lies."""
    before, after = (shown.index(series.points[place].run) for place in (step.before, step.after))
    return (before + after) / 2


def _run_ticks(axes: Axes, runs: Sequence[PastRun]) -> None:
    """Date and commit below the runs, or below some where they are many."""
    places = range(0, len(runs), -(-len(runs) // LABELLED))
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.set_xticklabels(run_labels([runs[place] for place in places]), fontsize=7)


def run_labels(runs: Sequence[PastRun]) -> list[str]:
    """Date and commit below each other; the time of day, too, where two of the runs have one date."""
    dates = [f"{run.started_at:%Y-%m-%d}" for run in runs]
    clocks = [f"{run.started_at:%H:%M}" if len(set(dates)) < len(dates) else None for run in runs]
    return [
        "\n".join(plain(line) for line in (date, clock, run.short_commit) if line)
        for date, clock, run in zip(dates, clocks, runs, strict=True)
    ]
