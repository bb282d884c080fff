"""What would spoil a measurement here, before one is made, and how to mend it: `vsr-bench env --check`.

`findings` is pure; `look` asks the machine.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import Any, Final

import psutil

from bench.cautions.cautions_machine import SHARE, of_machine
from bench.machine.telemetry import MAX_OTHERS, Telemetry, busiest, others_cores
from bench.machine.telemetry_nvidia import HARMFUL, GpuState, states
from bench.machine.timer import Timer
from bench.machine.timer import measure as measure_timer
from bench.records import OtherProcess

BUSY_SHARE: Final = 0.05
"""Of the cores, that others may keep busy: a desktop at rest stays below, and a build does not."""

MIN_FREE_MEMORY: Final = 0.1
"""Of the memory: with less free, the system begins to take file pages and to swap."""

SLOW_TIMER_S: Final = 1e-6
"""A call of a timer that asks the kernel or the hypervisor takes longer; one that reads the counter of the
processor takes some 50 ns."""

GOOD_CLOCKSOURCES: Final = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})
"""Those that a process reads by itself; the others (hpet, acpi_pm, xen) are a call of the kernel each."""

SWITCHES: Final = {
    "NVIDIA_TF32_OVERRIDE": "it overrides the float32 precision that backends set",
    "CUDA_LAUNCH_BLOCKING": "every kernel then waits for the one before",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "every tensor is then allocated by the driver",
    "OMP_NUM_THREADS": "it sets the number of threads where a backend gives none",
    "MKL_NUM_THREADS": "it sets the number of threads of matrix products",
    "LD_PRELOAD": "another library answers in place of the system's, such as its allocator",
}
"""Environment variables that change what is measured, and how."""

SPOILING_SWITCHES: Final = frozenset(
    {"NVIDIA_TF32_OVERRIDE", "CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING"}
)


class Weight(StrEnum):
    """What a finding means for figures that are taken now."""

    SPOILS = "spoils"  # they would be wrong, or not repeatable
    NOTE = "note"  # they hold for this machine as it is, and this is worth knowing of them


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about this machine."""

    weight: Weight
    seen: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Now:
    """What changes from moment to moment. Shares and cores over a short look; None is not known."""

    timer: Timer
    others_cores: float | None = None
    others: tuple[OtherProcess, ...] = ()
    steal_share: float | None = None
    free_memory_share: float | None = None
    swap_pages: int = 0
    on_battery: bool = False
    gpus: tuple[GpuState, ...] = ()
    notes: tuple[str, ...] = ()


def look() -> Now:
    """Watch the machine for a moment; takes some 0.2 s, in which this process sleeps."""
    begin = perf_counter()
    with Telemetry(origin=begin) as telemetry:
        first = telemetry.read()
        others = busiest(0.0)
        last = telemetry.read()
        cores = telemetry.affinity_cores
    memory = psutil.virtual_memory()
    battery = None
    with suppress(Exception):  # machines without a battery answer in several ways
        battery = psutil.sensors_battery()
    span_s = last.elapsed_s - first.elapsed_s
    gpus, note = states()
    return Now(
        timer=measure_timer(),
        others_cores=others_cores((first, last)),
        others=tuple(others[:MAX_OTHERS]),
        steal_share=(
            None
            if first.steal_s is None or last.steal_s is None
            else (last.steal_s - first.steal_s) / (span_s * cores)
        ),
        free_memory_share=memory.available / memory.total,
        swap_pages=(last.swap_pages or 0) - (first.swap_pages or 0),
        on_battery=battery is not None and battery.power_plugged is False,
        gpus=gpus,
        notes=(note,) if note else (),
    )


def findings(described: Mapping[str, Any], now: Now) -> tuple[Finding, ...]:
    """What spoils first, then what is worth knowing. `described` is environment.json's content."""
    found = [
        *(_spoils(notice.seen, notice.remedy) for notice in of_machine(described)),
        *_of_load(described, now),
        *_of_limits(described),
        *_of_timer(described, now),
        *_of_variables(described),
        *_of_processor(described),
        *_of_gpus(described, now),
    ]
    return tuple(sorted(found, key=lambda finding: finding.weight is Weight.NOTE))


def in_short(found: Sequence[Finding], now: Now) -> str:
    """The last line of a report of findings, the timer's own cost with it."""
    spoiling = sum(finding.weight is Weight.SPOILS for finding in found)
    count = f"{spoiling} found that would spoil" if spoiling else "nothing found that would spoil"
    timer = f"asking the timer costs {1e9 * now.timer.cost_s:.0f} ns"
    return f"{count} a measurement, {len(found) - spoiling} to note; {timer}"


def _spoils(seen: str, remedy: str) -> Finding:
    return Finding(weight=Weight.SPOILS, seen=seen, remedy=remedy)


def _note(seen: str, remedy: str) -> Finding:
    return Finding(weight=Weight.NOTE, seen=seen, remedy=remedy)


