"""Curves of a quantity along the axes of the grid: a column of panels per axis that varies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bench.plotting.axes import BATCH, SIZE, Panel
from bench.plotting.groups import Labels
from bench.plotting.sheet import LOG_RATIO, WIDTH_IN, logarithmic, series
from bench.plotting.style import cut
from bench.results.tables import rows_of

LONG_RATIO: Final = 20.0
"""Clips whose lengths are further apart than this get a logarithmic axis of frames."""

TITLE_IN: Final = 0.36
"""Height of a panel's title, of two lines."""

_SAME_PIXELS: Final = 1.03
"""Sizes whose pixels differ by less would lie on each other: they get places at equal distances."""

_CHARACTER_IN: Final = 0.075
_LINE_IN: Final = 0.16
_TILT: Final = 40.0  # degrees


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The horizontal positions of a panel's rows, and the labels at them."""

    at: pd.Series
    ticks: Mapping[float, str]
    is_log: bool
    is_even: bool = False  # not by value


def scale_of(panel: Panel, *, log: bool = False, even: bool = False) -> Scale:
    """Return where a panel's rows lie on its axis: by value, sizes by pixels where those tell them apart.

    With `log` the axis is logarithmic in any case, otherwise where its values are far apart; `even` puts its
    values at equal distances.
    """
    rows, axis = panel.rows, panel.axis
    by_value = rows[list(axis.columns)].astype(float).prod(axis="columns")
    ordered = rows.assign(at=by_value).sort_values(["at", *axis.columns])
    unique = ordered.drop_duplicates([*axis.columns])
    values = list(unique["at"])
    if even or (axis is SIZE and any(after < _SAME_PIXELS * before for before, after in pairwise(values))):
        places = {tuple(row): float(place) for place, row in enumerate(unique[list(axis.columns)].values)}
        at = rows[list(axis.columns)].apply(lambda row: places[tuple(row)], axis="columns").astype(float)
        ticks = dict(zip(places.values(), map(axis.tick, rows_of(unique)), strict=True))
        return Scale(at=at, ticks=ticks, is_log=False, is_even=not even)
    ticks = dict(zip(values, map(axis.tick, rows_of(unique)), strict=True))
    far = axis in (SIZE, BATCH) or values[-1] > LONG_RATIO * values[0]
    return Scale(at=by_value, ticks=ticks, is_log=log or far)


def grid(figure: Figure, rows: int, shown: Sequence[Panel], title_pad: float = 6) -> list[list[Axes]]:
    """Return axes by row, a column per panel; those of a row have one vertical axis."""
    drawn = figure.subplots(rows, len(shown), sharey="row", sharex="col", squeeze=False)
    for axes, panel in zip(drawn[0], shown, strict=True):
        if len(shown) > 1:
            axes.set_title(panel.title, fontsize=8.5, pad=title_pad)
    for axes, panel in zip(drawn[-1], shown, strict=True):
        axes.set_xlabel(panel.axis.label)
    return [list(row) for row in drawn]


def room_for_names(figure: Figure) -> None:
    """Leave room between rows of panels for a name above each, which may be wider than a panel."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(h_pad=0.11)


def name_above(axes: Axes, name: str) -> None:
    """Write a name above a row of panels, whose first is given."""
    axes.annotate(
        cut(name), (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
        fontsize=8.5, fontweight="bold", in_layout=False,
    )  # fmt: skip


def curves(axes: Axes, panel: Panel, labels: Labels, scale: Scale) -> None:
    """Draw `value` as a line per series, with the band from `low` to `high` where the rows have them."""
    rows = panel.rows.assign(at=scale.at).sort_values("at", kind="stable").dropna(subset=["value"])
    names = list(dict.fromkeys(panel.rows["label"]))
    rows = rows.loc[rows["label"].map(names.index).sort_values(kind="stable").index]
    for one in series(rows, labels):
        at, tint = one.rows["at"], one.look["color"]
        if "low" in one.rows:
            axes.fill_between(at, one.rows["low"], one.rows["high"], color=tint, alpha=0.18, linewidth=0)
            # Where only one of two neighbours has an interval there is no band.
            axes.vlines(at, one.rows["low"], one.rows["high"], color=tint, linewidth=1)
        axes.plot(at, one.rows["value"], **one.look)


def set_scale(axes: Axes, scale: Scale, columns: int) -> None:
    """Set a panel's horizontal axis, with labels at measured values, less those that would touch others."""
    if scale.is_even and axes.get_xlabel():
        axes.set_xlabel(f"{axes.get_xlabel()} (at even steps)")
    first, last = min(scale.ticks), max(scale.ticks)
    if scale.is_log:
        logarithmic(axes, axes.xaxis, first, last)
    else:
        room = max(0.06 * (last - first), 0.5)
        axes.set_xlim(first - room, last + room)
    inches = (WIDTH_IN - 0.75) / columns - 0.2
    position = {at: inches * _fraction(axes, at) for at in scale.ticks}
    longest = max(map(len, scale.ticks.values())) * _CHARACTER_IN + 0.06
    places = sorted(scale.ticks)
    gaps = [position[after] - position[before] for before, after in pairwise(places)]
    is_tilted = min(gaps, default=inches) < longest and not all(map(str.isdecimal, scale.ticks.values()))
    apart = _LINE_IN if is_tilted else longest
    kept: list[float] = []
    for at in reversed(places):
        if not kept or position[kept[-1]] - position[at] >= apart:
            kept.append(at)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FixedFormatter([scale.ticks[at] for at in kept]))
    axes.xaxis.set_minor_locator(NullLocator())
    if is_tilted:
        axes.tick_params(axis="x", rotation=_TILT)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def _fraction(axes: Axes, at: float) -> float:
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        low, at, high = map(math.log, (low, at, high))
    return (at - low) / (high - low)


def is_far(table: pd.DataFrame, value: str = "value") -> bool:
    """Return whether the small values of a shape would lie on the floor of a linear axis.

    Growth along an axis is no reason for a logarithmic one: it would bend what is straight.
    """
    of_shape = table.groupby(["frames", "height", "width", "batch"])[value]
    return bool((of_shape.max() / of_shape.min()).max() > LOG_RATIO)
