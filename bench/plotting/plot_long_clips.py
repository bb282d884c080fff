"""The figure `long_clips`: seconds and memory against the frame count, for clips of very different lengths.

Both axes are logarithmic: what grows with the clip is a line of slope one, what does not is level.
"""

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from bench.plotting.plot_data import Labels
from bench.plotting.plot_labels import handles, known, look, missing, series, title_of
from bench.plotting.plot_style import log_frames, logarithmic, sheet
from bench.units import BYTES, SECONDS, unit_for

_PANEL_IN: Final = 2.3

_PANELS: Final = (
    ("seconds", "forward time", SECONDS),
    ("host_bytes", "host memory, growth", BYTES),
    ("device_bytes", "device memory, peak", BYTES),
)

_MEMORY_NOTE: Final = "Memory: on the host what a call adds to what its process held before it"
_DEVICE_NOTE: Final = ", on a device the peak of what is allocated there"


def long_clips_figure(table: pd.DataFrame, labels: Labels, _baseline: str) -> Figure:
    panels = [panel for panel in _PANELS if table[panel[0]].notna().any()]
    names = [name for name, _, _ in panels]
    device_said = _DEVICE_NOTE if "device_bytes" in names else ""
    figure = sheet(
        title=title_of(labels, "What clips of different lengths take, one forward"),
        legend=handles(table, labels),
        notes=[
            *(["Time: medians of the steady calls."] if "seconds" in names else []),
            *([f"{_MEMORY_NOTE}{device_said}; the greatest of the rounds."] if names != ["seconds"] else []),
            *missing(labels),
        ],
        axes_height_in=_PANEL_IN * len(panels) + 0.3,
    ).figure
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, label, units) in zip(every, panels, strict=True):
        shown = known(table[name])
        unit = unit_for([max(shown)], units)
        for _, rows in series(table.dropna(subset=[name])):
            axes.plot(rows["frames"], rows[name] / unit.scale, **look(rows, labels))
        logarithmic(axes, axes.yaxis, min(shown) / unit.scale, max(shown) / unit.scale)
        log_frames(axes, sorted(table["frames"].unique()))
        axes.set_ylabel(f"{label} ({unit.name})")
    axes.set_xlabel("frames")
    figure.align_ylabels()
    return figure
