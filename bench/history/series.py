"""Runs to series: one cell on one machine, run after run, its steps, and what else changed there."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.comparison.facets import WHAT_RUNS, differing, key
from bench.history.reading import COMMIT_CHARACTERS, CellFigure, PastRun, deviation
from bench.results.differing import Facts, differing_facts, facts
from bench.results.identity import CodeVersion, lasting
from bench.statistics.stats import Summary
from bench.statistics.steps import Step, Steps, find_steps

IS_THE_SERIES: Final = ("cpu", "cpu_physical_cores", "cpu_logical_cores")
"""Of an environment: what makes a machine, and so the same in all of a series."""

SAYS_NOTHING: Final = ("name", "plots", "backends", "input", "grid", "baseline")
"""Of a configuration: what the cell itself has, or what other cells have."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run's figure in a series."""

    run: int  # its place among all runs
    summary: Summary  # seconds


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one of the run's recorded facts was before and after; None: it had none."""

    name: str
    was: str | None
    now: str | None


@dataclass(frozen=True, kw_only=True)
class Series:
    """A cell on a machine over all runs that measured the same of it."""

    figure: CellFigure  # of the first run
    settings: int  # 1, 2, ...: which of the ways in which this cell was measured there
    points: tuple[Point, ...]  # in time order; never empty
    steps: Steps  # their places are those of the points
    changes: tuple[tuple[Change, ...], ...]  # for each step, what else changed between its two runs
    otherwise: Mapping[str, int]  # runs in which the cell did not end ok, by status

    def level_of(self, place: int) -> int | None:
        """Which level a point belongs to, from 1; None for one that counts for none."""
        if place in self.steps.apart:
            return None
        for number, level in enumerate(self.steps.levels, start=1):
            if level.first <= place <= level.last:
                return number
        return None


@dataclass(frozen=True, kw_only=True)
class Split:
    """A cell that was measured in more than one way on a machine, which are series of their own."""

    figure: CellFigure  # of the later way
    settings: int  # of it
    since: int  # the first run that measured so
    differs: Mapping[str, str]  # from the way before, by facet (bench.comparison.facets)


@dataclass(frozen=True, kw_only=True)
class History:
    """Runs in time order, and what they show."""

    runs: tuple[PastRun, ...]
    copies: tuple[tuple[PastRun, PastRun], ...]  # what is no run of its own, and the run that counts instead
    series: tuple[Series, ...]  # by machine, then in the order in which cells first appear
    splits: tuple[Split, ...]

    @property
    def machines(self) -> list[str]:
        return list(dict.fromkeys(series.figure.machine for series in self.series))

    def found(self) -> Iterator[tuple[Series, Step, tuple[Change, ...]]]:
        """Every step, in the order of the series."""
        for series in self.series:
            for step, changes in zip(series.steps.steps, series.changes, strict=True):
                yield series, step, changes


def history_of(runs: Sequence[PastRun]) -> History:
    """The runs in time order, copies of a run left out, laid into series."""
    kept, copies = _told_apart(runs)
    found: dict[tuple[str, str], _Cell] = {}
    for number, run in enumerate(kept):
        for figure in run.cells:
            cell = found.setdefault((figure.machine, figure.cell), _Cell(ways={}, failed=[]))
            if figure.summary is None:
                cell.failed.append(figure)
            else:
                cell.ways.setdefault(_way(figure), []).append((number, figure, figure.summary))
    machines = list(dict.fromkeys(machine for machine, _ in found))
    series: list[Series] = []
    splits: list[Split] = []
    for _, cell in sorted(found.items(), key=lambda item: machines.index(item[0][0])):
        ways = list(cell.ways.values())
        series += [_series(kept, number, way, cell.failed) for number, way in enumerate(ways, start=1)]
        splits += [
            Split(
                figure=later[0][1],
                settings=number,
                since=later[0][0],
                differs=_differs(earlier[0][1], later[0][1]),
            )
            for number, (earlier, later) in enumerate(pairwise(ways), start=2)
        ]
    return History(runs=kept, copies=copies, series=tuple(series), splits=tuple(splits))


