"""A picture or a video through the network into a file of four times the height and width.

What can be refused is refused before the network runs. Imports torch: the command line imports this module
only for the command that needs it.
"""

import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, TypeAlias

import psutil
import torch
from torch import Tensor, nn

from bench import backends, workload
from bench.backend_spec import Backend
from bench.backends import Device
from bench.config import Model
from bench.units import BYTES, significant, with_unit
from vsr_model.errors import BadInput
from vsr_model.media_write import IMAGE_OPTIONS, VIDEO_ENCODERS
from vsr_model.registry import ModelEntry, find_model
from vsr_model.stages import Stage
from vsr_model.video import MediaInfo, VideoWriter, inspect, iterate_frames, write_image

READING: Final = "reading"
LOOKING_AHEAD: Final = "propagating backward"
UPSCALING: Final = "upscaling"
WRITING: Final = "writing"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told which of the four above is going on, in that order, and for how many of how many frames it is done;
the latter is 0 where it is not known."""

_RATE_IF_NONE: Final = Fraction(25)  # of raw streams that state none, as they are read
_COARSEST_CLOCK_S: Final = 0.001  # Matroska's: frames at a constant rate are off it by up to that
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter may choose
_MOST_FRAMES: Final = 10**7  # more than a day at 100 per second
_CPU_ALLOWANCE: Final = 1.6
"""Of resident memory over the tensors that the registry counts: convolutions work on reordered copies, and
freed memory is not given back at once. 1.4 to 1.55 was measured, clips of 1 to 30 frames up to 270 x 480. On
a GPU there is none: memory that runs out there can still be told in a sentence, where a system out of memory
kills the process."""
_FEATURE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """What was written.

    `height` and `width` are the output's. `frame_rate` is None for a picture, and the average where frames
    keep times of their own. `clamped_share` (0 to 1) is that of values outside [0, 1]. `notes` are sentences
    for the user.
    """

    output: Path
    kind: Literal["image", "video"]
    frames: int
    height: int
    width: int
    frame_rate: Fraction | None
    clamped_share: float
    notes: tuple[str, ...]


def _silent(_doing: str, _done: int, _total: int, /) -> None:
    """For when no one listens."""


def upscale(
    source: Path,
    output: Path,
    *,
    model: Model,
    backend: Backend,
    random_weights: bool,
    frames: int | None = None,
    progress: Progress = _silent,
) -> Upscaled:
    """Enlarge `source`, or the first `frames` frames of it, into `output`.

    The network sees the whole clip in one call, as every frame draws on all others. `output` appears, or is
    replaced, once it is whole. `random_weights` allows a model without a checkpoint.

    Raises BadInput for files, options and a backend that do not go together or do not work here, a clip that
    does not fit into memory, and values that no file can hold.
    """
    _check_weights(model, random_weights)
    if reason := backends.unavailable(backend):
        raise BadInput(f"The backend {backend.name} cannot run here: {reason}.")
    info = inspect(source)
    entry = find_model(model.name)
    _check_request(info, output, entry, frames)
    budget = _budget(info, entry, model, backend)
    if (stated := _stated_frames(info, frames)) is not None and stated > budget.frames:
        raise budget.refusal(stated)
    sink = _Sink(info, output, entry.scale)
    sink.rehearse()
    network = workload.build_model(model)
    lrs, times_s = _read(info, frames, budget, progress)
    sink.check_times(times_s)

    hrs = _enlarge(network, lrs, backend, budget, progress)
    clamped_share = sink.write(hrs, times_s, progress)
    count, height, width = hrs.shape[0], hrs.shape[2], hrs.shape[3]
    return Upscaled(
        output=output,
        kind=info.kind,
        frames=count,
        height=height,
        width=width,
        frame_rate=sink.frame_rate,
        clamped_share=clamped_share,
        notes=tuple(_notes(info, model, frames, count, clamped_share, varies=sink.varies(times_s))),
    )


def _check_weights(model: Model, random_weights: bool) -> None:
    if model.checkpoint is None and not random_weights:
        raise BadInput(
            "There is no checkpoint, and random weights make noise of any input; give trained ones with"
            " --checkpoint, or allow the noise with --random-weights."
        )
    if model.checkpoint is not None and random_weights:
        raise BadInput("--checkpoint and --random-weights exclude each other; give one of them.")


def _check_request(info: MediaInfo, output: Path, entry: ModelEntry, frames: int | None) -> None:
    suffixes = IMAGE_OPTIONS if info.kind == "image" else VIDEO_ENCODERS
    kind = "an image" if info.kind == "image" else "a video"
    if output.suffix.lower() not in suffixes:
        raise BadInput(
            f"{info.path} is {kind}, and {output} must end in {', '.join(suffixes)} to hold {kind}."
        )
    if frames is not None and info.kind == "image":
        raise BadInput(f"{info.path} is an image, and --frames is for videos.")
    if frames is not None and frames < 1:
        raise BadInput(f"--frames is {frames}, and 1 or more is allowed.")
    if info.height < entry.min_height or info.width < entry.min_width:
        raise BadInput(
            f"{info.path} has frames of {info.height} x {info.width}, and {entry.name} needs at least"
            f" {entry.min_height} x {entry.min_width}."
        )
    if output.is_dir():
        raise BadInput(f"{output} is a folder, and a file is to be written.")
    if not output.parent.is_dir():
        raise BadInput(f"{output} cannot be written: the folder {output.parent} does not exist.")
    if output.exists() and output.samefile(info.path):
        raise BadInput(f"{output} is the input itself; the output needs another name.")


# Memory -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Budget:
    """What one call of the network takes of the memory it runs in."""

    info: MediaInfo
    peak_bytes: Callable[[int], int]  # of a clip of so many frames, and more for more
    available_bytes: int
    place: str  # where that is, as the end of a sentence

    @property
    def frames(self) -> int:
        """How many frames fit."""
        return bisect_right(range(1, _MOST_FRAMES), self.available_bytes, key=self.peak_bytes)

    def refusal(self, frames: int) -> BadInput:
        """That so many are too many."""
        of = "" if self.info.kind == "image" else f" {frames} frame{'s' if frames > 1 else ''} of"
        return BadInput(
            f"{self.info.path} does not fit into memory:{of} {self.info.height} x {self.info.width} need"
            f" about {with_unit(self.peak_bytes(frames), BYTES)}, and"
            f" {with_unit(self.available_bytes, BYTES)} is available{self.place}; {_remedy(self.frames)}."
        )


def _remedy(frames: int) -> str:
    """What to do where more than so many frames are too many."""
    return f"give --frames {frames} or less" if frames > 0 else "a smaller input is needed"


def _budget(info: MediaInfo, entry: ModelEntry, model: Model, backend: Backend) -> _Budget:
    parameters = workload.model_parameters(model)
    allowance = 1.0 if backend.is_cuda else _CPU_ALLOWANCE

    def peak_bytes(frames: int) -> int:
        tensors_bytes = entry.estimate_peak_bytes(
            parameters,
            batch=1,
            frames=frames,
            height=info.height,
            width=info.width,
            bytes_per_element=_FEATURE_BYTES[backend.dtype],
        )
        return round(allowance * tensors_bytes)

    if not backend.is_cuda:
        available_bytes, place = psutil.virtual_memory().available, ""
    else:
        # All that the device has: what others hold of it shows only when memory runs out.
        device = backends.describe_devices()["devices"][backends.device_of(backend).torch_device.index]
        available_bytes, place = device["memory_bytes"], f" on {device['name']}"
    return _Budget(info=info, peak_bytes=peak_bytes, available_bytes=available_bytes, place=place)


def _stated_frames(info: MediaInfo, frames: int | None) -> int | None:
    """How many frames there are to enlarge, as far as the file's header tells."""
    if info.frame_count is None or frames is None:
        return info.frame_count
    return min(info.frame_count, frames)


