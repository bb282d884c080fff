"""A history as a page: the steps that were found, in words, then their figures, then a table per machine.

It judges nothing: a step is told with what else changed there, and why it came is for the reader to say.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.history.reading import PastRun
from bench.history.series import Change, History, Series, Split
from bench.reporting.html_files import Pages, relative, write_pages
from bench.reporting.legible import legible
from bench.reporting.markdown import Column, escape, image, table
from bench.statistics.step_search import MIN_RUNS
from bench.units import significant, unit_for

STEM: Final = "history"

CHANGES: Final = 8
"""That a step names; of more it says how many."""

TIMES: Final = 3.0
"""From this ratio on a change is told in times, and not in per cent."""

MOST_TIMES: Final = 1000
"""More digits say no more."""

SHOWN: Final = 60
"""Characters of a value that changed."""

UNTOLD: Final = "one side does not record all that it was"

NO_CHANGE: Final = "nothing that the runs record changed there"

HOW_TO_READ: Final = f"""\
## How to read this

* A **level** is a stretch of runs in which nothing changes but chance; a **step** lies between two levels.
  Its interval (95 %) is of the ratio of the levels, at this place.
* A level has {MIN_RUNS} runs at least. One or two that differ at the end are *not yet tellable*; elsewhere
  they stand apart and count for no level.
* Of series without a step about 1 in 100 has one by chance where runs are independent of each other. A
  machine whose speed wanders has real steps that no code made: look at what else changed there, and at other
  cells of the same runs.
* A series is one cell on one kind of hardware. Software, drivers, code, and how well it was measured may
  change along it. Network, input, precision, backend, method and threads may not: where they do, another one
  begins.
