"""The host's memory: how much is free, and how often the kernel killed for want of it."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.machine.control_groups import folders, memory_limit
from bench.machine.kernel_files import numbers, whole


@dataclass(frozen=True, kw_only=True)
class OomKills:
    """Processes that the kernel has killed for want of memory, by its own count; None where it has none."""

    group: int | None  # in this process's control group, since that was made
    machine: int | None  # anywhere, since the machine started


def oom_kills(root: Path = Path("/")) -> OomKills:
    """Return the kernel's counts now. `root` stands before /proc and /sys, for tests."""
    counts = [
        numbers(folder / name).get("oom_kill")
        for folder in folders("memory", root)[:1]
        for name in ("memory.events", "memory.oom_control")
    ]
    return OomKills(
        group=next((count for count in counts if count is not None), None),
        machine=numbers(root / "proc/vmstat").get("oom_kill"),
    )


def oom_evidence(before: OomKills, after: OomKills) -> str | None:
    """Return what says that a process which SIGKILL ended in between was killed for want of memory, or None.

    The control group's count is believed where there is one: the machine's rises for anybody's process.
    """
    for where, was, now in (
        ("in this control group", before.group, after.group),
        ("on this machine", before.machine, after.machine),
    ):
        if was is not None and now is not None:
            return f"the kernel's count of out-of-memory kills {where} rose" if now > was else None
    return None


def available_bytes(root: Path = Path("/")) -> int:
    """Return what this process and its children may still take without swapping, of the machine and of the
    control groups' limits. Page cache counts as free. `root` stands before /proc and /sys, for tests."""
    found = [psutil.virtual_memory().available]
    for folder in folders("memory", root):
        limit = memory_limit(folder)
        used = whole(folder / "memory.current") or whole(folder / "memory.usage_in_bytes")
        if limit is None or used is None:
            continue
        kept = numbers(folder / "memory.stat")
        # The first version keeps a group's own figures apart from those with the groups below it.
        cache = sum(kept.get(f"total_{name}", kept.get(name, 0)) for name in ("inactive_file", "active_file"))
        found.append(max(0, limit - used + cache))
    return min(found)
