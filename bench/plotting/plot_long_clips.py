"""The figure `long_clips`: seconds and memory against the frame count, for clips of very different lengths.

Both axes are logarithmic: what grows with the clip is a line of slope one, what does not is level.
"""

from collections.abc import Callable
from typing import Any, Final

from matplotlib.figure import Figure

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_labels import handle, missing, title_of
from bench.plotting.plot_series import Need
from bench.plotting.plot_style import colour, line, log_frames, logarithmic, marker, sheet
from bench.units import BYTES, SECONDS, Unit, unit_for

_Value = Callable[[Need], float | None]

_PANEL_IN: Final = 2.3

_MEMORY_NOTE: Final = "Memory: on the host what a call adds to what its process held before it"
_DEVICE_NOTE: Final = ", on a device the peak of what is allocated there"


def long_clips_figure(group: PlotGroup, _baseline: str) -> Figure:
    needs = [series for series in group.series if isinstance(series, Need)]
    every: list[tuple[_Value, str, tuple[Unit, ...]]] = [
        (lambda need: need.seconds, "forward time", SECONDS),
        (lambda need: need.host_bytes, "host memory, growth", BYTES),
        (lambda need: need.device_bytes, "device memory, peak", BYTES),
    ]
    panels = [panel for panel in every if any(panel[0](need) is not None for need in needs)]
    names = [name for name in group.backends if any(need.backend == name for need in needs)]
    has_device = any(need.device_bytes is not None for need in needs)
    memory_said = _MEMORY_NOTE + (_DEVICE_NOTE if has_device else "")
    figure = sheet(
        title=title_of(group, "What clips of different lengths take, one forward"),
        legend=[(handle(group, name), name) for name in names],
        notes=[
            *(["Time: medians of the steady calls."] if panels[0] is every[0] else []),
            *([f"{memory_said}; the greatest of the rounds."] if panels[-1] is not every[0] else []),
            *missing(group),
        ],
        axes_height_in=_PANEL_IN * len(panels) + 0.3,
    ).figure
    for axes, (value_of, label, units) in zip(
        figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True
    ):
        shown = [value for need in needs if (value := value_of(need)) is not None]
        unit = unit_for([max(shown)], units)
        for name in names:
            place = group.backends.index(name)
            points = sorted(
                (need.frames, value / unit.scale)
                for need in needs
                if need.backend == name and (value := value_of(need)) is not None
            )
            look: dict[str, Any] = {
                "color": colour(place), "linestyle": line(place), "marker": marker(place),
            }  # fmt: skip
            axes.plot([frames for frames, _ in points], [value for _, value in points], **look)
        logarithmic(axes, axes.yaxis, min(shown) / unit.scale, max(shown) / unit.scale)
        log_frames(axes, group.frames)
        axes.set_ylabel(f"{label} ({unit.name})")
    axes.set_xlabel("frames")
    figure.align_ylabels()
    return figure
