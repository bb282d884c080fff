"""The figure `stages`: a pie per backend, and bars that compare the backends better than pies can."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_labels import backend_rows, frames_of, missing, title_of
from bench.plotting.plot_series import StageSplit
from bench.plotting.plot_style import GREY, LOG_RATIO, sheet, stage_looks, wrapped
from bench.units import significant, unit_for, with_unit

MIN_LABELLED_SHARE: Final = 0.02
"""A smaller wedge has no room for its label; its share stands below the pie."""

INSIDE_SHARE: Final = 0.07
"""From this share on a label fits inside its wedge."""

BELOW_PIE_IN: Final = 0.36  # three lines of small shares

_DARK: Final = ("#0072B2", "#222222", "#4D4D4D")  # these stages' labels are white


def stages_figure(group: PlotGroup, _baseline: str) -> Figure:
    splits = [series for series in group.series if isinstance(series, StageSplit)]
    columns = min(len(splits), 4)
    pie_rows = -(-len(splits) // columns)
    clocks = sorted({split.clock for split in splits})
    clock = {
        "device": "CUDA events",
        "wall": "wall clock at each stage's boundaries",
    }
    by = "; ".join(
        f"{clock.get(name, name)} ({', '.join(split.backend for split in splits if split.clock == name)})"
        if len(clocks) > 1
        else clock.get(name, name)
        for name in clocks
    )
    looks = stage_looks(group.run_stages)
    legend: list[tuple[Any, str]] = [
        (Patch(facecolor=looks[stage][0], hatch=looks[stage][1], edgecolor="white"), stage)
        for stage in group.stages
    ]
    names = [wrapped(split.backend, min(30, 74 // columns)) for split in splits]
    above = 0.12 + 0.14 * max(1 + name.count("\n") for name in names)
    bars_height = 0.75 + 0.34 * len(splits)
    sheet_ = sheet(
        title=title_of(group, f"Where a forward's time goes, {frames_of(group)}"),
        legend=legend,
        notes=[f"Clock: {by}.", *missing(group)],
        axes_height_in=bars_height,
        head_height_in=pie_rows * (1.5 + above + BELOW_PIE_IN),
    )
    for place, (split, name) in enumerate(zip(splits, names, strict=True)):
        row, column = divmod(place, columns)
        axes = sheet_.head(row, pie_rows, column, columns, above_in=above, below_in=BELOW_PIE_IN)
        pie(axes, split, name, looks)
    _stage_bars(sheet_.figure.add_subplot(), splits, group.batch, looks)
    return sheet_.figure


def pie(axes: Axes, split: StageSplit, name: str, looks: Mapping[str, tuple[str, str]]) -> None:
    """Shares in their wedges; those without room below, where BELOW_PIE_IN is left for them."""
    whole = sum(split.seconds)
    shares = [seconds / whole for seconds in split.seconds]
    own = [looks[stage] for stage in split.stages]
    wedges = axes.pie(shares, colors=[tint for tint, _ in own], startangle=90, counterclock=False)[0]
    for wedge, (_, hatch) in zip(wedges, own, strict=True):
        wedge.set(edgecolor="white", linewidth=0.8, hatch=hatch)
    start = 0.0
    for share, (tint, _) in zip(shares, own, strict=True):
        angle = math.radians(90 - 360 * (start + share / 2))
        start += share
        if share < MIN_LABELLED_SHARE:
            continue
        inside = share >= INSIDE_SHARE
        # Further out a narrow wedge is wider.
        radius = 1.06 if not inside else 0.62 if share > 0.2 else 0.74
        aside = 0 if inside or abs(math.cos(angle)) < 0.4 else math.cos(angle)
        axes.text(
            (radius if inside or aside else 1.14) * math.cos(angle),
            (radius if inside or aside else 1.14) * math.sin(angle),
            f"{100 * share:.0f} %",
            # Outside, a label grows away from the pie.
            ha="left" if aside > 0 else "right" if aside < 0 else "center",
            va="center",
            fontsize=8 if inside else 7,
            color="white" if inside and tint in _DARK else "black",
            # A label over a hatch is hard to read.
            bbox={"facecolor": tint, "linewidth": 0, "pad": 0.4} if inside else None,
        )
    axes.set_title(name, fontsize=8.5, pad=2)
    small = [
        f"{stage} {100 * share:.1f} %"
        for stage, share in zip(split.stages, shares, strict=True)
        if 0 < share < MIN_LABELLED_SHARE
    ]
    axes.text(0, -1.14, "\n".join(small), ha="center", va="top", fontsize=7, color=GREY)


def _stage_bars(
    axes: Axes, splits: Sequence[StageSplit], batch: int, looks: Mapping[str, tuple[str, str]]
) -> None:
    """Seconds per frame and stage; shares where backends are too far apart to see both."""
    totals = [sum(split.seconds) / (split.frames * batch) for split in splits]
    as_share = max(totals) > LOG_RATIO * min(totals)
    unit = unit_for(totals)
    for row, (split, total) in enumerate(zip(splits, totals, strict=True)):
        left = 0.0
        for stage, seconds in zip(split.stages, split.seconds, strict=True):
            tint, hatch = looks[stage]
            share = seconds / sum(split.seconds)
            width = 100 * share if as_share else total * share / unit.scale
            axes.barh(
                row, width, left=left, height=0.62, color=tint, hatch=hatch, edgecolor="white", linewidth=0.5
            )
            left += width
        axes.annotate(
            with_unit(total) if as_share else f"{significant(total / unit.scale)} {unit.name}",
            (left, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.set_xlim(0, (100 if as_share else max(totals) / unit.scale) * 1.13)
    if as_share:
        axes.set_xticks([0, 20, 40, 60, 80, 100])
    backend_rows(axes, [split.backend for split in splits])
    axes.set_xlabel(
        "share of the forward (%); beside it, time per frame" if as_share else f"time per frame ({unit.name})"
    )
