"""The machine beside the samples: what it was doing between timed calls, and who else was at work.

Read between calls, never during one, so that a reading can disturb a sample through caches alone
(docs/warnings.md has by how much). Files of /proc and /sys are opened once and read
again in place. Nothing here raises: what a machine has not got is None.
"""

import os
import re
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, sleep, time
from typing import Any, Final, Self

import psutil

from bench.machine import control_groups
from bench.machine.telemetry_nvidia import GpuIdentity, GpuProcesses, NvidiaGpu, Nvml, named_process, open_gpu
from bench.records import OtherProcess, TelemetryReading

MAX_CLOCKS_READ: Final = 8
"""Cores whose clock is read, spread evenly over those allowed: a read costs some microseconds each, and a
machine of 256 cores has no more than a few clock domains."""

READING_SHARE: Final = 0.02
"""Of a round's time, what a source may take at most. One that is slow here (/proc/stat adds up every
interrupt of every core, an NVML call may wait for the driver) is left out until it has paid off."""

READ_ALWAYS_S: Final = 0.0002
"""A source that is faster than this is in every reading."""

OTHERS_CORES: Final = 0.05
"""Below this many cores kept busy, on average, by others, no process is looked for: every system has its own
work, and finding out whose it is means reading a file of every process."""

SCAN_S: Final = 0.1
"""Between two looks at all processes: ten ticks of the clock that the kernel charges CPU time by."""

MAX_OTHERS: Final = 3
"""Processes that are named."""

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BUSY_COLUMNS: Final = (0, 1, 2, 5, 6)
"""user, nice, system, irq, softirq of a line in /proc/stat; guests are counted in user, idle and iowait are
not busy, steal is another column."""
_STEAL_COLUMN: Final = 7
_SWAP_PAGES: Final = re.compile(rb"^pswp(?:in|out) (\d+)$", re.MULTILINE)
_MICRO: Final = 1e6
_NANO: Final = 1e9


class Telemetry:
    """Reads the machine for one round, in the worker.

    `gpu` is the identity of the device that is measured, None for a CPU. `clock` gives seconds, `origin` is
    its value when the round began. `notes` says what cannot be read here although it was asked for.
    """

    def __init__(
        self,
        *,
        origin: float,
        gpu: GpuIdentity | None = None,
        clock: Callable[[], float] = perf_counter,
        root: Path = Path("/"),
        nvml: Nvml | None = None,
    ) -> None:
        self._clock = clock
        self._origin = origin
        self._files: list[_Kept] = []
        self.notes: tuple[str, ...] = ()
        cores = _allowed_cores()
        self.affinity_cores = len(cores)
        self._sources = [
            _Source(source)
            for source in (
                _own,
                _CoreTimes(self._keep, root, cores).read,
                _Throttling(self._keep, root).read,
                _Swap(self._keep, root).read,
                _Load(self._keep, root).read,
                _Clocks(self._keep, root, cores).read,
            )
        ]
        self._gpu: NvidiaGpu | None = None
        if gpu is not None:
            self._gpu, note = open_gpu(gpu, own_pid=os.getpid(), nvml=nvml, is_family=_is_family)
            self.notes = (note,) if note else ()
            if self._gpu is not None:
                self._sources.append(_Source(self._gpu_values))

    def read(self, *, sparing: bool = False) -> TelemetryReading:
        """The machine now. Call it between timed calls.

        A `sparing` reading leaves out what is slow to read and has been read a short while ago; where a pass
        begins or ends, all is read, so that what counters rose by is the pass's own.
        """
        begin = self._clock()
        values: dict[str, Any] = {}
        for source in self._sources:
            values |= source.read(begin - self._origin, self._clock, sparing=sparing)
        return TelemetryReading(elapsed_s=begin - self._origin, **values)

    def others(self, readings: Sequence[TelemetryReading]) -> tuple[OtherProcess, ...]:
        """The busiest other processes, and those on the same GPU, where the readings say there were some.

        Call it at the end of a round. Where the machine was this worker's alone it does nothing; else it
        looks at all processes twice, and takes some 0.1 s.
        """
        found: list[OtherProcess] = []
        with suppress(Exception):  # a process list that cannot be read is no reason to lose a round
            if (others_cores(readings) or 0) > OTHERS_CORES:
                round_s = self._clock() - self._origin
                found += busiest(round_s)[:MAX_OTHERS]
            on_gpu = self._gpu.processes() if self._gpu is not None else None
            if on_gpu is not None:
                found += _on_the_gpu(on_gpu)
        return tuple(found)

    def close(self) -> None:
        for file in self._files:
            file.close()
        if self._gpu is not None:
            self._gpu.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, path: Path, size: int = 4096) -> "_Kept":
        file = _Kept(path, size)
        self._files.append(file)
        return file

    def _gpu_values(self) -> dict[str, Any]:
        assert self._gpu is not None
        return asdict(self._gpu.read())


