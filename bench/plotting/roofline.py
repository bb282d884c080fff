"""The figure `roofline`: each stage's rate against its intensity, under what the machine was measured to do.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 2009. Both axes are logarithmic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.grid.spans import FORWARD
from bench.plotting.axes import held
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import logarithmic, series, sheet
from bench.plotting.style import plain, stage_looks
from bench.results.tables import Tables
from bench.units import BYTE_RATES, FLOP_RATES, Unit, significant, unit_for, with_unit

_HEIGHT_IN: Final = 3.6
_MARGIN: Final = 1.6
"""How far the axes go beyond what is in them, as a factor."""
_LABEL_POINTS: Final = 10.0
"""The least between two labels at the right edge."""
_ALONG: Final = 3.0
"""By what factor a slope's label stands further along than that of the slope before."""
_BELOW: Final = 1.6
"""By what factor a label below its line stands further along than where the line begins."""

_ROOFS: Final = ("matmul_flops_per_s", "convolution_flops_per_s")
_ROOF: Final[dict[str, Any]] = {"color": "#333333", "linewidth": 1.3, "zorder": 1.6}
_CONVOLUTION: Final[dict[str, Any]] = {**_ROOF, "linewidth": 1.0, "linestyle": (0, (4, 2))}
_POINT: Final[dict[str, Any]] = {"markeredgecolor": "black", "linestyle": "none"}

_NOTE: Final = (
    "FLOPs are those of direct convolutions, whatever algorithm ran: rates are effective, and may exceed a "
    "roof where an algorithm multiplies less. Bytes: each layer reads and writes once, without a cache."
)


@dataclass(frozen=True, kw_only=True)
class _Roof:
    """A horizontal line with its label, and the slope that leads to it; rates in the axis's unit."""

    label: str
    level: float
    copy: float
    copy_label: str
    is_convolution: bool

    @property
    def ridge(self) -> float:
        return self.level / self.copy


def _below_roofs(tables: Tables) -> pd.DataFrame:
    """Return the rows of roofline.csv of stages that have a limit."""
    if tables.roofline.empty:
        return pd.DataFrame({"cell": []})
    known = tables.roofline.dropna(subset=["matmul_flops_per_s", "copy_bytes_per_s"])
    return known[known["stage"] != FORWARD]


def roofline_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    unit = unit_for([rate for name in _ROOFS for rate in table[name].dropna()], FLOP_RATES)
    rates = ["flops_per_s", "flops_per_s_low", "flops_per_s_high"]
    table = table.assign(**{name: table[name].astype(float) / unit.scale for name in rates})
    roofs = _roofs(table, unit)
    tints = {stage: tint for stage, (tint, _) in stage_looks(labels.stages).items()}
    backends = series(table, labels)

    def mark(shape: str, colour: str) -> Line2D:
        return Line2D([], [], marker=shape, color=colour, markersize=6.5, **_POINT)

    legend: list[tuple[Artist, str]] = [
        *((mark("o", tints[stage]), stage) for stage in table["stage"].unique()),
        *((mark(one.look["marker"], "white"), one.name) for one in backends),
        (Line2D([], [], **_ROOF), "copy, matrix multiply"),
    ]
    if any(roof.is_convolution for roof in roofs):
        legend.append((Line2D([], [], **_CONVOLUTION), "3×3 convolution"))
    figure = sheet(
        labels,
        "Roofline",
        held(table),
        legend=legend,
        notes=[_NOTE],
        axes_height_in=_HEIGHT_IN,
    )
    axes = figure.add_subplot()
    _limits(axes, table, roofs)
    _draw_roofs(axes, roofs)
    _label_slopes(axes, roofs)
    _label_levels(axes, roofs)
    for one in backends:
        for row in one.rows.to_dict("records"):
            bounds = [row["flops_per_s_low"], row["flops_per_s_high"]]
            if not any(map(pd.isna, bounds)):
                axes.plot([row["intensity"]] * 2, bounds, color="black", linewidth=0.9, zorder=2.4)
            axes.plot(
                [row["intensity"]], [row["flops_per_s"]], **_POINT, marker=one.look["marker"],
                color=tints[row["stage"]], markersize=7, markeredgewidth=0.8, zorder=2.5,
            )  # fmt: skip
    axes.set_xlabel("arithmetic intensity (FLOP/byte)")
    axes.set_ylabel(f"effective rate ({unit.name})")
    return figure


