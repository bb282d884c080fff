"""Settings that exclude each other: one table of rules, each with its sentence. Pure; no torch.

A backend that a rule is against is no mistake in a grid that crosses optimisations with devices: its cells
are skipped, with the reason, before they start. What this machine lacks is reported by
`bench.measure.backends.unavailable`.
"""

from collections.abc import Callable, Iterable
from typing import Final

from bench.grid.backend import Backend
from bench.grid.config_measure import Measure

BACKEND_RULES: Final[tuple[tuple[Callable[[Backend], bool], str], ...]] = (
    (lambda b: b.cuda_graph and not b.is_cuda, "cuda_graph: a CPU has no queue of kernels to capture"),
    (lambda b: b.schedule == "pipelined" and not b.is_cuda,
     "schedule: pipelined needs a device that works on two queues, and a CPU has none"),
    (lambda b: b.locks_pages and not b.is_cuda,
     "transfer: {transfer} means nothing on a CPU: clips are where they are needed"),
    (lambda b: b.convolution == "winograd" and b.is_cuda,
     "convolution: winograd is a kernel for CPUs; on CUDA cuDNN chooses among its own"),
    (lambda b: b.convolution == "winograd" and b.fp32_precision == "tf32",
     "fp32_precision: tf32 means nothing for convolution: winograd, which is in full float32"),
    (lambda b: b.convolution == "winograd" and b.dtype == "float16",
     "convolution: winograd is for float32 and bfloat16, and dtype is float16"),
    (lambda b: b.convolution == "winograd" and b.compile,
     "compile: the winograd kernel is compiled already, and torch cannot look into it"),
    (lambda b: b.convolution == "fft" and b.dtype != "float32",
     "convolution: fft is for float32, and dtype is {dtype}"),
    (lambda b: b.convolution == "fft" and b.compile,
     "convolution: fft multiplies complex numbers, for which torch.compile makes no code"),
    (lambda b: b.memory_plan is not None and b.schedule != "sequential",
     "schedule: {schedule} has whole clips in memory, and a memory_plan has none"),
    (lambda b: b.memory_plan is not None and b.compile,
     "compile: a memory_plan's calls are of many shapes, each of which would be compiled anew"),
    (lambda b: b.memory_plan is not None and b.cuda_graph,
     "cuda_graph: a memory_plan's calls change from step to step, and a graph cannot"),
    (lambda b: b.memory_plan is not None and b.transfer == "overlapped",
     "transfer: overlapped moves whole clips, and a memory_plan has none"),
    (lambda b: b.map_reduce and not b.is_divided,
     "map_reduce: gives clips to several processes, and processes is 1"),
    (lambda b: b.map_reduce and b.is_cuda,
     "map_reduce: clips and outputs go through the host; on CUDA each process has its share on its own GPU"),
    (lambda b: b.is_divided and b.is_cuda and b.device != "cuda",
     "device: {device} is one GPU, and each of {processes} processes has its own"),
    (lambda b: b.is_divided and b.memory_plan is not None,
     "processes: a memory_plan has no whole output for them to join"),
    (lambda b: b.is_divided and b.locks_pages,
     "transfer: {transfer} is for one process, and here are {processes}"),
)  # fmt: skip
"""Backends that no machine can run, and the reason; braces hold fields of the backend."""

_LINES: Final = (
    "lines is of the published network's forward, which {name!r} (%s) does not call line by line; allowed "
    "are curve and off"
)

MEASURE_RULES: Final[tuple[tuple[str, Callable[[Measure, Backend], bool], str], ...]] = (
    (
        "order",
        lambda m, _: m.order == "blocked" and m.isolation != "cell",
        "blocked needs isolation: cell, and isolation is {isolation}",
    ),
    (
        "profile",
        lambda m, _: m.profile and m.isolation != "cell",
        "is true, which needs isolation: cell, not {isolation}; a process that was profiled is no longer one "
        "to time the next cell in",
    ),
    ("memory", lambda m, b: m.memory == "lines" and b.cuda_graph, _LINES % "cuda_graph: true"),
    (
        "memory",
        lambda m, b: m.memory == "lines" and b.schedule != "sequential",
        _LINES % "schedule: {schedule}",
    ),
    (
        "memory",
        lambda m, b: m.memory == "lines" and b.memory_plan is not None,
        _LINES % "memory_plan: {memory_plan.place}",
    ),
)
"""Requests that a grid may not make, by field of `measure`; braces hold fields of it and the backend."""


def impossible(backend: Backend) -> str | None:
    """Return why no machine can run the backend, or None."""
    return next((why.format_map(vars(backend)) for against, why in BACKEND_RULES if against(backend)), None)


def undivided(backend: Backend, batch: int) -> str | None:
    """Return why the clips of a call cannot be divided over the backend's processes, or None."""
    if batch % backend.processes == 0 or backend.map_reduce:
        return None
    return f"processes: {backend.processes} cannot share {batch} clip(s) evenly; batch should be a multiple"


def disagreement(backends: Iterable[Backend], measure: Measure) -> tuple[str, str] | None:
    """Return the field of `measure` that cannot be had on one of the backends, and why; None if all can."""
    return next(
        (
            (field, why.format_map({**vars(measure), **vars(backend)}))
            for backend in backends
            for field, against, why in MEASURE_RULES
            if against(measure, backend)
        ),
        None,
    )