# Reading ----------------------------------------------------------------------------------------------------


def _read(
    info: MediaInfo, frames: int | None, budget: _Budget, progress: Progress
) -> tuple[Tensor, list[float]]:
    """The clip (1, t, 3, h, w) and when each frame is shown, in seconds since the first."""
    stated = _stated_frames(info, frames) or 0
    fitting = budget.frames
    images: list[Tensor] = []
    times_s = []
    for frame in iterate_frames(info.path, limit=frames):
        if frame.image.shape[1:] != (info.height, info.width):
            raise BadInput(
                f"{info.path} changes its size after {len(images)} frames, and all must have the same."
            )
        if len(images) == fitting:  # the header stated no count, or too low a one
            raise budget.refusal(fitting + 1)
        images.append(frame.image)
        times_s.append(frame.time_s)
        progress(READING, len(images), max(stated, len(images)) if stated else 0)
    return torch.stack(images)[None], times_s


# The network ------------------------------------------------------------------------------------------------


class _FramesDone:
    """A stage probe that tells a user how far the one call is: a pass backward in time, then the frames."""

    def __init__(self, frames: int, device: Device, progress: Progress) -> None:
        self._frames, self._device, self._progress = frames, device, progress
        self._ended: Counter[Stage] = Counter()
        self._last: tuple[str, int] | None = None

    @contextmanager
    def __call__(self, stage: Stage, /) -> Iterator[None]:
        yield
        self._ended[stage] += 1
        if self._ended[Stage.UPSAMPLING] == 0:
            # The first interval of propagation makes the features that it starts from.
            now = LOOKING_AHEAD, min(self._ended[Stage.PROPAGATION] - 1, self._frames)
        else:
            now = UPSCALING, min(self._ended[Stage.UPSAMPLING], self._frames)
        if now[1] > 0 and now != self._last:
            self._device.synchronize()  # else it would count what is queued
            self._progress(*now, self._frames)
            self._last = now


