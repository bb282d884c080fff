"""Pictures and videos, read and written: real files made with Pillow, PyAV or byte by byte."""

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media import (
    VideoWriter,
    colour,
    count_packets,
    inspect,
    iterate_frames,
    read_clip,
    write_image,
    writing,
)

SAMPLE = Path(__file__).parents[2] / "configs" / "media" / "moving_texture.mp4"
RATE = Fraction(25)


def read_image(path: Path) -> Tensor:
    return next(iterate_frames(path)).image


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(pixels: np.ndarray, top: int = 255) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(top)).permute(2, 0, 1)


def deep_png(path: Path, samples: np.ndarray, colour_type: int) -> Path:
    """Write a 16-bit PNG byte by byte: no library here writes every kind."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


COLOURS = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0]]])
PATCHES = COLOURS.permute(2, 0, 1).repeat_interleave(32, 1).repeat_interleave(32, 2)
"""(3, 64, 96): red, green and blue above white, grey and black, so that each orientation differs."""


def patch_error(image: Tensor, expected: Tensor = PATCHES) -> float:
    """Return the largest error in 255ths away from where colours meet."""
    _, height, width = expected.shape
    points = (slice(None), slice(height // 12, None, height // 6), slice(width // 12, None, width // 6))
    return 255 * float((image[points] - expected[points]).abs().max())


def write(path: Path, images: Sequence[Tensor], rate: Fraction = RATE, **options: Any) -> Path:
    _, height, width = images[0].shape
    with VideoWriter(path, frame_rate=rate, height=height, width=width, **options) as writer:
        for image in images:
            writer.write(image)
    return path


def encode(
    path: Path, frame: av.VideoFrame | np.ndarray, codec: str, pix_fmt: str, *, rotation: int = 0, **tags: int
) -> Path:
    """Write a frame of given planes with given tags, which the project's own writer never does."""
    if isinstance(frame, np.ndarray):
        frame = av.VideoFrame.from_ndarray(frame, format=pix_fmt)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qp": "0"} if "x264" in codec else {})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            if name != "flags":
                setattr(frame, name, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# Pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".PNG"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str):
    pixels = as_tensor(noise(13, 17))
    path = tmp_path / f"picture{suffix}"
    assert write_image(path, pixels) == 0
    assert torch.equal(read_image(path), pixels)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    info = inspect(path)
    assert (info.kind, info.height, info.width, info.frame_count) == ("image", 13, 17, 1)
    assert (info.frame_rate, info.turned, info.eight_bit) == (None, False, True)


@pytest.mark.parametrize(
    ("header", "bits"),
    [(b"P6 2 2 65535\n", 16), (b"P6 2 2 1023\n", 10), (b"P6 2 2 255\n", 8), (b"P3 2 2 300\n", 9)],
)
def test_bits_that_are_not_read_are_counted(tmp_path: Path, header: bytes, bits: int):
    (tmp_path / "a.ppm").write_bytes(header + b"1 " * 12)
    assert (inspect(tmp_path / "a.ppm").bits, inspect(tmp_path / "a.ppm").eight_bit) == (bits, True)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("profile", [None, b"any" * 50])
def test_16_bits_are_written_where_a_picture_holds_them(tmp_path: Path, suffix: str, profile: bytes | None):
    samples = np.random.default_rng(0).integers(0, 65536, (9, 14, 3))
    image = as_tensor(samples, 65535)
    assert write_image(tmp_path / f"a{suffix}", image, profile, deep=True) == 0
    info = inspect(tmp_path / f"a{suffix}")
    assert (info.eight_bit, info.bits) == (False, 16)
    assert torch.equal(read_image(tmp_path / f"a{suffix}"), image)
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.info.get("icc_profile") == profile
        assert np.array_equal(np.asarray(picture), samples >> 8)


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


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_other_modes_become_rgb_and_transparency_is_refused(tmp_path: Path, mode: str):
    picture = Image.fromarray(noise(9, 14)).convert(mode)
    picture.save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(np.asarray(picture.convert("RGB"))))
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(np.full((9, 14), 254, dtype=np.uint8)))
        picture.save(tmp_path / "clear.png")
        with pytest.raises(BadInput, match="transparent pixels, and must be flattened"):
            read_image(tmp_path / "clear.png")


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bit_png_keeps_its_precision(tmp_path: Path, channels: int, colour_type: int):
    samples = np.random.default_rng(1).integers(0, 65536, (40, 40, channels), dtype=np.uint16)
    samples[0, :3, 0] = (0, 1, 65535)
    if channels in (2, 4):
        samples[:, :, -1] = 65535
    path = deep_png(tmp_path / "a.png", samples, colour_type)
    colours = samples[:, :, :1].repeat(3, axis=2) if channels < 3 else samples[:, :, :3]
    assert torch.equal(read_image(path), as_tensor(colours, 65535))
    assert not inspect(path).eight_bit
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(BadInput, match="cut short or damaged"):
        read_image(path)


