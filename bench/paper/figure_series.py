"""Figures 14 to 17: what each shows of an edition, as lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from matplotlib.figure import Figure

from bench.paper.editions import PAPER, Edition, Memory, Role, Timing
from bench.paper.figure_lines import LinePanel, Trace, lines_figure
from bench.paper.figure_panels import ROLES, C, Panel, label, notes, panels
from bench.plotting.plot_curves import INTERVALS
from bench.plotting.plot_style import LOG_RATIO
from bench.statistics.stats import CONFIDENCE
from bench.units import BYTES, with_unit

CALLS: Final = 10
"""Calls of each process that figure 14 shows, as the paper's has them."""

FILLED: Final = 2.0
"""The paper's lines may reach so many times as far as this machine's, short in a quick version."""

MIB: Final = next(unit.scale for unit in BYTES if unit.name == "MiB")

Editions = Mapping[str, Edition]


def repetitions(editions: Editions) -> list[Panel[Timing]]:
    return panels(
        editions,
        lambda edition: edition.repetitions,
        shows=lambda cell: any(cell.rounds),
        lacking="no samples",
        one_length=True,
    )


def times(editions: Editions) -> list[Panel[Timing]]:
    return panels(
        editions,
        lambda edition: edition.frames,
        shows=lambda cell: cell.median_s is not None,
        lacking="no steady samples",
        one_length=False,
    )


def speedups(editions: Editions) -> list[Panel[Timing]]:
    return panels(
        editions,
        lambda edition: [cell for cell in edition.frames if cell.role is not Role.CPU],
        shows=lambda cell: cell.speedup is not None,
        lacking="no CPU time to compare with",
        one_length=False,
    )


def memory(editions: Editions) -> list[Panel[Memory]]:
    return panels(
        editions,
        lambda edition: edition.memory,
        shows=lambda cell: len(cell.elapsed_s) > 1 and cell.elapsed_s[-1] > 0,
        lacking="no memory over time",
        one_length=True,
    )


def repetitions_figure(editions: Editions) -> Figure | None:
    every = repetitions(editions)
    cut = cut_at(CALLS, every)
    processes = max((len(cell.rounds) for panel in every for cell in panel.cells), default=0)
    said = [
        *([f"A line per process (up to {processes})."] if processes > 1 else []),
        *([f"The first {CALLS} calls of each process of more: {cut}."] if cut else []),
    ]
    return _timings(
        every,
        _calls,
        title="Figure 14: the same clip again and again",
        x_label="call in its process",
        y_label="time (s)",
        said=said,
    )


def cut_at(calls: int, every: Sequence[Panel[Timing]]) -> str:
    """The editions that have processes with more calls than that."""
    return ", ".join(
        panel.edition.name
        for panel in every
        if any(len(its) > calls for cell in panel.cells for its in cell.rounds)
    )


def times_figure(editions: Editions) -> Figure | None:
    every = times(editions)
    return _timings(
        every,
        lambda panel: _curves(panel, lambda cell: (cell.median_s, cell.low_s, cell.high_s)),
        title="Figure 15: time by frames",
        x_label="frames",
        y_label="time (s)",
        said=interval_notes(every),
    )


def speedups_figure(editions: Editions) -> Figure | None:
    every = speedups(editions)
    return _timings(
        every,
        lambda panel: _curves(panel, lambda cell: (cell.speedup, cell.speedup_low, cell.speedup_high)),
        title="Figure 16: speedup over the CPU by frames",
        x_label="frames",
        y_label="speedup (×)",
        said=interval_notes(every),
        unit_line=True,
    )


def memory_figure(editions: Editions) -> Figure | None:
    """Host memory over the seconds of one call, each panel on its own time."""
    every = memory(editions)
    shown = [panel for panel in every if panel.cells]
    if not shown:
        return None
    theirs = [_memory(cell) for panel in shown if panel.edition.name == PAPER for cell in panel.cells]
    drawn: list[LinePanel] = []
    said: list[str] = []
    for panel in shown:
        groups = _by_length(panel.cells)
        for cells in groups:
            own = [_memory(cell) for cell in cells]
            names = ", ".join(cell.backend for cell in cells)
            behind: list[Trace] = []
            if panel.edition.name != PAPER and theirs:
                length, their_length = (max(trace.x[-1] for trace in traces) for traces in (own, theirs))
                if _apart(length, their_length) <= LOG_RATIO:
                    behind = theirs
                else:
                    said.append(
                        f"The paper's trace is {with_unit(their_length, digits=2)} long and left out beside"
                        f" {panel.edition.name}'s of {names}, {with_unit(length, digits=2)}."
                    )
            heading = f"{names}. {panel.heading}" if len(groups) > 1 else panel.heading
            drawn.append(LinePanel(heading=heading, own=tuple(own), theirs=tuple(behind)))
    return lines_figure(
        drawn,
        title="Figure 17: host memory during one call",
        labels=_labels(shown),
        x_label="elapsed (s)",
        y_label="host memory (MiB)",
        notes=[*said, *notes(every)],
        counts=False,
        may_be_logarithmic=False,
    )


