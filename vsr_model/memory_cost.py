"""What a call takes under a `MemoryPlan`, from configuration and shape alone. Free of torch."""

from dataclasses import dataclass
from typing import Final

from vsr_model.cost import flow_elements, stage_flops, upsampling_elements, weight_bytes
from vsr_model.memory_plan import MemoryPlan
from vsr_model.stages import Stage

_RGB: Final = 3
_FLOW: Final = 2
_OUTPUT: Final = _RGB * 4**2
_FLOAT_BYTES: Final = 4
_STAGING_BUFFERS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Call:
    """A network and the clip that it is given.

    `mid_channels` and `num_blocks` are those of `BasicVSR`; `batch`, `frames`, `height` and `width` are n, t,
    h and w of the clip; `bytes_per_element` is that of what `BasicVSR.cast_features` converts. `on_cpu` says
    that the device's memory is the host's.
    """

    mid_channels: int
    num_blocks: int
    batch: int
    frames: int
    height: int
    width: int
    bytes_per_element: int = 4
    on_cpu: bool = False

    @property
    def features_bytes(self) -> int:
        """Of one frame's features in one direction."""
        return self.bytes_per_element * self.mid_channels * self.batch * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a call takes under a plan.

    Bytes are those of the tensors alive at the worst moment, on the device and in host memory, and of the
    file. On a CPU all memory is the host's. Weights are included, and one output, which its receiver may hold
    while the next is made; not what the source holds, nor other outputs that were handed on, nor workspaces
    inside a convolution, nor what an allocator rounds up. `recomputed_frames` have their backward features
    computed twice, which takes `extra_flops` (a multiply-accumulate is two). `moved_bytes` are carried to the
    plan's place and back.
    """

    device_bytes: int
    host_bytes: int
    disk_bytes: int
    recomputed_frames: int
    extra_flops: int
    moved_bytes: int


def needs(call: Call, plan: MemoryPlan) -> Needs:
    """What `streaming.upscale_frames` takes. Two moments can be the worst on the device:

    * The forward branch estimates the flow to the next frames, as many as the plan allows at once, when most
      features wait for it.
    * It upsamples the first frame, or one further on with the frames and flows around it.

    Anywhere else fewer features wait, or no more is done at once.
    """
    kept_bytes = len(plan.kept_frames(call.frames)) * call.features_bytes
    stays = plan.place == "device" or (plan.place == "host" and call.on_cpu)
    working_bytes = max(flow_moment_bytes(call, plan), upsampling_moment_bytes(call, plan))
    device_bytes = working_bytes + (kept_bytes if stays else 0)
    staging_bytes = 0 if stays or call.on_cpu or not kept_bytes else _STAGING_BUFFERS * call.features_bytes
    host_bytes = staging_bytes + (kept_bytes if plan.place == "host" and not stays else 0)
    return Needs(
        device_bytes=0 if call.on_cpu else device_bytes,
        host_bytes=host_bytes + (device_bytes if call.on_cpu else 0),
        disk_bytes=kept_bytes if plan.place == "disk" else 0,
        recomputed_frames=plan.recomputed_frames(call.frames),
        extra_flops=_extra_flops(call, plan),
        moved_bytes=0 if stays else 2 * kept_bytes,
    )


def flow_moment_bytes(call: Call, plan: MemoryPlan) -> int:
    """Bytes on the device while the forward branch estimates flow, beside features kept by the plan."""
    pairs = plan.pairs_at_once(call.frames)
    if pairs == 0:
        return 0
    held = _RGB * (pairs + 1)
    elements = _pixels(call) * (2 * held + _OUTPUT)  # the frames, and stacked once more
    elements += flow_elements(batch=call.batch, pairs=pairs, height=call.height, width=call.width)
    return _weight_bytes(call) + _segment_features(call, plan) * call.features_bytes + _FLOAT_BYTES * elements


def upsampling_moment_bytes(call: Call, plan: MemoryPlan) -> int:
    """Bytes on the device while a frame is upsampled, beside features kept by the plan."""
    upsampling_bytes = (
        call.bytes_per_element * _pixels(call) * upsampling_elements(mid_channels=call.mid_channels)
    )
    # Of the first frame: the segment's features but its own, the forward ones, and both fused.
    first = (min(plan.interval, call.frames) + 1) * call.features_bytes + _FLOAT_BYTES * _pixels(call) * _RGB
    pairs = plan.pairs_at_once(call.frames)
    later = 0
    if pairs:
        # Of the second, or of one in a later segment: the frames and flows that were estimated with it.
        later = _segment_features(call, plan) * call.features_bytes
        later += _FLOAT_BYTES * _pixels(call) * (pairs * (_RGB + _FLOW) + _OUTPUT)
    return _weight_bytes(call) + upsampling_bytes + max(first, later)


def spool_bytes(*, batch: int, frames: int, height: int, width: int) -> int:
    """Of the file of a `spool.FrameSpool`."""
    return _FLOAT_BYTES * _RGB * batch * frames * height * width


def _segment_features(call: Call, plan: MemoryPlan) -> int:
    """Frames' features on the device, forward ones included, when the forward branch is past its first frame.

    Those of the first segment are one fewer by then, and the forward ones make up for it. A later segment is
    there as a whole when its first frame's turn comes.
    """
    behind_first = 1 if plan.place != "device" and plan.kept_frames(call.frames) else 0
    return min(plan.interval, call.frames) + behind_first


def _extra_flops(call: Call, plan: MemoryPlan) -> int:
    """One direction's trunk for each frame, and flow for each but the clip's last, into which none points."""
    frames = plan.recomputed_frames(call.frames)
    if not frames:
        return 0
    last_is_kept = (call.frames - 1) % plan.interval == 0
    return (
        _both_directions(call, Stage.PROPAGATION, frames)
        + _both_directions(call, Stage.ALIGNMENT, frames + (1 if last_is_kept else 0))
    ) // 2


def _both_directions(call: Call, stage: Stage, frames: int) -> int:
    """FLOPs of a stage on a clip of so many frames; in alignment one fewer pairs of them."""
    return stage_flops(
        mid_channels=call.mid_channels,
        num_blocks=call.num_blocks,
        batch=call.batch,
        frames=frames,
        height=call.height,
        width=call.width,
    )[stage]


def _weight_bytes(call: Call) -> int:
    return weight_bytes(
        mid_channels=call.mid_channels,
        num_blocks=call.num_blocks,
        bytes_per_element=call.bytes_per_element,
    )


def _pixels(call: Call) -> int:
    return call.batch * call.height * call.width