def test_16_bit_grey_tiff(tmp_path: Path):
    grey = np.array([[0, 1, 256], [40_000, 65_534, 65_535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.tiff")
    assert torch.equal(read_image(tmp_path / "a.tiff"), as_tensor(grey[:, :, None].repeat(3, axis=2), 65535))
    assert not inspect(tmp_path / "a.tiff").eight_bit


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_jpeg_keeps_colours(tmp_path: Path, mode: str):
    picture = Image.fromarray((PATCHES * 255).byte().permute(1, 2, 0).numpy()).convert(mode)
    picture.save(tmp_path / "a.jpg", quality=98, subsampling=0)
    write_image(tmp_path / "b.jpg", PATCHES)
    assert max(patch_error(read_image(tmp_path / name)) for name in ("a.jpg", "b.jpg")) <= 3


@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, tag: int):
    picture = Image.fromarray((PATCHES * 255).byte().permute(1, 2, 0).numpy())
    exif = Image.Exif()
    exif[0x0112] = tag
    picture.save(tmp_path / "a.png", exif=exif)
    expected = as_tensor(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))))
    assert torch.equal(read_image(tmp_path / "a.png"), expected)
    info = inspect(tmp_path / "a.png")
    assert (info.height, info.width, info.turned) == (*expected.shape[1:], tag != 1)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animated_picture_is_a_video(tmp_path: Path, suffix: str):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [Image.new("RGB", (12, 10), colour) for colour in colours]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"a{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40, 80, 40], **options)
    info = inspect(path)
    assert (info.kind, info.frame_count, info.frame_rate) == ("video", 3, Fraction(3000, 160))
    frames = list(iterate_frames(path))
    assert [frame.time_s for frame in frames] == [0, 0.04, 0.12]
    for frame, rgb in zip(frames, colours, strict=True):
        assert torch.equal(frame.image[:, 5, 5] * 255, torch.tensor(rgb).float())


P3 = colour.Colour(primaries=12)
P3_PROFILE = P3.picture_profile() or b""


