"""Picture files, animated ones too, to float32 RGB, through Pillow; deep PNG and TIFF through FFmpeg."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media.colour import ADOBE_RGB, SRGB, SRGB_COLOUR, Colour, rgb_profile
from vsr_model.media.info import MediaInfo, check_size, refusing
from vsr_model.media.orientation import EXIF_ORIENTATIONS, UPRIGHT, Orientation

PICTURE_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Pillow's names of the formats that are read. Its MPEG reader, for one, is a header and no decoder."""

MAX_ANIMATED_PIXELS = 2**31
"""Pixels of all frames of an animated picture, which are decoded to learn its times: 1,000 frames at
1920 x 1080. An empty frame of any size takes twenty bytes of a file."""

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_DELAY_IF_NONE_MS = 100  # what browsers show for a frame that states no delay
_MODES_8_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_EXIF_ORIENTATION = 0x0112
_PROFILE_SPACE = slice(16, 20)  # of an ICC profile's header
_CONVERTED_MODES = {b"GRAY": "L", b"CMYK": "CMYK"}
_PROFILE_OF_GIF = b"ICCRGBG1012"
_SEARCHED_BYTES = 1 << 20  # of a file; what describes a picture is at its beginning
_DISPLAY_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.005  # in a PNG of sRGB, by custom
_ADOBE_GAMMA = 563 / 256
_DEEP_FORMATS = {"PNG": "png_pipe", "TIFF": "tiff_pipe"}
"""FFmpeg's demuxers by Pillow's names of formats."""


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image | None]:
    """Open the picture in `path`; give None where Pillow knows no picture in it."""
    with refusing(path):
        try:
            with _quiet():
                Image.init()
                picture = Image.open(path, formats=[name for name in PICTURE_FORMATS if name in Image.OPEN])
        except UnidentifiedImageError:
            yield None
            return
        with picture:
            check_size(path, picture.width, picture.height)
            yield picture


@contextmanager
def _quiet() -> Iterator[None]:
    # Damaged metadata and large sizes warn; what matters of them is refused in sentences of our own.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _picture_count(path: Path, picture: Image.Image) -> int:
    """Return how many frames an animated picture has, else 1; refuse several pages, and too much."""
    if picture.format == "MPO":
        return 1  # the further pictures of a camera's multi-picture JPEG are previews and depth maps
    with _quiet():
        count = int(getattr(picture, "n_frames", 1))
    if count > 1 and picture.format not in _ANIMATED:
        raise BadInput(f"{path} has {count} pages, and a file with a single picture is expected.")
    if count > 1 and count * picture.width * picture.height > MAX_ANIMATED_PIXELS:
        raise BadInput(
            f"{path} has {count} frames of {picture.height} x {picture.width} pixels, and at most"
            f" {MAX_ANIMATED_PIXELS} pixels of an animated picture are read."
        )
    return count


def picture_times(path: Path, picture: Image.Image) -> list[Fraction]:
    """Return when each frame of an animated picture begins, and last when the last one ends, in seconds."""
    times = [Fraction(0)]
    for index in range(_picture_count(path, picture)):
        with _quiet():
            picture.seek(index)
            picture.load()  # WebP states the delay only once the frame is decoded
        delay_ms = picture.info.get("duration") or _DELAY_IF_NONE_MS
        times.append(times[-1] + Fraction(delay_ms).limit_denominator(1000) / 1000)
    return times


def inspect_picture(path: Path, picture: Image.Image) -> MediaInfo:
    """Return the picture's description, after decoding it."""
    _picture_count(path, picture)  # refuses too much of it before any of it is decoded
    bits = _stored_bits(path, picture)
    samples = _samples(path, picture)
    orientation = _orientation(picture)
    image = _rgb(path, samples, orientation)
    times = picture_times(path, picture)
    count = len(times) - 1
    return MediaInfo(
        path=path,
        kind="video" if count > 1 else "image",
        width=image.shape[2],
        height=image.shape[1],
        frame_count=count,
        frame_rate=count / times[-1] if count > 1 else None,
        turned=orientation != UPRIGHT,
        eight_bit=samples.dtype == np.uint8,
        bits=bits,
        colour=_colour(path, picture),
        notes=tuple(_notes(path, picture)),
    )


def _notes(path: Path, picture: Image.Image) -> Iterator[str]:
    profile = _profile(path, picture)
    if profile and profile[_PROFILE_SPACE] != b"RGB " and _srgb_transform(picture) is None:
        yield "The colour profile was not applied."
    if picture.format == "MPO":
        yield "The file's first picture was taken, without the others, such as a depth map or a second view."


def picture_rgb(path: Path, picture: Image.Image) -> Tensor:
    """Return the frame that `picture` stands at, as (3, h, w), upright."""
    return _rgb(path, _samples(path, picture), _orientation(picture))


def _rgb(path: Path, samples: np.ndarray, orientation: Orientation) -> Tensor:
    values = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    if values.shape[2] == 4 and (values[:, :, 3] < 1).any():
        raise BadInput(f"{path} has transparent pixels, and must be flattened onto a background first.")
    return orientation.apply(torch.from_numpy(values[:, :, :3]).permute(2, 0, 1)).contiguous()


def _orientation(picture: Image.Image) -> Orientation:
    with _quiet():
        return EXIF_ORIENTATIONS.get(picture.getexif().get(_EXIF_ORIENTATION, 1), UPRIGHT)


