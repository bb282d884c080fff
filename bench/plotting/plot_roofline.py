"""The figure `roofline`: each stage's rate against its intensity, under what the machine was measured to do.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 2009. Both axes are logarithmic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_labels import frames_of, missing, title_of
from bench.plotting.plot_series import Roofline
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


def roofline_figure(group: PlotGroup, _baseline: str) -> Figure:
    shown = [series for series in group.series if isinstance(series, Roofline)]
    roofs = _roofs(shown)
    unit = unit_for([roof.flops_per_s for roof in roofs], FLOP_RATES)
    looks = stage_looks(group.run_stages)
    legend: list[tuple[Any, str]] = [
        *((_mark("o", looks[stage][0]), stage) for stage in group.stages),
        *((_mark(marker(group.backends.index(one.backend)), "white"), one.backend) for one in shown),
        (Line2D([], [], **_ROOF), "copy, matrix multiply"),
    ]
    if any(roof.is_convolution for roof in roofs):
        legend.append((Line2D([], [], **_CONVOLUTION), "3×3 convolution"))
    figure = sheet(
        title=title_of(group, f"Roofline, {frames_of(group)}"),
        legend=legend,
        notes=[_NOTE, *missing(group)],
        axes_height_in=_HEIGHT_IN,
    ).figure
    axes = figure.add_subplot()
    _limits(axes, shown, roofs, unit)
    _draw_roofs(axes, roofs, unit)
    for one in shown:
        _draw_points(axes, one, marker(group.backends.index(one.backend)), unit, looks)
    axes.set_xlabel("arithmetic intensity (FLOP/byte)")
    axes.set_ylabel(f"effective rate ({unit.name})")
    return figure


def _roofs(shown: Sequence[Roofline]) -> list[_Roof]:
    """Each roof once, labelled with its precision, and where there are several with device and threads."""
    several = len({_place(one) for one in shown}) > 1
    found: dict[_Roof, None] = {}
    for one in shown:
        for point in one.points:
            pairs = ((False, point.matmul_flops_per_s), (True, point.convolution_flops_per_s))
            for is_convolution, rate in pairs:
                if rate is not None:
                    roof = _Roof(
                        label=f"{point.precision}, {_place(one)}" if several else point.precision,
                        place=_place(one),
                        flops_per_s=rate,
                        is_convolution=is_convolution,
                        copy_bytes_per_s=one.copy_bytes_per_s,
                    )
                    found.setdefault(roof)
    return list(found)


def _place(one: Roofline) -> str:
    """The device, with its threads where the grid asks for a number."""
    if one.threads is None:
        return one.device
    return f"{one.device}, {one.threads} thread{'s' if one.threads > 1 else ''}"


def _limits(axes: Axes, shown: Sequence[Roofline], roofs: Sequence[_Roof], unit: Unit) -> None:
    points = [point for one in shown for point in one.points]
    ridges = [roof.flops_per_s / roof.copy_bytes_per_s for roof in roofs]
    across = [*(point.intensity for point in points), *ridges]
    # The slope of the memory roof is seen for a decade at least.
    lowest = min(min(point.intensity for point in points) / _MARGIN, min(ridges) / 10)
    logarithmic(axes, axes.xaxis, lowest, max(across) * _MARGIN)
    up = [*(point.flops_per_s for point in points), *(roof.flops_per_s for roof in roofs)]
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
    axes: Axes, one: Roofline, shape: str, unit: Unit, looks: Mapping[str, tuple[str, str]]
) -> None:
    for point in one.points:
        level = point.flops_per_s / unit.scale
        if point.low is not None and point.high is not None:
            bounds = [point.low / unit.scale, point.high / unit.scale]
            axes.plot([point.intensity] * 2, bounds, color="black", linewidth=0.9, zorder=2.4)
        axes.plot(
            [point.intensity],
            [level],
            marker=shape,
            markersize=7,
            markeredgecolor="black",
            markeredgewidth=0.8,
            color=looks[point.stage][0],
            linestyle="none",
            zorder=2.5,
        )


def _mark(shape: str, colour: str) -> Line2D:
    return Line2D(
        [], [], marker=shape, color=colour, markeredgecolor="black", markersize=6.5, linestyle="none"
    )
