"""Strict models of a YAML file: their base, the types of their fields, and their errors. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from bench.grid.yaml_source import Location, Source, dotted, shown
from vsr_model.errors import BadInput, nearest

MAX_AXIS_VALUES: Final = 10_000
MAX_AXIS_VALUE: Final = 1_000_000
MAX_CELLS: Final = 100_000
MAX_ROUNDS_OF_CELLS: Final = 1_000_000
MAX_CALLS: Final = 100_000
MAX_TIMEOUT_S: Final = 1_000_000.0
"""Eleven days; the system's waiting calls are limited to about twice that."""

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
PATH_PATTERN: Final = r"^[^\x00]+$"
DEVICE_PATTERN: Final = r"^(cpu|cuda(:\d{1,2})?)$"
BASELINE_PATTERN: Final = r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$"

_SHOULD_MATCH: Final = {
    BASELINE_PATTERN: "should be the name of a backend, or of a network and a backend as in basicvsr/cpu",
    NAME_PATTERN: "should consist of letters, digits, '.', '_' and '-', starting with a letter or a digit",
    PATH_PATTERN: "should be the path of a file, neither empty nor with a NUL character",
    DEVICE_PATTERN: "should be cpu, cuda or a GPU by its number as in cuda:1",
}

_SHOULD_BE: Final = {
    "tuple_type": "should be a list, as in [1, 2]",
    "model_type": "should be a mapping (field: value)",
    "model_attributes_type": "should be a mapping (field: value)",
    "dict_type": "should be a mapping (field: value)",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "finite_number": "should be a finite number",
    "string_type": "should be text",
    "bool_type": "should be true or false",
}


def field_error(field: str | int, message: str, *below: str) -> PydanticCustomError:
    """Return the error for a field, or one below it, that is wrong only in view of the others."""
    return PydanticCustomError("field_error", "{message}", {"message": message, "key": (field, *below)})


def unknown_field(name: str, allowed: list[str]) -> PydanticCustomError:
    """Return the error for a field that a model does not have."""
    message = f"unknown field {shown(name)}{nearest(name, allowed)}; allowed are {', '.join(allowed)}"
    return PydanticCustomError("unknown_field", "{message}", {"message": message, "key": (name,)})


class Strict(BaseModel):
    """A frozen model that converts nothing and knows the fields of earlier versions."""

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
            items = value if isinstance(value, tuple) else (value,)
            for retired in (name, *(f"{name}={item}" for item in items)):
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


def count_or(word: str, least: int, most: int) -> BeforeValidator:
    """Return the validator of a whole number within limits, or a word in its place."""

    def check(value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value == word or (whole and least <= value <= most):
            return value
        raise ValueError(f"should be a whole number from {least} to {most:,}, or {word}, not {shown(value)}")

    schema: Any = Annotated[int, Field(ge=least, le=most)] | Literal[word]
    return BeforeValidator(check, json_schema_input_type=schema)


def as_list(value: Any) -> Any:
    """Return a single value as a list of one."""
    return value if isinstance(value, tuple) else (value,)


def off_as_text(value: Any) -> Any:
    """Return `off` for false: YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


def unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values. Refuses a value, or the name of a named one, that occurs twice."""
    seen = set()
    for index, value in enumerate(values):
        key = getattr(value, "name", value)
        if key in seen:
            raise field_error(index, f"{shown(key)} is given twice; each may be given once")
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


_M = TypeVar("_M", bound=Strict)


def validated(kind: type[_M], source: Source) -> _M:
    """Return the model of a source's data.

    Raises BadInput: one sentence that names the place, the field, the given value and the allowed ones.
    """
    try:
        return kind.model_validate(source.data)
    except ValidationError as error:
        raise _as_bad_input(error, source) from None


def _as_bad_input(error: ValidationError, source: Source) -> BadInput:
    errors = error.errors(include_url=False)
    # Of several, an unknown field explains the missing one that it was meant to be.
    first = min(errors, key=lambda item: item["type"] != "unknown_field")
    named = location = _in_source(first["loc"], source.data)
    if "key" in first.get("ctx", {}):
        # The model as a whole raised it; the line to show is the field's.
        location = _in_source((*first["loc"], *first["ctx"]["key"]), source.data)
        named = named if first["type"] == "unknown_field" else location
    elif first["type"] == "union_tag_invalid":
        named = location = (*location, "kind")
    prefix = f"{dotted(named)}: " if named else ""
    return BadInput(f"{source.where(location)}: {prefix}{_sentence(first)}")


def _sentence(item: ErrorDetails) -> str:  # noqa: PLR0911 - one return per kind of error reads best
    kind, given = item["type"], shown(item["input"])
    context = item.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind in ("unknown_field", "field_error"):
        return str(context["message"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "union_tag_not_found":
        return "the field 'kind' is missing; it should be random, image or video"
    if kind in ("union_tag_invalid", "literal_error"):
        tag = kind == "union_tag_invalid"
        value = item["input"]["kind"] if tag else item["input"]
        expected = context["expected_tags" if tag else "expected"].replace(" or ", ", ").split(", ")
        either = " or ".join(filter(None, (", ".join(expected[:-1]), expected[-1])))
        allowed = [word.strip("'") for word in expected]
        return f"should be {either}, not {shown(value)}{nearest(str(value), allowed)}"
    if kind in ("too_short", "tuple_too_short"):
        return f"is an empty list; at least {context['min_length']} value is needed"
    if kind == "string_pattern_mismatch":
        return f"{_SHOULD_MATCH[context['pattern']]}, not {given}"
    if kind in ("too_long", "tuple_too_long"):
        return f"has too many values; at most {context['max_length']:,} are allowed"
    if kind == "string_too_long":
        return f"should have at most {context['max_length']} characters, not {given}"
    if kind == "float_type" and isinstance(item["input"], str) and "e" in item["input"].lower():
        given += " (YAML reads powers of ten only as in 1.0e+3)"
    message = _SHOULD_BE.get(kind) or item["msg"].replace("Input ", "").replace("Value ", "")
    return f"{message}, not {given}"


def _in_source(location: tuple[int | str, ...], data: Any) -> Location:
    """Return the location without the parts that only the models have.

    These are the kind of an input, the index of a single value where a list may stand, and the fields of
    what may be given by its name alone.
    """
    kept: list[int | str] = []
    for part, following in zip(location, (*location[1:], None), strict=False):
        if isinstance(data, dict):
            if part in (0, data.get("kind")):
                continue
            data = data.get(str(part))
        elif isinstance(data, tuple) and isinstance(part, int) and part < len(data):
            if isinstance(following, int) and not isinstance(data[part], tuple):
                continue  # one size, [height, width]
            data = data[part]
        else:
            break
        kept.append(part)
    return tuple(kept)
