"""The types of cautions: what can make a figure doubtful, before a run and after it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.machine.now import Now
from bench.records import CellRecord, TelemetryReading

Environment = Mapping[str, Any]  # of environment.json; it may lack any field, as those of older runs do
Readings = Sequence[TelemetryReading]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine before a run: what environment.json would hold, and what changes from moment to moment."""

    environment: Environment
    now: Now


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a cell, with the readings around its steady calls."""

    record: CellRecord
    readings: Readings
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All rounds of a cell, and the seconds of the steady forwards of those that have some."""

    records: Sequence[CellRecord]
    samples: Sequence[Sequence[float]]
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class Run:
    """All cells of a run."""

    cells: Sequence[Cell]
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One thing that was seen."""

    text: str  # with its figures
    size: float = 0.0  # how bad it is: a cell is told of the round that shows it most
    remedy: str = ""  # in place of the caution's, where it depends on what was seen


@dataclass(frozen=True)
class Caution:
    """A row of the table: a code, a remedy, and where to look for it."""

    code: str
    remedy: str
    in_run: Callable[[Run], Iterable[Seen]] | None = None
    in_cell: Callable[[Cell], Seen | None] | None = None
    in_round: Callable[[Round], Seen | None] | None = None
    in_readings: Callable[[Readings], Seen | None] | None = None  # of a round, and before a run
    before: Callable[[Machine], Iterable[Seen]] | None = None
    spoils: bool = True  # figures are wrong or not repeatable; else it is worth knowing of them


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One caution about one cell; about the whole run, or the machine before it, where `cell` is empty."""

    code: str
    cell: str = ""
    round: int | None = None  # the one that shows it most, where it is a round's
    seen: str
    remedy: str  # what to do about it
    spoils: bool = True

    @property
    def sentence(self) -> str:
        """Return what was seen and what to do, without a full stop."""
        return f"{self.seen}: {self.remedy}"

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"
