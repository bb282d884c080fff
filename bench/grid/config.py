"""Read a YAML file strictly into an Experiment: an unknown name is refused, with the nearest right one.

The classes are the reference for every field; `vsr-bench schema` prints them as a JSON Schema for editors.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from bench.figures import DRAWN_UNASKED, FIGURES
from bench.grid import variants
from bench.grid.backend import Backend
from bench.grid.backend_file import SUFFIXES, fields_of, included, with_file
from bench.grid.baseline import Baseline
from bench.grid.config_measure import Measure
from bench.grid.config_model import Model, Models, OwnGrid, model_schemas
from bench.grid.rules import disagreement
from bench.grid.strict import (
    BASELINE_PATTERN,
    MAX_CELLS,
    MAX_ROUNDS_OF_CELLS,
    Axis,
    AxisValue,
    MediaPath,
    Name,
    Seed,
    Sizes,
    Strict,
    as_list,
    field_error,
    unique,
    validated,
)
from bench.grid.yaml_source import Source, override, read, value_of
from vsr_model.errors import nearest


class RandomInput(Strict):
    """Uniform noise in [0, 1]."""

    name: Name
    """Name in tables and plots."""
    kind: Literal["random"]
    """Noise, where the content does not matter: it changes no time."""
    seed: Seed = 0
    """Seed of the noise."""
    grid: OwnGrid = OwnGrid()
    """Axes for this input alone."""


class _MediaInput(Strict):
    name: Name
    """Name in tables and plots."""
    path: MediaPath
    """Relative to this YAML's folder."""
    fit: Literal["resize", "crop"] = "resize"
    """Way to a cell's size: scaled, or its centre cut out."""
    grid: OwnGrid = OwnGrid()
    """Axes for this input alone."""


class ImageInput(_MediaInput):
    """An image, as a clip of one frame: cells of more frames are skipped."""

    kind: Literal["image"]
    """A file that Pillow reads."""


class VideoInput(_MediaInput):
    """The first frames of a video, or of frames in files; cells of more frames than there are are skipped."""

    kind: Literal["video"]
    """A file that FFmpeg reads, a folder of pictures, or a pattern of their names."""
    stride: AxisValue = 1
    """Take one frame of so many."""


Input = RandomInput | ImageInput | VideoInput


class Grid(Strict):
    """The axes; their product, times inputs and backends, is the cells."""

    batch: Axis = (1,)
    """Clips per call."""
    frames: Axis
    """Frames per clip (t)."""
    size: Sizes
    """[height, width] of the low-resolution frames in pixels."""


if TYPE_CHECKING:
    PlotKind = str
else:
    PlotKind = Literal[tuple(FIGURES)]


def _default_plots(fields: Mapping[str, Any]) -> tuple[PlotKind, ...]:
    """Return the plots of an experiment that names none: those that its measure allows."""
    return (*DRAWN_UNASKED, "roofline") if fields["measure"].ceilings else DRAWN_UNASKED


class Experiment(Strict):
    """The contents of the YAML."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        "plots=long_clips": "time and peak_memory show seconds and memory against the frame count"
    }

    name: Name
    """Name of the experiment; its runs go to results/<name>-<UTC time>."""
    models: Models = Field((Model(),), alias="model")
    """The measured network, or a list."""
    input: Annotated[
        tuple[Annotated[Input, Field(discriminator="kind")], ...],
        Field(min_length=1),
        AfterValidator(unique),
        BeforeValidator(as_list, json_schema_input_type=list[Input] | Input),
    ]
    """The source of the frames: one input or a list."""
    grid: Grid
    """The shapes that each input is measured at, on every backend."""
    backends: Annotated[
        tuple[Backend, ...],
        Field(min_length=1),
        AfterValidator(unique),
        BeforeValidator(lambda value: value, json_schema_input_type=list[Backend | Name]),
    ]
    """The backends that cells run on; the first is the baseline unless `baseline` names another."""
    baseline: Annotated[str, Field(pattern=BASELINE_PATTERN)] | None = None
    """The backend that speedups compare with, each network with itself; `MODEL/BACKEND` compares all networks
    with that one."""
    ladder: bool | None = None
    """`true`: the backends are rungs, each of which adds something to the one before, and the run gets
    ladder.csv, a waterfall figure and a section of the report."""
    measure: Measure = Measure()
    """The way of measuring."""
    plots: Annotated[
        tuple[PlotKind, ...],
        AfterValidator(unique),
        BeforeValidator(as_list, json_schema_input_type=list[PlotKind] | PlotKind),
    ] = Field(default_factory=_default_plots)
    """Figures of the results; by default also `roofline` where `measure.ceilings` is on."""
    variants: dict[Name, dict[str, Any]] = Field(default={}, exclude=True)
    """Fields that replace those above when they are asked for by name (`--variant`): {quick: {grid: ...}}."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [backend.name for backend in self.backends]
        baseline = Baseline.of(self.baseline or names[0])
        for name, kind, known in (
            (baseline.model, "models", [model.name for model in self.models]),
            (baseline.backend, "backends", names),
        ):
            if name not in (None, *known):
                hint = nearest(str(name), known)
                raise field_error(
                    "baseline", f"{name!r} is none of the {kind}{hint}; allowed are {', '.join(known)}"
                )
        if self.ladder and len(names) < 2:
            raise field_error("ladder", "is true, and a ladder has two backends at least; there is one")
        if self.ladder and self.baseline not in (None, names[0]):
            message = f"is {self.baseline!r}; that of a ladder is its first rung, {names[0]!r}"
            raise field_error("baseline", message)
        if (refused := disagreement(self.backends, self.measure)) is not None:
            field, why = refused
            raise field_error("measure", why, field)
        if self.variants:  # a file's own are applied, or not, before it is read as an experiment
            raise field_error("variants", "cannot be set from the command line; --variant chooses one")
        if (cells := self.cell_count()) > MAX_CELLS:
            raise field_error(
                "grid",
                f"has {cells:,} cells with networks, inputs and backends; at most {MAX_CELLS:,} are allowed",
            )
        if cells * self.measure.rounds > MAX_ROUNDS_OF_CELLS:
            raise field_error(
                "measure",
                f"asks for {self.measure.rounds:,} rounds of {cells:,} cells; "
                f"at most {MAX_ROUNDS_OF_CELLS:,} rounds are allowed altogether",
            )
        return self

    def axes_of(self, model: Model, item: Input) -> Grid:
        """Return the grid of one network and input: the network's own axes, else the input's own."""
        own = model.grid or OwnGrid()
        return Grid(
            batch=own.batch or item.grid.batch or self.grid.batch,
            frames=own.frames or item.grid.frames or self.grid.frames,
            size=own.size or item.grid.size or self.grid.size,
        )

    def cell_count(self) -> int:
        """Return the number of cells of the grid without building them."""
        axes = [self.axes_of(model, item) for model in self.models for item in self.input]
        clips = sum(math.prod(map(len, (a.batch, a.frames, a.size))) for a in axes)
        return clips * len(self.backends)


