"""Applies a backend's settings and speaks to its device: the only module that touches torch's switches.

Settings are applied by a context manager that restores what was there, attribute by attribute: on torch 2.9
and later, `torch.backends.cudnn.flags()` or a read of `allow_tf32` after the new `fp32_precision` was set
raises, and `flags()` turns TF32 on by default.
"""

import errno
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from bench.grid.backend_spec import Backend
from bench.grid.rules import impossible

BFLOAT16_SINCE: Final = 8
"""The compute capability (Ampere) from which CUDA devices compute in bfloat16."""

CPU_REFERENCE = Backend(name="reference", device="cpu")
"""What outputs are checked against: the CPU in full float32."""


class Device(Protocol):
    """What a measurement asks of a device, so that its logic can be tested with a fake."""

    torch_device: torch.device
    has_events: bool

    @property
    def gpu(self) -> str | None:
        """The GPU's UUID; None for a CPU."""

    def synchronize(self) -> None:
        """Wait until all work queued on the device is done."""

    def record_event(self) -> Any:
        """A mark in the device's queue of work, with the device's own time; None without a queue."""

    def elapsed_s(self, start: Any, end: Any) -> float | None:
        """Device time between two marks, both reached; None without a queue."""

    def has_context(self) -> bool:
        """Whether this process has used it before."""

    def create_context(self) -> None:
        """Make the device ready for its first use, and the one that calls go to."""

    def release_cached_memory(self) -> None:
        """Give back what the allocator keeps of freed memory."""

    def reset_peak_bytes(self) -> None:
        """Forget the peaks so far."""

    def peak_bytes(self) -> tuple[int, int] | None:
        """Peak of bytes allocated and reserved since the last reset; None on the CPU."""

    def allocated_bytes(self) -> int | None:
        """Bytes allocated now; None on the CPU."""

    def page_locked(self, tensor: Tensor) -> Tensor:
        """A host tensor in memory that the device copies from and to without staging; itself on the CPU."""


class CpuDevice:
    """Work is done when a call returns: nothing to wait for, no queue to mark."""

    torch_device = torch.device("cpu")
    has_events = False
    gpu: str | None = None

    def synchronize(self) -> None:
        """Nothing is queued."""

    def record_event(self) -> None:
        """There is no queue."""

    def elapsed_s(self, start: Any, end: Any) -> None:
        """There is no queue."""

    def has_context(self) -> bool:
        return True

    def create_context(self) -> None:
        """Nothing to make ready."""

    def release_cached_memory(self) -> None:
        """What a compiled kernel keeps between calls; the host's allocator is bench.measure.memory's."""
        if kernel := sys.modules.get("vsr_model.convolutions.winograd.kernel"):  # only where one ran
            kernel.release_scratch()

    def reset_peak_bytes(self) -> None:
        """Not counted."""

    def peak_bytes(self) -> None:
        """Not counted."""

    def allocated_bytes(self) -> None:
        """Not counted."""

    def page_locked(self, tensor: Tensor) -> Tensor:
        return tensor