def _by_length(cells: Sequence[Memory]) -> list[list[Memory]]:
    """Cells whose calls lasted about as long share a time axis: a GPU's would be a dash on the CPU's."""
    groups: list[list[Memory]] = []
    for cell in sorted(cells, key=lambda cell: -cell.elapsed_s[-1]):
        if groups and _apart(groups[-1][0].elapsed_s[-1], cell.elapsed_s[-1]) <= LOG_RATIO:
            groups[-1].append(cell)
        else:
            groups.append([cell])
    return [sorted(group, key=cells.index) for group in groups]


def _apart(one_s: float, other_s: float) -> float:
    """How many times as long the longer is."""
    return max(one_s, other_s) / min(one_s, other_s)


def interval_notes(every: list[Panel[Timing]]) -> list[str]:
    """What the bands and bars of a figure say, if it has any."""
    kinds = {c.interval for panel in every for c in panel.cells if c.low_s is not None}
    said = [text for kind, text in INTERVALS.items() if kind in kinds]
    return [f"Medians with {100 * CONFIDENCE:g} % intervals ({' or '.join(said)})."] if said else []


def _timings(
    every: list[Panel[Timing]],
    traces: Callable[[Panel[Timing]], list[Trace]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    said: list[str],
    unit_line: bool = False,
) -> Figure | None:
    shown = [panel for panel in every if panel.cells]
    if not shown:
        return None
    theirs = [trace for panel in shown if panel.edition.name == PAPER for trace in traces(panel)]
    drawn: list[LinePanel] = []
    for panel in shown:
        own = traces(panel)
        behind = [] if panel.edition.name == PAPER else _within_reach(theirs, own)
        drawn.append(LinePanel(heading=panel.heading, own=tuple(own), theirs=tuple(behind)))
    return lines_figure(
        drawn,
        title=title,
        labels=_labels(shown),
        x_label=x_label,
        y_label=y_label,
        notes=[*said, *notes(every)],
        unit_line=unit_line,
    )


def _within_reach(theirs: Sequence[Trace], own: Sequence[Trace]) -> list[Trace]:
    """The paper's lines, cut at the end of this machine's where those would fill but a part of the panel."""
    end = max(trace.x[-1] for trace in own)
    if all(trace.x[-1] <= FILLED * end for trace in theirs):
        return list(theirs)
    kept = [sum(x <= end for x in trace.x) for trace in theirs]
    return [
        replace(trace, x=trace.x[:n], y=trace.y[:n], low=trace.low[:n], high=trace.high[:n])
        for trace, n in zip(theirs, kept, strict=True)
        if n
    ]


def _labels(shown: list[Panel[C]]) -> dict[Role, str]:
    drawn = {cell.role for panel in shown for cell in panel.cells}
    return {role: label(role, shown) for role in ROLES if role in drawn}


def _calls(panel: Panel[Timing]) -> list[Trace]:
    return [
        Trace(role=cell.role, x=tuple(range(1, len(calls[:CALLS]) + 1)), y=calls[:CALLS])
        for cell in panel.cells
        for calls in cell.rounds
        if calls
    ]


def _curves(
    panel: Panel[Timing], figure: Callable[[Timing], tuple[float | None, float | None, float | None]]
) -> list[Trace]:
    made: list[Trace] = []
    for backend in dict.fromkeys(cell.backend for cell in panel.cells):
        cells = [cell for cell in panel.cells if cell.backend == backend]
        points = [(cell.frames, *figure(cell)) for cell in cells]
        made.append(
            Trace(
                role=cells[0].role,
                x=tuple(frames for frames, _, _, _ in points),
                y=tuple(value for _, value, _, _ in points if value is not None),
                low=tuple(low for _, _, low, _ in points),
                high=tuple(high for _, _, _, high in points),
            )
        )
    return made


def _memory(cell: Memory) -> Trace:
    return Trace(role=cell.role, x=cell.elapsed_s, y=tuple(value / MIB for value in cell.host_bytes))
