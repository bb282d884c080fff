"""The cells of a run as a report lists them: in order, with the axes that tell them apart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import pandas as pd

from bench.grid.spans import FORWARD, OTHER, SPANS
from bench.records import Status
from bench.reporting.markdown import Column, escape
from bench.results.analysis import Tables
from bench.units import BYTES, SECONDS, Unit, significant, unit_for

DIGITS: Final = 4
"""Significant digits of the forward time: enough for a tight interval to show its width."""


@dataclass(frozen=True, kw_only=True)
class ReportCell:
    """A cell with the status of its worst round, its rows of cells.csv and, by stage, of summary.csv."""

    cell: str
    model: str
    input: str
    batch: int
    frames: int
    height: int
    width: int
    backend: str
    status: Status
    rounds: tuple[dict[str, Any], ...]
    stages: dict[str, dict[Any, Any]]

    @property
    def own_stages(self) -> list[str]:
        """The network's stages that were timed, and `other`, in order."""
        return [stage for stage in self.stages if stage == OTHER or stage not in SPANS]

    @property
    def figure(self) -> dict[Any, Any] | None:
        """The forward's row, which the cell's figures are of; None where it has none."""
        return self.stages.get(FORWARD)

    @property
    def size(self) -> str:
        return f"{self.height}×{self.width}"

    def over_rounds(self, name: str, figure: Callable[[list[float]], float] = median) -> float | None:
        """One figure of the rounds' values of a column; None where no round has one."""
        values = [float(row[name]) for row in self.rounds if not pd.isna(row[name])]
        return figure(values) if values else None


def cells_of(tables: Tables) -> list[ReportCell]:
    """Every cell, in order."""
    stages: dict[str, dict[str, dict[Any, Any]]] = {}
    statuses: dict[str, Status] = {}
    for row in tables.summary.to_dict("records"):
        statuses[row["cell"]] = Status(row["status"])
        if not pd.isna(row["stage"]):
            stages.setdefault(row["cell"], {})[row["stage"]] = row
    rounds: dict[str, list[dict[Any, Any]]] = {}
    for row in tables.cells.to_dict("records"):
        rounds.setdefault(row["cell"], []).append(row)
    cells = [
        ReportCell(
            cell=cell,
            model=str(rows[0]["model"]),
            input=str(rows[0]["input"]),
            batch=int(rows[0]["batch"]),
            frames=int(rows[0]["frames"]),
            height=int(rows[0]["height"]),
            width=int(rows[0]["width"]),
            backend=str(rows[0]["backend"]),
            status=statuses[cell],
            rounds=tuple(rows),
            stages=stages.get(cell, {}),
        )
        for cell, rows in rounds.items()
    ]
    return in_order(cells)


def in_order(cells: Sequence[ReportCell]) -> list[ReportCell]:
    """Sort by network, input, size, batch and backend as they first come, frame counts ascending."""
    orders = [
        distinct(getattr(cell, name) for cell in cells)
        for name in ("model", "input", "size", "batch", "backend")
    ]
    models, inputs, sizes, batches, backends = orders
    return sorted(
        cells,
        key=lambda cell: (
            models.index(cell.model),
            inputs.index(cell.input),
            sizes.index(cell.size),
            batches.index(cell.batch),
            cell.frames,
            backends.index(cell.backend),
        ),
    )


def with_figures_of(cells: Iterable[ReportCell]) -> list[tuple[ReportCell, dict[Any, Any]]]:
    """The cells that have figures, each with its row."""
    return [(cell, row) for cell in cells if (row := cell.figure) is not None]


def distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def axes_columns(cells: Sequence[ReportCell], every: Sequence[ReportCell]) -> list[Column]:
    """The columns that tell cells apart: an axis with one value in the whole run is left to the summary."""
    columns = [
        Column(title="network", cells=[escape(cell.model) for cell in cells]),
        Column(title="input", cells=[escape(cell.input) for cell in cells]),
        Column(title="size", cells=[cell.size for cell in cells], numeric=True),
        Column(title="batch", cells=[str(cell.batch) for cell in cells], numeric=True),
        Column(title="frames", cells=[str(cell.frames) for cell in cells], numeric=True),
    ]
    kept = [column for column in columns if len({_axis(cell, column.title) for cell in every}) > 1]
    return [*kept, Column(title="backend", cells=[escape(cell.backend) for cell in cells])]


def place_of(cell: ReportCell, every: Sequence[ReportCell]) -> str:
    """A cell's place in the grid in a few words, of the axes that vary: `random, 64×64, t=4`."""
    words = {
        "network": cell.model,
        "input": cell.input,
        "size": cell.size,
        "batch": f"b={cell.batch}",
        "frames": f"t={cell.frames}",
    }
    kept = [word for name, word in words.items() if len({_axis(other, name) for other in every}) > 1]
    return ", ".join(kept or [f"t={cell.frames}"])


def measure_column(
    title: str, values: Sequence[float | None], units: tuple[Unit, ...] = SECONDS, digits: int = 3
) -> Column:
    """A column of times or sizes in one unit, named in its title, so that its rows compare."""
    unit = unit_for((value for value in values if value is not None), units)
    return Column(
        title=f"{title} ({unit.name})",
        cells=["" if value is None else significant(value / unit.scale, digits) for value in values],
        numeric=True,
    )


def bytes_column(title: str, values: Sequence[float | None]) -> Column:
    return measure_column(title, values, BYTES)


def number(row: dict[Any, Any], name: str) -> float | None:
    """A table's figure, None where it is empty."""
    return None if pd.isna(row[name]) else float(row[name])


def _axis(cell: ReportCell, name: str) -> object:
    return cell.model if name == "network" else getattr(cell, name)
