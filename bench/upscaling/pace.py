"""How far the work on a file is, how fast it goes and how long it will take."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from vsr_model.cost import stage_flops
from vsr_model.memory_cost import Call
from vsr_model.memory_plan import MemoryPlan
from vsr_model.stages import Stage

if TYPE_CHECKING:
    from bench.measure.backends import Device  # torch, which the display of this does without

COUNTING: Final = "counting frames"
READING: Final = "reading"
LOOKING_AHEAD: Final = "propagating backward"
UPSCALING: Final = "upscaling"
FINISHING: Final = "finishing the file"

BETWEEN_S: Final = 0.2
"""Between two reports: a device is waited for at each."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`doing` is one of the five above, in that order; `done` of `total` frames are done in it.

    `share` (0 to 1) is that of all work of this kind: reading is one, all that the network does is another.
    """

    doing: str
    done: int
    total: int
    share: float | None = None
    frames_per_s: float | None = None
    left_s: float | None = None


Listener: TypeAlias = Callable[[Progress], None]


def unheard(_progress: Progress, /) -> None:
    """For when no one listens."""


class Pace:
    """Tells a listener of frames that are done one after another, such as those of reading."""

    def __init__(self, doing: str, total: int, listener: Listener, clock: Callable[[], float]) -> None:
        self._doing, self._total, self._listener, self._clock = doing, total, listener, clock
        self._began_s = clock()
        self._told_s = -1.0

    def at(self, done: int) -> None:
        """So many are done."""
        now = self._clock()
        if now - self._told_s < BETWEEN_S and done != self._total:
            return
        self._told_s = now
        rate = done / (now - self._began_s) if now > self._began_s else None
        total = max(self._total, done) if self._total else 0
        self._listener(
            Progress(
                doing=self._doing,
                done=done,
                total=total,
                share=done / total if total else None,
                frames_per_s=rate,
                left_s=(total - done) / rate if total and rate else None,
            )
        )


class NetworkPace:
    """A stage probe that tells how far the network is, by the work that its stages are.

    First all frames are looked at backward in time; then they come out, some after their backward features
    were computed once more. `frame_out` is to be called for each that came.
    """

    def __init__(
        self,
        call: Call,
        plan: MemoryPlan,
        device: "Device",
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        flops = stage_flops(
            mid_channels=call.mid_channels,
            num_blocks=call.num_blocks,
            batch=1,
            frames=call.frames,
            height=call.height,
            width=call.width,
        )
        steps = 2 * call.frames
        self._step = (flops[Stage.ALIGNMENT] + flops[Stage.PROPAGATION]) / steps
        self._last_steps = (flops[Stage.AGGREGATION] + flops[Stage.UPSAMPLING]) / call.frames
        self._all = (steps + plan.recomputed_frames(call.frames)) * self._step + (
            call.frames * self._last_steps
        )
        self._frames = call.frames
        self._device, self._listener, self._clock = device, listener, clock
        self._ended: Counter[Stage] = Counter()
        self._out = 0
        self._began_s = self._phase_began_s = self._told_s = clock()

    @contextmanager
    def __call__(self, stage: Stage, /) -> Iterator[None]:
        yield
        self._ended[stage] += 1
        if stage is Stage.PROPAGATION:
            self._tell()

    def frame_out(self) -> None:
        """One more frame has come."""
        if self._out == 0:
            self._phase_began_s = self._clock()
        self._out += 1
        self._tell(last=self._out == self._frames)

    def _tell(self, *, last: bool = False) -> None:
        if self._clock() - self._told_s < BETWEEN_S and not last:
            return
        self._device.synchronize()  # else it would count what is queued
        now = self._told_s = self._clock()
        worked = (
            self._ended[Stage.PROPAGATION] * self._step + self._ended[Stage.UPSAMPLING] * self._last_steps
        )
        # The first intervals of propagation make the features that a branch starts from.
        share = 1.0 if last else min(worked / self._all, 1.0)
        if self._out or self._ended[Stage.UPSAMPLING]:
            doing, done = UPSCALING, self._out
        else:
            doing, done = LOOKING_AHEAD, min(self._ended[Stage.PROPAGATION], self._frames)
        phase_s = now - self._phase_began_s
        self._listener(
            Progress(
                doing=doing,
                done=done,
                total=self._frames,
                share=share,
                frames_per_s=done / phase_s if phase_s > 0 and done else None,
                left_s=(now - self._began_s) * (1 - share) / share if share > 0 else None,
            )
        )
