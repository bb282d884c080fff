"""YAML to Experiment, strictly: what is not known is refused, with the nearest right name.

The classes are the reference for every field; `vsr-bench schema` prints them as a JSON Schema for editors.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from bench.config_errors import (
    DEVICE_PATTERN,
    NAME_PATTERN,
    PATH_PATTERN,
    as_bad_input,
    field_error,
    unknown_field,
)
from bench.yaml_source import Source, nearest, override, read, value_of

MIN_SIZE: Final = 16
"""The least height and width in pixels: SPyNet still sees something after its five halvings."""

MAX_AXIS_VALUES: Final = 10_000
MAX_AXIS_VALUE: Final = 1_000_000
MAX_CELLS: Final = 100_000
MAX_ROUNDS_OF_CELLS: Final = 1_000_000
MAX_CALLS: Final = 100_000
MAX_TIMEOUT_S: Final = 1_000_000.0
"""Eleven days; the system's calls that wait end at about twice that."""

BackendName = Literal["cpu", "cuda", "cudnn", "cudnn_autotune"]
BACKEND_NAMES: Final[tuple[str, ...]] = get_args(BackendName)
"""The backends that need no definition (bench.backend_spec has theirs)."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, data: Any) -> Any:
        allowed = [info.alias or name for name, info in cls.model_fields.items()]
        for name in data if isinstance(data, dict) else ():
            if name not in allowed:
                raise unknown_field(name, allowed)
        return data


AxisValue = Annotated[int, Field(ge=1, le=MAX_AXIS_VALUE)]


class Range(_Strict):
    """An inclusive range of whole numbers: {start: 1, stop: 10, step: 3} is 1, 4, 7, 10."""

    start: AxisValue
    """The first value."""
    stop: AxisValue
    """The last value, if the steps meet it."""
    step: AxisValue = 1
    """From one value to the next."""


def _expand_axis(value: Any) -> Any:
    """A single number is an axis of one value; a range is written out."""
    if isinstance(value, dict):
        limits = Range.model_validate(value)
        if limits.stop < limits.start:
            raise ValueError(f"the range stops at {limits.stop}, before it starts at {limits.start}")
        if (limits.stop - limits.start) // limits.step >= MAX_AXIS_VALUES:
            raise ValueError(f"a range of over {MAX_AXIS_VALUES:,} values")
        return tuple(range(limits.start, limits.stop + 1, limits.step))
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _expand_sizes(value: Any) -> Any:
    """A single [height, width] is a list of one."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return (value,)
    for size in value if isinstance(value, tuple) else ():
        if isinstance(size, tuple) and len(size) != 2:
            raise ValueError(f"{list(size)!r} is no [height, width]; a size has two whole numbers")
    return value


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, dict | str) else value


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


