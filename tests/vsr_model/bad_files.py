"""Checkpoints, pictures and videos that must be refused, made byte by byte, with their refusals."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import av
import numpy as np
import torch
from PIL import Image

from tests.networks import build_basicvsr

CANARY: Final = "PWNED"
"""The file that hostile code would make in the current folder."""

Maker = Callable[[], bytes]
File = tuple[str, Maker, str]
"""A name for the file, what makes its bytes, and a pattern of the sentence."""


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


HOSTILE: Final = pickle.dumps(Hostile(), 2)


# Checkpoints, for a network of 4 channels and 1 block.


@cache
def weights() -> dict[str, torch.Tensor]:
    return dict(build_basicvsr(mid_channels=4, num_blocks=1, seed=0).state_dict())


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def with_all(change: Callable[[torch.Tensor], torch.Tensor]) -> Maker:
    return lambda: saved({name: change(tensor) for name, tensor in weights().items()})


def with_one(value: float) -> Maker:
    def make() -> bytes:
        name = "aggregation.fusion.bias"
        return saved({**weights(), name: torch.full_like(weights()[name], value)})

    return make


def with_name(name: str) -> Maker:
    return lambda: saved({**weights(), name: torch.zeros(1)})


VERSION: Final = ("a/version", b"3\n")


def bomb() -> bytes:
    entry = ("a/data.pkl", pickle.dumps({}, 2) + bytes(8 << 20))
    return archive(entry, VERSION, compression=zipfile.ZIP_DEFLATED)


def archive(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, content in entries:
            target.writestr(name, content)
    return buffer.getvalue()


def nested_in_itself() -> bytes:
    content: dict[str, Any] = {"w": torch.zeros(1)}
    for name in ("params", "module", "state_dict", "params_ema", "generator", "generator_ema", "_orig_mod"):
        content[name] = content
    return saved(content)


def safetensors(header: object, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(16)


def tensor(begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [begin, end]}


DAMAGED: Final = "is not a checkpoint, or it is damaged"
COULD_RUN: Final = "could run code"
UNFIT: Final = "does not fit the model"
ST: Final = "a.safetensors"
OLD_FORMAT: Final = {"_use_new_zipfile_serialization": False}

CHECKPOINTS: Final[dict[str, File]] = {
    "code in a pickle": ("a.pth", lambda: HOSTILE, COULD_RUN),
    "code beside weights": ("a.pth", lambda: saved({**weights(), "z": Hostile()}), COULD_RUN),
    "code in the old format": ("a.pth", lambda: saved(Hostile(), **OLD_FORMAT), COULD_RUN),
    "code in a bare archive": ("a.pth", lambda: archive(("a/data.pkl", HOSTILE), VERSION), COULD_RUN),
    "a pickle as safetensors": (ST, lambda: pickle.dumps(Hostile()), DAMAGED),
    "an empty file": ("a.pth", lambda: b"", DAMAGED),
    "a pointer of Git LFS": ("a.pth", lambda: b"version https://git-lfs.github.com/spec/v1\n", DAMAGED),
    "cut": ("a.pth", lambda: saved(weights())[:-1000], DAMAGED),
    "an empty archive": ("a.pth", archive, DAMAGED),
    "an archive that unpacks to much": ("a.pth", bomb, "unpacks to more than its"),
    "a pickle of a length beyond memory": ("a.pth", lambda: b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", DAMAGED),
    "a pickle nested deeply": ("a.pth", lambda: b"\x80\x02" + b"]" * 9999 + b"a" * 9998 + b".", DAMAGED),
    "a list": ("a.pth", lambda: saved([torch.zeros(1)]), "holds a list, not a state dict"),
    "nothing in it": ("a.pth", lambda: saved({}), "holds no weights"),
    "in itself seven times": ("a.pth", nested_in_itself, UNFIT),
    "another network": ("a.pth", lambda: saved(torch.nn.Conv2d(3, 3, 3).state_dict()), UNFIT),
    "a wider network": ("a.pth", lambda: saved(build_basicvsr(8, 1, seed=0).state_dict()), "wrongly shaped"),
    "not a number": ("a.pth", with_one(float("nan")), "not finite: aggregation.fusion.bias"),
    "beyond float32": ("a.pth", with_all(lambda t: t.double() * 1e300), "not finite"),
    "complex": ("a.pth", with_all(lambda t: t.to(torch.complex64)), "not dense numbers"),
    "sparse": ("a.pth", with_all(lambda t: t.to_sparse()), "not dense numbers|damaged"),
    "10^12 values": ("a.pth", with_all(lambda _: torch.zeros(1).expand(10**6, 10**6)), "wrongly shaped"),
    "a name that colours a terminal": ("a.pth", with_name("\x1b[31m\nred"), r"\\x1b"),
    "a name of 100,000 letters": ("a.pth", with_name("a" * 10**5), r"unexpected: a+\.\.\.a+"),
    "safetensors, a longer header": (ST, lambda: safetensors({}, length=10**8), DAMAGED),
    "safetensors, overlap": (ST, lambda: safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}), DAMAGED),
    "safetensors, beyond the file": (ST, lambda: safetensors({"a": tensor(0, 2**62)}), DAMAGED),
}  # fmt: skip


# Pictures and videos.


def png(width: int, height: int, data: bytes, *, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + lines + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif(width: int, height: int, frames: int) -> bytes:
    """An animation whose frames hold one pixel each."""
    frame = b"!\xf9\4\0\0\0\0\0," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2L\1\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + b"\0\0\0\xff\xff\xff"
        + frame * frames
        + b";"
    )


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@cache
def encoded(suffix: str, codec: str) -> bytes:
    """Six frames of noise, 32 x 24."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    with av.open(buffer, "w", format=suffix) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(6):
            pixels = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def box(name: bytes, skip: int, value: bytes) -> Maker:
    """An MP4 with other bytes so far behind the name of a box."""

    def make() -> bytes:
        data = encoded("mp4", "mpeg4")
        at = data.index(name) + 4 + skip
        return data[:at] + value + data[at + len(value) :]

    return make


