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
    computed twice, which takes `extra_flops` (a multiply-accumulate is two).
    """

    device_bytes: int
    host_bytes: int
    disk_bytes: int
    recomputed_frames: int
    extra_flops: int


def needs(call: Call, plan: MemoryPlan) -> Needs:
    """What `streaming.upscale_frames` takes. Two moments can be the worst on the device:

    * The forward branch estimates the flow to the next frames, as many as the plan allows at once, when most
      features wait for it.
    * It upsamples the first frame, or one further on with the frames and flows around it.

    Anywhere else fewer features wait, or no more is done at once.
    """
    kept_bytes = len(plan.kept_frames(call.frames)) * call.features_bytes
    stays = plan.place == "device" or (plan.place == "host" and call.on_cpu)
    device_bytes = max(_flow_moment_bytes(call, plan), _upsampling_moment_bytes(call, plan))
    device_bytes += kept_bytes if stays else 0
    staged = not (stays or call.on_cpu) and kept_bytes > 0
    host_bytes = _STAGING_BUFFERS * call.features_bytes if staged else 0
    host_bytes += kept_bytes if plan.place == "host" and not stays else 0
    return Needs(
        device_bytes=0 if call.on_cpu else device_bytes,
        host_bytes=host_bytes + (device_bytes if call.on_cpu else 0),
        disk_bytes=kept_bytes if plan.place == "disk" else 0,
        recomputed_frames=plan.recomputed_frames(call.frames),
        extra_flops=_extra_flops(call, plan),
    )


def _flow_moment_bytes(call: Call, plan: MemoryPlan) -> int:
    """Bytes on the device while the forward branch estimates flow, beside features kept by the plan."""
    flow_bytes = _flow_bytes(call, plan)
    return flow_bytes + _output_bytes(call) if flow_bytes else 0


def _upsampling_moment_bytes(call: Call, plan: MemoryPlan) -> int:
    """Bytes on the device while a frame is upsampled, beside features kept by the plan."""
    later_bytes = _later_frame_bytes(call, plan)
    return max(_first_frame_bytes(call, plan), later_bytes + _output_bytes(call) if later_bytes else 0)


# The same without the output before, which a receiver may hold.


def _flow_bytes(call: Call, plan: MemoryPlan) -> int:
    """While flow is estimated; 0 where there is none."""
    pairs = plan.pairs_at_once(call.frames)
    if pairs == 0:
        return 0
    elements = _pixels(call) * 2 * _RGB * (pairs + 1)  # the frames, and stacked once more
    elements += flow_elements(batch=call.batch, pairs=pairs, height=call.height, width=call.width)
    return _weight_bytes(call) + _segment_features(call, plan) * call.features_bytes + _FLOAT_BYTES * elements


def _first_frame_bytes(call: Call, plan: MemoryPlan) -> int:
    """While the first frame is upsampled: beside the segment's features but its own, the forward ones, and
    both fused."""
    features = min(plan.interval, call.frames) + 1
    frame_bytes = _FLOAT_BYTES * _pixels(call) * _RGB
    return _weight_bytes(call) + _upsampling_bytes(call) + features * call.features_bytes + frame_bytes


def _later_frame_bytes(call: Call, plan: MemoryPlan) -> int:
    """While the second is, or one in a later segment, beside the frames and flows that were estimated with
    it; 0 where there is none."""
    pairs = plan.pairs_at_once(call.frames)
    if pairs == 0:
        return 0
    features_bytes = _segment_features(call, plan) * call.features_bytes
    steps_bytes = _FLOAT_BYTES * _pixels(call) * pairs * (_RGB + _FLOW)
    return _weight_bytes(call) + _upsampling_bytes(call) + features_bytes + steps_bytes


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


def _upsampling_bytes(call: Call) -> int:
    elements = _pixels(call) * upsampling_elements(mid_channels=call.mid_channels)
    return call.bytes_per_element * elements


def _output_bytes(call: Call) -> int:
    return _FLOAT_BYTES * _OUTPUT * _pixels(call)


def _weight_bytes(call: Call) -> int:
    return weight_bytes(
        mid_channels=call.mid_channels,
        num_blocks=call.num_blocks,
        bytes_per_element=call.bytes_per_element,
    )


def _pixels(call: Call) -> int:
    return call.batch * call.height * call.width
