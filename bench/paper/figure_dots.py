"""The headline of section 4.4.1, which the paper prints as three numbers: a row per method."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.paper.editions import PAPER, Edition, Role, Timing
from bench.paper.figure_lines import theirs_handle, with_room, write_heading
from bench.paper.figure_panels import ROLES, Panel, notes, panels
from bench.paper.figure_series import interval_notes
from bench.plotting.plot_labels import backend_rows
from bench.plotting.plot_style import GREY, LOG_RATIO, colour, logarithmic, marker, sheet
from bench.units import significant, with_unit

_ROW_IN: Final = 0.3
_HEADING_IN: Final = 0.5


def headline(editions: Mapping[str, Edition]) -> list[Panel[Timing]]:
    return panels(
        editions,
        lambda edition: edition.headline,
        shows=lambda cell: cell.median_s is not None,
        lacking="no steady samples",
        one_length=True,
    )


def headline_figure(editions: Mapping[str, Edition]) -> Figure | None:
    every = headline(editions)
    shown = [panel for panel in every if panel.cells]
    if not shown:
        return None
    theirs = {
        cell.role: cell.median_s
        for panel in shown
        if panel.edition.name == PAPER
        for cell in panel.cells
        if cell.median_s is not None
    }
    beside = bool(theirs) and len(shown) > 1
    legend: list[tuple[Any, str]] = (
        [(theirs_handle(joined=False), "the paper's, in the same shape")] if beside else []
    )
    heights = [_HEADING_IN + _ROW_IN * len(panel.cells) for panel in shown]
    figure = sheet(
        title="Headline: seconds of one call, and speedup over the CPU",
        legend=legend,
        notes=[*interval_notes(every), *notes(every)],
        axes_height_in=sum(heights) + 0.3,
    ).figure
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    values = [
        value
        for panel in shown
        for cell in panel.cells
        for value in (cell.median_s, cell.low_s, cell.high_s)
        if value is not None
    ]
    for axes, panel in zip(rows, shown, strict=True):
        _dots(axes, panel, {} if panel.edition.name == PAPER else theirs)
    if max(values) > LOG_RATIO * min(values) > 0:
        logarithmic(rows[-1], rows[-1].xaxis, min(values), max(values))
        rows[-1].set_xlim(*with_room(min(values), max(values)))
        rows[-1].set_xlabel("time (s), log scale")
    else:
        rows[-1].set_xlim(0, max(values) * 1.06)
        rows[-1].set_xlabel("time (s)")
    return figure


def _dots(axes: Axes, panel: Panel[Timing], theirs: Mapping[Role, float]) -> None:
    for row, cell in enumerate(panel.cells):
        value = cell.median_s
        assert value is not None
        place = ROLES.index(cell.role)
        low, high = (value if bound is None else bound for bound in (cell.low_s, cell.high_s))
        if cell.role in theirs:
            axes.plot(
                theirs[cell.role],
                row,
                linestyle="",
                marker=marker(place),
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=GREY,
            )
        axes.errorbar(
            value,
            row,
            xerr=[[value - low], [high - value]],
            color=colour(place),
            marker=marker(place),
            markersize=5.5,
            elinewidth=1.5,
            capsize=3,
        )
        ratio = f"{significant(cell.speedup)}×" if cell.speedup is not None else ""
        said = " ".join(text for text in (with_unit(value), f"({ratio})" if ratio else "") if text)
        axes.annotate(said, (1.015, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    backend_rows(axes, [cell.backend for cell in panel.cells])
    write_heading(axes, panel.heading)