def _told_apart(
    runs: Sequence[PastRun],
) -> tuple[tuple[PastRun, ...], tuple[tuple[PastRun, PastRun], ...]]:
    """In time order the runs that count, and those that hold rounds of a longer one, each with that one."""
    ordered = sorted(runs, key=lambda run: (run.started_at, run.path.name, str(run.path)))
    known: dict[str, PastRun] = {}
    longer: dict[int, PastRun] = {}
    for run in sorted(ordered, key=lambda run: -len(run.rounds)):  # stable: of equals the first counts
        marks = {run.journal_sha256, *run.rounds}
        other = next((known[mark] for mark in sorted(marks) if mark in known), None)
        if other is not None:
            longer[id(run)] = other
        for mark in marks:
            known.setdefault(mark, other or run)
    kept = tuple(run for run in ordered if id(run) not in longer)
    return kept, tuple((run, longer[id(run)]) for run in ordered if id(run) in longer)


_Measured = tuple[int, CellFigure, Summary]
"""A run's place among all, and what it says of a cell."""


@dataclass(frozen=True, kw_only=True)
class _Cell:
    ways: dict[str, list[_Measured]]  # by what was measured, in time order
    failed: list[CellFigure]


def _way(figure: CellFigure) -> str:
    """The same text where the same was measured. Threads are a setting, whoever chose them."""
    return f"{key(figure.facets, WHAT_RUNS)} {figure.facets['device'].get('threads')} {figure.stage}"


def _differs(earlier: CellFigure, later: CellFigure) -> dict[str, str]:
    found = dict(differing(earlier.facets, later.facets, ("torch",)))
    if earlier.stage != later.stage:
        found["figure"] = f"{earlier.stage}, {later.stage}"
    return found


def _series(
    runs: Sequence[PastRun], settings: int, measured: Sequence[_Measured], failed: Sequence[CellFigure]
) -> Series:
    first = measured[0][1]
    points = tuple(Point(run=number, summary=summary) for number, _, summary in measured)
    steps = find_steps(
        [point.summary.median for point in points], [deviation(point.summary) for point in points]
    )
    same = [figure for figure in failed if key(figure.facets, WHAT_RUNS) == key(first.facets, WHAT_RUNS)]
    return Series(
        figure=first,
        settings=settings,
        points=points,
        steps=steps,
        changes=tuple(
            tuple(changes_between(runs[points[step.before].run], runs[points[step.after].run]))
            for step in steps.steps
        ),
        otherwise=Counter(str(figure.status) for figure in same),
    )


def changes_between(earlier: PastRun, later: PastRun) -> Iterator[Change]:
    """What the records of two runs say that changed: code, environment, configuration, in this order."""
    if earlier.code is None or later.code is None:
        if earlier.commit != later.commit:
            yield Change(name="code", was=earlier.commit, now=later.commit)
    elif earlier.code.source_sha256 != later.code.source_sha256:
        yield Change(name="code", was=_code(earlier.code, later.code), now=_code(later.code, earlier.code))
    runs = (earlier, later)
    yield from _changes([facts(lasting(run.environment), but=IS_THE_SERIES) for run in runs])
    yield from _changes([facts(run.configuration, but=SAYS_NOTHING) for run in runs])


def _code(one: CodeVersion, other: CodeVersion) -> str:
    """By its commit where that tells it from the other, else by what its files are."""
    if one.git_commit and one.git_commit != other.git_commit:
        return f"{one.git_commit[:COMMIT_CHARACTERS]}{' and changes' if one.dirty else ''}"
    return one.in_short


def _changes(sides: Sequence[Facts]) -> Iterator[Change]:
    for name, (was, now) in differing_facts(sides).items():
        yield Change(
            name=name.removeprefix("packages.") if name != "torch.torch" else "torch", was=was, now=now
        )
