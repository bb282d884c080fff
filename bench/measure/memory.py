"""Measures host memory with memory_profiler, and device memory by the device's own counters.

Sampling slows the call, so nothing is timed here. Children are left out: resident sets count twice what
processes share.
"""

import ctypes
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import memory_profiler
import psutil

from bench.measure.backends import Device
from bench.records import MemoryLine, MemoryPoint

INTERVAL_S: Final = 0.01
"""Between samples of the resident set."""

_MIB: Final = 2**20


def curve(action: Callable[[], object], *, device: Device) -> dict[str, Any]:
    """Return the memory of the process and the device while the action runs, as fields of a record.

    Freed memory that the allocator kept is given back to the system first, so that growth is what the call
    needs and not what earlier calls left. The peak is the kernel's own high-water mark where it can be
    reset (Linux), since a sampler misses peaks that are shorter than its interval.
    """
    release_free_memory()
    device.reset_peak_bytes()
    has_mark = _reset_high_water_mark()
    before = psutil.Process().memory_info().rss
    with _sampled(device) as points:
        action()
    peak = max(point.host_bytes for point in points)
    if has_mark:
        peak = max(peak, _high_water_mark())
    figures: dict[str, Any] = {
        "host_before_bytes": before,
        "peak_host_bytes": peak,
        "host_growth_bytes": max(0, peak - before),
        "memory": tuple(points),
    }
    if peaks := device.peak_bytes():
        figures["peak_device_bytes"], figures["peak_device_reserved_bytes"] = peaks
    return figures


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


@contextmanager
def _sampled(device: Device) -> Iterator[list[MemoryPoint]]:
    """Sample host memory by memory_profiler, and the device's memory, from a thread beside the block.

    memory_profiler's own sampler is a forked child; copying a process that has imported torch takes longer
    than a small cell's call. For one sample at a time it forks none.
    """
    points: list[MemoryPoint] = []
    done = threading.Event()
    begin_s = perf_counter()

    def sample() -> None:
        [mebibytes] = memory_profiler.memory_usage(os.getpid(), interval=0.0, include_children=False)
        points.append(
            MemoryPoint(
                elapsed_s=perf_counter() - begin_s,
                host_bytes=int(mebibytes * _MIB),
                device_bytes=device.allocated_bytes(),
            )
        )

    def sample_until_done() -> None:
        while not done.wait(INTERVAL_S):
            sample()

    thread = threading.Thread(target=sample_until_done, daemon=True)
    sample()
    thread.start()
    try:
        yield points
    finally:
        done.set()
        thread.join()
        sample()
