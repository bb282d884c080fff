"""Devices beside each other: what each backend of each run does per second, and how that compares with one.

Content changes no time: cells compare by network, batch, frames and size, whatever their input is called. Two
networks never compare.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.records import Status
from bench.reporting.report_cells import ReportCell, distinct, in_order, number
from bench.reporting.side_by_side_figures import Side
from bench.results.devices import UNKNOWN
from bench.statistics.stats import IntervalKind, Ratio, Summary, ratio, weaker
from vsr_model.errors import BadInput

_OTHER_NETWORK: Final = "other network"
_NO_REFERENCE: Final = "no reference"
_SEVERAL: Final = "several references"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The backend of a run that the others are compared with."""

    run: str
    backend: str

    def __str__(self) -> str:
        return f"{self.run}:{self.backend}"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Frames, or megapixels, per second with the interval of the median time; None where that has none."""

    per_s: float
    low_per_s: float | None
    high_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class Relative:
    """How many times as fast as the reference's cell of the same network and shape: above 1 is faster."""

    cell: str  # the reference's
    speed: Ratio
    interval: IntervalKind


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """One cell of one run on its device, whatever its end."""

    run: str
    device: str
    cell: ReportCell
    is_reference: bool
    relative: Relative | None
    why_not: str  # there is no ratio; empty where there is one, or the cell has no figure to compare

    @property
    def frames_rate(self) -> Rate | None:
        """Frames of all clips of the batch."""
        row = self.cell.figure
        if row is None or not row["median_s"] > 0:
            return None
        count = self.cell.batch * self.cell.frames
        low, high = (number(row, name) for name in ("low_s", "high_s"))
        return Rate(
            per_s=count / row["median_s"],
            low_per_s=None if not high else count / high,
            high_per_s=None if not low or low <= 0 else count / low,
        )

    @property
    def output_megapixels_per_s(self) -> float | None:
        rate, scale = self.frames_rate, self.cell.over_rounds("scale")
        if rate is None or scale is None:
            return None
        return rate.per_s * scale**2 * self.cell.height * self.cell.width / 1e6


@dataclass(frozen=True, kw_only=True)
class DevicePlace:
    """A batch and size at which the devices stand beside each other."""

    batch: int
    height: int
    width: int
    frames: int | None  # that all rows have; None where no frame count is common to all
    rows: tuple[DeviceRow, ...]  # never empty; of each run's backend one per network and input


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Every cell of every run, and those of them that a page has room for."""

    reference: Reference | None  # None where no run has a figure
    rows: tuple[DeviceRow, ...]
    places: tuple[DevicePlace, ...]


def devices_of(sides: Sequence[Side], reference: str | None = None) -> Devices:
    """All devices of these runs. `reference` is the name of a run, which stands for its baseline, or
    `<run>:<backend>`; without one it is the baseline of the first run that has a figure for its own.

    Raises BadInput for a reference that is none of them.
    """
    chosen = _first(sides) if reference is None else _named(sides, reference)
    measured = _reference_cells(sides, chosen)
    rows = tuple(_row(side, cell, chosen, measured) for side in sides for cell in side.cells)
    return Devices(reference=chosen, rows=rows, places=tuple(_places(rows)))


def _first(sides: Sequence[Side]) -> Reference | None:
    for side in sides:
        found = _baseline(side)
        if any(cell.backend == found.backend and _compares(cell) for cell in side.cells):
            return found
    return None


def _baseline(side: Side) -> Reference:
    """Its backend: networks do not compare with each other here, whatever the run's speedups are over."""
    return Reference(run=side.name, backend=side.baseline.backend)


def _named(sides: Sequence[Side], reference: str) -> Reference:
    for side in sides:
        if reference == side.name:
            return _baseline(side)
    for side in sides:
        run, _, backend = reference.rpartition(":")
        if run == side.name:
            backends = distinct(cell.backend for cell in side.cells)
            if backend in backends:
                return Reference(run=side.name, backend=backend)
            raise BadInput(
                f"--reference {reference}: the run {run} has no backend {backend!r}; it has "
                f"{', '.join(backends)}"
            )
    raise BadInput(
        f"--reference {reference}: is none of the runs; name {', '.join(side.name for side in sides)}, or "
        f"one of them with a backend as in {_baseline(sides[0])}"
    )


