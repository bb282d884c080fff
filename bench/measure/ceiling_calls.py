"""One ceiling of a device, measured: what is run, of which size, how often. Runs in a worker.

The clock and the device are arguments, so that the rule of the repetitions is tested exactly.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.grid.backend import BUILT_IN, CPU, Backend
from bench.grid.ceilings import CONVOLUTION_CHANNELS, TRANSFERS, Ceiling, CeilingKind, CeilingSpec
from bench.machine.host import last_cache_bytes
from bench.machine.host_memory import available_bytes
from bench.measure import backends
from bench.measure.backends import Device
from bench.measure.draft import error_line
from bench.measure.timing import MONOTONIC, Clock, Timed, timed
from bench.units import BYTES, with_unit

_MIB: Final = 2**20

SMALLEST_MATRIX: Final = 256
LARGEST_MATRIX: Final = {"cpu": 4096, "cuda": 8192}
LONG_ENOUGH_S: Final = 0.02
"""Matrices double until a product takes so long, or there are none larger."""

_IMAGES: Final = 16

TIMES_THE_CACHE: Final = 8
"""A copy's buffers are each so many times the last caches of all cores, at least SMALLEST_COPY_BYTES."""
SMALLEST_COPY_BYTES: Final = 256 * _MIB
DEVICE_COPY_BYTES: Final = 1024 * _MIB
TRANSFER_BYTES: Final = 256 * _MIB
SHARE_OF_FREE: Final = 8
"""No buffer takes more than this part of the memory that is free."""


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Number and length of samples."""

    warmup: int = 2  # calls
    sample_s: float = 0.001  # at least; shorter calls are repeated within one
    least: int = 3
    most: int = 20
    budget_s: float = 0.25
    slow_s: float = 1.0  # a call that takes longer is enough alone
    most_calls: int = 2**16  # in a sample


REPEATS: Final = Repeats()


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one repetition."""

    call: Callable[[], object]
    what: str
    flops: int | None = None
    moved_bytes: int | None = None


def measured(spec: CeilingSpec, *, clock: Clock = MONOTONIC) -> Ceiling:
    """Return the ceiling on its device, with its threads and precision; an exception becomes its reason."""
    backend = backend_of(spec)
    try:
        if (lacking := backends.unavailable(backend)) is not None:
            return Ceiling(spec=spec, reason=lacking)
        device = backends.device_of(backend)
        with backends.applied(backend), torch.inference_mode(), _its_memory(device):
            return run(spec, device, clock=clock)
    except Exception as error:
        return Ceiling(spec=spec, reason=error_line(error))


@contextmanager
def _its_memory(device: Device) -> Iterator[None]:
    device.create_context()
    try:
        yield
    finally:
        device.release_cached_memory()


def run(
    spec: CeilingSpec, device: Device, *, clock: Clock = MONOTONIC, repeats: Repeats = REPEATS
) -> Ceiling:
    """Measure as `measured` does, with the settings applied."""
    work = work_of(spec, device, clock)
    spans = sample(work.call, device=device, clock=clock, repeats=repeats)
    # A transfer from pageable memory is the host's work as much as the device's.
    on_device = spec.kind not in TRANSFERS and all(span.device_s for span in spans)
    return Ceiling(
        spec=spec,
        what=work.what,
        flops=work.flops,
        moved_bytes=work.moved_bytes,
        clock="device" if on_device else "wall",
        samples_s=tuple((span.device_s or 0.0) if on_device else span.wall_s for span in spans),
        threads=backends.thread_count(),
    )


def sample(
    call: Callable[[], object], *, device: Device, clock: Clock = MONOTONIC, repeats: Repeats = REPEATS
) -> list[Timed]:
    """Return samples after the warm-up, each synchronised on both sides, as times of one call.

    A sample repeats a short call until it takes `sample_s`, as often in each sample: the time of one call
    would in part be that of its launch on an empty queue and of reading clocks.
    """
    span = None
    for _ in range(repeats.warmup):
        _, span = timed(call, device=device, clock=clock)
    if span is not None and span.wall_s > repeats.slow_s:
        return [span]
    count = 1
    while span is not None and _lasted_s(span) < repeats.sample_s and count < repeats.most_calls:
        count *= 2
        span = _several(call, count, device, clock)
    spans: list[Timed] = []
    while len(spans) < repeats.most and (
        len(spans) < repeats.least or sum(one.wall_s for one in spans) < repeats.budget_s
    ):
        spans.append(_several(call, count, device, clock))
    return [_of_one(span, count) for span in spans]


def _several(call: Callable[[], object], count: int, device: Device, clock: Clock) -> Timed:
    def calls() -> None:
        for _ in range(count):
            call()

    return timed(calls, device=device, clock=clock)[1]


def _lasted_s(span: Timed) -> float:
    """Return the device's time if there is one, else the wall time."""
    return span.wall_s if span.device_s is None else span.device_s


def _of_one(span: Timed, count: int) -> Timed:
    device_s = None if span.device_s is None else span.device_s / count
    return Timed(start_s=span.start_s, wall_s=span.wall_s / count, device_s=device_s)


