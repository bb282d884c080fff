"""Find this process's control groups and their limits. Linux; elsewhere there are none."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from bench.machine.kernel_files import text, whole

NO_MEMORY_LIMIT: Final = 2**60
"""cgroup v1 writes "none" as the largest number of pages, nearly 2**63 bytes."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The tightest limits; None where no group sets one."""

    version: int | None  # of the hierarchy that holds the CPU controller: 1 or 2
    cpu_quota_cores: float | None
    memory_bytes: int | None


def limits(root: Path = Path("/")) -> Limits:
    """Return the limits of this process's groups. `root` stands before /proc and /sys, for tests."""
    cpu = folders("cpu", root)
    first = any((folder / "cpu.shares").exists() for folder in cpu)
    return Limits(
        version=(1 if first else 2) if cpu else None,
        cpu_quota_cores=min(filter(None, map(_quota_cores, cpu)), default=None),
        memory_bytes=min(filter(None, map(memory_limit, folders("memory", root))), default=None),
    )


def folders(controller: str, root: Path = Path("/")) -> list[Path]:
    """Return the folders of the groups that limit this process: its own first, then those above it.

    In a container the path may be the host's: a group that does not exist below the mount is the mount.
    """
    found = []
    for line in text(root / "proc/self/cgroup").splitlines():
        _, _, hierarchy = line.partition(":")
        names, separator, path = hierarchy.partition(":")
        if not separator or (names and controller not in names.split(",")):
            continue
        mount = root / "sys/fs/cgroup" / (controller if names else "")  # the second version has no names
        folder = mount / path.lstrip("/")
        if ".." in PurePosixPath(path).parts or not folder.is_dir():
            folder = mount
        found += [folder, *(above for above in folder.parents if above.is_relative_to(mount))]
    return found


def memory_limit(folder: Path) -> int | None:
    """Return the bytes that the group may take; None for no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = whole(folder / name)
        if limit is not None and limit < NO_MEMORY_LIMIT:
            return limit
    return None


def _quota_cores(folder: Path) -> float | None:
    quota, _, period = text(folder / "cpu.max").partition(" ")
    if not quota:  # the first version
        quota, period = (text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if not (quota.isdecimal() and period.isdecimal()):  # "max", "-1", or no such file
        return None
    return int(quota) / int(period)
