"""The output of an upscale: a file, or a folder of frames."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bench.upscaling.request import Request
from vsr_model.errors import BadInput
from vsr_model.frame_files import FramePattern
from vsr_model.media import MediaInfo, VideoWriter, image_folder, write_image
from vsr_model.media.videos import RATE_IF_NONE
from vsr_model.media.writing import DEEP_SUFFIXES, IMAGE_OPTIONS

_COARSEST_CLOCK_S: Final = 0.001  # Matroska's: frames at a constant rate are off it by up to that
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter may choose
_NUMBERED: Final = FramePattern(before="", digits=8, after=".png")  # as in REDS


class Output:
    """The output that a request asks for."""

    def __init__(self, info: MediaInfo, request: Request, scale: int) -> None:
        self._info, self._path, self._folder = info, request.output, request.frame_folder
        self._height, self._width = scale * info.height, scale * info.width
        self._is_video = info.kind == "video" and self._folder is None
        self._rate = request.frame_rate or info.frame_rate or RATE_IF_NONE
        self.frame_rate = self._rate if self._is_video else None
        """Frames per second, on average; None for pictures."""
        self._suffix = (self._path.suffix if self._folder is None else Path(self._name(0)).suffix).lower()
        self._profile = None if self._is_video else info.colour.picture_profile()
        self._is_deep = not info.eight_bit and self._suffix in DEEP_SUFFIXES
        self._sound = info.path if self._is_video and request.sound and info.has_audio else None
        self.notes: tuple[str, ...] = tuple(self._left_out(request))
        """Sentences on what was left out or chosen, complete once the output is whole."""

    def _left_out(self, request: Request) -> Iterator[str]:
        info = self._info
        if self._is_video and info.frame_files is not None and request.frame_rate is None:
            yield f"Frames in files state no rate; {RATE_IF_NONE} a second were taken (--frame-rate sets it)."
        if self._folder is not None and info.has_audio and request.sound:
            yield "The sound was left out, which a folder of frames cannot hold."
        if self._folder is not None and info.pixel_aspect != 1:
            aspect = f"{info.pixel_aspect.numerator}:{info.pixel_aspect.denominator}"
            yield f"The pixels are not square ({aspect}), which frames in files do not state."
        if (self._profile and self._suffix == ".bmp") or (self._is_video and info.colour.profile):
            yield "The colour profile was left out, which the output cannot hold."
        if not self._is_video and not info.colour.fits_pictures:
            yield "The transfer curve is logarithmic, which the output does not state."
        if info.bits > 8 and not self._is_deep:
            yield f"The samples have {info.bits} bits, and 8 of them were kept."

    def rehearse(self) -> None:
        """Write a black frame and its sound to a file that is dropped; raise BadInput if that fails.

        Encoders, containers and folders refuse only when they are used.
        """
        black = torch.zeros(()).expand(3, self._height, self._width)
        if self._info.kind == "image":
            write_image(self._path, black, self._profile, deep=self._is_deep, rehearsal=True)
        elif self._folder is not None:
            with image_folder(self._path, self._profile, deep=self._is_deep, rehearsal=True) as write:
                write(self._name(0), black)
        else:
            with self._writer(cut=True, rehearsal=True) as writer:
                writer.write(black)

    def varies(self, times_s: Sequence[float]) -> bool:
        """Tell whether the frames must keep times of their own."""
        off_s = max(abs(time_s - float(i / self._rate)) for i, time_s in enumerate(times_s))
        has_times = self._info.kind == "video" and self._info.frame_files is None
        return has_times and off_s > _COARSEST_CLOCK_S + 1e-6

    def check_times(self, times_s: Sequence[float]) -> None:
        """Refuse times that a video cannot have."""
        if not self._is_video or not self.varies(times_s):
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
        if self._info.kind == "image":
            yield lambda image, _index: write_image(self._path, image, self._profile, deep=self._is_deep)
            return
        varies = self.varies(times_s)
        if varies:
            kept = "each frame kept its time" if self._is_video else "frames in files have no times"
            self.notes += (f"The frame rate varies; {kept}.",)
        if self._folder is not None:
            with image_folder(self._path, self._profile, deep=self._is_deep) as write:
                yield lambda image, index: write(self._name(index), image)
            return
        with self._writer(cut=cut) as writer:
            yield lambda image, index: writer.write(image, times_s[index] if varies else None)
        self.notes += writer.sound_notes

    def _name(self, index: int) -> str:
        """Return the name of a frame's file: by the output's pattern, or the input's name."""
        assert self._folder is not None
        files, pattern = self._info.frame_files, self._folder.pattern
        if files is None:
            return (pattern or _NUMBERED).name(index)
        if pattern is not None:
            return pattern.name(index if files.numbers is None else files.numbers[index])
        path = files.paths[index]
        return path.name if path.suffix.lower() in IMAGE_OPTIONS else f"{path.stem}.png"

    def _writer(self, *, cut: bool, rehearsal: bool = False) -> VideoWriter:
        return VideoWriter(
            self._path,
            sound=self._sound,
            cut_sound=cut,
            frame_rate=self._rate,
            height=self._height,
            width=self._width,
            pixel_aspect=self._info.pixel_aspect,
            colour=self._info.colour,
            rehearsal=rehearsal,
        )
