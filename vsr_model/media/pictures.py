"""Picture files, animated ones too, to float32 RGB, through Pillow; deep PNG through FFmpeg."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vsr_model.errors import BadInput
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
    image = picture_rgb(path, picture)
    orientation = _orientation(picture)
    times = picture_times(path, picture)
    count = len(times) - 1
    profile = picture.info.get("icc_profile")
    is_rgb = profile is not None and profile[_PROFILE_SPACE] == b"RGB "
    return MediaInfo(
        path=path,
        kind="video" if count > 1 else "image",
        width=image.shape[2],
        height=image.shape[1],
        frame_count=count,
        frame_rate=count / times[-1] if count > 1 else None,
        turned=orientation != UPRIGHT,
        eight_bit=picture.mode in _MODES_8_BIT and not _is_deep_png(path, picture),
        colour_profile=profile if is_rgb else None,
        notes=("The colour profile was not applied.",) if profile and not is_rgb else (),
    )


def picture_rgb(path: Path, picture: Image.Image) -> Tensor:
    """Return the frame that `picture` stands at, as (3, h, w), upright."""
    with _quiet():
        picture.load()
        # Pillow keeps 8 of the 16 bits of a colour PNG, FFmpeg's decoder keeps all. `load` has checked
        # that the file is whole, where FFmpeg would make up what is missing.
        samples = _deep_png(path) if _is_deep_png(path, picture) else _pillow_samples(path, picture)
    if samples.shape[2] == 4 and (samples[:, :, 3] < 1).any():
        raise BadInput(f"{path} has transparent pixels, and must be flattened onto a background first.")
    image = torch.from_numpy(samples[:, :, :3]).permute(2, 0, 1)
    return _orientation(picture).apply(image).contiguous()


def _orientation(picture: Image.Image) -> Orientation:
    with _quiet():
        return EXIF_ORIENTATIONS.get(picture.getexif().get(_EXIF_ORIENTATION, 1), UPRIGHT)


def _is_deep_png(path: Path, picture: Image.Image) -> bool:
    if picture.format != "PNG" or _picture_count(path, picture) > 1:
        return False
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # the bit depth in the header chunk, which comes first


def _deep_png(path: Path) -> np.ndarray:
    with av.open(f"file:{path}", format="png_pipe", metadata_errors="replace") as container:
        frame = next(container.decode(video=0))
        samples = frame.reformat(format="rgba64le").to_ndarray()
    return samples.astype(np.float32) / np.float32(65535)


def _pillow_samples(path: Path, picture: Image.Image) -> np.ndarray:
    """Return (h, w, 3 or 4) float32 in [0, 1]."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.float32)
        if grey.min() < 0 or grey.max() > 65535:
            raise BadInput(f"{path} has grey values beyond 16 bits, and 1 to 16 bits a sample are read.")
        return np.repeat(grey[:, :, None] / np.float32(65535), 3, axis=2)
    if picture.mode not in _MODES_8_BIT:
        raise BadInput(
            f"{path} has samples of Pillow's mode {picture.mode}, and integer RGB or grey is read."
        )
    converted = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return np.asarray(converted).astype(np.float32) / np.float32(255)
