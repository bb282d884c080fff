"""Clips for the network: of noise, from a file at a given size, and a texture whose motion is known."""

import math
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media_read import iterate_frames

Fit = Literal["resize", "crop"]

BACKGROUND_MOTION = (1, 2)
SQUARE_MOTION = (0, -3)
DISC_MOTION = (-2, 0)
"""Pixels that each part of `moving_texture` moves down and right per frame."""

_WAVES = 12  # enough that no patch of the texture looks like another


def random_clip(*, batch: int, frames: int, height: int, width: int, seed: int) -> Tensor:
    """Uniform noise (batch, frames, 3, height, width), float32 in [0, 1).

    It depends on the arguments alone: the generator is its own, and draws on one thread. The first frames of
    a longer clip of the same seed are in general other frames. Raises BadInput for a size below 1.
    """
    _check_positive(batch=batch, frames=frames, height=height, width=width)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, frames, 3, height, width), generator=generator)


def read_clip(
    path: str | Path, *, frames: int, stride: int = 1, height: int, width: int, fit: Fit, batch: int = 1
) -> Tensor:
    """The first `frames` frames of every `stride`-th of `path`, as (batch, frames, 3, height, width).

    `fit` "resize" scales to the size with antialiased bicubic interpolation, aspect ratio not kept, and
    clamps its overshoot to [0, 1]; "crop" takes the centre, a pixel towards the top left where it cannot be
    exact. The clip is repeated along the batch. A picture is a clip of one frame. Frames are read as
    `iterate_frames` says. Raises BadInput where the file has too few frames or a frame is smaller than the
    crop, and as `iterate_frames` does.
    """
    _check_positive(batch=batch, frames=frames, height=height, width=width)
    if fit not in ("resize", "crop"):
        raise BadInput(f"fit is {fit!r}, and 'resize' and 'crop' are allowed.")
    fitted = [
        _fitted(path, frame.image, height, width, fit)
        for frame in iterate_frames(path, stride=stride, limit=frames)
    ]
    if len(fitted) < frames:
        needed = (frames - 1) * stride + 1
        raise BadInput(
            f"{path} has {sum(1 for _ in iterate_frames(path))} frames,"
            f" and {frames} frames with a stride of {stride} take at least {needed}."
        )
    return torch.stack(fitted).repeat(batch, 1, 1, 1, 1)


def _fitted(path: str | Path, image: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    _, have_height, have_width = image.shape
    if (have_height, have_width) == (height, width):
        return image
    if fit == "resize":
        size = (height, width)
        resized = F.interpolate(image[None], size, mode="bicubic", antialias=True, align_corners=False)
        return resized[0].clamp(0, 1)
    if have_height < height or have_width < width:
        raise BadInput(
            f"{path} has frames of {have_height} x {have_width},"
            f" and a crop of {height} x {width} must be no larger."
        )
    top, left = (have_height - height) // 2, (have_width - width) // 2
    return image[:, top : top + height, left : left + width]


def moving_texture(frames: int, height: int, width: int, seed: int) -> Tensor:
    """(frames, 3, height, width) float32 RGB in [0, 1]: texture in motion, with whole pixels per frame.

    A green and sand-coloured background, a red square before it and a blue disc before both move by
    `BACKGROUND_MOTION`, `SQUARE_MOTION` and `DISC_MOTION`, each wrapping around at the edges, so that
    forward and backward flow are known wherever nothing is uncovered. Raises BadInput for a size below 1.
    """
    _check_positive(frames=frames, height=height, width=width)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    size = min(height, width)

    def coloured(dark: tuple[float, float, float], light: tuple[float, float, float]) -> Tensor:
        shade = _periodic_texture(height, width, generator)
        return torch.lerp(torch.tensor(dark)[:, None, None], torch.tensor(light)[:, None, None], shade)

    background = coloured((0.10, 0.35, 0.20), (0.90, 0.85, 0.55))
    square = coloured((0.55, 0.02, 0.05), (1.00, 0.35, 0.25))
    disc = coloured((0.02, 0.08, 0.45), (0.25, 0.55, 1.00))
    in_square = (rows - height * 5 // 8).abs().maximum((columns - width * 5 // 8).abs()) < size // 6
    in_disc = (rows - height // 2) ** 2 + (columns - width // 4) ** 2 < (size // 5) ** 2

    def moved(layer: Tensor, motion: tuple[int, int], frame: int) -> Tensor:
        return layer.roll((motion[0] * frame, motion[1] * frame), dims=(-2, -1))

    clip = []
    for frame in range(frames):
        image = moved(background, BACKGROUND_MOTION, frame)
        for layer, mask, motion in ((square, in_square, SQUARE_MOTION), (disc, in_disc, DISC_MOTION)):
            image = torch.where(moved(mask, motion, frame), moved(layer, motion, frame), image)
        clip.append(image)
    return torch.stack(clip)


def _periodic_texture(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(height, width) in [0, 1]: random waves with whole periods along both axes, so that it wraps around."""
    rows = torch.arange(height)[:, None] / height
    columns = torch.arange(width)[None, :] / width
    highest = max(
        2, min(height, width) // 10
    )  # the shortest wave is ten pixels: it survives 4:2:0 and codecs
    cycles = torch.randint(-highest, highest + 1, (_WAVES, 2), generator=generator)
    phases = torch.rand(_WAVES, generator=generator)
    waves = [
        torch.cos(2 * math.pi * (down * rows + right * columns + phase))
        for (down, right), phase in zip(cycles.tolist(), phases.tolist(), strict=True)
    ]
    # The tanh spreads a sum of waves, which is mostly near its mean, over the whole range.
    return (torch.tanh(torch.stack(waves).sum(dim=0) / math.sqrt(_WAVES / 2)) + 1) / 2


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise BadInput(f"{name} is {value}, and 1 or more is allowed.")
