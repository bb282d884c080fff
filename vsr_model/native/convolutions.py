"""The kernel's convolutions: prepared weights, and several of them run one after another in one call.

Images are channels_last tensors (n, c, h, w) of float32 whose c is a multiple of 16 (`padded`).
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.native.build import Unavailable, bfloat16_unavailable, library
from vsr_model.native.scratch import claim
from vsr_model.native.tiles import BFLOAT16_TILE, TILES, padded, thread_bytes


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A convolution's weights as the kernel takes them, with zeros for channels that only fill up."""

    transformed: Tensor
    bias: Tensor
    channels_in: int
    channels_out: int
    kernel: int
    tile: int
    in_bfloat16: bool  # whether what is multiplied is; sums, and all else, are in float32


def prepare(
    conv: nn.Conv2d,
    *,
    inputs: slice = slice(None),
    with_bias: bool = True,
    shuffled: bool = False,
    in_bfloat16: bool = False,
) -> Weights:
    """The weights of `conv`, of odd square kernel that keeps the size, for some of its input channels.

    With `shuffled` the outputs are ordered corner by corner, as `pixel_shuffle` by 2 lays them out, each
    corner filled up to a multiple of 16. With `in_bfloat16` the factors of products are rounded to it, after
    the transforms. Raises Unavailable where the kernel cannot be had, which the meta device does not need.
    """
    weight = conv.weight.detach()[:, inputs].float()
    if in_bfloat16 and not weight.is_meta and (reason := bfloat16_unavailable()) is not None:
        raise Unavailable(reason)
    bias = conv.bias.detach() if conv.bias is not None and with_bias else weight.new_zeros(len(weight))
    if shuffled:
        weight, bias = (_corner_by_corner(values) for values in (weight, bias))
    else:
        weight, bias = (_filled(values, padded(len(values)), 0) for values in (weight, bias))
    weight = _filled(weight, padded(weight.shape[1]), 1).contiguous()
    channels_out, channels_in, kernel, _ = weight.shape
    tile = BFLOAT16_TILE if in_bfloat16 else TILES[kernel]
    count = (tile + kernel - 1) ** 2 * channels_in * channels_out
    transformed = weight.new_empty(count, dtype=torch.bfloat16 if in_bfloat16 else torch.float32)
    failed = not weight.is_meta and library().vsr_transform_weights(
        weight.data_ptr(),
        channels_in,
        channels_out,
        tile,
        kernel,
        in_bfloat16,
        transformed.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise ValueError(f"There is no algorithm for kernels of {kernel} x {kernel} and tiles of {tile}.")
    return Weights(
        transformed=transformed, bias=bias.contiguous(), channels_in=channels_in, channels_out=channels_out,
        kernel=kernel, tile=tile, in_bfloat16=in_bfloat16,
    )  # fmt: skip


def _corner_by_corner(values: Tensor) -> Tensor:
    """(4 c, ...) whose index is 4 c + corner, to (4 padded(c), ...) whose index is corner, then c."""
    corners = values.reshape(-1, 4, *values.shape[1:]).transpose(0, 1)
    return _filled(corners, padded(corners.shape[1]), 1).flatten(0, 1)


def _filled(values: Tensor, size: int, axis: int) -> Tensor:
    missing = size - values.shape[axis]
    return F.pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing)) if missing else values


def image(n: int, channels: int, height: int, width: int) -> Tensor:
    """An image of the kernel's layout, its values not set."""
    return torch.empty(n, channels, height, width, memory_format=torch.channels_last)


class _Convolution(ctypes.Structure):
    """As `Convolution` in winograd.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "image", "add", "out")),
        *((name, ctypes.c_int64) for name in ("n", "h", "w", "cin", "cout")),
        ("tile", ctypes.c_int32),
        ("kernel", ctypes.c_int32),
        ("negative_slope", ctypes.c_float),
        ("in_bfloat16", ctypes.c_int32),
        ("shuffle", ctypes.c_int32),
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """out = leaky_relu(conv(image) + bias + add); a slope of 1 is no activation, 0 is ReLU.

    `out` has the image's size and `weights.channels_out` channels, or twice the size and a quarter of them
    where it is shuffled. `add` is as `out`, and may be it.
    """

    weights: Weights
    image: Tensor
    out: Tensor
    add: Tensor | None = None
    negative_slope: float = 1.0
    shuffled: bool = False


def run(steps: Sequence[Step]) -> None:
    """Run the steps one after another, by as many threads as torch has.

    On the meta device nothing is computed, and the memory that the threads' tiles would take is claimed.
    Raises ValueError for images that do not fit together, MemoryError where a thread's tiles do not fit.
    """
    if steps[0].image.is_meta:
        channels = max(step.weights.channels_in + step.weights.channels_out for step in steps)
        claim("tiles", torch.get_num_threads() * thread_bytes(channels))
        return
    array = (_Convolution * len(steps))(*map(_described, steps))
    if library().vsr_convolve(array, len(steps), torch.get_num_threads()):
        raise MemoryError("The kernel's tiles do not fit into memory.")


def _described(step: Step) -> _Convolution:
    n, _, h, w = step.image.shape
    weights, scale = step.weights, 2 if step.shuffled else 1
    out_shape = n, weights.channels_out // scale**2, scale * h, scale * w
    in_shape = n, weights.channels_in, h, w
    # The kernel follows pointers: what does not fit would be written past its end.
    for tensor, shape in ((step.image, in_shape), (step.out, out_shape), (step.add, out_shape)):
        if tensor is not None and not (
            tensor.shape == shape
            and tensor.dtype == torch.float32
            and tensor.device.type in ("cpu", "meta")
            and tensor.is_contiguous(memory_format=torch.channels_last)
        ):
            raise ValueError(
                f"An image should be {shape}, channels_last and float32 on the CPU, not "
                f"{tuple(tensor.shape)} with strides {tensor.stride()} and {tensor.dtype} on {tensor.device}."
            )
    return _Convolution(
        weights.transformed.data_ptr(), weights.bias.data_ptr(), step.image.data_ptr(),
        None if step.add is None else step.add.data_ptr(), step.out.data_ptr(),
        n, h, w, weights.channels_in, weights.channels_out,
        weights.tile, weights.kernel, step.negative_slope, weights.in_bfloat16, step.shuffled,
    )  # fmt: skip
