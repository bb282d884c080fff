"""Pictures and videos, read and written: real files, made here with Pillow, PyAV or byte by byte."""

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from vsr_model import clips, media_write, orientation
from vsr_model.errors import BadInput
from vsr_model.video import (
    VideoWriter,
    count_packets,
    inspect,
    iterate_frames,
    moving_texture,
    random_clip,
    read_clip,
    write_image,
)

SAMPLE = Path(__file__).parents[2] / "configs" / "media" / "moving_texture.mp4"
RATE = Fraction(25)


def read_image(path: Path) -> Tensor:
    return next(iterate_frames(path)).image


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _as_tensor(pixels: np.ndarray, top: int = 255) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(top)).permute(2, 0, 1)


def _png(path: Path, samples: np.ndarray, colour_type: int) -> Path:
    """A 16-bit PNG, byte by byte: no library at hand writes every kind."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def _patches(height: int, width: int) -> Tensor:
    """Red, green, blue and grey quarters with a white mark in the top left and a black in the top right."""
    image = torch.empty(3, height, width)
    rows, columns = height // 2, width // 2
    for top, left, colour in (
        (0, 0, (1.0, 0.0, 0.0)),
        (0, columns, (0.0, 1.0, 0.0)),
        (rows, 0, (0.0, 0.0, 1.0)),
        (rows, columns, (0.5, 0.5, 0.5)),
    ):
        image[:, top : top + rows, left : left + columns] = torch.tensor(colour)[:, None, None]
    mark = height // 4  # wide enough that codecs leave its centre alone
    image[:, :mark, :mark] = 1
    image[:, :mark, -mark:] = 0
    return image


def _write(path: Path, images: list[Tensor], rate: Fraction = RATE) -> Path:
    _, height, width = images[0].shape
    with VideoWriter(path, frame_rate=rate, height=height, width=width) as writer:
        for image in images:
            writer.write(image)
    return path


def _encode(
    path: Path, arrays: list[np.ndarray], codec: str, pix_fmt: str, size: tuple[int, int], **tags: int
) -> Path:
    """A file of planes as given, tagged as given: what the project's own writer never makes."""
    with av.open(str(path), "w") as container:
        options = {"qp": "0"} if codec.startswith("libx264") else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        rotation = tags.pop("rotation", None)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for array in arrays:
            frame = av.VideoFrame.from_ndarray(array, format=pix_fmt)
            for name, value in tags.items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _patch_error(image: Tensor, expected: Tensor) -> float:
    """The largest error in 255ths at the centres of patches and marks, away from where colours meet."""
    _, height, width = expected.shape
    mark = height // 8
    centres = [(mark, mark), (mark, width - mark)]
    # The middle of a quarter's lower outer part, which no mark reaches.
    centres += [
        (top + height * 3 // 8, left + width // 4) for top in (0, height // 2) for left in (0, width // 2)
    ]
    areas = [(slice(None), slice(y - 1, y + 1), slice(x - 1, x + 1)) for y, x in centres]
    return 255 * max(float((image[area] - expected[area]).abs().max()) for area in areas)


# Noise and the texture --------------------------------------------------------------------------------------


def test_random_clip_depends_on_its_arguments_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = random_clip(batch=2, frames=3, height=8, width=9, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        second = random_clip(batch=2, frames=3, height=8, width=9, seed=7)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, second)
    assert first.shape == (2, 3, 3, 8, 9)
    assert first.dtype == torch.float32
    assert 0 <= float(first.min()) < 0.1
    assert 0.9 < float(first.max()) < 1
    assert not torch.equal(first, random_clip(batch=2, frames=3, height=8, width=9, seed=8))


def test_random_clip_refuses_an_empty_size():
    with pytest.raises(BadInput, match="height is 0, and 1 or more is allowed"):
        random_clip(batch=1, frames=1, height=0, width=4, seed=0)


def _best_shift(before: Tensor, after: Tensor, top: int, left: int, reach: int = 5) -> tuple[int, int]:
    side = 20
    patch = before[:, top : top + side, left : left + side]
    errors = {}
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            y, x = top + down, left + right
            moved = after[:, y : y + side, x : x + side]
            errors[down, right] = float((moved - patch).abs().mean())
    return min(errors, key=errors.__getitem__)


@pytest.mark.parametrize(
    ("centre", "motion"),
    [
        ((64, 45), clips.DISC_MOTION),
        ((80, 112), clips.SQUARE_MOTION),
        ((20, 20), clips.BACKGROUND_MOTION),
        ((105, 160), clips.BACKGROUND_MOTION),
    ],
)
def test_each_part_of_the_texture_moves_as_stated(centre: tuple[int, int], motion: tuple[int, int]):
    clip = moving_texture(2, 128, 180, 1)
    assert _best_shift(clip[0], clip[1], centre[0] - 10, centre[1] - 10) == motion


def test_the_texture_is_deterministic_and_in_range():
    clip = moving_texture(3, 40, 60, 3)
    assert clip.shape == (3, 3, 40, 60)
    assert clip.dtype == torch.float32
    assert torch.equal(clip, moving_texture(3, 40, 60, 3))
    assert not torch.equal(clip, moving_texture(3, 40, 60, 4))
    assert 0 <= float(clip.min()) <= float(clip.max()) <= 1
    assert moving_texture(1, 1, 1, 0).shape == (1, 3, 1, 1)


def test_the_committed_sample_is_the_texture():
    info = inspect(SAMPLE)
    assert SAMPLE.stat().st_size < 150_000
    assert (info.kind, info.height, info.width, info.frame_count) == ("video", 128, 180, 30)
    assert (info.frame_rate, info.rotation_degrees, info.has_audio) == (RATE, 0, False)
    clip = read_clip(SAMPLE, frames=30, height=128, width=180, fit="crop")
    error = clip[0] - moving_texture(30, 128, 180, 1)
    assert float(-10 * error.square().mean().log10()) > 30  # 4:2:0 alone costs most of it, at coloured edges
    assert float(error.mean(dim=(0, 2, 3)).abs().max()) < 1 / 255


# Pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".PNG"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str):
    pixels = _as_tensor(_noise(13, 17))
    path = tmp_path / f"picture{suffix}"
    assert write_image(path, pixels) == 0
    assert torch.equal(read_image(path), pixels)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    info = inspect(path)
    assert (info.kind, info.height, info.width, info.frame_count, info.frame_rate) == (
        "image",
        13,
        17,
        1,
        None,
    )


def test_jpeg_keeps_colours(tmp_path: Path):
    write_image(tmp_path / "a.jpg", _patches(64, 96))
    assert _patch_error(read_image(tmp_path / "a.jpg"), _patches(64, 96)) <= 2


def test_values_are_rounded_and_clamping_is_reported(tmp_path: Path):
    image = torch.tensor([0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, -0.5, 1.5]).reshape(1, 1, 6)
    assert write_image(tmp_path / "a.png", image.expand(3, 1, 6)) == pytest.approx(2 / 6)
    levels = (read_image(tmp_path / "a.png")[0, 0] * 255).round().int().tolist()
    assert levels == [0, 1, 254, 255, 0, 255]


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("a.xyz", torch.zeros(3, 2, 2), r"suffix '.xyz', and allowed are .png"),
        ("no/a.png", torch.zeros(3, 2, 2), "folder .* does not exist"),
        ("a.png", torch.zeros(1, 2, 2), r"shape \(1, 2, 2\)"),
        ("a.png", torch.zeros(3, 2, 2, dtype=torch.uint8), "uint8"),
        ("a.png", torch.full((3, 2, 2), float("nan")), "not finite"),
        ("a.webp", torch.zeros(3, 2, 20_000), "cannot be written as a picture of 2 x 20000"),
    ],
)
def test_pictures_that_cannot_be_written(tmp_path: Path, name: str, image: Tensor, message: str):
    with pytest.raises(BadInput, match=message):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_palette_and_1_bit_become_rgb(tmp_path: Path, mode: str):
    picture = Image.fromarray(_noise(9, 14)).convert(mode)
    picture.save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), _as_tensor(np.asarray(picture.convert("RGB"))))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path, mode: str):
    picture = Image.fromarray(_noise(9, 14)).convert(mode)
    picture.save(tmp_path / "opaque.png")
    expected = _as_tensor(np.asarray(picture.convert("RGB")))
    assert torch.equal(read_image(tmp_path / "opaque.png"), expected)
    picture.putalpha(Image.fromarray(np.full((9, 14), 254, dtype=np.uint8)))
    picture.save(tmp_path / "clear.png")
    with pytest.raises(BadInput, match="transparent pixels, and must be flattened"):
        read_image(tmp_path / "clear.png")


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bit_png_keeps_its_precision(tmp_path: Path, channels: int, colour_type: int):
    samples = np.random.default_rng(1).integers(0, 65536, (7, 5, channels), dtype=np.uint16)
    samples[0, :3, 0] = (0, 1, 65535)
    if channels in (2, 4):
        samples[:, :, -1] = 65535
    path = _png(tmp_path / "a.png", samples, colour_type)
    colours = samples[:, :, :1].repeat(3, axis=2) if channels < 3 else samples[:, :, :3]
    assert torch.equal(read_image(path), _as_tensor(colours, 65535))


