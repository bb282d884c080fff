"""Calls of the kernel: prepared weights, and convolutions that run one after another in one call.

Images are channels_last tensors (n, c, h, w) of float32 whose c is a multiple of 16 (`padded`).
"""

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.convolutions.winograd.build import Unavailable, bfloat16_unavailable, library

CHANNELS: Final = 16
"""The kernel takes 16 channels at once, on any processor."""

TILES: Final = {3: 6, 7: 4}
"""The output tile by kernel size. Larger tiles need fewer multiplications and round more."""

BFLOAT16_TILE: Final = 4
"""The output tile of 3x3 convolutions whose factors are rounded to bfloat16."""

_BLOCK_BYTES: Final = 1200 << 10  # tiles that a thread works on, at least as many as follow
_ROWS: Final = 6
_PAGE_BYTES: Final = 2 << 20
_FLOAT_BYTES: Final = 4

_SCRATCH: Final = threading.local()


def padded(channels: int) -> int:
    """Return the least multiple of 16 that holds so many channels."""
    return -(-channels // CHANNELS) * CHANNELS


def thread_bytes(channels: int) -> int:
    """Return the memory of `Scratch` in winograd.cpp for so many channels, in and out together."""
    matrices = (TILES[3] + 2) ** 2
    block = (
        max(_BLOCK_BYTES, _ROWS * matrices * channels * _FLOAT_BYTES) + matrices * 2 * CHANNELS * _FLOAT_BYTES
    )
    return -(-block // _PAGE_BYTES) * _PAGE_BYTES


def scratch_image(role: str, n: int, channels: int, height: int, width: int) -> Tensor:
    """Return a channels_last image without values, on torch's default device, for use within one call.

    A role has the same memory in every call of a thread, since fresh pages take time: the image before is
    overwritten.
    """
    values = _claim(role, _FLOAT_BYTES * prod((n, channels, height, width))).view(torch.float32)
    return values.view(n, height, width, channels).permute(0, 3, 1, 2)


def _claim(role: str, size: int) -> Tensor:
    kept: dict[str, Tensor] = _SCRATCH.__dict__.setdefault("kept", {})
    device = torch.get_default_device()
    if role not in kept or len(kept[role]) < size or kept[role].device != device:
        kept.pop(role, None)  # not two at once
        # What inference mode makes could not be written to outside of it.
        with torch.inference_mode(False):
            kept[role] = torch.empty(size, dtype=torch.uint8)
    return kept[role][:size]


def release_scratch() -> None:
    """Release the scratch memory of the calling thread."""
    _SCRATCH.__dict__.pop("kept", None)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A convolution's weights in the kernel's layout, with zeros for channels that only fill up."""

    transformed: Tensor
    bias: Tensor
    channels_in: int
    channels_out: int
    kernel: int
    tile: int
    in_bfloat16: bool  # of the factors; sums, and all else, are float32


def prepare(
    conv: nn.Conv2d,
    *,
    inputs: slice = slice(None),
    with_bias: bool = True,
    shuffled: bool = False,
    in_bfloat16: bool = False,
) -> Weights:
    """Return the weights of `conv`, of odd square kernel that keeps the size, for some input channels.

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
    """Reorder (4 c, ...) with index 4 c + corner to (4 padded(c), ...) with index corner, then c."""
    corners = values.reshape(-1, 4, *values.shape[1:]).transpose(0, 1)
    return _filled(corners, padded(corners.shape[1]), 1).flatten(0, 1)


def _filled(values: Tensor, size: int, axis: int) -> Tensor:
    missing = size - values.shape[axis]
    return F.pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing)) if missing else values


def image(n: int, channels: int, height: int, width: int) -> Tensor:
    """Return an image in the kernel's layout, without values."""
    return torch.empty(n, channels, height, width, memory_format=torch.channels_last)


class _Convolution(ctypes.Structure):
    """`Convolution` of winograd.cpp."""

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
        _claim("tiles", torch.get_num_threads() * thread_bytes(channels))
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
