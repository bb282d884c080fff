"""What a worker and the processes that it divides clips over say to each other. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

TASK_FILE: Final = "task.pickle"
OUTPUT_FILE: Final = "output.npy"
LOG_FILE: Final = "log.txt"


class Order(StrEnum):
    """What the worker asks of all the processes, by way of the first."""

    CALL = "call"  # answered by a RankCall of each
    OUTPUT = "output"  # of the last call, as one array in OUTPUT_FILE; answered by its path
    END = "end"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a call in one process, by the machine's monotonic clock, which all its processes read."""

    name: str
    start_s: float
    stop_s: float


@dataclass(frozen=True, kw_only=True)
class RankCall:
    """What one process did of a call. All begin a part together, and wait for each other before the next."""

    parts: tuple[Part, ...]
    page_faults: int  # minor ones, of the forward


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A process has its network and its share of the clips."""

    pid: int
    settings: dict[str, str]  # as read back
    threads: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class LastWords:
    """What a process wrote down before it ended with an exception."""

    rank: int
    at_s: float  # the monotonic clock
    out_of_memory: bool
    words: str


def words_file(folder: Path, rank: int) -> Path:
    """Where a process leaves its last words, as JSON."""
    return folder / f"rank{rank}.json"


Answer = Sequence[Prepared] | Sequence[RankCall] | Path
"""From the first process, for all of them, by rank."""
