"""Measures host memory with memory_profiler, and device memory by the device's own counters.

Sampling slows the call, so nothing is timed here. Children are left out: resident sets count twice what
processes share.
"""

import ctypes
import inspect
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import memory_profiler
import psutil

from bench.measure.backends import Device
from bench.records import MemoryLine, MemoryPoint

INTERVAL_S: Final = 0.01
"""Between samples of the resident set."""

_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class MemoryProfile:
    """Host memory of one call: before it, its highest level, and the curve between, in bytes."""

    before_bytes: int
    peak_bytes: int
    points: tuple[MemoryPoint, ...]

    def figures(self) -> dict[str, Any]:
        """Return the fields of a record."""
        return {
            "host_before_bytes": self.before_bytes,
            "peak_host_bytes": self.peak_bytes,
            "host_growth_bytes": max(0, self.peak_bytes - self.before_bytes),
            "memory": self.points,
        }


def curve(action: Callable[[], object], *, device: Device) -> MemoryProfile:
    """Return the memory of the process while the action runs, sampled by memory_profiler.

    Freed memory that the allocator kept is given back to the system first, so that growth is what the call
    needs and not what earlier calls left. The peak is the kernel's own high-water mark where it can be
    reset (Linux), since a sampler misses peaks that are shorter than its interval.
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
    """Return what each source line of `function` adds to host memory while `call` runs it.

    memory_profiler traces every line, which makes the call slower; nothing is timed.
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
    """Give freed memory that the C library's allocator keeps back to the system (glibc only)."""
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
    """Samples host memory by memory_profiler, and the device's memory, from a thread.

    memory_profiler's own sampler is a forked child; copying a process that has imported torch takes longer
    than a small cell's call. For one sample at a time it forks none.
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
        """Return the samples by the time since the first."""
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
