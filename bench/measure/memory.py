"""Measures host memory with memory_profiler, and device memory by the device's own counters.

Sampling slows the call, so nothing is timed here. Children are left out: resident sets count twice what
processes share.
"""

import ctypes
import inspect
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias

import memory_profiler
import psutil

from bench.grid.spans import OTHER
from bench.measure.backends import Device
from bench.measure.timing import Mark, Probe
from bench.records import MemoryLine, MemoryPoint, StageMemory

INTERVAL_S: Final = 0.01
"""Between samples of the resident set."""

_MIB: Final = 2**20


class HostMemory:
    """The resident set of this process, whose high-water mark the kernel keeps."""

    def release_free_memory(self) -> None:
        """Give freed memory that the C library's allocator keeps back to the system (glibc only)."""
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def resident_bytes(self) -> int:
        """Return the resident set."""
        return int(psutil.Process().memory_info().rss)

    def reset_peak_bytes(self) -> bool:
        """Set the mark to the resident set; return whether this system can (Linux)."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def peak_bytes(self) -> int:
        """Return the mark."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0


def curve(action: Callable[[], object], *, device: Device) -> dict[str, Any]:
    """Return the memory of the process and the device while the action runs, as fields of a record.

    Freed memory that the allocators kept is given back to the system first, so that growth is what the call
    needs and not what earlier calls left, such as workspaces of autotuning. The peak is the kernel's own
    high-water mark where it can be reset (Linux), since a sampler misses peaks that are shorter than its
    interval.
    """
    host = HostMemory()
    device.release_cached_memory()
    host.release_free_memory()
    device.reset_peak_bytes()
    has_mark = host.reset_peak_bytes()
    before = host.resident_bytes()
    on_device_before = device.allocated_bytes()
    with _sampled(device) as points:
        action()
    peak = max(point.host_bytes for point in points)
    if has_mark:
        peak = max(peak, host.peak_bytes())
    figures: dict[str, Any] = {
        "host_before_bytes": before,
        "peak_host_bytes": peak,
        "host_growth_bytes": max(0, peak - before),
        "memory": tuple(points),
    }
    if peaks := device.peak_bytes():
        figures["peak_device_bytes"], figures["peak_device_reserved_bytes"] = peaks
    if on_device_before is not None:
        figures["device_growth_bytes"] = max(0, figures["peak_device_bytes"] - on_device_before)
    return figures


class Level(NamedTuple):
    """Bytes in use at a boundary of a stage, and the most since the boundary before; None is not known."""

    now: int
    peak: int | None


Levels: TypeAlias = Mapping[str, Level]
"""Levels of the `host` and, where there is one, the `device`."""


class MemoryProbe(Probe):
    """Reads memory at every boundary of a stage, and begins a new peak there.

    Freed memory that the allocator kept is given back first. Otherwise the resident set would only grow, and
    a stage would seem to need nothing of what an earlier one had freed.
    """

    def __init__(self, device: Device, host: HostMemory) -> None:
        super().__init__(device)
        self._host = host
        self._has_mark = host.reset_peak_bytes()

    def mark(self) -> Mark:
        host_peak = self._host.peak_bytes() if self._has_mark else None
        self._host.release_free_memory()
        levels = {"host": Level(self._host.resident_bytes(), host_peak)}
        if (peaks := self.device.peak_bytes()) and (now := self.device.allocated_bytes()) is not None:
            levels["device"] = Level(now, peaks[0])
        self._host.reset_peak_bytes()
        self.device.reset_peak_bytes()
        return self.clock(), levels


def by_stage(
    forward: Callable[[Probe], object], *, device: Device, host: HostMemory | None = None
) -> dict[str, StageMemory]:
    """Return the memory of each stage of one call, with what no stage claims as `other`.

    The device need not be waited for: its memory is counted as the host asks for it, in the host's order.
    """
    device.release_cached_memory()
    probe = MemoryProbe(device, host or HostMemory())
    _, before = probe.mark()
    output = forward(probe)
    _, after = probe.mark()
    del output  # kept until here: it is a part of what the call leaves
    return stage_memory(before, [(stage, begin[1], end[1]) for stage, begin, end in probe.intervals], after)


def stage_memory(
    before: Levels, intervals: Iterable[tuple[str, Levels, Levels]], after: Levels
) -> dict[str, StageMemory]:
    """Return each stage's memory, from the levels around the call and at the ends of the stages' intervals.

    The greatest of the peaks is the call's, and all that is kept adds up to what the call leaves.
    """
    parts: dict[str, list[tuple[Levels, Levels]]] = {}
    last = before
    for stage, begin, end in intervals:
        parts.setdefault(OTHER, []).append((last, begin))
        parts.setdefault(stage, []).append((begin, end))
        last = end
    parts.setdefault(OTHER, []).append((last, after))
    return {stage: _memory_of(its, before) for stage, its in parts.items()}


def _memory_of(parts: Sequence[tuple[Levels, Levels]], before: Levels) -> StageMemory:
    figures: dict[str, int] = {}
    for place, start in before.items():
        figures[f"{place}_kept_bytes"] = sum(end[place].now - begin[place].now for begin, end in parts)
        peaks = [peak for _, end in parts if (peak := end[place].peak) is not None]
        if peaks:
            figures[f"peak_{place}_bytes"] = max(peaks)
            figures[f"{place}_growth_bytes"] = max(0, max(peaks) - start.now)
    return StageMemory(**figures)


def by_line(function: Callable[..., object], call: Callable[[], object]) -> tuple[MemoryLine, ...]:
    """Return what each source line of `function` adds to host memory while `call` runs it.

    memory_profiler traces every line, which makes the call slower; nothing is timed.
    """
    HostMemory().release_free_memory()
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
