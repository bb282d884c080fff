"""Clips for a network, from a file."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media.reading import iterate_frames


def read_clip(
    path: str | Path,
    *,
    frames: int,
    stride: int = 1,
    height: int,
    width: int,
    fit: Literal["resize", "crop"],
    batch: int = 1,
) -> Tensor:
    """Return the first `frames` frames of every `stride`-th of `path`, as (batch, frames, 3, height, width).

    `fit` "resize" scales to the size with antialiased bicubic interpolation, aspect ratio not kept, and
    clamps its overshoot to [0, 1]; "crop" takes the centre, a pixel towards the top left where it cannot be
    exact. The clip is repeated along the batch. A picture is a clip of one frame. Frames are read as
    `iterate_frames` says. Raises BadInput where the file has too few frames or a frame is smaller than the
    crop, and as `iterate_frames` does.
    """
    images = [frame.image for frame in iterate_frames(path, stride=stride, limit=frames)]
    if len(images) < frames:
        needed = (frames - 1) * stride + 1
        raise BadInput(
            f"{path} has {sum(1 for _ in iterate_frames(path))} frames,"
            f" and {frames} frames with a stride of {stride} take at least {needed}."
        )
    fitted = [(_resized if fit == "resize" else _cropped)(path, image, height, width) for image in images]
    return torch.stack(fitted).repeat(batch, 1, 1, 1, 1)


def _resized(_path: str | Path, image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    resized = F.interpolate(image[None], (height, width), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)


def _cropped(path: str | Path, image: Tensor, height: int, width: int) -> Tensor:
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    if min(top, left) < 0:
        raise BadInput(
            f"{path} has frames of {image.shape[1]} x {image.shape[2]},"
            f" and a crop of {height} x {width} must be no larger."
        )
    return image[:, top : top + height, left : left + width]
