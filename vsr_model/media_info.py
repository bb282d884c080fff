"""What a picture or video file is, and how a file that is neither is refused."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from PIL import Image

from vsr_model.errors import BadInput

MAX_ANIMATED_PIXELS = 2**31
"""Pixels of all frames of an animated picture, which are decoded to learn its times: 1,000 frames at
1920 x 1080. Empty frames cost a file twenty bytes each, whatever size its header states."""

MAX_PIXELS = 89_478_485
"""Pixels of the largest frame that is read: Pillow's own limit, 1 GiB as float32 RGB."""

_DECODING_FAILURES = (
    av.FFmpegError,
    # What Pillow's parsers raise on damaged bytes, as seen from its plugins; it promises no single class.
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,  # of a row that is too long
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What a file holds, as far as its header and first frame tell.

    `width` and `height` are those of an upright frame. `rotation_degrees` (0, 90, 180, 270) is how far stored
    frames are turned clockwise to stand upright, mirroring aside; it is already applied wherever frames are
    read. `frame_count` is the container's own count, None where it states none (Matroska, streams).
    `frame_rate` is the average in frames per second, None for a picture. `pixel_aspect` is a pixel's width
    over its height where the video is shown (1 for pictures). An animated picture (GIF, WebP, APNG) is a
    video.

    `eight_bit` says that every value of the first frame, as it is read, is a whole number of 255ths, and of
    all others that are coded alike. `is_hdr` is a transfer curve for high dynamic range (PQ or HLG, ITU-R
    BT.2100), which is left as it is. `guessed_times` says that the container (AVI) has no presentation times:
    FFmpeg's guesses are the right ones, though not always each with its frame. `has_audio` speaks of tracks
    of the container. `colour_profile` is a picture's embedded ICC profile of RGB, which is not applied.
    `notes` are sentences on what is not read.
    """

    path: Path
    kind: Literal["image", "video"]
    width: int
    height: int
    frame_count: int | None
    frame_rate: Fraction | None
    rotation_degrees: int
    has_audio: bool
    eight_bit: bool
    is_hdr: bool = False
    guessed_times: bool = False
    pixel_aspect: Fraction = Fraction(1)
    colour_profile: bytes | None = None
    notes: tuple[str, ...] = ()


def existing_file(path: str | Path) -> Path:
    """`path` if a file with something in it is there; BadInput otherwise."""
    path = Path(path)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError):
            reason = getattr(error, "strerror", None) or error
            raise BadInput(f"{path} cannot be read ({reason}).") from error
    if path.is_dir():
        raise BadInput(f"{path} is a folder, and a picture or video file is expected.")
    if path.exists() and not path.is_file():
        raise BadInput(f"{path} is a device or a pipe, and a picture or video file is expected.")
    if not path.is_file():
        raise BadInput(f"{path} does not exist, and a picture or video file is expected.")
    if path.stat().st_size == 0:
        raise BadInput(f"{path} is empty, and a picture or video file is expected.")
    return path


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What the decoders raise inside, as one BadInput about `path`."""
    try:
        yield
    except BadInput:
        raise
    except _DECODING_FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(f"{path} cannot be decoded, it may be cut short or damaged ({reason}).") from error


def check_size(path: Path, width: int, height: int) -> None:
    """BadInput if a frame is larger than any that is read, before memory is taken for it."""
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{path} has frames of {height} x {width} pixels, and at most {MAX_PIXELS} pixels are read."
        )
