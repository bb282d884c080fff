"""Tables to matplotlib figures. What is drawn is bench.plotting.plot_data's business."""

from collections.abc import Callable
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from bench.plotting.plot_curves import relative_figure, speedup_figure, time_figure
from bench.plotting.plot_data import Labels, PlotGroup
from bench.plotting.plot_long_clips import long_clips_figure
from bench.plotting.plot_roofline import roofline_figure
from bench.plotting.plot_stages import stages_figure
from bench.plotting.plot_style import style
from bench.plotting.plot_traces import memory_figure, repetitions_figure


def figure(group: PlotGroup, *, baseline: str) -> Figure:
    """Draw a group that has rows, inside `plot_style.style()`; save it there too.

    Raises ValueError for a group without rows: there is no empty figure.
    """
    if group.empty:
        raise ValueError(f"nothing to draw for {group.kind}: {group.empty}")
    with style():
        return _DRAWERS[group.kind](group.table, group.labels, baseline)


_DRAWERS: Final[dict[str, Callable[[pd.DataFrame, Labels, str], Figure]]] = {
    "time": time_figure,
    "speedup": speedup_figure,
    "relative": relative_figure,
    "stages": stages_figure,
    "repetitions": repetitions_figure,
    "memory": memory_figure,
    "long_clips": long_clips_figure,
    "roofline": roofline_figure,
}
