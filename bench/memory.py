"""Host memory with memory_profiler, device memory from the device's own counters; a pass of its own.

memory_profiler samples the resident set from a child process; that slows what it watches by several per
cent, so nothing is timed here. Its child is left out of the count.
"""

import ctypes
import inspect
import threading
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time
from typing import Final

import memory_profiler
import psutil

from bench.backends import Device
from bench.records import MemoryLine, MemoryPoint

INTERVAL_S: Final = 0.01
"""Between samples of the resident set; the least at which memory_profiler keeps up."""

_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class MemoryProfile:
    """Memory of one call: before it, its highest level, and the curve between, in bytes."""

    before_bytes: int
    peak_bytes: int
    points: tuple[MemoryPoint, ...]


def curve(action: Callable[[], object], *, device: Device) -> MemoryProfile:
    """Run the action under memory_profiler's sampler.

    Freed memory that the allocator kept is given back to the system first, so that growth is what the call
    needs and not what earlier calls left. The peak is the kernel's own high-water mark where it can be
    reset (Linux), since a sampler misses what lives shorter than its interval.
    """
    release_free_memory()
    has_mark = _reset_high_water_mark()
    before = _resident_bytes()
    on_device = _DeviceSampler(device)
    with on_device:
        measured = memory_profiler.memory_usage(
            (action, (), {}), interval=INTERVAL_S, timestamps=True, include_children=False, max_iterations=1
        )
    samples = [(int(mib * _MIB), at) for mib, at in measured]
    begin = samples[0][1]
    points = tuple(
        MemoryPoint(elapsed_s=at - begin, host_bytes=host, device_bytes=on_device.at(at))
        for host, at in samples
    )
    peak = max(host for host, _ in samples)
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


class _DeviceSampler:
    """Reads the bytes allocated on a device beside memory_profiler's samples, from a thread."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._done = threading.Event()
        self._samples: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        if self._device.allocated_bytes() is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def at(self, moment: float) -> int | None:
        """The last reading at or before a moment; the first one before any."""
        if not self._samples:
            return None
        place = bisect_right(self._samples, moment, key=lambda sample: sample[0])
        return self._samples[max(0, place - 1)][1]

    def _watch(self) -> None:
        while not self._done.is_set():
            held = self._device.allocated_bytes()
            if held is not None:
                self._samples.append((time(), held))
            sleep(INTERVAL_S)
