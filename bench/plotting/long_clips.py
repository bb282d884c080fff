"""The figure `long_clips`: seconds and memory against the frame count, for clips of very different lengths.

Both axes are logarithmic: what grows with the clip is a line of slope one, what does not is level.
"""

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from bench.grid.spans import FORWARD
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import handles, log_frames, logarithmic, series, sheet
from bench.results.tables import Tables
from bench.units import BYTES, SECONDS, unit_for

_PANEL_IN: Final = 2.3

_PANELS: Final = (
    ("seconds", "forward time", SECONDS),
    ("host_bytes", "host memory, growth", BYTES),
    ("device_bytes", "device memory, peak", BYTES),
)

_MEMORY_NOTE: Final = "Memory: on the host what a call adds to what its process held before it"
_DEVICE_NOTE: Final = ", on a device the peak of what is allocated there"


def _needs(tables: Tables) -> pd.DataFrame:
    """Return `seconds`, `host_bytes` (what a call adds) and `device_bytes` (the peak); None is not measured.

    Memory is the greatest of the rounds; what is not above 0 has no place on a logarithmic axis.
    """
    timed = tables.summary[tables.summary["stage"] == FORWARD].set_index("cell")["median_s"]
    names = {"host_growth_bytes": "host_bytes", "peak_device_bytes": "device_bytes"}
    peaks = tables.cells[list(names)].astype(float).groupby(tables.cells["cell"], sort=False).max()
    needs = peaks.rename(columns=names).assign(seconds=timed)
    return needs.where(needs > 0).dropna(how="all").reset_index()


def long_clips_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    panels = [panel for panel in _PANELS if table[panel[0]].notna().any()]
    names = [name for name, _, _ in panels]
    on_device = _DEVICE_NOTE if "device_bytes" in names else ""
    figure = sheet(
        labels,
        "What clips of different lengths take, one forward",
        legend=handles(table, labels),
        notes=[
            *(["Time: medians of the steady calls."] if "seconds" in names else []),
            *([f"{_MEMORY_NOTE}{on_device}; the greatest of the rounds."] if names != ["seconds"] else []),
        ],
        axes_height_in=_PANEL_IN * len(panels) + 0.3,
    )
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, label, units) in zip(every, panels, strict=True):
        unit = unit_for([table[name].max()], units)
        scaled = table.assign(value=table[name] / unit.scale).dropna(subset=["value"])
        for one in series(scaled, labels):
            axes.plot(one.rows["frames"], one.rows["value"], **one.look)
        logarithmic(axes, axes.yaxis, scaled["value"].min(), scaled["value"].max())
        log_frames(axes, sorted(table["frames"].unique()))
        axes.set_ylabel(f"{label} ({unit.name})")
    axes.set_xlabel("frames")
    figure.align_ylabels()
    return figure


LONG_CLIPS: Final = Kind(
    rows=_needs,
    draw=long_clips_figure,
    lacking="neither steady samples nor a memory pass",
    over_frames=True,
)
