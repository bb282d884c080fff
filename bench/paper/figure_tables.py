"""The numbers under the paper's figures, and its figure 18 and table 1, which are tables themselves.

Cells are plain text: who writes them to a page or to Markdown escapes them. Seconds and MiB throughout, like
the paper, so that editions can be compared at sight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from bench.paper.editions import Edition, Memory, StageTiming, Timing
from bench.paper.figure_dots import headline
from bench.paper.figure_panels import C, Panel, notes, panels, source
from bench.paper.figure_pies import means, stages
from bench.paper.figure_series import CALLS, MIB, interval_notes, memory, repetitions, speedups, times
from bench.plotting.plot_series import STAGE_ORDER
from bench.reporting.markdown import Column, escape, table
from bench.units import significant

REPETITIONS: Final = 3
"""Repetitions of each stage that table 1 lists, as the paper's does."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """Columns of equally many cells, and what has to be known to read them."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()


def markdown(shown: PaperTable) -> str:
    """The table alone, escaped; nothing where it has no row."""
    return table(
        [
            Column(
                title=escape(column.title),
                cells=[escape(cell) for cell in column.cells],
                numeric=column.numeric,
            )
            for column in shown.columns
        ]
    )


def tables_of(key: str, editions: Mapping[str, Edition]) -> list[PaperTable]:
    """The tables of a key of TABLES, the paper's first; none where no edition has anything to show.

    Raises KeyError for another key.
    """
    return _TABLES[key](editions)


