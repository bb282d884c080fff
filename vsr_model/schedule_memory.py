"""What a call takes under each schedule of `vsr_model.schedules`, from its shape. Free of torch."""

from typing import Final

from vsr_model import cost
from vsr_model.cost import FLOAT_BYTES, FLOW_CHANNELS, RGB, SCALE

FRAMES_AT_ONCE: Final = 8
"""The most that `batched` aggregates and upsamples in one call: upsampling a frame takes many times what its
features do, and so many fill any device."""

_OUTPUT: Final = RGB * SCALE**2


def batch_sizes(frames: int) -> list[int]:
    """How many frames each batch has, which are as few and as equal as they can be, larger ones first."""
    count = -(-frames // FRAMES_AT_ONCE)
    return [frames // count + (i < frames % count) for i in range(count)]


def estimate_peak_bytes(
    schedule: str,
    *,
    mid_channels: int,
    num_blocks: int,
    batch: int,
    frames: int,
    height: int,
    width: int,
    bytes_per_element: int = 4,
    on_cpu: bool = True,
) -> int:
    """As `vsr_model.cost.estimate_peak_bytes`, of a call that records nothing, in another order.

    * `batched`: flow of twice as many pairs at once; a batch's frames are upsampled together, while the
      backward features of later batches and all earlier outputs are alive.
    * `bidirectional`: features of t + 2 frames at the middle of the clip, from where on outputs take their
      place. On a CPU the trunks' weights are there twice.
    * `pipelined`: as published, with the forward features of every frame, which may all wait: the host may be
      done before the device has used any.

    Where outputs are joined each is there twice, as ever.
    """
    if schedule == "sequential":
        return cost.estimate_peak_bytes(
            mid_channels=mid_channels,
            num_blocks=num_blocks,
            batch=batch,
            frames=frames,
            height=height,
            width=width,
            bytes_per_element=bytes_per_element,
        )
    feature_bytes = bytes_per_element * batch * height * width * mid_channels
    pixels = batch * height * width
    pairs = frames - 1
    weights = cost.weight_bytes(
        mid_channels=mid_channels, num_blocks=num_blocks, bytes_per_element=bytes_per_element
    )
    clip = RGB * frames
    flows = 2 * FLOW_CHANNELS[-1] * pairs
    upsampling = bytes_per_element * cost.upsampling_elements(mid_channels=mid_channels)
    joining = pixels * FLOAT_BYTES * (clip + flows + 2 * _OUTPUT * frames)
    if schedule == "pipelined":
        held = FLOAT_BYTES * (clip + flows + _OUTPUT * pairs) + upsampling
        return weights + max(
            _flow_bytes(batch, pairs, height, width, clip=clip + flows // 2),
            pixels * held + (2 * frames + 1) * feature_bytes,
            joining + 2 * frames * feature_bytes,
        )
    moments = [joining]
    if schedule == "bidirectional":
        moments.append(_flow_bytes(batch, pairs, height, width, clip=clip + flows // 2))
        middle = frames // 2
        for kept, done in ((2 * middle + 2, 0), (4, frames - 1 - frames % 2)):
            held = FLOAT_BYTES * (clip + flows + _OUTPUT * max(done, 0)) + upsampling
            moments.append(pixels * held + min(kept + 1, 2 * frames + 1) * feature_bytes)
        if on_cpu:
            weights += 2 * bytes_per_element * cost.trunk_parameters(mid_channels, num_blocks)
        return weights + max(moments)
    # Both images of each pair, both ways, in one tensor each.
    stacked = 4 * RGB * pairs
    moments.append(_flow_bytes(batch, 2 * pairs, height, width, clip=clip + stacked))
    done = 0
    for size in batch_sizes(frames):
        held = FLOAT_BYTES * (clip + flows + _OUTPUT * done + RGB * size) + size * upsampling
        moments.append(pixels * held + (frames - done - size + size + 1) * feature_bytes)
        done += size
    return weights + max(moments)


def _flow_bytes(batch: int, pairs: int, height: int, width: int, *, clip: int) -> int:
    """While flow of so many pairs is estimated, beside `clip` numbers per pixel."""
    if pairs == 0:
        return 0
    elements = cost.flow_elements(batch=batch, pairs=pairs, height=height, width=width)
    return FLOAT_BYTES * (batch * height * width * clip + elements)