def _named(value: Any) -> Any:
    """A backend that is only named is written as text."""
    if isinstance(value, tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a value, or the name of a named one, that stands there twice."""
    keys = [getattr(value, "name", value) for value in values]
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            shown = list(key) if isinstance(key, tuple) else key
            raise field_error(index, f"{shown!r} stands there twice; each may stand there once")
        seen.add(key)
    return values


Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
MediaPath = Annotated[str, Field(pattern=PATH_PATTERN)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=MIN_SIZE, le=65536)]
Axis = Annotated[
    tuple[AxisValue, ...],
    Field(min_length=1, max_length=MAX_AXIS_VALUES),
    AfterValidator(_unique),
    BeforeValidator(_expand_axis, json_schema_input_type=list[AxisValue] | Range | AxisValue),
]
Sizes = Annotated[
    tuple[tuple[Side, Side], ...],
    Field(min_length=1, max_length=MAX_AXIS_VALUES),
    AfterValidator(_unique),
    BeforeValidator(_expand_sizes, json_schema_input_type=list[tuple[Side, Side]] | tuple[Side, Side]),
]


class Model(_Strict):
    """The network and its weights."""

    name: Literal["basicvsr"] = "basicvsr"
    """Which network."""
    mid_channels: Annotated[int, Field(ge=1, le=4096)] = 64
    """Channels of the features that are propagated."""
    num_blocks: Annotated[int, Field(ge=1, le=1000)] = 30
    """Residual blocks in the trunk of each direction."""
    base_upsample: Literal["bilinear", "nearest"] = "bilinear"
    """How the input is enlarged before the residual is added; `nearest` is the course project's variant."""
    flow_resize: Literal["bilinear", "nearest"] = "bilinear"
    """How flow estimation resizes to multiples of 32; `nearest` is the course project's variant."""
    seed: Seed | None = None
    """Seed of the random weights; 0 where neither it nor a checkpoint is given."""
    checkpoint: MediaPath | None = None
    """A .pth or .safetensors file, relative to this YAML's folder; instead of a seed."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's parameters (vsr_model.registry)."""
        return self.model_dump(exclude={"name", "seed", "checkpoint"})

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Self:
        if self.seed is not None and self.checkpoint is not None:
            raise ValueError("has both a seed and a checkpoint; weights come from one of them")
        return self


class InputGrid(_Strict):
    """Axes that one input has instead of the grid's."""

    batch: Axis | None = None
    """Clips per call."""
    frames: Axis | None = None
    """Frames per clip (t)."""
    size: Sizes | None = None
    """[height, width] of the low-resolution frames in pixels, each at least 16."""


class RandomInput(_Strict):
    """Uniform noise in [0, 1]."""

    name: Name
    """What tables and plots call it."""
    kind: Literal["random"]
    """Noise, where the content does not matter: it changes no time."""
    seed: Seed = 0
    """Seed of the noise."""
    grid: InputGrid = InputGrid()
    """Axes for this input alone."""


class ImageInput(_Strict):
    """An image, as a clip of one frame: cells of more frames are skipped."""

    name: Name
    """What tables and plots call it."""
    kind: Literal["image"]
    """A file that Pillow reads."""
    path: MediaPath
    """Relative to this YAML's folder."""
    fit: Literal["resize", "crop"] = "resize"
    """How the image comes to a cell's size."""
    grid: InputGrid = InputGrid()
    """Axes for this input alone."""


class VideoInput(_Strict):
    """The first frames of a video; cells of more frames than it has are skipped."""

    name: Name
    """What tables and plots call it."""
    kind: Literal["video"]
    """A file that FFmpeg reads."""
    path: MediaPath
    """Relative to this YAML's folder."""
    fit: Literal["resize", "crop"] = "resize"
    """How the frames come to a cell's size."""
    stride: AxisValue = 1
    """Take every so-manieth frame."""
    grid: InputGrid = InputGrid()
    """Axes for this input alone."""


Input = RandomInput | ImageInput | VideoInput


class Grid(_Strict):
    """The axes; their product, times inputs and backends, is the cells."""

    batch: Axis = (1,)
    """Clips per call."""
    frames: Axis
    """Frames per clip (t)."""
    size: Sizes
    """[height, width] of the low-resolution frames in pixels, each at least 16."""


class BackendSpec(_Strict):
    """A backend as the YAML gives it: one of cpu, cuda, cudnn, cudnn_autotune, or derived from one."""

    name: Name
    """What tables and plots call it."""
    from_: BackendName | None = Field(None, alias="from")
    """The backend that this one derives from; may be left out where the name is one of them."""
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] | None = None
    """`cpu`, `cuda` or `cuda:1`; of the same kind as the backend it derives from."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of features and their convolutions; flow, warp coordinates and output stay float32."""
    fp32_precision: Literal["ieee", "tf32"] | None = None
    """What float32 convolutions and matrix products compute in; `ieee` is full float32."""
    memory_format: Literal["contiguous", "channels_last"] | None = None
    """How features lie in memory; `channels_last` is what tensor cores work on."""
    compile: bool | None = None
    """torch.compile of each stage's module; compilation is part of the first call."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Intra-op threads; PyTorch's choice where it is not given."""
    min_psnr_db: PositiveFloat | None = None
    """Below this against the CPU float32 result a cell is `inaccurate`; a default per dtype."""

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
        return self


class Measure(_Strict):
    """How each cell is measured."""

    warmup: Annotated[int, Field(ge=0, le=MAX_CALLS)] = 2
    """Calls after the cold one whose samples are kept, marked, and used for nothing."""
    repetitions: Annotated[int, Field(ge=1, le=MAX_CALLS)] = 7
    """Steady calls of each pass; six are the least that give a median an interval."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Processes per cell; six or more give an interval that holds between processes."""
    order: Literal["interleaved", "blocked"] = "interleaved"
    """`interleaved`: a round of every cell, then the next round. `blocked`: a cell's rounds together."""
    isolation: Literal["cell", "backend", "experiment"] = "cell"
    """A process per cell, one per backend with its cells in order, or one for all (per round)."""
    stages: Annotated[Literal["off", "sync", "events", "both"], BeforeValidator(_off)] = "both"
    """Stage probes: synchronising at every boundary, CUDA events (none on a CPU), or both."""
    memory: Annotated[Literal["off", "curve", "lines"], BeforeValidator(_off)] = "curve"
    """Host and device memory over time in a pass of its own; `lines` adds a table by line of `forward`."""
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 600.0
    """Time that one round of a cell may take, set-up included."""
    allocator: Literal["retain", "system"] = "retain"
    """`retain`: freed host memory is kept by the process, so that a forward does not fault its pages in
    anew (glibc); `system`: as the C library has it. The same for every backend of a run."""


PlotKind = Literal["time", "speedup", "stages", "repetitions", "memory"]


