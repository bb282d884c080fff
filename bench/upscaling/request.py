"""A request to enlarge a file, and the checks that need no network."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from bench.grid.backend import MEMORY_PLAN_NAMES, Backend, MemoryPlanSpec
from bench.grid.config_model import Model
from bench.grid.rules import impossible
from bench.units import BYTES, with_unit
from vsr_model.errors import BadInput
from vsr_model.frame_files import FramePattern
from vsr_model.media import MediaInfo
from vsr_model.media.writing import IMAGE_OPTIONS, VIDEO_FORMATS

if TYPE_CHECKING:
    from vsr_model.network import Facts


@dataclass(frozen=True, kw_only=True)
class FrameFolder:
    """An output of a file per frame. By default files are named as the input's, or by number."""

    pattern: FramePattern | None = None


def output_of(text: str) -> tuple[Path, FrameFolder | None]:
    """Return the path that a command line asks for, and how its files are named if it is a folder of frames.

    That is a name that ends in "/", a pattern such as `out/%08d.png`, a folder that exists, and a name
    without a suffix. Raises BadInput for a pattern with several numbers.
    """
    path = Path(text)
    suffix = path.suffix.lower()
    if text.endswith("/"):
        return path, FrameFolder()
    if suffix not in VIDEO_FORMATS and (pattern := FramePattern.of(path.name)) is not None:
        return path.parent, FrameFolder(pattern=pattern)
    is_folder = not suffix or (path.is_dir() and suffix not in {*IMAGE_OPTIONS, *VIDEO_FORMATS})
    return path, FrameFolder() if is_folder else None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A file or a folder of frames, or its first `frames`, to be enlarged into `output`.

    `frame_folder` has `output` be a folder with a file per frame. `frame_rate` is that of a video made of
    frames in files, which state none.
    `random_weights` allows a model without a checkpoint. `memory_limit_bytes` bounds what the process holds
    beyond its start, if `memory.give_back_at_once` was called, and `device_memory_limit_bytes` what it holds
    on a GPU; by default both follow from what the machine has. `place` fixes where backward features wait
    ("device", "host", "disk", "recompute"); by default it is the first of these that keeps to the limits.
    Intermediate results that do not fit go to `scratch`, by default the output's folder. `sound` copies a
    video's sound.
    """

    source: Path
    output: Path
    frame_folder: FrameFolder | None = None
    model: Model
    backend: Backend
    random_weights: bool = False
    frames: int | None = None
    frame_rate: Fraction | None = None
    memory_limit_bytes: int | None = None
    device_memory_limit_bytes: int | None = None
    place: str | None = None
    scratch: Path | None = None
    sound: bool = True

    @property
    def scratch_folder(self) -> Path:
        return self.scratch or self.output.parent

    def check_options(self) -> None:
        """Refuse options that do not go together, before the file is looked at."""
        if self.model.checkpoint is None and not self.random_weights:
            raise BadInput(
                "There is no checkpoint, and random weights make noise of any input; give trained ones with"
                " --checkpoint, or allow the noise with --random-weights."
            )
        if self.model.checkpoint is not None and self.random_weights:
            raise BadInput("--checkpoint and --random-weights exclude each other; give one of them.")
        if self.frames is not None and self.frames < 1:
            raise BadInput(f"--frames is {self.frames}, and 1 or more is allowed.")
        if self.place is not None and self.place not in MEMORY_PLAN_NAMES:
            *others, last = MEMORY_PLAN_NAMES
            raise BadInput(
                f"--memory-plan is {self.place!r}, and {', '.join(others)} and {last} are allowed."
            )
        in_bounded_memory = self.backend.replace(memory_plan=self.backend.memory_plan or MemoryPlanSpec())
        if (reason := impossible(in_bounded_memory)) is not None:
            raise BadInput(f"The backend {self.backend.name} cannot enlarge a file frame by frame: {reason}.")
        if self.device_memory_limit_bytes is not None and not self.backend.is_cuda:
            raise BadInput(
                f"--device-memory-limit is for GPUs, and the backend {self.backend.name} computes on the CPU,"
                " whose memory --memory-limit bounds."
            )
        for name, limit in (
            ("--memory-limit", self.memory_limit_bytes),
            ("--device-memory-limit", self.device_memory_limit_bytes),
        ):
            if limit is not None and limit <= 0:
                raise BadInput(f"{name} is {with_unit(limit, BYTES)}, and more than 0 is allowed.")

    def check_files(self, info: MediaInfo, facts: "Facts") -> None:
        """Refuse files that do not go together."""
        self._check_output(info)
        if self.frame_rate is not None and (info.frame_files is None or self.frame_folder is not None):
            made = "a file" if self.frame_folder is None else "a folder of frames"
            raise BadInput(
                f"--frame-rate is for a video made of frames in files; {info.path} is {info.kind_in_words},"
                f" and {self.output} is to be {made}."
            )
        if info.colour.is_hdr:
            raise BadInput(
                f"{info.path} is HDR (PQ or HLG), whose values mean other colours than the output's; tone-map"
                " it to BT.709 first, as FFmpeg's filters zscale and tonemap do."
            )
        if self.frames is not None and info.kind == "image":
            raise BadInput(f"{info.path} is an image, and --frames is for videos and folders of frames.")
        if min(info.height, info.width) < facts.min_size:
            raise BadInput(
                f"{info.path} has frames of {info.height} x {info.width}, and {facts.title} needs at least"
                f" {facts.min_size} x {facts.min_size}."
            )
        if self.scratch is not None and not self.scratch.is_dir():
            raise BadInput(f"--scratch is {self.scratch}, and that is no folder; name one that exists.")

    def _check_output(self, info: MediaInfo) -> None:
        output, kind = self.output, info.kind_in_words
        if info.kind == "image":
            suffixes = ", ".join(IMAGE_OPTIONS)
            if self.frame_folder is not None:
                raise BadInput(
                    f"{info.path} is {kind}, and the output is to be a folder of frames; name a file that"
                    f" ends in {suffixes}."
                )
            if output.suffix.lower() not in IMAGE_OPTIONS:
                raise BadInput(f"{info.path} is {kind}, and {output} must end in {suffixes} to hold {kind}.")
        elif self.frame_folder is not None:
            return  # a folder that is there is refused when it is rehearsed, unless it is empty
        elif output.suffix.lower() not in VIDEO_FORMATS:
            raise BadInput(
                f"{info.path} is {kind}, and {output} must end in {', '.join(VIDEO_FORMATS)} to hold a video,"
                " in / to be a folder of frames, or be a pattern such as out/%08d.png."
            )
        if output.exists() and not output.is_dir() and not output.is_file():
            raise BadInput(f"{output} is a device or a pipe, and a file is to be written.")
        if output.exists() and info.path.exists() and output.samefile(info.path):
            raise BadInput(f"{output} is the input itself; the output needs another name.")


def identity_of(path: Path) -> tuple[int, int, int] | None:
    """Return a file's identity, which changes when it is written or replaced; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
