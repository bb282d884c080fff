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
    """The output file, from what can be known of it before there is a frame.

    A video takes the source's sound along if `sound` says so.
    """

    def __init__(self, info: MediaInfo, output: Path, scale: int, *, sound: bool = True) -> None:
        self._source, self._output, self._kind = info.path, output, info.kind
        self._height, self._width = scale * info.height, scale * info.width
        self._rate = info.frame_rate or _RATE_IF_NONE
        self._pixel_aspect = info.pixel_aspect
        self._sound = info.path if sound and info.has_audio else None
        self._sound_notes: tuple[str, ...] = ()
        if self._kind == "video":
            self._writer_to(output)  # refuses what it cannot write, and writes nothing yet

    @property
    def frame_rate(self) -> Fraction | None:
        return self._rate if self._kind == "video" else None

    @property
    def sound_notes(self) -> tuple[str, ...]:
        """What there is to say of the sound, once the file is whole."""
        return self._sound_notes

    def rehearse(self) -> None:
        """Write a black frame beside the output, with the sound that goes with it, and remove it: encoders,
        containers and folders refuse only then."""
        black = torch.zeros(()).expand(3, self._height, self._width)
        # Always the same name: what a kill at the wrong moment leaves is replaced and removed the next time.
        trial = self._output.with_name(f".rehearsal-{self._output.stem[:40]}{self._output.suffix}")
        try:
            if self._kind == "image":
                write_image(trial, black)
            else:
                with self._writer_to(trial, cut=True) as writer:
                    writer.write(black)
        except BadInput as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _OF_THE_FOLDER:
                raise BadInput(f"{self._output.parent} cannot be written to ({cause.strerror}).") from error
            raise BadInput(
                f"{self._output} cannot be written with frames of {self._height} x {self._width}"
                f" ({error.__cause__ or error})."
            ) from error
        finally:
            trial.unlink(missing_ok=True)

    def varies(self, times_s: Sequence[float]) -> bool:
        """Whether the frames must keep times of their own."""
        off_s = max(abs(time_s - float(i / self._rate)) for i, time_s in enumerate(times_s))
        return off_s > _COARSEST_CLOCK_S + 1e-6

    def check_times(self, times_s: Sequence[float]) -> None:
        """Refuse times that a video cannot have."""
        if self._kind == "video" and self.varies(times_s):
            for index, (before, after) in enumerate(pairwise(times_s), start=1):
                if after - before < _LEAST_STEP_S:
                    raise BadInput(
                        f"{self._source} shows frame {index} at {before:.6g} s and the next at {after:.6g} s,"
                        f" and times must grow by {_LEAST_STEP_S:g} s at least."
                    )

    @contextmanager
    def opened(self, times_s: Sequence[float], *, cut: bool) -> Iterator[Callable[[Tensor, int], float]]:
        """A function that writes a frame (3, h, w), given its index, and returns the share of its values that
        were clamped. Frames come one after another; the file appears when the block ends well. Sound ends
        with the last frame where the source is `cut`."""
        if self._kind == "image":
            yield lambda image, _index: write_image(self._output, image)
            return
        varies = self.varies(times_s)
        writer = self._writer_to(self._output, cut=cut)
        with writer:
            yield lambda image, index: writer.write(image, times_s[index] if varies else None)
        self._sound_notes = writer.sound_notes

    def _writer_to(self, path: Path, *, cut: bool = False) -> VideoWriter:
        return VideoWriter(
            path,
            sound=self._sound,
            cut_sound=cut,
            frame_rate=self._rate,
            height=self._height,
            width=self._width,
            pixel_aspect=self._pixel_aspect,
        )