def png_chunks(path: Path, **chunks: bytes) -> None:
    """Write a PNG with chunks of its colour."""
    info = PngImagePlugin.PngInfo()
    for name, data in chunks.items():
        info.add(name.encode(), data)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def gif_with_profile(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    blocks = b"".join(
        bytes([len(part)]) + part
        for part in (P3_PROFILE[i : i + 255] for i in range(0, len(P3_PROFILE), 255))
    )
    at = 13 + 3 * (2 << (data[10] & 7)) if data[10] & 128 else 13
    path.write_bytes(data[:at] + b"!\xff\x0bICCRGBG1012" + blocks + b"\0" + data[at:])


def exif_adobe_rgb(path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {ExifTags.Interop.InteropIndex: "R03"}
    Image.new("RGB", (8, 8)).save(path, exif=exif)


def avif_with_numbers(path: Path, primaries: int, transfer: int) -> None:
    Image.new("RGB", (8, 8)).save(path)
    stated, wanted = (
        struct.pack(">8sHH", b"colrnclx", 1, 13),
        struct.pack(">8sHH", b"colrnclx", primaries, transfer),
    )
    assert stated in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(stated, wanted))


P3_CHROMATICITIES = struct.pack(">8I", *(round(100_000 * v) for v in colour._PRIMARIES[12]))
_SRGB_CHROMATICITIES = struct.pack(">8I", *(round(100_000 * v) for v in colour.SRGB))
_CUSTOM_GAMMA, _GAMMA_1 = struct.pack(">I", 45455), struct.pack(">I", 100_000)


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        *(
            (
                f"a{suffix}",
                lambda path: Image.new("RGB", (8, 8)).save(path, icc_profile=P3_PROFILE),
                P3_PROFILE,
            )
            for suffix in (".png", ".jpg", ".webp", ".tif", ".avif")
        ),
        ("a.gif", gif_with_profile, P3_PROFILE),
        ("a.png", lambda path: png_chunks(path, cICP=bytes([12, 13, 0, 1])), P3_PROFILE),
        ("a.png", lambda path: png_chunks(path, cHRM=P3_CHROMATICITIES, gAMA=_CUSTOM_GAMMA), P3_PROFILE),
        ("a.png", lambda path: png_chunks(path, cHRM=P3_CHROMATICITIES, sRGB=b"\0"), None),
        ("a.png", lambda path: png_chunks(path, cHRM=_SRGB_CHROMATICITIES, gAMA=_CUSTOM_GAMMA), None),
        ("a.png", lambda path: png_chunks(path, gAMA=_GAMMA_1), colour.rgb_profile(colour.SRGB, 1.0)),
        ("a.png", lambda path: png_chunks(path, cICP=bytes([1, 13, 0, 1])), None),
        ("a.jpg", exif_adobe_rgb, colour.rgb_profile(colour.ADOBE_RGB, 563 / 256)),
        ("a.avif", lambda path: avif_with_numbers(path, 12, 13), P3_PROFILE),
        ("a.avif", lambda path: avif_with_numbers(path, 1, 13), None),
        ("a.bmp", lambda path: Image.new("RGB", (8, 8)).save(path), None),
    ],
)
def test_what_the_values_of_a_picture_mean_is_known(
    tmp_path: Path, name: str, make: Any, expected: bytes | None
):
    make(tmp_path / name)
    info = inspect(tmp_path / name)
    assert (info.colour.picture_profile(), info.colour.is_hdr, info.notes) == (expected, False, ())


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.png", lambda path: png_chunks(path, cICP=bytes([9, 16, 0, 1]))),
        ("a.avif", lambda path: avif_with_numbers(path, 9, 18)),
    ],
)
def test_a_picture_in_hdr_is_known(tmp_path: Path, name: str, make: Any):
    make(tmp_path / name)
    assert inspect(tmp_path / name).colour.is_hdr


def grey_profile(gamma: float) -> bytes:
    curve = struct.pack(">4s4xIH", b"curv", 1, round(256 * gamma)) + b"\0\0"
    white = struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * value) for value in (0.9642, 1, 0.8249)))
    profile = bytearray(colour._profile_of({b"wtpt": white, b"kTRC": curve}))
    profile[16:20] = b"GRAY"
    return bytes(profile)


def test_grey_with_a_profile_becomes_srgb(tmp_path: Path):
    Image.new("L", (8, 8), 128).save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    info = inspect(tmp_path / "a.png")
    assert (info.colour, info.notes) == (colour.SRGB_COLOUR, ())
    assert read_image(tmp_path / "a.png").mean() == pytest.approx(188 / 255, abs=2 / 255)
    Image.new("LA", (8, 8), (128, 255)).save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    assert inspect(tmp_path / "a.png").notes == ("The colour profile was not applied.",)
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg", icc_profile=grey_profile(1.0))
    assert inspect(tmp_path / "a.jpg").notes == ("The colour profile was not applied.",)


# Frames in files of their own -------------------------------------------------------------------------------


