"""Video files to float32 RGB frames through PyAV, upright and by the stream's own colour matrix."""

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media.colour import BT2020, UNSTATED, Colour
from vsr_model.media.info import MediaInfo, check_size, refusing
from vsr_model.media.orientation import UPRIGHT, Orientation

VIDEO_CONTAINERS = frozenset(
    {"mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "nut", "mxf", "dv"}
    | {"h264", "hevc", "m4v", "ivf", "obu", "yuv4mpegpipe"}  # streams without a container of their own
)
"""First names of FFmpeg's demuxers that are read. Others play text as a terminal or follow playlists."""

_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
    | {b"miaf", b"avif", b"avis", b"avio"}
)
"""Brands of pictures in a video's container, which FFmpeg takes apart into tiles and layers."""

_MOST_BRANDS_BYTES = 256  # of the box of brands that are looked at
_NO_FILM = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
_NO_TIMESTAMPS = 0x0080  # FFmpeg's AVFMT_NOTIMESTAMPS

# swscale numbers its matrices as streams do (ITU-T H.273), apart from synonyms.
_BT709, _FCC, _BT601, _SMPTE240M, _BT2020 = 1, 4, 5, 7, 9
_MATRIX = {1: _BT709, 4: _FCC, 5: _BT601, 6: _BT601, 7: _SMPTE240M, 9: _BT2020, 10: _BT2020}
_NO_MATRIX = (0, 2, 3)  # of RGB, unspecified, reserved
_FLAT = bytes(4)  # FFmpeg's AV_STEREO3D_2D
RATE_IF_NONE = Fraction(25)
"""Frames per second where nothing states any."""

_HD_HEIGHT = 720  # untagged video this high or higher is taken as BT.709, lower as BT.601
_LIMITED, _FULL = 1, 2
# Without the chroma flags swscale repeats chroma samples, and its shortcuts are off by up to 4/255.
_EXACT = int(
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the container in `path` and choose its video stream, as players do; raise BadInput for none."""
    if _is_heif(path):
        raise BadInput(
            f"{path} is a picture in HEIF (HEIC or AVIF), which is not read here; make a PNG of it."
        )
    try:
        # The prefix keeps a colon in the name from being a protocol; titles are not always UTF-8.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise BadInput(
            f"{path} is no picture or video of a kind that is read,"
            f" or is cut short or damaged ({error.strerror})."
        ) from error
    with container, refusing(path):
        if container.format.name.split(",")[0] not in VIDEO_CONTAINERS:
            raise BadInput(f"{path} is no picture or video of a kind that is read ({container.format.name}).")
        tracks = _tracks(container)
        if not tracks:
            raise BadInput(f"{path} has no video stream, and a picture or video is expected.")
        if tracks[0].codec_context is None:
            raise BadInput(f"{path} is coded in a way that this installation of PyAV has no decoder for.")
        tracks[0].thread_type = "AUTO"
        yield container, tracks[0]


def _is_heif(path: Path) -> bool:
    """Tell whether a file says that it holds pictures, by any of its brands (ISO/IEC 14496-12, ftyp)."""
    with path.open("rb") as file:
        start = file.read(_MOST_BRANDS_BYTES)
    brands = start[8 : int.from_bytes(start[:4], "big")]
    return start[4:8] == b"ftyp" and any(
        brands[at : at + 4] in _HEIF_BRANDS for at in range(0, len(brands), 4)
    )


def _tracks(container: InputContainer) -> list[VideoStream]:
    """Return the video streams, the one to be shown first: the default one, and of several the largest.

    Covers, thumbnails, stills and parts of pictures are none. What has no decoder comes last.
    """

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        context = stream.codec_context
        is_default = bool(stream.disposition & Disposition.default)
        return context is None, not is_default, -(context.width * context.height if context else 0)

    return sorted((s for s in container.streams.video if not s.disposition & _NO_FILM), key=rank)


def _tracks_note(container: InputContainer) -> str | None:
    """Return which of several video tracks was taken; None where there is one."""

    def named(stream: VideoStream) -> str:
        context = stream.codec_context
        return f"stream {stream.index} ({f'{context.width} x {context.height}' if context else 'no decoder'})"

    first, *others = _tracks(container)
    if not others:
        return None
    left_out = ", ".join(map(named, others))
    return f"Of {1 + len(others)} video tracks {named(first)} was taken; left out: {left_out}."


def _states_times(container: InputContainer) -> bool:
    """Tell whether a container states when frames are shown. AVI has the order of packets, as raw streams."""
    return container.format.name != "avi" and not container.format.flags & _NO_TIMESTAMPS


def decoded(
    path: Path, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """Yield every frame in the order shown, with its time in seconds on the file's clock.

    Where a container states no times, frames take the places of the packets in their order: FFmpeg's guesses
    are wrong where frames are stored in another order than shown. Raises BadInput where a frame is damaged or
    none is there.
    """
    period_s, has_times = 1 / frame_rate(stream), _states_times(container)
    places_s: deque[Fraction] = deque()
    time_s = -period_s
    count = 0
    for packet in container.demux(stream):
        if not has_times and packet.size and packet.dts is not None:
            places_s.append(packet.dts * packet.time_base)
        frames = [] if packet.is_corrupt else stream.decode(packet)
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise BadInput(f"{path} is cut short or damaged after {count} frames.")
        for frame in frames:
            check_size(path, frame.width, frame.height)
            count += 1
            if has_times and frame.pts is not None and frame.time_base is not None:
                time_s = frame.pts * frame.time_base
            else:
                time_s = places_s.popleft() if places_s else time_s + period_s
            yield frame, time_s
    if count == 0:
        raise BadInput(f"{path} holds no frame that can be decoded.")


def shown_packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Yield the packets of `stream` that frames come from, in the order stored, undecoded."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all  # most containers then skip their bytes
    for packet in container.demux(stream):
        if packet.size > 0 and not packet.is_discard:  # the last one is empty; an edit list hides others
            yield packet


def inspect_video(path: Path, container: InputContainer, stream: VideoStream) -> MediaInfo:
    """Return the video's description, after decoding its first frame."""
    size = path.stat().st_size
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > size:
        raise BadInput(f"{path} is cut short: its index reaches to byte {end}, and it has {size}.")
    frame, _ = next(decoded(path, container, stream))
    image = frame_rgb(path, frame)
    orientation = _orientation(path, frame)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return MediaInfo(
        path=path,
        kind="video",
        width=image.shape[2],
        height=image.shape[1],
        frame_count=stream.frames or None,
        frame_rate=frame_rate(stream),
        turned=orientation != UPRIGHT,
        has_audio=len(container.streams.audio) > 0,
        eight_bit=_sample_bits(frame) <= 8 and not _is_limited_grey(frame),
        bits=_sample_bits(frame),
        colour=_colour(frame),
        # Stated of the frames as they are stored.
        pixel_aspect=1 / aspect if orientation.a == 0 else aspect,
        notes=tuple(_losses(container, stream, frame)),
    )


def frame_rate(stream: VideoStream) -> Fraction:
    """Return the average frames per second, or 25 of raw streams that state none."""
    return stream.average_rate or stream.guessed_rate or RATE_IF_NONE


def _losses(container: InputContainer, stream: VideoStream, frame: av.VideoFrame) -> Iterator[str]:
    """Yield a sentence on each thing that a file holds beside its frames and its sound, and that is lost."""
    if note := _tracks_note(container):
        yield note
    streams = container.streams
    lost = [
        name
        for name, parts in (
            ("subtitles", streams.subtitles),
            ("chapters", container.chapters()),
            ("attachments", streams.attachments),
            ("covers", [s for s in streams.video if s.disposition & _NO_FILM]),
            ("data tracks", streams.data),
        )
        if parts
    ]
    if lost:
        *others, last = lost
        yield f"The {', '.join(others)}{' and ' if others else ''}{last} were not copied."
    if frame.interlaced_frame:
        yield "The video is interlaced, and its fields were not separated: motion will show combs."
    has_alpha = any(component.is_alpha for component in frame.format.components)
    if has_alpha or stream.metadata.get("alpha_mode") == "1":
        yield "The video's transparency was left out."
    views = frame.side_data.get("STEREO3D")
    if views is not None and bytes(cast(Any, views))[:4] != _FLAT:
        yield "The video is stereoscopic (3D), which the output does not state."
    if frame.side_data.get("SPHERICAL") is not None:
        yield "The video is spherical (360 degrees), which the output does not state."


def _orientation(path: Path, frame: av.VideoFrame) -> Orientation:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(Any, matrix)))
    orientation = Orientation.of_matrix(a, b, c, d)
    if orientation is None:
        raise BadInput(f"{path} is to be shown at an oblique angle, and multiples of 90 degrees are read.")
    return orientation


