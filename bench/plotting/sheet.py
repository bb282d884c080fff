"""Parts that all figures share: a sheet with a title, a legend and notes, its series and its axes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.plotting.groups import Labels
from bench.plotting.style import DPI, GREY, backend_places, cut, line_look, plain, wrapped
from bench.units import significant

WIDTH_IN: Final = 6.8

NOTES: Final = 3
"""Reasons for cells not shown that a figure names; the report names all."""

LOG_RATIO: Final = 10.0
"""Values further apart than this get a logarithmic axis: on a linear one the small ones lie on the floor."""

_CHARACTER_IN: Final = 0.066  # mean width of a character at the legend's and the notes' size

Legend = Sequence[tuple[Artist, str]]


def sheet(
    labels: Labels,
    what: str,
    place: str,
    *,
    legend: Legend,
    notes: Sequence[str] = (),
    axes_height_in: float,
    head_height_in: float = 0.0,
) -> Figure:
    """Return a figure with its title, legend and notes in place, and room for axes.

    The title stands above, with the place in the grid of all that is shown; the legend, in as many columns
    as fit, and the notes below, with what is not shown. Nothing overlaps, because the figure's height follows
    from the rows. Axes that matplotlib lays out (`figure.add_subplot`) are as high as given, however much
    room the rest needs; above them the head is left for axes that are placed by hand, which the labels of the
    others cannot push about.
    """
    of = ", ".join(filter(None, (labels.subject, place)))
    title = ": ".join(filter(None, (what, of))) + (f" ({labels.part})" if labels.part else "")
    title_text = textwrap.fill(plain(title), int(WIDTH_IN / 0.089))
    note_text = "\n".join(
        textwrap.fill(plain(note), int(WIDTH_IN / 0.06), max_lines=3, placeholder=" …")
        for note in (*notes, *_missing(labels))
    )
    names = [cut(name) for _, name in legend]
    longest = max(map(len, names), default=0)
    columns = max(1, min(len(names), int(WIDTH_IN / (longest * _CHARACTER_IN + 0.62))))
    rows = -(-len(names) // columns)
    columns = -(-len(names) // max(1, rows))
    top = 0.16 + 0.19 * (title_text.count("\n") + 1)
    below = 0.14 * (note_text.count("\n") + 1) + 0.06 if note_text else 0.0
    bottom = below + (0.165 * rows + 0.12 if names else 0.0) + 0.04
    height = top + head_height_in + axes_height_in + bottom
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0.004, bottom / height, 0.984, axes_height_in / height))
    )
    figure.text(0.012, 1 - 0.1 / height, title_text, ha="left", va="top", fontsize=10.5, fontweight="bold")
    figure.text(0.012, 0.06 / height, note_text, ha="left", va="bottom", fontsize=7.5, color=GREY)
    if names:
        figure.legend(
            [handle for handle, _ in legend],
            # matplotlib leaves out a label that begins with an underscore.
            [f"\u2009{name}" if name.startswith("_") else name for name in names],
            loc="lower center", bbox_to_anchor=(0.5, below / height), ncols=columns,
            frameon=False, fontsize=8.5, handlelength=2.6, labelspacing=0.35, columnspacing=1.6,
        )  # fmt: skip
    return figure


def _missing(labels: Labels) -> list[str]:
    """Return a line for each reason why cells are not shown."""
    more = len(labels.not_shown) - NOTES
    rest = [f"Not shown for other reasons: {more} more, which the report names."] if more > 0 else []
    return [*(f"Not shown: {line}." for line in labels.not_shown[:NOTES]), *rest]


# Series and stages.


@dataclass(frozen=True, kw_only=True)
class Series:
    """The rows of a label, with a line's colour, style and marker: by backend, and of several runs by run."""

    name: str
    rows: pd.DataFrame
    look: Mapping[str, Any]

    def handle(self, **changes: Any) -> Line2D:
        """Return a line like its own, for the legend."""
        return Line2D([], [], **(dict(self.look) | changes))


def series(table: pd.DataFrame, labels: Labels) -> list[Series]:
    """Return the table by label, in the order of its rows."""
    found = []
    places = backend_places(labels.backends)
    for name, rows in table.groupby("label", sort=False):
        tint = places[rows["backend"].iloc[0]]
        shape = labels.runs.index(rows["run"].iloc[0]) if labels.runs else tint
        found.append(Series(name=str(name), rows=rows, look=line_look(tint, shape)))
    return found


def handles(table: pd.DataFrame, labels: Labels) -> list[tuple[Artist, str]]:
    """Return the legend of a table's series."""
    return [(one.handle(), one.name) for one in series(table, labels)]


Looks = Mapping[str, tuple[str, str]]
"""Colour and hatch by stage."""


def stage_handles(looks: Looks) -> list[tuple[Artist, str]]:
    """Return the legend of stages."""
    return [
        (Patch(facecolor=tint, hatch=hatch, edgecolor="white"), stage)
        for stage, (tint, hatch) in looks.items()
    ]


def stacked(axes: Axes, row: int, widths: Mapping[str, float], looks: Looks, **style: Any) -> float:
    """Draw a bar of stages in a row of backends; return where it ends."""
    left = 0.0
    for stage, width in widths.items():
        tint, hatch = looks[stage]
        axes.barh(row, width, left=left, color=tint, hatch=hatch, edgecolor="white", **style)
        left += width
    return left


# Axes.


def backend_rows(axes: Axes, names: Sequence[str]) -> None:
    """Put backends on the vertical axis, from the top down."""
    axes.set_yticks(range(len(names)), [wrapped(name, 26) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def logarithmic(axes: Axes, axis: Axis, lowest: float, highest: float, *, many: float = 3000.0) -> None:
    """Make the axis logarithmic, with plain numbers at 1, 2 and 5 of each decade.

    They stand at 1 alone where the ends are at least `many` times apart.
    """
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    set_scale("log")
    set_limits(lowest / 1.25, highest * 1.25)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest / lowest < many else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))


def whole_ticks(axes: Axes, most: int) -> None:
    """Set ticks at all whole numbers from 1, or at round ones where they are too many to read."""
    few = most <= 12
    axes.xaxis.set_major_locator(FixedLocator(range(1, most + 1)) if few else MaxNLocator(integer=True))
