"""Cautions about the machine: what it, its other users and its settings did to the samples. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from bench.cautions.caution import Caution, Notice
from bench.grid.spans import FORWARD
from bench.machine.telemetry_nvidia import HARMFUL
from bench.records import CellRecord, OtherProcess, Pass, Phase, TelemetryReading
from bench.units import counted

SHARE: Final = 0.01
"""Of the time: what is lost below it does not show beside the 2 % that a median is measured to."""

MIN_LOST_S: Final = 0.05
"""Five ticks of the clock that the kernel charges CPU time by: less may be rounding."""

MIN_BUSY_SHARE: Final = 0.1
"""Of all cores: others that keep so many busy take caches, memory bandwidth and turbo clocks, though cores
stay free."""

CPU_SAG: Final = 0.1
"""Of the clock, between thirds of the samples. Governors step between clocks by less all the time."""

GPU_SAG: Final = 0.05
"""Of the SM clock, between thirds of the samples: three to six of its 15 MHz steps."""

MIN_CLOCK_READINGS: Final = 9
"""Three in each third, so that one reading of a core at rest is no sag."""

PREEMPTIONS_PER_CPU_S: Final = 50.0
"""Involuntary switches in a second of the worker's CPU time. The kernel's own work causes a few; each that
lets another process in costs a slice of about 3 ms, so that 50 are up to 15 % of the time."""

MIN_PREEMPTIONS: Final = 10
"""A few fall into any second."""

MIN_SWAP_PAGES: Final = 256
"""A mebibyte: what an idle machine moves by the way is less."""

FAULT_S: Final = 0.25e-6
"""What a minor fault costs at least: the kernel is entered and 4 KiB are cleared. Virtual machines pay twice
that and more."""

FAULT_SHARE: Final = 0.05
"""Of a forward: glibc's defaults have been seen to take 15 to 35 %."""

SLOW_GOVERNORS: Final = frozenset({"powersave", "conservative"})


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One round's caution: how bad it is, and in words."""

    size: float
    text: str


_Look = Callable[[CellRecord, Sequence[TelemetryReading]], _Seen | None]


def of_machine(environment: Mapping[str, Any]) -> list[Notice]:
    """What the environment alone says: it holds for every cell."""
    governor = environment.get("cpu_governor")
    if governor not in SLOW_GOVERNORS or environment.get("cpu_energy_preference") == "performance":
        return []
    return [
        Notice(
            code=Caution.POWER_SAVING,
            seen=f"the governor {governor} lowers the processor's clock",
            remedy="set another with `sudo cpupower frequency-set --governor performance`",
        )
    ]


def of_telemetry(rounds: Sequence[CellRecord], environment: Mapping[str, Any]) -> list[Notice]:
    """What the readings beside a cell's samples say, its rounds together."""
    looks: tuple[tuple[Caution, _Look, str], ...] = (
        (
            Caution.CLOCKS_SAGGED,
            _sagged,
            "let the machine cool, and fix its clocks below what it holds (`nvidia-smi --lock-gpu-clocks`, "
            "`cpupower frequency-set --max`)",
        ),
        (
            Caution.CLOCKS_THROTTLED,
            _throttled,
            "cool it, raise its power limit, or fix its clocks below what it holds "
            "(`nvidia-smi --lock-gpu-clocks`)",
        ),
        (
            Caution.DEVICE_SHARED,
            _device_shared,
            "end the other process, or measure on another GPU (`device: cuda:1`)",
        ),
        (
            Caution.CORES_BUSY,
            lambda record, readings: _cores_busy(record, readings, environment),
            "end what else is running, or measure with fewer `threads` than there are cores",
        ),
        (
            Caution.STEAL,
            _steal,
            "measure on a host that is not overcommitted (a dedicated or bare-metal machine)",
        ),
        (
            Caution.CPU_QUOTA,
            _cpu_quota,
            "raise the container's CPU limit, or set `threads` to no more than it allows",
        ),
        (
            Caution.PREEMPTED,
            _preempted,
            "end what else is running, use fewer `threads`, or raise the priority with `nice`",
        ),
        (
            Caution.AFFINITY_NARROW,
            lambda record, _: _affinity_narrow(record, environment),
            "set `threads` to the cores that may be used, or allow more (taskset, the container's limit)",
        ),
        (
            Caution.SWAPPED,
            _swapped,
            "free memory or measure smaller cells, and run `sudo swapoff --all` before",
        ),
        (
            Caution.PAGE_FAULTS,
            lambda record, _: _page_faults(record),
            "use `allocator: retain` (`measure`), which keeps freed memory, or warm up longer",
        ),
    )
    found = []
    for code, look, remedy in looks:
        seen = [(record.round, seen) for record in rounds if (seen := look(record, around_steady(record)))]
        if seen:
            number, worst = max(seen, key=lambda item: item[1].size)
            often = (
                f" (in {len(seen)} of {len(rounds)} rounds, round {number} the most)" if rounds[1:] else ""
            )
            found.append(
                Notice(code=code, cell=rounds[0].cell, round=number, seen=worst.text + often, remedy=remedy)
            )
    return found


