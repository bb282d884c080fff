"""The numbers under the paper's figures, and its figure 18 and table 1, which are tables themselves.

Cells are plain text: who writes them to a page or to Markdown escapes them. Seconds and MiB throughout, like
the paper, so that editions can be compared at sight.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from statistics import fmean, median
from typing import Final

from bench.paper.editions import Edition, StageTiming, Timing
from bench.paper.figure_dots import headline
from bench.paper.figure_panels import Panel, notes, panels
from bench.paper.figure_pies import STAGE_ORDER, means, stages
from bench.paper.figure_series import CALLS, cut_at, interval_notes, memory, repetitions, speedups, times
from bench.paper.figure_table import (
    PaperTable,
    bounded,
    cells,
    column,
    grown,
    kept,
    markdown,
    mib,
    middle,
    noted,
    one,
    whose,
)
from bench.units import significant

__all__ = ["TABLES", "PaperTable", "markdown", "tables_of"]

REPETITIONS: Final = 3
"""Repetitions of each stage that table 1 lists, as the paper's does."""


LISTED: Final = 60
"""Calls of each process that figure 14's table lists: six times what the paper's presets ask for."""

UNCOUNTED: Final = "*"
"""Marks a call that is not among those that the median is of."""


def tables_of(key: str, editions: Mapping[str, Edition]) -> list[PaperTable]:
    """The tables of a key of TABLES, the paper's first; none where no edition has anything to show.

    Raises KeyError for another key.
    """
    return _TABLES[key](editions)


