"""Format a validation error of the YAML as one sentence: where, which field, the value, what is allowed."""

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from bench.grid.yaml_source import MAX_SHOWN, Location, Source, dotted
from vsr_model.errors import BadInput, nearest

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


def unknown_field(name: str, allowed: list[str]) -> PydanticCustomError:
    """Return the error that a model raises for a field that it does not have."""
    message = f"unknown field {shown(name)}{nearest(name, allowed)}; allowed are {', '.join(allowed)}"
    return PydanticCustomError("unknown_field", "{message}", {"message": message, "key": name})


def field_error(field: str | int, message: str) -> PydanticCustomError:
    """Return the error for a field or an item that is wrong only in view of the others."""
    return PydanticCustomError("field_error", "{message}", {"message": message, "key": field})


def as_bad_input(error: ValidationError, source: Source) -> BadInput:
    """Return the sentence for the first of the errors."""
    errors = error.errors(include_url=False)
    # Of several, an unknown field explains the missing one that it was meant to be.
    first = min(errors, key=lambda item: item["type"] != "unknown_field")
    location = _in_source(first["loc"], source.data)
    if "key" in first.get("ctx", {}):
        # The model as a whole raised it; the line to show is the field's.
        field = _in_source((*first["loc"], first["ctx"]["key"]), source.data)
        name = dotted(location if first["type"] == "unknown_field" else field)
        location = field
    elif first["type"] == "union_tag_invalid":
        location = (*location, "kind")
        name = dotted(location)
    else:
        name = dotted(location)
    prefix = f"{source.where(location)}: {name}: " if name else f"{source.where(location)}: "
    return BadInput(f"{prefix}{_sentence(first)}")


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
    if kind == "union_tag_invalid":
        allowed = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        hint = nearest(str(context["tag"]), allowed)
        return (
            f"should be {', '.join(allowed[:-1])} or {allowed[-1]}, not {shown(item['input']['kind'])}{hint}"
        )
    if kind == "literal_error":
        allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ", ").split(",")]
        return f"should be {context['expected']}, not {given}{nearest(str(item['input']), allowed)}"
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


def shown(value: Any) -> str:
    """Return a given value as a message repeats it, cut short."""
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    if value is None:
        text = "nothing"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


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
