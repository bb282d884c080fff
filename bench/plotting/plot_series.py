"""The series that figures are made of, and where each kind finds them in the tables. No matplotlib here."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from bench.grid.spans import FORWARD
from bench.records import Pass, Phase, Status
from bench.results.analysis import Tables


@dataclass(frozen=True, kw_only=True)
class Point:
    """A median at a frame count: seconds in `time`, a ratio in `speedup`. No interval: both bounds None."""

    frames: int
    value: float
    low: float | None
    high: float | None
    interval: str  # stats.IntervalKind


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A backend's medians against the frame count, in its order."""

    backend: str
    points: tuple[Point, ...]

    @property
    def is_unit(self) -> bool:
        """Whether this is the baseline against itself: exactly 1, interval and all."""
        return all((p.value, p.low, p.high) == (1, 1, 1) for p in self.points)


@dataclass(frozen=True, kw_only=True)
class StageSplit:
    """A backend's seconds per stage in one forward, in the network's order; the clock is wall or device."""

    backend: str
    frames: int
    clock: str
    stages: tuple[str, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the end-to-end pass; `number` counts from 1 within its process."""

    number: int
    phase: Phase
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls of one round (process) of a backend, in the order in which they ran."""

    backend: str
    round: int
    calls: tuple[Call, ...]


@dataclass(frozen=True, kw_only=True)
class MemoryTrace:
    """Memory during one round's memory pass; seconds since its first point, bytes."""

    backend: str
    round: int
    elapsed_s: tuple[float, ...]
    host_growth_bytes: tuple[int, ...]  # over the first point
    device_bytes: tuple[int, ...] | None  # None without a device


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a clip of so many frames takes on a backend, in seconds and bytes; None is not measured.

    Host memory is what a call adds to what the process held before it, device memory the peak. Both are the
    greatest of the rounds, and the time is the median of the steady calls.
    """

    backend: str
    frames: int
    seconds: float | None
    host_bytes: int | None
    device_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class RooflinePoint:
    """A stage's attained rate at its intensity, with the rates that limit it (bench.results.roofline)."""

    stage: str
    precision: str
    intensity: float  # FLOP per byte
    flops_per_s: float
    low: float | None
    high: float | None
    matmul_flops_per_s: float
    convolution_flops_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A backend's stages under the ceilings of its device and threads."""

    backend: str
    device: str
    threads: int | None  # as the grid asks for them
    copy_bytes_per_s: float
    points: tuple[RooflinePoint, ...]


Series = Curve | StageSplit | Calls | MemoryTrace | Need | Roofline


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell with the status of its worst round and that round's reason."""

    cell: str
    backend: str
    frames: int
    status: Status
    reason: str


Found = dict[str, list[Series]]
"""The series of each cell that has any, by the cell's id."""

Finder = Callable[[Tables, Sequence[Cell]], Found]


def _medians(value: str, low: str, high: str, interval: str) -> Finder:
    def find(tables: Tables, cells: Sequence[Cell]) -> Found:
        rows = tables.summary[(tables.summary["stage"] == FORWARD) & tables.summary[value].notna()]
        backends = {cell.cell: cell.backend for cell in cells}
        return {
            row["cell"]: [
                Curve(
                    backend=backends[row["cell"]],
                    points=(
                        Point(
                            frames=int(row["frames"]),
                            value=float(row[value]),
                            low=_number(row[low]),
                            high=_number(row[high]),
                            interval=str(row[interval]),
                        ),
                    ),
                )
            ]
            for row in rows_in(rows)
            if row["cell"] in backends
        }

    return find


def _stage_splits(tables: Tables, cells: Sequence[Cell]) -> Found:
    rows = tables.summary[tables.summary["share"].notna()]
    found: Found = {}
    for cell in cells:
        of_cell = rows[rows["cell"] == cell.cell]
        seconds = dict(zip(of_cell["stage"], of_cell["median_s"], strict=True))
        if sum(seconds.values()) > 0:
            row = of_cell.iloc[0]
            split = StageSplit(
                backend=cell.backend,
                frames=cell.frames,
                clock=str(row["clock"]),
                stages=tuple(map(str, seconds)),
                seconds=tuple(map(float, seconds.values())),
            )
            found[cell.cell] = [split]
    return found


def _calls(tables: Tables, cells: Sequence[Cell]) -> Found:
    figures = tables.samples[
        (tables.samples["pass"] == Pass.END_TO_END) & (tables.samples["stage"] == FORWARD)
    ].sort_values("start_s", kind="stable")
    return {
        cell.cell: [
            Calls(
                backend=cell.backend,
                round=number,
                calls=tuple(
                    Call(number=place, phase=Phase(row["phase"]), seconds=float(row["wall_s"]))
                    for place, row in enumerate(rows_in(rows), start=1)
                ),
            )
            for number, rows in _by_round(figures, cell)
        ]
        for cell in cells
        if (figures["cell"] == cell.cell).any()
    }


def _traces(tables: Tables, cells: Sequence[Cell]) -> Found:
    memory = tables.memory.sort_values("elapsed_s", kind="stable")
    return {
        cell.cell: [_trace(cell.backend, number, rows) for number, rows in _by_round(memory, cell)]
        for cell in cells
        if (memory["cell"] == cell.cell).any()
    }


def _needs(tables: Tables, cells: Sequence[Cell]) -> Found:
    timed = tables.summary[(tables.summary["stage"] == FORWARD) & (tables.summary["median_s"] > 0)]
    times = {row["cell"]: row for row in rows_in(timed)}
    found: Found = {}
    for cell in cells:
        rounds = tables.cells[tables.cells["cell"] == cell.cell]
        host, device = (_greatest(rounds[name]) for name in ("host_growth_bytes", "peak_device_bytes"))
        time = times.get(cell.cell)
        if time is not None or host is not None or device is not None:
            need = Need(
                backend=cell.backend,
                frames=cell.frames,
                seconds=None if time is None else float(time["median_s"]),
                host_bytes=host,
                device_bytes=device,
            )
            found[cell.cell] = [need]
    return found


def _rooflines(tables: Tables, cells: Sequence[Cell]) -> Found:
    if tables.roofline.empty:
        return {}
    known = tables.roofline.dropna(subset=["matmul_flops_per_s", "copy_bytes_per_s"])
    rows = known[known["stage"] != FORWARD]
    found: Found = {}
    for cell in cells:
        of_cell = rows_in(rows[rows["cell"] == cell.cell])
        if of_cell:
            threads = of_cell[0]["threads"]
            roofline = Roofline(
                backend=cell.backend,
                device=str(of_cell[0]["device"]),
                threads=None if pd.isna(threads) else int(threads),
                copy_bytes_per_s=float(of_cell[0]["copy_bytes_per_s"]),
                points=tuple(
                    RooflinePoint(
                        stage=str(row["stage"]),
                        precision=str(row["precision"]),
                        intensity=float(row["intensity"]),
                        flops_per_s=float(row["flops_per_s"]),
                        low=_number(row["flops_per_s_low"]),
                        high=_number(row["flops_per_s_high"]),
                        matmul_flops_per_s=float(row["matmul_flops_per_s"]),
                        convolution_flops_per_s=_number(row["convolution_flops_per_s"]),
                    )
                    for row in of_cell
                ),
            )
            found[cell.cell] = [roofline]
    return found


def _greatest(values: "pd.Series[int]") -> int | None:
    """None where none is above 0: a logarithmic axis has no place for it."""
    known = values.dropna()
    return int(known.max()) if len(known) and known.max() > 0 else None


def _trace(backend: str, number: int, rows: pd.DataFrame) -> MemoryTrace:
    device = rows["device_bytes"]
    return MemoryTrace(
        backend=backend,
        round=number,
        elapsed_s=tuple(float(value) for value in rows["elapsed_s"] - rows["elapsed_s"].iloc[0]),
        host_growth_bytes=tuple(int(value) for value in rows["host_bytes"] - rows["host_bytes"].iloc[0]),
        device_bytes=tuple(int(value) for value in device) if device.notna().all() else None,
    )


def _by_round(table: pd.DataFrame, cell: Cell) -> list[tuple[int, pd.DataFrame]]:
    of_cell = table[table["cell"] == cell.cell]
    return [
        (int(number), of_cell[of_cell["round"] == number]) for number in sorted(of_cell["round"].unique())
    ]


def rows_in(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The table's rows, by column name."""
    return table.to_dict("records")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


FINDERS: Final[dict[str, tuple[Finder, str]]] = {
    # And what to say of a cell that ended well and yet has no such series.
    "time": (_medians("median_s", "low_s", "high_s", "interval"), "no steady samples"),
    "speedup": (
        _medians("speedup", "speedup_low", "speedup_high", "speedup_interval"),
        "the baseline was not measured there",
    ),
    "stages": (_stage_splits, "no stage pass"),
    "repetitions": (_calls, "no samples"),
    "memory": (_traces, "no memory pass"),
    "long_clips": (_needs, "neither steady samples nor a memory pass"),
    "roofline": (_rooflines, "no stage times, or no ceilings to hold them against"),
}