class Experiment(_Strict):
    """What the YAML says."""

    name: Name
    """Of the experiment; its runs go to results/<name>-<UTC time>."""
    model: Model = Model()
    """What is measured."""
    input: Annotated[
        tuple[Annotated[Input, Field(discriminator="kind")], ...],
        Field(min_length=1),
        AfterValidator(_unique),
        BeforeValidator(_as_list, json_schema_input_type=list[Input] | Input),
    ]
    """Where frames come from: one input or a list."""
    grid: Grid
    """What each input is measured at, on every backend."""
    backends: Annotated[
        tuple[BackendSpec, ...],
        Field(min_length=1),
        AfterValidator(_unique),
        BeforeValidator(_named, json_schema_input_type=list[BackendSpec | Name]),
    ]
    """What the cells run on; the first is the baseline unless `baseline` names another."""
    baseline: Name | None = None
    """The backend that speedups compare with."""
    measure: Measure = Measure()
    """How."""
    plots: Annotated[
        tuple[PlotKind, ...],
        AfterValidator(_unique),
        BeforeValidator(_as_list, json_schema_input_type=list[PlotKind]),
    ] = ("time", "speedup", "stages", "repetitions", "memory")
    """What is drawn from the results."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [backend.name for backend in self.backends]
        if self.baseline is not None and self.baseline not in names:
            hint = nearest(self.baseline, names)
            raise field_error(
                "baseline", f"{self.baseline!r} is none of the backends{hint}; allowed are {', '.join(names)}"
            )
        if self.measure.order == "blocked" and self.measure.isolation != "cell":
            said = f"order: blocked needs isolation: cell, and isolation is {self.measure.isolation}"
            raise field_error("measure", said)
        if (cells := self.cell_count()) > MAX_CELLS:
            raise field_error(
                "grid", f"has {cells:,} cells with inputs and backends; at most {MAX_CELLS:,} are allowed"
            )
        if cells * self.measure.rounds > MAX_ROUNDS_OF_CELLS:
            raise field_error(
                "measure",
                f"asks for {self.measure.rounds:,} rounds of {cells:,} cells; "
                f"at most {MAX_ROUNDS_OF_CELLS:,} rounds are allowed altogether",
            )
        return self

    def axes_of(self, item: Input) -> Grid:
        """The grid of one input: its own axes where it has them."""
        return Grid(
            batch=item.grid.batch or self.grid.batch,
            frames=item.grid.frames or self.grid.frames,
            size=item.grid.size or self.grid.size,
        )

    def cell_count(self) -> int:
        """How many cells the grid has, without making them."""
        axes = [self.axes_of(item) for item in self.input]
        return sum(math.prod(map(len, (a.batch, a.frames, a.size))) for a in axes) * len(self.backends)


def load(path: Path, assignments: Sequence[str] = ()) -> tuple[Experiment, Source]:
    """The experiment of a YAML file, with `field.subfield=value` assignments on top.

    Relative paths in it start at the file's folder; in the experiment they start at the current one.
    Raises BadInput, one sentence that names the file, the line, the field, what was given and what is
    allowed.
    """
    source = override(read(path), assignments)
    try:
        experiment = Experiment.model_validate(source.data)
    except ValidationError as error:
        raise as_bad_input(error, source) from None
    return _with_paths(experiment, path.parent.resolve()), source


def _with_paths(experiment: Experiment, folder: Path) -> Experiment:
    """Media and checkpoints whose paths are relative to the folder, from the current folder.

    They stay relative, so that a run's config.yaml names no one's home; absolute ones stay as they are.
    """

    def moved(path: str) -> str:
        return path if Path(path).is_absolute() else os.path.relpath(folder / path)

    model = experiment.model
    if model.checkpoint is not None:
        model = model.model_copy(update={"checkpoint": moved(model.checkpoint)})
    inputs = tuple(
        item if isinstance(item, RandomInput) else item.model_copy(update={"path": moved(item.path)})
        for item in experiment.input
    )
    return experiment.model_copy(update={"model": model, "input": inputs})


def dump(experiment: Experiment, folder: Path) -> str:
    """The experiment as YAML with every field written out, its paths relative to the folder.

    Absolute paths stay as they were given. The text loads to an equal experiment from that folder.
    """

    def relative(path: str) -> str:
        return path if Path(path).is_absolute() else os.path.relpath(path, folder.resolve())

    data = experiment.model_dump(by_alias=True, exclude_none=True, mode="json")
    for item in (data["model"], *data["input"]):
        for field in ("checkpoint", "path"):
            if field in item:
                item[field] = relative(item[field])
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the YAML, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Experiment.model_json_schema(by_alias=True, mode="validation"),
    }


def backend_of(text: str) -> BackendSpec:
    """The backend that a command line names, as text or as a mapping like a grid's.

    A mapping needs no name there. Raises BadInput for what is neither.
    """
    value = value_of(text, "--backend")
    data = {"name": "backend", **value} if isinstance(value, dict) else {"name": text}
    return _of_command_line(BackendSpec, "--backend", data)


def model_of(**fields: Any) -> Model:
    """The model that a command line describes. Raises BadInput for values that are not allowed."""
    return _of_command_line(
        Model, "--model", {name: item for name, item in fields.items() if item is not None}
    )


_M = TypeVar("_M", bound=_Strict)


def _of_command_line(kind: type[_M], option: str, data: dict[str, Any]) -> _M:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise as_bad_input(error, Source(path=Path(option), data=data, lines={})) from None
