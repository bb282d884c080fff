"""Pictures and videos to RGB tensors, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from av.video.reformatter import VideoReformatter
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media.info import MediaInfo, existing_file
from vsr_model.media.pictures import inspect_picture, open_picture, picture_rgb, picture_times
from vsr_model.media.videos import decoded, frame_rate, frame_rgb, inspect_video, open_video, shown_packets


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One frame: `image` (3, h, w) float32 RGB in [0, 1], `time_s` in seconds since the first frame."""

    image: Tensor
    time_s: float


def inspect(path: str | Path) -> MediaInfo:
    """Return the description of `path`, after decoding its first frame.

    Raises BadInput for a missing, empty or damaged file, a folder, and a file of another kind.
    """
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

    Raises BadInput as `inspect` does, and at the first frame that is damaged.
    """
    if stride < 1 or (limit is not None and limit < 0):
        raise BadInput(f"stride is {stride} and limit {limit}, and at least 1 and 0 are allowed.")
    return islice(_frames(existing_file(path), stride), limit)


def count_packets(path: Path, limit: int | None = None) -> int:
    """Return about how many frames a video holds, at most `limit`, for containers that state no count.

    The file is read and not decoded: a video whose packets hold no frame or several, or that is damaged, has
    another number of frames. A count from the duration would be wrong by any factor where the rate varies,
    the sound is longer, or a clock jumps. Raises BadInput for damage that shows without decoding.
    """
    with open_video(path) as (container, stream):
        return sum(1 for _ in islice(shown_packets(container, stream), limit))


def _frames(path: Path, stride: int) -> Iterator[VideoFrame]:
    with open_picture(path) as picture:
        if picture is not None:
            for index, time_s in enumerate(picture_times(path, picture)[:-1]):
                if index % stride == 0:
                    picture.seek(index)
                    yield VideoFrame(image=picture_rgb(path, picture), time_s=float(time_s))
            return
    with open_video(path) as (container, stream):
        rate = frame_rate(stream)
        first_s: float | None = None
        reformatter = VideoReformatter()
        for index, frame in enumerate(decoded(path, container, stream)):
            shown_s = float(index / rate) if frame.time is None else frame.time
            first_s = shown_s if first_s is None else first_s
            if index % stride == 0:
                yield VideoFrame(image=frame_rgb(path, frame, reformatter), time_s=shown_s - first_s)