# Samples ----------------------------------------------------------------------------------------------------


def _stored_bits(path: Path, picture: Image.Image) -> int:
    """Return the bits of a stored sample. Call it before the picture is decoded."""
    if picture.format == "PNG":
        return _png_chunk(path, b"IHDR")[8]
    if picture.format == "AVIF" and (bits := _avif_property(path, b"pixi")):
        return bits[5]
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(max(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))))
    if isinstance(picture, PpmImagePlugin.PpmImageFile) and isinstance(picture.tile[0].args, tuple):
        return int(picture.tile[0].args[1]).bit_length()  # of the largest value, which the header states
    return 16 if picture.mode == "I" or picture.mode.startswith("I;16") else 8


def _samples(path: Path, picture: Image.Image) -> np.ndarray:
    """Return the frame that `picture` stands at, as (h, w, 3 or 4) of uint8, or uint16 where it is deeper."""
    with _quiet():
        picture.load()
        deep = _deep_samples(path, picture)
        if deep is not None and picture.mode == "I;16" and picture.has_transparency_data:
            return deep
        if picture.mode == "I" or picture.mode.startswith("I;16"):
            grey = np.asarray(picture)
            if grey.min() < 0 or grey.max() > 65535:
                raise BadInput(f"{path} has grey values beyond 16 bits, and 1 to 16 bits a sample are read.")
            return np.repeat(grey.astype(np.uint16)[:, :, None], 3, axis=2)
        if picture.mode not in _MODES_8_BIT:
            raise BadInput(
                f"{path} has samples of Pillow's mode {picture.mode}, and integer RGB or grey is read."
            )
        transform = _srgb_transform(picture)
        if transform is not None:
            return np.asarray(transform.apply(picture))
        samples = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    # Only what agrees in the bits that both keep: FFmpeg's decoder of TIFF knows fewer kinds.
    if deep is not None and np.array_equal(deep[:, :, :3] >> 8, samples[:, :, :3]):
        return deep
    return samples


def _deep_samples(path: Path, picture: Image.Image) -> np.ndarray | None:
    """Return (h, w, 4) of a picture of 16 bits in colour, of which Pillow keeps 8 and FFmpeg all."""
    form = _DEEP_FORMATS.get(picture.format or "")
    if form is None or _stored_bits(path, picture) != 16 or _picture_count(path, picture) > 1:
        return None
    try:
        with av.open(f"file:{path}", format=form, metadata_errors="replace") as container:
            return next(container.decode(video=0)).reformat(format="rgba64le").to_ndarray()
    except (av.FFmpegError, StopIteration):
        return None


# Colour -----------------------------------------------------------------------------------------------------


def _colour(path: Path, picture: Image.Image) -> Colour:
    if picture.format == "PNG" and len(numbers := _png_chunk(path, b"cICP")) >= 2:
        return Colour.of_numbers(numbers[0], numbers[1])  # which comes before a profile
    if profile := _profile(path, picture):
        return Colour(profile=profile if profile[_PROFILE_SPACE] == b"RGB " else None)
    if picture.format == "AVIF" and len(numbers := _avif_property(path, b"colrnclx")) >= 4:
        return Colour.of_numbers(*struct.unpack_from(">HH", numbers))
    if picture.format == "PNG" and "srgb" not in picture.info:
        gamma = picture.info.get("gamma") or _DISPLAY_GAMMA
        custom = abs(gamma - _DISPLAY_GAMMA) < _GAMMA_TOLERANCE
        chromaticities = picture.info.get("chromaticity", SRGB)
        return Colour(profile=rgb_profile(chromaticities, None if custom else 1 / gamma))
    with _quiet():
        interoperability = picture.getexif().get_ifd(ExifTags.IFD.Interop)
    if interoperability.get(ExifTags.Interop.InteropIndex) == "R03":
        return Colour(profile=rgb_profile(ADOBE_RGB, _ADOBE_GAMMA))  # as cameras write it, without a profile
    return SRGB_COLOUR


def _profile(path: Path, picture: Image.Image) -> bytes | None:
    """Return the embedded ICC profile, of any colour space."""
    if picture.format != "GIF":
        return picture.info.get("icc_profile")
    with path.open("rb") as file:
        start = file.read(_SEARCHED_BYTES)
    at = start.find(_PROFILE_OF_GIF)
    if at < 0:
        return None
    at, profile = at + len(_PROFILE_OF_GIF), b""
    while at < len(start) and (length := start[at]):  # of a block
        profile += start[at + 1 : at + 1 + length]
        at += 1 + length
    return profile


def _srgb_transform(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the way to sRGB by the profile of a picture in grey or CMYK; None where there is none."""
    profile = picture.info.get("icc_profile") or b""
    if _CONVERTED_MODES.get(profile[_PROFILE_SPACE]) != picture.mode:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), picture.mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _png_chunk(path: Path, name: bytes) -> bytes:
    """Return the start of the data of a PNG's chunk before the image; nothing where there is none."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4])
            if head[4:] == name:
                return file.read(min(length, 16))
            file.seek(length + 4, io.SEEK_CUR)
    return b""


def _avif_property(path: Path, name: bytes) -> bytes:
    """Return the start of the data of the first property of a name; nothing where there is none."""
    with path.open("rb") as file:
        start = file.read(_SEARCHED_BYTES)
    at = start.find(name)
    return b"" if at < 0 else start[at + len(name) :][:16]
