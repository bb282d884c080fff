"""A backend in YAML: a device, its libraries, a precision, and its optimisations."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from bench.grid.config_base import Name, Strict
from bench.grid.config_errors import DEVICE_PATTERN, field_error
from bench.grid.config_memory import MemoryPlanSpec, written_out
from bench.grid.config_memory import Name as MemoryPlanName
from vsr_model.errors import nearest

BackendName = Literal["cpu", "cuda", "cudnn", "cudnn_autotune"]
BACKEND_NAMES: Final[tuple[str, ...]] = get_args(BackendName)
"""Backends that need no definition in the YAML (bench.grid.backend_spec defines them)."""

Convolution = Literal["library", "im2col", "winograd", "fft"]
Schedule = Literal["sequential", "pipelined"]
Transfer = Literal["pageable", "pinned", "overlapped"]


FileName = Annotated[str, Field(pattern=r"\.ya?ml$")]


class TunedOn(Strict):
    """The machine that a backend was found to be the fastest on (`vsr-bench tune`)."""

    processor: str
    """Of the machine."""
    cores: int | None = None
    """Logical ones that the process could run on."""
    gpu: str | None = None
    """That it ran on, if any."""
    torch: str
    """Version of PyTorch."""


class BackendSpec(Strict):
    """A backend as the YAML gives it: one of cpu, cuda, cudnn, cudnn_autotune, or derived from one."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("schedule=batched", "schedule=bidirectional"),
            "`sequential` is the published order, and batch sizes are an axis of the grid",
        ),
        "cudnn_warp": "`vsr-bench paper --figures faults` measures the warp with cuDNN and without",
    }

    name: Name
    """What tables and plots call it."""
    from_: Annotated[
        BackendName | None,
        BeforeValidator(lambda value: value, json_schema_input_type=BackendName | FileName | Name | None),
    ] = Field(None, alias="from")
    """The backend that this one derives from; may be left out where the name is one of them. Or a file of
    backends, by its path or its name (`tuned.yaml`, `tuned`): what `vsr-bench tune` has written."""
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] | None = None
    """`cpu`, `cuda` or `cuda:1`; of the same kind as the backend it derives from."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of features and their convolutions; flow, warp coordinates and output stay float32. With
    convolution: winograd, bfloat16 is the type of what the residual blocks multiply, and of nothing else."""
    fp32_precision: Literal["ieee", "tf32"] | None = None
    """What float32 convolutions and matrix products compute in; `ieee` is full float32."""
    memory_format: Literal["contiguous", "channels_last"] | None = None
    """How features lie in memory; `channels_last` is what tensor cores work on."""
    compile: bool | None = None
    """torch.compile of each stage's module; compilation is part of the first call."""
    convolution: Convolution | None = None
    """How convolutions of 3x3 and larger are computed: `library` leaves them to PyTorch (oneDNN, cuDNN),
    `im2col` copies neighbourhoods into a matrix and multiplies, `winograd` is a compiled kernel for CPUs that
    needs fewer multiplications, `fft` multiplies spectra."""
    schedule: Schedule | None = None
    """In which order the work of a call is done: `sequential` as published; `pipelined` upsamples a frame
    while the next one propagates."""
    cuda_graph: bool | None = None
    """The whole call captured once as a CUDA graph, and replayed."""
    transfer: Transfer | None = None
    """How clips come to a CUDA device and outputs back: from `pageable` host memory, from `pinned`, or
    `overlapped`: pinned, the next clip in and the last output out while this clip is computed."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Intra-op threads; PyTorch's choice where it is not given."""
    processes: Annotated[int, Field(ge=1, le=256)] | None = None
    """Processes that the clips of a call are divided over, each with its own `threads` (one where that is not
    given) and, on CUDA, a GPU of its own. `batch` must be a multiple."""
    memory_plan: Annotated[
        MemoryPlanSpec | None,
        BeforeValidator(written_out, json_schema_input_type=MemoryPlanName | MemoryPlanSpec | None),
    ] = None
    """Calls go frame by frame in bounded memory, with what waits kept there; where it is not given, the plain
    network takes the whole clip in one call."""
    min_psnr_db: PositiveFloat | None = None
    """Below this against the CPU float32 result a cell is `inaccurate`; a default per dtype."""
    tuned_on: TunedOn | None = None
    """Where `vsr-bench tune` found it; on another machine, or with another torch, there is a note."""

    @model_validator(mode="after")
    def _derives_from_a_known_one(self) -> Self:
        origin = self.from_ or self.name
        if origin not in BACKEND_NAMES:
            raise field_error(
                "name",
                f"{self.name!r} is not known{nearest(self.name, BACKEND_NAMES)}; it should be "
                f"{', '.join(BACKEND_NAMES)}, or derive from one of them as in "
                f"{{name: {self.name}, from: cpu, threads: 1}}",
            )
        if self.name in BACKEND_NAMES and self.name != origin:
            raise field_error("from", f"{self.name!r} cannot derive from {origin!r}; give it another name")
        if self.device is not None and self.device.startswith("cuda") == (origin == "cpu"):
            allowed = "cuda, cudnn or cudnn_autotune" if origin == "cpu" else "cpu"
            raise field_error(
                "device",
                f"{self.name!r} derives from {origin!r} and cannot be on {self.device!r}; for that it should "
                f"derive from {allowed}",
            )
        if self.memory_plan is not None and self.compile:
            raise field_error(
                "memory_plan",
                f"is not for {self.name!r}, which has compile: true: flow is estimated for a changing number "
                "of pairs, and each would be compiled anew; leave one of the two out",
            )
        return self
