"""What figures of all kinds say in the same words: titles, footnotes, legend entries, rows."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_style import colour, line, marker, wrapped

NOTES: Final = 3
"""Reasons for cells not shown that a figure names; the report names all."""

REFERENCE_LINE: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.2, "linestyle": "-", "zorder": 1.5}


def title_of(group: PlotGroup, what: str) -> str:
    return f"{what}: {group.subject}, {group.height}×{group.width}, batch {group.batch}"


def frames_of(group: PlotGroup) -> str:
    (count,) = group.frames
    return "1 frame" if count == 1 else f"{count} frames"


def missing(group: PlotGroup) -> list[str]:
    if not group.not_shown:
        return []
    more = len(group.not_shown) - NOTES
    rest = [f"and {more} more"] if more > 0 else []
    return [f"Not shown: {'; '.join([*group.not_shown[:NOTES], *rest])}."]


def handle(group: PlotGroup, backend: str) -> Line2D:
    place = group.backends.index(backend)
    return Line2D([], [], color=colour(place), linestyle=line(place), marker=marker(place))


def reference_handle() -> Line2D:
    return Line2D([], [], **{**REFERENCE_LINE, "zorder": 1})


def backend_rows(axes: Axes, names: Sequence[str]) -> None:
    """Backends from the top down, in their order."""
    axes.set_yticks(range(len(names)), [wrapped(name, 26) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
