"""Decoded frames in a file, for a network that needs them in another order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from vsr_model.streaming.scratch_file import ScratchFile

_LEVELS: Final = np.float32(255)


class FrameSpool:
    """Frames (1, 3, height, width) of float32 in a `ScratchFile` in `folder`, in a `with` block.

    The space of `frames` frames is claimed at once; the file grows where more come. `eight_bit` promises that
    all values are whole numbers of 255ths, as those of most videos are: a quarter of the space then holds
    them. Frames are appended with `write`; the spool is a `FrameSource` of those that were written, bit for
    bit, for any thread.
    """

    # The arithmetic is numpy's: torch would start its threads, which spin while decoders need the cores.

    def __init__(
        self, folder: Path, *, height: int, width: int, frames: int = 0, eight_bit: bool = False
    ) -> None:
        self._shape = 3, height, width
        self._eight_bit = eight_bit
        self._frame_bytes = spool_frame_bytes(height=height, width=width, eight_bit=eight_bit)
        self._written = 0
        self._file = ScratchFile(folder, frames * self._frame_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(1, t, 3, h, w) of the frames written so far."""
        return 1, self._written, *self._shape

    def write(self, frame: Tensor) -> None:
        """Append `frame` (1, 3, h, w). Raises ValueError for another shape or dtype, and for values that are
        no 255ths where that was promised; OSError that names the folder where its disk is full."""
        if frame.shape != (1, *self._shape) or frame.dtype != torch.float32:
            raise ValueError(
                f"The spool holds frames of shape {(1, *self._shape)} in torch.float32, not"
                f" {tuple(frame.shape)} in {frame.dtype}."
            )
        values = np.ascontiguousarray(frame.numpy())
        stored = _levels(values) if self._eight_bit else values
        self._file.write(self._written * self._frame_bytes, stored)
        self._written += 1

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        """Return frames as `FrameSource.frames` does, copied to host memory. Raises IndexError."""
        if not 0 <= start <= stop <= self._written:
            raise IndexError(f"The spool has {self._written} frames, not those from {start} to {stop}.")
        return map(self._read, range(start, stop))

    def _read(self, index: int) -> Tensor:
        stored = np.empty((1, *self._shape), np.uint8 if self._eight_bit else np.float32)
        self._file.read(index * self._frame_bytes, stored)
        return torch.from_numpy(stored.astype(np.float32) / _LEVELS if self._eight_bit else stored)


def spool_frame_bytes(*, height: int, width: int, eight_bit: bool) -> int:
    """Return the bytes that a frame takes in the file."""
    return 3 * height * width * (1 if eight_bit else 4)


def _levels(values: np.ndarray) -> np.ndarray:
    levels = np.rint(values * _LEVELS)
    if not np.array_equal(levels / _LEVELS, values) or levels.min() < 0 or levels.max() > _LEVELS:
        raise ValueError("The spool holds whole numbers of 255ths from 0 to 1, and other values were given.")
    return levels.astype(np.uint8)
