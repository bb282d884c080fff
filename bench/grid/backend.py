"""A backend: a device, its libraries, a precision, and its optimisations. Pure; no torch.

One class serves the YAML, the plan, the workers and the tables; bench.measure.backends applies it.
"""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from bench.grid.strict import (
    DEVICE_PATTERN,
    MAX_AXIS_VALUE,
    AxisValue,
    MediaPath,
    Name,
    Strict,
    count_or,
    field_error,
)
from vsr_model.errors import nearest

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

BackendName = Literal["cpu", "cuda", "cudnn", "cudnn_autotune"]
BACKEND_NAMES: Final[tuple[str, ...]] = get_args(BackendName)
"""Backends that need no definition; all others derive from one of them."""

Convolution = Literal["library", "im2col", "winograd", "fft"]
Schedule = Literal["sequential", "pipelined"]
Transfer = Literal["pageable", "pinned", "overlapped"]

DEFAULT_MIN_PSNR_DB: Final = {"ieee": 80.0, "tf32": 60.0, "bfloat16": 45.0, "float16": 60.0}
"""With a peak of 1.0. Full float32 on another device differs from the CPU by rounding alone (above 100 dB);
tf32 and float16 keep 10 mantissa bits and give 70 to 76 dB at 48x64 to 64x64, bfloat16 7 bits and 50 to 54.
Warp coordinates that drop to bfloat16, a common fault, give 39 dB, and are to be found out."""

_CUDNN: Final = {"cuda": False, "cudnn": True, "cudnn_autotune": True}
_FileName = Annotated[str, Field(pattern=r"\.ya?ml$")]

ROOT: Final = "root"
MemoryPlanName = Literal["device", "host", "disk", "recompute"]
MEMORY_PLAN_NAMES: Final[tuple[str, ...]] = get_args(MemoryPlanName)


class MemoryPlanSpec(Strict):
    """A bound on a call's memory (docs/upscale.md). Given by its name alone: `device`, `host`, `disk`, or
    `recompute`, which is {place: device, interval: root}."""

    place: Literal["device", "host", "disk"] = "device"
    """Place where backward features wait: the device, host memory, or a file."""
    interval: Annotated[int | Literal["root"], count_or(ROOT, 1, MAX_AXIS_VALUE)] = 1
    """Frames from one whose features are kept to the next; those between are computed a second time. `root`:
    about the root of the cell's frames, with which the fewest are held."""
    chunk: AxisValue = 8
    """Most pairs of neighbouring frames whose flow is estimated at once."""
    folder: MediaPath | None = None
    """Folder for the file of `disk`, relative to this YAML's folder; by default the run's own."""

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, data: Any) -> Any:
        """Return a plan that is only named as the mapping that it stands for."""
        if isinstance(data, dict | MemoryPlanSpec):
            return data
        if data not in MEMORY_PLAN_NAMES:
            hint = nearest(data, MEMORY_PLAN_NAMES) if isinstance(data, str) else ""
            raise ValueError(
                f"should be {', '.join(MEMORY_PLAN_NAMES[:-1])} or {MEMORY_PLAN_NAMES[-1]}, or a mapping "
                f"such as {{place: disk, interval: 4}}, not {data!r}{hint}"
            )
        return {"interval": ROOT} if data == "recompute" else {"place": data}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.folder is not None and self.place != "disk":
            raise field_error("folder", f"is for place: disk alone, and place is {self.place}; leave it out")
        return self

    def of_clip(self, frames: int, folder: Path = Path()) -> "MemoryPlan":
        """Return the plan of a clip with so many frames; `folder` is for the disk if none is given here."""
        # A revision of the network that is measured by this program may have no plans yet.
        from vsr_model.memory_plan import MemoryPlan  # noqa: PLC0415

        return MemoryPlan(
            place=self.place,
            interval=isqrt(max(frames - 1, 0)) + 1 if isinstance(self.interval, str) else self.interval,
            chunk=self.chunk,
            folder=Path(self.folder or folder) if self.place == "disk" else None,
        )


