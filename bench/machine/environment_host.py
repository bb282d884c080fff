"""The machine below the software: processor, kernel and limits, as far as they can explain a number.

From /proc and /sys alone; what a machine has not got is None. Nothing that changes by itself, since
a run goes on only where all this is the same. `root` stands before the paths, for tests.
"""

import os
from pathlib import Path
from typing import Any, Final

from bench.machine import control_groups

KERNEL_OPTIONS: Final = (
    "mitigations", "isolcpus", "nohz_full", "rcu_nocbs", "intel_pstate", "amd_pstate", "idle", "nosmt",
    "intel_idle.max_cstate", "processor.max_cstate", "maxcpus", "preempt", "transparent_hugepage",
    "hugepages", "clocksource", "tsc",
)  # fmt: skip
"""Words of the kernel's command line that change how fast it is; the others may name disks and people."""

_CPU: Final = "sys/devices/system/cpu"
_FIRST: Final = f"{_CPU}/cpu0/cpufreq"


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """Entries of environment.json."""
    groups = control_groups.limits(root)
    return {
        "cpu_caches": _caches(root),
        "cpu_microcode": _cpuinfo(root, "microcode"),
        "cpu_smt": _switch(root / _CPU / "smt/active"),
        "cpu_turbo": _turbo(root),
        "cpu_governor": _word(root / _FIRST / "scaling_governor"),
        "cpu_frequency_driver": _word(root / _FIRST / "scaling_driver"),
        "cpu_energy_preference": _word(root / _FIRST / "energy_performance_preference"),
        "cpu_max_mhz": _mhz(root / _FIRST / "cpuinfo_max_freq"),
        "cpu_mitigations": _mitigations(root),
        "numa_nodes": len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        "clocksource": _word(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "transparent_huge_pages": _chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        "swappiness": _whole(root / "proc/sys/vm/swappiness"),
        "address_randomisation": _whole(root / "proc/sys/kernel/randomize_va_space"),
        "kernel_options": _kernel_options(root),
        "hypervisor": _has_hypervisor(root),
        "machine_model": _machine_model(root),
        "container": _container(root),
        "cgroup": {
            "version": groups.version,
            "cpu_quota_cores": groups.cpu_quota_cores,
            "memory_bytes": groups.memory_bytes,
        },
    }


def _caches(root: Path) -> dict[str, str] | None:
    """Size of each cache that the first core has, or has a share in."""
    found = {}
    for folder in sorted((root / _CPU / "cpu0/cache").glob("index[0-9]*")):
        level, kind, size = (_word(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")] = size
    return found or None


def _turbo(root: Path) -> bool | None:
    """Whether clocks above the nominal one are allowed."""
    off = _switch(root / _CPU / "intel_pstate/no_turbo")
    return _switch(root / _CPU / "cpufreq/boost") if off is None else not off


def _mitigations(root: Path) -> dict[str, str] | None:
    """What the kernel does against flaws of this processor; the flaws that it has not are left out."""
    folder = root / _CPU / "vulnerabilities"
    said = {path.name: _word(path) for path in sorted(folder.glob("*"))}
    return {name: text for name, text in said.items() if text and text != "Not affected"} if said else None


def _kernel_options(root: Path) -> list[str]:
    words = _text(root / "proc/cmdline").split()
    return [word for word in words if word.partition("=")[0] in KERNEL_OPTIONS]


def _has_hypervisor(root: Path) -> bool | None:
    flags = _cpuinfo(root, "flags")
    return "hypervisor" in flags.split() if flags else None


def _machine_model(root: Path) -> str | None:
    """Maker and model, which for a rented machine is its kind."""
    words = [_word(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(filter(None, words)) or None


def _container(root: Path) -> str | None:
    """What kind of container this is, by the marks that engines leave; None where there is none."""
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    return _word(root / "run/systemd/container")


def _cpuinfo(root: Path, name: str) -> str | None:
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _chosen(path: Path) -> str | None:
    """The word in brackets, as in `always [madvise] never`."""
    text = _word(path) or ""
    return text.partition("[")[2].partition("]")[0] or None


def _switch(path: Path) -> bool | None:
    text = _word(path)
    return text == "1" if text in ("0", "1") else None


def _mhz(path: Path) -> float | None:
    khz = _whole(path)
    return None if khz is None else khz / 1000


def _whole(path: Path) -> int | None:
    text = _word(path)
    return int(text) if text and text.isdigit() else None


def _word(path: Path) -> str | None:
    return _text(path).strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
