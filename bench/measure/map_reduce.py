"""One call by map and reduce: clips are tasks that processes take; one whose process is lost runs again.

The time of a call is from handing out the first clip until all outputs are joined in their order. Clips and
outputs go through pipes, as they do wherever Python maps work over processes.
"""

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from time import perf_counter
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bench.measure.timing import Timed

MAX_TRIES: Final = 3
"""A clip that has ended so many processes ends the cell: it is the cause, and no accident."""

Array = NDArray[np.float32]


class Mapper(Protocol):
    """The part of bench.measure.parallel.Group that a call needs."""

    connections: list[Connection]

    def received(self, connection: Connection) -> Any: ...
    def replace(self, connection: Connection) -> str: ...
    def failure(self) -> Exception: ...


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A call that has been mapped and reduced."""

    output: Array  # (n, t, 3, s h, s w)
    span: Timed
    own_s: list[float]  # that each process computed for
    page_faults: int
    lost: list[str]  # how each process ended that had to be replaced


def map_reduce(group: Mapper, clips: Sequence[Array]) -> Mapped:
    """Map the clips over the group's processes, and join their outputs.

    Raises MemoryError or RuntimeError where a clip has ended MAX_TRIES processes.
    """
    own_s, all_faults, lost = [0.0] * len(group.connections), 0, []
    begin_s = perf_counter()
    waiting, tries = deque(range(len(clips))), Counter[int]()
    outputs: dict[int, Array] = {}
    busy: dict[Connection, int] = {}
    while len(outputs) < len(clips):
        for connection in group.connections:
            if waiting and connection not in busy:
                busy[connection] = waiting.popleft()
                with suppress(OSError):  # it has ended, which waiting for its answer shows
                    connection.send(clips[busy[connection]])
        for ready in wait([*busy]):
            connection = cast(Connection, ready)
            index = busy.pop(connection)
            answer = group.received(connection)
            if answer is None:
                tries[index] += 1
                if tries[index] == MAX_TRIES:
                    raise group.failure()
                lost.append(group.replace(connection))
                waiting.appendleft(index)
                continue
            outputs[index], seconds, page_faults = answer
            own_s[group.connections.index(connection)] += seconds
            all_faults += page_faults
    output = np.concatenate([outputs[index] for index in range(len(clips))])
    span = Timed(start_s=begin_s, wall_s=perf_counter() - begin_s)
    return Mapped(output=output, span=span, own_s=own_s, page_faults=all_faults, lost=lost)
