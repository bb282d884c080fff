"""The paper's figures from editions: its own, and this machine's with the paper's series behind them."""

from collections.abc import Callable, Mapping
from typing import Final

from matplotlib.figure import Figure

from bench.paper.editions import Edition
from bench.paper.figure_dots import headline_figure
from bench.paper.figure_pies import stages_figure
from bench.paper.figure_series import memory_figure, repetitions_figure, speedups_figure, times_figure
from bench.plotting.plot_style import style

_DRAWERS: Final[dict[str, Callable[[Mapping[str, Edition]], Figure | None]]] = {
    "headline": headline_figure,
    "14": repetitions_figure,
    "15": times_figure,
    "16": speedups_figure,
    "17": memory_figure,
    "19": stages_figure,
}

FIGURES: Final = tuple(_DRAWERS)
"""Keys of `figure`, in the paper's order. Figure 18 and table 1 are tables: bench.paper.figure_tables."""


PLACES: Final = 6
"""Decimal places of a panel's position as a share of the figure: far below a pixel, far above rounding."""


def figure(key: str, editions: Mapping[str, Edition]) -> Figure | None:
    """A figure of FIGURES, or None where no edition has anything to show; save it with plots.save.

    `editions` holds any of editions.PAPER, FAITHFUL and CORRECTED. Raises KeyError for another key.
    """
    with style():
        drawn = _DRAWERS[key](editions)
        if drawn is not None and drawn.get_layout_engine() is not None:
            _settle(drawn)
        return drawn


def _settle(drawn: Figure) -> None:
    """Lay the panels out now, to a whole place: the solver's last bits differ from call to call, and so would
    the bytes of a file.
    """
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    for axes in drawn.axes:
        left, bottom, width, height = axes.get_position(original=True).bounds
        axes.set_position(
            (round(left, PLACES), round(bottom, PLACES), round(width, PLACES), round(height, PLACES))
        )
