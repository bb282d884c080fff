"""What a page of many runs says in rows where one of a few has a column per run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.records import Status
from bench.reporting.markdown import Column, escape, table
from bench.reporting.side_by_side_figures import ABSENT, Side
from bench.results.differing import Facts, differing_facts

MANY: Final = 8
"""Runs in columns side by side; more do not fit a page."""

MANY_KINDS: Final = ("speedup",)
"""Of the overlaid curves, those that a page of many runs has, in as many figures as they take."""

NAMED: Final = 3
"""Of the runs that have something in common, those that are named; the others are counted."""

VALUES: Final = 6
"""Of what differs between runs, those that are listed; more are counted in the last row."""


def names_in_short(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are; not escaped."""
    more = len(names) - NAMED
    return ", ".join(names if more <= 1 else [*names[:NAMED], f"and {more} more"])


def differences_of_many(title: str, sides: Mapping[str, Facts]) -> str:
    """A row per name and value where not all runs have the same: which have it; `–` is a run without one."""
    found: list[tuple[str, str, list[str]]] = []
    for name, texts in differing_facts([*sides.values()]).items():
        having: dict[str, list[str]] = {}
        for run, text in zip(sides, texts, strict=True):
            having.setdefault(ABSENT if text is None else text, []).append(run)
        values = [*having.items()]
        shown = values if len(values) <= VALUES else values[: VALUES - 1]
        rest = [run for _, runs in values[len(shown) :] for run in runs]
        found += [(name, value, runs) for value, runs in shown]
        found += [(name, f"{len(values) - len(shown)} other values", rest)] if rest else []
    if not found:
        return f"## {title}\n\nNothing."
    columns = [
        Column(title="what", cells=[escape(name) for name, _, _ in found]),
        Column(title="value", cells=[escape(value) for _, value, _ in found]),
        Column(title="runs", cells=[str(len(runs)) for _, _, runs in found], numeric=True),
        Column(title="which", cells=[escape(names_in_short(runs)) for _, _, runs in found]),
    ]
    return f"## {title}\n\n{table(columns)}"


def speedups_of_many(sides: Sequence[Side], figures: str) -> str:
    """The curves over each run's own baseline. Empty where there are none."""
    if not figures:
        return ""
    over = ", ".join(escape(name) for name in dict.fromkeys(str(side.baseline) for side in sides))
    return f"## Speedup\n\nOver each run's own baseline: {over}.\n\n{figures}"


def failures_of_many(sides: Sequence[Side]) -> str:
    """A row per backend, status and reason of rounds that did not end ok."""
    found: dict[tuple[str, str, str], tuple[set[tuple[str, str]], dict[str, None]]] = {}
    for side in sides:
        for cell in side.cells:
            for row in cell.rounds:
                if row["status"] != Status.OK:
                    key = (cell.backend, str(row["status"]), str(row["reason"]))
                    cells, runs = found.setdefault(key, (set(), {}))
                    cells.add((side.name, cell.cell))
                    runs[side.name] = None
    if not found:
        return ""
    columns = [
        Column(title="backend", cells=[escape(backend) for backend, _, _ in found]),
        Column(title="cells", cells=[str(len(cells)) for cells, _ in found.values()], numeric=True),
        Column(title="runs", cells=[str(len(runs)) for _, runs in found.values()], numeric=True),
        Column(title="which", cells=[escape(names_in_short([*runs])) for _, runs in found.values()]),
        Column(title="ended", cells=[status for _, status, _ in found]),
        Column(title="reason", cells=[escape(reason) for _, _, reason in found]),
    ]
    return f"## Cells that did not end ok\n\n{table(columns)}"


def warnings_of_many(found: Sequence[tuple[str, str, Sequence[Mapping[Any, Any]]]]) -> str:
    """A row per kind of warning. `found`: run, code and the rows of warnings.csv with it."""
    codes: dict[str, list[tuple[str, Sequence[Mapping[Any, Any]]]]] = {}
    for run, code, rows in found:
        codes.setdefault(code, []).append((run, rows))
    if not codes:
        return ""
    columns = [
        Column(title="warned of", cells=[escape(code) for code in codes]),
        Column(
            title="times",
            cells=[str(sum(len(rows) for _, rows in of_code)) for of_code in codes.values()],
            numeric=True,
        ),
        Column(title="runs", cells=[str(len(of_code)) for of_code in codes.values()], numeric=True),
        Column(
            title="which",
            cells=[escape(names_in_short([run for run, _ in of_code])) for of_code in codes.values()],
        ),
        Column(
            title="the first",
            cells=[escape(f"{of_code[0][0]}: {of_code[0][1][0]['seen']}") for of_code in codes.values()],
        ),
        Column(title="what to do", cells=[escape(of_code[0][1][0]["remedy"]) for of_code in codes.values()]),
    ]
    return f"## Warnings\n\n{table(columns)}"
