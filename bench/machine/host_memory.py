"""The host's memory: how much is free, how often the kernel killed for want of it. Linux; absent is None."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine import control_groups

_ROOT: Final = Path("/")


@dataclass(frozen=True, kw_only=True)
class OomKills:
    """Processes that the kernel has killed for want of memory, by its own count; None where it has none."""

    group: int | None  # in this process's control group, since that was made
    machine: int | None  # anywhere, since the machine started


def oom_kills(root: Path = _ROOT) -> OomKills:
    """The kernel's counts now. `root` stands before /proc and /sys, for tests."""
    counts: list[int | None] = []
    for folder in control_groups.folders("memory", root)[:1]:
        for name in ("memory.events", "memory.oom_control"):
            counts.append(_numbers(folder / name).get("oom_kill"))
    return OomKills(
        group=next((count for count in counts if count is not None), None),
        machine=_numbers(root / "proc/vmstat").get("oom_kill"),
    )


def oom_evidence(before: OomKills, after: OomKills) -> str | None:
    """What says that a process which SIGKILL ended in between was killed for want of memory; None: nothing.

    The control group's count is believed where there is one: the machine's rises for anybody's process.
    """
    if before.group is not None and after.group is not None:
        if after.group > before.group:
            return "the kernel's count of out-of-memory kills in this control group rose"
        return None
    if before.machine is not None and after.machine is not None and after.machine > before.machine:
        return "the kernel's count of out-of-memory kills on this machine rose"
    return None


def available_bytes(root: Path = _ROOT) -> int | None:
    """What this process and its children may still take without swapping: of the machine, and of the control
    groups' limits. Page cache counts as free. `root` stands before /proc and /sys, for tests."""
    found = []
    meminfo = _numbers(root / "proc/meminfo").get("MemAvailable:")
    if meminfo is not None:
        found.append(meminfo * 1024)
    for folder in control_groups.folders("memory", root):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is None or used is None or limit >= control_groups.NO_MEMORY_LIMIT:
            continue
        statistics = _numbers(folder / "memory.stat")
        # v1 keeps a group's own figures apart from those that include the groups below it.
        cache = sum(
            statistics.get(f"total_{name}", statistics.get(name, 0))
            for name in ("inactive_file", "active_file")
        )
        found.append(max(0, limit - used + cache))
    return min(found, default=None)


def _numbers(path: Path) -> dict[str, int]:
    """The lines `name number [unit]` of one of the kernel's files; none where it cannot be read."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _number(*paths: Path) -> int | None:
    """What stands in the first of the files that is there."""
    for path in paths:
        try:
            return int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return None