def _headline(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = headline(editions)
    found = cells(every)
    columns = [
        *whose(found),
        column("t", [str(cell.frames) for _, cell in found]),
        column("time (s)", [bounded(cell.median_s, cell.low_s, cell.high_s) for _, cell in found]),
        column(
            "speedup over the CPU",
            [bounded(cell.speedup, cell.speedup_low, cell.speedup_high) for _, cell in found],
        ),
    ]
    return one("Headline", columns, [*interval_notes(every), *notes(every)])


def _repetitions(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = repetitions(editions)
    made: list[PaperTable] = []
    for panel in every:
        longest = max((len(calls) for cell in panel.cells for calls in cell.rounds), default=0)
        numbers = range(min(LISTED, longest))
        columns = [
            column("call", [*(str(number + 1) for number in numbers), "median of those that count"]),
            *(
                column(
                    f"{cell.backend} (s)",
                    [
                        *(_call(cell, number) for number in numbers),
                        bounded(cell.median_s, cell.low_s, cell.high_s),
                    ],
                )
                for cell in panel.cells
            ),
        ]
        processes = max((len(cell.rounds) for cell in panel.cells), default=0)
        said = [f"Each call's median over up to {processes} processes."] if processes > 1 else []
        if any(cell.endswith(UNCOUNTED) for its in columns for cell in its.cells):
            said.append(f"{UNCOUNTED} does not count: first calls and warm-up are kept apart.")
        made += one(f"Figure 14. {panel.heading}", columns if panel.cells else [], said)
    drawn, listed = cut_at(CALLS, every), cut_at(LISTED, every)
    cut = [
        *([f"The figure has the first {CALLS} calls of each process of more: {drawn}."] if drawn else []),
        *([f"The table has the first {LISTED} calls of each process of more: {listed}."] if listed else []),
    ]
    return noted(made, [*cut, *interval_notes(every), *notes(every)])


def _call(cell: Timing, number: int) -> str:
    """The median over processes of the call (from 0), marked where it does not count in one of them."""
    rounds = zip_longest(cell.rounds, cell.steady, fillvalue=())
    uncounted = max((len(calls) - len(steady) for calls, steady in rounds), default=0)
    shown = middle([calls[number] for calls in cell.rounds if len(calls) > number])
    return f"{shown}{UNCOUNTED}" if shown and number < uncounted else shown


def _times(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = times(editions)
    made = _by_frames(every, "Figure 15", "s", lambda cell: (cell.median_s, cell.low_s, cell.high_s))
    return noted(made, [*interval_notes(every), *notes(every)])


def _speedups(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = speedups(editions)
    made = _by_frames(
        every, "Figure 16", "×", lambda cell: (cell.speedup, cell.speedup_low, cell.speedup_high)
    )
    return noted(made, [*interval_notes(every), *notes(every)])


def _by_frames(
    every: Sequence[Panel[Timing]],
    title: str,
    unit: str,
    figure: Callable[[Timing], tuple[float | None, float | None, float | None]],
) -> list[PaperTable]:
    made: list[PaperTable] = []
    for panel in every:
        frames = sorted({cell.frames for cell in panel.cells})
        by_backend: dict[str, dict[int, str]] = {}
        for cell in panel.cells:
            by_backend.setdefault(cell.backend, {})[cell.frames] = bounded(*figure(cell))
        columns = [
            column("frames", [str(count) for count in frames]),
            *(
                column(f"{backend} ({unit})", [at.get(count, "") for count in frames])
                for backend, at in by_backend.items()
            ),
        ]
        made += one(f"{title}. {panel.heading}", columns, [])
    return made


def _memory(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = memory(editions)
    found = cells(every)
    columns = [
        *whose(found),
        column("t", [str(cell.frames) for _, cell in found]),
        column("gradients", [kept(cell.gradients) for _, cell in found], numeric=False),
        column("duration (s)", [significant(cell.elapsed_s[-1] - cell.elapsed_s[0]) for _, cell in found]),
        column("host before (MiB)", [mib(cell.before_bytes) for _, cell in found]),
        column("host peak (MiB)", [mib(cell.peak_bytes) for _, cell in found]),
        column("grown (MiB)", [grown(cell) for _, cell in found]),
        column("device peak (MiB)", [mib(cell.peak_device_bytes) for _, cell in found]),
    ]
    return one("Figure 17", columns, notes(every))


def _lines(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = panels(
        editions,
        lambda edition: edition.memory,
        shows=lambda cell: bool(cell.lines) or None not in (cell.before_bytes, cell.peak_bytes),
        lacking="no memory by line",
        one_length=True,
    )
    made: list[PaperTable] = []
    for panel, cell in ((its, cell) for its in every for cell in its.cells):
        columns = [
            column("line", [str(line.line) for line in cell.lines]),
            column("source", [line.source.strip() for line in cell.lines], numeric=False),
            column("times", [str(line.occurrences) for line in cell.lines]),
            column("added (MiB)", [mib(line.increment_bytes) for line in cell.lines]),
            column("host after (MiB)", [mib(line.host_bytes) for line in cell.lines]),
        ]
        if not cell.lines:
            columns = [
                column("when", ["before the call", "at its peak"], numeric=False),
                column("host (MiB)", [mib(cell.before_bytes), mib(cell.peak_bytes)]),
            ]
        made += one(f"Figure 18. {cell.backend}. {panel.heading}", columns, [])
    return noted(made, notes(every))


def _shares(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = stages(editions)
    found = cells(every)
    columns = [
        *whose(found),
        *(
            column(
                f"{stage} (%)",
                [f"{100 * means(cell)[place] / sum(means(cell)):.1f}" for _, cell in found],
            )
            for place, stage in enumerate(STAGE_ORDER)
            if any(means(cell)[place] for _, cell in found)
        ),
        column("sum of means (s)", [significant(sum(means(cell))) for _, cell in found]),
    ]
    return one("Figure 19", columns, notes(every))


def _seconds(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = stages(editions)
    made: list[PaperTable] = []
    for panel in every:
        rows: list[tuple[str, str, dict[str, str]]] = []
        for cell in panel.cells:
            rows += [(cell.backend, *row) for row in _of_stages(cell)]
        columns = [
            column("method", [method for method, _, _ in rows], numeric=False),
            column("repetition", [name for _, name, _ in rows]),
            *(
                column(f"{stage} (s)", [values.get(stage, "") for _, _, values in rows])
                for stage in STAGE_ORDER
                if any(values.get(stage) for _, _, values in rows)
            ),
        ]
        made += one(f"Table 1. {panel.heading}", columns, [])
    return noted(made, notes(every))


def _of_stages(cell: StageTiming) -> list[tuple[str, dict[str, str]]]:
    """Rows of table 1: the first repetitions, the mean of all, and the medians that have an interval."""
    repetitions = max(map(len, cell.seconds.values()), default=0)
    rows = [
        (
            str(number + 1),
            {stage: significant(its[number]) for stage, its in cell.seconds.items() if len(its) > number},
        )
        for number in range(min(REPETITIONS, repetitions))
    ]
    of_all = {stage: significant(fmean(its)) for stage, its in cell.seconds.items() if its}
    rows.append((f"mean of {repetitions}", of_all))
    medians = {
        stage: bounded(median(its), cell.low_s.get(stage), cell.high_s.get(stage))
        for stage, its in cell.seconds.items()
        if its and stage in cell.low_s
    }
    return [*rows, ("median, interval", medians)] if medians else rows


_TABLES: Final[dict[str, Callable[[Mapping[str, Edition]], list[PaperTable]]]] = {
    "headline": _headline,
    "14": _repetitions,
    "15": _times,
    "16": _speedups,
    "17": _memory,
    "18": _lines,
    "19": _shares,
    "table1": _seconds,
}

TABLES: Final = tuple(_TABLES)
"""Keys of `tables_of`, in the paper's order; those of bench.paper.figures.FIGURES are among them."""