* Two machines of one kind are one here, unless their runs keep host names (`run --record-host-name`)."""


def write_history(
    folder: Path, history: History, *, names: Sequence[str], plots: Sequence[Path], left_out: Sequence[str]
) -> Pages:
    """Write `history.md` and `history.html` into `folder`. Raises OSError where it cannot be.

    `names` tell the runs from each other; `left_out` says of runs that could not be read why.
    """
    text = render_history(history, names=names, folder=folder, plots=plots, left_out=left_out)
    return write_pages(folder, text, title=_title(history), pictures=plots, stem=STEM)


def render_history(
    history: History,
    *,
    names: Sequence[str],
    folder: Path,
    plots: Sequence[Path],
    left_out: Sequence[str],
) -> str:
    """The page as Markdown, to lie in `folder`; ends in a newline. Sections that are empty are left out."""
    pictures = "\n\n".join(image(relative(path, folder)) for path in plots)
    sections = [
        f"# {_title(history)}",
        _summary(history),
        _steps(history, names),
        _untellable(history, names),
        _splits(history, names),
        f"## Run after run\n\n{pictures}" if pictures else "",
        *(_machine(machine, history, names) for machine in history.machines),
        _list("Left out", left_out),
        HOW_TO_READ,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(history: History) -> str:
    return f"History of {_count(len(history.runs), 'run')}"


def _summary(history: History) -> str:
    found = sum(1 for _ in history.found())
    long = sum(len(series.points) >= 2 * MIN_RUNS for series in history.series)
    said = (
        f"{_count(len(history.runs), 'run')} from {history.runs[0].started_at:%Y-%m-%d} to "
        f"{history.runs[-1].started_at:%Y-%m-%d}, {_count(len(history.machines), 'machine')}, "
        f"{len(history.series)} series of one cell each: **{_count(found, 'step')}**."
    )
    short = len(history.series) - long
    if short:
        which = "All" if not long else str(short)
        said += f" {which} of these series have fewer than {2 * MIN_RUNS} runs, in which no step can be told."
    return said


def _steps(history: History, names: Sequence[str]) -> str:
    """The steps by the two runs that they lie between: what changed there is the same for all cells."""
    if not any(history.found()):
        return "## Steps\n\nNone were found."
    places: dict[tuple[int, int], list[str]] = {}
    changes: dict[tuple[int, int], Sequence[Change]] = {}
    for series, step, changed in history.found():
        between = (series.points[step.before].run, series.points[step.after].run)
        changes[between] = changed
        places.setdefault(between, []).append(
            f"**{_cell(series)}** on {escape(series.figure.machine)}: "
            f"**{_change(step.ratio, step.low, step.high)}**"
        )
    items = [
        f"* Between {_run(history.runs, names, between[0])} and {_run(history.runs, names, between[1])}; "
        f"{_also(changes[between])}:\n" + "\n".join(f"    * {said}" for said in places[between])
        for between in sorted(places)
    ]
    return "## Steps\n\n" + "\n".join(items)


def _also(changes: Sequence[Change]) -> str:
    if not changes:
        return NO_CHANGE
    said = [
        f"{escape(change.name)} {_value(change.was)} → {_value(change.now)}" for change in changes[:CHANGES]
    ]
    more = len(changes) - len(said)
    return f"also changed there: {', '.join(said)}{f', and {more} more' if more else ''}"


def _value(text: str | None) -> str:
    if text is None:
        return "–"
    return escape(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def _untellable(history: History, names: Sequence[str]) -> str:
    items = []
    for series in history.series:
        late = series.steps.untellable
        if late is not None:
            count = len(series.points) - late.first
            items.append(
                f"* **{_cell(series)}** on {escape(series.figure.machine)}: the last "
                f"{'run' if count == 1 else f'{count} runs'}, from "
                f"{_run(history.runs, names, series.points[late.first].run)} on, "
                f"{'is' if count == 1 else 'are'} {_change(late.ratio)}; a level takes {MIN_RUNS}."
            )
    return "## Not yet tellable\n\n" + "\n".join(items) if items else ""


def _splits(history: History, names: Sequence[str]) -> str:
    return _list(
        "Cells that were measured in more than one way",
        [_split(split, history.runs, names) for split in history.splits],
        escaped=True,
    )


def _split(split: Split, runs: Sequence[PastRun], names: Sequence[str]) -> str:
    differs = "; ".join(f"{escape(name)}: {escape(said)}" for name, said in split.differs.items()) or UNTOLD
    return (
        f"**{escape(split.figure.cell)}** on {escape(split.figure.machine)}: settings {split.settings} "
        f"since {_run(runs, names, split.since)} ({differs}) are a series of their own"
    )


def _list(title: str, items: Iterable[str], *, escaped: bool = False) -> str:
    lines = [f"* {item if escaped else escape(item)}" for item in items]
    return f"## {title}\n\n" + "\n".join(lines) if lines else ""


def _machine(machine: str, history: History, names: Sequence[str]) -> str:
    """A row per series: how many runs, its first and last level, how much lies between them."""
    series = [one for one in history.series if one.figure.machine == machine]
    unit = unit_for(level.value for one in series for level in one.steps.levels)
    levels = [one.steps.levels for one in series]

    def time(value: float) -> str:
        return legible(value / unit.scale)

    columns = [
        Column(title="cell", cells=[_cell(one) for one in series]),
        Column(title="of", cells=[one.figure.stage for one in series]),
        Column(title="runs", cells=[str(len(one.points)) for one in series], numeric=True),
        Column(title=f"first level ({unit.name})", cells=[time(of[0].value) for of in levels], numeric=True),
        Column(title=f"last level ({unit.name})", cells=[time(of[-1].value) for of in levels], numeric=True),
        Column(title="steps", cells=[str(len(one.steps.steps)) for one in series], numeric=True),
        Column(
            title="last step at",
            cells=[
                _run(history.runs, names, one.points[one.steps.steps[-1].after].run)
                if one.steps.steps
                else ""
                for one in series
            ],
        ),
        Column(title="runs apart", cells=[str(len(one.steps.apart) or "") for one in series], numeric=True),
        Column(title="ended otherwise", cells=[_counts(one.otherwise) for one in series]),
    ]
    return f"## {escape(machine)}\n\n{table(columns)}"


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {escape(status)}" for status, count in statuses.items())


def _cell(series: Series) -> str:
    more = f" (settings {series.settings})" if series.settings > 1 else ""
    return f"{escape(series.figure.cell)}{more}"


def _run(runs: Sequence[PastRun], names: Sequence[str], number: int) -> str:
    run = runs[number]
    commit = f", {escape(run.short_commit)}" if run.short_commit else ""
    return f"{escape(names[number])} ({run.started_at:%Y-%m-%d %H:%M}{commit})"


def _change(ratio: float, low: float | None = None, high: float | None = None) -> str:
    """`12 % slower (10 to 14)`; where it is three times or more `3.5 times as long (3.2 to 3.9)`."""
    slower = ratio > 1
    given = [ratio, *(bound for bound in (low, high) if bound is not None)]
    if ratio >= TIMES or ratio <= 1 / TIMES:
        numbers = [_times(one if slower else 1 / one) for one in given]
        said = f"{numbers[0]} times as {'long' if slower else 'fast'}"
    else:
        percents = [100 * (one - 1) * (1 if slower else -1) for one in given]
        digits = 0 if percents[0] >= 9.95 else 1
        numbers = [f"{value:.{digits}f}".replace("-", "−") for value in percents]
        said = f"{numbers[0]} % {'slower' if slower else 'faster'}"
    bounds = numbers[1:] if slower else numbers[:0:-1]
    return f"{said} ({bounds[0]} to {bounds[1]})" if bounds else said


def _times(factor: float) -> str:
    if factor >= MOST_TIMES:
        return f"over {MOST_TIMES}"
    return significant(factor) if factor > 1 / MOST_TIMES else f"under {1 / MOST_TIMES:g}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