def test_frames_in_files_are_a_video(tmp_path: Path):
    shades = [noise(9, 14, seed) for seed in range(11)]
    for index, pixels in enumerate(shades, start=1):
        write_image(tmp_path / f"im{index}.png", as_tensor(pixels))
    (tmp_path / "readme.txt").write_text("eleven frames")
    for path in (tmp_path, tmp_path / "im%d.png"):
        info = inspect(path)
        assert (info.path, info.kind, info.height, info.width, info.eight_bit) == (path, "video", 9, 14, True)
        assert (info.frame_count, info.frame_rate, len(info.notes)) == (11, None, int(path == tmp_path))
        frames = list(iterate_frames(path, stride=4, limit=2))
        assert [frame.time_s for frame in frames] == [0, 4 / 25]
        first, fifth = (frame.image for frame in frames)
        assert torch.equal(first, as_tensor(shades[0]))
        assert torch.equal(fifth, as_tensor(shades[4]))
        clip = read_clip(path, frames=11, height=9, width=14, fit="crop")
        assert torch.equal(clip[0], torch.stack([as_tensor(pixels) for pixels in shades]))
    with pytest.raises(BadInput, match=f"^{tmp_path} has 11 frames, and 12 frames with a stride of 1 take"):
        read_clip(tmp_path, frames=12, height=9, width=14, fit="crop")


