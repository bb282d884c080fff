"""The figure `ladder`: a bar per step, the time left stacked by stage, its gain and error beside."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.plotting.plot_labels import backend_rows
from bench.plotting.plot_style import GREY, plain, sheet, stage_looks, style
from bench.records import Status
from bench.stats.intervals import IntervalKind, Ratio
from bench.tuning.format import decibels, times
from bench.tuning.ladder import Ladder, Step, Verdict
from bench.units import Unit, significant, unit_for

BARS: Final = 0.41
"""Of the width: bars end there, and what is written beside them begins."""

Looks = Mapping[str, tuple[str, str]]
"""Colour and hatch by stage."""

_COLUMNS: Final = ((0.53, "time"), (0.765, "this step"), (0.865, "in all"), (1.0, "output"))
"""Where each column of text ends, as a share of the width, and its title."""

_REASON_CHARACTERS: Final = 72

_SAVED: Final[dict[str, Any]] = {"facecolor": "none", "edgecolor": "#999999", "hatch": "....", "linewidth": 0}
_FORWARD: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.6}
_NO_STAGES: Final[dict[str, Any]] = {"color": "#9FB4C7"}


def ladder_figure(ladder: Ladder, stages: Sequence[str]) -> Figure:
    """Draw one clip's ladder; save it inside `plot_style.style()`. `stages` are the whole run's.

    A bar is as long as the step's stages, as their own pass timed them, and a line marks its forward, timed
    without probes. Between it and the mark of the step that it is compared with lies what the step saved.
    Steps without a time are there, with the reason in words.
    """
    timed = [step for step in ladder.steps if step.time is not None]
    every = stage_looks(stages)
    looks = {stage: every[stage] for stage in ladder.stages}
    with style():
        drawn = sheet(
            title=_title(ladder),
            legend=list(_legend(timed, looks)),
            notes=list(_notes(ladder)),
            axes_height_in=0.75 + 0.36 * len(ladder.steps),
        ).figure
        axes = drawn.add_subplot()
        _rows(axes, ladder, looks)
        return drawn


def _title(ladder: Ladder) -> str:
    cell = ladder.steps[0].cell
    frames = "1 frame" if cell.frames == 1 else f"{cell.frames} frames"
    clip = f"{cell.input.name}, {cell.height}×{cell.width}, {frames}, batch {cell.batch}"
    return f"The ladder: {cell.model.name}, {clip}"


def _legend(timed: Sequence[Step], looks: Looks) -> Iterator[tuple[Artist, str]]:
    if any(step.stages_s for step in timed):
        for stage, (tint, hatch) in looks.items():
            yield Patch(facecolor=tint, hatch=hatch, edgecolor="white"), stage
    if any(not step.stages_s for step in timed):
        yield Patch(**_NO_STAGES), "stages not measured"
    if timed:
        yield (
            Line2D([], [], linestyle="", marker="|", markersize=10, markeredgewidth=1.6, color="black"),
            ("time without probes"),
        )
        yield Patch(**_SAVED), "saved by the step"


def _notes(ladder: Ladder) -> Iterator[str]:
    timed = [step for step in ladder.steps if step.time is not None]
    if any(step.stages_s for step in timed):
        yield "Stages are of a pass of their own, whose probes take time; the line is the call without them."
    if overlapping := [step.backend for step in timed if step.stages_overlap]:
        yield (
            f"Stages of {', '.join(overlapping)} overlap: they add up to more than the call that they are of."
        )
    kinds = {step.interval for step in timed if step.gain is not None and step.gain.low is not None}
    if IntervalKind.WITHIN_PROCESS in kinds:
        yield "In brackets 95 % intervals within single processes; they say little about the next process."
    elif kinds:
        yield "In brackets 95 % intervals between processes."


def _rows(axes: Axes, ladder: Ladder, looks: Looks) -> None:
    steps = ladder.steps
    spans = [span for step in steps if (span := _span(step)) > 0]
    longest = max(spans, default=1.0)
    unit = unit_for([step.time.median for step in steps if step.time is not None] or [longest])
    marks: dict[str, float] = {}
    across = axes.get_yaxis_transform()
    for row, step in enumerate(steps):
        if step.time is None:
            axes.text(
                0.004,
                row,
                _reason(step),
                transform=across,
                va="center",
                fontsize=8,
                color=GREY,
                style="italic",
            )
            continue
        _bar(axes, row, step, looks, unit, marks.get(step.compared_with or ""))
        marks[step.backend] = step.time.median
        _beside(axes, row, step, unit)
    backend_rows(axes, [_label(step) for step in steps])
    for tick, step in zip(axes.get_yticklabels(), steps, strict=True):
        tick.set_color("black" if step.status is Status.OK else GREY)
    axes.set_xlim(0, longest / unit.scale / BARS)
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= longest / unit.scale * 1.001])
    axes.set_xlim(0, longest / unit.scale / BARS)
    axes.set_xlabel(f"time of a call ({unit.name})", loc="left")
    axes.spines["bottom"].set_visible(False)
    for place, title in _COLUMNS:
        axes.text(
            place, 1.0, title, transform=axes.transAxes, ha="right", va="bottom", fontsize=7.5, color=GREY
        )


def _label(step: Step) -> str:
    return plain(step.label if step.number else step.backend)


def _span(step: Step) -> float:
    """Seconds that the bar and its mark reach to."""
    return 0.0 if step.time is None else max(step.time.median, sum(step.stages_s.values()))


def _bar(axes: Axes, row: int, step: Step, looks: Looks, unit: Unit, before: float | None) -> None:
    assert step.time is not None
    right = step.status is Status.OK
    left = 0.0
    for stage, (tint, hatch) in looks.items():
        width = step.stages_s.get(stage, 0.0) / unit.scale
        axes.barh(
            row, width, left=left, height=0.6, color=tint, hatch=hatch, edgecolor="white", linewidth=0.4,
            alpha=1.0 if right else 0.35,
        )  # fmt: skip
        left += width
    end = step.time.median / unit.scale
    if not step.stages_s:
        axes.barh(row, end, height=0.6, alpha=1.0 if right else 0.35, **_NO_STAGES)
    if before is not None and before > step.time.median:
        axes.barh(row, before / unit.scale - end, left=end, height=0.6, zorder=0.9, **_SAVED)
    elif before is not None:
        axes.vlines(before / unit.scale, row - 0.3, row + 0.3, color=GREY, linewidth=0.8, linestyle=":")
    axes.vlines(end, row - 0.38, row + 0.38, **_FORWARD)


def _beside(axes: Axes, row: int, step: Step, unit: Unit) -> None:
    assert step.time is not None
    texts = (
        f"{significant(step.time.median / unit.scale)} {unit.name}",
        _gain(step),
        "" if step.speedup is None else times(step.speedup.ratio),
        decibels(step.psnr_db) or ("reference" if step.cell.backend.is_reference else ""),
    )
    strong = step.verdict is Verdict.PAYS
    for (place, _), text, column in zip(_COLUMNS, texts, range(len(texts)), strict=True):
        axes.text(
            place, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7.5,
            color=GREY if step.status is not Status.OK or (column == 1 and not strong) else "black",
            fontweight="bold" if column == 1 and strong else "normal",
        )  # fmt: skip


def _gain(step: Step) -> str:
    if step.verdict is Verdict.INACCURATE:
        return "inaccurate"
    if step.gain is None:
        return "start" if step.verdict is Verdict.START else "–"
    return times(step.gain.ratio) + _bracket(step.gain)


def _bracket(found: Ratio) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" ({times(found.low)[:-1]}–{times(found.high)[:-1]})"


def _reason(step: Step) -> str:
    said = f"{step.verdict}: {step.reason}" if step.reason else str(step.verdict)
    return textwrap.shorten(plain(said), _REASON_CHARACTERS, placeholder=" …")
