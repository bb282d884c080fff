"""One look for all figures: colours, markers, fonts, and a sheet with room for a title, a legend and notes.

matplotlib's own state is left as it was: no pyplot, and its settings change only inside `style()`.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.grid.spans import OTHER
from bench.units import significant
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

FONT: Final = "DejaVu Sans"  # comes with matplotlib, so that a figure is the same on every machine

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
"""Okabe and Ito's, less the yellow that white paper swallows; told apart with any common colour blindness."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final[tuple[Any, ...]] = (
    "-",
    "--",
    "-.",
    (0, (1, 1.2)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (7, 2)),
    (0, (3, 3)),
)
"""Markers and lines tell backends apart where colours cannot: in grey print."""

_STAGE_LOOKS: Final = {
    ALIGNMENT: ("#0072B2", ""),
    PROPAGATION: ("#E69F00", ""),
    AGGREGATION: ("#222222", ""),
    UPSAMPLING: ("#8FD0F5", "////"),
    OTHER: ("#D9D9D9", ""),
}
_MORE_LOOKS: Final = (
    ("#009E73", ""), ("#CC79A7", "////"), ("#4D4D4D", ""), ("#F0E442", ""), ("#D55E00", "////"),
    ("#999999", ""),
)  # fmt: skip
"""Lightness differs between the four stages that networks share; the hatch is for grey print."""

LOG_RATIO: Final = 10.0
"""Values further apart than this get a logarithmic axis: on a linear one the small ones lie on the floor."""

LONG_RATIO: Final = 20.0
"""Clips whose lengths are further apart than this get a logarithmic axis of frames, for the same reason."""

_MOST_TICKS: Final = 12

GREY: Final = "#555555"
WIDTH_IN: Final = 6.8
DPI: Final = 150

_CHARACTER_IN: Final = 0.066  # mean width of a character at the legend's and the notes' size
_STYLE: Final[dict[str, Any]] = {
    "font.family": FONT,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names may hold a dollar sign
    "svg.hashsalt": "vsr-bench",  # otherwise identifiers, and so the file, differ from call to call
    "svg.fonttype": "path",
}


def style() -> AbstractContextManager[None]:
    """Return the settings of all figures, over matplotlib's defaults; they end with the block."""
    return matplotlib.style.context(["default", _STYLE])


