"""RGB tensors to pictures and videos for common players."""

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from PIL import Image, TiffImagePlugin
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media.colour import BT709, BT2020, SRGB_COLOUR, UNSTATED, Colour
from vsr_model.media.sound import Sound
from vsr_model.media.whole_output import (
    appearing,
    appearing_folder,
    fault_of_the_system,
    refusing_to_write,
)

IMAGE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
    ".bmp": {},
    ".tif": {},
    ".tiff": {},
}
"""Options by suffix of picture: lossless, or JPEG of high quality with full chroma."""

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Suffixes of pictures that can hold 16 bits a sample."""

_X264 = ("libx264", {"crf": "14", "preset": "medium"})
_VP9 = ("libvpx-vp9", {"crf": "15", "b": "0", "deadline": "good", "cpu-used": "4"})
VIDEO_FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("mp4", *_X264),
    ".mov": ("mov", *_X264),
    ".mkv": ("matroska", *_X264),
    ".webm": ("webm", *_VP9),
}
"""Container, encoder and options of near-transparent quality by suffix of video."""

# FFmpeg keeps packets until every track has a later one, ten seconds at most, which of a large video without
# sound at its end is much memory; packets come in order here. The index of mp4 stays at the end: what is
# played from a disk needs it nowhere else, and moving it would write an hour's video twice.
_MUXER_OPTIONS = {"max_interleave_delta": "1000000"}

# A clock that holds 24, 25, 30, 50 and 60 per second, and their 1000/1001 relatives, exactly.
_TICKS_PER_S = 60_000

_LUMA = {BT709: (0.2126, 0.7152, 0.0722), BT2020: (0.2627, 0.6780, 0.0593)}
"""The weights of red, green and blue in luma, by H.273's number of the matrix."""

_PNG_HEADER_BYTES = 33  # the signature and the chunk IHDR
_LIMITED = 1  # FFmpeg's number of the range


def write_image(
    path: str | Path,
    image: Tensor,
    colour_profile: bytes | None = None,
    *,
    deep: bool = False,
    rehearsal: bool = False,
) -> float:
    """Write (3, h, w) RGB as a picture of the kind that the suffix names.

    Values are rounded to the nearest of 256 levels, or of 65,536 if `deep` is set and the kind is one of
    `DEEP_SUFFIXES`; those outside [0, 1] are clamped, and their share (0 to 1) is returned so that a caller
    can say so. An ICC `colour_profile` goes along in all kinds but BMP. The file appears under its name once
    it is whole, and not at all in a `rehearsal`. Raises BadInput for an unknown suffix, a missing folder, a
    tensor that is no picture, and what cannot be stored, OSError for a disk that is full or fails.
    """
    path = Path(path)
    encoded, clamped = _encoded(path, image, colour_profile, deep)
    # Pillow itself would leave half a JPEG on a full disk and say nothing.
    with refusing_to_write(path), appearing(path, rehearsal=rehearsal) as partial:
        partial.write_bytes(encoded)
    return clamped


def _encoded(
    path: Path, image: Tensor, profile: bytes | None, deep: bool
) -> tuple[bytes | memoryview, float]:
    """Return the bytes of the file of a picture, and the share of its values outside [0, 1]."""
    options = IMAGE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise BadInput(f"{path} has the suffix '{path.suffix}', and allowed are {', '.join(IMAGE_OPTIONS)}.")
    pixels, clamped = _checked(path, image)
    deep = deep and path.suffix.lower() in DEEP_SUFFIXES
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    levels = np.floor(pixels.permute(1, 2, 0).numpy() * np.float32(top) + np.float32(0.5)).astype(kind)
    encoded = io.BytesIO()
    try:
        if deep:
            return (_deep_png if path.suffix.lower() == ".png" else _deep_tiff)(levels, profile), clamped
        picture = Image.fromarray(np.ascontiguousarray(levels))
        picture.save(
            encoded, format=Image.registered_extensions()[path.suffix.lower()], icc_profile=profile, **options
        )
    except (OSError, ValueError, struct.error, av.FFmpegError) as error:
        size = f"{levels.shape[0]} x {levels.shape[1]}"
        raise BadInput(f"{path} cannot be written as a picture of {size} ({error}).") from error
    return encoded.getbuffer(), clamped