def first_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def animated(path: Path) -> None:
    pictures = [Image.fromarray(noise(9, 14, seed)) for seed in range(2)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (
            lambda path: Image.fromarray(noise(9, 12)).save(path),
            "is of 9 x 12 and 1.png of 9 x 14, and frames",
        ),
        (lambda path: deep_png(path, noise(9, 14).astype(np.uint16), 2), "has another bit depth than 1.png"),
        (
            lambda path: Image.fromarray(noise(9, 14)).save(
                path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
            ),
            "has another colour profile than 1.png",
        ),
        (lambda path: Image.fromarray(noise(9, 14)).convert("LA").rotate(9).save(path), "transparent pixels"),
        (animated, "is animated, and a frame is a single picture"),
        (first_bytes, "cannot be decoded, it may be cut short or damaged"),
        (lambda path: path.write_text("no picture"), "is no picture of a kind that is read, or is damaged"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_a_frame_unlike_the_first_is_refused_by_name(tmp_path: Path, replace: Any, message: str):
    for index in range(1, 5):
        write_image(tmp_path / f"{index}.png", as_tensor(noise(9, 14, index)))
    replace(tmp_path / "3.png")
    assert len(list(iterate_frames(tmp_path, limit=2))) == 2
    with pytest.raises(BadInput, match=f"^{tmp_path / '3.png'} .*{message}"):
        list(iterate_frames(tmp_path))


# Files that are wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_truncated_pictures(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    write_image(path, as_tensor(noise(40, 40)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"a\."):
        inspect(path)


def test_a_video_cut_short(tmp_path: Path):
    whole = write(tmp_path / "whole.mp4", [as_tensor(noise(64, 64, i)) for i in range(6)]).read_bytes()
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


# Videos written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [(".mp4", RATE), (".mkv", RATE), (".mov", Fraction(30_000, 1001)), (".webm", Fraction(30_000, 1001))],
)
def test_a_video_keeps_its_rate_aspect_and_colours(tmp_path: Path, suffix: str, rate: Fraction):
    aspect = Fraction(4, 3) if suffix in (".mp4", ".mkv") else Fraction(1)
    path = write(tmp_path / f"a{suffix}", [PATCHES] * 5, rate, pixel_aspect=aspect)
    info = inspect(path)
    assert (info.height, info.width, info.frame_rate, info.notes) == (64, 96, rate, ())
    assert info.pixel_aspect == aspect
    assert info.frame_count == (5 if suffix in (".mp4", ".mov") else None)
    assert [count_packets(path), count_packets(path, 3)] == [5, 3]
    frames = list(iterate_frames(path))
    assert [f.time_s for f in frames] == pytest.approx([float(i / rate) for i in range(5)], abs=1e-3)
    assert max(patch_error(frame.image) for frame in frames) <= 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("primaries", [5, 6, 9, 12])
def test_the_meaning_of_values_goes_along(tmp_path: Path, suffix: str, primaries: int):
    meant = colour.Colour(primaries=primaries, transfer=14)
    path = write(tmp_path / f"a{suffix}", [PATCHES], colour=meant)
    assert inspect(path).colour == meant
    assert patch_error(read_image(path)) <= 3


def test_the_colour_tags_say_what_was_written(tmp_path: Path):
    path = write(tmp_path / "a.mp4", [PATCHES])
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        # Published BT.709 values of pure red in limited range.
        luma = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        assert abs(int(luma[12, 20]) - 63) <= 1


def test_a_missing_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(writing.VIDEO_FORMATS, ".mp4", ("mp4", "no-such-encoder", {}))
    with pytest.raises(BadInput, match="needs the encoder no-such-encoder, which this PyAV"):
        write(tmp_path / "a.mp4", [PATCHES])


def test_variable_times_are_kept(tmp_path: Path):
    times = [0.0, 0.04, 0.1, 0.2, 0.23, 0.5]
    path = tmp_path / "a.mp4"
    with VideoWriter(path, frame_rate=RATE, height=64, width=96) as writer:
        for time_s in times:
            assert writer.write(PATCHES, time_s) == 0
        assert writer.write(torch.full((3, 64, 96), 1.1)) == 1  # all of it was clamped
    assert [f.time_s for f in iterate_frames(path)] == pytest.approx([*times, 0.54], abs=2e-5)


@pytest.mark.parametrize(
    ("name", "size", "rate", "times", "message"),
    [
        ("a.avi", (64, 96), RATE, [], r"suffix '.avi', and allowed are .mp4"),
        ("a.mp4", (5, 96), RATE, [], "5 x 96, and even sizes"),
        ("a.mp4", (64, 0), RATE, [], "64 x 0, and even sizes"),
        ("a.mp4", (64, 96), Fraction(0), [], "more than 0 is allowed"),
        ("no/a.mp4", (64, 96), RATE, [], "folder .* does not exist"),
        ("a.mp4", (64, 96), RATE, [], "at least one frame"),
        ("a.mp4", (96, 64), RATE, [0.0], "96 x 64, and one of 64 x 96 was given"),
        ("a.mp4", (64, 96), RATE, [0.1, 0.1], "to show a frame at"),
        ("a.mp4", (64, 96), RATE, [-0.1], "to show a frame at"),
        ("a.mp4", (64, 96), RATE, [float("nan")], "to show a frame at"),
    ],
)
def test_videos_that_cannot_be_written(
    tmp_path: Path, name: str, size: tuple[int, int], rate: Fraction, times: list[float], message: str
):
    def write_all() -> None:
        with VideoWriter(tmp_path / name, frame_rate=rate, height=size[0], width=size[1]) as writer:
            for time_s in times:
                writer.write(PATCHES, time_s)

    with pytest.raises(BadInput, match=message):
        write_all()
    assert list(tmp_path.iterdir()) == []


# Videos read ------------------------------------------------------------------------------------------------


# The weights of red and blue in luma, from the standards.
_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize(
    ("tag", "matrix", "full", "height"),
    [
        (1, 1, False, 32),
        (1, 1, True, 32),
        (5, 5, True, 32),
        (6, 5, False, 32),
        (9, 9, False, 32),
        (2, 5, False, 32),  # untagged
        (2, 1, False, 720),
    ],
)
def test_colours_follow_the_streams_own_matrix_and_range(
    tmp_path: Path, tag: int, matrix: int, full: bool, height: int
):
    red, blue = _WEIGHTS[matrix]
    luma, chroma, offset = (255, 255, 0) if full else (219, 224, 16)
    pure_red = (offset + luma * red, 128 - chroma * red / (2 * (1 - blue)), min(255, 128 + chroma * 0.5))
    planes = np.stack([np.full((height, 48), round(value), np.uint8) for value in pure_red])
    tags = {"colorspace": tag, "color_range": 2 if full else 1}
    path = encode(tmp_path / "a.mp4", planes, "libx264", "yuv444p", **tags)
    colour = read_image(path)[:, 16, 24]
    assert torch.allclose(colour, torch.tensor([1.0, 0.0, 0.0]), atol=3 / 255)


def test_rgb_and_grey_videos(tmp_path: Path):
    pixels = noise(32, 48)
    path = encode(tmp_path / "a.mkv", pixels, "libx264rgb", "rgb24")
    assert torch.equal(read_image(path), as_tensor(pixels))
    for value, color_range, expected in ((235, 1, 1.0), (16, 1, 0.0), (51, 2, 0.2)):
        grey = np.full((32, 48), value, np.uint8)
        path = encode(tmp_path / "g.mp4", grey, "libx264", "gray", color_range=color_range)
        assert read_image(path).mean() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("pix_fmt", "full"),
    [("yuv444p10le", False), ("yuv444p10le", True), ("gbrp10le", True), ("gray10le", True)],
)
def test_10_bit_video_keeps_its_precision(tmp_path: Path, pix_fmt: str, full: bool):
    first, last = (0, 1023) if full else (64, 940)
    width = last - first + 1
    frame = av.VideoFrame(width, 4, pix_fmt)
    for index, plane in enumerate(frame.planes):
        rows = np.full((4, plane.line_size // 2), 512, np.uint16)
        if index == 0 or pix_fmt.startswith("gbr"):
            rows[:, :width] = np.arange(first, last + 1)
        plane.update(rows.tobytes())
    path = encode(tmp_path / "a.mkv", frame, "ffv1", pix_fmt, color_range=2 if full else 1)
    assert torch.allclose(read_image(path), torch.linspace(0, 1, width).expand(3, 4, width), atol=2e-4)
    assert not inspect(path).eight_bit


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "eight_bit"),
    [("yuv420p", 1, True), ("yuv444p", 2, True), ("gray", 2, True), ("gray", 1, False)],
)
def test_values_of_eight_bits_are_recognised(tmp_path: Path, pix_fmt: str, color_range: int, eight_bit: bool):
    frame = av.VideoFrame(48, 32, pix_fmt)
    for plane in frame.planes:
        plane.update(np.random.default_rng(0).integers(16, 235, plane.buffer_size, dtype=np.uint8).tobytes())
    path = encode(tmp_path / "a.mkv", frame, "ffv1", pix_fmt, color_range=color_range)
    image = read_image(path)
    assert inspect(path).eight_bit == torch.equal((image * 255).round() / 255, image) == eight_bit


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int):
    upright = PATCHES if degrees == 180 else torch.rot90(PATCHES, dims=(1, 2))
    # Stored turned counter-clockwise, to be shown turned clockwise by as much.
    planes = writing._yuv420(torch.rot90(upright, degrees // 90, dims=(1, 2)))
    tags = {"colorspace": 1, "color_range": 1, "rotation": -degrees}
    path = encode(tmp_path / "a.mp4", planes, "libx264", "yuv420p", **tags)
    info = inspect(path)
    assert (info.turned, info.height, info.width) == (True, *upright.shape[1:])
    assert patch_error(read_image(path), upright) <= 3


def test_an_oblique_rotation_is_refused(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", av.VideoFrame(48, 32, "yuv444p"), "libx264", "yuv444p", rotation=30)
    with pytest.raises(BadInput, match="oblique angle"):
        inspect(path)


@pytest.mark.parametrize("size", [(33, 47), (1, 1)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]):
    path = encode(tmp_path / "a.mp4", np.full((3, *size), 128, np.uint8), "libx264", "yuv444p")
    assert read_image(path).shape == (3, *size)


@pytest.mark.parametrize(
    ("tags", "primaries", "transfer", "is_hdr"),
    [
        ({}, 2, 2, False),
        ({"color_trc": 1, "color_primaries": 1}, 1, 1, False),
        ({"color_trc": 14, "color_primaries": 9}, 9, 14, False),
        ({"colorspace": 9}, 9, 2, False),
        ({"color_trc": 16}, 2, 16, True),
        ({"color_trc": 18}, 2, 18, True),
        ({"color_primaries": 12}, 12, 2, False),
        ({"color_primaries": 5}, 5, 2, False),
    ],
)
def test_what_the_values_of_a_video_mean_is_known(
    tmp_path: Path, tags: dict[str, int], primaries: int, transfer: int, is_hdr: bool
):
    info = inspect(encode(tmp_path / "a.mp4", av.VideoFrame(48, 32, "yuv444p"), "libx264", "yuv444p", **tags))
    assert info.colour == colour.Colour(primaries=primaries, transfer=transfer)
    assert (info.colour.is_hdr, info.notes) == (is_hdr, ())


def test_what_a_video_holds_beside_frames_and_sound_is_reported(tmp_path: Path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        packing = {"x264-params": "frame-packing=3"}
        stream = container.add_stream("libx264", rate=25, options=packing)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.add_attachment("a.ttf", "font/ttf", b"a font")
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 40, "time_base": Fraction(1, 1000), "metadata": {}}]
        )
        container.mux([*stream.encode(av.VideoFrame(64, 32, "yuv420p")), *stream.encode(None)])
    assert inspect(path).notes == (
        "The chapters and attachments were not copied.",
        "The video is stereoscopic (3D), which the output does not state.",
    )


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "qtrle", "argb")]
)
def test_transparency_of_a_video_is_reported(tmp_path: Path, name: str, codec: str, pix_fmt: str):
    path = encode(tmp_path / name, av.VideoFrame(48, 32, pix_fmt), codec, pix_fmt)
    assert inspect(path).notes == ("The video's transparency was left out.",)


