"""Base types of an experiment: strict models, names, axes and sizes. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bench.grid.config_errors import NAME_PATTERN, PATH_PATTERN, field_error, unknown_field

MAX_AXIS_VALUES: Final = 10_000
MAX_AXIS_VALUE: Final = 1_000_000
MAX_CELLS: Final = 100_000
MAX_ROUNDS_OF_CELLS: Final = 1_000_000
MAX_CALLS: Final = 100_000
MAX_TIMEOUT_S: Final = 1_000_000.0
"""Eleven days; the system's waiting calls are limited to about twice that."""


class Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    RETIRED: ClassVar[Mapping[str, str]] = {}
    """Fields, and values as `field=value`, that earlier versions had, each with what replaces it."""

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, data: Any) -> Any:
        allowed = [info.alias or name for name, info in cls.model_fields.items()]
        for name, value in data.items() if isinstance(data, dict) else ():
            for retired in (name, f"{name}={value}"):
                if retired in cls.RETIRED:
                    raise field_error(name, f"{retired} is no longer there; {cls.RETIRED[retired]}")
            if name not in allowed:
                raise unknown_field(name, allowed)
        return data


AxisValue = Annotated[int, Field(ge=1, le=MAX_AXIS_VALUE)]


class Range(Strict):
    """An inclusive range of whole numbers: {start: 1, stop: 10, step: 3} is 1, 4, 7, 10."""

    start: AxisValue
    """The first value."""
    stop: AxisValue
    """The last value, if the steps meet it."""
    step: AxisValue = 1
    """From one value to the next."""


def _expand_axis(value: Any) -> Any:
    """Return a single number as an axis of one value, and a range as its values."""
    if isinstance(value, dict):
        limits = Range.model_validate(value)
        if limits.stop < limits.start:
            raise ValueError(f"the range stops at {limits.stop}, before it starts at {limits.start}")
        if (limits.stop - limits.start) // limits.step >= MAX_AXIS_VALUES:
            raise ValueError(f"a range of over {MAX_AXIS_VALUES:,} values")
        return tuple(range(limits.start, limits.stop + 1, limits.step))
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _expand_sizes(value: Any) -> Any:
    """Return a single [height, width] as a list of one."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return (value,)
    for size in value if isinstance(value, tuple) else ():
        if isinstance(size, tuple) and len(size) != 2:
            raise ValueError(f"{list(size)!r} is no [height, width]; a size has two whole numbers")
    return value


def as_list(value: Any) -> Any:
    return (value,) if isinstance(value, dict | str) else value


def off_as_text(value: Any) -> Any:
    """Return `off` for false: YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


def named(value: Any) -> Any:
    """Return each backend that is only a text as the mapping with that name."""
    if isinstance(value, tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


def unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values. Refuses a value, or the name of a named one, that occurs twice."""
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
Side = Annotated[int, Field(ge=1, le=65536)]
Axis = Annotated[
    tuple[AxisValue, ...],
    Field(min_length=1, max_length=MAX_AXIS_VALUES),
    AfterValidator(unique),
    BeforeValidator(_expand_axis, json_schema_input_type=list[AxisValue] | Range | AxisValue),
]
Sizes = Annotated[
    tuple[tuple[Side, Side], ...],
    Field(min_length=1, max_length=MAX_AXIS_VALUES),
    AfterValidator(unique),
    BeforeValidator(_expand_sizes, json_schema_input_type=list[tuple[Side, Side]] | tuple[Side, Side]),
]
