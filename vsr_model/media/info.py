"""The description of a picture or video file, and the refusal of a file that is neither."""

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
from vsr_model.frame_files import FrameFiles
from vsr_model.media.colour import SRGB_COLOUR, Colour

MAX_PIXELS = 89_478_485
"""Pixels of the largest frame that is read: Pillow's own limit, 1 GiB as float32 RGB."""

_DECODING_FAILURES = (
    av.FFmpegError,
    # Pillow's parsers raise these on damaged bytes; it promises no single class.
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,  # of AVIF
    MemoryError,  # of a row that is too long
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """The description of a file, from its header and first frame, or of frames in files of their own.

    `width` and `height` are those of an upright frame; `turned` says that stored frames are turned or
    mirrored to stand upright, as they are wherever frames are read. `frame_count` is the container's count,
    None where it states none (Matroska, streams). `frame_rate` is the average in frames per second, None for
    pictures, which state none. `pixel_aspect` is a pixel's width over its height where the video is shown (1
    for pictures). An animated picture (GIF, WebP, APNG) is a video, and so are frames in files of their own,
    which are in `frame_files`.

    `eight_bit` says that every value of the first frame, as it is read, is a whole number of 255ths, and of
    all others that are coded alike; `bits` are those of a stored sample. `colour` is the meaning of the
    values, which are left as they are. `notes` are on parts that are not read.
    """

    path: Path
    kind: Literal["image", "video"]
    width: int
    height: int
    frame_count: int | None
    frame_rate: Fraction | None = None
    frame_files: FrameFiles | None = None
    turned: bool = False
    has_audio: bool = False
    eight_bit: bool
    bits: int = 8
    colour: Colour = SRGB_COLOUR
    pixel_aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    @property
    def kind_in_words(self) -> str:
        """The kind with its article, for a message."""
        if self.frame_files is not None:
            return "a folder of frames" if self.path.is_dir() else "a pattern of frames"
        return "an image" if self.kind == "image" else "a video"


def existing_file(path: str | Path) -> Path:
    """Return `path` if it is a file that is not empty; raise BadInput otherwise."""
    path = Path(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        wrong = "does not exist"
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    else:
        if path.is_file() and size > 0:
            return path
        wrong = "is empty" if path.is_file() else "is a folder" if path.is_dir() else "is a device or a pipe"
    raise BadInput(f"{path} {wrong}, and a picture or video file is expected.")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the errors of decoders in the block into one BadInput about `path`."""
    try:
        yield
    except BadInput:
        raise
    except _DECODING_FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(f"{path} cannot be decoded, it may be cut short or damaged ({reason}).") from error


def check_size(path: Path, width: int, height: int) -> None:
    """Raise BadInput for a frame larger than any that is read, before memory is taken for it."""
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{path} has frames of {height} x {width} pixels, and at most {MAX_PIXELS} pixels are read."
        )
