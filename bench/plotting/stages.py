"""The figure `stages`: each stage's share along the axes of the grid; at one place pies, and bars beside."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plotting.axes import Panel, held, one_place, panels
from bench.plotting.curves import TITLE_IN, grid, name_above, room_for_names, scale_of, set_scale
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import (
    LOG_RATIO,
    Looks,
    Series,
    backend_rows,
    series,
    sheet,
    stacked,
    stage_handles,
)
from bench.plotting.style import GREY, is_dark, stage_looks, wrapped
from bench.results.tables import Tables
from bench.units import significant, unit_for, with_unit

INSIDE_SHARE: Final = 0.07
"""From this share on a label fits inside its wedge; others stand beside it, with a line to it."""

PIE_IN: Final = 1.5
_PIE_SPAN: Final = 1.45
"""Half of the axes of a pie, whose radius is 1: the rest is for labels beside it."""

_APART: Final = 0.27
"""The least between two labels beside a pie, one above the other."""

_SHARES_IN: Final = 0.98
"""Height of a backend's panels of shares."""

_CLOCKS: Final = {"device": "CUDA events", "wall": "wall clock at each stage's boundaries"}


def _stages(tables: Tables) -> pd.DataFrame:
    """Return `stage`, `seconds`, `share` and `clock`, in the network's order of stages."""
    rows = tables.summary[tables.summary["share"].notna()]
    return rows[["cell", "stage", "median_s", "share", "clock"]].rename(columns={"median_s": "seconds"})


def stages_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    every = stage_looks(labels.stages)
    looks = {stage: every[stage] for stage in table["stage"].unique()}
    shown = panels(table)
    if shown:
        return _along_axes(table, shown, labels, looks)
    return _at_one_place(one_place(table), labels, looks)


def _along_axes(table: pd.DataFrame, shown: Sequence[Panel], labels: Labels, looks: Looks) -> Figure:
    """Draw shares as stacked bars, a row of panels per backend."""
    names = list(dict.fromkeys(table["label"]))
    rows = pd.concat([panel.rows for panel in shown])
    figure = sheet(
        labels,
        "Where a forward's time goes",
        shown[0].held if len(shown) == 1 else held(rows),
        legend=stage_handles(looks),
        notes=[_clock_note(series(rows, labels))],
        axes_height_in=_SHARES_IN * len(names) + TITLE_IN * (len(shown) > 1) + 0.6,
    )
    scales = [scale_of(panel, even=True) for panel in shown]
    room_for_names(figure)
    for line, name in zip(grid(figure, len(names), shown, title_pad=18), names, strict=True):
        for axes, panel, scale in zip(line, shown, scales, strict=True):
            own = panel.rows[panel.rows["label"] == name]
            for at, of_cell in own.groupby(scale.at):
                low = 0.0
                for stage, share in _shares(of_cell).items():
                    tint, hatch = looks[stage]
                    axes.bar(
                        at, 100 * share, bottom=low, width=0.8, color=tint, hatch=hatch, edgecolor="white",
                        linewidth=0.4,
                    )  # fmt: skip
                    low += 100 * share
            set_scale(axes, scale, len(shown))
            axes.grid(visible=False, axis="x")
        line[0].set(ylim=(0, 100), yticks=[0, 50, 100])
        name_above(line[0], name)
    figure.supylabel("share of the forward (%)", fontsize=9)
    return figure


def _clock_note(splits: Sequence[Series]) -> str:
    clocks: dict[str, list[str]] = {}
    for one in splits:
        clocks.setdefault(str(one.rows["clock"].iloc[0]), []).append(one.name)
    by = "; ".join(
        _CLOCKS.get(clock, clock) + (f" ({', '.join(names)})" if len(clocks) > 1 else "")
        for clock, names in sorted(clocks.items())
    )
    return f"Clock: {by}."


