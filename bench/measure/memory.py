"""Host memory with memory_profiler, device memory from the device's own counters; a pass of its own.

Sampling slows what it watches, so nothing is timed here. Children are left out of the count: resident sets
count what they share twice.
"""

import ctypes
import inspect
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import memory_profiler
import psutil

from bench.measure.backends import Device
from bench.records import MemoryLine, MemoryPoint

INTERVAL_S: Final = 0.01
"""Between samples of the resident set."""

_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class MemoryProfile:
    """Memory of one call: before it, its highest level, and the curve between, in bytes."""

    before_bytes: int
    peak_bytes: int
    points: tuple[MemoryPoint, ...]


def curve(action: Callable[[], object], *, device: Device) -> MemoryProfile:
    """Run the action while memory_profiler samples the process.

    Freed memory that the allocator kept is given back to the system first, so that growth is what the call
    needs and not what earlier calls left. The peak is the kernel's own high-water mark where it can be
    reset (Linux), since a sampler misses what lives shorter than its interval.
    """
    release_free_memory()
    has_mark = _reset_high_water_mark()
    before = _resident_bytes()
    with _Sampler(device) as sampler:
        action()
    points = sampler.points()
    peak = max(point.host_bytes for point in points)
    return MemoryProfile(
        before_bytes=before, peak_bytes=max(peak, _high_water_mark() if has_mark else 0), points=points
    )


def by_line(function: Callable[..., object], call: Callable[[], object]) -> tuple[MemoryLine, ...]:
    """What each source line of `function` adds to host memory while `call` runs it, by memory_profiler.

    It traces every line, so that the call takes longer; only its memory is looked at.
    """
    release_free_memory()
    profiler = memory_profiler.LineProfiler(backend="psutil")
    profiler.add_function(function)
    profiler.enable_by_count()
    try:
        call()
    finally:
        profiler.disable_by_count()
    source, first = inspect.getsourcelines(function)
    lines = []
    for _, recorded in profiler.code_map.items():
        for number, values in recorded:
            if values is None:
                continue
            increment, total, occurrences = values
            lines.append(
                MemoryLine(
                    line=number,
                    source=source[number - first].rstrip(),
                    occurrences=occurrences,
                    # For the `def` line memory_profiler gives the level on entry, which no line added.
                    increment_bytes=int(increment * _MIB) if number > first else 0,
                    host_bytes=int(total * _MIB),
                )
            )
    return tuple(lines)


def release_free_memory() -> None:
    """Give memory that the C library's allocator keeps back to the system (glibc only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class _Sampler:
    """Reads host memory by memory_profiler, and the device's beside it, from a thread.

    memory_profiler's own way to watch a function is to fork a child that watches; copying and tearing down
    a process that has torch in it takes longer than a small cell's call. Asked for one sample of a process
    at a time it needs none.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._done = threading.Event()
        self._samples: list[tuple[float, int, int | None]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def points(self) -> tuple[MemoryPoint, ...]:
        """What was read, by the time since the first reading."""
        begin = self._samples[0][0]
        return tuple(
            MemoryPoint(elapsed_s=at - begin, host_bytes=host, device_bytes=on_device)
            for at, host, on_device in self._samples
        )

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        on_device = self._device.allocated_bytes()
        [(mebibytes, at)] = memory_profiler.memory_usage(
            os.getpid(), interval=0.0, timestamps=True, include_children=False
        )
        self._samples.append((at, int(mebibytes * _MIB), on_device))
