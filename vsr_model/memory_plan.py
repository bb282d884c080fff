"""Plans for clips of any length: where backward features wait, and in which order frames are asked for.

BasicVSR's backward branch must reach the first frame before the first output can be made, so that something
of every frame has to wait for the forward branch. Free of torch; `vsr_model.streaming` follows a plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from vsr_model.errors import BadInput

Place: TypeAlias = Literal["device", "host", "disk"]

PLACES: Final[tuple[Place, ...]] = get_args(Place)


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A bound on the memory of a call.

    `place` is where backward features are kept: on the `device` that computes them, in `host` memory, or on
    `disk`, in a file without a name in `folder`. `interval` says of which frames: of every one (1), or of
    every `interval`-th. Those between are then computed a second time when the forward branch reaches them,
    one segment of `interval` frames at a time, and the segment at hand is on the device. An interval of the
    clip's length or more keeps everything on the device. Optical flow is estimated for at most `chunk` pairs
    of neighbouring frames at once, and for no more than `interval` where features are computed again.

    Raises BadInput for an unknown place, numbers below 1, and a folder without `disk` or `disk` without one.
    """

    place: Place = "device"
    interval: int = 1
    chunk: int = 8
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            *others, last = map(repr, PLACES)
            raise BadInput(f"place is {self.place!r}, and {', '.join(others)} and {last} are allowed.")
        for name, value in (("interval", self.interval), ("chunk", self.chunk)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} is {value!r}, and a whole number of at least 1 is allowed.")
        if self.place == "disk" and self.folder is None:
            raise BadInput("place is 'disk' and there is no folder; give the folder to keep features in.")
        if self.place != "disk" and self.folder is not None:
            raise BadInput(f"folder is {self.folder}, and place is {self.place!r}; only 'disk' has a folder.")

    def kept_frames(self, frames: int) -> range:
        """Return the frames whose backward features are kept at `place`: none of the first segment."""
        return range(self.interval, frames, self.interval)

    def recomputed_frames(self, frames: int) -> int:
        """Return the number of frames whose backward features are computed twice."""
        return frames - min(self.interval, frames) - len(self.kept_frames(frames))

    def pairs_at_once(self, frames: int) -> int:
        """Return the most pairs of neighbouring frames whose flow is estimated in one call."""
        whole = min(self.chunk, frames - 1)
        return min(whole, self.interval) if self.recomputed_frames(frames) else whole

    def is_one_call(self, frames: int) -> bool:
        """Tell whether each direction's flow is estimated in one call, as in `BasicVSR.forward`."""
        return self.pairs_at_once(frames) == frames - 1


def segment_end(plan: MemoryPlan, frames: int, index: int) -> int | None:
    """Return the kept frame that ends the segment of frame `index`; None where the clip's end does."""
    end = -(-index // plan.interval) * plan.interval
    return end if end < frames else None


def backward_requests(plan: MemoryPlan, frames: int, *, first: int, top: int) -> Iterator[range]:
    """Yield the frames that are asked for on the way from frame `top` down to `first`, both included.

    The flow of a range's pairs is estimated in one call, with the pair that it makes with the range before.
    """
    chunk = plan.pairs_at_once(frames)
    start = max(first, top - chunk)
    yield range(start, top + 1)
    while start > first:
        start, stop = max(first, start - chunk), start
        yield range(start, stop)


def forward_requests(plan: MemoryPlan, frames: int) -> Iterator[range]:
    """Yield the frames that the forward branch asks for; with flow as for `backward_requests`.

    Apart from the first frame, no range reaches beyond a segment whose features are computed again: all that
    is held of the clip while they are is one frame.
    """
    yield range(1)
    start = 1
    while start < frames:
        stop = min(start + plan.pairs_at_once(frames), frames)
        if plan.recomputed_frames(frames):
            stop = min(stop, -(-start // plan.interval) * plan.interval + 1)
        yield range(start, stop)
        start = stop
