"""One look for all figures: colours, markers, lines and fonts, and text that the font can draw.

matplotlib's own state is left as it was: no pyplot, and its settings change only inside `style()`.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final

import matplotlib.style
from matplotlib.colors import to_rgb
from matplotlib.font_manager import findfont, get_font

from bench.grid.spans import OTHER
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

FONT: Final = "DejaVu Sans"  # comes with matplotlib, so that a figure is the same on every machine

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
"""Okabe and Ito's, less the yellow that white paper swallows; told apart with any common colour blindness."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final[tuple[Any, ...]] = (
    "-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 3)),
)  # fmt: skip
"""Markers and lines tell backends apart where colours cannot: in grey print."""

_PLACES: Final = {"cpu": 0, "cuda": 1, "cudnn": 2, "cudnn_autotune": 3}
"""Places in COLOURS of the built-in backends, which look the same in every run; in lower case."""

_STAGE_LOOKS: Final = {
    ALIGNMENT: ("#004488", ""),
    PROPAGATION: ("#EECC66", ""),
    AGGREGATION: ("#994455", ""),
    UPSAMPLING: ("#6699CC", "////"),
    OTHER: ("#D9D9D9", ""),
}
_MORE_LOOKS: Final = (
    ("#997700", ""), ("#EE99AA", "////"), ("#225522", ""), ("#CCDDAA", ""), ("#663333", "////"),
    ("#999999", ""),
)  # fmt: skip
"""Paul Tol's medium-contrast, pale and dark colours, none of which is a backend's. Lightness differs between
the four stages that networks share; the hatch is for grey print."""

GREY: Final = "#555555"
DPI: Final = 150

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


def backend_places(backends: Sequence[str]) -> dict[str, int]:
    """Return the place of each backend's colour: the built-in ones have their own, others the next free one.

    Give all backends of a run, so that a backend looks the same in all of its figures.
    """
    known = {name: _PLACES[name.casefold()] for name in backends if name.casefold() in _PLACES}
    others = [name for name in dict.fromkeys(backends) if name not in known]
    taken = {*known.values()}
    free = [place for place in range(len(COLOURS)) if place not in taken]
    free.sort(key=lambda place: place in _PLACES.values())
    more = range(len(COLOURS), len(COLOURS) + len(others))
    return known | dict(zip(others, [*free, *more], strict=False))


def is_dark(colour: str) -> bool:
    """Return whether text on the colour is to be white."""
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def line_look(tint: int, shape: int) -> dict[str, Any]:
    """Return the colour at a place, and the line and marker at another.

    Lines are shifted by one each time that the colours repeat.
    """
    return {
        "color": COLOURS[tint % len(COLOURS)],
        "linestyle": LINES[(shape + shape // len(COLOURS)) % len(LINES)],
        "marker": MARKERS[shape % len(MARKERS)],
    }


def plain(text: str) -> str:
    """Return the text in one line, with `?` for glyphs that the font lacks, of which matplotlib warns."""
    return "".join(char if _drawable(char) else "?" for char in " ".join(text.split()))


def cut(text: str, width: int = 70) -> str:
    """Return the text as `plain` does, cut to so many characters."""
    line = plain(text)
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


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


@cache
def _drawable(char: str) -> bool:
    return bool(get_font(findfont(FONT)).get_char_index(ord(char)))
