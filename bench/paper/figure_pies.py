"""Figure 19: a pie per method of the stages' means, the editions one below the other."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.grid.spans import OTHER
from bench.paper.editions import PAPER_NAMES, STAGES, Edition, Role, StageTiming
from bench.paper.figure_lines import HEADING_LEFT, HEADING_WIDTH
from bench.paper.figure_panels import ROLES, Panel, notes, panels
from bench.plotting.plot_series import StageSplit
from bench.plotting.plot_stages import BELOW_PIE_IN, pie
from bench.plotting.plot_style import GREY, sheet, stage_looks, wrapped
from bench.units import with_unit

_PIE_IN: Final = 1.42
_ABOVE_IN: Final = 0.54  # the edition's heading and the pie's


STAGE_ORDER: Final = (*STAGES, OTHER)


def stages(editions: Mapping[str, Edition]) -> list[Panel[StageTiming]]:
    return panels(
        editions,
        lambda edition: _first(edition.stages),
        shows=lambda cell: sum(means(cell)) > 0,
        lacking="no stage pass",
        one_length=True,
    )


def _first(cells: tuple[StageTiming, ...]) -> list[StageTiming]:
    """One cell per backend and length, where a run timed the stages in several ways: the first of them."""
    return list({(cell.backend, cell.frames): cell for cell in reversed(cells)}.values())[::-1]


def means(cell: StageTiming) -> tuple[float, ...]:
    """Seconds by STAGE_ORDER; what the stages do not cover may come out just below zero, and is then none."""
    return tuple(
        max(0.0, fmean(cell.seconds[stage])) if cell.seconds.get(stage) else 0.0 for stage in STAGE_ORDER
    )


def stages_figure(editions: Mapping[str, Edition]) -> Figure | None:
    every = stages(editions)
    shown = [panel for panel in every if panel.cells]
    if not shown:
        return None
    places = {role: place for place, role in enumerate(_columns(shown))}
    other = any(means(cell)[STAGE_ORDER.index(OTHER)] > 0 for panel in shown for cell in panel.cells)
    legend: list[tuple[Any, str]] = [
        (Patch(facecolor=tint, hatch=hatch, edgecolor="white"), stage)
        for stage, (tint, hatch) in stage_looks(STAGE_ORDER).items()
        if stage != OTHER or other
    ]
    row_in = _PIE_IN + _ABOVE_IN + BELOW_PIE_IN
    page = sheet(
        title="Figure 19: where the time goes, by stage",
        legend=legend,
        notes=["Shares of the stages' mean seconds; their sum stands above each pie.", *notes(every)],
        axes_height_in=0,
        head_height_in=row_in * len(shown),
    )
    page.figure.set_layout_engine("none")  # which would warn that there is nothing to lay out
    for row, panel in enumerate(shown):
        for cell in panel.cells:
            axes = page.head(
                row, len(shown), places[cell.role], len(places), above_in=_ABOVE_IN, below_in=BELOW_PIE_IN
            )
            split = StageSplit(
                backend=cell.backend,
                frames=cell.frames,
                clock=cell.clock,
                stages=STAGE_ORDER,
                seconds=means(cell),
            )
            name = wrapped(cell.backend, 74 // len(places), lines=1)
            pie(axes, split, f"{name}\n{with_unit(sum(split.seconds))}", stage_looks(split.stages))
        for role in places.keys() - {cell.role for cell in panel.cells}:
            page.figure.text(
                (places[role] + 0.5) / len(places),
                page.head_bottom + page.head_height * (1 - (row + 0.5) / len(shown)),
                f"{PAPER_NAMES.get(role, 'cuDNN off')}:\nnot measured",
                ha="center",
                va="center",
                fontsize=8,
                color=GREY,
            )
        page.figure.text(
            HEADING_LEFT,
            page.head_bottom + page.head_height * (1 - row / len(shown)),
            wrapped(panel.heading, HEADING_WIDTH, lines=1),
            ha="left",
            va="top",
            fontsize=8.5,
        )
    return page.figure


def _columns(shown: list[Panel[StageTiming]]) -> list[Role]:
    drawn = {cell.role for panel in shown for cell in panel.cells}
    return [role for role in ROLES if role in drawn]
