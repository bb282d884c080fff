"""What CUDA graphs of a network's stages hold beside its tensors (`vsr_model.cuda_graphs`). Free of torch."""

from vsr_model import cost
from vsr_model.cost import FLOAT_BYTES, FLOW_CHANNELS, RGB, SCALE


def graph_bytes(
    *,
    mid_channels: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    bytes_per_element: int = FLOAT_BYTES,
) -> int:
    """An allowance for what graphs keep from call to call: it is meant to be too much, and no GPU has
    confirmed it.

    The pool of a graph gives nothing back, so that it keeps the worst moment of flow estimation and that of
    upsampling. Each graph has inputs of its own, and an output, which callers are given a copy of: these
    copies are the tensors that the schedule's estimate counts.
    """
    pixels = batch * height * width
    pairs = frames - 1
    flow, features, frame = FLOW_CHANNELS[-1], bytes_per_element * mid_channels, FLOAT_BYTES * RGB
    # Each of what is given and what it gives: flow estimation, warp, both trunks, aggregation, upsampling.
    held = pairs * (2 * frame + FLOAT_BYTES * flow)
    held += 2 * features + FLOAT_BYTES * flow
    held += 2 * (frame + 2 * features)
    held += 4 * features + frame + SCALE**2 * frame
    upsampling = bytes_per_element * cost.upsampling_elements(mid_channels=mid_channels)
    estimating = cost.flow_elements(batch=batch, pairs=pairs, height=height, width=width) if pairs else 0
    return pixels * (held + upsampling) + FLOAT_BYTES * estimating
