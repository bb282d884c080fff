"""Whether disks hold what enlarging a file puts there."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.units import BYTES, with_unit
from vsr_model.errors import BadInput

_VIDEO_BITS_PER_PIXEL: Final = 0.5
"""Of what the project's encoders make of ordinary footage; grain takes more, drawings less."""

_IMAGE_BYTES_PER_PIXEL: Final = 3

_IN_MEMORY: Final = ("tmpfs", "ramfs")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Bytes that are going to lie in a folder; `what` says what for, `roughly` that nobody knows exactly."""

    folder: Path
    what: str
    size_bytes: int
    roughly: bool = False


def output_bytes(*, frames: int, pixels: int, is_video: bool) -> int:
    """About what the output takes, of frames of so many pixels each."""
    per_pixel = _VIDEO_BITS_PER_PIXEL / 8 if is_video else _IMAGE_BYTES_PER_PIXEL
    return round(per_pixel * frames * pixels)


def free_bytes(folder: Path) -> int:
    """What the disk of a folder has left."""
    return shutil.disk_usage(folder).free


def left_beside(folder: Path, wanted: list[Wanted]) -> int:
    """What the disk of a folder has left beside what is wanted of it; less than 0 where that is too much."""
    return free_bytes(folder) - sum(item.size_bytes for item in wanted if same_disk(item.folder, folder))


def check_space(source: Path, wanted: list[Wanted]) -> None:
    """Refuse what some disk does not hold. Raises BadInput."""
    for item in wanted:
        if left_beside(item.folder, wanted) >= 0:
            continue
        there = [other for other in wanted if same_disk(other.folder, item.folder)]
        parts = " and ".join(
            f"{'about ' if other.roughly else ''}{with_unit(other.size_bytes, BYTES)} for {other.what}"
            for other in there
        )
        raise BadInput(
            f"{source} needs {parts} in {item.folder}, whose disk has"
            f" {with_unit(free_bytes(item.folder), BYTES)} left; free some, or name a folder on another disk"
            " (--scratch is for all but the output)."
        )


def same_disk(folder: Path, other: Path) -> bool:
    """Whether two folders share what is free."""
    return folder.stat().st_dev == other.stat().st_dev


def in_memory(folder: Path) -> bool:
    """Whether what lies in a folder takes memory, as in one of tmpfs; False where the system does not say."""
    where = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if where.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(Path(part.mountpoint).parts), default=None)
    return nearest is not None and nearest.fstype in _IN_MEMORY
