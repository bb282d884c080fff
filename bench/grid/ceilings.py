"""Ceilings of a machine: those that a run's backends need measured, and the measured ones. Pure.

Ceilings are a device's, with a number of threads and a precision; they are not a cell's. How each is measured
is defined in bench.measure.ceiling_calls and described in docs/costs.md.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import product
from statistics import median
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.grid.backend import Backend
from vsr_model.stages import PROPAGATION

CONVOLUTION_CHANNELS: Final = 64
CONVOLUTION_SIZES: Final = ((180, 320), (64, 64))
"""The convolution of which the network mostly consists, at the published frames' size and at a small one, at
which features stay in a cache."""

MEMORY_FORMATS: Final = ("contiguous", "channels_last")


class CeilingKind(StrEnum):
    """Kind of a ceiling: the operation that was timed."""

    MATMUL = "matmul"  # of two large square matrices
    CONVOLUTION = "convolution"  # 3x3 with bias, the library's own
    COPY = "copy"  # within the device's memory, far beyond its caches
    HOST_TO_DEVICE_PAGEABLE = "host_to_device_pageable"
    HOST_TO_DEVICE_PINNED = "host_to_device_pinned"
    DEVICE_TO_HOST_PAGEABLE = "device_to_host_pageable"
    DEVICE_TO_HOST_PINNED = "device_to_host_pinned"


TRANSFERS: Final = tuple(kind for kind in CeilingKind if "host" in kind)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CeilingSpec(_Frozen):
    """A ceiling to measure; fields without a meaning for its kind are None."""

    kind: CeilingKind
    device: str
    threads: int | None = None  # on a CPU; None is PyTorch's choice
    precision: str | None = None  # float32, tf32, bfloat16 or float16
    memory_format: str | None = None
    height: int | None = None  # of a convolution's image
    width: int | None = None


class Ceiling(_Frozen):
    """A measured ceiling, or the reason why it was not measured."""

    spec: CeilingSpec
    what: str = ""  # its size as text, such as `2048 x 2048 x 2048`
    flops: int | None = Field(None, gt=0)  # of one repetition
    moved_bytes: int | None = Field(None, gt=0)  # in one repetition: read and written, or transferred
    clock: str = "wall"  # or device
    samples_s: tuple[float, ...] = ()
    threads: int | None = None  # as read back
    reason: str = ""  # why there are no samples

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if any(seconds <= 0 for seconds in self.samples_s):
            raise ValueError("has a sample that no clock can have given")
        if bool(self.samples_s) == bool(self.reason):
            raise ValueError("needs either samples or a reason")
        if self.samples_s and (self.flops is None) == (self.moved_bytes is None):
            raise ValueError("needs either flops or moved_bytes")
        return self

    @property
    def best_rate(self) -> float | None:
        """FLOP/s or bytes/s of the fastest repetition."""
        return self._work / min(self.samples_s) if self.samples_s else None

    @property
    def median_rate(self) -> float | None:
        return self._work / median(self.samples_s) if self.samples_s else None

    @property
    def _work(self) -> int:
        return self.flops or self.moved_bytes or 0


def precision_of(backend: Backend, stage: str, dtype: str) -> str:
    """Return the precision of a stage's convolutions, where its features are of `dtype`.

    The winograd kernel multiplies in a narrow type in residual blocks alone: propagation is of that type,
    though its first convolution is in float32.
    """
    if dtype != "float32" or (has_narrow_blocks_alone(backend) and stage == PROPAGATION):
        return backend.dtype
    return precisions_of(backend)[0]


def precisions_of(backend: Backend) -> tuple[str, ...]:
    """Return the precisions that a backend may compute in: float32's own, then its dtype if narrower."""
    full = "tf32" if backend.fp32_precision == "tf32" else "float32"
    return (full,) if backend.dtype == "float32" else (full, backend.dtype)


def has_narrow_blocks_alone(backend: Backend) -> bool:
    """Return whether only residual blocks multiply in a type narrower than float32."""
    return backend.dtype != "float32" and not backend.has_narrow_features


def has_roofline(backend: Backend) -> bool:
    """Return whether one process's calls do the published network's work, so that its ceilings apply.

    They do not in bounded memory, nor when clips are divided over processes.
    """
    return backend.memory_plan is None and not backend.is_divided


def threads_of(backend: Backend) -> int | None:
    """Return the threads that its ceilings depend on; None on a GPU, where the host's do not matter."""
    return None if backend.is_cuda else backend.threads


def wanted(backends: Iterable[Backend]) -> tuple[CeilingSpec, ...]:
    """Return the ceilings of the backends, each once."""
    return tuple(dict.fromkeys(spec for item in backends if has_roofline(item) for spec in _of(item)))


def _of(backend: Backend) -> Iterator[CeilingSpec]:
    where = {"device": backend.device, "threads": threads_of(backend)}
    for precision in precisions_of(backend):
        # By the library of products, and by that of convolutions, which may know the processor better.
        yield CeilingSpec(kind=CeilingKind.MATMUL, precision=precision, **where)
        yield CeilingSpec(
            kind=CeilingKind.MATMUL, precision=precision, memory_format="channels_last", **where
        )
        for (height, width), memory_format in product(CONVOLUTION_SIZES, MEMORY_FORMATS):
            yield CeilingSpec(
                kind=CeilingKind.CONVOLUTION,
                precision=precision,
                memory_format=memory_format,
                height=height,
                width=width,
                **where,
            )
    yield CeilingSpec(kind=CeilingKind.COPY, **where)
    if backend.is_cuda:
        for kind in TRANSFERS:
            yield CeilingSpec(kind=kind, **where)


def best(
    ceilings: Iterable[Ceiling], kind: CeilingKind, backend: Backend, precision: str | None = None
) -> float | None:
    """Return the highest rate measured of a kind, in FLOP/s or bytes/s, over sizes and formats."""
    rates = [
        rate
        for ceiling in ceilings
        if (spec := ceiling.spec).kind is kind
        and (spec.device, spec.threads, spec.precision) == (backend.device, threads_of(backend), precision)
        and (rate := ceiling.best_rate) is not None
    ]
    return max(rates, default=None)