def _reference_cells(sides: Sequence[Side], reference: Reference | None) -> list[ReportCell]:
    """Those of its cells that can be compared with: an output that is wrong is no reference."""
    return [
        cell
        for side in sides
        if reference is not None and side.name == reference.run
        for cell in side.cells
        if cell.backend == reference.backend and _compares(cell)
    ]


def _compares(cell: ReportCell) -> bool:
    return cell.status is Status.OK and cell.figure is not None and cell.figure["median_s"] > 0


def _row(
    side: Side, cell: ReportCell, reference: Reference | None, measured: Sequence[ReportCell]
) -> DeviceRow:
    is_reference = reference == Reference(run=side.name, backend=cell.backend)
    relative, why_not = _relative(cell, is_reference, measured) if _compares(cell) else (None, "")
    return DeviceRow(
        run=side.name,
        device=side.devices.get(cell.backend, UNKNOWN),
        cell=cell,
        is_reference=is_reference,
        relative=relative,
        why_not=why_not,
    )


def _relative(
    cell: ReportCell, is_reference: bool, measured: Sequence[ReportCell]
) -> tuple[Relative | None, str]:
    everywhere = [
        other for other in measured if _place(other) == _place(cell) and other.frames == cell.frames
    ]
    there = [other for other in everywhere if other.model == cell.model]
    if everywhere and not there:
        return None, _OTHER_NETWORK
    same = [other for other in there if other.input == cell.input]
    found = same or there
    if len(found) != 1:
        return None, _SEVERAL if found else _NO_REFERENCE
    (base,) = found
    if len({*map(_parameters, (base, cell))} - {None}) > 1:
        return None, _OTHER_NETWORK
    one, other = _summary(base), _summary(cell)
    exact = is_reference and base is cell
    return Relative(
        cell=base.cell,
        speed=Ratio(ratio=1.0, low=1.0, high=1.0) if exact else ratio(one, other),
        interval=weaker(one.interval, other.interval),
    ), ""


def _summary(cell: ReportCell) -> Summary:
    row = cell.figure
    assert row is not None
    return Summary(
        n_rounds=int(row["n_rounds"]),
        n=int(row["n"]),
        median=row["median_s"],
        q1=row["q1_s"],
        q3=row["q3_s"],
        low=number(row, "low_s"),
        high=number(row, "high_s"),
        interval=IntervalKind(row["interval"]),
    )


def _parameters(cell: ReportCell) -> float | None:
    """Of the network: two networks differ in them, and one does not from device to device."""
    return cell.over_rounds("parameters")


def _place(cell: ReportCell) -> tuple[int, int, int]:
    return cell.batch, cell.height, cell.width


def _places(rows: Sequence[DeviceRow]) -> list[DevicePlace]:
    """At each batch and size one row per run, backend, network and input: of the most frames that all have.

    Where none is common to all, of the count that most of them have, and of their own greatest for the rest.
    """
    found = []
    for batch, height, width in distinct(_place(cell) for cell in in_order([row.cell for row in rows])):
        here = [row for row in rows if _place(row.cell) == (batch, height, width)]
        counts: dict[tuple[str, str], set[int]] = {}
        for row in here:
            counts.setdefault((row.run, row.cell.backend), set()).add(row.cell.frames)
        having = Counter(frames for own in counts.values() for frames in own)
        chosen = max(having, key=lambda frames: (having[frames], frames))
        shown = {key: chosen if chosen in own else max(own) for key, own in counts.items()}
        found.append(
            DevicePlace(
                batch=batch,
                height=height,
                width=width,
                frames=chosen if having[chosen] == len(counts) else None,
                rows=tuple(row for row in here if row.cell.frames == shown[row.run, row.cell.backend]),
            )
        )
    return found