def _of_load(described: Mapping[str, Any], now: Now) -> list[Finding]:
    found = []
    cores = _cores(described)
    if now.others_cores is not None and now.others_cores > BUSY_SHARE * cores:
        names = ", ".join(f"{item.name} (pid {item.pid}) {item.cores:.2g}" for item in now.others)
        among = f", among them {names}" if names else ""
        found.append(
            _spoils(f"others keep {now.others_cores:.2g} of {cores} cores busy{among}", "end them, or wait")
        )
    if now.steal_share is not None and now.steal_share > SHARE:
        found.append(
            _spoils(
                f"the hypervisor gives {100 * now.steal_share:.2g} % of the cores' time to others (steal)",
                "measure on a host that is not overcommitted (a dedicated or bare-metal machine)",
            )
        )
    if now.free_memory_share is not None and now.free_memory_share < MIN_FREE_MEMORY:
        found.append(
            _spoils(f"{100 * now.free_memory_share:.0f} % of the memory is free", "end what holds the rest")
        )
    if now.swap_pages:
        found.append(
            _spoils(
                f"{now.swap_pages} pages went to or came from swap while looking",
                "free memory, or run `sudo swapoff --all` before",
            )
        )
    if now.on_battery:
        found.append(_spoils("the machine runs on its battery", "plug it in"))
    return found


def _of_limits(described: Mapping[str, Any]) -> list[Finding]:
    found = []
    groups = described.get("cgroup")
    quota = groups.get("cpu_quota_cores") if isinstance(groups, Mapping) else None
    cores = _cores(described)
    if isinstance(quota, int | float) and quota < cores:
        found.append(
            _spoils(
                f"a control group allows the time of {quota:.3g} cores and lets threads run on {cores}, "
                "so that they stop where it runs out",
                f"set `threads` to {max(1, int(quota))}, or lift the container's CPU limit",
            )
        )
    all_cores = described.get("cpu_logical_cores")
    if isinstance(all_cores, int) and cores < all_cores:
        found.append(
            _note(
                f"this process may use {cores} of {all_cores} cores",
                "start it without taskset or a cpuset to have all",
            )
        )
    return found


def _of_timer(described: Mapping[str, Any], now: Now) -> list[Finding]:
    source = described.get("clocksource")
    if now.timer.cost_s > SLOW_TIMER_S or (source is not None and source not in GOOD_CLOCKSOURCES):
        return [
            _spoils(
                f"the timer costs {1e6 * now.timer.cost_s:.2g} µs a call (its source: {source or 'unknown'})",
                "boot with `tsc=reliable`, or let the hypervisor offer the tsc",
            )
        ]
    return []


def _of_variables(described: Mapping[str, Any]) -> list[Finding]:
    inherited = described.get("inherited_environment")
    values = inherited if isinstance(inherited, Mapping) else {}
    found = []
    for name, why in SWITCHES.items():
        value = values.get(name)
        if not value or (name in SPOILING_SWITCHES and value == "0" and name != "NVIDIA_TF32_OVERRIDE"):
            continue
        made = _spoils if name in SPOILING_SWITCHES else _note
        found.append(made(f"{name}={value} is set: {why}", f"run `unset {name}`"))
    return found


def _of_processor(described: Mapping[str, Any]) -> list[Finding]:
    found = []
    if described.get("cpu_smt"):
        found.append(
            _note(
                "two threads share a core (SMT)",
                "leave one of each two idle: no more `threads` than there are physical cores",
            )
        )
    if described.get("cpu_turbo"):
        found.append(
            _note(
                "turbo clocks are on: they fall as cores become busy or hot",
                "for steadier, slower figures write 1 to /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 "
                "to /sys/devices/system/cpu/cpufreq/boost",
            )
        )
    if described.get("hypervisor"):
        found.append(
            _note(
                "this is a virtual machine: clocks cannot be seen, and neighbours only as steal time",
                "repeat in more `rounds` and at other hours, or measure on bare metal",
            )
        )
    return found


def _of_gpus(described: Mapping[str, Any], now: Now) -> list[Finding]:
    found = []
    for gpu in now.gpus:
        if gpu.processes:
            names = ", ".join(f"{item.name} (pid {item.pid})" for item in gpu.processes[:MAX_OTHERS])
            found.append(
                _spoils(
                    f"GPU {gpu.index} is open in {len(gpu.processes)} process"
                    f"{'es' if gpu.processes[1:] else ''}: {names}",
                    "end them, or measure on another GPU (`device: cuda:1`)",
                )
            )
        harmful = sorted(HARMFUL.intersection(gpu.throttle_reasons))
        if harmful:
            found.append(
                _spoils(
                    f"GPU {gpu.index} holds its clocks back ({', '.join(harmful)})",
                    "let it cool, or look at its power supply and limit",
                )
            )
    listed = described.get("nvidia_gpus")
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        limit, default = item.get("power_limit_w"), item.get("power_limit_default_w")
        if limit and default and limit < default:
            found.append(
                _note(
                    f"GPU {index} may take {limit:.0f} W of its usual {default:.0f} W",
                    f"`sudo nvidia-smi --id={index} --power-limit={default:.0f}`",
                )
            )
        if item.get("persistence_mode") is False:
            found.append(
                _note(
                    f"GPU {index} is shut down while no process has it open, which makes `context_s` longer",
                    f"`sudo nvidia-smi --id={index} --persistence-mode=1`",
                )
            )
    torch_side = described.get("torch")
    if isinstance(torch_side, Mapping) and torch_side.get("devices"):
        found += [_note(note, "install nvidia-ml-py beside a driver that it knows") for note in now.notes]
    return found


def _cores(described: Mapping[str, Any]) -> int:
    for name in ("cpu_affinity", "cpu_logical_cores"):
        if isinstance(described.get(name), int):
            return int(described[name])
    return os.cpu_count() or 1
