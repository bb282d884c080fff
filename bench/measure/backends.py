"""Applies a backend's settings and speaks to its device: the only module that touches torch's switches.

Settings are applied by a context manager that restores what was there, attribute by attribute: on torch 2.9
and later, `torch.backends.cudnn.flags()` or a read of `allow_tf32` after the new `fp32_precision` was set
raises, and `flags()` turns TF32 on by default.
"""

import errno
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bench.grid.backend import CPU, Backend
from bench.grid.rules import impossible
from vsr_model.one_line import one_line

BFLOAT16_SINCE: Final = 8
"""The compute capability (Ampere) from which CUDA devices compute in bfloat16."""

CPU_REFERENCE = CPU.replace(name="reference")
"""The backend that makes the references of the output check: the CPU in full float32."""


class Device:
    """A device that calls run on. The base class has no queue, no events and no counters."""

    torch_device = torch.device("cpu")
    has_events = False

    @property
    def gpu(self) -> str | None:
        """UUID of the GPU; None for a CPU."""
        return None

    def synchronize(self) -> None:
        """Wait until all work queued on the device is done."""

    def record_event(self) -> Any:
        """Return an event in the device's queue of work; None without a queue."""
        return None

    def elapsed_s(self, start: Any, end: Any) -> float | None:  # noqa: ARG002 - a subclass uses them
        """Return the device time between two events, both reached; None without a queue."""
        return None

    def has_context(self) -> bool:
        """Return whether this process has used the device before."""
        return True

    def create_context(self) -> None:
        """Make the device ready for its first use, and the one that calls go to."""

    def release_cached_memory(self) -> None:
        """Give back what is kept of freed memory."""

    def reset_peak_bytes(self) -> None:
        """Forget the peaks so far."""

    def peak_bytes(self) -> tuple[int, int] | None:
        """Return the peaks of bytes allocated and reserved since the last reset; None on the CPU."""
        return None

    def allocated_bytes(self) -> int | None:
        """Return the bytes that are allocated now; None on the CPU."""
        return None

    def page_locked(self, tensor: Tensor) -> Tensor:
        """Return a host tensor in memory that the device copies from and to without staging."""
        return tensor


class CpuDevice(Device):
    """The CPU, where work is done when a call returns."""

    def release_cached_memory(self) -> None:
        """Release what a compiled kernel keeps between calls; bench.measure.memory trims the allocator."""
        if kernel := sys.modules.get("vsr_model.convolutions.winograd.kernel"):  # absent where none ran
            kernel.release_scratch()


class CudaDevice(Device):
    """A CUDA device, with events on its current stream."""

    has_events = True

    def __init__(self, name: str) -> None:
        self.torch_device = torch.device("cuda", torch.device(name).index or 0)

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
    """Return the device of a backend, which is not initialised yet."""
    return CudaDevice(backend.device) if backend.is_cuda else CpuDevice()


def unavailable(backend: Backend) -> str | None:
    """Return why this machine cannot run the backend, or None. Call it in a worker: it asks the driver."""
    reason = impossible(backend) or (_no_group(backend) if backend.is_divided else None)
    if reason is None and backend.convolution == "winograd":
        # A revision of the network that is measured by this program may not have it yet.
        from vsr_model.convolutions.winograd import build  # noqa: PLC0415

        reason = build.unavailable() if backend.dtype == "float32" else build.bfloat16_unavailable()
    if reason is None and backend.is_cuda:
        reason = _no_gpu(backend)
    if reason is None and backend.compile:
        reason = _no_compiler(backend)
    return reason


def _no_compiler(backend: Backend) -> str | None:
    """Return what torch.compile lacks here, or None. It is asked where torch looks for it."""
    if backend.is_cuda:
        from torch.utils._triton import has_triton  # noqa: PLC0415 - seconds, for what compiles alone

        if not has_triton():
            return (
                "compile: torch.compile needs Triton for this GPU, and there is none (`pip install triton`)"
            )
        # As Triton chooses it, for the code that launches kernels.
        if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"):
            return None
        return "compile: Triton needs a C compiler, and there is none (`apt install gcc`, or set CC)"
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415 - likewise
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError):
        wanted = (
            f"CXX is {one_line(os.environ['CXX'])}, which does not run"
            if os.environ.get("CXX")
            else "there is none"
        )
        return f"compile: torch.compile needs a C++ compiler, and {wanted} (`apt install g++`, or set CXX)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "compile: torch.compile needs Python's headers, and there are none (`apt install python3-dev`)"
    return None