def around_steady(record: CellRecord) -> Sequence[TelemetryReading]:
    """The readings from the last before the first steady call to the first after the last one; else all."""
    readings = record.telemetry
    steady = [item for item in record.samples if item.phase is Phase.STEADY]
    if not steady:
        return readings
    begin = min(item.start_s for item in steady)
    end = max(item.start_s + item.wall_s for item in steady)
    first = max((i for i, item in enumerate(readings) if item.elapsed_s <= begin), default=0)
    last = next((i for i, item in enumerate(readings) if item.elapsed_s >= end), len(readings) - 1)
    return readings[first : last + 1]


@dataclass(frozen=True, kw_only=True)
class _Growth:
    """How much a counter grew, and in what time."""

    by: float
    span_s: float


def _growth(readings: Sequence[TelemetryReading], *names: str) -> _Growth | None:
    """Of the sum of the counters, between the first and the last reading that hold all of them."""
    known = [
        (item.elapsed_s, sum(values))
        for item in readings
        if None not in (values := [getattr(item, name) for name in names])
    ]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    return _Growth(by=known[-1][1] - known[0][1], span_s=known[-1][0] - known[0][0])


def _sagged(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    for name, what, most in (
        ("sm_clock_mhz", "the GPU's clock", GPU_SAG),
        ("cpu_mhz", "the processor's clock", CPU_SAG),
    ):
        levels = [value for item in readings if (value := getattr(item, name)) is not None]
        if len(levels) < MIN_CLOCK_READINGS:
            continue
        third = len(levels) // 3
        low, *_rest, high = sorted(
            median(part) for part in (levels[:third], levels[third:-third], levels[-third:])
        )
        if high > 0 and 1 - low / high > most:
            text = f"{what} moved between {low:.0f} and {high:.0f} MHz while samples were taken"
            return _Seen(size=1 - low / high, text=text)
    return None


def _throttled(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    for name, why in (("heat_capped_s", "heat"), ("power_capped_s", "power")):
        capped = _growth(readings, name)
        if capped and capped.by > SHARE * capped.span_s:
            text = f"the GPU held its clocks back for {why} in {capped.by:.2g} of {capped.span_s:.2g} s"
            return _Seen(size=capped.by / capped.span_s, text=text)
    reasons = [HARMFUL.intersection(item.throttle_reasons or ()) for item in readings]
    if any(reasons):
        names = ", ".join(sorted(set().union(*reasons)))
        count = sum(map(bool, reasons))
        text = f"the GPU held its clocks back ({names}) in {count} of {len(reasons)} readings"
        return _Seen(size=count / len(reasons), text=text)
    events = _growth(readings, "cpu_throttle_events")
    if events and events.by > 0:
        text = f"the processor held its clock back for heat {events.by:.0f} times in {events.span_s:.2g} s"
        return _Seen(size=events.by, text=text)
    return None


def _device_shared(record: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    on_it = [item for item in record.others if item.cores is None]
    count = max((item.other_device_processes or 0 for item in readings), default=0) or len(on_it)
    if not count:
        return None
    held = max((item.other_device_bytes or 0 for item in readings), default=0)
    text = f"{counted(count, 'other process', 'other processes')} had the GPU open"
    text += _named(on_it, lambda item: f"{(item.device_bytes or 0) / 2**20:.0f} MiB")
    if held and not on_it:
        text += f", with {held / 2**20:.0f} MiB in use"
    return _Seen(size=held or count, text=text)


def _cores_busy(
    record: CellRecord, readings: Sequence[TelemetryReading], environment: Mapping[str, Any]
) -> _Seen | None:
    both = [item for item in readings if item.busy_s is not None and item.own_cpu_s is not None]
    busy, own = _growth(both, "busy_s"), _growth(both, "own_cpu_s")
    cores = _allowed_cores(record, environment)
    if busy is None or own is None or cores is None or busy.by - own.by < MIN_LOST_S:
        return None
    others = (busy.by - own.by) / busy.span_s
    needed = _threads_needed(record)
    # What they took where there was no core left for both, as a share of what the worker needs.
    taken = max(0.0, min(needed, cores) + others - cores) / needed
    if taken < 2 * SHARE and others < MIN_BUSY_SHARE * cores:
        return None
    named = [item for item in record.others if item.cores is not None]
    text = f"others kept {others:.2g} of {counted(cores, 'core')} busy while samples were taken"
    return _Seen(size=others, text=text + _named(named, lambda item: f"{item.cores:.2g}"))


def _steal(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    stolen, asked = _growth(readings, "steal_s"), _growth(readings, "steal_s", "busy_s")
    if stolen is None or asked is None or stolen.by < MIN_LOST_S or stolen.by <= SHARE * asked.by:
        return None
    text = f"the hypervisor gave {100 * stolen.by / asked.by:.2g} % of the cores' time to others (steal)"
    return _Seen(size=stolen.by / asked.by, text=text)


def _cpu_quota(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    periods, held = _growth(readings, "throttled_periods"), _growth(readings, "throttled_s")
    if periods is None or periods.by < 1:
        return None
    text = f"the CPU quota of the control group ran out {periods.by:.0f} times in {periods.span_s:.2g} s"
    if held is not None and held.by > 0:
        text += f" and held threads back for {held.by:.2g} s"
    return _Seen(size=periods.by, text=text)


def _preempted(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    switches, cpu = _growth(readings, "involuntary_switches"), _growth(readings, "own_cpu_s")
    if switches is None or cpu is None or cpu.by <= 0 or switches.by < MIN_PREEMPTIONS:
        return None
    rate = switches.by / cpu.by
    if rate <= PREEMPTIONS_PER_CPU_S:
        return None
    text = f"the worker's threads were put off their core {switches.by:.0f} times, {rate:.0f} per CPU second"
    return _Seen(size=rate, text=text)


def _affinity_narrow(record: CellRecord, environment: Mapping[str, Any]) -> _Seen | None:
    cores, threads = _allowed_cores(record, environment), record.threads
    if threads is None or _on_gpu(record):
        return None
    if cores is not None and threads > cores:
        text = f"{counted(threads, 'thread')} had {counted(cores, 'core')} to run on"
        return _Seen(size=threads / cores, text=text)
    quota = _nested(environment, "cgroup", "cpu_quota_cores")
    if isinstance(quota, int | float) and threads > quota > 0:
        text = f"{counted(threads, 'thread')} had a CPU quota of {quota:.3g} cores"
        return _Seen(size=threads / quota, text=text)
    return None


def _swapped(_: CellRecord, readings: Sequence[TelemetryReading]) -> _Seen | None:
    pages = _growth(readings, "swap_pages")
    if pages is None or pages.by < MIN_SWAP_PAGES:
        return None
    text = f"{pages.by:.0f} pages went to or came from swap in {pages.span_s:.2g} s"
    return _Seen(size=pages.by, text=text)


def _page_faults(record: CellRecord) -> _Seen | None:
    walls = steady_figure_s(record)
    if record.page_faults_per_forward is None or not walls:
        return None
    share = record.page_faults_per_forward * FAULT_S / median(walls)
    if share <= FAULT_SHARE:
        return None
    text = (
        f"{record.page_faults_per_forward:,.0f} page faults in a forward take at least "
        f"{100 * min(share, 1):.0f} % of its time"
    )
    return _Seen(size=share, text=text)


def steady_figure_s(record: CellRecord) -> list[float]:
    """The steady samples of what the figures are of, in the order in which they were taken."""
    return [
        item.wall_s
        for item in record.samples
        if item.pass_ is Pass.END_TO_END and item.phase is Phase.STEADY and item.stage == FORWARD
    ]


def _allowed_cores(record: CellRecord, environment: Mapping[str, Any]) -> int | None:
    for cores in (
        record.affinity_cores,
        environment.get("cpu_affinity"),
        environment.get("cpu_logical_cores"),
    ):
        if isinstance(cores, int) and cores > 0:
            return cores
    return None


def _threads_needed(record: CellRecord) -> int:
    """Threads that the forward keeps busy; on a GPU the one that queues its work."""
    return 1 if _on_gpu(record) else record.threads or 1


def _on_gpu(record: CellRecord) -> bool:
    return record.settings.get("device", "cpu").startswith("cuda")


def _nested(environment: Mapping[str, Any], outer: str, inner: str) -> Any:
    mapping = environment.get(outer)
    return mapping.get(inner) if isinstance(mapping, Mapping) else None


def _named(others: Iterable[OtherProcess], figure: Callable[[OtherProcess], str]) -> str:
    names = ", ".join(f"{item.name} (pid {item.pid}) {figure(item)}" for item in others)
    return f", among them {names}" if names else ""