def test_a_colour_matrix_that_is_not_read_is_refused(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", av.VideoFrame(48, 32, "yuv444p"), "libx264", "yuv444p", colorspace=8)
    with pytest.raises(BadInput, match="coded by the colour matrix 8"):
        inspect(path)


def test_interlacing_is_reported(tmp_path: Path):
    flags = int(av.codec.context.Flags.interlaced_dct)
    frame = av.VideoFrame(48, 32, "yuv420p")
    [note] = inspect(encode(tmp_path / "a.mp4", frame, "mpeg2video", "yuv420p", flags=flags)).notes
    assert "is interlaced" in note


def test_subtitles_are_reported(tmp_path: Path):
    (tmp_path / "in.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nHello\n")
    write(tmp_path / "plain.mkv", [PATCHES])
    with (
        av.open(str(tmp_path / "plain.mkv")) as given,
        av.open(str(tmp_path / "in.srt")) as text,
        av.open(str(tmp_path / "in.mkv"), "w") as target,
    ):
        sources = [given.streams[0], text.streams[0]]
        streams = [target.add_stream_from_template(source, opaque=True) for source in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in [packet for packet in source.container.demux(source) if packet.size]:
                packet.stream = stream
                target.mux(packet)
    assert inspect(tmp_path / "in.mkv").notes == ("The subtitles were not copied.",)


# Clips ------------------------------------------------------------------------------------------------------


def test_the_sample_is_read():
    info = inspect(SAMPLE)
    assert (info.kind, info.height, info.width, info.frame_count) == ("video", 128, 180, 30)
    assert (info.frame_rate, info.turned, info.has_audio) == (RATE, False, False)
    assert read_clip(SAMPLE, frames=30, height=128, width=180, fit="crop").shape == (1, 30, 3, 128, 180)


@pytest.fixture
def grey_steps(tmp_path: Path) -> Path:
    """Eight frames of 10, 20, ... 255ths."""
    return write(tmp_path / "a.mp4", [torch.full((3, 32, 48), 10 * (i + 1) / 255) for i in range(8)])


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
    with pytest.raises(BadInput, match="has 8 frames, and 4 frames with a stride of 3 take at least 10"):
        read_clip(grey_steps, frames=4, stride=3, height=8, width=8, fit="crop")


def test_pictures_are_cropped_or_resized(tmp_path: Path):
    def clip(height: int, width: int, fit: Any) -> Tensor:
        return read_clip(tmp_path / "a.png", frames=1, height=height, width=width, fit=fit)[0, 0]

    pixels = as_tensor(noise(13, 18))
    write_image(tmp_path / "a.png", pixels)
    assert torch.equal(clip(6, 8, "crop"), pixels[:, 3:9, 5:13])
    assert torch.equal(clip(13, 18, "resize"), pixels)
    with pytest.raises(BadInput, match="frames of 13 x 18, and a crop of 14 x 8 must be no larger"):
        clip(14, 8, "crop")
    # Stripes finer than the target become grey, and their overshoot is clamped.
    stripes = torch.zeros(3, 32, 32)
    stripes[:, :, ::2] = 1
    write_image(tmp_path / "a.png", stripes)
    assert torch.allclose(clip(8, 8, "resize")[..., 1:-1], torch.tensor(0.5), atol=0.05)
    large = clip(96, 96, "resize")
    assert 0 <= float(large.min()) <= float(large.max()) <= 1
