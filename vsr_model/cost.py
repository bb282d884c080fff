"""What a forward pass of BasicVSR costs, from its configuration alone. Free of torch.

`mid_channels` and `num_blocks` are those of `BasicVSR`; `batch`, `frames`, `height` and `width` are n, t, h
and w of its input. FLOPs count convolutions, one multiply-accumulate as two, as torch's own counter does.
"""

from itertools import pairwise
from typing import Final

from vsr_model.stages import Stage

FLOW_LEVELS: Final = 6
FLOW_CHANNELS: Final = (8, 32, 64, 32, 16, 2)
FLOW_KERNEL: Final = 7 * 7
_FLOW_MULTIPLE: Final = 32
KERNEL: Final = 3 * 3
OUTPUT_CHANNELS: Final = 64
RGB: Final = 3
SCALE: Final = 4
FLOAT_BYTES: Final = 4


def stage_flops(
    *, mid_channels: int, num_blocks: int, batch: int, frames: int, height: int, width: int
) -> dict[Stage, int]:
    """FLOPs of each stage, summed over the clip and both directions."""
    pixels = batch * frames * height * width
    flow_weights = FLOW_KERNEL * sum(a * b for a, b in pairwise(FLOW_CHANNELS))
    flow_pixels = (
        2
        * batch
        * (frames - 1)
        * sum((aligned(height) >> level) * (aligned(width) >> level) for level in range(FLOW_LEVELS))
    )
    return {
        Stage.ALIGNMENT: 2 * flow_pixels * flow_weights,
        Stage.PROPAGATION: 2 * 2 * pixels * _trunk_weights(mid_channels, num_blocks),
        Stage.AGGREGATION: 2 * pixels * 2 * mid_channels * mid_channels,
        Stage.UPSAMPLING: 2
        * pixels
        * sum(
            area * weights
            for area, weights in zip((1, 4, 16, 16), _upsampling_weights(mid_channels), strict=True)
        ),
    }


def parameter_count(*, mid_channels: int, num_blocks: int) -> int:
    """Learned parameters of the whole network, flow estimation included."""
    return _flow_parameters() + _feature_parameters(mid_channels, num_blocks)