class TunedOn(Strict):
    """The machine that a backend was found to be the fastest on (`vsr-bench tune`)."""

    processor: str
    """Processor of the machine."""
    cores: int | None = None
    """Logical cores that the process could run on."""
    gpu: str | None = None
    """GPU that it ran on, if any."""
    torch: str
    """Version of PyTorch."""


class Backend(Strict):
    """The settings under which a cell runs: one of cpu, cuda, cudnn, cudnn_autotune, or derived from one."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("schedule=batched", "schedule=bidirectional"),
            "`sequential` is the published order, and batch sizes are an axis of the grid",
        ),
        "cudnn_warp": "`vsr-bench paper --figures faults` measures the warp with cuDNN and without",
    }

    name: Name
    """Name in tables and plots."""
    origin: Annotated[
        BackendName,
        BeforeValidator(lambda value: value, json_schema_input_type=BackendName | _FileName | Name),
    ] = Field(alias="from", default_factory=lambda fields: fields["name"])
    """The backend that this one derives from; may be left out where the name is one of them. Or a file of
    backends, by its path or its name (`tuned.yaml`, `tuned`): what `vsr-bench tune` has written."""
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] = Field(
        default_factory=lambda fields: "cpu" if fields["origin"] == "cpu" else "cuda"
    )
    """`cpu`, `cuda` or `cuda:1`; of the same kind as the backend it derives from."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of features and their convolutions; flow, warp coordinates and output stay float32. With
    convolution: winograd, bfloat16 is the type of what the residual blocks multiply, and of nothing else."""
    fp32_precision: Literal["ieee", "tf32"] = "ieee"
    """Precision of float32 convolutions and matrix products; `ieee` is full float32."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Layout of features in memory; `channels_last` is what tensor cores work on."""
    compile: bool = False
    """torch.compile of each stage's module; compilation is part of the first call."""
    convolution: Convolution = "library"
    """Algorithm of convolutions of 3x3 and larger: `library` leaves them to PyTorch (oneDNN, cuDNN),
    `im2col` copies neighbourhoods into a matrix and multiplies, `winograd` is a compiled kernel for CPUs that
    needs fewer multiplications, `fft` multiplies spectra."""
    schedule: Schedule = "sequential"
    """Order of the work of a call: `sequential` as published; `pipelined` upsamples a frame
    while the next one propagates."""
    cuda_graph: bool = False
    """The whole call captured once as a CUDA graph, and replayed."""
    transfer: Transfer = "pageable"
    """Transfer of clips to a CUDA device and of outputs back: from `pageable` host memory, from `pinned`, or
    `overlapped`: pinned, the next clip in and the last output out while this clip is computed."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Intra-op threads; PyTorch's choice where it is not given."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that the clips of a call are divided over, each with its own `threads` (one where that is not
    given) and, on CUDA, a GPU of its own. `batch` must be a multiple."""
    map_reduce: bool = False
    """Clips are tasks that the processes take, and not shares: outputs come back through pipes and are
    joined, and a clip whose process was lost runs again."""
    memory_plan: Annotated[
        MemoryPlanSpec | None,
        BeforeValidator(lambda plan: plan, json_schema_input_type=MemoryPlanName | MemoryPlanSpec | None),
    ] = None
    """Calls go frame by frame in bounded memory, with what waits kept there; where it is not given, the plain
    network takes the whole clip in one call."""
    min_psnr_db: PositiveFloat = Field(
        default_factory=lambda fields: DEFAULT_MIN_PSNR_DB[
            fields["fp32_precision"] if fields["dtype"] == "float32" else fields["dtype"]
        ]
    )
    """PSNR against the CPU float32 result below which a cell is `inaccurate`; a default per dtype."""
    tuned_on: TunedOn | None = None
    """Machine that `vsr-bench tune` found it on; elsewhere, or with another torch, there is a note."""

    @model_validator(mode="before")
    @classmethod
    def _as_fields(cls, data: Any) -> Any:
        """Return a name alone as a mapping, and leave out fields that are null: they have their defaults."""
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict):
            return data
        known = {info.alias or name for name, info in cls.model_fields.items()}
        return {name: value for name, value in data.items() if value is not None or name not in known}

    @model_validator(mode="after")
    def _derives_from_a_known_one(self) -> Self:
        if self.origin not in BACKEND_NAMES:
            raise field_error(
                "name",
                f"{self.name!r} is not known{nearest(self.name, BACKEND_NAMES)}; it should be "
                f"{', '.join(BACKEND_NAMES)}, or derive from one of them as in "
                f"{{name: {self.name}, from: cpu, threads: 1}}",
            )
        if self.name in BACKEND_NAMES and self.name != self.origin:
            raise field_error(
                "from", f"{self.name!r} cannot derive from {self.origin!r}; give it another name"
            )
        if self.is_cuda == (self.origin == "cpu"):
            allowed = "cpu" if self.origin != "cpu" else "cuda, cudnn or cudnn_autotune"
            raise field_error(
                "device",
                f"{self.name!r} derives from {self.origin!r} and cannot be on {self.device!r}; for that it "
                f"should derive from {allowed}",
            )
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, as_mapping: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the fields that were given: with them alone a configuration keeps its hash."""
        given = {self.__class__.model_fields[name].alias or name for name in self.model_fields_set}
        return {name: value for name, value in as_mapping(self).items() if name in given}

    def replace(self, **fields: Any) -> Self:
        """Return a copy with other fields, whose values are not validated."""
        assert fields.keys() <= type(self).model_fields.keys()
        return self.model_copy(update=fields)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that change what is computed, or how, and cuDNN's switches."""
        apart = ("name", "origin", "min_psnr_db", "tuned_on")
        fields = {name: value for name, value in self if name not in apart}
        switches = {"cudnn_enabled": self.cudnn_enabled, "cudnn_benchmark": self.cudnn_benchmark}
        return {"device": self.device, **switches, **fields}

    @property
    def cudnn_enabled(self) -> bool | None:
        """True if cuDNN computes convolutions; None on a CPU."""
        return _CUDNN.get(self.origin)

    @property
    def cudnn_benchmark(self) -> bool | None:
        """True if cuDNN times its algorithms at every new shape and keeps the best; None on a CPU."""
        return self.origin == "cudnn_autotune" if self.is_cuda else None

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def locks_pages(self) -> bool:
        """True if clips and outputs lie in page-locked host memory."""
        return self.transfer != "pageable"

    @property
    def overlaps_transfers(self) -> bool:
        """True if clips and outputs are transferred while others are computed."""
        return self.transfer == "overlapped"

    @property
    def has_narrow_features(self) -> bool:
        """True if features are narrower than float32; the winograd kernel narrows only its factors."""
        return self.dtype != "float32" and self.convolution != "winograd"

    @property
    def features_format(self) -> str:
        """Memory format of features; the winograd kernel has only one, whichever is configured."""
        return "channels_last" if self.convolution == "winograd" else self.memory_format

    @property
    def no_stages(self) -> str | None:
        """Reason why its calls have no stage times, or None."""
        if self.is_divided:
            return "no stage times: each of the processes has its own, and they make no one figure"
        if self.cuda_graph:
            return "no stage times: one graph replays the whole call"
        if self.schedule == "pipelined":
            return (
                "no stage times: by schedule: pipelined a frame is upsampled while the next one propagates. "
                "Stages overlap, and a probe that waits at their boundaries times another schedule"
            )
        return None

    @property
    def is_divided(self) -> bool:
        """True if its clips are divided over processes that run at the same time."""
        return self.processes > 1

    @property
    def is_reference(self) -> bool:
        """True if its output is the CPU float32 result that the others are checked against."""
        return self.settings == CPU.settings


BUILT_IN: Final = {name: Backend(name=name) for name in BACKEND_NAMES}
CPU: Final = BUILT_IN["cpu"]