def large_avi() -> bytes:
    data = encoded("avi", "rawvideo")
    at = data.index(b"strf") + 12
    return data[:at] + struct.pack("<ii", 60_000, 60_000) + data[at + 8 :]


def picture(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, form, **options)
    return buffer.getvalue()


def two_pages() -> bytes:
    return picture("TIFF", save_all=True, append_images=[Image.new("RGB", (4, 4))])


HUGE: Final = struct.pack(">I", 0x7FFFFFFF)
MANY_FRAMES: Final = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
Y4M_HEADER: Final = b"YUV4MPEG2 W100000 H100000 F25:1 C420\nFRAME\n"
IVF_HEADER: Final = b"DKIF\0\0\x20\0VP80" + struct.pack(
    "<HHIIIIIQ", 65535, 65535, 30, 1, 2**32 - 1, 0, 2**31 - 1, 0
)
NO_MEDIA: Final = "no picture or video"
TOO_LARGE: Final = "pixels, and at most|pixels\\) exceeds limit"
BROKEN: Final = "cannot be decoded|no picture or video|cut short|damaged|no frame|no video stream"
ANY: Final = f"{TOO_LARGE}|{BROKEN}"

MEDIA: Final[dict[str, File]] = {
    "a text": ("a.mp4", lambda: b"hello world\n" * 100, NO_MEDIA),
    "an empty file": ("a.png", lambda: b"", "is empty"),
    "SVG": ("a.svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/x"/></svg>', NO_MEDIA),
    "a playlist": ("a.m3u8", lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", NO_MEDIA),
    "a PNG of 60,000 x 60,000": ("a.png", lambda: png(60_000, 60_000, bytes(1000)), TOO_LARGE),
    "a PNG of no size": ("a.png", lambda: png(0, 0, b""), BROKEN),
    "a GIF of 25 large frames in 1 KB": ("a.gif", lambda: gif(9400, 9400, 25), "pixels of an animated"),
    "a BMP of 30,000 x 30,000": ("a.bmp", lambda: bmp(30_000, 30_000), TOO_LARGE),
    "a PPM beyond all numbers": ("a.ppm", lambda: b"P6\n99999999999 99999999999\n255\nx", ANY),
    "a TIFF of two pages": ("a.tiff", two_pages, "2 pages, and a file with a single picture"),
    "a picture in HEIF": ("a.HEIC", lambda: b"\0\0\0\x18ftypmif1" + bytes(120), "a picture in HEIF"),
    "a JPEG cut short": ("a.jpg", lambda: picture("JPEG")[:400], BROKEN),
    "an MP4 of samples beyond the file": ("a.mp4", box(b"stco", 8, HUGE), BROKEN),
    "raw video of 100,000 x 100,000": ("a.y4m", lambda: Y4M_HEADER + bytes(1000), BROKEN),
    "IVF of 65,535 x 65,535": ("a.ivf", lambda: IVF_HEADER, BROKEN),
    "an AVI of 60,000 x 60,000": ("a.avi", large_avi, ANY),
}  # fmt: skip
LYING: Final[dict[str, File]] = {
    "a PNG that announces frames": ("a.png", lambda: png(16, 16, bytes(784), extra=MANY_FRAMES), ""),
    "an MP4 whose index is empty": ("a.mp4", box(b"moov", -8, struct.pack(">I", 8)), ""),
    "an MP4 of another size": ("a.mp4", box(b"tkhd", 76, struct.pack(">II", 65535 << 16, 65535 << 16)), ""),
    "an MP4 of 2^31 frames": ("a.mp4", box(b"stsz", 8, HUGE), ""),
    "an MP4 of one frame 2^31 times": ("a.mp4", box(b"stts", 8, HUGE), ""),
}  # fmt: skip
"""Headers that lie: the file is refused, or its real content is read."""
