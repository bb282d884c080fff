"""Pictures and videos to RGB tensors, frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

from av.video.reformatter import VideoReformatter
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.frame_files import frame_files
from vsr_model.media.info import MediaInfo, existing_file
from vsr_model.media.pictures import inspect_picture, open_picture, picture_rgb, picture_times
from vsr_model.media.videos import (
    RATE_IF_NONE,
    decoded,
    frame_rgb,
    inspect_video,
    open_video,
    shown_packets,
)


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One frame: `image` (3, h, w) float32 RGB in [0, 1], `time_s` in seconds since the first frame."""

    image: Tensor
    time_s: float


def inspect(path: str | Path) -> MediaInfo:
    """Return the description of a file, a folder of frames or a pattern of them, after decoding a frame.

    Raises BadInput for a missing, empty or damaged file, one of another kind, and as `frame_files` does.
    """
    if (files := frame_files(Path(path))) is not None:
        first, _ = _still(files.paths[0])
        return replace(
            first,
            path=Path(path),
            kind="video",
            frame_count=len(files.paths),
            frame_files=files,
            notes=(*first.notes, *files.notes),
        )
    path = existing_file(path)
    with open_picture(path) as picture:
        if picture is not None:
            return inspect_picture(path, picture)
    with open_video(path) as (container, stream):
        return inspect_video(path, container, stream)


def iterate_frames(path: str | Path, *, stride: int = 1, limit: int | None = None) -> Iterator[VideoFrame]:
    """Yield every `stride`-th frame of `path` in the order shown, at most `limit`, one in memory at a time.

    YCbCr becomes RGB by the matrix and range that the stream states; where it states none, BT.709 from 720
    lines on and BT.601 below, limited range. Rotation is applied, so frames stand upright. Fields stay
    interlaced, pixels keep their stored aspect, transfer curves are left alone (HDR is not tone-mapped), and
    a video's alpha is ignored. A picture is a video of one frame; an animated one has the delays it states.
    Frames in files of their own, by `frame_files`, must have one size, depth and colour profile; they state
    no times, and are given 25 a second.

    Raises BadInput as `inspect` does, and at the first frame that is damaged.
    """
    if stride < 1 or (limit is not None and limit < 0):
        raise BadInput(f"stride is {stride} and limit {limit}, and at least 1 and 0 are allowed.")
    if (files := frame_files(Path(path))) is not None:
        return islice(_stills(files.paths, stride), limit)
    return islice(_frames(existing_file(path), stride), limit)


def count_packets(path: Path, limit: int | None = None) -> int:
    """Return about how many frames a video holds, at most `limit`, for containers that state no count.

    The file is read and not decoded: a video whose packets hold no frame or several, or that is damaged, has
    another number of frames. A count from the duration would be wrong by any factor where the rate varies,
    the sound is longer, or a clock jumps. Raises BadInput for damage that shows without decoding.
    """
    with open_video(path) as (container, stream):
        return sum(1 for _ in islice(shown_packets(container, stream), limit))


def _still(path: Path) -> tuple[MediaInfo, Tensor]:
    """Return a single picture and its description."""
    with open_picture(existing_file(path)) as picture:
        if picture is None:
            raise BadInput(f"{path} is no picture of a kind that is read, or is damaged.")
        info = inspect_picture(path, picture)
        if info.kind == "video":
            raise BadInput(f"{path} is animated, and a frame is a single picture.")
        return info, picture_rgb(path, picture)


def _stills(paths: Sequence[Path], stride: int) -> Iterator[VideoFrame]:
    first: MediaInfo | None = None
    for index, path in zip(count(step=stride), paths[::stride], strict=False):
        info, image = _still(path)
        first = first or info
        if (info.height, info.width) != (first.height, first.width):
            raise BadInput(
                f"{path} is of {info.height} x {info.width} and {first.path.name} of"
                f" {first.height} x {first.width}, and frames have one size."
            )
        if info.eight_bit != first.eight_bit:
            raise BadInput(f"{path} has another bit depth than {first.path.name}, and frames have one.")
        if info.colour != first.colour:
            raise BadInput(f"{path} has another colour profile than {first.path.name}, and frames have one.")
        yield VideoFrame(image=image, time_s=float(index / RATE_IF_NONE))


def _frames(path: Path, stride: int) -> Iterator[VideoFrame]:
    with open_picture(path) as picture:
        if picture is not None:
            for index, time_s in enumerate(picture_times(path, picture)[:-1]):
                if index % stride == 0:
                    picture.seek(index)
                    yield VideoFrame(image=picture_rgb(path, picture), time_s=float(time_s))
            return
    with open_video(path) as (container, stream):
        first_s: Fraction | None = None
        reformatter = VideoReformatter()
        for index, (frame, shown_s) in enumerate(decoded(path, container, stream)):
            first_s = shown_s if first_s is None else first_s
            if index % stride == 0:
                yield VideoFrame(image=frame_rgb(path, frame, reformatter), time_s=float(shown_s - first_s))
