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
    """
    weights = weight_bytes(
        mid_channels=mid_channels, num_blocks=num_blocks, bytes_per_element=bytes_per_element
    )

    pixels = batch * height * width
    pairs = frames - 1
    clip = RGB * frames
    flows = 2 * FLOW_CHANNELS[-1] * pairs
    outputs = RGB * SCALE**2 * frames

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
