"""A file's frames, decoded once into a spool."""

from dataclasses import dataclass

from bench.upscaling.pace import Pace
from vsr_model.errors import BadInput
from vsr_model.spool import FrameSpool, spool_frame_bytes
from vsr_model.video import MediaInfo, count_packets, iterate_frames


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What was decoded: when each frame is shown, in seconds since the first, and whether there are more."""

    times_s: tuple[float, ...]
    is_cut: bool

    @property
    def frames(self) -> int:
        return len(self.times_s)


def expected_frames(info: MediaInfo, limit: int | None, counting: Pace) -> int:
    """How many frames there are to enlarge, as the file's header tells, or else about how many."""
    count = max(1, info.frame_count or count_packets(info.path, counting.at, limit=limit))
    return count if limit is None else min(count, limit)


def spooled_bytes(info: MediaInfo, frames: int) -> int:
    """What so many frames take in a spool."""
    return frames * spool_frame_bytes(height=info.height, width=info.width, eight_bit=info.eight_bit)


def take_in(info: MediaInfo, limit: int | None, spool: FrameSpool, pace: Pace) -> Intake:
    """Decode the file, or its first `limit` frames, into the spool. Raises BadInput for a damaged file, and
    for frames that change their size or depth."""
    times_s: list[float] = []
    for frame in iterate_frames(info.path, limit=None if limit is None else limit + 1):
        if len(times_s) == limit:
            return Intake(times_s=tuple(times_s), is_cut=True)
        if frame.image.shape[1:] != (info.height, info.width):
            raise BadInput(
                f"{info.path} changes its size after {len(times_s)} frames, and all must have the same."
            )
        try:
            spool.write(frame.image[None])
        except ValueError as error:  # deeper than the first
            raise BadInput(
                f"{info.path} changes its depth after {len(times_s)} frames, and all must have the same."
            ) from error
        times_s.append(frame.time_s)
        pace.at(len(times_s))
    return Intake(times_s=tuple(times_s), is_cut=False)