def others_cores(readings: Sequence[TelemetryReading]) -> float | None:
    """How many cores all but the worker kept busy between the first and the last reading, on average."""
    spans = [(item.elapsed_s, item.busy_s - item.own_cpu_s)
             for item in readings if item.busy_s is not None and item.own_cpu_s is not None]  # fmt: skip
    if len(spans) < 2 or spans[-1][0] <= spans[0][0]:
        return None
    return max(0.0, (spans[-1][1] - spans[0][1]) / (spans[-1][0] - spans[0][0]))


def busiest(round_s: float, pause: Callable[[float], None] = sleep) -> list[OtherProcess]:
    """Processes beside this one by the cores that they keep busy now, the busiest first.

    One that began within the last `round_s` is judged by all its CPU time, since all of it fell into the
    round; an older one by what it takes during SCAN_S. One that has ended is not seen.
    """
    before = _cpu_times()
    begin = perf_counter()
    pause(SCAN_S)
    after = _cpu_times()
    window_s = perf_counter() - begin
    now = time()
    found = []
    for key, (name, total_s) in after.items():
        pid, created = key
        cores = (total_s - before[key][1]) / window_s if key in before else 0.0
        if now - created < round_s:
            cores = max(cores, total_s / round_s)
        if cores >= OTHERS_CORES:
            found.append(OtherProcess(pid=pid, name=name, cores=round(cores, 2)))
    return sorted(found, key=lambda item: -(item.cores or 0))


def _cpu_times() -> dict[tuple[int, float], tuple[str, float]]:
    """Name and CPU seconds by id and start, of all processes but this."""
    times = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error, OSError):
            spent = process.cpu_times()
            times[process.pid, process.create_time()] = (process.name(), spent.user + spent.system)
    return times


def _on_the_gpu(processes: GpuProcesses) -> list[OtherProcess]:
    by_memory = sorted(processes.named, key=lambda item: -(item[1] or 0))
    return [named_process(pid, held) for pid, held in by_memory[:MAX_OTHERS]]


def _is_family(pid: int) -> bool:
    """Whether a process is another worker of this run: of the same server, or of a server beside it."""
    with suppress(psutil.Error, OSError):
        parent = psutil.Process(pid).ppid()
        server = os.getppid()
        if parent == server:
            return True
        run = psutil.Process(server).ppid()
        return run > 1 and psutil.Process(parent).ppid() == run
    return False


def _allowed_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class _Kept:
    """A file of /proc or /sys that stays open; an absent one reads as nothing."""

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def __bool__(self) -> bool:
        return self._file >= 0

    def read(self) -> bytes:
        if self._file < 0:
            return b""
        try:
            return os.pread(self._file, self._size, 0)
        except OSError:
            return b""

    def number(self) -> int | None:
        text = self.read().strip()
        return int(text) if text.isdigit() else None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_Keep = Callable[..., _Kept]


