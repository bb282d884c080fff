"""The machine below the software: processor, kernel and limits, as far as they can explain a number.

What a machine has not got is None. Nothing here changes by itself, since a run goes on only where all this is
the same. `root` stands before the paths, for tests.
"""

import os
import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.machine import control_groups
from bench.machine.kernel_files import text
from bench.units import size_bytes

KERNEL_OPTIONS: Final = (
    "mitigations", "isolcpus", "nohz_full", "rcu_nocbs", "intel_pstate", "amd_pstate", "idle", "nosmt",
    "intel_idle.max_cstate", "processor.max_cstate", "maxcpus", "preempt", "transparent_hugepage",
    "hugepages", "clocksource", "tsc",
)  # fmt: skip
"""Words of the kernel's command line that change how fast it is; the others may name disks and people."""

_CPU: Final = "sys/devices/system/cpu"
_CLOCK: Final = f"{_CPU}/cpu0/cpufreq"


def _whole(found: str) -> int | None:
    return int(found) if found.isdecimal() else None


_FILES: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "cpu_smt": (f"{_CPU}/smt/active", {"0": False, "1": True}.get),
    "cpu_governor": (f"{_CLOCK}/scaling_governor", str),
    "cpu_frequency_driver": (f"{_CLOCK}/scaling_driver", str),
    "cpu_energy_preference": (f"{_CLOCK}/energy_performance_preference", str),
    "cpu_max_mhz": (f"{_CLOCK}/cpuinfo_max_freq", lambda khz: int(khz) / 1000 if khz.isdecimal() else None),
    "clocksource": ("sys/devices/system/clocksource/clocksource0/current_clocksource", str),
    # As in `always [madvise] never`.
    "transparent_huge_pages": (
        "sys/kernel/mm/transparent_hugepage/enabled",
        lambda words: words.partition("[")[2].partition("]")[0] or None,
    ),
    "swappiness": ("proc/sys/vm/swappiness", _whole),
    "address_randomisation": ("proc/sys/kernel/randomize_va_space", _whole),
}
"""Entries of environment.json that a file holds each, and how to read it."""


_INSTRUCTION_SETS: Final = (
    ("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4_2", "SSE4.2"),
    ("sve2", "SVE2"), ("sve", "SVE"), ("asimd", "NEON"), ("neon", "NEON"),
)  # fmt: skip
"""Vector instructions by the flag that /proc/cpuinfo has for them, the widest first."""

_MODEL: Final = {
    "cpu family": "family", "model": "model", "stepping": "stepping",
    "CPU implementer": "implementer", "CPU part": "part", "CPU variant": "variant",
}  # fmt: skip
"""Fields of /proc/cpuinfo that tell processors of one name apart, and their short names."""


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """Return entries of environment.json."""
    first = {}
    for line in text(root / "proc/cpuinfo").partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        first[name.strip()] = value.strip()
    flags = (first.get("flags") or first.get("Features") or "").split()
    flaws = {path.name: text(path) for path in sorted((root / _CPU / "vulnerabilities").glob("*"))}
    maker = (text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    return {
        "cpu": first.get("model name") or platform.processor() or platform.machine(),
        "cpu_model": ", ".join(f"{short} {first[name]}" for name, short in _MODEL.items() if name in first)
        or None,
        "cpu_instruction_set": next((name for flag, name in _INSTRUCTION_SETS if flag in flags), None),
        "cpu_caches": {
            f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, ""): size
            for level, kind, size, _ in _caches(root, 0)
        }
        or None,
        "cpu_microcode": first.get("microcode"),
        "cpu_turbo": _turbo(root),
        "cpu_mitigations": {name: said for name, said in flaws.items() if said and said != "Not affected"}
        if flaws
        else None,
        "numa_nodes": len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        "kernel_options": [
            word
            for word in text(root / "proc/cmdline").split()
            if word.partition("=")[0] in KERNEL_OPTIONS
        ],
        "hypervisor": "hypervisor" in first["flags"].split() if first.get("flags") else None,
        "machine_model": " ".join(filter(None, maker)) or None,
        "container": _container(root),
        "cgroup": asdict(control_groups.limits(root)),
        **{
            name: read(found) if (found := text(root / path)) else None
            for name, (path, read) in _FILES.items()
        },
    }  # fmt: skip


def allowed_cores() -> list[int]:
    """Return the cores that this process may run on: its threads' together, as each may be bound to one."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    cores = os.sched_getaffinity(0)
    with suppress(OSError):  # no /proc
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended meanwhile
                cores |= os.sched_getaffinity(int(thread.name))
    return sorted(cores)


def last_cache_bytes(root: Path = Path("/"), cores: Collection[int] | None = None) -> int:
    """Return the bytes of the caches of one level that the cores reach, each counted once however many share
    it: of the level that holds most, which is mostly the last. 0 where the system gives none.

    `cores`: those that this process may run on, unless given.
    """
    held: dict[str, dict[str, int]] = {}
    for core in allowed_cores() if cores is None else cores:
        for level, kind, size, shared in _caches(root, core):
            found = size_bytes(size)
            if kind != "Instruction" and found is not None:
                # Who shares it tells caches of a level apart; where that is not said, each core has its own.
                held.setdefault(level, {})[shared or str(core)] = found
    return max((sum(caches.values()) for caches in held.values()), default=0)


def _caches(root: Path, core: int) -> Iterator[tuple[str, str, str, str]]:
    """Yield level, kind, size and sharing cores of each cache that the core has, or has a share in."""
    for folder in sorted((root / _CPU / f"cpu{core}/cache").glob("index[0-9]*")):
        level, kind, size, shared = (
            text(folder / name) for name in ("level", "type", "size", "shared_cpu_list")
        )
        if level and kind and size:
            yield level, kind, size, shared


def _turbo(root: Path) -> bool | None:
    """Return whether clocks above the nominal one are allowed."""
    off, on = text(root / _CPU / "intel_pstate/no_turbo"), text(root / _CPU / "cpufreq/boost")
    return {"1": False, "0": True}.get(off, {"1": True, "0": False}.get(on))


def _container(root: Path) -> str | None:
    """Return what kind of container this is, by the marks that engines leave."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return text(root / "run/systemd/container") or None
