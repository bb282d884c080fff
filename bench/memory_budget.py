"""Whether a clip fits into the memory that one call of the network runs in, and how many frames would."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from bench.grid.backend_spec import Backend
from bench.grid.config import Model
from bench.measure import backends
from bench.units import BYTES, with_unit
from vsr_model.errors import BadInput
from vsr_model.registry import ModelEntry
from vsr_model.video import MediaInfo

_MOST_FRAMES: Final = 10**7  # more than a day at 100 per second
_CPU_ALLOWANCE: Final = 1.6
"""Of resident memory over the tensors that the registry counts: convolutions work on reordered copies, and
freed memory is not given back at once. 1.4 to 1.55 was measured, clips of 1 to 30 frames up to 270 x 480. On
a GPU there is none: memory that runs out there can still be told in a sentence, where a system out of memory
kills the process."""


@dataclass(frozen=True, kw_only=True)
class Budget:
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
            f" {with_unit(self.available_bytes, BYTES)} is available{self.place}; {remedy(self.frames)}."
        )


def remedy(frames: int) -> str:
    """What to do where more than so many frames are too many."""
    return f"give --frames {frames} or less" if frames > 0 else "a smaller input is needed"


def budget_of(info: MediaInfo, entry: ModelEntry, model: Model, backend: Backend) -> Budget:
    parameters = model.parameters
    allowance = 1.0 if backend.is_cuda else _CPU_ALLOWANCE

    def peak_bytes(frames: int) -> int:
        tensors_bytes = entry.estimate_peak_bytes(
            parameters,
            batch=1,
            frames=frames,
            height=info.height,
            width=info.width,
            bytes_per_element=backend.feature_bytes,
        )
        return round(allowance * tensors_bytes)

    if not backend.is_cuda:
        available_bytes, place = psutil.virtual_memory().available, ""
    else:
        # All that the device has: what others hold of it shows only when memory runs out.
        device = backends.describe_devices()["devices"][backends.device_of(backend).torch_device.index]
        available_bytes, place = device["memory_bytes"], f" on {device['name']}"
    return Budget(info=info, peak_bytes=peak_bytes, available_bytes=available_bytes, place=place)


def stated_frames(info: MediaInfo, frames: int | None) -> int | None:
    """How many frames there are to enlarge, as far as the file's header tells."""
    if info.frame_count is None or frames is None:
        return info.frame_count
    return min(info.frame_count, frames)
