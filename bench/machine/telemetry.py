"""The machine beside the samples: what it was doing between timed calls, and who else was at work.

Read between calls, never during one, so that a reading can disturb a sample through caches alone
(docs/measurement.md has by how much). Nothing here raises: what a machine has not got is None.
"""

import os
import resource
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final, Self

import psutil
import pynvml
from pydantic import ValidationError

from bench.machine import control_groups
from bench.machine.gpu import NvidiaGpu, unreadable
from bench.machine.host import allowed_cores
from bench.machine.kernel_files import numbers, text, whole
from bench.records import OtherProcess, TelemetryReading

MAX_CLOCKS_READ: Final = 8
"""Cores whose clock is read, spread evenly over those allowed: a machine of 256 cores has no more than a few
clock domains. psutil.cpu_freq reads /proc/cpuinfo as well, which interrupts every core."""

OTHERS_CORES: Final = 0.05
"""Below this many cores kept busy, on average, by others, no process is looked for: every system has its own
work, and finding out whose it is means reading a file of every process."""

SCAN_S: Final = 0.1
"""Between two looks at all processes: ten ticks of the clock that the kernel charges CPU time by."""

MAX_OTHERS: Final = 3
"""Processes that are named."""

_SWAP_PAGE: Final = 4096
"""psutil counts in bytes, of pages of this size."""


class Telemetry:
    """Reads the machine for one round, in the worker.

    `gpu` is the UUID of the device that is measured, None for a CPU. `origin` is the value of
    `perf_counter` when the round began. `notes` says what cannot be read here although it was asked for.
    """

    def __init__(self, *, origin: float, gpu: str | None = None) -> None:
        self._origin = origin
        self._gpu: NvidiaGpu | None = None
        self.notes: tuple[str, ...] = ()
        if gpu is not None:
            try:
                self._gpu = NvidiaGpu(gpu)
            except pynvml.NVMLError as error:
                self.notes = (unreadable(error),)
        cores = allowed_cores()
        self.affinity_cores = len(cores)
        groups = control_groups.folders("cpu")
        self._sources: list[Callable[[], dict[str, Any]]] = [
            own_use,
            lambda: core_times(cores),
            lambda: throttling(groups),
            lambda: {"load_1m": psutil.getloadavg()[0]},
            swapped_pages,
            lambda: clocks(cores),
            *([self._gpu.read] if self._gpu else []),
        ]

    def read(self) -> TelemetryReading:
        """Return the machine as it is now. Call it between timed calls."""
        elapsed_s = perf_counter() - self._origin
        values: dict[str, Any] = {}
        for source in self._sources:
            with suppress(Exception):  # no reason to lose a round
                values |= source()
        try:
            return TelemetryReading(elapsed_s=elapsed_s, **values)
        except ValidationError as error:  # a value that no machine can have is not known
            unknown = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
            return TelemetryReading(elapsed_s=elapsed_s, **{**values, **unknown})

    def others(self, readings: Sequence[TelemetryReading]) -> tuple[OtherProcess, ...]:
        """Return the busiest other processes, where the readings say that there were some; others on the GPU.

        Call it at the end of a round: looking at all processes takes SCAN_S.
        """
        found: list[OtherProcess] = []
        with suppress(Exception):
            if (others_cores(readings) or 0) > OTHERS_CORES:
                found += busiest()
            if self._gpu is not None:
                found += self._gpu.others()[:MAX_OTHERS]
        return tuple(found)

    def close(self) -> None:
        if self._gpu is not None:
            self._gpu.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def growth(readings: Sequence[TelemetryReading], *names: str) -> tuple[float, ...] | None:
    """Return the seconds from the first to the last reading with all counters, and each one's growth."""
    known = [item for item in readings if None not in (getattr(item, name) for name in names)]
    if not known or known[-1].elapsed_s <= known[0].elapsed_s:
        return None
    return tuple(getattr(known[-1], name) - getattr(known[0], name) for name in ("elapsed_s", *names))


def others_cores(readings: Sequence[TelemetryReading]) -> float | None:
    """Return how many cores all but the worker kept busy while the readings were made, on average."""
    grown = growth(readings, "busy_s", "own_cpu_s")
    if grown is None:
        return None
    span_s, busy_s, own_s = grown
    return max(0.0, (busy_s - own_s) / span_s)


def busiest(span_s: float = SCAN_S) -> list[OtherProcess]:
    """Return the processes beside this one that keep cores busy during a span, the busiest first."""
    others = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    for process in others:
        with suppress(psutil.Error):
            process.cpu_percent()
    sleep(span_s)
    found = []
    for process in others:
        with suppress(psutil.Error):
            cores = process.cpu_percent() / 100
            if cores >= OTHERS_CORES:
                found.append(OtherProcess(pid=process.pid, name=process.name(), cores=round(cores, 2)))
    return sorted(found, key=lambda item: -(item.cores or 0))[:MAX_OTHERS]


def own_use() -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "own_cpu_s": usage.ru_utime + usage.ru_stime,
        "involuntary_switches": usage.ru_nivcsw,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
    }


def core_times(cores: Collection[int], root: Path = Path("/")) -> dict[str, Any]:
    """Return what the cores did that this process may use. `root` stands before /sys, for tests."""
    # Cores that are switched off have a number and no times.
    times = dict(zip(_online(root), psutil.cpu_times(percpu=True), strict=False))
    mine = [times[core] for core in cores if core in times]
    # Guests are counted in user; idle and iowait are not busy.
    busy = ("user", "nice", "system", "irq", "softirq")
    return {
        "busy_s": sum(getattr(item, name, 0.0) for item in mine for name in busy),
        "steal_s": sum(getattr(item, "steal", 0.0) for item in mine),
    }


def _online(root: Path) -> Iterable[int]:
    """Return the numbers of the cores that are switched on, in the order in which the kernel lists them."""
    ranges = [part.split("-") for part in text(root / "sys/devices/system/cpu/online").split(",")]
    if ranges == [[""]]:
        return count()
    return [core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)]


def throttling(groups: Sequence[Path], root: Path = Path("/")) -> dict[str, Any]:
    """Return the counters of every control group that may set a quota, and the processor's own of heat."""
    values: dict[str, Any] = {}
    counters = [found for folder in groups if "nr_throttled" in (found := numbers(folder / "cpu.stat"))]
    if counters:
        values["throttled_periods"] = sum(found["nr_throttled"] for found in counters)
        # Microseconds in the second version of control groups, nanoseconds in the first.
        values["throttled_s"] = sum(
            found.get("throttled_usec", 0) / 1e6 + found.get("throttled_time", 0) / 1e9 for found in counters
        )
    heat = root / "sys/devices/system/cpu/cpu0/thermal_throttle"
    events = [whole(heat / f"{name}_throttle_count") for name in ("core", "package")]
    known = [count for count in events if count is not None]
    return values | ({"cpu_throttle_events": sum(known)} if known else {})


def swapped_pages() -> dict[str, Any]:
    swap = psutil.swap_memory()
    return {"swap_pages": (swap.sin + swap.sout) // _SWAP_PAGE}


def clocks(cores: Sequence[int], root: Path = Path("/")) -> dict[str, Any]:
    """Return the mean clock of some of the cores; virtual machines have none."""
    step = -(-len(cores) // MAX_CLOCKS_READ)
    files = (root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq" for core in cores[::step])
    khz = [value for file in files if (value := whole(file)) is not None]
    return {"cpu_mhz": sum(khz) / len(khz) / 1000} if khz else {}
