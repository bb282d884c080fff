"""What a clip weighs on its way to the device and back. Pure."""

from typing import Final

SCALE: Final = 4
"""The output's height and width, in the input's (BasicVSR.facts.scale, which costs torch to import)."""

BYTES_PER_PIXEL: Final = 12
"""RGB in float32."""


def clip_bytes(batch: int, frames: int, height: int, width: int) -> int:
    """Of the frames that go in."""
    return BYTES_PER_PIXEL * batch * frames * height * width


def output_bytes(batch: int, frames: int, height: int, width: int) -> int:
    """Of the frames that come out."""
    return clip_bytes(batch, frames, SCALE * height, SCALE * width)
