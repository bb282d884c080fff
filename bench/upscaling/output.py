"""The output file of an upscale."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.media import MediaInfo, VideoWriter, write_image

_COARSEST_CLOCK_S: Final = 0.001  # Matroska's: frames at a constant rate are off it by up to that
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter may choose


class Output:
    """The output file, with the source's sound if `sound` is set."""

    def __init__(self, info: MediaInfo, path: Path, scale: int, *, sound: bool = True) -> None:
        self._info, self._path = info, path
        self._height, self._width = scale * info.height, scale * info.width
        self._rate = info.frame_rate or Fraction(1)  # of a picture, which has none
        self._sound = info.path if sound and info.has_audio else None
        self.notes: tuple[str, ...] = ()
        """Sentences on what was left out, once the file is whole."""

    def rehearse(self) -> None:
        """Write a black frame and its sound to a file that is dropped; raise BadInput if that fails.

        Encoders, containers and folders refuse only when they are used.
        """
        black = torch.zeros(()).expand(3, self._height, self._width)
        if self._info.kind == "image":
            write_image(self._path, black, self._info.colour_profile, rehearsal=True)
        else:
            with self._writer(cut=True, rehearsal=True) as writer:
                writer.write(black)

    def varies(self, times_s: Sequence[float]) -> bool:
        """Tell whether the frames must keep times of their own."""
        off_s = max(abs(time_s - float(i / self._rate)) for i, time_s in enumerate(times_s))
        return self._info.kind == "video" and off_s > _COARSEST_CLOCK_S + 1e-6

    def check_times(self, times_s: Sequence[float]) -> None:
        """Refuse times that a video cannot have."""
        if not self.varies(times_s):
            return
        for index, (before, after) in enumerate(pairwise(times_s), start=1):
            if after - before < _LEAST_STEP_S:
                raise BadInput(
                    f"{self._info.path} shows frame {index} at {before:.6g} s and the next at {after:.6g} s,"
                    f" and times must grow by {_LEAST_STEP_S:g} s at least."
                )

    @contextmanager
    def opened(self, times_s: Sequence[float], *, cut: bool) -> Iterator[Callable[[Tensor, int], float]]:
        """Give a function that writes a frame (3, h, w), given its index, and returns the share of its values
        that were clamped.

        Frames come one after another; the file appears when the block ends well. Sound ends with the last
        frame where the source is `cut`.
        """
        profile = self._info.colour_profile
        if profile and (self._info.kind == "video" or self._path.suffix.lower() == ".bmp"):
            self.notes = ("The colour profile was left out, which the output cannot hold.",)
        if self._info.kind == "image":
            yield lambda image, _index: write_image(self._path, image, profile)
            return
        varies = self.varies(times_s)
        with self._writer(cut=cut) as writer:
            yield lambda image, index: writer.write(image, times_s[index] if varies else None)
        self.notes += writer.sound_notes

    def _writer(self, *, cut: bool, rehearsal: bool = False) -> VideoWriter:
        return VideoWriter(
            self._path,
            sound=self._sound,
            cut_sound=cut,
            frame_rate=self._rate,
            height=self._height,
            width=self._width,
            pixel_aspect=self._info.pixel_aspect,
            rehearsal=rehearsal,
        )