class CudaDevice:
    """A CUDA device; marks are CUDA events on the current stream."""

    has_events = True

    def __init__(self, name: str) -> None:
        index = torch.device(name).index
        self.torch_device = torch.device("cuda", 0 if index is None else index)

    @property
    def gpu(self) -> str:
        properties: Any = torch.cuda.get_device_properties(self.torch_device)
        return str(properties.uuid)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def record_event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.torch_device))
        return event

    def elapsed_s(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000

    def has_context(self) -> bool:
        initialised: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return initialised

    def create_context(self) -> None:
        torch.cuda.set_device(self.torch_device)
        torch.empty(1, device=self.torch_device)
        self.synchronize()

    def release_cached_memory(self) -> None:
        torch.cuda.empty_cache()

    def reset_peak_bytes(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_bytes(self) -> tuple[int, int]:
        return (
            torch.cuda.max_memory_allocated(self.torch_device),
            torch.cuda.max_memory_reserved(self.torch_device),
        )

    def allocated_bytes(self) -> int:
        return torch.cuda.memory_allocated(self.torch_device)

    def page_locked(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory()


def device_of(backend: Backend) -> Device:
    """The device of a backend; nothing is initialised yet."""
    return CudaDevice(backend.device) if backend.is_cuda else CpuDevice()


def unavailable(backend: Backend) -> str | None:
    """Why this machine cannot run the backend, or None. Asks the driver; call it in a worker only."""
    contradiction = impossible(backend)
    if contradiction is None and backend.is_divided:
        contradiction = _no_group(backend)
    if contradiction is not None:
        return contradiction
    if backend.convolution == "winograd":
        # A revision of the network that is measured by this program may not have it yet.
        from vsr_model.convolutions.winograd import build  # noqa: PLC0415

        return build.unavailable() if backend.dtype == "float32" else build.bfloat16_unavailable()
    if not backend.is_cuda:
        return None
    switches: Any = torch.backends
    index = torch.device(backend.device).index or 0
    reason: str | None = None
    if not switches.cuda.is_built():
        reason = f"no CUDA: this torch ({torch.__version__}) is built without it"
    elif not torch.cuda.is_available():
        reason = f"no CUDA device: torch {torch.__version__} finds no driver or no GPU"
    elif index >= torch.cuda.device_count():
        reason = f"no device cuda:{index}: this machine has {torch.cuda.device_count()}"
    elif backend.processes > torch.cuda.device_count():
        reason = (
            f"processes: {backend.processes} need a GPU each, and this machine has "
            f"{torch.cuda.device_count()}"
        )
    elif backend.cudnn_enabled and not switches.cudnn.is_available():
        reason = f"no cuDNN: this torch ({torch.__version__}) comes without it"
    elif backend.dtype == "bfloat16" and torch.cuda.get_device_properties(index).major < BFLOAT16_SINCE:
        # torch.cuda.is_bf16_supported() says yes where it is emulated, and asks the current device.
        reason = f"no bfloat16 on {torch.cuda.get_device_name(index)}"
    return reason


def _no_group(backend: Backend) -> str | None:
    """What this torch lacks for processes that meet, or None."""
    distributed: Any = torch.distributed
    if not distributed.is_available():
        return f"processes: this torch ({torch.__version__}) is built without torch.distributed"
    if not backend.is_cuda and not distributed.is_gloo_available():
        return f"processes: this torch ({torch.__version__}) is built without gloo"
    if backend.is_cuda and torch.cuda.is_available() and not distributed.is_nccl_available():
        return f"processes: this torch ({torch.__version__}) is built without NCCL"
    return None


@contextmanager
def applied(backend: Backend) -> Iterator[dict[str, str]]:
    """The backend's settings in force for the block; gives them as read back. Restores what was there.

    Raises RuntimeError where a setting did not take.
    """
    with ExitStack() as restored:
        for owner, attribute, value in _settings(backend):
            restored.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, value)
        if backend.threads is not None:
            restored.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(backend.threads)
        in_force = _read_back(backend)
        for name, value in _wanted(backend).items():
            if in_force[name] != value:
                raise RuntimeError(f"{name} is {in_force[name]} where {value} was set")
        yield in_force


def _settings(backend: Backend) -> list[tuple[Any, str, Any]]:
    backends: Any = torch.backends  # its modules are made at run time; type stubs do not show them
    # PyTorch's names for the two: TF32 exists on CUDA and in oneDNN alike.
    precision = backend.fp32_precision
    settings: list[tuple[Any, str, Any]] = [
        (backends.mkldnn.conv, "fp32_precision", precision),
        (backends.mkldnn.matmul, "fp32_precision", precision),
        (backends.cudnn.conv, "fp32_precision", precision),
        # Not used here, but torch's older switches raise where the two of cuDNN differ.
        (backends.cudnn.rnn, "fp32_precision", precision),
        (backends.cuda.matmul, "fp32_precision", precision),
    ]
    if backend.cudnn_enabled is not None:
        settings.append((backends.cudnn, "enabled", backend.cudnn_enabled))
    if backend.cudnn_benchmark is not None:
        settings.append((backends.cudnn, "benchmark", backend.cudnn_benchmark))
    return settings


def _wanted(backend: Backend) -> dict[str, str]:
    wanted = {
        "mkldnn.conv.fp32_precision": backend.fp32_precision,
        "mkldnn.matmul.fp32_precision": backend.fp32_precision,
    }
    if backend.is_cuda:
        wanted |= {
            "cudnn.conv.fp32_precision": backend.fp32_precision,
            "cuda.matmul.fp32_precision": backend.fp32_precision,
            "cudnn.enabled": str(backend.cudnn_enabled),
            "cudnn.benchmark": str(backend.cudnn_benchmark),
        }
    if backend.threads is not None:
        wanted["threads"] = str(backend.threads)
    return wanted


def _read_back(backend: Backend) -> dict[str, str]:
    backends: Any = torch.backends
    values: dict[str, Any] = {
        "device": backend.device,
        "dtype": backend.dtype,
        "memory_format": backend.features_format,
        "compile": backend.compile,
        "convolution": backend.convolution,
        "schedule": backend.schedule,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "mkldnn.conv.fp32_precision": backends.mkldnn.conv.fp32_precision,
        "mkldnn.matmul.fp32_precision": backends.mkldnn.matmul.fp32_precision,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if backend.is_cuda:
        values |= {
            "cudnn.enabled": backends.cudnn.enabled,
            "cudnn.benchmark": backends.cudnn.benchmark,
            "cuda_graph": backend.cuda_graph,
            "cudnn.benchmark_limit": backends.cudnn.benchmark_limit,
            "cudnn.deterministic": backends.cudnn.deterministic,
            "cuda.matmul.allow_fp16_reduced_precision_reduction": (
                backends.cuda.matmul.allow_fp16_reduced_precision_reduction
            ),
            "cuda.matmul.allow_bf16_reduced_precision_reduction": (
                backends.cuda.matmul.allow_bf16_reduced_precision_reduction
            ),
            "cudnn.conv.fp32_precision": backends.cudnn.conv.fp32_precision,
            "cuda.matmul.fp32_precision": backends.cuda.matmul.fp32_precision,
        }
    return {name: str(value) for name, value in values.items()}


def compile_seconds() -> float:
    """What torch.compile has taken in this process, by its own count."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # which nothing imports that compiles nothing
    if dynamo is None:
        return 0.0
    names, seconds = dynamo.compile_times(repr="csv", aggregate=True)
    return float(dict(zip(names, seconds, strict=True)).get("_compile.compile_inner", 0.0))


def thread_count() -> int:
    """Intra-op threads that the next parallel operation will use."""
    return torch.get_num_threads()


_OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",  # libraries that allocate beside torch
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is torch's own word that memory ran out, on a device or the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _OUT_OF_MEMORY)


def free_bytes(device: str) -> int | None:
    """What a CUDA device has left beside a context; None for the CPU, and where the device does not say.
    Makes the context; call it in a worker only."""
    target = torch.device(device)
    if target.type != "cuda":
        return None
    try:
        free, _ = torch.cuda.mem_get_info(target)
    except RuntimeError:  # the cells themselves will meet the same, and say so
        return None
    return int(free)


def describe_devices() -> dict[str, Any]:
    """torch's build and the CUDA devices of this machine. Asks the driver; call it in a worker only."""
    switches: Any = torch.backends
    described: dict[str, Any] = {
        "torch": str(torch.__version__),  # a class of torch's, which would be imported where it is read
        "torch_cuda": torch.version.cuda,
        "cudnn": switches.cudnn.version() if switches.cudnn.is_available() else None,
        "cpu_capability": switches.cpu.get_cpu_capability(),
        "onednn": switches.mkldnn.is_available(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "devices": [],
    }
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            described["devices"].append(
                {
                    "name": properties.name,
                    "compute_capability": f"{properties.major}.{properties.minor}",
                    "memory_bytes": properties.total_memory,
                    "multiprocessors": properties.multi_processor_count,
                }
            )
    return described