def _at_one_place(table: pd.DataFrame, labels: Labels, looks: Looks) -> Figure:
    """Draw a pie per backend, and bars that compare the backends better than pies can."""
    splits = series(table, labels)
    columns = min(len(splits), 4)
    pie_rows = -(-len(splits) // columns)
    names = [wrapped(one.name, min(30, 74 // columns)) for one in splits]
    above = 0.12 + 0.14 * max(1 + name.count("\n") for name in names)
    room = PIE_IN + above
    figure = sheet(
        labels,
        "Where a forward's time goes",
        held(table),
        legend=stage_handles(looks),
        notes=[_clock_note(splits)],
        axes_height_in=0.75 + 0.34 * len(splits),
        head_height_in=pie_rows * room,
    )
    height = figure.get_figheight()
    _, bottom, _, bars_height = figure.get_layout_engine().get()["rect"]  # type: ignore[union-attr]
    for place, (one, name) in enumerate(zip(splits, names, strict=True)):
        row, column = divmod(place, columns)
        low = bottom + bars_height + (pie_rows - 1 - row) * room / height
        axes = figure.add_axes((column / columns, low, 1 / columns, PIE_IN / height))
        _pie(axes, one.rows, name, looks)
    _bars(figure.add_subplot(), splits, looks)
    return figure


def _shares(rows: pd.DataFrame) -> dict[str, float]:
    return dict(zip(rows["stage"], rows["seconds"] / rows["seconds"].sum(), strict=True))


def _pie(axes: Axes, rows: pd.DataFrame, name: str, looks: Looks) -> None:
    """Draw shares, each with its label in its wedge or beside it."""
    shares = {stage: share for stage, share in _shares(rows).items() if share > 0}
    wedges = axes.pie(
        list(shares.values()), colors=[looks[stage][0] for stage in shares], startangle=90, counterclock=False
    )[0]
    axes.set(xlim=(-_PIE_SPAN, _PIE_SPAN), ylim=(-_PIE_SPAN, _PIE_SPAN))
    axes.set_title(name, fontsize=8.5, pad=2)
    start = 0.0
    beside: dict[float, str] = {}
    for wedge, (stage, share) in zip(wedges, shares.items(), strict=True):
        tint, hatch = looks[stage]
        wedge.set(edgecolor="white", linewidth=0.8, hatch=hatch)
        angle = math.radians(90 - 360 * (start + share / 2))
        start += share
        if share < INSIDE_SHARE:
            beside[angle] = _small(share)
            continue
        radius = 0.62 if share > 0.2 else 0.74  # further out a narrow wedge is wider
        axes.text(
            radius * math.cos(angle), radius * math.sin(angle), f"{100 * share:.0f} %",
            ha="center", va="center", fontsize=8, color="white" if is_dark(tint) else "black",
            # A label over a hatch is hard to read.
            bbox={"facecolor": tint, "linewidth": 0, "pad": 0.4},
        )  # fmt: skip
    for side in (1, -1):
        own = {angle: text for angle, text in beside.items() if (math.cos(angle) >= 0) == (side > 0)}
        _label_beside(axes, own, side)


def _small(share: float) -> str:
    if share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.{0 if share >= 0.0195 else 1}f} %"


def _label_beside(axes: Axes, labels: Mapping[float, str], side: int) -> None:
    """Write labels of one side beside their wedges, moved apart where they would touch."""
    wanted = {angle: 1.2 * math.sin(angle) for angle in labels}
    order = sorted(labels, key=lambda angle: wanted[angle])
    heights: list[float] = []
    for angle in order:
        heights.append(max(wanted[angle], heights[-1] + _APART) if heights else wanted[angle])
    too_high = max(0.0, max(heights, default=0.0) - 1.3)
    for angle, height in zip(order, heights, strict=True):
        axes.annotate(
            labels[angle], (math.cos(angle), math.sin(angle)),
            (side * max(1.1 * abs(math.cos(angle)), 0.3, math.sqrt(max(0.0, 1.2 - (height - too_high) ** 2))),
             height - too_high),
            ha="left" if side > 0 else "right", va="center", fontsize=7,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _bars(axes: Axes, splits: Sequence[Series], looks: Looks) -> None:
    """Draw seconds per frame and stage; shares where backends are too far apart to see both."""
    totals = [
        float(one.rows["seconds"].sum() / (one.rows["frames"] * one.rows["batch"]).iloc[0]) for one in splits
    ]
    as_share = max(totals) > LOG_RATIO * min(totals)
    unit = unit_for(totals)
    for row, (one, total) in enumerate(zip(splits, totals, strict=True)):
        whole = 100 if as_share else total / unit.scale
        widths = {stage: whole * share for stage, share in _shares(one.rows).items()}
        end = stacked(axes, row, widths, looks, height=0.62, linewidth=0.5)
        axes.annotate(
            with_unit(total) if as_share else f"{significant(total / unit.scale)} {unit.name}",
            (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_xlim(0, (100 if as_share else max(totals) / unit.scale) * 1.13)
    if as_share:
        axes.set_xticks([0, 20, 40, 60, 80, 100])
    backend_rows(axes, [one.name for one in splits])
    axes.set_xlabel(
        "share of the forward (%); beside it, time per frame" if as_share else f"time per frame ({unit.name})"
    )


STAGES: Final = Kind(rows=_stages, draw=stages_figure, lacking="no stage pass", over_axes=True)
