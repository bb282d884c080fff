"""The figure `noise`: what more rounds would buy a gate, and how pairs of rounds scatter in time."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bench.comparison.noise import FOUND, CellNoise, MachineNoise
from bench.plotting.plot_style import (
    COLOURS,
    GREY,
    LOG_RATIO,
    colour,
    line,
    logarithmic,
    marker,
    sheet,
    style,
)

DRAWN: Final = len(COLOURS)
"""Cells; of more, those whose noise hides most."""

_THRESHOLD: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.8, "marker": "."}
_GATE: Final[dict[str, Any]] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1.5}
_BAND: Final[dict[str, Any]] = {"color": "#000000", "alpha": 0.08, "linewidth": 0}

WITHIN: Final = 0.98
"""Of the pairs: the scale is for so many, and the others lie on its edge."""


def noise_figure(found: MachineNoise) -> Figure:
    """The figure; save it inside `plot_style.style()`."""
    cells = sorted(found.gate.cells, key=lambda cell: -cell.detectable)[:DRAWN]
    names = [cell.cell for cell in found.gate.cells if cell in cells]  # in the order of the grid
    with style():
        drawn = sheet(
            title=f"What a gate can tell on this machine: {found.experiment}",
            legend=list(_legend(names)),
            notes=_notes(found, len(names)),
            axes_height_in=4.7,
        ).figure
        above, below = drawn.subplots(2, 1)
        _rounds(above, found, names)
        _pairs(below, found, names)
        return drawn


def _legend(names: Sequence[str]) -> Iterator[tuple[Line2D | Patch, str]]:
    for place, name in enumerate(names):
        yield Line2D([], [], color=colour(place), linestyle=line(place), marker=marker(place)), name
    yield Line2D([], [], **_THRESHOLD), "threshold"
    yield Patch(**_BAND), "within the threshold"
    yield Line2D([], [], **_GATE), "rounds of this gate"


def _notes(found: MachineNoise, drawn: int) -> list[str]:
    notes = [f"On {found.machine}."]
    if len(found.gate.cells) > drawn:
        notes.append(
            f"Of {len(found.gate.cells)} cells the {drawn} with the greatest least slowdown are drawn."
        )
    return notes


def _rounds(axes: Axes, found: MachineNoise, names: Sequence[str]) -> None:
    rounds = [of.rounds for of in found.by_rounds]
    for place, name in enumerate(names):
        axes.plot(
            rounds,
            [100 * _cell(of.cells, name).detectable for of in found.by_rounds],
            color=colour(place), linestyle=line(place), marker=marker(place),
        )  # fmt: skip
    axes.plot(rounds, [100 * of.threshold for of in found.by_rounds], **_THRESHOLD, zorder=3)
    axes.axvline(found.gate.rounds, **_GATE)
    axes.set_xscale("log")
    axes.set_xlim(rounds[0] / 1.3, rounds[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(rounds))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(number) for number in rounds])
    values = [
        100 * value
        for of in found.by_rounds
        for value in (of.threshold, *(_cell(of.cells, name).detectable for name in names))
    ]
    if max(values) > LOG_RATIO * min(values) > 0:
        logarithmic(axes, axes.yaxis, min(values), max(values))
    else:
        axes.set_ylim(0, 1.1 * max(values))
    axes.set_xlabel("rounds of a gate")
    axes.set_ylabel("%")
    axes.set_title(
        f"Least slowdown that {100 * FOUND:g} of 100 gates find, by cell, and the threshold", loc="left"
    )


def _cell(cells: Sequence[CellNoise], name: str) -> CellNoise:
    return next(cell for cell in cells if cell.cell == name)


def _pairs(axes: Axes, found: MachineNoise, names: Sequence[str]) -> None:
    percents = {name: [100 * (b / a - 1) for a, b in zip(*found.pairs[name], strict=True)] for name in names}
    threshold = 100 * found.gate.threshold
    sizes = sorted(abs(value) for values in percents.values() for value in values)
    edge = max(1.3 * threshold, 1.15 * sizes[math.ceil(WITHIN * len(sizes)) - 1])
    axes.axhspan(100 * (1 / (1 + found.gate.threshold) - 1), threshold, **_BAND)
    axes.axhline(0, color=GREY, linewidth=0.7)
    beyond = 0
    for place, values in enumerate(percents.values()):
        for inside in (True, False):
            shown = [n for n, value in enumerate(values) if (abs(value) <= edge) is inside]
            if not shown:  # the layout would make room for a line at infinity
                continue
            beyond += 0 if inside else len(shown)
            axes.plot(
                [n + 1 for n in shown],
                [max(-edge, min(edge, values[n])) for n in shown],
                color=colour(place), linestyle="", marker=marker(place), markersize=3.5, clip_on=False,
                markerfacecolor=colour(place) if inside else "white",
            )  # fmt: skip
    axes.set_ylim(-edge, edge)
    axes.set_xlim(0, max(map(len, percents.values())) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("pair of rounds, in the order of time")
    axes.set_ylabel("%")
    apart = f" (hollow: {beyond} beyond)" if beyond else ""
    axes.set_title(f"How much longer one side of a pair took than the other, b over a{apart}", loc="left")