def _no_gpu(backend: Backend) -> str | None:
    """Return what a CUDA backend lacks here, or None."""
    switches: Any = torch.backends
    index = torch.device(backend.device).index or 0
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    reason = None
    if not switches.cuda.is_built():
        reason = f"no CUDA: this torch ({torch.__version__}) is built without it"
    elif not count:
        reason = f"no CUDA device: torch {torch.__version__} finds no driver or no GPU"
    elif index >= count:
        reason = f"no device cuda:{index}: this machine has {count}"
    elif backend.processes > count:
        reason = f"processes: {backend.processes} need a GPU each, and this machine has {count}"
    elif backend.cudnn_enabled and not switches.cudnn.is_available():
        reason = f"no cuDNN: this torch ({torch.__version__}) comes without it"
    elif backend.dtype == "bfloat16" and torch.cuda.get_device_properties(index).major < BFLOAT16_SINCE:
        # torch.cuda.is_bf16_supported() says yes where it is emulated, and asks the current device.
        reason = f"no bfloat16 on {torch.cuda.get_device_name(index)}"
    return reason


def _no_group(backend: Backend) -> str | None:
    """Return what this torch lacks for a group of processes, or None."""
    distributed: Any = torch.distributed
    if not distributed.is_available():
        lacking = "torch.distributed"
    elif not backend.is_cuda and not distributed.is_gloo_available():
        lacking = "gloo"
    elif backend.is_cuda and torch.cuda.is_available() and not distributed.is_nccl_available():
        lacking = "NCCL"
    else:
        return None
    return f"processes: this torch ({torch.__version__}) is built without {lacking}"


@contextmanager
def applied(backend: Backend) -> Iterator[dict[str, str]]:
    """Apply the backend's settings in the block, and restore what was there; give them as read back.

    Raises RuntimeError where a setting did not take.
    """
    wanted = _switches(backend)
    with ExitStack() as restored:
        for name, value in wanted.items():
            owner, attribute = _found(name)
            restored.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, value)
        if backend.threads is not None:
            restored.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(backend.threads)
            wanted["threads"] = backend.threads
        in_force = _read_back(backend)
        for name, value in wanted.items():
            if in_force.get(name, str(value)) != str(value):
                raise RuntimeError(f"{name} is {in_force[name]} where {value} was set")
        yield in_force


def _switches(backend: Backend) -> dict[str, Any]:
    """Return the switches below torch.backends that a backend sets, by name."""
    # PyTorch's names for the two precisions: TF32 exists on CUDA and in oneDNN alike. RNNs are not used, but
    # torch's older switches raise where the two of cuDNN differ.
    owners = ("mkldnn.conv", "mkldnn.matmul", "cudnn.conv", "cudnn.rnn", "cuda.matmul")
    switches: dict[str, Any] = {f"{owner}.fp32_precision": backend.fp32_precision for owner in owners}
    for name, value in (
        ("cudnn.enabled", backend.cudnn_enabled),
        ("cudnn.benchmark", backend.cudnn_benchmark),
    ):
        if value is not None:
            switches[name] = value
    return switches


_READ_ON_CUDA: Final = (
    "cudnn.benchmark_limit",
    "cudnn.deterministic",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
)
"""Switches that no backend sets."""


def _found(name: str) -> tuple[Any, str]:
    """Return the module below torch.backends that has a switch, and the switch's name there."""
    path, _, attribute = name.rpartition(".")
    return attrgetter(path)(torch.backends), attribute


def _read_back(backend: Backend) -> dict[str, str]:
    values: dict[str, Any] = {
        "device": backend.device,
        "dtype": backend.dtype,
        "memory_format": backend.features_format,
        "compile": backend.compile,
        "convolution": backend.convolution,
        "schedule": backend.schedule,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    names = [*_switches(backend)]
    if backend.is_cuda:
        values["cuda_graph"] = backend.cuda_graph
        names += _READ_ON_CUDA
    else:
        names = [name for name in names if name.startswith("mkldnn")]
    values |= {name: getattr(*_found(name)) for name in names}
    return {name: str(value) for name, value in values.items()}


def thread_count() -> int:
    """Return the intra-op threads that the next parallel operation will use."""
    return torch.get_num_threads()


_OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",  # libraries that allocate beside torch
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, on a device or the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def free_bytes(device: str) -> int | None:
    """Return the free memory of a CUDA device beside a context; None for the CPU, and where it is not known.

    Call it in a worker: it creates the context.
    """
    target = torch.device(device)
    if target.type != "cuda":
        return None
    try:
        free, _ = torch.cuda.mem_get_info(target)
    except RuntimeError:  # the cells will meet the same, and report it
        return None
    return int(free)


def describe_devices() -> dict[str, Any]:
    """Return torch's build and the CUDA devices of this machine. Call it in a worker: it asks the driver."""
    switches: Any = torch.backends
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "name": properties.name,
                "compute_capability": f"{properties.major}.{properties.minor}",
                "memory_bytes": properties.total_memory,
                "multiprocessors": properties.multi_processor_count,
            }
        )
    return {
        "torch": str(torch.__version__),  # of a class that would be imported where it is read
        "torch_cuda": torch.version.cuda,
        "cudnn": switches.cudnn.version() if switches.cudnn.is_available() else None,
        "cpu_capability": switches.cpu.get_cpu_capability(),
        "onednn": switches.mkldnn.is_available(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "devices": devices,
    }