def test_16_bit_grey_tiff(tmp_path: Path):
    grey = np.array([[0, 1, 256], [40_000, 65_534, 65_535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.tiff")
    assert torch.equal(read_image(tmp_path / "a.tiff"), _as_tensor(grey[:, :, None].repeat(3, axis=2), 65535))


def test_cmyk_jpeg(tmp_path: Path):
    pixels = (_patches(64, 96) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert _patch_error(read_image(tmp_path / "a.jpg"), _patches(64, 96)) <= 3


@pytest.mark.parametrize(
    ("tag", "degrees"), [(1, 0), (2, 0), (3, 180), (4, 180), (5, 270), (6, 90), (7, 90), (8, 270)]
)
def test_exif_orientation_is_applied(tmp_path: Path, tag: int, degrees: int):
    picture = Image.fromarray((_patches(64, 96) * 255).byte().permute(1, 2, 0).numpy())
    exif = Image.Exif()
    exif[0x0112] = tag
    picture.save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as stored:
        expected = _as_tensor(np.asarray(ImageOps.exif_transpose(stored)))
    assert torch.equal(read_image(tmp_path / "a.jpg"), expected)
    info = inspect(tmp_path / "a.jpg")
    assert (info.height, info.width) == tuple(expected.shape[1:])
    assert info.rotation_degrees == degrees


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animated_picture_is_a_video(tmp_path: Path, suffix: str):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [Image.new("RGB", (12, 10), colour) for colour in colours]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"a{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40, 80, 40], **options)
    info = inspect(path)
    assert (info.kind, info.frame_count) == ("video", 3)
    assert info.frame_rate == Fraction(3000, 160)
    frames = list(iterate_frames(path))
    assert [frame.time_s for frame in frames] == [0, 0.04, 0.12]
    for frame, colour in zip(frames, colours, strict=True):
        assert torch.equal(frame.image[:, 5, 5] * 255, torch.tensor(colour).float())


def test_several_pages_are_refused(tmp_path: Path):
    page = Image.new("RGB", (4, 4))
    page.save(tmp_path / "a.tiff", save_all=True, append_images=[page])
    for read in (read_image, inspect):
        with pytest.raises(BadInput, match="2 pages"):
            read(tmp_path / "a.tiff")


# Files that are wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [inspect, read_image])
def test_files_that_are_no_picture_or_video(tmp_path: Path, read):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("just a text, not a video\n" * 50)
    (tmp_path / "text.txt").write_text("just a text, which FFmpeg would play as a terminal\n" * 50)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "zeros.png").write_bytes(bytes(1000))
    for name, message in {
        "missing.mp4": "does not exist",
        "empty.mp4": "is empty",
        "text.mp4": "no picture or video",
        "text.txt": "no picture or video",
        "list.m3u8": "no picture or video",
        "zeros.png": "no picture or video",
        ".": "is a folder",
    }.items():
        with pytest.raises(BadInput, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("share", [0.5])
def test_truncated_pictures(tmp_path: Path, suffix: str, share: float):
    path = tmp_path / f"a{suffix}"
    write_image(path, _as_tensor(_noise(40, 40)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (read_image, inspect):
        with pytest.raises(BadInput, match=r"a\."):
            read(path)


def test_a_truncated_16_bit_png(tmp_path: Path):
    samples = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), dtype=np.uint16)
    path = _png(tmp_path / "a.png", samples, 2)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match="cut short or damaged"):
        read_image(path)


def test_a_video_cut_short(tmp_path: Path):
    whole = _write(tmp_path / "whole.mp4", [_as_tensor(_noise(64, 64, i)) for i in range(6)]).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cut short"):
        inspect(cut)
    # The same with its index in front, as on web pages: it opens, and the frames run out.
    options = {"movflags": "+faststart"}
    with (
        av.open(str(tmp_path / "whole.mp4")) as source,
        av.open(str(tmp_path / "front.mp4"), "w", options=options) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    front = (tmp_path / "front.mp4").read_bytes()
    cut.write_bytes(front[: len(front) * 2 // 3])
    with pytest.raises(BadInput, match="cut short: its index reaches to byte"):
        inspect(cut)
    with pytest.raises(BadInput, match="cut short or damaged"):
        list(iterate_frames(cut))
    with pytest.raises(BadInput, match="cut short or damaged"):
        read_clip(cut, frames=6, height=64, width=64, fit="crop")


def test_a_title_that_is_not_utf_8(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(SAMPLE.read_bytes().replace(b"isom", b"is\xf6m", 1))
    assert inspect(path).frame_count == 30


def test_a_sound_file_has_no_video(tmp_path: Path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadInput, match="no video stream"):
        inspect(tmp_path / "a.mkv")


# Videos -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [(".mp4", RATE), (".mkv", RATE), (".mov", Fraction(30_000, 1001)), (".webm", Fraction(30_000, 1001))],
)
def test_a_video_comes_back_upright_and_in_its_colours(tmp_path: Path, suffix: str, rate: Fraction):
    expected = _patches(64, 96)
    path = _write(tmp_path / f"a{suffix}", [expected] * 5, rate)
    info = inspect(path)
    assert (info.height, info.width, info.frame_rate) == (64, 96, rate)
    assert info.frame_count == (5 if suffix in (".mp4", ".mov") else None)
    frames = list(iterate_frames(path))
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        assert frame.time_s == pytest.approx(float(index / rate), abs=1e-3)
        assert frame.image.shape == (3, 64, 96)
        assert _patch_error(frame.image, expected) <= 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_colour_tags_say_what_was_written(tmp_path: Path):
    path = _write(tmp_path / "a.mp4", [_patches(64, 96)])
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        # Published BT.709 values of pure red in limited range.
        luma = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        assert abs(int(luma[12, 20]) - 63) <= 1


def test_another_encoder_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoders = (("no-such-encoder", {}), media_write._MPEG4)
    monkeypatch.setitem(media_write.VIDEO_ENCODERS, ".mp4", encoders)
    monkeypatch.setitem(media_write.VIDEO_ENCODERS, ".webm", (("no-such-encoder", {}),))
    path = _write(tmp_path / "a.mp4", [_patches(64, 96)] * 4, Fraction(30_000, 1001))
    assert inspect(path).frame_rate == Fraction(30_000, 1001)
    # MPEG-4 carries no matrix in its stream; the container's tag must do.
    assert _patch_error(next(iterate_frames(path)).image, _patches(64, 96)) <= 5
    with pytest.raises(BadInput, match=r"allowed are .mp4, .mov, .mkv\."):
        VideoWriter(tmp_path / "a.webm", frame_rate=RATE, height=4, width=4)


def test_variable_times_are_kept(tmp_path: Path):
    times = [0.0, 0.04, 0.1, 0.2, 0.23, 0.5]
    path = tmp_path / "a.mp4"
    with VideoWriter(path, frame_rate=RATE, height=64, width=96) as writer:
        for time_s in times:
            writer.write(_patches(64, 96), time_s)
        writer.write(_patches(64, 96))
    assert [f.time_s for f in iterate_frames(path)] == pytest.approx([*times, 0.54], abs=2e-5)


@pytest.mark.parametrize("times", [[0.1, 0.1], [-0.1], [float("nan")]])
def test_times_must_grow(tmp_path: Path, times: list[float]):
    def write_all() -> None:
        with VideoWriter(tmp_path / "a.mp4", frame_rate=RATE, height=64, width=96) as writer:
            for time_s in times:
                writer.write(_patches(64, 96), time_s)

    with pytest.raises(BadInput, match="to show a frame at"):
        write_all()
    assert list(tmp_path.iterdir()) == []


def test_the_writer_reports_clamping(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=RATE, height=4, width=4) as writer:
        assert writer.write(torch.full((3, 4, 4), 1.1)) == 1
        assert writer.write(torch.full((3, 4, 4), 1.0)) == 0


@pytest.mark.parametrize(
    ("name", "height", "width", "rate", "message"),
    [
        ("a.avi", 4, 4, RATE, r"suffix '.avi', and allowed are .mp4"),
        ("a.mp4", 5, 4, RATE, "5 x 4, and even sizes"),
        ("a.mp4", 4, 0, RATE, "4 x 0, and even sizes"),
        ("a.mp4", 4, 4, Fraction(0), "more than 0 is allowed"),
        ("no/a.mp4", 4, 4, RATE, "folder .* does not exist"),
        ("a.mp4", 4, 4, RATE, "at least one frame"),
    ],
)
def test_videos_that_cannot_be_written(
    tmp_path: Path, name: str, height: int, width: int, rate: Fraction, message: str
):
    def write_nothing() -> None:
        with VideoWriter(tmp_path / name, frame_rate=rate, height=height, width=width):
            pass

    with pytest.raises(BadInput, match=message):
        write_nothing()
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_another_size(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=RATE, height=64, width=96) as writer:
        writer.write(_patches(64, 96))
        with pytest.raises(BadInput, match="64 x 96, and one of 96 x 64 was given"):
            writer.write(_patches(96, 64))
    with pytest.raises(RuntimeError, match="outside"):
        writer.write(_patches(64, 96))


# The luma, blue and red difference of pure red, from the standards' own equations.
_RED_WEIGHT = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def _pure_red(matrix: int, full: bool) -> tuple[int, int, int]:
    red, blue = _RED_WEIGHT[matrix]
    scale = (255, 255) if full else (219, 224)
    offset = 0 if full else 16
    return (
        round(offset + scale[0] * red),
        round(128 + scale[1] * -red / (2 * (1 - blue))),
        min(255, round(128 + scale[1] * 0.5)),
    )


@pytest.mark.parametrize(
    ("tag", "matrix", "full"),
    [(1, 1, False), (1, 1, True), (5, 5, True), (6, 5, False), (9, 9, False), (2, 5, False)],
)
def test_colours_follow_the_streams_own_matrix_and_range(tmp_path: Path, tag: int, matrix: int, full: bool):
    planes = np.stack([np.full((32, 48), value, np.uint8) for value in _pure_red(matrix, full)])
    tags = {"colorspace": tag, "color_range": 2 if full else 1}
    path = _encode(tmp_path / "a.mp4", [planes], "libx264", "yuv444p", (32, 48), **tags)
    colour = next(iterate_frames(path)).image[:, 16, 24]
    assert torch.allclose(colour, torch.tensor([1.0, 0.0, 0.0]), atol=3 / 255)


def test_untagged_high_definition_is_taken_as_bt709(tmp_path: Path):
    planes = np.stack([np.full((720, 64), value, np.uint8) for value in _pure_red(1, False)])
    path = _encode(tmp_path / "a.mp4", [planes], "libx264", "yuv444p", (720, 64))
    colour = next(iterate_frames(path)).image[:, 16, 24]
    assert torch.allclose(colour, torch.tensor([1.0, 0.0, 0.0]), atol=3 / 255)


def test_rgb_and_grey_videos(tmp_path: Path):
    pixels = _noise(32, 48)
    path = _encode(tmp_path / "a.mkv", [pixels], "libx264rgb", "rgb24", (32, 48))
    assert torch.equal(next(iterate_frames(path)).image, _as_tensor(pixels))
    for value, color_range, expected in ((235, 1, 1.0), (16, 1, 0.0), (51, 2, 0.2)):
        grey = np.full((32, 48), value, np.uint8)
        path = _encode(tmp_path / "g.mp4", [grey], "libx264", "gray", (32, 48), color_range=color_range)
        assert next(iterate_frames(path)).image.mean() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("pix_fmt", "full"),
    [("yuv444p10le", False), ("yuv444p10le", True), ("gbrp10le", True), ("gray10le", True)],
)
def test_10_bit_video_keeps_its_precision(tmp_path: Path, pix_fmt: str, full: bool):
    first, last = (0, 1023) if full else (64, 940)
    width = last - first + 1
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 4, width, pix_fmt
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame(width, 4, pix_fmt)
        frame.color_range = 2 if full else 1
        for index, plane in enumerate(frame.planes):
            rows = np.full((4, plane.line_size // 2), 512, np.uint16)
            if index == 0 or pix_fmt.startswith("gbr"):
                rows[:, :width] = np.arange(first, last + 1)
            plane.update(rows.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = next(iterate_frames(path)).image
    assert torch.allclose(image, torch.linspace(0, 1, width).expand(3, 4, width), atol=2e-4)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int):
    upright = _patches(64, 96) if degrees % 180 == 0 else _patches(96, 64)
    # Stored turned counter-clockwise, to be shown turned clockwise by as much.
    stored = torch.rot90(upright, degrees // 90, dims=(1, 2))
    _, height, width = stored.shape
    planes = media_write._yuv420(stored)
    path = tmp_path / "a.mp4"
    tags = {"colorspace": 1, "color_range": 1, "rotation": -degrees}
    _encode(path, [planes], "libx264", "yuv420p", (height, width), **tags)
    info = inspect(path)
    assert (info.rotation_degrees, info.height, info.width) == (degrees, *upright.shape[1:])
    assert _patch_error(next(iterate_frames(path)).image, upright) <= 3


def test_an_oblique_rotation_is_refused(tmp_path: Path):
    path = _encode(
        tmp_path / "a.mp4", [np.zeros((48, 32), np.uint8)], "libx264", "yuv420p", (32, 32), rotation=30
    )
    with pytest.raises(BadInput, match="oblique angle"):
        inspect(path)


def test_orientations_move_pixels_as_their_matrix_says():
    image = torch.arange(6.0).reshape(1, 2, 3)
    for each in orientation.EXIF_ORIENTATIONS.values():
        turned = each.apply(image)
        for y in range(2):
            for x in range(3):
                to_x, to_y = each.a * x + each.c * y, each.b * x + each.d * y
                # A negative coordinate counts from the far edge, as Python's does.
                to_x, to_y = to_x - (each.a + each.c < 0), to_y - (each.b + each.d < 0)
                assert turned[0, to_y, to_x] == image[0, y, x]
    assert orientation.Orientation.of_matrix(0, 0, 0, 0) is None


@pytest.mark.parametrize("size", [(33, 47), (1, 1)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]):
    planes = np.full((3, *size), 128, np.uint8)
    path = _encode(tmp_path / "a.mp4", [planes], "libx264", "yuv444p", size)
    assert next(iterate_frames(path)).image.shape == (3, *size)


# Clips ------------------------------------------------------------------------------------------------------


@pytest.fixture
def grey_steps(tmp_path: Path) -> Path:
    """Eight frames of 10, 20, ... 255ths."""
    frames = [torch.full((3, 32, 48), 10 * (index + 1) / 255) for index in range(8)]
    return _write(tmp_path / "steps.mp4", frames)


def test_stride_and_limit(grey_steps: Path):
    def levels(**options: int) -> list[int]:
        return [round(float(f.image.mean()) * 25.5) for f in iterate_frames(grey_steps, **options)]

    assert levels() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert levels(stride=3) == [1, 4, 7]
    assert levels(stride=2, limit=2) == [1, 3]
    assert levels(limit=0) == []
    for options in ({"stride": 0}, {"limit": -1}):
        with pytest.raises(BadInput, match="at least 1 and 0"):
            iterate_frames(grey_steps, **options)


def test_a_clip_repeats_along_the_batch_and_constants_stay_constant(grey_steps: Path):
    clip = read_clip(grey_steps, frames=3, stride=3, height=20, width=64, fit="resize", batch=2)
    assert clip.shape == (2, 3, 3, 20, 64)
    assert clip.is_contiguous()
    assert torch.equal(clip[0], clip[1])
    assert torch.allclose(clip.amax(dim=(2, 3, 4)), clip.amin(dim=(2, 3, 4)), atol=1e-6)
    assert clip[0].mean(dim=(1, 2, 3)).tolist() == pytest.approx([10 / 255, 40 / 255, 70 / 255], abs=2 / 255)


def test_too_few_frames(grey_steps: Path):
    with pytest.raises(BadInput, match="has 8 frames, and 4 frames with a stride of 3 take at least 10"):
        read_clip(grey_steps, frames=4, stride=3, height=8, width=8, fit="crop")


def test_a_crop_is_a_slice(tmp_path: Path):
    pixels = _as_tensor(_noise(13, 18))
    write_image(tmp_path / "a.png", pixels)
    clip = read_clip(tmp_path / "a.png", frames=1, height=6, width=8, fit="crop")
    assert torch.equal(clip[0, 0], pixels[:, 3:9, 5:13])
    same = read_clip(tmp_path / "a.png", frames=1, height=13, width=18, fit="resize")
    assert torch.equal(same[0, 0], pixels)
    with pytest.raises(BadInput, match="frames of 13 x 18, and a crop of 14 x 8 must be no larger"):
        read_clip(tmp_path / "a.png", frames=1, height=14, width=8, fit="crop")
    with pytest.raises(BadInput, match="'resize' and 'crop' are allowed"):
        read_clip(tmp_path / "a.png", frames=1, height=4, width=8, fit="pad")
    with pytest.raises(BadInput, match="has 1 frames, and 2 frames"):
        read_clip(tmp_path / "a.png", frames=2, height=4, width=8, fit="crop")


def test_resizing_is_antialiased_and_in_range(tmp_path: Path):
    # Stripes finer than the target must become grey, not one of the two colours.
    stripes = torch.zeros(3, 32, 32)
    stripes[:, :, ::2] = 1
    write_image(tmp_path / "a.png", stripes)
    small = read_clip(tmp_path / "a.png", frames=1, height=8, width=8, fit="resize")
    assert torch.allclose(small[..., 1:-1], torch.tensor(0.5), atol=0.05)
    large = read_clip(tmp_path / "a.png", frames=1, height=96, width=96, fit="resize")
    assert 0 <= float(large.min()) <= float(large.max()) <= 1


def test_no_warning_and_no_message_leaks(tmp_path: Path):
    """A process of its own, as FFmpeg writes to the real standard error."""
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(SAMPLE.read_bytes()[:30_000])
    program = (
        "import sys; from vsr_model import errors as video_errors, video\n"
        "for path in sys.argv[1:]:\n"
        "    try: video.read_clip(path, frames=2, height=8, width=8, fit='resize')\n"
        "    except video_errors.BadInput: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program, SAMPLE, tmp_path / "text.mp4", cut],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_shape_of_pixels_is_kept(tmp_path: Path, suffix: str):
    path = tmp_path / f"wide{suffix}"
    with VideoWriter(path, frame_rate=RATE, height=64, width=96, pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(torch.rand(3, 64, 96))
    assert inspect(path).pixel_aspect == Fraction(4, 3)


# What the header and the first frame tell ------------------------------------------------------------------


def _whole_255ths(image: Tensor) -> bool:
    return torch.equal((image * 255).round() / 255, image)


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "eight_bit"),
    [
        ("yuv420p", 1, True),
        ("yuv444p", 2, True),
        ("gray", 2, True),
        ("gray", 1, False),
        ("yuv420p10le", 1, False),
        ("gray10le", 2, False),
    ],
)
def test_values_of_eight_bits_are_told(tmp_path: Path, pix_fmt: str, color_range: int, eight_bit: bool):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pix_fmt
        stream.codec_context.color_range = color_range
        frame = av.VideoFrame(48, 32, pix_fmt)
        frame.color_range = color_range
        for plane in frame.planes:
            if "10" in pix_fmt:
                values = np.random.default_rng(0).integers(64, 940, plane.buffer_size // 2, dtype=np.uint16)
            else:
                values = np.random.default_rng(0).integers(16, 235, plane.buffer_size, dtype=np.uint8)
            plane.update(values.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert inspect(path).eight_bit == eight_bit
    assert _whole_255ths(next(iterate_frames(path)).image) == eight_bit


def test_pictures_of_eight_and_sixteen_bits_are_told(tmp_path: Path):
    write_image(tmp_path / "a.png", _as_tensor(_noise(9, 14)))
    deep = _png(tmp_path / "deep.png", np.full((4, 4, 3), 12345, np.uint16), colour_type=2)
    Image.fromarray(np.full((4, 4), 12345, np.uint16)).save(tmp_path / "grey.png")
    told = [inspect(path).eight_bit for path in (tmp_path / "a.png", deep, tmp_path / "grey.png")]
    assert told == [True, False, False]


@pytest.mark.parametrize(("transfer", "is_hdr"), [(1, False), (14, False), (16, True), (18, True)])
def test_high_dynamic_range_is_told(tmp_path: Path, transfer: int, is_hdr: bool):
    planes = np.full((3, 32, 48), 128, np.uint8)
    path = _encode(tmp_path / "a.mp4", [planes], "libx264", "yuv444p", (32, 48), color_trc=transfer)
    assert inspect(path).is_hdr == is_hdr


def test_interlacing_is_told(tmp_path: Path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct
        frame = av.VideoFrame.from_ndarray(np.full((48, 48), 128, np.uint8), format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "is interlaced" in inspect(tmp_path / "a.mp4").notes[0]
    assert inspect(SAMPLE).notes == ()


@pytest.mark.parametrize(("primaries", "said"), [(1, ""), (9, "BT.2020"), (12, "Display P3")])
def test_wide_colours_are_told(tmp_path: Path, primaries: int, said: str):
    planes = np.full((3, 32, 48), 128, np.uint8)
    path = _encode(tmp_path / "a.mp4", [planes], "libx264", "yuv444p", (32, 48), color_primaries=primaries)
    assert said in "".join(inspect(path).notes)
    assert len(inspect(path).notes) == bool(said)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1"])
def test_a_picture_in_heif_is_refused_by_name(tmp_path: Path, brand: bytes):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(8) + b"heic" + bytes(100))
    for read in (inspect, read_image):
        with pytest.raises(BadInput, match="is a picture in HEIF"):
            read(path)


def test_a_colour_profile_is_told(tmp_path: Path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png", icc_profile=profile)
    info = inspect(tmp_path / "rgb.png")
    assert (info.colour_profile, info.notes) == (profile, ())
    other = profile[:16] + b"CMYK" + profile[20:]
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.jpg", icc_profile=other)
    info = inspect(tmp_path / "cmyk.jpg")
    assert (info.colour_profile, info.notes) == (None, ("The colour profile was not applied.",))


def test_packets_are_counted_without_decoding(tmp_path: Path):
    path = _write(tmp_path / "a.mkv", [_patches(64, 96)] * 7)
    assert inspect(path).frame_count is None
    counts: list[int] = []
    assert count_packets(path, counts.append) == 7
    assert counts == [1, 2, 3, 4, 5, 6, 7]
    assert count_packets(SAMPLE) == 30
    write_image(tmp_path / "a.png", _patches(64, 96))
    assert count_packets(tmp_path / "a.png") == 1
    with pytest.raises(BadInput, match="does not exist"):
        count_packets(tmp_path / "missing.mp4")
