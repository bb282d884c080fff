"""The figures `repetitions` and `memory`: single processes, call by call and moment by moment."""

from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.grid.spans import FORWARD
from bench.plotting.axes import held
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import (
    LOG_RATIO,
    handles,
    logarithmic,
    series,
    sheet,
    whole_ticks,
)
from bench.plotting.style import GREY
from bench.records import Pass, Phase
from bench.results.tables import Tables
from bench.units import BYTES, SECONDS, unit_for, with_unit

COLD_RATIO: Final = 4.0
"""A cold call so many times the fastest one makes the axis logarithmic: one looks for small differences."""

_APART: Final[tuple[tuple[Phase, dict[str, Any], str], ...]] = (
    (Phase.COLD, {"marker": "*", "markersize": 10}, "cold call"),
    (Phase.TUNING, {"marker": "X", "markerfacecolor": "white", "markersize": 7}, "autotuning or compilation"),
    (Phase.WARMUP, {"markerfacecolor": "white", "markersize": 4.5}, "warm-up"),
)
"""Calls that count for nothing, as the legend shows those that there are."""


def _calls(tables: Tables) -> pd.DataFrame:
    """Return `round`, `phase`, `seconds` and `call`, which counts from 1 within a process."""
    samples = tables.samples[
        (tables.samples["pass"] == Pass.END_TO_END) & (tables.samples["stage"] == FORWARD)
    ].sort_values(["round", "start_s"], kind="stable")
    numbers = samples.groupby(["cell", "round"]).cumcount() + 1
    return samples[["cell", "round", "phase"]].assign(seconds=samples["wall_s"], call=numbers)


def repetitions_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    unit = unit_for(table["seconds"])
    table = table.assign(value=table["seconds"] / unit.scale)
    rounds = table["round"].nunique()
    phases: list[tuple[Artist, str]] = [
        (Line2D([], [], color=GREY, linestyle="", **({"marker": "o"} | shape)), name)
        for phase, shape, name in _APART
        if (table["phase"] == phase).any()
    ]
    figure = sheet(
        labels,
        "Forward time, call by call",
        held(table),
        legend=[*handles(table, labels), *phases],
        notes=[f"A line per process ({rounds} of them)."] if rounds > 1 else [],
        axes_height_in=3.6,
    )
    axes = figure.add_subplot()
    thin = {"linewidth": 1.1, "alpha": 0.9} if rounds == 1 else {"linewidth": 0.6, "alpha": 0.6}
    steady = (Phase.STEADY, {"markersize": 4.5 if rounds == 1 else 3}, "")
    for one in series(table, labels):
        for _, calls in one.rows.groupby("round"):
            axes.plot(calls["call"], calls["value"], **{**one.look, "marker": "", **thin})
            for phase, shape, _ in (*_APART, steady):
                own = calls[calls["phase"] == phase]
                points = {**one.look, "linestyle": "", "markeredgewidth": 0.9, **shape}
                axes.plot(own["call"], own["value"], **points)
    lowest, highest = table["value"].min(), table["value"].max()
    if highest > COLD_RATIO * lowest:
        logarithmic(axes, axes.yaxis, lowest, highest)
    else:
        axes.set_ylim(0, highest * 1.06)
    whole_ticks(axes, int(table["call"].max()))
    axes.set_xlabel("call in its process")
    axes.set_ylabel(f"forward time ({unit.name})")
    return figure


def _traces(tables: Tables) -> pd.DataFrame:
    """Return `round`, `elapsed_s`, `host_growth_bytes` and `device_bytes` since each round's first point."""
    memory = tables.memory.sort_values(["round", "elapsed_s"], kind="stable")
    first = memory.groupby(["cell", "round"])[["elapsed_s", "host_bytes"]].transform("first")
    return memory[["cell", "round", "device_bytes"]].assign(
        elapsed_s=memory["elapsed_s"] - first["elapsed_s"],
        host_growth_bytes=memory["host_bytes"] - first["host_bytes"],
    )


def memory_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    lengths = [float(one.rows["elapsed_s"].max()) for one in series(table, labels)]
    # Lasting too differently for one time axis, each trace is stretched to its own length.
    stretched = max(lengths) > LOG_RATIO * min(lengths)
    clock = unit_for([max(lengths)], SECONDS)
    panels = [("host_growth_bytes", "host memory, growth")]
    if table["device_bytes"].notna().any():
        panels.append(("device_bytes", "device memory, allocated"))
    table = table.astype({column: float for column, _ in panels})
    traces = series(table, labels)
    figure = sheet(
        labels,
        "Memory during a forward",
        held(table),
        legend=[
            (one.handle(marker=""), one.name + (f" ({with_unit(length, digits=2)})" if stretched else ""))
            for one, length in zip(traces, lengths, strict=True)
        ],
        axes_height_in=4.6 if len(panels) > 1 else 3.3,
    )
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, label) in zip(every, panels, strict=True):
        unit = unit_for([table[column].max()], BYTES)
        for one in traces:
            for _, points in one.rows.groupby("round"):
                if points[column].isna().any():
                    continue
                whole = points["elapsed_s"].max() or 1.0
                axes.plot(
                    100 * points["elapsed_s"] / whole if stretched else points["elapsed_s"] / clock.scale,
                    points[column] / unit.scale,
                    **{**one.look, "marker": ""},
                    linewidth=1.5 if table["round"].nunique() == 1 else 0.9,
                )
        axes.set_ylim(bottom=min(0, table[column].min() / unit.scale * 1.06))
        axes.set_ylabel(f"{label} ({unit.name})")
    axes.set_xlabel("elapsed (% of each trace's own length)" if stretched else f"elapsed ({clock.name})")
    return figure


REPETITIONS: Final = Kind(rows=_calls, draw=repetitions_figure, lacking="no samples")
MEMORY: Final = Kind(rows=_traces, draw=memory_figure, lacking="no memory pass")
