"""Which of a file's streams stands for it, and the times of frames where the container states none."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from vsr_model.errors import BadInput
from vsr_model.media import count_packets, inspect, iterate_frames, read_clip, videos

NONE = Disposition(0)
FRAMES = 14


def levels(index: int) -> int:
    """Return the grey of the n-th frame, by which it is known again."""
    return 20 + 15 * index


def make(
    path: Path,
    *tracks: tuple[int, Disposition],
    codec: str = "libx264",
    b_frames: int = 0,
    shown: Sequence[int] = range(FRAMES),
) -> Path:
    """Write a video of square tracks, each of a size and a disposition, with frames at `shown` 25ths."""
    with av.open(str(path), "w") as container:
        streams = []
        for size, disposition in tracks:
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.max_b_frames = b_frames
            stream.codec_context.time_base = Fraction(1, 25)
            stream.disposition = disposition
            streams.append(stream)
        for index, pts in enumerate(shown):
            for stream in streams:
                pixels = np.full((3 * stream.height // 2, stream.width), 128, np.uint8)
                pixels[: stream.height] = levels(index)
                frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
                frame.pts, frame.time_base = pts, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


DEFAULT = Disposition.default


@pytest.mark.parametrize(
    ("tracks", "taken"),
    [
        ([(16, DEFAULT), (64, DEFAULT)], 1),  # a preview, where all are marked
        ([(16, NONE), (64, NONE)], 1),  # and where none is
        ([(64, NONE), (32, DEFAULT)], 1),  # the film's default view
        ([(64, DEFAULT), (32, NONE), (32, NONE)], 0),
    ],
)
def test_the_track_that_players_show_is_taken_everywhere(
    tmp_path: Path, tracks: list[tuple[int, Disposition]], taken: int
) -> None:
    path = make(tmp_path / "tracks.mkv", *tracks)
    size = tracks[taken][0]
    info = inspect(path)
    assert (info.height, info.width) == (size, size)
    assert next(iterate_frames(path)).image.shape == (3, size, size)
    assert read_clip(path, frames=1, height=size, width=size, fit="crop").shape[-1] == size
    assert count_packets(path) == FRAMES
    (note,) = info.notes
    assert note.startswith(
        f"Of {len(tracks)} video tracks stream {taken} ({size} x {size}) was taken; left out: "
    )


@pytest.mark.parametrize("mark", ["attached_pic", "timed_thumbnails", "still_image", "dependent"])
def test_covers_previews_and_parts_are_no_film(mark: str) -> None:
    def stream(index: int, size: int, disposition: Disposition) -> SimpleNamespace:
        context = SimpleNamespace(width=size, height=size)
        return SimpleNamespace(index=index, codec_context=context, disposition=disposition)

    cover, film = stream(0, 640, Disposition[mark] | DEFAULT), stream(1, 32, NONE)
    container: Any = SimpleNamespace(streams=SimpleNamespace(video=(cover, film)))
    assert videos._tracks(container) == [film]
    assert videos._tracks_note(container) is None


def test_a_track_without_a_decoder_is_not_taken(tmp_path: Path) -> None:
    path = make(tmp_path / "tracks.mkv", (64, DEFAULT), (32, NONE))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ", 1))
    info = inspect(path)
    assert info.width == 32
    assert info.notes == ("Of 2 video tracks stream 1 (32 x 32) was taken; left out: stream 0 (no decoder).",)


@pytest.mark.parametrize("brands", [b"heic", b"mif1\0\0\0\0heicmiaf", b"abcd\0\0\0\0mif1avif"])
def test_a_picture_in_a_videos_container_is_named(tmp_path: Path, brands: bytes) -> None:
    path = make(tmp_path / "film.mp4", (16, DEFAULT))
    box = brands if len(brands) > 4 else brands + bytes(4) + brands
    path.write_bytes((8 + len(box)).to_bytes(4, "big") + b"ftyp" + box + path.read_bytes())
    for name in ("picture.mp4", "picture.HEIC"):
        path = path.rename(tmp_path / name)
        with pytest.raises(BadInput, match="is a picture in HEIF"):
            inspect(path)


# Times.


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        *product(["mpeg4", "libx264", "mpeg2video"], [".avi", ".mkv", ".mov", ".ts"]),
        ("libx264", ".h264"), ("mpeg4", ".m4v"), ("mpeg2video", ".m2v"),
    ],
)  # fmt: skip
def test_frames_are_in_order_and_at_the_rate(tmp_path: Path, codec: str, suffix: str) -> None:
    path = make(tmp_path / f"film{suffix}", (64, NONE), codec=codec, b_frames=2)
    frames = list(iterate_frames(path))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [index / 25 for index in range(FRAMES)], abs=1e-3
    )
    greys = [float(frame.image.mean()) for frame in frames]
    assert all(before < after for before, after in pairwise(greys))


def test_dropped_frames_of_a_container_without_times_leave_their_places(tmp_path: Path) -> None:
    shown = [0, 1, 2, 5, 6, 7, 10, 11]
    path = make(tmp_path / "film.avi", (64, NONE), codec="mpeg4", shown=shown)
    assert [round(25 * frame.time_s) for frame in iterate_frames(path)] == shown
