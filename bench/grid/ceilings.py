"""What limits a machine: which ceilings a run's backends need measured, and what one was found to be. Pure.

Ceilings are a device's, with a number of threads and a precision; they are not a cell's. How each is measured
is bench.measure.ceiling_calls' business, and docs/costs.md tells it.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import product
from statistics import median
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.grid.backend_spec import Backend
from vsr_model.stages import PROPAGATION

CONVOLUTION_CHANNELS: Final = 64
CONVOLUTION_SIZES: Final = ((180, 320), (64, 64))
"""The convolution of which the network mostly consists, at the published frames' size and at a small one, at
which features stay in a cache."""

MEMORY_FORMATS: Final = ("contiguous", "channels_last")


class CeilingKind(StrEnum):
    """What was timed."""

    MATMUL = "matmul"  # of two large square matrices
    CONVOLUTION = "convolution"  # 3x3 with bias, the library's own
    COPY = "copy"  # within the device's memory, far beyond its caches
    HOST_TO_DEVICE_PAGEABLE = "host_to_device_pageable"
    HOST_TO_DEVICE_PINNED = "host_to_device_pinned"
    DEVICE_TO_HOST_PAGEABLE = "device_to_host_pageable"
    DEVICE_TO_HOST_PINNED = "device_to_host_pinned"


TRANSFERS: Final = tuple(kind for kind in CeilingKind if "host" in kind)


class Moment(StrEnum):
    """When in its run a ceiling was measured."""

    BEFORE = "before"  # the first cell
    AFTER = "after"  # the last


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CeilingSpec(_Frozen):
    """A ceiling to measure; fields that mean nothing for its kind are None."""

    kind: CeilingKind
    device: str
    threads: int | None = None  # on a CPU; None is PyTorch's choice
    precision: str | None = None  # float32, tf32, bfloat16 or float16
    memory_format: str | None = None
    height: int | None = None  # of a convolution's image
    width: int | None = None


class Ceiling(_Frozen):
    """What was measured, or the reason why it was not."""

    spec: CeilingSpec
    moment: Moment
    what: str = ""  # its size in words, such as `2048 x 2048 x 2048`
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
    """Return what a stage's convolutions are computed in, where its features are of `dtype`.

    The winograd kernel multiplies in a narrow type in residual blocks alone: propagation is of that type,
    though its first convolution is in float32.
    """
    if dtype != "float32" or (has_narrow_blocks_alone(backend) and stage == PROPAGATION):
        return backend.dtype
    return precisions_of(backend)[0]


def precisions_of(backend: Backend) -> tuple[str, ...]:
    """Return all that a backend may compute in: float32's own first, and its dtype where that is narrower."""
    full = "tf32" if backend.fp32_precision == "tf32" else "float32"
    return (full,) if backend.dtype == "float32" else (full, backend.dtype)


def has_narrow_blocks_alone(backend: Backend) -> bool:
    """Whether residual blocks multiply in a type narrower than float32, and nothing else does."""
    return backend.dtype != "float32" and not backend.has_narrow_features


def has_roofline(backend: Backend) -> bool:
    """Whether one process's calls do the published network's work, which its ceilings are of: not in bounded
    memory, nor divided over processes."""
    return backend.memory_plan is None and not backend.is_divided


def threads_of(backend: Backend) -> int | None:
    """What tells its ceilings from those of the same device: on a GPU the host's threads do not."""
    return None if backend.is_cuda else backend.threads


def wanted(backends: Iterable[Backend]) -> tuple[CeilingSpec, ...]:
    """The ceilings of the backends, each once."""
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
    """The highest rate that was seen of a kind, in FLOP/s or bytes/s: over sizes, formats and moments."""
    rates = [
        rate
        for ceiling in ceilings
        if (spec := ceiling.spec).kind is kind
        and (spec.device, spec.threads, spec.precision) == (backend.device, threads_of(backend), precision)
        and (rate := ceiling.best_rate) is not None
    ]
    return max(rates, default=None)
