"""The figure `peak_memory`: the most memory that a forward takes, along the axes of the grid."""

from dataclasses import replace
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from bench.plotting.axes import held, one_place, panels
from bench.plotting.curves import TITLE_IN, curves, grid, is_far, scale_of, set_scale
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import backend_rows, handles, logarithmic, series, sheet
from bench.results.tables import Tables
from bench.units import BYTES, significant, unit_for

_PANEL_IN: Final = 2.1

_PANELS: Final = (("host_bytes", "host growth"), ("device_bytes", "device peak"))

_HOST_NOTE: Final = "Host: what a call adds to what its process held before it"
_DEVICE_NOTE: Final = "Device: the most that was allocated there"


def _peaks(tables: Tables) -> pd.DataFrame:
    """Return `host_bytes` (what a call adds) and `device_bytes` (the peak); missing is not measured.

    Each is the greatest of the rounds; what is not above 0 has no place on a logarithmic axis.
    """
    names = {"host_growth_bytes": "host_bytes", "peak_device_bytes": "device_bytes"}
    peaks = tables.cells[list(names)].astype(float).groupby(tables.cells["cell"], sort=False).max()
    peaks = peaks.rename(columns=names)
    return peaks.where(peaks > 0).dropna(how="all").reset_index()


def peaks_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    shown = panels(table)
    rows = pd.concat([panel.rows for panel in shown]) if shown else one_place(table)
    kinds = [kind for kind in _PANELS if rows[kind[0]].notna().any()]
    notes = [{"host_bytes": _HOST_NOTE, "device_bytes": _DEVICE_NOTE}[name] for name, _ in kinds]
    bars_in = 0.6 + 0.3 * rows["label"].nunique()
    height = (_PANEL_IN * len(kinds) + TITLE_IN if len(shown) > 1 else 2.5 * len(kinds)) + 0.5
    figure = sheet(
        labels,
        "Peak memory of one forward",
        shown[0].held if len(shown) == 1 else held(rows),
        legend=handles(rows, labels) if shown else [],
        notes=[f"{'. '.join(notes)}; the greatest of the rounds."],
        axes_height_in=height if shown else bars_in * len(kinds),
    )
    if not shown:
        for axes, (name, label) in zip(
            figure.subplots(len(kinds), 1, squeeze=False)[:, 0], kinds, strict=True
        ):
            unit = unit_for(rows[name].dropna(), BYTES)
            own = series(rows.dropna(subset=[name]), labels)
            for place, one in enumerate(own):
                size = float(one.rows[name].iloc[0]) / unit.scale
                axes.barh(place, size, height=0.6, color=one.look["color"])
                axes.annotate(
                    f"{significant(size)} {unit.name}", (size, place),
                    xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5,
                )  # fmt: skip
            axes.set_xlim(0, float(rows[name].max()) / unit.scale * 1.2)
            axes.set_xlabel(f"{label} ({unit.name})")
            backend_rows(axes, [one.name for one in own])
        return figure
    scales = [scale_of(panel, log=len(shown) > 1) for panel in shown]
    for line, (name, label) in zip(grid(figure, len(kinds), shown), kinds, strict=True):
        unit = unit_for(rows[name].dropna(), BYTES)
        scaled = (rows[name] / unit.scale).dropna()
        for axes, panel, scale in zip(line, shown, scales, strict=True):
            along = panel.rows.assign(value=panel.rows[name] / unit.scale)
            curves(axes, replace(panel, rows=along), labels, scale)
            set_scale(axes, scale, len(shown))
        of_kind = rows.dropna(subset=[name])
        if any(scale.is_log for scale in scales) or is_far(of_kind, name):
            logarithmic(line[0], line[0].yaxis, scaled.min(), scaled.max())
        else:
            line[0].set_ylim(0, scaled.max() * 1.06)
        line[0].set_ylabel(f"{label} ({unit.name})")
    figure.align_ylabels()
    return figure


PEAKS: Final = Kind(rows=_peaks, draw=peaks_figure, lacking="no memory pass", over_axes=True)
