"""The axes of a grid along which a figure's cells vary, and the panels that show them. Pure.

A panel shows one axis. The other axes are held where the most cells are shown, and of those at the largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from bench.results.tables import Row, rows_of


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of the shape of a cell's input."""

    name: str
    columns: tuple[str, ...]
    label: str  # of the axis in a figure

    def text(self, row: Row) -> str:
        """Return a row's value in words, such as `4 frames`."""
        first = row[self.columns[0]]
        match self.name:
            case "frames":
                return "1 frame" if first == 1 else f"{first} frames"
            case "size":
                return f"{first}×{row['width']}"
            case _:
                return f"batch {first}"

    def tick(self, row: Row) -> str:
        """Return a row's value for an axis that is labelled."""
        return self.text(row) if self.name == "size" else f"{row[self.columns[0]]:,}"


FRAMES: Final = Axis(name="frames", columns=("frames",), label="frames")
SIZE: Final = Axis(name="size", columns=("height", "width"), label="height × width")
BATCH: Final = Axis(name="batch", columns=("batch",), label="batch")

AXES: Final = (FRAMES, SIZE, BATCH)
SHAPE: Final = [column for axis in AXES for column in axis.columns]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows along one axis, and where the other axes are held."""

    axis: Axis
    rows: pd.DataFrame
    held: str

    @property
    def title(self) -> str:
        """Return two lines."""
        return f"against {'pixels' if self.axis is SIZE else self.axis.name}\nat {self.held}"


def varying(table: pd.DataFrame) -> list[Axis]:
    """Return the axes along which the rows differ."""
    return [axis for axis in AXES if len(table[list(axis.columns)].drop_duplicates()) > 1]


def held(table: pd.DataFrame, but: Sequence[Axis] = ()) -> str:
    """Return in words where all rows lie on the axes that do not vary, less some."""
    vary = varying(table)
    (row,) = rows_of(table.head(1))
    return ", ".join(axis.text(row) for axis in AXES if axis not in (*vary, *but))


def panels(table: pd.DataFrame) -> list[Panel]:
    """Return a panel for each axis along which values can be compared; none where all are of one place."""
    found = []
    for axis in varying(table):
        others = [column for column in SHAPE if column not in axis.columns]
        rows = _fullest(table, others)
        if len(rows[list(axis.columns)].drop_duplicates()) > 1:
            found.append(Panel(axis=axis, rows=rows, held=held(rows, [axis])))
    return found


def one_place(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at the shape at which the most cells are shown, the largest of several."""
    return _fullest(table, SHAPE)


def _fullest(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the rows where these columns have the values of the most cells, the largest of several."""
    cells = table.drop_duplicates("cell")
    counts = cells.groupby(columns, sort=False).size().reset_index(name="cells")
    order = counts[columns].astype(float).prod(axis="columns")
    best = counts.assign(work=order).sort_values(["cells", "work", *columns]).iloc[-1]
    return table[table[columns].eq(best[columns]).all(axis="columns")]