def _roofs(table: pd.DataFrame, unit: Unit) -> list[_Roof]:
    """Return each roof once, labelled with its precision, and of several places with device and threads."""
    threads = table["threads"].map(
        lambda count: "" if pd.isna(count) else f", {count} thread{'s' if count > 1 else ''}"
    )
    places = table["device"].astype(str) + threads
    several = places.nunique() > 1
    return list(
        dict.fromkeys(
            _Roof(
                label=f"{row['precision']}, {place}" if several else str(row["precision"]),
                level=float(row[name]) / unit.scale,
                copy=float(row["copy_bytes_per_s"]) / unit.scale,
                copy_label=f"copy {with_unit(row['copy_bytes_per_s'], BYTE_RATES)}",
                is_convolution=name.startswith("convolution"),
            )
            for row, place in zip(table.to_dict("records"), places, strict=True)
            for name in _ROOFS
            if not pd.isna(row[name])
        )
    )


def _limits(axes: Axes, table: pd.DataFrame, roofs: Sequence[_Roof]) -> None:
    intensities = list(table["intensity"].astype(float))
    ridges = [roof.ridge for roof in roofs]
    # The slope of the memory roof is seen for a decade at least.
    lowest = min(min(intensities) / _MARGIN, min(ridges) / 10)
    logarithmic(axes, axes.xaxis, lowest, max(*intensities, *ridges) * _MARGIN)
    up = [*table["flops_per_s"], *(roof.level for roof in roofs)]
    logarithmic(axes, axes.yaxis, min(up) / _MARGIN, max(up) * _MARGIN)


def _draw_roofs(axes: Axes, roofs: Sequence[_Roof]) -> None:
    left, right = axes.get_xlim()
    for copy in dict.fromkeys(roof.copy for roof in roofs):
        highest = max(roof.level for roof in roofs if roof.copy == copy)
        axes.plot([left, highest / copy], [left * copy, highest], **_ROOF)
    for roof in roofs:
        axes.plot([roof.ridge, right], [roof.level] * 2, **(_CONVOLUTION if roof.is_convolution else _ROOF))


def _label_slopes(axes: Axes, roofs: Sequence[_Roof]) -> None:
    """Write along each slope, near where it enters the figure: the lowest of several below its line, all
    others above, each further along than the one before."""
    left, _ = axes.get_xlim()
    low, _ = axes.get_ylim()
    slopes = {roof.copy: roof.copy_label for roof in sorted(roofs, key=lambda one: -one.copy)}
    for number, (slope, label) in enumerate(slopes.items()):
        is_below = number == len(slopes) - 1 and number > 0
        at = max(left, low / slope) * (_BELOW if is_below else 1.12 * _ALONG**number)
        axes.text(
            at, at * slope * (0.9 if is_below else 1.06), label,
            rotation=math.degrees(math.atan(slope)),  # in the axes' numbers; matplotlib turns it
            rotation_mode="anchor", transform_rotates_text=True,
            fontsize=7.5, va="top" if is_below else "bottom",
        )  # fmt: skip


def _label_levels(axes: Axes, roofs: Sequence[_Roof]) -> None:
    """Write beside each level at the right edge, moved apart where two would touch."""
    low, high = (math.log10(value) for value in axes.get_ylim())
    per_point = (high - low) / (72 * _HEIGHT_IN * 0.86)  # decades, of the axes' height less their own labels
    at = math.inf
    for roof in sorted(roofs, key=lambda one: one.level, reverse=True):
        at = min(math.log10(roof.level), at - _LABEL_POINTS * per_point)
        kind = "conv" if roof.is_convolution else "matmul"
        axes.annotate(
            plain(f"{significant(roof.level)} {kind} {roof.label}"), (1.0, 10**at),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7.5, annotation_clip=False,
        )  # fmt: skip


ROOFLINE: Final = Kind(
    rows=_below_roofs,
    draw=roofline_figure,
    lacking="no stage times, or no ceilings to hold them against",
)
