"""The figures `repetitions` and `memory`: what single processes did, call by call and moment by moment."""

from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plotting.plot_data import PlotGroup
from bench.plotting.plot_labels import frames_of, handle, missing, title_of
from bench.plotting.plot_series import Calls, MemoryTrace
from bench.plotting.plot_style import GREY, LOG_RATIO, colour, frame_ticks, line, logarithmic, marker, sheet
from bench.records import Phase
from bench.units import BYTES, SECONDS, unit_for, with_unit

COLD_RATIO: Final = 4.0
"""The same for a cold call over the fastest one, where it is the small differences that one looks for."""

_APART: Final[tuple[tuple[Phase, dict[str, Any], str], ...]] = (
    (Phase.COLD, {"marker": "*", "markersize": 10}, "cold call"),
    (Phase.TUNING, {"marker": "X", "markerfacecolor": "white"}, "autotuning or compilation"),
    (Phase.WARMUP, {"marker": "o", "markerfacecolor": "white"}, "warm-up"),
)
"""Calls that count for nothing, as the legend shows those that there are."""


def repetitions_figure(group: PlotGroup, _baseline: str) -> Figure:
    runs = [series for series in group.series if isinstance(series, Calls)]
    unit = unit_for(call.seconds for run in runs for call in run.calls)
    names = list(dict.fromkeys(run.backend for run in runs))
    rounds = len({run.round for run in runs})
    seen = {call.phase for run in runs for call in run.calls}
    phases: list[tuple[Any, str]] = [
        (Line2D([], [], color=GREY, linestyle="", **shape), name)
        for phase, shape, name in _APART
        if phase in seen
    ]
    figure = sheet(
        title=title_of(group, f"Forward time, call by call, {frames_of(group)}"),
        legend=[*((handle(group, name), name) for name in names), *phases],
        notes=[*([f"A line per process ({rounds} of them)."] if rounds > 1 else []), *missing(group)],
        axes_height_in=3.6,
    ).figure
    axes = figure.add_subplot()
    for run in runs:
        place = group.backends.index(run.backend)
        look: dict[str, Any] = {"color": colour(place), "linestyle": "", "markeredgewidth": 0.9}
        every = [(call.number, call.seconds / unit.scale, call.phase) for call in run.calls]
        axes.plot(
            [number for number, _, _ in every],
            [value for _, value, _ in every],
            color=colour(place),
            linestyle=line(place),
            linewidth=1.1 if rounds == 1 else 0.6,
            alpha=0.9 if rounds == 1 else 0.6,
        )
        for phase, shape in (
            (Phase.COLD, {"marker": "*", "markersize": 10}),
            (Phase.TUNING, {"marker": "X", "markerfacecolor": "white", "markersize": 7}),
            (Phase.WARMUP, {"marker": marker(place), "markerfacecolor": "white", "markersize": 4.5}),
            (Phase.STEADY, {"marker": marker(place), "markersize": 4.5 if rounds == 1 else 3}),
        ):
            of_phase = [(number, value) for number, value, its in every if its is phase]
            axes.plot([n for n, _ in of_phase], [v for _, v in of_phase], **look, **shape)
    values = [call.seconds / unit.scale for run in runs for call in run.calls]
    if max(values) > COLD_RATIO * min(values):
        logarithmic(axes, axes.yaxis, min(values), max(values))
    else:
        axes.set_ylim(0, max(values) * 1.06)
    last = max(call.number for run in runs for call in run.calls)
    frame_ticks(axes, range(1, last + 1))
    axes.set_xlabel("call in its process")
    axes.set_ylabel(f"forward time ({unit.name})")
    return figure


def memory_figure(group: PlotGroup, _baseline: str) -> Figure:
    traces = [series for series in group.series if isinstance(series, MemoryTrace)]
    names = list(dict.fromkeys(trace.backend for trace in traces))
    lengths = {name: max(trace.elapsed_s[-1] for trace in traces if trace.backend == name) for name in names}
    # Lasting too differently for one time axis, each trace is stretched to its own length.
    stretched = max(lengths.values()) > LOG_RATIO * min(lengths.values())
    clock = unit_for([max(lengths.values())], SECONDS)
    rounds = len({trace.round for trace in traces})
    host = [(trace, trace.host_growth_bytes) for trace in traces]
    device = [(trace, trace.device_bytes) for trace in traces if trace.device_bytes is not None]
    legend: list[tuple[Any, str]] = [
        (
            Line2D([], [], color=colour(place), linestyle=line(place)),
            f"{name} ({with_unit(lengths[name], digits=2)})" if stretched else name,
        )
        for name in names
        for place in [group.backends.index(name)]
    ]
    figure = sheet(
        title=title_of(group, f"Memory during a forward, {frames_of(group)}"),
        legend=legend,
        notes=missing(group),
        axes_height_in=4.6 if device else 3.3,
    ).figure
    panels = figure.subplots(2 if device else 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, label, lines in zip(
        panels, ("host memory, growth", "device memory, allocated"), (host, device), strict=False
    ):
        every = [value for _, values in lines for value in values]
        unit = unit_for([max(every)], BYTES)
        for trace, values in lines:
            place = group.backends.index(trace.backend)
            whole = trace.elapsed_s[-1] or 1.0
            axes.plot(
                [100 * t / whole if stretched else t / clock.scale for t in trace.elapsed_s],
                [value / unit.scale for value in values],
                color=colour(place),
                linestyle=line(place),
                linewidth=1.5 if rounds == 1 else 0.9,
            )
        axes.set_ylim(bottom=min(0, min(every) / unit.scale * 1.06))
        axes.set_ylabel(f"{label} ({unit.name})")
    panels[-1].set_xlabel(
        "elapsed (% of each trace's own length)" if stretched else f"elapsed ({clock.name})"
    )
    return figure
