"""The file that frames are written to."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from vsr_model.errors import BadInput
from vsr_model.video import MediaInfo, VideoWriter, write_image

_RATE_IF_NONE: Final = Fraction(25)  # of raw streams that state none, as they are read
_OF_THE_FOLDER: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_COARSEST_CLOCK_S: Final = 0.001  # Matroska's: frames at a constant rate are off it by up to that
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter may choose


class Sink:
    """The output file, with the source's sound if `sound` says so."""

    def __init__(self, info: MediaInfo, output: Path, scale: int, *, sound: bool = True) -> None:
        self._info, self._output = info, output
        self._height, self._width = scale * info.height, scale * info.width
        self._rate = info.frame_rate or _RATE_IF_NONE
        self._sound = info.path if sound and info.has_audio else None
        self.notes: tuple[str, ...] = ()
        """Sentences on what was left out, once the file is whole."""

    @property
    def frame_rate(self) -> Fraction | None:
        return self._rate if self._info.kind == "video" else None

    def rehearse(self) -> None:
        """Write a black frame beside the output, with the sound that goes with it, and remove it.

        Encoders, containers and folders refuse only then. Raises BadInput.
        """
        black = torch.zeros(()).expand(3, self._height, self._width)
        # Always the same name: what a kill at the wrong moment leaves is replaced and removed the next time.
        trial = self._output.with_name(f".rehearsal-{self._output.stem[:40]}{self._output.suffix}")
        try:
            if self._info.kind == "image":
                write_image(trial, black, self._info.colour_profile)
                return
            with self._writer_to(trial, cut=True) as writer:
                writer.write(black)
            if writer.refuses_sound:
                raise BadInput(
                    f"{self._info.path} has sound that {trial} does not take; --no-sound leaves it out."
                )
        except BadInput as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _OF_THE_FOLDER:
                raise BadInput(f"{self._output.parent} cannot be written to ({cause.strerror}).") from error
            if cause is None:
                raise BadInput(str(error).replace(str(trial), str(self._output))) from error
            raise BadInput(
                f"{self._output} cannot be written with frames of {self._height} x {self._width} ({cause})."
            ) from error
        finally:
            trial.unlink(missing_ok=True)

    def varies(self, times_s: Sequence[float]) -> bool:
        """Return whether the frames must keep times of their own."""
        off_s = max(abs(time_s - float(i / self._rate)) for i, time_s in enumerate(times_s))
        return off_s > _COARSEST_CLOCK_S + 1e-6

    def check_times(self, times_s: Sequence[float]) -> None:
        """Refuse times that a video cannot have."""
        if self._info.kind == "video" and self.varies(times_s):
            for index, (before, after) in enumerate(pairwise(times_s), start=1):
                if after - before < _LEAST_STEP_S:
                    raise BadInput(
                        f"{self._info.path} shows frame {index} at {before:.6g} s and the next at"
                        f" {after:.6g} s, and times must grow by {_LEAST_STEP_S:g} s at least."
                    )

    @contextmanager
    def opened(self, times_s: Sequence[float], *, cut: bool) -> Iterator[Callable[[Tensor, int], float]]:
        """Give a function that writes a frame (3, h, w), given its index, and returns the share of its values
        that were clamped.

        Frames come one after another; the file appears when the block ends well. Sound ends with the last
        frame where the source is `cut`.
        """
        profile = self._info.colour_profile
        if profile and (self._info.kind == "video" or self._output.suffix.lower() == ".bmp"):
            self.notes = ("The colour profile was left out, which the output cannot hold.",)
        if self._info.kind == "image":
            yield lambda image, _index: write_image(self._output, image, profile)
            return
        varies = self.varies(times_s)
        with self._writer_to(self._output, cut=cut) as writer:
            yield lambda image, index: writer.write(image, times_s[index] if varies else None)
        self.notes += writer.sound_notes

    def _writer_to(self, path: Path, *, cut: bool) -> VideoWriter:
        return VideoWriter(
            path,
            sound=self._sound,
            cut_sound=cut,
            frame_rate=self._rate,
            height=self._height,
            width=self._width,
            pixel_aspect=self._info.pixel_aspect,
        )