def _headline(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = headline(editions)
    found = _cells(every)
    columns = [
        *_whose(found),
        _column("t", [str(cell.frames) for _, cell in found]),
        _column("time (s)", [_bounded(cell.median_s, cell.low_s, cell.high_s) for _, cell in found]),
        _column(
            "speedup over the CPU",
            [_bounded(cell.speedup, cell.speedup_low, cell.speedup_high) for _, cell in found],
        ),
    ]
    return _one("Headline", columns, [*interval_notes(every), *notes(every)])


def _repetitions(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = repetitions(editions)
    made: list[PaperTable] = []
    for panel in every:
        longest = max((len(calls) for cell in panel.cells for calls in cell.rounds), default=0)
        numbers = range(min(CALLS, longest))
        columns = [
            _column("call", [*(str(number + 1) for number in numbers), "median of those that count"]),
            *(
                _column(
                    f"{cell.backend} (s)",
                    [
                        *(_middle([calls[n] for calls in cell.rounds if len(calls) > n]) for n in numbers),
                        _bounded(cell.median_s, cell.low_s, cell.high_s),
                    ],
                )
                for cell in panel.cells
            ),
        ]
        processes = max((len(cell.rounds) for cell in panel.cells), default=0)
        said = [f"Each call's median over up to {processes} processes."] if processes > 1 else []
        made += _one(f"Figure 14. {panel.heading}", columns if panel.cells else [], said)
    return _noted(made, [*interval_notes(every), *notes(every)])


def _times(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = times(editions)
    made = _by_frames(every, "Figure 15", "s", lambda cell: (cell.median_s, cell.low_s, cell.high_s))
    return _noted(made, [*interval_notes(every), *notes(every)])


def _speedups(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = speedups(editions)
    made = _by_frames(
        every, "Figure 16", "×", lambda cell: (cell.speedup, cell.speedup_low, cell.speedup_high)
    )
    return _noted(made, [*interval_notes(every), *notes(every)])


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
            by_backend.setdefault(cell.backend, {})[cell.frames] = _bounded(*figure(cell))
        columns = [
            _column("frames", [str(count) for count in frames]),
            *(
                _column(f"{backend} ({unit})", [at.get(count, "") for count in frames])
                for backend, at in by_backend.items()
            ),
        ]
        made += _one(f"{title}. {panel.heading}", columns, [])
    return made


def _memory(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = memory(editions)
    found = _cells(every)
    columns = [
        *_whose(found),
        _column("t", [str(cell.frames) for _, cell in found]),
        _column("gradients", [_yes(cell.gradients) for _, cell in found], numeric=False),
        _column("duration (s)", [significant(cell.elapsed_s[-1] - cell.elapsed_s[0]) for _, cell in found]),
        _column("host before (MiB)", [_mib(cell.before_bytes) for _, cell in found]),
        _column("host peak (MiB)", [_mib(cell.peak_bytes) for _, cell in found]),
        _column("grown (MiB)", [_grown(cell) for _, cell in found]),
        _column("device peak (MiB)", [_mib(cell.peak_device_bytes) for _, cell in found]),
    ]
    return _one("Figure 17", columns, notes(every))


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
            _column("line", [str(line.line) for line in cell.lines]),
            _column("source", [line.source.strip() for line in cell.lines], numeric=False),
            _column("times", [str(line.occurrences) for line in cell.lines]),
            _column("added (MiB)", [_mib(line.increment_bytes) for line in cell.lines]),
            _column("host after (MiB)", [_mib(line.host_bytes) for line in cell.lines]),
        ]
        if not cell.lines:
            columns = [
                _column("when", ["before the call", "at its peak"], numeric=False),
                _column("host (MiB)", [_mib(cell.before_bytes), _mib(cell.peak_bytes)]),
            ]
        made += _one(f"Figure 18. {cell.backend}. {panel.heading}", columns, [])
    return _noted(made, notes(every))


def _shares(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = stages(editions)
    found = _cells(every)
    columns = [
        *_whose(found),
        *(
            _column(
                f"{stage} (%)",
                [f"{100 * means(cell)[place] / sum(means(cell)):.1f}" for _, cell in found],
            )
            for place, stage in enumerate(STAGE_ORDER)
            if any(means(cell)[place] for _, cell in found)
        ),
        _column("sum of means (s)", [significant(sum(means(cell))) for _, cell in found]),
    ]
    return _one("Figure 19", columns, notes(every))


def _seconds(editions: Mapping[str, Edition]) -> list[PaperTable]:
    every = stages(editions)
    made: list[PaperTable] = []
    for panel in every:
        rows: list[tuple[str, str, dict[str, str]]] = []
        for cell in panel.cells:
            rows += [(cell.backend, *row) for row in _of_stages(cell)]
        columns = [
            _column("method", [method for method, _, _ in rows], numeric=False),
            _column("repetition", [name for _, name, _ in rows]),
            *(
                _column(f"{stage} (s)", [values.get(stage, "") for _, _, values in rows])
                for stage in STAGE_ORDER
                if any(values.get(stage) for _, _, values in rows)
            ),
        ]
        made += _one(f"Table 1. {panel.heading}", columns, [])
    return _noted(made, notes(every))


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
    bounded = {
        stage: _bounded(median(its), cell.low_s.get(stage), cell.high_s.get(stage))
        for stage, its in cell.seconds.items()
        if its and stage in cell.low_s
    }
    return [*rows, ("median, interval", bounded)] if bounded else rows


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


def _cells(every: Sequence[Panel[C]]) -> list[tuple[Edition, C]]:
    return [(panel.edition, cell) for panel in every for cell in panel.cells]


def _whose(found: Sequence[tuple[Edition, C]]) -> list[Column]:
    return [
        _column("source", [source(edition) for edition, _ in found], numeric=False),
        _column("method", [cell.backend for _, cell in found], numeric=False),
    ]


def _column(title: str, cells: Sequence[str], *, numeric: bool = True) -> Column:
    return Column(title=title, cells=tuple(cells), numeric=numeric)


def _one(title: str, columns: Sequence[Column], said: Sequence[str]) -> list[PaperTable]:
    """The table, less its empty columns, if it has a row."""
    kept = tuple(column for column in columns if any(column.cells))
    return [PaperTable(title=title, columns=kept, notes=tuple(said))] if kept else []


def _noted(made: list[PaperTable], said: Sequence[str]) -> list[PaperTable]:
    """The tables, what holds for all of them below the last."""
    if not made:
        return []
    last = made[-1]
    noted = PaperTable(title=last.title, columns=last.columns, notes=(*last.notes, *said))
    return [*made[:-1], noted]


def _bounded(value: float | None, low: float | None, high: float | None) -> str:
    """Such as `1.84 [1.80, 1.88]`."""
    if value is None:
        return ""
    bounds = "" if low is None or high is None else f" [{significant(low)}, {significant(high)}]"
    return f"{significant(value)}{bounds}"


def _middle(values: Sequence[float]) -> str:
    return significant(median(values)) if values else ""


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / MIB:,.0f}" if abs(size) >= 100 * MIB else f"{size / MIB:.1f}"


def _grown(cell: Memory) -> str:
    if cell.before_bytes is None or cell.peak_bytes is None:
        return ""
    return _mib(cell.peak_bytes - cell.before_bytes)


def _yes(value: bool | None) -> str:
    return "" if value is None else "kept" if value else "none"
