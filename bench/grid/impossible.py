"""Which optimisations of a backend contradict its device, its precision or each other. Pure; no torch.

Such cells are skipped, with the reason, before they start: in a grid that crosses optimisations with devices
they are no mistake. What this machine lacks is told by `bench.measure.backends.unavailable`.
"""

from collections.abc import Iterator

from bench.grid.backend_spec import Backend


def impossible(backend: Backend) -> str | None:
    """Why no machine can run the backend, or None."""
    return next(_reasons(backend), None)


def _reasons(backend: Backend) -> Iterator[str]:
    if not backend.is_cuda:
        if backend.cuda_graph:
            yield "cuda_graph: a CPU has no queue of kernels to capture"
        if backend.schedule == "pipelined":
            yield "schedule: pipelined needs a device that works on two queues, and a CPU has none"
        if backend.locks_pages:
            yield f"transfer: {backend.transfer} means nothing on a CPU: clips are where they are needed"
    yield from _of_convolution(backend)
    if backend.memory_plan is not None:
        if backend.schedule != "sequential":
            yield f"schedule: {backend.schedule} has whole clips in memory, and a memory_plan has none"
        if backend.cuda_graph:
            yield "cuda_graph: a memory_plan's calls change from step to step, and a graph cannot"
        if backend.transfer == "overlapped":
            yield "transfer: overlapped moves whole clips, and a memory_plan has none"
    yield from _of_processes(backend)


def undivided(backend: Backend, batch: int) -> str | None:
    """Why the clips of a call cannot be divided over the backend's processes, or None."""
    if batch % backend.processes == 0:
        return None
    return f"processes: {backend.processes} cannot share {batch} clip(s) evenly; batch should be a multiple"


def _of_processes(backend: Backend) -> Iterator[str]:
    if not backend.is_divided:
        return
    if backend.is_cuda and backend.device != "cuda":
        yield f"device: {backend.device} is one GPU, and each of {backend.processes} processes has its own"
    if backend.memory_plan is not None:
        yield "processes: a memory_plan has no whole output for them to join"
    if backend.locks_pages:
        yield f"transfer: {backend.transfer} is for one process, and here are {backend.processes}"


def _of_convolution(backend: Backend) -> Iterator[str]:
    if backend.convolution == "winograd":
        if backend.is_cuda:
            yield "convolution: winograd is a kernel for CPUs; on CUDA cuDNN chooses among its own"
        if backend.fp32_precision == "tf32":
            yield "fp32_precision: tf32 means nothing for convolution: winograd, which is in full float32"
        if backend.dtype == "float16":
            yield "convolution: winograd is for float32 and bfloat16, and dtype is float16"
        if backend.compile:
            yield "compile: the winograd kernel is compiled already, and torch cannot look into it"
    if backend.convolution == "fft" and backend.dtype != "float32":
        yield f"convolution: fft is for float32, and dtype is {backend.dtype}"
    if backend.convolution == "fft" and backend.compile:
        yield "convolution: fft multiplies complex numbers, for which torch.compile makes no code"