def load(
    path: Path, assignments: Sequence[str] = (), wanted: Sequence[str] = ()
) -> tuple[Experiment, Source]:
    """Return the experiment of a YAML file with its source.

    The `wanted` variants are merged into the file, then the `field.subfield=value` assignments. Relative
    paths start at the file's folder; in the experiment they start at the current one. Raises BadInput: one
    sentence that names the file, the line, the field, the given value and the allowed ones.
    """
    written = read(path)
    for variant in variants.names(written):  # those that no one asks for are read by those who write them
        validated(Experiment, included(variants.chosen(written, [variant])))
    source = override(variants.chosen(written, wanted), assignments)
    return in_folder(validated(Experiment, included(source)), path.parent.resolve()), source


def in_folder(experiment: Experiment, folder: Path) -> Experiment:
    """Return the experiment with the paths of its files, relative to a folder, from the current folder on.

    They stay relative, so that a run's config.yaml names no one's home; absolute ones stay as they are.
    """
    data = plain(experiment)
    for model in data["model"]:
        if "import" in model:
            model.setdefault("folder", ".")
    return of_plain(_with_paths(data, lambda path: os.path.relpath(folder / path)))


def _with_paths(data: dict[str, Any], moved: Callable[[str], str]) -> dict[str, Any]:
    """Return `plain` data with its relative paths moved."""
    plans = [item["memory_plan"] for item in data["backends"] if "memory_plan" in item]
    for item in (*data["model"], *data["input"], *plans):
        for field in {"checkpoint", "path", "folder"} & item.keys():
            if not Path(item[field]).is_absolute():
                item[field] = moved(item[field])
    return data


def dump(experiment: Experiment, folder: Path) -> str:
    """Return the experiment as YAML with every field written out, its paths relative to the folder.

    Absolute paths stay as they were given. The text loads to an equal experiment from that folder.
    """
    return yaml.safe_dump(resolved(experiment, folder), sort_keys=False, allow_unicode=True, width=100)


def resolved(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Return what `dump` writes as plain data, which JSON can hold."""
    return _with_paths(plain(experiment), lambda path: os.path.relpath(path, folder.resolve()))


def plain(experiment: Experiment) -> dict[str, Any]:
    """Return every field as plain data, with unchanged paths."""
    return experiment.model_dump(by_alias=True, exclude_none=True, mode="json")


def of_plain(data: Mapping[str, Any]) -> Experiment:
    """Return the experiment that `plain` or `resolved` wrote. Raises ValidationError for invalid data."""
    return Experiment.model_validate(_with_tuples(data))


def _with_tuples(value: Any) -> Any:
    """Return JSON data with the tuples that strict validation needs in place of lists."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def json_schema(networks: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the YAML, for editors.

    `networks` describes the parameters of each registered network (`vsr_model.registry.arguments_of`).
    """
    schema = Experiment.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    definitions.update(model_schemas(definitions["Model"], networks))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def backend_of(text: str) -> Backend:
    """Return the backend that a command line names: as text, as a mapping like a grid's, or by its file.

    A mapping needs no name there; a file is named by its path or, where `tune` puts it, by its name. Raises
    BadInput for anything else.
    """
    value = value_of(text, "--backend")
    data = {"name": "backend", **value} if isinstance(value, dict) else {"name": text}
    if not isinstance(value, dict) and text.endswith(SUFFIXES):
        data = fields_of(Path(text), Path(text).stem)
    elif (found := with_file(data)) is not None:
        data = found
    return validated(Backend, Source(path=Path("--backend"), data=data, lines={}))


def model_of(**fields: Any) -> Model:
    """Return the network that a command line describes. Raises BadInput for values that are not allowed."""
    given = {name: item for name, item in fields.items() if item is not None}
    return validated(Model, Source(path=Path("--model"), data=given, lines={}))
