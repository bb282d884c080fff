"""The figure `roofline`: each stage's rate against its intensity, under what the machine was measured to do.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 2009. Both axes are logarithmic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plotting.plot_data import Labels
from bench.plotting.plot_labels import frames_of, missing, series, title_of
from bench.plotting.plot_style import logarithmic, marker, plain, sheet, stage_looks
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

_ROOF: Final[dict[str, Any]] = {"color": "#333333", "linewidth": 1.3, "zorder": 1.6}
_CONVOLUTION: Final[dict[str, Any]] = {**_ROOF, "linewidth": 1.0, "linestyle": (0, (4, 2))}

_NOTE: Final = (
    "FLOPs are those of direct convolutions, whatever algorithm ran: rates are effective, and may exceed a "
    "roof where an algorithm multiplies less. Bytes: each layer reads and writes once, without a cache."
)


@dataclass(frozen=True, kw_only=True)
class _Roof:
    """A horizontal line with its label."""

    label: str
    place: str
    flops_per_s: float
    is_convolution: bool
    copy_bytes_per_s: float


def roofline_figure(table: pd.DataFrame, labels: Labels, _baseline: str) -> Figure:
    roofs = _roofs(table)
    unit = unit_for([roof.flops_per_s for roof in roofs], FLOP_RATES)
    looks = stage_looks(labels.stages)
    shapes = {name: marker(labels.backends.index(rows["backend"].iloc[0])) for name, rows in series(table)}
    legend: list[tuple[Any, str]] = [
        *((_mark("o", looks[stage][0]), stage) for stage in table["stage"].unique()),
        *((_mark(shape, "white"), name) for name, shape in shapes.items()),
        (Line2D([], [], **_ROOF), "copy, matrix multiply"),
    ]
    if any(roof.is_convolution for roof in roofs):
        legend.append((Line2D([], [], **_CONVOLUTION), "3×3 convolution"))
    figure = sheet(
        title=title_of(labels, f"Roofline, {frames_of(table)}"),
        legend=legend,
        notes=[_NOTE, *missing(labels)],
        axes_height_in=_HEIGHT_IN,
    ).figure
    axes = figure.add_subplot()
    _limits(axes, table, roofs, unit)
    _draw_roofs(axes, roofs, unit)
    for name, rows in series(table):
        _draw_points(axes, rows, shapes[name], unit, looks)
    axes.set_xlabel("arithmetic intensity (FLOP/byte)")
    axes.set_ylabel(f"effective rate ({unit.name})")
    return figure


def _roofs(table: pd.DataFrame) -> list[_Roof]:
    """Return each roof once, labelled with its precision, and of several places with device and threads."""
    rows = table.to_dict("records")
    several = len({_place(row) for row in rows}) > 1
    return list(
        dict.fromkeys(
            _Roof(
                label=f"{row['precision']}, {_place(row)}" if several else str(row["precision"]),
                place=_place(row),
                flops_per_s=float(row[name]),
                is_convolution=name.startswith("convolution"),
                copy_bytes_per_s=float(row["copy_bytes_per_s"]),
            )
            for row in rows
            for name in ("matmul_flops_per_s", "convolution_flops_per_s")
            if not pd.isna(row[name])
        )
    )


def _place(row: Mapping[Any, Any]) -> str:
    """Return the device, with its threads where the grid asks for a number."""
    if pd.isna(row["threads"]):
        return str(row["device"])
    return f"{row['device']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def _limits(axes: Axes, table: pd.DataFrame, roofs: Sequence[_Roof], unit: Unit) -> None:
    intensities = list(table["intensity"].astype(float))
    ridges = [roof.flops_per_s / roof.copy_bytes_per_s for roof in roofs]
    # The slope of the memory roof is seen for a decade at least.
    lowest = min(min(intensities) / _MARGIN, min(ridges) / 10)
    logarithmic(axes, axes.xaxis, lowest, max(*intensities, *ridges) * _MARGIN)
    up = [*table["flops_per_s"].astype(float), *(roof.flops_per_s for roof in roofs)]
    logarithmic(axes, axes.yaxis, min(up) / _MARGIN / unit.scale, max(up) * _MARGIN / unit.scale)


def _draw_roofs(axes: Axes, roofs: Sequence[_Roof], unit: Unit) -> None:
    left, right = axes.get_xlim()
    for copy in dict.fromkeys(roof.copy_bytes_per_s for roof in roofs):
        highest = max(roof.flops_per_s for roof in roofs if roof.copy_bytes_per_s == copy)
        ridge = highest / copy
        axes.plot([left, ridge], [left * copy / unit.scale, highest / unit.scale], **_ROOF)
    for roof in roofs:
        level = roof.flops_per_s / unit.scale
        axes.plot(
            [roof.flops_per_s / roof.copy_bytes_per_s, right],
            [level, level],
            **(_CONVOLUTION if roof.is_convolution else _ROOF),
        )
    _label_slopes(axes, roofs, unit)
    _label_levels(axes, roofs, unit)


def _label_slopes(axes: Axes, roofs: Sequence[_Roof], unit: Unit) -> None:
    """Along each slope, near where it enters the figure: the lowest of several below its line, all others
    above, each further along than the one before."""
    left, _ = axes.get_xlim()
    low, _ = axes.get_ylim()
    copies = sorted({roof.copy_bytes_per_s for roof in roofs}, reverse=True)
    for number, copy in enumerate(copies):
        slope = copy / unit.scale
        is_below = number == len(copies) - 1 and number > 0
        at = max(left, low / slope) * (_BELOW if is_below else 1.12 * _ALONG**number)
        axes.text(
            at,
            at * slope * (0.9 if is_below else 1.06),
            f"copy {with_unit(copy, BYTE_RATES)}",
            rotation=math.degrees(math.atan(slope)),  # in the axes' numbers; matplotlib turns it
            rotation_mode="anchor",
            transform_rotates_text=True,
            fontsize=7.5,
            va="top" if is_below else "bottom",
        )


def _label_levels(axes: Axes, roofs: Sequence[_Roof], unit: Unit) -> None:
    """Beside each level at the right edge, moved apart where two would touch."""
    low, high = (math.log10(value) for value in axes.get_ylim())
    per_point = (high - low) / (72 * _HEIGHT_IN * 0.86)  # decades, of the axes' height less their own labels
    placed: list[float] = []
    for roof in sorted(roofs, key=lambda one: one.flops_per_s, reverse=True):
        level = math.log10(roof.flops_per_s / unit.scale)
        at = level if not placed else min(level, placed[-1] - _LABEL_POINTS * per_point)
        placed.append(at)
        kind = "conv" if roof.is_convolution else "matmul"
        axes.annotate(
            plain(f"{significant(10**level)} {kind} {roof.label}"),
            (1.0, 10**at),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            annotation_clip=False,
        )


def _draw_points(
    axes: Axes, rows: pd.DataFrame, shape: str, unit: Unit, looks: Mapping[str, tuple[str, str]]
) -> None:
    for row in rows.to_dict("records"):
        bounds = [row["flops_per_s_low"] / unit.scale, row["flops_per_s_high"] / unit.scale]
        if not any(map(pd.isna, bounds)):
            axes.plot([row["intensity"]] * 2, bounds, color="black", linewidth=0.9, zorder=2.4)
        axes.plot(
            [row["intensity"]], [row["flops_per_s"] / unit.scale], marker=shape, markersize=7,
            markeredgecolor="black", markeredgewidth=0.8, color=looks[row["stage"]][0], linestyle="none",
            zorder=2.5,
        )  # fmt: skip


def _mark(shape: str, colour: str) -> Line2D:
    return Line2D(
        [], [], marker=shape, color=colour, markeredgecolor="black", markersize=6.5, linestyle="none"
    )
