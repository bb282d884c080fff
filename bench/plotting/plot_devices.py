"""Devices beside each other in one figure: a bar per backend, grouped by run and device.

Each bar has its backend's name before it and its figure behind it, so that nothing is told by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from bench.plotting.plot_style import GREY, LOG_RATIO, colour, logarithmic, plain, sheet, style

GROUPS: Final = 12
"""Devices in one figure; more go on in another."""

LABELLED_RATIO: Final = 60.0
"""Rates further apart than this have ticks at powers of ten alone."""

_BAR_IN: Final = 0.175
_HEADER_IN: Final = 0.27
_LABEL_CHARACTERS: Final = 34
_HEADER_CHARACTERS: Final = 80
_REFERENCE: Final[dict[str, Any]] = {
    "color": "black",
    "linewidth": 1.2,
    "linestyle": (0, (4, 2)),
    "zorder": 3,
}


@dataclass(frozen=True, kw_only=True)
class DeviceBar:
    """A backend's frames per second, or how it ended instead."""

    label: str
    backend: int  # its place among all backends: it decides the colour
    per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    said: str  # what stands behind the bar
    is_reference: bool


@dataclass(frozen=True, kw_only=True)
class DeviceGroup:
    """A device of a run."""

    title: str
    bars: tuple[DeviceBar, ...]  # never empty


@dataclass(frozen=True, kw_only=True)
class DevicesPlot:
    """All that one figure shows."""

    stem: str  # of its file
    title: str
    groups: tuple[
        DeviceGroup, ...
    ]  # GROUPS at most; at least one bar of them, or of the reference, has a rate
    reference: str  # its name; empty without one
    reference_per_s: float | None
    notes: tuple[str, ...]


def devices_figure(plot: DevicesPlot) -> Figure:
    """The figure; save it inside `plot_style.style()`."""
    with style():
        values = _values(plot)
        is_log = max(values) / min(values) > LOG_RATIO
        notes = [*plot.notes]
        if is_log:
            notes.append("The axis is logarithmic: compare where bars end, not how long they are.")
        bars = sum(len(group.bars) for group in plot.groups)
        drawn = sheet(
            title=plot.title,
            legend=[(Line2D([], [], **_REFERENCE), f"reference: {plot.reference}")]
            if plot.reference_per_s is not None
            else [],
            notes=notes,
            axes_height_in=0.55 + _BAR_IN * bars + _HEADER_IN * len(plot.groups),
        ).figure
        axes = drawn.add_subplot()
        _scale(axes, values, is_log)
        _bars(axes, plot.groups)
        if plot.reference_per_s is not None:
            axes.axvline(plot.reference_per_s, **_REFERENCE)
        return drawn


def _values(plot: DevicesPlot) -> list[float]:
    bars = [bar for group in plot.groups for bar in group.bars]
    rates = [value for bar in bars for value in (bar.per_s, bar.low_per_s, bar.high_per_s)]
    return [value for value in (plot.reference_per_s, *rates) if value is not None]


def _scale(axes: Axes, values: Sequence[float], is_log: bool) -> None:
    lowest, highest = min(values), max(values)
    if is_log:
        logarithmic(axes, axes.xaxis, lowest, highest)
        # Room for the figures behind the bars; over so many decades there is none for labels between powers.
        axes.set_xlim(lowest / 2, highest * (highest / lowest) ** 0.38)
        if highest / lowest > LABELLED_RATIO:
            axes.xaxis.set_major_locator(LogLocator(subs=(1,)))
    else:
        axes.set_xlim(0, highest * 1.4)
    axes.set_xlabel("frames per second" + (" (logarithmic)" if is_log else ""))


def _bars(axes: Axes, groups: Sequence[DeviceGroup]) -> None:
    """From the top down, each group below its title; the unit of the vertical axis is an inch."""
    left = axes.get_xlim()[0]
    at, ticks, labels = 0.0, [], []
    for group in groups:
        axes.annotate(
            _cut(plain(group.title), _HEADER_CHARACTERS),
            (0, at + 0.62 * _HEADER_IN),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
        at += _HEADER_IN
        for bar in group.bars:
            middle = at + _BAR_IN / 2
            ticks.append(middle)
            labels.append(_cut(plain(bar.label), _LABEL_CHARACTERS))
            _bar(axes, bar, middle, left)
            at += _BAR_IN
    axes.set_yticks(ticks, labels)
    axes.set_ylim(at + 0.05, 0)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _bar(axes: Axes, bar: DeviceBar, middle: float, left: float) -> None:
    end = left
    if bar.per_s is not None:
        axes.barh(
            middle,
            bar.per_s - left,
            left=left,
            height=0.74 * _BAR_IN,
            color=colour(bar.backend),
            edgecolor="black" if bar.is_reference else "none",
            linewidth=1.0,
            zorder=2,
        )
        end = bar.per_s
    if bar.per_s is not None and bar.low_per_s is not None and bar.high_per_s is not None:
        axes.errorbar(
            bar.per_s,
            middle,
            xerr=[[bar.per_s - bar.low_per_s], [bar.high_per_s - bar.per_s]],
            fmt="none",
            ecolor="black",
            elinewidth=1.0,
            capsize=2,
            zorder=4,
        )
        end = bar.high_per_s
    axes.annotate(
        bar.said,
        (end, middle),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color="black" if bar.per_s is not None else GREY,
        fontweight="bold" if bar.is_reference else "normal",
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
    )


def _cut(text: str, characters: int) -> str:
    """The text, its middle left out where it is too long: names of backends often differ at their end."""
    if len(text) <= characters:
        return text
    end = characters // 2 - 1
    return f"{text[: characters - 1 - end]}…{text[-end:]}"
