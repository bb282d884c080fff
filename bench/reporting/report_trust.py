"""The report's sections on how far its figures can be trusted: sampling, the machine meanwhile, warnings."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd

from bench.records import WarmupEnd
from bench.reporting.markdown import Column, escape, table
from bench.reporting.report_cells import (
    ReportCell,
    axes_columns,
    distinct,
    number,
    place_of,
    with_figures_of,
)
from bench.results.analysis import WARNINGS_SEPARATOR, Tables
from bench.statistics.stopping import Stop
from bench.units import significant

_STOPS: Final = {
    Stop.COUNT: "as asked",
    Stop.TARGET: "target met",
    Stop.MAX: "most calls made",
    Stop.BUDGET: "time spent",
}
_WARMUPS: Final = {
    WarmupEnd.COUNT: "as asked",
    WarmupEnd.STEADY: "steady",
    WarmupEnd.GAVE_UP: "never steady",
}

PLACES: Final = 3
"""Cells that a warning names one by one; more are counted."""


def sampling(cells: Sequence[ReportCell]) -> str:
    """Why warm-up and sampling ended, and how the samples scatter."""
    found = with_figures_of(cells)
    if not found:
        return ""
    shown, rows = [cell for cell, _ in found], [row for _, row in found]
    columns = [
        *axes_columns(shown, cells),
        Column(title="warm-up ended", cells=[_words(cell, "warmup_end", _WARMUPS) for cell in shown]),
        Column(title="tuning calls", cells=[_tuning(cell) for cell in shown], numeric=True),
        Column(title="sampling ended", cells=[_words(cell, "stop_end_to_end", _STOPS) for cell in shown]),
        Column(
            title="interval reaches",
            cells=[_reach(row) for row in rows],
            numeric=True,
        ),
        Column(
            title="spread within a process",
            cells=[_share(number(row, "spread_within")) for row in rows],
            numeric=True,
        ),
        Column(
            title="between processes",
            cells=[_share(number(row, "spread_between")) for row in rows],
            numeric=True,
        ),
    ]
    return (
        "## How the samples were taken\n\nOf the end-to-end pass. *Interval reaches*: how far the further "
        "end of the forward's interval is from the median. Spreads are robust standard deviations; "
        "the one between processes is what is left after the one within explains what it can, and needs two "
        "rounds.\n\n"
        f"{table(columns)}"
    )


def machine(cells: Sequence[ReportCell]) -> str:
    """What the machine did while samples were taken; columns that it says nothing of are left out."""
    shown = [cell for cell, _ in with_figures_of(cells)]
    figures: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("cores busy with others", "others_cores", lambda value: f"{value:.2f}"),
        ("stolen time", "steal_share", lambda value: f"{100 * value:.1f} %"),
        ("CPU clock (MHz)", "cpu_mhz", lambda value: f"{value:.0f}"),
        ("SM clock (MHz)", "sm_clock_mhz", lambda value: f"{value:.0f}"),
        ("power (W)", "power_w", significant),
        ("hottest (°C)", "temperature_c", lambda value: f"{value:.0f}"),
        ("energy per frame (J)", "energy_per_frame_j", significant),
    )
    columns = [
        Column(
            title=title,
            cells=["" if (found := cell.over_rounds(name)) is None else show(found) for cell in shown],
            numeric=True,
        )
        for title, name, show in figures
    ]
    if not any(any(column.cells) for column in columns):
        return ""
    return (
        "## The machine meanwhile\n\nWhile steady samples were taken, read between calls; medians over the "
        "rounds. Energy is the whole device's, idle power included.\n\n"
        f"{table([*axes_columns(shown, cells), *columns])}"
    )


def warnings(tables: Tables, cells: Sequence[ReportCell]) -> str:
    """Each kind of warning once, with the cells that it is about, its worst figures and its remedy."""
    by_id = {cell.cell: cell for cell in cells}
    items = []
    for code, rows in tables.warnings.groupby("code", sort=False):
        every = rows.to_dict("records")
        whose = [by_id[row["cell"]] for row in every if row["cell"] in by_id]
        places = [escape(f"{place_of(cell, cells)}, {cell.backend}") for cell in whose]
        where = f" ({_listed(places)})" if places else ""
        more = f"; and {len(every) - 1} like it" if len(every) > 1 else ""
        items.append(
            f"* **{escape(code)}**{where}: {escape(every[0]['seen'])}{more}. "
            f"*What to do:* {escape(every[0]['remedy'])}."
        )
    return "## Warnings\n\n" + "\n".join([*items, *_of_workers(cells)]) if items or _of_workers(cells) else ""


def _of_workers(cells: Sequence[ReportCell]) -> list[str]:
    """What workers themselves had to say, once each."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for row in cell.rounds:
            for warning in filter(None, str(row["warnings"]).split(WARNINGS_SEPARATOR)):
                found.setdefault(warning, []).append(cell.backend)
    return [
        f"* {escape(warning)} ({len(backends)} round{'s' if len(backends) > 1 else ''}: "
        f"{', '.join(escape(name) for name in distinct(backends))})"
        for warning, backends in found.items()
    ]


def _listed(places: Sequence[str]) -> str:
    rest = [f"and {len(places) - PLACES} more"] if len(places) > PLACES else []
    return "; ".join([*places[:PLACES], *rest])


def _words(cell: ReportCell, name: str, words: dict[Any, str]) -> str:
    """What the rounds have in a column, each word once."""
    return ", ".join(distinct(words[row[name]] for row in cell.rounds if not pd.isna(row[name])))


def _tuning(cell: ReportCell) -> str:
    calls = cell.over_rounds("tuning_calls", max)
    return "" if calls is None else f"{calls:.0f}"


def _reach(row: dict[Any, Any]) -> str:
    low, high, middle = number(row, "low_s"), number(row, "high_s"), row["median_s"]
    if low is None or high is None or not middle:
        return ""
    return f"±{100 * max(middle - low, high - middle) / middle:.1f} %"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
