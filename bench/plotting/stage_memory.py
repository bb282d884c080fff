"""The figure `stage_memory`: the memory of each stage, along the axes of the grid or as bars at one place."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plotting.axes import Panel, held, one_place, panels
from bench.plotting.curves import TITLE_IN, grid, name_above, room_for_names, scale_of, set_scale
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import (
    Looks,
    backend_rows,
    logarithmic,
    series,
    sheet,
    stage_handles,
)
from bench.plotting.style import cut, stage_looks
from bench.results.tables import Tables
from bench.units import BYTES, Unit, significant, unit_for

_PANEL_IN: Final = 1.35
_BAR_IN: Final = 0.125

LEAST: Final = 2**16
"""Bytes of a stage that is shown: the resident set is not known more closely."""

_WHAT: Final = {"host": "host growth", "device": "device peak"}
_TRACED: Final[dict[str, Any]] = {"color": "black", "linestyle": ""}

_NOTE: Final = "Traced: all tensors alive at the stage's worst moment, weights and clip included"
_HOST_NOTE: Final = ". Growth on the host leaves those two out, and has libraries' scratch memory"


def _by_stage(tables: Tables) -> pd.DataFrame:
    """Return `stage`, `size_bytes`, what that is (`place`), and `traced_bytes`.

    Without stages that take next to nothing, which on a logarithmic axis would press all else together. On a
    device the size is the peak, which is comparable with the traced one, otherwise the host's growth.
    """
    rows = tables.summary[tables.summary["share"].notna()]
    on_device = rows["peak_device_bytes"].notna()
    sizes = rows["peak_device_bytes"].where(on_device, rows["host_growth_bytes"]).astype(float)
    found = rows[["cell", "stage"]].assign(
        size_bytes=sizes,
        traced_bytes=pd.to_numeric(rows["peak_bytes"]).astype(float),
        place=on_device.map({True: "device", False: "host"}),
    )
    return found[found["size_bytes"] >= LEAST]


def stage_memory_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    shown = panels(table)
    rows = pd.concat([panel.rows for panel in shown]) if shown else one_place(table)
    looks = {stage: look for stage, look in stage_looks(labels.stages).items() if stage in set(rows["stage"])}
    unit = unit_for(rows["size_bytes"], BYTES)
    rows = rows.assign(size=rows["size_bytes"] / unit.scale, traced=rows["traced_bytes"] / unit.scale)
    has_trace = bool(rows["traced"].notna().any())
    mark = Line2D([], [], marker="_" if shown else "|", markersize=9, markeredgewidth=1.4, **_TRACED)
    legend = [*stage_handles(looks), *([(mark, "traced peak")] if has_trace else [])]
    names = list(dict.fromkeys(rows["label"]))
    height = (
        _PANEL_IN * len(names) + TITLE_IN * (len(shown) > 1) + 0.6
        if shown
        else sum(_bars_in(own) for _, own in rows.groupby("place"))
    )
    figure = sheet(
        labels,
        "Memory of each stage",
        shown[0].held if len(shown) == 1 else held(rows),
        legend=legend,
        notes=_notes(rows, has_trace=has_trace),
        axes_height_in=height,
    )
    if shown:
        _along_axes(figure, rows, shown, looks, unit)
    else:
        _at_one_place(figure, rows, labels, looks, unit)
    return figure


def _notes(rows: pd.DataFrame, *, has_trace: bool) -> list[str]:
    on_host = (rows["place"] == "host").any()
    return [f"{_NOTE}{_HOST_NOTE if on_host else ''}."] if has_trace else []


def _along_axes(
    figure: Figure, table: pd.DataFrame, shown: Sequence[Panel], looks: Looks, unit: Unit
) -> None:
    """Draw a line per stage, a row of panels per backend."""
    names = list(dict.fromkeys(table["label"]))
    scales = [scale_of(panel, log=True) for panel in shown]
    room_for_names(figure)
    for line, name in zip(grid(figure, len(names), shown, title_pad=18), names, strict=True):
        of_name = table[table["label"] == name]
        for axes, panel, scale in zip(line, shown, scales, strict=True):
            rows = panel.rows.assign(
                at=scale.at,
                size=panel.rows["size_bytes"] / unit.scale,
                traced=panel.rows["traced_bytes"] / unit.scale,
            )
            for stage, own in rows[rows["label"] == name].sort_values("at").groupby("stage"):
                tint = looks[str(stage)][0]
                axes.plot(own["at"], own["size"], color=tint, marker="o", markersize=4)
                axes.plot(own["at"], own["traced"], marker="_", markersize=8, **_TRACED | {"color": tint})
            set_scale(axes, scale, len(shown))
        ends = [*of_name["size"], *of_name["traced"].dropna()]
        logarithmic(line[0], line[0].yaxis, min(ends), max(ends), many=30)
        what = _WHAT[of_name["place"].iloc[0]]
        name_above(line[0], f"{cut(name, 50)}, {what} ({unit.name})")


def _bars_in(rows: pd.DataFrame) -> float:
    return _BAR_IN * (len(rows) + rows["label"].nunique()) + 0.6


def _at_one_place(figure: Figure, rows: pd.DataFrame, labels: Labels, looks: Looks, unit: Unit) -> None:
    """Draw a bar per stage, by backend; the host and a device have axes of their own."""
    places = {str(place): own for place, own in rows.groupby("place", sort=False)}
    ratios = [_bars_in(own) for own in places.values()]
    drawn = figure.subplots(len(places), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (place, own) in zip(drawn, places.items(), strict=True):
        every = series(own, labels)
        for number, one in enumerate(every):
            _bars(axes, number, one.rows, looks)
        axes.set_xlim(0, max(own["size"].max(), own["traced"].fillna(0).max()) * 1.28)
        axes.set_xlabel(f"{_WHAT[place]} ({unit.name})")
        backend_rows(axes, [one.name for one in every])


def _bars(axes: Axes, number: int, rows: pd.DataFrame, looks: Looks) -> None:
    height = 0.84 / len(rows)
    for place, (stage, size, traced) in enumerate(
        zip(rows["stage"], rows["size"], rows["traced"], strict=True)
    ):
        at = number + (place + 0.5) * height - 0.42
        tint, hatch = looks[stage]
        axes.barh(at, size, height=height, color=tint, hatch=hatch, edgecolor="white", linewidth=0.4)
        axes.plot([traced], [at], marker="|", markersize=8, markeredgewidth=1.4, **_TRACED)
        end = size if pd.isna(traced) else max(size, traced)
        beside = "" if pd.isna(traced) else f" (traced {significant(traced)})"
        axes.annotate(
            significant(size) + beside, (end, at),
            xytext=(7, 0), textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip


STAGE_MEMORY: Final = Kind(
    rows=_by_stage, draw=stage_memory_figure, lacking="no memory by stage", over_axes=True
)