def _colour(frame: av.VideoFrame) -> Colour:
    profile = frame.side_data.get("ICC_PROFILE")
    if profile is not None:
        return Colour(profile=bytes(cast(Any, profile)))
    stated = Colour.of_numbers(frame.color_primaries, frame.color_trc)
    if stated.primaries == UNSTATED and _MATRIX.get(frame.colorspace) == _BT2020:
        return replace(stated, primaries=BT2020)  # the matrix is defined by them
    return stated


def _sample_bits(frame: av.VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def _is_limited_grey(frame: av.VideoFrame) -> bool:
    return frame.format.name.startswith("gray") and frame.color_range == _LIMITED


def frame_rgb(path: Path, frame: av.VideoFrame, reformatter: VideoReformatter | None = None) -> Tensor:
    """Return `frame` as (3, h, w) float32 RGB in [0, 1], upright.

    A `reformatter` that is kept from frame to frame sets its tables up once. The arithmetic is numpy's: torch
    would start its threads here, which spin while the decoder needs the cores.
    """
    pixels = frame.format
    bits = _sample_bits(frame)
    full = frame.color_range == _FULL or pixels.name.startswith("yuvj") or pixels.is_rgb
    guess = _BT709 if frame.height >= _HD_HEIGHT else _BT601
    if frame.colorspace not in (*_MATRIX, *_NO_MATRIX):
        raise BadInput(
            f"{path} is coded by the colour matrix {int(frame.colorspace)} of ITU-T H.273, and"
            f" {', '.join(map(str, _MATRIX))} are read."
        )
    rgb = (reformatter or VideoReformatter()).reformat(
        frame,
        format="rgb24" if bits <= 8 else "rgb48le",
        src_colorspace=_MATRIX.get(frame.colorspace, guess),
        src_color_range=_FULL if full else _LIMITED,
        dst_color_range=_FULL,
        interpolation=_EXACT,
    )
    values = rgb.to_ndarray().astype(np.float32)
    if _is_limited_grey(frame):
        # swscale takes every grey for full range, even one that is tagged otherwise.
        values = (values / np.float32(1 if bits <= 8 else 256) - 16) / np.float32(219)
    elif bits <= 8:
        values /= 255
    elif pixels.is_rgb:
        values /= 65535
    else:
        # swscale widens deep YCbCr by shifting, so its white falls short of 65535.
        values /= ((1 << bits) - 1) << (16 - bits) if full else 255 << 8
    image = torch.from_numpy(np.ascontiguousarray(values.clip(0, 1).transpose(2, 0, 1)))
    return _orientation(path, frame).apply(image).contiguous()