def _deep_png(levels: np.ndarray, profile: bytes | None) -> bytes:
    """Return the file of a PNG of 16 bits in colour, which Pillow does not write."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = *levels.shape[:2], "rgb48be"
    encoder.time_base, encoder.options = Fraction(1), {"pred": "mixed"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="rgb48le").reformat(
        format="rgb48be"
    )
    encoded = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    if profile is None:
        return encoded
    chunk = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded[:_PNG_HEADER_BYTES] + framed + encoded[_PNG_HEADER_BYTES:]


def _deep_tiff(levels: np.ndarray, profile: bytes | None) -> bytes:
    """Return the file of an uncompressed TIFF of 16 bits in colour, which Pillow does not write."""
    height, width, channels = levels.shape
    samples = levels.astype("<u2").tobytes()
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[TiffImagePlugin.IMAGEWIDTH], directory[TiffImagePlugin.IMAGELENGTH] = width, height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    directory[TiffImagePlugin.COMPRESSION] = 1  # none
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 2  # RGB
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.ROWSPERSTRIP] = height
    directory[TiffImagePlugin.STRIPOFFSETS] = 0  # Pillow adds where the directory ends
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = len(samples)
    if profile is not None:
        directory[TiffImagePlugin.ICCPROFILE] = profile
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + samples


@contextmanager
def image_folder(
    path: Path, colour_profile: bytes | None = None, *, deep: bool = False, rehearsal: bool = False
) -> Iterator[Callable[[str, Tensor], float]]:
    """Give a function that writes a picture to the folder `path`, by a name in it, as `write_image` does.

    The folder appears when the block ends, and never if it is left by an exception or is a `rehearsal`.
    Raises BadInput for a folder that is not empty, and as `write_image` does.
    """
    with appearing_folder(path, rehearsal=rehearsal) as partial:

        def write(name: str, image: Tensor) -> float:
            encoded, clamped = _encoded(path / name, image, colour_profile, deep)
            with refusing_to_write(path / name):
                (partial / name).write_bytes(encoded)
            return clamped

        yield write


class VideoWriter:
    """A video file, written frame by frame inside a `with` block.

    H.264 (VP9 in WebM), 4:2:0 of 8 bits in limited range, which is what players expect. Values mean what
    `colour` states by numbers, and what it leaves unstated is tagged as BT.709; the matrix is BT.2020's for
    its primaries, and BT.709's for all others.
    `height` and `width` must be even, as 4:2:0 stores colour for 2 x 2 pixels and nothing is to be cropped or
    padded silently. Frames follow each other at `frame_rate` unless times are given. Pixels are
    `pixel_aspect` times as wide as high. The file appears under its name once it is whole, and never if the
    block is left by an exception, the process is killed, or this is a `rehearsal`.

    `sound` is a video file all of whose sound is copied: its first frame's time is that of the first frame
    written. `cut_sound` ends it with the last frame, for when that is not the source's last. Sentences on
    what of it was left out are in `sound_notes` when the block has ended. A rehearsal raises BadInput for
    sound of which the container takes nothing.

    Calls may come from several threads, one after another.

    Raises BadInput for an unknown suffix, an odd or empty size, a rate that is not positive, a missing
    folder, sound that cannot go along, an encoder that fails, and a block in which no frame was written;
    OSError for a disk that is full or fails.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frame_rate: Fraction,
        height: int,
        width: int,
        pixel_aspect: Fraction = Fraction(1),
        colour: Colour = SRGB_COLOUR,
        sound: Path | None = None,
        cut_sound: bool = False,
        rehearsal: bool = False,
    ) -> None:
        self.path = Path(path)
        self.sound_notes: tuple[str, ...] = ()
        self._pixel_aspect = pixel_aspect
        self._primaries = BT709 if colour.primaries == UNSTATED else colour.primaries
        self._transfer = BT709 if colour.transfer == UNSTATED else colour.transfer
        self._matrix = BT2020 if self._primaries == BT2020 else BT709
        if height < 2 or width < 2 or height % 2 or width % 2:
            raise BadInput(
                f"{self.path} would have frames of {height} x {width}, and even sizes are allowed."
            )
        if frame_rate <= 0:
            raise BadInput(
                f"{self.path} would have {frame_rate} frames per second, and more than 0 is allowed."
            )
        self.frame_rate = Fraction(frame_rate).limit_denominator(_TICKS_PER_S)
        self.height, self.width = height, width
        suffix = self.path.suffix
        if suffix.lower() not in VIDEO_FORMATS:
            raise BadInput(f"{path} has the suffix '{suffix}', and allowed are {', '.join(VIDEO_FORMATS)}.")
        self._format, self._encoder, self._options = VIDEO_FORMATS[suffix.lower()]
        if self._encoder not in av.codecs_available:
            raise BadInput(f"{path} needs the encoder {self._encoder}, which this PyAV is built without.")
        # A multiple of the rate's numerator, so that a frame period is a whole number of ticks.
        ticks = self.frame_rate.numerator * max(1, _TICKS_PER_S // self.frame_rate.numerator)
        self._time_base = Fraction(1, ticks)
        self._period = int(ticks / self.frame_rate)
        self._last_pts: int | None = None
        self._sound_source, self._cut_sound, self._rehearsal = sound, cut_sound, rehearsal
        self._sound: Sound | None = None
        self._stack = ExitStack()
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> Self:
        with self._refusing(), ExitStack() as stack:
            partial = stack.enter_context(appearing(self.path, rehearsal=self._rehearsal))
            container = stack.enter_context(
                av.open(f"file:{partial}", "w", format=self._format, container_options=_MUXER_OPTIONS)
            )
            stream = container.add_stream(self._encoder, rate=self.frame_rate, options=self._options)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            context = stream.codec_context
            context.time_base = self._time_base
            if self._pixel_aspect != 1:
                context.sample_aspect_ratio = self._pixel_aspect
            self._tag(context)
            if self._sound_source is not None:
                self._sound = stack.enter_context(closing(Sound(self._sound_source, container)))
            container.start_encoding()  # what the container refuses, it refuses here
            self._container, self._stream = container, stream
            self._stack = stack.pop_all()
        return self

    def write(self, image: Tensor, time_s: float | None = None) -> float:
        """Append (3, height, width) RGB; return the share of values outside [0, 1], which are clamped.

        `time_s`, in seconds from the start of the video, keeps a variable frame rate; without it the frame
        comes one period after the one before. Times must grow by at least a clock tick (17 µs at most common
        rates). Raises BadInput for another shape, values that are not finite, and a time that does not grow.
        """
        if self._stream is None or self._container is None:
            raise RuntimeError("VideoWriter.write is called outside its with block")
        pixels, clamped = _checked(self.path, image)
        if pixels.shape != (3, self.height, self.width):
            raise BadInput(
                f"{self.path} has frames of {self.height} x {self.width},"
                f" and one of {pixels.shape[1]} x {pixels.shape[2]} was given."
            )
        pts = self._next_pts(time_s)
        frame = av.VideoFrame.from_ndarray(_yuv420(pixels, self._matrix), format="yuv420p")
        frame.pts, frame.time_base = pts, self._time_base
        self._tag(frame)
        with self._refusing():
            self._encode(frame)
        self._last_pts = pts
        return clamped

    def _tag(self, described: VideoCodecContext | av.VideoFrame) -> None:
        described.colorspace, described.color_range = self._matrix, _LIMITED
        described.color_primaries, described.color_trc = self._primaries, self._transfer

    def _next_pts(self, time_s: float | None) -> int:
        if time_s is None:
            return 0 if self._last_pts is None else self._last_pts + self._period
        last = -1 if self._last_pts is None else self._last_pts
        pts = round(Fraction(time_s) / self._time_base) if math.isfinite(time_s) else -1
        if pts <= last:
            before = "0 or more is" if last < 0 else f"more than {float(last * self._time_base):.6g} s is"
            raise BadInput(f"{self.path} is to show a frame at {time_s} s, and {before} allowed.")
        return pts

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self._container is not None
        assert self._stream is not None
        for packet in self._stream.encode(frame):
            # The last frame's duration is in no later timestamp, and the average rate is wrong without it.
            packet.duration = packet.duration or self._period
            if self._sound is not None and packet.dts is not None:
                self._sound.write_until(packet.dts * packet.time_base)
            self._container.mux(packet)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            refusal = BadInput(
                f"{self.path} cannot be written ({error.strerror}), by {self._encoder} with frames of"
                f" {self.height} x {self.width}."
            )
            raise fault_of_the_system(error, self.path) or refusal from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with self._refusing(), self._stack:
                if self._last_pts is None:
                    raise BadInput(f"{self.path} would be empty, and at least one frame must be written.")
                self._encode(None)
                if self._sound is not None:
                    end_s = (self._last_pts + self._period) * self._time_base
                    self._sound.write_rest(end_s if self._cut_sound else None)
                    self.sound_notes = self._sound.notes
                    if self._rehearsal and self._sound.is_refused:
                        raise BadInput(
                            f"{self._sound_source} has sound that {self.path} does not take; --no-sound"
                            " leaves it out."
                        )
        else:
            with suppress(av.FFmpegError, OSError):  # of the trailer, where the disk is full already
                self._stack.__exit__(kind, error, trace)
        self._container = self._stream = None


def _checked(path: Path, image: Tensor) -> tuple[Tensor, float]:
    """Return `image` on the host, float32 and clamped, and the share of its values outside [0, 1]."""
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0 or not image.is_floating_point():
        raise BadInput(
            f"{path} is to hold {image.dtype} values of shape {tuple(image.shape)},"
            " and floats of shape (3, h, w) are allowed."
        )
    pixels = image.detach().to("cpu", torch.float32)
    if not torch.isfinite(pixels).all():
        raise BadInput(f"{path} is to hold values that are not finite, and those of a picture must be.")
    clamped = pixels.clamp(0, 1)
    return clamped, int((clamped != pixels).count_nonzero()) / pixels.numel()


def _yuv420(pixels: Tensor, matrix: int = BT709) -> np.ndarray:
    """Return (3, h, w) RGB, h and w even, as planar 4:2:0 bytes (3h/2, w) in limited range."""
    red, green, blue = pixels
    of_red, of_green, of_blue = _LUMA[matrix]
    luma = of_red * red + of_green * green + of_blue * blue
    chroma = torch.stack([(blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))])
    # H.264's chroma samples lie on every second column and between two rows: weights 1 2 1 and 1 1. Players
    # that take them for centred (swscale, which reads for us, does) shift colour by a quarter of a sample.
    kernel = torch.tensor([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]) / 8
    padded = F.pad(chroma[:, None], (1, 0, 0, 0), mode="replicate")
    chroma = F.conv2d(padded, kernel[None, None], stride=2)[:, 0]
    levels = [16 + 219 * luma, 128 + 224 * chroma]
    planes = [(plane + 0.5).floor().to(torch.uint8).numpy() for plane in levels]
    return np.concatenate([planes[0], planes[1].reshape(-1, pixels.shape[2])])
