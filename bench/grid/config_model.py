"""YAML settings for the network and its weights. Pure."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from bench.grid.spans import SPANS
from bench.grid.strict import (
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
    unknown_field,
)
from bench.grid.yaml_source import shown
from vsr_model.errors import nearest
from vsr_model.registry import NETWORKS

DEFAULT: Final = "basicvsr"

_CLASS: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_OF_ANY: Final = ("name", "seed", "checkpoint", "grid", "rounds")
_OF_REGISTERED: Final = (*_OF_ANY, "from")
_OF_OWN: Final = ("import", "arguments", "scale", "input", "window", "ends", "output", "stages", "folder")


def _class_path(value: str) -> str:
    if not _CLASS.fullmatch(value):
        raise ValueError(f"should name a class as package.module:Class, not {value!r}")
    return value


def _key_or_index(value: Any) -> Any:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise ValueError(f"should be a key (text) or an index (a whole number), not {shown(value)}")


Submodules = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(as_list, json_schema_input_type=list[str] | str),
]


class OwnGrid(Strict):
    """Axes that one network or input has instead of the grid's."""

    batch: Axis | None = None
    """Clips per call."""
    frames: Axis | None = None
    """Frames per clip (t)."""
    size: Sizes | None = None
    """[height, width] of the low-resolution frames in pixels."""


