"""What the explanations of faults are made from: cells that ended well, their figures, and words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.paper.editions import Role
from bench.paper.needed import measured, summary_of, why_not
from bench.paper.reading import Cell, RunOfPaper, cells_of, number, summary_row
from bench.paper.telling import quantity
from bench.paper.verdict import NotKnownError, Quantity
from bench.records import Status
from bench.statistics.stats import Ratio, Summary


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one experiment has to say: sentences, and a table of texts."""

    sentences: Sequence[str]
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def by_role(run: RunOfPaper) -> dict[tuple[Role, int], Cell]:
    """The cells that ended well by role and frame count, shortest first.

    Raises NotKnownError with the first other cell's reason where there is none.
    """
    cells = cells_of(run)
    good = sorted((cell for cell in cells if cell.status is Status.OK), key=lambda cell: cell.frames)
    if not good:
        raise NotKnownError("; ".join(reasons(run)) or "nothing was run")
    return {(cell.role, cell.frames): cell for cell in good}


def longest(run: RunOfPaper) -> Cell:
    """The cell that ended well of the longest clip. Raises NotKnownError as `by_role`."""
    return list(by_role(run).values())[-1]


def reasons(*runs: RunOfPaper) -> list[str]:
    """Why cells of the runs did not end well, each reason once."""
    missing = [cell for run in runs for cell in cells_of(run) if cell.status is not Status.OK]
    return list(dict.fromkeys(why_not(cell.backend, cell.status, cell.reason) for cell in missing))


def median_of(run: RunOfPaper, cell: Cell, stages: Sequence[str]) -> Summary:
    """The cell's median and interval in summary.csv of the first of the stages that it has."""
    row = summary_row(run.tables, cell, stages)
    value = measured(number(row.get("median_s")), f"{' or '.join(stages)} of {cell.backend}")
    if value <= 0:
        raise NotKnownError(f"{' or '.join(stages)} of {cell.backend} took no time that the clock could tell")
    return summary_of(value, number(row.get("low_s")), number(row.get("high_s")))


def seconds(summary: Summary) -> str:
    return quantity(summary.median, Quantity.SECONDS, summary.low, summary.high)


def times(found: Ratio) -> str:
    return quantity(found.ratio, Quantity.RATIO, found.low, found.high)