class _Source:
    """Reads one source, as often as its cost allows where it is to be sparing; what it raises is nothing."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask = ask
        self._next_s = float("-inf")

    def read(self, now_s: float, clock: Callable[[], float], *, sparing: bool) -> dict[str, Any]:
        if sparing and now_s < self._next_s:
            return {}
        begin = clock()
        try:
            return self._ask()
        except Exception:
            return {}
        finally:
            cost_s = clock() - begin
            if cost_s > READ_ALWAYS_S:
                self._next_s = now_s + cost_s / READING_SHARE


def _own() -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "own_cpu_s": usage.ru_utime + usage.ru_stime,
        "involuntary_switches": usage.ru_nivcsw,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
    }


class _CoreTimes:
    """/proc/stat: what the cores did that this process may use."""

    def __init__(self, keep: _Keep, root: Path, cores: Sequence[int]) -> None:
        # A line per core stands before the long line of interrupts, which is not needed.
        self._file = keep(root / "proc/stat", 128 * ((os.cpu_count() or 1) + 1))
        self._names = {f"cpu{core}".encode() for core in cores}
        if len(cores) == os.cpu_count():
            self._names = {b"cpu"}

    def read(self) -> dict[str, Any]:
        busy = steal = 0
        found = False
        for line in self._file.read().splitlines():
            name, *columns = line.split()
            if name in self._names and len(columns) > _STEAL_COLUMN:
                found = True
                busy += sum(int(columns[column]) for column in _BUSY_COLUMNS)
                steal += int(columns[_STEAL_COLUMN])
            elif not name.startswith(b"cpu"):
                break
        return {"busy_s": busy / _TICKS_PER_S, "steal_s": steal / _TICKS_PER_S} if found else {}


class _Throttling:
    """cpu.stat of every control group that may set a quota, and the processor's own counters of heat."""

    def __init__(self, keep: _Keep, root: Path) -> None:
        self._groups = [keep(folder / "cpu.stat") for folder in control_groups.folders("cpu", root)]
        core = root / "sys/devices/system/cpu/cpu0/thermal_throttle"
        self._heat = [keep(core / f"{name}_throttle_count", 32) for name in ("core", "package")]

    def read(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        seconds, periods = [], []
        for file in self._groups:
            counters = dict(line.split() for line in file.read().splitlines() if line.count(b" ") == 1)
            if b"nr_throttled" in counters:
                periods.append(int(counters[b"nr_throttled"]))
            if b"throttled_usec" in counters:  # v2
                seconds.append(int(counters[b"throttled_usec"]) / _MICRO)
            elif b"throttled_time" in counters:  # v1
                seconds.append(int(counters[b"throttled_time"]) / _NANO)
        if periods:
            values |= {"throttled_periods": sum(periods), "throttled_s": sum(seconds)}
        events = [count for file in self._heat if (count := file.number()) is not None]
        if events:
            values["cpu_throttle_events"] = sum(events)
        return values


class _Swap:
    """/proc/vmstat: pages that went to or came from swap."""

    def __init__(self, keep: _Keep, root: Path) -> None:
        self._file = keep(root / "proc/vmstat", 16384)

    def read(self) -> dict[str, Any]:
        pages = _SWAP_PAGES.findall(self._file.read())
        return {"swap_pages": sum(map(int, pages))} if pages else {}


class _Load:
    """/proc/loadavg."""

    def __init__(self, keep: _Keep, root: Path) -> None:
        self._file = keep(root / "proc/loadavg", 64)

    def read(self) -> dict[str, Any]:
        text = self._file.read()
        return {"load_1m": float(text.split()[0])} if text else {}


class _Clocks:
    """cpufreq, where there is one: virtual machines have none."""

    def __init__(self, keep: _Keep, root: Path, cores: Sequence[int]) -> None:
        step = -(-len(cores) // MAX_CLOCKS_READ)
        files = [
            keep(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", 32)
            for core in cores[::step]
        ]
        self._files = [file for file in files if file]

    def read(self) -> dict[str, Any]:
        khz = [value for file in self._files if (value := file.number()) is not None]
        return {"cpu_mhz": sum(khz) / len(khz) / 1000} if khz else {}
