"""The control groups that this process is in: where they are, and what they allow. Linux; absent is None.

A limit of any group above binds as well as the process's own, so each is asked from the process's group up to
the top of what is mounted. In a container the names in /proc/self/cgroup may be the host's, while the mount
begins at the container's own group: what does not exist below the mount is then the mount itself.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

NO_MEMORY_LIMIT: Final = 2**60
"""cgroup v1 writes "none" as the largest number of pages, nearly 2**63 bytes."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the groups allow; None where they set no limit."""

    version: int | None  # of the hierarchy that holds the CPU controller: 1 or 2
    cpu_quota_cores: float | None
    memory_bytes: int | None


def limits(root: Path = Path("/")) -> Limits:
    """The tightest limits of this process's groups. `root` stands before /proc and /sys, for tests."""
    cpu = folders("cpu", root)
    return Limits(
        version=_version(cpu),
        cpu_quota_cores=min(filter(None, map(_quota_cores, cpu)), default=None),
        memory_bytes=min(filter(None, map(_memory_bytes, folders("memory", root))), default=None),
    )


def folders(controller: str, root: Path = Path("/")) -> list[Path]:
    """The folders of the groups that may limit this process: its own first, then those above it."""
    found = []
    for mount, mounted_group, options in _mounts(root):
        if controller not in options:
            continue
        below = _below(mounted_group, _group(controller if options != {"unified", controller} else "", root))
        folder = mount / below
        if not folder.is_dir():
            folder = mount
        found += [folder, *(above for above in folder.parents if above.is_relative_to(mount))]
    return found


def _mounts(root: Path) -> list[tuple[Path, str, set[str]]]:
    """Mount point, the group that is mounted there, and the controllers that it has."""
    mounts = []
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        mount = root / fields[4].lstrip("/")
        if kind[0] == "cgroup":
            mounts.append((mount, fields[3], set(kind[2].split(","))))
            continue
        for controller in _text(mount / "cgroup.controllers").split():
            mounts.append((mount, fields[3], {"unified", controller}))
    return mounts


def _group(controller: str, root: Path) -> str:
    """The path of this process's group; the unified hierarchy's for an empty name."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            return path
    return "/"


def _below(mounted: str, group: str) -> str:
    """The group's path from the mounted group on; nothing where it is not below it."""
    path = PurePosixPath(group)
    if ".." in path.parts or not path.is_relative_to(mounted):
        return ""
    return str(path.relative_to(mounted))


def _version(cpu: list[Path]) -> int | None:
    if not cpu:
        return None
    return 1 if any((folder / "cpu.shares").exists() for folder in cpu) else 2


def _quota_cores(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")  # v2
    if not quota:
        quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not (quota.isdigit() and period.isdigit()):  # "max", "-1", or no such file
        return None
    return int(quota) / int(period)


def _memory_bytes(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _text(folder / name).strip()
        if text.isdigit() and int(text) < NO_MEMORY_LIMIT:
            return int(text)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
