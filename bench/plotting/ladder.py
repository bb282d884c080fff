"""The figure `ladder`: a bar per step, the time left stacked by stage, its gain and error beside."""

import textwrap
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.plotting.axes import held
from bench.plotting.groups import Labels
from bench.plotting.sheet import Looks, backend_rows, sheet, stacked, stage_handles
from bench.plotting.style import GREY, plain, stage_looks, style
from bench.records import Status
from bench.results.tables import LIST_SEPARATOR, Row
from bench.stats.intervals import IntervalKind
from bench.tuning.format import decibels, times
from bench.tuning.ladder import Steps, Verdict, ladders, stage_columns
from bench.units import Unit, significant, unit_for

BARS: Final = 0.41
"""Share of the width where bars end, and what is written beside them begins."""

_COLUMNS: Final = ((0.53, "time"), (0.765, "this step"), (0.865, "in all"), (1.0, "output"))
"""Where each column of text ends, as a share of the width, and its title."""

_REASON_CHARACTERS: Final = 72

_SAVED: Final[dict[str, Any]] = {"facecolor": "none", "edgecolor": "#999999", "hatch": "....", "linewidth": 0}
_NO_STAGES: Final[dict[str, Any]] = {"color": "#9FB4C7"}


def ladder_figure(table: pd.DataFrame) -> Figure:
    """Draw one clip's rows of ladder.csv, whose columns have the stages of the whole run.

    A bar is as long as the step's stages, as their own pass timed them, and a line marks its forward, timed
    without probes. Between it and the mark of the step that it is compared with lies what the step saved.
    Steps without a time are there, with the reason in words.
    """
    columns = stage_columns(table)
    (rows,) = ladders(table).values()
    timed = [row for row in rows if row["median_s"] is not None]
    looks = {
        stage: look
        for stage, look in stage_looks(list(columns)).items()
        if any(stage in row["stages"] for row in rows)
    }
    with style():
        figure = sheet(
            Labels(model=table["model"].iloc[0], input=table["input"].iloc[0], models=2),
            "The ladder",
            held(table),
            legend=[*stage_handles(looks), *_legend(timed)],
            notes=list(_notes(timed)),
            axes_height_in=0.75 + 0.36 * len(rows),
        )
        _steps(figure.add_subplot(), rows, looks)
        return figure


def _legend(timed: Steps) -> Iterator[tuple[Artist, str]]:
    if any(not row["stages"] for row in timed):
        yield Patch(**_NO_STAGES), "stages not measured"
    if timed:
        mark = Line2D([], [], linestyle="", marker="|", markersize=10, markeredgewidth=1.6, color="black")
        yield mark, "time without probes"
        yield Patch(**_SAVED), "saved by the step"


def _notes(timed: Steps) -> Iterator[str]:
    if any(row["stages"] for row in timed):
        yield "Stages are of a pass of their own, whose probes take time; the line is the call without them."
    if overlapping := [row["backend"] for row in timed if row["stages_overlap"]]:
        yield (
            f"Stages of {', '.join(overlapping)} overlap: they add up to more than the call that they are of."
        )
    kinds = {row["gain_interval"] for row in timed if row["gain_low"] is not None}
    if IntervalKind.WITHIN_PROCESS in kinds:
        yield "In brackets 95 % intervals within single processes; they say little about the next process."
    elif kinds:
        yield "In brackets 95 % intervals between processes."


def _steps(axes: Axes, rows: Steps, looks: Looks) -> None:
    medians = {row["backend"]: row["median_s"] for row in rows if row["median_s"] is not None}
    spans = [max(row["median_s"], sum(row["stages"].values())) for row in rows if row["median_s"] is not None]
    longest = max((span for span in spans if span > 0), default=1.0)
    unit = unit_for(list(medians.values()) or [longest])
    across = axes.get_yaxis_transform()
    for place, row in enumerate(rows):
        if row["median_s"] is None:
            axes.text(
                0.004, place, _reason(row), transform=across, va="center", fontsize=8, color=GREY,
                style="italic",
            )  # fmt: skip
            continue
        _bar(axes, place, row, looks, unit, medians.get(row["compared_with"]))
        _beside(axes, place, row, unit)
    backend_rows(axes, [_label(row) for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color("black" if row["status"] == Status.OK else GREY)
    axes.set_xlim(0, longest / unit.scale / BARS)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= longest / unit.scale * 1.001])
    axes.set_xlim(0, longest / unit.scale / BARS)
    axes.set_xlabel(f"time of a call ({unit.name})", loc="left")
    axes.spines["bottom"].set_visible(False)
    for end, title in _COLUMNS:
        axes.text(
            end, 1.0, title, transform=axes.transAxes, ha="right", va="bottom", fontsize=7.5, color=GREY
        )


def _bar(
    axes: Axes,
    place: int,
    row: Row,
    looks: Looks,
    unit: Unit,
    before_s: float | None,
) -> None:
    alpha = 1.0 if row["status"] == Status.OK else 0.35
    widths = {stage: seconds / unit.scale for stage, seconds in row["stages"].items()}
    stacked(axes, place, widths, looks, height=0.6, linewidth=0.4, alpha=alpha)
    end = row["median_s"] / unit.scale
    if not row["stages"]:
        axes.barh(place, end, height=0.6, alpha=alpha, **_NO_STAGES)
    if before_s is not None and before_s > row["median_s"]:
        axes.barh(place, before_s / unit.scale - end, left=end, height=0.6, zorder=0.9, **_SAVED)
    elif before_s is not None:
        axes.vlines(before_s / unit.scale, place - 0.3, place + 0.3, color=GREY, linewidth=0.8, linestyle=":")
    axes.vlines(end, place - 0.38, place + 0.38, color="black", linewidth=1.6)


def _beside(axes: Axes, place: int, row: Row, unit: Unit) -> None:
    texts = (
        f"{significant(row['median_s'] / unit.scale)} {unit.name}",
        _gain(row),
        "" if row["speedup"] is None else times(row["speedup"]),
        decibels(row["output_psnr_db"]),
    )
    pays = row["verdict"] == Verdict.PAYS
    for (end, title), text in zip(_COLUMNS, texts, strict=True):
        is_gain = title == "this step"
        axes.text(
            end, place, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7.5,
            color=GREY if row["status"] != Status.OK or (is_gain and not pays) else "black",
            fontweight="bold" if is_gain and pays else "normal",
        )  # fmt: skip


def _label(row: Row) -> str:
    adds = ", ".join(row["adds"].split(LIST_SEPARATOR))
    return plain(f"+ {adds}" if adds else row["backend"])


def _gain(row: Row) -> str:
    if row["verdict"] == Verdict.INACCURATE:
        return "inaccurate"
    if row["gain"] is None:
        return "start" if row["verdict"] == Verdict.START else "–"
    low, high = row["gain_low"], row["gain_high"]
    bracket = "" if low is None or high is None else f" ({times(low)[:-1]}–{times(high)[:-1]})"
    return times(row["gain"]) + bracket


def _reason(row: Row) -> str:
    text = f"{row['verdict']}: {row['reason']}" if row["reason"] else row["verdict"]
    return textwrap.shorten(plain(text), _REASON_CHARACTERS, placeholder=" …")
