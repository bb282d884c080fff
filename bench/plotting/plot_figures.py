"""Plot groups to matplotlib figures. What is drawn is bench.plotting.plot_data's business."""

from collections.abc import Callable
from typing import Final

from matplotlib.figure import Figure

from bench.plotting.plot_curves import speedup_figure, time_figure
from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_long_clips import long_clips_figure
from bench.plotting.plot_roofline import roofline_figure
from bench.plotting.plot_stages import stages_figure
from bench.plotting.plot_style import style
from bench.plotting.plot_traces import memory_figure, repetitions_figure


def figure(group: PlotGroup, *, baseline: str) -> Figure:
    """The figure of a group that has series; draw and save it inside `plot_style.style()`.

    Raises ValueError for a group without series: there is no empty figure.
    """
    if not group.series:
        raise ValueError(f"nothing to draw for {group.kind}: {group.empty}")
    with style():
        return _DRAWERS[group.kind](group, baseline)


_DRAWERS: Final[dict[str, Callable[[PlotGroup, str], Figure]]] = {
    "time": time_figure,
    "speedup": speedup_figure,
    "stages": stages_figure,
    "repetitions": repetitions_figure,
    "memory": memory_figure,
    "long_clips": long_clips_figure,
    "roofline": roofline_figure,
}
