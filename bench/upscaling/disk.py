"""Disk space that enlarging a file takes, and whether disks have it."""

import shutil
from pathlib import Path
from typing import Final

import psutil

from bench.units import BYTES, with_unit
from bench.upscaling.request import Request
from vsr_model.errors import BadInput
from vsr_model.media import MediaInfo
from vsr_model.streaming.spool import spool_frame_bytes

_VIDEO_BITS_PER_PIXEL: Final = 0.5
"""Size of ordinary footage from the project's encoders; grain takes more, drawings less."""

_IMAGE_BYTES_PER_PIXEL: Final = 3

_IN_MEMORY: Final = ("tmpfs", "ramfs")


def spooled_bytes(info: MediaInfo, frames: int) -> int:
    """Return the bytes that decoded frames take in the spool."""
    return frames * spool_frame_bytes(height=info.height, width=info.width, eight_bit=info.eight_bit)


def output_bytes(info: MediaInfo, scale: int, frames: int, *, sound: bool) -> int:
    """Estimate the bytes of the output."""
    pixels = frames * scale**2 * info.height * info.width
    if info.kind == "image":
        return _IMAGE_BYTES_PER_PIXEL * pixels
    size = round(_VIDEO_BITS_PER_PIXEL / 8 * pixels)
    if sound and info.has_audio:  # at most the file's size, or its share
        size += round(info.path.stat().st_size * frames / max(frames, info.frame_count or 0))
    return size


def room_for_features(request: Request, *, spool_bytes: int, output_bytes: int) -> int:
    """Return the bytes that the scratch folder's disk has left beside the decoded frames and the output.

    Raises BadInput where a disk does not hold those.
    """
    scratch, output = request.scratch_folder, request.output.parent
    if _same_disk(scratch, output):
        wanted = {scratch: (spool_bytes + output_bytes, "decoded frames and the output")}
    else:
        wanted = {scratch: (spool_bytes, "decoded frames"), output: (output_bytes, "the output")}
    for folder, (size, what) in wanted.items():
        if size > free_bytes(folder):
            raise BadInput(
                f"{request.source} needs about {with_unit(size, BYTES)} for {what} in {folder}, whose disk"
                f" has {with_unit(free_bytes(folder), BYTES)} left; free some, or name a folder on another"
                " disk (--scratch is for all but the output)."
            )
    return free_bytes(scratch) - wanted[scratch][0]


def free_bytes(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free


def _same_disk(folder: Path, other: Path) -> bool:
    return folder.stat().st_dev == other.stat().st_dev


def in_memory(folder: Path) -> bool:
    """Tell whether files in a folder take memory, as in tmpfs; False if that is unknown."""
    where = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if where.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(Path(part.mountpoint).parts), default=None)
    return nearest is not None and nearest.fstype in _IN_MEMORY
