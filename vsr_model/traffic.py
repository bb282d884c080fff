"""Bytes that a forward pass of BasicVSR has to move, from its configuration alone. Free of torch.

The counterpart of `vsr_model.cost.stage_flops` for a roofline (Williams, Waterman and Patterson, CACM 2009):
compulsory traffic, below which no implementation that is built in the same way can come. Two bounds:

* `layers`: nothing stays in a cache between layers. Each layer of the published network reads its input and
  its weights once and writes its output once. A layer is a convolution, a warp, a pooling or a resizing, with
  all that is done to its output number by number: activation, scaling, conversion, pixel shuffle, and a sum
  with a shortcut, which is read once for it. Joining costs nothing: parts are written where they belong.
* `fused`: nothing of what lies within a stage leaves the cache. Flow estimation reads the clip and its
  weights and writes flows; each later call of a stage (a frame in a direction) reads what other stages give
  it and its weights, and writes what it gives to others.

Both count the schedule as published: a call per frame and direction, flows of all pairs of a direction in
one. `mid_channels` and `num_blocks` are those of `BasicVSR`; `batch`, `frames`, `height` and `width` are n,
t, h and w of its input.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vsr_model.cost import (
    FLOAT_BYTES,
    FLOW_CHANNELS,
    FLOW_KERNEL,
    FLOW_LEVELS,
    KERNEL,
    OUTPUT_CHANNELS,
    RGB,
    SCALE,
    aligned,
)
from vsr_model.stages import Stage

_FLOW: Final = FLOW_CHANNELS[-1]
_OUTPUT: Final = RGB * SCALE**2  # values of the output for one pixel of the input


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that a stage reads and writes in one forward at least, as the module says."""

    layers: int
    fused: int


def stage_traffic(
    *,
    mid_channels: int,
    num_blocks: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    bytes_per_element: int = 4,
) -> dict[Stage, Traffic]:
    """Bytes of each stage, summed over the clip and both directions.

    `bytes_per_element` is that of features and of the weights that work on them
    (`BasicVSR.cast_features`); frames, flows, flow estimation and the output are float32.
    """
    c, wide = mid_channels, bytes_per_element
    pixels, pairs = batch * height * width, frames - 1
    calls = 2 * frames  # of a trunk, both directions

    warped = 2 * pairs * pixels * (2 * c * wide + _FLOW * FLOAT_BYTES)
    flows_out = 2 * pairs * pixels * _FLOW * FLOAT_BYTES
    flow_fused = FLOAT_BYTES * RGB * frames * pixels + _flow_weight_bytes() + flows_out if pairs else 0
    flow_layers = 2 * _flow_layers(images=batch * pairs, height=height, width=width) if pairs else 0

    in_out = pixels * (RGB * FLOAT_BYTES + 2 * c * wide)  # a frame and features in, features out
    convolutions = 2 * num_blocks
    shortcuts = num_blocks * c  # the other operand of each block's sum
    # The first convolution reads and writes `in_out`; each of the others c in and c out.
    trunk = in_out + wide * pixels * (convolutions * 2 * c + shortcuts)
    trunk_weights = wide * (_weights(RGB + c, c, KERNEL) + convolutions * _weights(c, c, KERNEL))

    fusion = frames * wide * (pixels * 3 * c + _weights(2 * c, c, 1))

    upsampling_weights = wide * (
        _weights(c, 4 * c, KERNEL)
        + _weights(c, 4 * OUTPUT_CHANNELS, KERNEL)
        + _weights(OUTPUT_CHANNELS, OUTPUT_CHANNELS, KERNEL)
        + _weights(OUTPUT_CHANNELS, RGB, KERNEL)
    )
    shuffled = 4 * c, SCALE**2 * OUTPUT_CHANNELS  # values per pixel of the input after each of the two
    features = (c + shuffled[0]) + (shuffled[0] + shuffled[1]) + 2 * shuffled[1] + shuffled[1]
    # The enlarged frame is written, and read again as the other operand of the sum that is the output.
    images = RGB + _OUTPUT + _OUTPUT + _OUTPUT
    return {
        Stage.ALIGNMENT: Traffic(layers=flow_layers + warped, fused=flow_fused + warped),
        Stage.PROPAGATION: Traffic(
            layers=calls * (trunk + trunk_weights), fused=calls * (in_out + trunk_weights)
        ),
        Stage.AGGREGATION: Traffic(layers=fusion, fused=fusion),  # a single layer
        Stage.UPSAMPLING: Traffic(
            layers=frames * (pixels * (wide * features + FLOAT_BYTES * images) + upsampling_weights),
            fused=frames * (pixels * (wide * c + FLOAT_BYTES * (RGB + _OUTPUT)) + upsampling_weights),
        ),
    }


def _flow_layers(*, images: int, height: int, width: int) -> int:
    """Of estimating one direction's flow of so many pairs in one call."""
    own = images * height * width
    areas = [images * (aligned(height) >> level) * (aligned(width) >> level) for level in range(FLOW_LEVELS)]
    # Frames to the multiples of 32 and the flow back, where the size is none.
    resizing = (2 * RGB + _FLOW) * (own + areas[0]) if areas[0] != own else 0
    normalising = 2 * RGB * 2 * areas[0]
    pooling = 2 * RGB * sum(map(sum, pairwise(areas)))
    # In each level: warp (image and flow in, image out), convolutions, and the flow that they refine.
    in_level = (2 * RGB + _FLOW) + sum(map(sum, pairwise(FLOW_CHANNELS))) + _FLOW
    enlarging = _FLOW * sum(map(sum, pairwise(areas)))  # the flow of each level but the finest
    elements = resizing + normalising + pooling + in_level * sum(areas) + enlarging
    return FLOAT_BYTES * elements + _flow_weight_bytes()


def _flow_weight_bytes() -> int:
    return FLOAT_BYTES * FLOW_LEVELS * sum(_weights(a, b, FLOW_KERNEL) for a, b in pairwise(FLOW_CHANNELS))


def _weights(channels_in: int, channels_out: int, kernel: int) -> int:
    """Of a convolution, biases included."""
    return (kernel * channels_in + 1) * channels_out