def stage_looks(stages: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and hatch of each stage. One that networks do not share has its place's: give all
    stages of a run, so that a stage looks the same in all of its figures."""
    others = [stage for stage in stages if stage not in _STAGE_LOOKS]
    return {
        stage: _STAGE_LOOKS.get(stage) or _MORE_LOOKS[others.index(stage) % len(_MORE_LOOKS)]
        for stage in stages
    }


def colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def line(place: int) -> Any:
    """Return the line style at a place; shifted by one each time that the colours repeat."""
    return LINES[(place + place // len(COLOURS)) % len(LINES)]


def plain(text: str) -> str:
    """Return the text in one line, with `?` for glyphs that the font lacks, of which matplotlib warns."""
    return "".join(char if _drawable(char) else "?" for char in " ".join(text.split()))


def wrapped(text: str, width: int, lines: int = 3) -> str:
    """Break the text after spaces, hyphens and underscores into at most so many lines of that width."""
    # textwrap breaks at hyphens, and never at underscores.
    pieces = re.findall(r"[^ _-]*[ _-]?", plain(text))
    rows = [""]
    for piece in pieces:
        if rows[-1] and len(rows[-1]) + len(piece.rstrip()) > width:
            rows.append("")
        rows[-1] += piece
    rows = [row.strip() for row in rows]
    if len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1][: width - 1] + "…"]
    return "\n".join(rows)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A figure with its title, legend and notes in place, and two areas to draw in.

    Axes that matplotlib lays out (`figure.add_subplot`) fill the lower area; `head` makes axes by hand in
    the upper one, which the labels of the lower one cannot push about.
    """

    figure: Figure
    head_bottom: float  # share of the figure's height
    head_height: float

    def head(
        self, row: int, rows: int, column: int, columns: int, *, above_in: float, below_in: float
    ) -> Axes:
        """Return the axes of one place of a grid over the upper area, with room above and below for text."""
        inch = 1 / self.figure.get_figheight()
        height = self.head_height / rows
        bottom = self.head_bottom + (rows - 1 - row) * height + below_in * inch
        return self.figure.add_axes(
            (column / columns, bottom, 1 / columns, height - (above_in + below_in) * inch)
        )


def sheet(
    *,
    title: str,
    legend: Sequence[tuple[Artist, str]],
    notes: Iterable[str],
    axes_height_in: float,
    head_height_in: float = 0.0,
) -> Sheet:
    """An empty figure whose plotting areas are as high as given, however much room the rest needs.

    The title stands above; the legend, in as many columns as fit, and the notes below. Nothing overlaps,
    because the figure's height follows from the rows.
    """
    title_text = textwrap.fill(plain(title), int(WIDTH_IN / 0.089))
    note_text = "\n".join(
        textwrap.fill(plain(note), int(WIDTH_IN / 0.06), max_lines=3, placeholder=" …") for note in notes
    )
    labels = [textwrap.shorten(plain(label), 70, placeholder="…") for _, label in legend]
    longest = max(map(len, labels), default=0)
    columns = max(1, min(len(labels), int(WIDTH_IN / (longest * _CHARACTER_IN + 0.62))))
    rows = -(-len(labels) // columns)
    top = 0.16 + 0.19 * (title_text.count("\n") + 1)
    below = 0.14 * (note_text.count("\n") + 1) + 0.06 if note_text else 0.0
    bottom = below + (0.165 * rows + 0.12 if labels else 0.0) + 0.04
    height = top + head_height_in + axes_height_in + bottom
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.004, bottom / height, 0.984, axes_height_in / height))
    figure.text(0.012, 1 - 0.1 / height, title_text, ha="left", va="top", fontsize=10.5, fontweight="bold")
    figure.text(0.012, 0.06 / height, note_text, ha="left", va="bottom", fontsize=7.5, color=GREY)
    if labels:
        figure.legend(
            [handle for handle, _ in legend],
            # matplotlib leaves out a label that begins with an underscore.
            [f"\u2009{label}" if label.startswith("_") else label for label in labels],
            loc="lower center",
            bbox_to_anchor=(0.5, below / height),
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            handlelength=2.6,
            labelspacing=0.35,
            columnspacing=1.6,
        )
    return Sheet(
        figure=figure, head_bottom=(bottom + axes_height_in) / height, head_height=head_height_in / height
    )


def logarithmic(axes: Axes, axis: Axis, lowest: float, highest: float) -> None:
    """Make the axis logarithmic, with plain numbers at 1, 2 and 5 of each decade (over many at 1)."""
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    set_scale("log")
    set_limits(lowest / 1.25, highest * 1.25)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest / lowest < 3000 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))


def frames_axis(axes: Axes, frames: Sequence[int]) -> None:
    """Set ticks as `frame_ticks` does; make the axis logarithmic where clips differ very much."""
    if max(frames) > LONG_RATIO * min(frames):
        log_frames(axes, frames)
    else:
        frame_ticks(axes, frames)


def log_frames(axes: Axes, frames: Sequence[int]) -> None:
    """Set a logarithmic axis with ticks at the measured frame counts, less those that would touch others."""
    logarithmic(axes, axes.xaxis, min(frames), max(frames))
    apart = (max(frames) / min(frames)) ** (1 / _MOST_TICKS)
    ticks: list[int] = []
    for count in sorted(frames, reverse=True):
        if not ticks or ticks[-1] >= count * apart:
            ticks.append(count)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def frame_ticks(axes: Axes, frames: Sequence[int]) -> None:
    """Set ticks at the measured frame counts; at round integers where they are too many to read."""
    few = len(frames) <= 12
    axes.xaxis.set_major_locator(FixedLocator(list(frames)) if few else MaxNLocator(integer=True))


@cache
def _drawable(char: str) -> bool:
    return bool(get_font(findfont(FONT)).get_char_index(ord(char)))