def estimate_peak_bytes(
    *,
    mid_channels: int,
    num_blocks: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    bytes_per_element: int = 4,
    gradients: bool = False,
) -> int:
    """Bytes of the tensors alive at the worst moment of a forward pass, uncompiled.

    Weights, input and output are included; workspaces inside a convolution and what an allocator rounds up
    are not. `bytes_per_element` is that of what `BasicVSR.cast_features` converts; all else is float32.

    Three moments can be the worst, depending on size and length of the clip:

    * Flow is estimated for all pairs of neighbouring frames at once. The finest level holds for each pair, at
      its size rounded up to multiples of 32, two pyramids, the warped image, the flow, these joined for the
      level's network, and 32 and 64 channels within it; resized frames too if the size had to be rounded.
    * The last frame is upsampled while the flows, each frame's backward features and all earlier outputs are
      alive: a convolution's output, the same shuffled, and the input of both.
    * The outputs are joined to one clip, which holds each twice.

    With `gradients` what autograd keeps for a backward pass (`recorded_bytes`) grows until the end, and the
    worst moment is there: the last frame is upsampled, or the outputs are joined.
    """
    weights = weight_bytes(
        mid_channels=mid_channels, num_blocks=num_blocks, bytes_per_element=bytes_per_element
    )

    pixels = batch * height * width
    pairs = frames - 1
    clip = RGB * frames
    flows = 2 * FLOW_CHANNELS[-1] * pairs
    outputs = RGB * SCALE**2 * frames

    if gradients:
        recorded = recorded_bytes(
            mid_channels=mid_channels,
            num_blocks=num_blocks,
            batch=batch,
            frames=frames,
            height=height,
            width=width,
            bytes_per_element=bytes_per_element,
        )
        # Beside it: the features of the last forward frame and of the first backward one, which nothing
        # samples; narrow features of the others too, where the warp keeps a widened copy instead.
        unrecorded = 2 if bytes_per_element == FLOAT_BYTES else frames + 1
        whole = RGB * SCALE**2
        in_sum = (FLOAT_BYTES * 2 + bytes_per_element) * whole  # enlarged frame, residual, and both added
        last = max(FLOAT_BYTES * (outputs - whole) + in_sum, 2 * FLOAT_BYTES * outputs)
        kept = FLOAT_BYTES * (clip + flows) + bytes_per_element * mid_channels * unrecorded
        return weights + recorded + pixels * (kept + last)

    estimating = pixels * (clip + flows // 2) + flow_elements(
        batch=batch, pairs=pairs, height=height, width=width
    )

    # Beside the backward features of every frame: the forward features of the last, and both fused.
    features = mid_channels * (frames + 2)
    upsampling = pixels * (
        FLOAT_BYTES * (clip + flows + outputs - outputs // frames)
        + bytes_per_element * (features + upsampling_elements(mid_channels=mid_channels))
    )
    joining = pixels * (FLOAT_BYTES * (clip + flows + 2 * outputs) + bytes_per_element * features)

    return weights + max(FLOAT_BYTES * estimating if pairs else 0, upsampling, joining)


def weight_bytes(*, mid_channels: int, num_blocks: int, bytes_per_element: int = 4) -> int:
    """Bytes of the weights, of which `BasicVSR.cast_features` converts those that features go through."""
    flow_parameters = _flow_parameters() + 2 * RGB  # with the colour statistics
    return bytes_per_element * _feature_parameters(mid_channels, num_blocks) + FLOAT_BYTES * flow_parameters


def flow_elements(*, batch: int, pairs: int, height: int, width: int) -> int:
    """Numbers alive at the worst moment of estimating one direction's flow of so many pairs in one call.

    The frames themselves are not counted; see `estimate_peak_bytes` for what is.
    """
    aligned_height, aligned_width = aligned(height), aligned(width)
    resized = 0 if (aligned_height, aligned_width) == (height, width) else 2 * RGB
    copied = 2 * RGB * pairs if batch > 1 else 0  # a batch's pairs are not contiguous in its clips
    in_level = 2 * RGB * 4 // 3 + RGB + 2 + sum(FLOW_CHANNELS[:3])
    in_pair = aligned_height * aligned_width * (resized + in_level)
    return batch * (height * width * copied + pairs * in_pair)


def upsampling_elements(*, mid_channels: int) -> int:
    """Numbers per pixel of the input alive at the worst moment of upsampling a frame, but for its input."""
    shuffled = 4 * mid_channels, 16 * OUTPUT_CHANNELS  # after each stage
    return max(2 * shuffled[0], shuffled[0] + 2 * shuffled[1], 2 * shuffled[1] + RGB * SCALE**2)


def recorded_bytes(
    *,
    mid_channels: int,
    num_blocks: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    bytes_per_element: int = 4,
) -> int:
    """Bytes of activations that autograd keeps from one forward pass until its output is dropped.

    Weights are not counted. A convolution keeps its input, an activation in place its result (which is the
    next convolution's input, and counted once), a warp its image and where it samples; sums, shuffles,
    concatenations and resizing keep sizes alone.
    """
    pixels = batch * height * width
    pairs = frames - 1
    # Flow, in both directions: each level's network from its joined input to its last hidden channels; above
    # the coarsest, whose flow is zero, also the image that is warped and where.
    in_level = sum(FLOW_CHANNELS[:-1])
    areas = [(aligned(height) >> level) * (aligned(width) >> level) for level in range(FLOW_LEVELS)]
    flow = 2 * batch * pairs * (in_level * sum(areas) + (RGB + 2) * sum(areas[:-1]))
    # A trunk: what it is given, the first activation, and of each block the activation and the sum, but for
    # the last sum: that is what is warped.
    trunk = (RGB + mid_channels) + mid_channels * 2 * num_blocks
    warped = 2 * pairs * (mid_channels + 2)
    fused = 3 * mid_channels  # both directions' features, and the activation
    upsampled = 4 * mid_channels + 2 * 16 * OUTPUT_CHANNELS
    features = frames * (2 * trunk + fused + upsampled)
    return FLOAT_BYTES * (flow + pixels * warped) + bytes_per_element * pixels * features


def _flow_parameters() -> int:
    level_weights = FLOW_KERNEL * sum(a * b for a, b in pairwise(FLOW_CHANNELS))
    return FLOW_LEVELS * (level_weights + sum(FLOW_CHANNELS[1:]))


def _feature_parameters(mid_channels: int, num_blocks: int) -> int:
    """Of what `BasicVSR.cast_features` converts."""
    trunk = trunk_parameters(mid_channels, num_blocks)
    fusion = 2 * mid_channels * mid_channels + mid_channels
    upsampling = sum(_upsampling_weights(mid_channels)) + 4 * mid_channels + 5 * OUTPUT_CHANNELS + 3
    return 2 * trunk + fusion + upsampling


def trunk_parameters(mid_channels: int, num_blocks: int) -> int:
    """Of one direction: weights and biases."""
    return _trunk_weights(mid_channels, num_blocks) + (1 + 2 * num_blocks) * mid_channels


def _trunk_weights(mid_channels: int, num_blocks: int) -> int:
    return KERNEL * mid_channels * ((mid_channels + 3) + 2 * num_blocks * mid_channels)


def _upsampling_weights(mid_channels: int) -> tuple[int, int, int, int]:
    """Of upconv1, upconv2, conv_hr and conv_last."""
    return (
        KERNEL * mid_channels * 4 * mid_channels,
        KERNEL * mid_channels * 4 * OUTPUT_CHANNELS,
        KERNEL * OUTPUT_CHANNELS * OUTPUT_CHANNELS,
        KERNEL * OUTPUT_CHANNELS * 3,
    )


def aligned(size: int) -> int:
    """The size at which flow is estimated."""
    return -(-size // _FLOW_MULTIPLE) * _FLOW_MULTIPLE
