"""Frames as they were decoded, once, for a network that wants them in another order."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from vsr_model.memory_cost import spool_bytes
from vsr_model.scratch_file import ScratchFile


class FrameSpool:
    """Up to `frames` frames (batch, 3, height, width) of float32 in a file in `folder`, in a `with` block.

    The file takes `memory_cost.spool_bytes` from the start and has no name (`ScratchFile`, which says what it
    raises). Frames are appended with `write`; then the spool is a `FrameSource` of those that were written,
    bit for bit.
    """

    def __init__(self, folder: Path, *, batch: int = 1, frames: int, height: int, width: int) -> None:
        size_bytes = spool_bytes(batch=batch, frames=frames, height=height, width=width)
        self._like = torch.empty((batch, 3, height, width), dtype=torch.float32, device="meta")
        self._capacity, self._written = frames, 0
        self._file = ScratchFile(folder, size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w) of what was written so far."""
        n, c, h, w = self._like.shape
        return n, self._written, c, h, w

    def write(self, frame: Tensor) -> None:
        """Append `frame`. Raises ValueError for another shape or dtype, and for one frame too many."""
        if frame.shape != self._like.shape or frame.dtype != self._like.dtype:
            raise ValueError(
                f"The spool holds frames of shape {tuple(self._like.shape)} in torch.float32, not"
                f" {tuple(frame.shape)} in {frame.dtype}."
            )
        if self._written == self._capacity:
            raise ValueError(f"The spool holds {self._capacity} frames, and one more was written.")
        self._place(self._written).copy_(frame)
        self._file.forget()
        self._written += 1

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        """As `FrameSource.frames`, each a copy in host memory. Raises IndexError for what is not there."""
        if not 0 <= start <= stop <= self._written:
            raise IndexError(f"The spool has {self._written} frames, not those from {start} to {stop}.")
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> Iterator[Tensor]:
        for index in range(start, stop):
            frame = self._place(index).clone()
            self._file.forget()
            yield frame

    def close(self) -> None:
        """Give the space back; a second time does nothing."""
        self._file.close()

    def _place(self, index: int) -> Tensor:
        return self._file.part(index * self._like.numel() * self._like.itemsize, self._like)
