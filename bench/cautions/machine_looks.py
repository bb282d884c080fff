"""Look for what the machine, its other users and its settings did to the samples, or would do. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Any, Final

from bench.cautions.caution import Environment, Machine, Readings, Round, Run, Seen
from bench.cautions.samples import forward_s
from bench.machine.gpu import HARMFUL
from bench.machine.telemetry import growth, others_cores
from bench.machine.variables import SPOILING
from bench.records import OtherProcess
from bench.units import counted

# Of the time: what is lost below it does not show beside the 2 % that a median is measured to.
SHARE: Final = 0.01
MIN_LOST_S: Final = 0.05  # five ticks of the clock that the kernel charges CPU time by: less may be rounding
# Of all cores: others that keep so many busy take caches, memory bandwidth and turbo clocks.
MIN_BUSY_SHARE: Final = 0.1
BUSY_SHARE_BEFORE: Final = 0.05  # of all cores: a desktop at rest stays below, and a build does not
CPU_SAG: Final = 0.1  # of the clock, between thirds: governors step between clocks by less all the time
GPU_SAG: Final = 0.05  # of the SM clock, between thirds: three to six of its 15 MHz steps
MIN_CLOCK_READINGS: Final = 9  # three in each third, so that one reading of a core at rest is no sag
# Involuntary switches in a second of the worker's CPU time. The kernel's own work causes a few; each that
# lets another process in costs a slice of about 3 ms, so that 50 are up to 15 % of the time.
PREEMPTIONS_PER_CPU_S: Final = 50.0
MIN_PREEMPTIONS: Final = 10  # a few fall into any second
MIN_SWAP_PAGES: Final = 256  # a mebibyte: what an idle machine moves by the way is less
# What a minor fault costs at least: the kernel is entered and 4 KiB are cleared. Virtual machines pay twice.
FAULT_S: Final = 0.25e-6
FAULT_SHARE: Final = 0.05  # of a forward: glibc's defaults have been seen to take 15 to 35 %
SLOW_GOVERNORS: Final = frozenset({"powersave", "conservative"})
MIN_FREE_MEMORY: Final = 0.1  # of all: with less free, the system begins to take file pages and to swap
# A timer that asks the kernel or the hypervisor takes longer; one that reads the processor's counter, 50 ns.
SLOW_TIMER_S: Final = 1e-6
# Those that a process reads by itself; the others (hpet, acpi_pm, xen) are a call of the kernel each.
GOOD_CLOCKSOURCES: Final = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})


def clocks_sagged(readings: Readings) -> Seen | None:
    for name, what, most in (
        ("sm_clock_mhz", "the GPU's clock", GPU_SAG),
        ("cpu_mhz", "the processor's clock", CPU_SAG),
    ):
        levels = [value for item in readings if (value := getattr(item, name)) is not None]
        if len(levels) < MIN_CLOCK_READINGS:
            continue
        third = len(levels) // 3
        low, _, high = sorted(map(median, (levels[:third], levels[third:-third], levels[-third:])))
        if high > 0 and 1 - low / high > most:
            text = f"{what} moved between {low:.0f} and {high:.0f} MHz while samples were taken"
            return Seen(size=1 - low / high, text=text)
    return None


def clocks_throttled(readings: Readings) -> Seen | None:
    for name, why in (("heat_capped_s", "heat"), ("power_capped_s", "power")):
        span_s, capped_s = growth(readings, name) or (0.0, 0.0)
        if capped_s > SHARE * span_s:
            text = f"the GPU held its clocks back for {why} in {capped_s:.2g} of {span_s:.2g} s"
            return Seen(size=capped_s / span_s, text=text)
    reasons = [found for item in readings if (found := HARMFUL.intersection(item.throttle_reasons or ()))]
    if reasons:
        names = ", ".join(sorted(set().union(*reasons)))
        text = f"the GPU held its clocks back ({names}) in {len(reasons)} of {len(readings)} readings"
        return Seen(size=len(reasons) / len(readings), text=text)
    span_s, events = growth(readings, "cpu_throttle_events") or (0.0, 0.0)
    if events > 0:
        text = f"the processor held its clock back for heat {events:.0f} times in {span_s:.2g} s"
        return Seen(size=events, text=text)
    return None


def gpus_throttled(machine: Machine) -> Iterator[Seen]:
    for gpu in machine.now.gpus:
        if harmful := sorted(HARMFUL.intersection(gpu.throttle_reasons)):
            yield Seen(text=f"GPU {gpu.index} holds its clocks back ({', '.join(harmful)})")


def device_shared(of: Round) -> Seen | None:
    on_it = [item for item in of.record.others if item.cores is None]
    count = max((item.other_device_processes or 0 for item in of.readings), default=0) or len(on_it)
    if not count:
        return None
    held = max((item.other_device_bytes or 0 for item in of.readings), default=0)
    text = f"{counted(count, 'other process', 'other processes')} had the GPU open"
    text += _named(on_it, lambda item: f" {(item.device_bytes or 0) / 2**20:.0f} MiB")
    if held and not on_it:
        text += f", with {held / 2**20:.0f} MiB in use"
    return Seen(size=held or count, text=text)


def gpus_shared(machine: Machine) -> Iterator[Seen]:
    for gpu in machine.now.gpus:
        if gpu.processes:
            count = counted(len(gpu.processes), "process", "processes")
            yield Seen(text=f"GPU {gpu.index} is open in {count}{_named(gpu.processes[:3])}")


def cores_busy(of: Round) -> Seen | None:
    span_s, busy_s, own_s = growth(of.readings, "busy_s", "own_cpu_s") or (0.0, 0.0, 0.0)
    cores = _allowed_cores(of)
    if cores is None or busy_s - own_s < MIN_LOST_S:
        return None
    others = (busy_s - own_s) / span_s
    # Threads that the forward keeps busy; on a GPU the one that queues its work.
    needed = 1 if _on_gpu(of) else of.record.threads or 1
    # What they took where there was no core left for both, as a share of what the worker needs.
    taken = max(0.0, min(needed, cores) + others - cores) / needed
    if taken < 2 * SHARE and others < MIN_BUSY_SHARE * cores:
        return None
    named = [item for item in of.record.others if item.cores is not None]
    return _busy(others, cores, named, " while samples were taken")


def cores_busy_before(machine: Machine) -> Iterator[Seen]:
    others, cores = others_cores(machine.now.readings), _cores(machine.environment)
    if others is not None and cores is not None and others > BUSY_SHARE_BEFORE * cores:
        yield _busy(others, cores, machine.now.others)


def steal(readings: Readings) -> Seen | None:
    _, stolen_s, busy_s = growth(readings, "steal_s", "busy_s") or (0.0, 0.0, 0.0)
    asked_s = stolen_s + busy_s
    if stolen_s < MIN_LOST_S or stolen_s <= SHARE * asked_s:
        return None
    text = f"the hypervisor gave {100 * stolen_s / asked_s:.2g} % of the cores' time to others (steal)"
    return Seen(size=stolen_s / asked_s, text=text)


def cpu_quota(readings: Readings) -> Seen | None:
    span_s, periods = growth(readings, "throttled_periods") or (0.0, 0.0)
    if periods < 1:
        return None
    text = f"the CPU quota of the control group ran out {periods:.0f} times in {span_s:.2g} s"
    _, held_s = growth(readings, "throttled_s") or (0.0, 0.0)
    return Seen(
        size=periods, text=text + (f" and held threads back for {held_s:.2g} s" if held_s > 0 else "")
    )


def quota_below_cores(machine: Machine) -> Iterator[Seen]:
    quota, cores = _quota(machine.environment), _cores(machine.environment)
    if quota is not None and cores is not None and quota < cores:
        text = f"a control group allows the time of {quota:.3g} cores and lets threads run on {cores}"
        remedy = f"set `threads` to {max(1, int(quota))}, or lift the container's CPU limit"
        yield Seen(text=f"{text}, so that they stop where it runs out", remedy=remedy)


def preempted(of: Round) -> Seen | None:
    _, switches, cpu_s = growth(of.readings, "involuntary_switches", "own_cpu_s") or (0.0, 0.0, 0.0)
    if cpu_s <= 0 or switches < MIN_PREEMPTIONS or switches / cpu_s <= PREEMPTIONS_PER_CPU_S:
        return None
    rate = switches / cpu_s
    text = f"the worker's threads were put off their core {switches:.0f} times, {rate:.0f} per CPU second"
    return Seen(size=rate, text=text)


def affinity_narrow(of: Round) -> Seen | None:
    cores, threads, quota = _allowed_cores(of), of.record.threads, _quota(of.environment)
    if threads is None or _on_gpu(of):
        return None
    if cores is not None and threads > cores:
        text = f"{counted(threads, 'thread')} had {counted(cores, 'core')} to run on"
        return Seen(size=threads / cores, text=text)
    if quota is not None and threads > quota:
        text = f"{counted(threads, 'thread')} had a CPU quota of {quota:.3g} cores"
        return Seen(size=threads / quota, text=text)
    return None


def swapped(readings: Readings) -> Seen | None:
    span_s, pages = growth(readings, "swap_pages") or (0.0, 0.0)
    if pages < MIN_SWAP_PAGES:
        return None
    return Seen(size=pages, text=f"{pages:.0f} pages went to or came from swap in {span_s:.2g} s")


def page_faults(of: Round) -> Seen | None:
    faults, walls = of.record.page_faults_per_forward, forward_s(of.record)
    share = (faults or 0.0) * FAULT_S / median(walls) if walls else 0.0
    if share <= FAULT_SHARE:
        return None
    text = f"{faults:,.0f} page faults in a forward take at least {100 * min(share, 1):.0f} % of its time"
    return Seen(size=share, text=text)


def power_saving(of: Run | Machine) -> Iterator[Seen]:
    governor = of.environment.get("cpu_governor")
    if governor in SLOW_GOVERNORS and of.environment.get("cpu_energy_preference") != "performance":
        yield Seen(text=f"the governor {governor} lowers the processor's clock")


def timer_slow(machine: Machine) -> Iterator[Seen]:
    source, cost_s = machine.environment.get("clocksource"), machine.now.timer.cost_s
    if cost_s > SLOW_TIMER_S or (source is not None and source not in GOOD_CLOCKSOURCES):
        yield Seen(
            text=f"the timer costs {1e6 * cost_s:.2g} µs a call (its source: {source or 'unknown'})",
            remedy="boot with `tsc=reliable`, or let the hypervisor offer the tsc",
        )


def memory_low(machine: Machine) -> Iterator[Seen]:
    share = machine.now.free_memory_share
    if share is not None and share < MIN_FREE_MEMORY:
        yield Seen(text=f"{100 * share:.0f} % of the memory is free")


def on_battery(machine: Machine) -> Iterator[Seen]:
    if machine.now.on_battery:
        yield Seen(text="the machine runs on its battery")


def turbo(machine: Machine) -> Iterator[Seen]:
    if machine.environment.get("cpu_turbo"):
        yield Seen(text="turbo clocks are on: they fall as cores become busy or hot")


def virtual_machine(machine: Machine) -> Iterator[Seen]:
    if machine.environment.get("hypervisor"):
        yield Seen(text="this is a virtual machine: clocks cannot be seen, and neighbours only as steal time")


def variables_kept(of: Run | Machine) -> Iterator[Seen]:
    values = of.environment.get("inherited_environment") or {}
    for name, why in SPOILING.items():
        if value := values.get(name):
            yield Seen(text=f"{name}={value} is set: {why}", remedy=f"run `unset {name}` before")


def variables_dropped(machine: Machine) -> Iterator[Seen]:
    for name, value in (machine.environment.get("dropped_environment") or {}).items():
        yield Seen(text=f"{name}={value} is set, and what is measured does not get it")


def cores_withheld(machine: Machine) -> Iterator[Seen]:
    cores, every = _cores(machine.environment), machine.environment.get("cpu_logical_cores")
    if cores is not None and every is not None and cores < every:
        yield Seen(text=f"this process may use {cores} of {every} cores")


def gpu_power_limited(machine: Machine) -> Iterator[Seen]:
    for index, gpu in enumerate(machine.environment.get("nvidia_gpus") or ()):
        limit, default = gpu.get("power_limit_w"), gpu.get("power_limit_default_w")
        if limit and default and limit < default:
            yield Seen(
                text=f"GPU {index} may take {limit:.0f} W of its usual {default:.0f} W",
                remedy=f"`sudo nvidia-smi --id={index} --power-limit={default:.0f}`",
            )


def gpu_unreadable(machine: Machine) -> Iterator[Seen]:
    if machine.now.gpu_note and (machine.environment.get("torch") or {}).get("devices"):
        yield Seen(text=machine.now.gpu_note)


def _busy(others: float, cores: int, named: Iterable[OtherProcess], when: str = "") -> Seen:
    text = f"others kept {others:.2g} of {counted(cores, 'core')} busy{when}"
    return Seen(size=others, text=text + _named(named, lambda item: f" {item.cores:.2g}"))


def _named(others: Iterable[OtherProcess], figure: Callable[[OtherProcess], str] = lambda _: "") -> str:
    names = ", ".join(f"{item.name} (pid {item.pid}){figure(item)}" for item in others)
    return f", among them {names}" if names else ""


def _on_gpu(of: Round) -> bool:
    return of.record.settings.get("device", "cpu").startswith("cuda")


def _allowed_cores(of: Round) -> int | None:
    return of.record.affinity_cores or _cores(of.environment)


def _cores(environment: Environment) -> int | None:
    known = (environment.get(name) for name in ("cpu_affinity", "cpu_logical_cores"))
    return next((cores for cores in known if isinstance(cores, int) and cores > 0), None)


def _quota(environment: Environment) -> float | None:
    groups: Any = environment.get("cgroup")
    quota = groups.get("cpu_quota_cores") if isinstance(groups, Mapping) else None
    return quota if isinstance(quota, int | float) and quota > 0 else None