def _enlarge(
    network: nn.Module, lrs: Tensor, backend: Backend, budget: _Budget, progress: Progress
) -> Tensor:
    """(t, 3, h, w) of the output's size, on the backend's device."""
    device = backends.device_of(backend)
    frames = lrs.shape[1]
    try:
        with backends.applied(backend):
            network = workload.prepare(network, backend, device.torch_device)
            probe = _FramesDone(frames, device, progress)
            hrs = workload.forward_of(network)(lrs.to(device.torch_device), probe)
            device.synchronize()
    except Exception as error:
        if not backends.is_out_of_memory(error):
            raise
        raise BadInput(
            f"{budget.info.path} does not fit into memory: it ran out with {frames}"
            f" frame{'s' if frames > 1 else ''}; {_remedy(frames // 2)}."
        ) from error
    return hrs[0]


# Writing ----------------------------------------------------------------------------------------------------


class _Sink:
    """The output file, from what can be known of it before there is a frame."""

    def __init__(self, info: MediaInfo, output: Path, scale: int) -> None:
        self._source, self._output, self._kind = info.path, output, info.kind
        self._height, self._width = scale * info.height, scale * info.width
        self._rate = info.frame_rate or _RATE_IF_NONE
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

    def write(self, hrs: Tensor, times_s: list[float], progress: Progress) -> float:
        """Write all frames; the share of their values that were clamped."""
        if self._kind == "image":
            share = write_image(self._output, hrs[0])
            progress(WRITING, 1, 1)
            return share
        varies = self.varies(times_s)
        shares = []
        with self._writer_to(self._output) as writer:
            for image, time_s in zip(hrs, times_s, strict=True):
                shares.append(writer.write(image, time_s if varies else None))
                progress(WRITING, len(shares), len(hrs))
        return sum(shares) / len(shares)

    def _writer_to(self, path: Path) -> VideoWriter:
        return VideoWriter(path, frame_rate=self._rate, height=self._height, width=self._width)


def _notes(
    info: MediaInfo, model: Model, frames: int | None, count: int, clamped_share: float, *, varies: bool
) -> Iterator[str]:
    if model.checkpoint is None:
        yield "The weights are random: the output shows that the network runs, and no more."
    if frames is not None and count < frames:
        yield f"The video has {count} frames, fewer than the {frames} that --frames asks for."
    elif frames is not None and count != info.frame_count:
        yield f"Only the first {count} frames were taken, as --frames asks for."
    if info.rotation_degrees:
        yield f"The frames are stored turned; they were turned upright, by {info.rotation_degrees} degrees."
    if varies:
        yield "The frame rate varies; each frame kept its time."
    if info.has_audio:
        yield "The sound was not copied."
    if clamped_share > 0:
        yield f"{significant(100 * clamped_share, 2)} % of the values lay outside [0, 1] and were clamped."
