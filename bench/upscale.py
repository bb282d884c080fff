"""A picture or a video through the network into a file with four times its height and width.

All that can be refused is refused before the network runs. Imports torch: the command line imports this
module only for the command that needs it.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeAlias

from torch import Tensor

from bench.units import BYTES, with_unit
from vsr_model.errors import BadInput
from vsr_model.video import MediaInfo

READING: Final = "reading"
LOOKING_AHEAD: Final = "propagating backward"
UPSCALING: Final = "upscaling"
WRITING: Final = "writing"
"""What `Progress` is told is being done, in this order."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many frames that is done for, and of how many; 0 where not known."""

_RATE_IF_NONE: Final = Fraction(25)  # of raw streams that state none, as they are read
_COARSEST_CLOCK_S: Final = 0.001  # Matroska's and Flash's; times of a constant rate are rounded to it
_LEAST_STEP_S: Final = 1e-4  # above the tick of any clock that VideoWriter chooses
_MOST_FRAMES: Final = 10**7  # over a day at 100 per second
_FEATURE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """What was written.

    `height` and `width` are the output's. `frame_rate` is None for a picture, the average where frames keep
    times of their own. `clamped_share` (0 to 1) is that of the values outside [0, 1]. `notes` are sentences
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


@dataclass(frozen=True, kw_only=True)
class _Clip:
    lrs: Tensor  # (1, t, 3, h, w) on the host
    times_s: tuple[float, ...] | None  # of a variable frame rate


@dataclass(frozen=True, kw_only=True)
class _Budget:
    """The memory that the one call of the network may take."""

    peak_bytes: Callable[[int], int]  # of a clip of so many frames
    available_bytes: int
    where: str

    @property
    def frames(self) -> int:
        """How many frames fit; the peak grows with each."""
        return bisect_right(range(1, _MOST_FRAMES), self.available_bytes, key=self.peak_bytes)

    def refusal(self, info: MediaInfo, frames: int, *, or_more: bool = False) -> BadInput:
        needed = with_unit(self.peak_bytes(frames), BYTES)
        what = "The image" if info.kind == "image" else f"{frames} frame{'s' if frames > 1 else ''}"
        return BadInput(
            f"{info.path} does not fit into {self.where}: {what} of {info.height} x {info.width}"
            f"{' (and there are more)' if or_more else ''} takes {needed}".replace("frames", "frames", 1)
            + f" and {with_unit(self.available_bytes, BYTES)} is available; "
            + self._remedy(info)
        )

    def _remedy(self, info: MediaInfo) -> str:
        if info.kind == "video" and self.frames > 0:
            return f"--frames {self.frames} or fewer would fit."
        return "not even one frame of this size fits."


def _silent(_doing: str, _done: int, _total: int, /) -> None:
    """No one listens."""
