"""The figure `stages`: a pie per backend, and bars that compare the backends better than pies can."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.plotting.plot_data import Labels
from bench.plotting.plot_labels import backend_rows, frames_of, missing, series, title_of
from bench.plotting.plot_style import GREY, LOG_RATIO, sheet, stage_looks, wrapped
from bench.units import significant, unit_for, with_unit

MIN_LABELLED_SHARE: Final = 0.02
"""A smaller wedge has no room for its label; its share stands below the pie."""

INSIDE_SHARE: Final = 0.07
"""From this share on a label fits inside its wedge."""

BELOW_PIE_IN: Final = 0.36  # three lines of small shares

_DARK: Final = ("#0072B2", "#222222", "#4D4D4D")  # these stages' labels are white


_CLOCKS: Final = {"device": "CUDA events", "wall": "wall clock at each stage's boundaries"}


def stages_figure(table: pd.DataFrame, labels: Labels, _baseline: str) -> Figure:
    splits = series(table)
    columns = min(len(splits), 4)
    pie_rows = -(-len(splits) // columns)
    clocks: dict[str, list[str]] = {}
    for name, rows in splits:
        clocks.setdefault(str(rows["clock"].iloc[0]), []).append(name)
    by = "; ".join(
        _CLOCKS.get(clock, clock) + (f" ({', '.join(names)})" if len(clocks) > 1 else "")
        for clock, names in sorted(clocks.items())
    )
    looks = stage_looks(labels.stages)
    legend: list[tuple[Any, str]] = [
        (Patch(facecolor=looks[stage][0], hatch=looks[stage][1], edgecolor="white"), stage)
        for stage in table["stage"].unique()
    ]
    names = [wrapped(name, min(30, 74 // columns)) for name, _ in splits]
    above = 0.12 + 0.14 * max(1 + name.count("\n") for name in names)
    sheet_ = sheet(
        title=title_of(labels, f"Where a forward's time goes, {frames_of(table)}"),
        legend=legend,
        notes=[f"Clock: {by}.", *missing(labels)],
        axes_height_in=0.75 + 0.34 * len(splits),
        head_height_in=pie_rows * (1.5 + above + BELOW_PIE_IN),
    )
    for place, ((_, rows), name) in enumerate(zip(splits, names, strict=True)):
        row, column = divmod(place, columns)
        axes = sheet_.head(row, pie_rows, column, columns, above_in=above, below_in=BELOW_PIE_IN)
        pie(axes, list(rows["stage"]), list(rows["seconds"]), name, looks)
    _stage_bars(sheet_.figure.add_subplot(), splits, labels.batch, looks)
    return sheet_.figure


def pie(
    axes: Axes,
    stages: Sequence[str],
    seconds: Sequence[float],
    name: str,
    looks: Mapping[str, tuple[str, str]],
) -> None:
    """Shares in their wedges; those without room below, where BELOW_PIE_IN is left for them."""
    shares = [part / sum(seconds) for part in seconds]
    own = [looks[stage] for stage in stages]
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
        for stage, share in zip(stages, shares, strict=True)
        if 0 < share < MIN_LABELLED_SHARE
    ]
    axes.text(0, -1.14, "\n".join(small), ha="center", va="top", fontsize=7, color=GREY)


def _stage_bars(
    axes: Axes, splits: Sequence[tuple[str, pd.DataFrame]], batch: int, looks: Mapping[str, tuple[str, str]]
) -> None:
    """Seconds per frame and stage; shares where backends are too far apart to see both."""
    totals = [float(rows["seconds"].sum() / (rows["frames"].iloc[0] * batch)) for _, rows in splits]
    as_share = max(totals) > LOG_RATIO * min(totals)
    unit = unit_for(totals)
    for row, ((_, rows), total) in enumerate(zip(splits, totals, strict=True)):
        left = 0.0
        for stage, share in zip(rows["stage"], rows["seconds"] / rows["seconds"].sum(), strict=True):
            tint, hatch = looks[stage]
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
    backend_rows(axes, [name for name, _ in splits])
    axes.set_xlabel(
        "share of the forward (%); beside it, time per frame" if as_share else f"time per frame ({unit.name})"
    )