def backend_of(spec: CeilingSpec) -> Backend:
    """Return the settings that a ceiling is measured with: on a GPU cuDNN, autotuned."""
    base = BUILT_IN["cudnn_autotune"] if spec.device.startswith("cuda") else CPU
    narrow = spec.precision in ("bfloat16", "float16")
    return base.replace(
        name="ceiling",
        device=spec.device,
        dtype=str(spec.precision) if narrow else "float32",
        fp32_precision="tf32" if spec.precision == "tf32" else "ieee",
        threads=spec.threads,
    )


def work_of(spec: CeilingSpec, device: Device, clock: Clock = MONOTONIC) -> Work:
    """Return the work that is repeated for a ceiling, with its buffers written once."""
    if spec.kind is CeilingKind.MATMUL:
        return _matmul(spec, device, clock)
    if spec.kind is CeilingKind.CONVOLUTION:
        return _convolution(spec, device)
    if spec.kind is CeilingKind.COPY:
        return _copy(spec, device)
    return _transfer(spec, device)


def _matmul(spec: CeilingSpec, device: Device, clock: Clock) -> Work:
    largest = LARGEST_MATRIX["cuda" if spec.device.startswith("cuda") else "cpu"]
    size = SMALLEST_MATRIX
    by_convolution = spec.memory_format is not None
    while True:
        call = _as_convolution(spec, device, size) if by_convolution else _as_product(spec, device, size)
        # The first may load a library, and any may be disturbed.
        shortest_s = min(timed(call, device=device, clock=clock)[1].wall_s for _ in range(3))
        if size >= largest or shortest_s >= LONG_ENOUGH_S:
            how = ", as a 1 x 1 convolution" if by_convolution else ""
            return Work(call=call, what=f"{size} x {size} x {size}{how}", flops=2 * size**3)
        size *= 2


def _as_product(spec: CeilingSpec, device: Device, size: int) -> Callable[[], Tensor]:
    left, right = (_noise(device, spec, size, size) for _ in range(2))
    product = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=product)


def _as_convolution(spec: CeilingSpec, device: Device, size: int) -> Callable[[], Tensor]:
    """Return the same product as a convolution, computed by the library of convolutions.

    It is of several images, because PyTorch computes fewer by the library of products where there is one
    thread. `size` is a power of two and at least their number.
    """
    pixels = size // _IMAGES
    height = 1 << ((pixels.bit_length() - 1) // 2)
    features = _noise(device, spec, _IMAGES, size, height, pixels // height)
    weights = _noise(device, spec, size, size, 1, 1)
    features, weights = (item.to(memory_format=torch.channels_last) for item in (features, weights))
    return lambda: F.conv2d(features, weights)


def _convolution(spec: CeilingSpec, device: Device) -> Work:
    channels, height, width = CONVOLUTION_CHANNELS, spec.height or 1, spec.width or 1
    features = _noise(device, spec, 1, channels, height, width)
    weights = _noise(device, spec, channels, channels, 3, 3)
    bias = _noise(device, spec, channels)
    if spec.memory_format == "channels_last":
        features, weights = (item.to(memory_format=torch.channels_last) for item in (features, weights))
    return Work(
        call=lambda: F.conv2d(features, weights, bias, padding=1),
        what=f"3 x 3, {channels} to {channels} channels, {height} x {width}",
        flops=2 * 9 * channels * channels * height * width,
    )


def _copy(spec: CeilingSpec, device: Device) -> Work:
    cache = 0
    if spec.device.startswith("cuda"):
        free = backends.free_bytes(spec.device)
        size = DEVICE_COPY_BYTES
    else:
        free = available_bytes()
        cache = last_cache_bytes()
        size = max(SMALLEST_COPY_BYTES, TIMES_THE_CACHE * cache)
    size = _within(size, free, least=2 * cache)
    source = torch.ones(size // 4, device=device.torch_device)
    target = torch.zeros_like(source)
    size = source.nbytes
    return Work(
        call=lambda: target.copy_(source),
        what=f"{with_unit(size, BYTES)} read and as many written",
        moved_bytes=2 * size,
    )


def _transfer(spec: CeilingSpec, device: Device) -> Work:
    size = _within(TRANSFER_BYTES, available_bytes(), least=0)
    here = torch.ones(size // 4)
    there = torch.ones_like(here, device=device.torch_device)
    pinned = spec.kind in (CeilingKind.HOST_TO_DEVICE_PINNED, CeilingKind.DEVICE_TO_HOST_PINNED)
    if pinned:
        here = device.page_locked(here)
    to_device = spec.kind in (CeilingKind.HOST_TO_DEVICE_PAGEABLE, CeilingKind.HOST_TO_DEVICE_PINNED)
    source, target = (here, there) if to_device else (there, here)
    return Work(
        call=lambda: target.copy_(source, non_blocking=pinned),
        what=with_unit(source.nbytes, BYTES),
        moved_bytes=source.nbytes,
    )


def _within(size: int, free: int | None, *, least: int) -> int:
    """Return the size, limited to a share of free memory. Raises MemoryError if that would fit in a cache."""
    allowed = size if free is None else min(size, free // SHARE_OF_FREE)
    if allowed < max(least, _MIB):
        raise MemoryError(
            f"two buffers of {with_unit(max(least, _MIB), BYTES)} need more memory than is free"
        )
    return allowed


def _noise(device: Device, spec: CeilingSpec, *shape: int) -> Tensor:
    types = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(device.torch_device, types.get(spec.precision or "", torch.float32))
