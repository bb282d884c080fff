"""Admit cells by the memory that is free now, and by what ran out of memory before.

The need of a cell is the tensors of one forward pass, as traced. This is less than a process takes: no cell
is refused that could have run, and one that starts may still run out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bench.grid.backend import Backend
from bench.grid.config_measure import Measure
from bench.grid.costs import Costs
from bench.grid.estimate import peak_bytes
from bench.grid.plan import Cell
from bench.machine import host_memory
from bench.records import CellRecord, Status
from bench.units import BYTES, with_unit

NEEDED_SHARE: Final = 0.9
"""Share of the estimate that a cell takes at least: the estimate is within 5 % of the tensors that are alive,
and a process has more than those. On a CPU, resident memory grew by 1.3 to 2.1 times it in the cells of plain
convolutions that were looked at, from 64x64 to 180x320; on a GPU the allocator's rounding and the libraries'
workspaces come on top."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Free memory that a cell may take, and where it is."""

    available_bytes: int
    place: str


Rooms = Callable[[Backend], Room | None]
"""Free memory of a backend's device at this moment; None where it is not known."""


def rooms(free_device_bytes: dict[str, int]) -> Rooms:
    """Return a function that gives the free memory of a backend's device.

    The host's memory is read when asked for. A device's is what was free when the run began: only torch knows
    which device is which, and the parent does not import it.
    """

    def room(backend: Backend) -> Room | None:
        if not backend.is_cuda:
            return Room(available_bytes=host_memory.available_bytes(), place="host memory")
        device = free_device_bytes.get(backend.device)
        place = f"memory on {backend.device} when the run began"
        return None if device is None else Room(available_bytes=device, place=place)

    return room


class Admission:
    """Decision on which cells may start, by what ran out of memory in this run and its interrupted parts."""

    def __init__(
        self,
        measure: Measure,
        room: Rooms,
        costs_of: Callable[[Cell], Costs | None],
        finished: Iterable[tuple[Cell, CellRecord]] = (),
    ) -> None:
        """`costs_of` returns a forward's costs, if known; `finished` has the records of earlier parts."""
        self._measure = measure
        self._costs_of = costs_of
        self._skips_larger = self._measure.after_oom == "skip_larger"
        self._checks_memory = self._measure.memory_check == "skip"
        self._room = room
        self._too_large: dict[str, tuple[int, CellRecord]] = {}  # the least that ran out, by backend
        for cell, record in finished:
            self.learn(cell, record)

    def learn(self, cell: Cell, record: CellRecord) -> None:
        """Record how a round of the cell ended."""
        if record.status is not Status.OOM:
            return
        need = peak_bytes(self._costs_of(cell))
        if need is None:
            return
        known = self._too_large.get(cell.backend.name)
        if known is None or need < known[0]:
            self._too_large[cell.backend.name] = (need, record)

    def refusal(self, cell: Cell, make_room: Callable[[], None]) -> str | None:
        """Return why the cell must not start, or None. `make_room` frees what this run holds in memory."""
        need = peak_bytes(self._costs_of(cell))
        if need is None:
            return None
        return self._after_oom(cell, need) or self._without_room(cell, need, make_room)

    def _after_oom(self, cell: Cell, need: int) -> str | None:
        too_large = self._too_large.get(cell.backend.name)
        if not self._skips_larger or too_large is None or need < too_large[0]:
            return None
        least, record = too_large
        who = f"{record.cell} ran out of memory in round {record.round}"
        if record.cell == cell.id:
            return f"not tried again: {who} (measure.after_oom: continue would try)"
        return (
            f"not tried: {who}, and this cell needs no less (an estimate of {with_unit(need, BYTES)}, that "
            f"one's is {with_unit(least, BYTES)}; measure.after_oom: continue would try)"
        )

    def _without_room(self, cell: Cell, need: int, make_room: Callable[[], None]) -> str | None:
        if not self._checks_memory or cell.backend.compile:  # the estimate is of uncompiled modules
            return None
        room = self._room(cell.backend)
        if room is not None and need * NEEDED_SHARE > room.available_bytes and not cell.backend.is_cuda:
            make_room()
            room = self._room(cell.backend)
        if room is None or need * NEEDED_SHARE <= room.available_bytes:
            return None
        return (
            f"too large for this machine now: its tensors take about {with_unit(need, BYTES)}, and "
            f"{with_unit(room.available_bytes, BYTES)} of {room.place} is free "
            f"(measure.memory_check: force would try)"
        )
