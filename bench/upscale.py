"""A picture or a video through the network into a file of four times the height and width.

What can be refused is refused before the network runs. Imports torch: the command line imports this module
only for the command that needs it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from bench.grid.backend_spec import Backend
from bench.grid.config import Model
from bench.measure import backends, workload
from bench.measure.backends import Device
from bench.media_sink import Sink
from bench.memory_budget import Budget, budget_of, remedy, stated_frames
from bench.units import significant
from vsr_model.errors import BadInput
from vsr_model.media_write import IMAGE_OPTIONS, VIDEO_ENCODERS
from vsr_model.registry import ModelEntry, find_model
from vsr_model.stages import Stage
from vsr_model.video import MediaInfo, inspect, iterate_frames

READING: Final = "reading"
LOOKING_AHEAD: Final = "propagating backward"
UPSCALING: Final = "upscaling"
WRITING: Final = "writing"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told which of the four above is going on, in that order, and for how many of how many frames it is done;
the latter is 0 where it is not known."""


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
    budget = budget_of(info, entry, model, backend)
    if (stated := stated_frames(info, frames)) is not None and stated > budget.frames:
        raise budget.refusal(stated)
    sink = Sink(info, output, entry.scale)
    sink.rehearse()
    network = workload.build_model(model)
    lrs, times_s = _read(info, frames, budget, progress)
    sink.check_times(times_s)

    hrs = _enlarge(network, lrs, backend, budget, progress)
    clamped_share = sink.write(hrs, times_s, lambda done, total: progress(WRITING, done, total))
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


def _read(
    info: MediaInfo, frames: int | None, budget: Budget, progress: Progress
) -> tuple[Tensor, list[float]]:
    """The clip (1, t, 3, h, w) and when each frame is shown, in seconds since the first."""
    stated = stated_frames(info, frames) or 0
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


def _enlarge(network: nn.Module, lrs: Tensor, backend: Backend, budget: Budget, progress: Progress) -> Tensor:
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
            f" frame{'s' if frames > 1 else ''}; {remedy(frames // 2)}."
        ) from error
    return hrs[0]


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