class Model(Strict):
    """A network and its weights: one of the registry, or a class of the user's own."""

    name: Name = DEFAULT
    """One of the registry, or what tables and plots call it."""
    origin: str | None = Field(None, alias="from")
    """The network of the registry, where `name` is a name of your own: {name: edvr_l, from: edvr, ...}."""
    seed: Seed | None = None
    """Seed of the random weights; 0 where neither it nor a checkpoint is given."""
    checkpoint: MediaPath | None = None
    """A .pth or .safetensors file, relative to this YAML's folder; instead of a seed."""
    grid: OwnGrid | None = None
    """Axes for this network alone, which come before those of an input."""
    rounds: AxisValue | None = None
    """Rounds of this network, where they are fewer than `measure.rounds`."""
    parameters: dict[str, Any] = Field({}, json_schema_extra={"writeOnly": True})
    """Parameters of a network of the registry, given beside the name: {name: basicvsr, num_blocks: 30}."""

    import_: Annotated[str, AfterValidator(_class_path)] | None = Field(None, alias="import")
    """A class of your own, as package.module:Class: a torch.nn.Module."""
    folder: MediaPath | None = None
    """The folder that the import starts at, relative to this YAML's; by itself it is that."""
    arguments: dict[str, Any] = Field(default={})
    """Keyword arguments of the class."""
    scale: Annotated[int, Field(ge=1, le=64)] = 4
    """Factor by which each side grows."""
    input: Literal["clip", "frame", "window"] = "clip"
    """Input of forward: (n, t, c, h, w), (n, c, h, w) frame by frame, or (n, window, c, h, w)."""
    window: Annotated[int, Field(ge=1, le=99)] = 5
    """Frames of a window, an odd number; the middle one comes out."""
    ends: Literal["mirror", "repeat"] = "mirror"
    """Frames that fill a window beyond the ends of the clip."""
    output: Annotated[str | int, BeforeValidator(_key_or_index)] | None = None
    """Key or index of the frames where a dict, a list or a tuple comes out."""
    stages: dict[Name, Submodules] = Field(default={})
    """Stages and their submodules, by name or pattern, as in {alignment: [spynet], upsampling: ["up*"]}."""

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, data: Any) -> Any:
        """Move the fields that a registered network has beside the common ones to its parameters.

        A name alone is the network of that name.
        """
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict):
            return data
        if data.get("import", data.get("import_")) is not None:
            for name in data:
                if name not in (*_OF_ANY, *_OF_OWN):
                    raise unknown_field(name, [*_OF_ANY, *_OF_OWN])
            return data
        for name in data:
            if name in _OF_OWN and data[name] is not None:
                message = "is for a class of your own, and there is no import that names one"
                raise field_error(name, message)
        common = {name: value for name, value in data.items() if name in (*_OF_REGISTERED, "origin")}
        own = {name: value for name, value in data.items() if name not in (*common, *_OF_OWN)}
        given = own.pop("parameters") if isinstance(own.get("parameters"), dict) else {}
        return {**common, "parameters": {**given, **own}}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.seed is not None and self.checkpoint is not None:
            raise ValueError("has both a seed and a checkpoint; weights come from one of them")
        if self.import_ is None:
            if self.registered not in NETWORKS:
                message = (
                    f"should be {' or '.join(NETWORKS)}, or name a class of your own by import, not "
                    f"{self.registered!r}{nearest(self.registered, list(NETWORKS))}"
                )
                raise field_error("from" if self.origin else "name", message)
            if self.name in NETWORKS and self.name != self.registered:
                message = f"{self.name!r} is another network of the registry; give this one a name of its own"
                raise field_error("name", message)
            return self
        if "name" not in self.model_fields_set:
            raise field_error("name", "is missing; a class of your own needs one, for tables and plots")
        if self.name in NETWORKS:
            raise field_error(
                "name", f"{self.name!r} is a network of the registry; give your class another name"
            )
        if not self.stages:
            raise field_error(
                "stages", "is missing or empty; name a stage and its submodules, as in {trunk: [body]}"
            )
        for stage in self.stages:
            if stage in SPANS:
                raise field_error("stages", f"{stage!r} is what tables call something else; rename the stage")
        if self.input != "window" and (given := self.model_fields_set & {"window", "ends"}):
            raise field_error(min(given), f"is for `input: window`, and this has `input: {self.input}`")
        if self.window % 2 == 0:
            raise field_error(
                "window", f"should be an odd number, so that it has a middle, not {self.window}"
            )
        return self

    @property
    def registered(self) -> str:
        """The name in the registry of a network that is there."""
        return self.origin or self.name

    @property
    def in_short(self) -> str:
        """The network and its arguments in one line."""
        made = {**self.parameters, **self.arguments}
        origin = f" (from {self.origin})" if self.origin else ""
        return ", ".join([f"{self.name}{origin}", *(f"{name} {value}" for name, value in made.items())])

    def source_file(self) -> Path | None:
        """Return the file of an imported class where it lies below the folder; nothing is imported."""
        parts = (self.import_ or "").partition(":")[0].split(".")
        path = Path(self.folder or ".").joinpath(*parts)
        return next(
            (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
        )

    @model_serializer(mode="wrap")
    def _flat(self, as_mapping: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the parameters beside the name, without the fields of the other kind of network."""
        data = as_mapping(self)
        if self.import_ is not None:
            dropped = {"parameters"} if self.input == "window" else {"parameters", "window", "ends"}
            return {name: value for name, value in data.items() if name not in dropped}
        return {name: data[name] for name in _OF_REGISTERED if name in data} | self.parameters


def model_schemas(
    described: Mapping[str, Any], networks: Mapping[str, type[BaseModel]]
) -> dict[str, dict[str, Any]]:
    """Return JSON Schemas by definition: `Model`, and what it is one of.

    `described` is that of the class `Model`, which has the fields of all kinds of networks.
    """
    fields = described["properties"]
    own = {
        **described,
        "properties": {name: field for name, field in fields.items() if name not in ("parameters", "from")},
        "required": ["name", "import", "stages"],
    }
    found = {
        kind.__name__: {
            **(schema := kind.model_json_schema()),
            "properties": {
                **{field: fields[field] for field in _OF_ANY},
                "from": {"const": name, "description": fields["from"]["description"]},
                **schema["properties"],
            },
            "anyOf": [
                {"properties": {"name": {"const": name}}, "required": [] if name == DEFAULT else ["name"]},
                {"required": ["name", "from"]},
            ],
        }
        for name, kind in networks.items()
    }
    found["ClassOfYourOwn"] = {**own, "title": "A class of your own"}
    return {**found, "Model": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in found]}}


_Registered = Annotated[str, Field(json_schema_extra={"enum": list(NETWORKS)})]

Models = Annotated[
    tuple[Model, ...],
    Field(min_length=1, max_length=100),
    AfterValidator(unique),
    BeforeValidator(as_list, json_schema_input_type=list[Model | _Registered] | Model | _Registered),
]
