"""The file that frames are written to, from what can be known of it before there is a frame."""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.video import MediaInfo, VideoWriter, write_image

_RATE_IF_NONE: Final = Fraction(25)  # of raw streams that state none, as they are read
_COARSEST_CLOCK_S: Final = 0.001  # Matroska's: frames at a constant rate are off it by up to that
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter may choose


class Sink:
    """The output file, from what can be known of it before there is a frame."""

    def __init__(self, info: MediaInfo, output: Path, scale: int) -> None:
        self._source, self._output, self._kind = info.path, output, info.kind
        self._height, self._width = scale * info.height, scale * info.width
        self._rate = info.frame_rate or _RATE_IF_NONE
        self._pixel_aspect = info.pixel_aspect
        if self._kind == "video":
            self._writer_to(output)  # refuses what it cannot write, and writes nothing yet

    @property
    def frame_rate(self) -> Fraction | None:
        return self._rate if self._kind == "video" else None

    def rehearse(self) -> None:
        """Write a black frame beside the output and remove it: encoders and folders refuse only then."""
        black = torch.zeros(()).expand(3, self._height, self._width)
        try:
            with tempfile.TemporaryDirectory(prefix=".rehearsal-", dir=self._output.parent) as folder:
                trial = Path(folder) / f"black{self._output.suffix}"
                if self._kind == "image":
                    write_image(trial, black)
                else:
                    with self._writer_to(trial) as writer:
                        writer.write(black)
        except BadInput as error:
            raise BadInput(
                f"{self._output} cannot be written with frames of {self._height} x {self._width}"
                f" ({error.__cause__ or error})."
            ) from error
        except OSError as error:
            raise BadInput(f"{self._output.parent} cannot be written to ({error.strerror}).") from error

    def varies(self, times_s: list[float]) -> bool:
        """Whether the frames must keep times of their own."""
        off_s = max(abs(time_s - float(i / self._rate)) for i, time_s in enumerate(times_s))
        return off_s > _COARSEST_CLOCK_S + 1e-6

    def check_times(self, times_s: list[float]) -> None:
        """Refuse times that a video cannot have."""
        if self._kind == "video" and self.varies(times_s):
            for index, (before, after) in enumerate(pairwise(times_s), start=1):
                if after - before < _LEAST_STEP_S:
                    raise BadInput(
                        f"{self._source} shows frame {index} at {before:.6g} s and the next at {after:.6g} s,"
                        f" and times must grow by {_LEAST_STEP_S:g} s at least."
                    )

    def write(self, hrs: Tensor, times_s: list[float], written: Callable[[int, int], None]) -> float:
        """Write all frames (t, 3, h, w); the share of their values that were clamped.

        `written` is told how many of how many are.
        """
        if self._kind == "image":
            share = write_image(self._output, hrs[0])
            written(1, 1)
            return share
        varies = self.varies(times_s)
        shares = []
        with self._writer_to(self._output) as writer:
            for image, time_s in zip(hrs, times_s, strict=True):
                shares.append(writer.write(image, time_s if varies else None))
                written(len(shares), len(hrs))
        return sum(shares) / len(shares)

    def _writer_to(self, path: Path) -> VideoWriter:
        return VideoWriter(
            path,
            frame_rate=self._rate,
            height=self._height,
            width=self._width,
            pixel_aspect=self._pixel_aspect,
        )
