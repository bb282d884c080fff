"""A YAML file as plain data that remembers where each value stands.

Stricter than YAML: no duplicate keys, no tags beyond the plain types, no document that unfolds without end.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from vsr_model.errors import BadInput, nearest

MAX_NODES: Final = 50_000
"""Limit for the values of one file, aliases written out: above those of ten thousand sizes."""

MAX_DEPTH: Final = 40

MAX_SHOWN: Final = 60
"""Characters of a given value that a message repeats."""

MAX_BYTES: Final = 2**19
"""Limit for one file; a run's config.yaml with ten thousand sizes has half of it."""

_AMBIGUOUS: Final = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Numbers that YAML 1.1 reads in base 8 or 60, and YAML 1.2 and people as something else: 010, 1:30."""

_SCALARS: Final = ("str", "int", "float", "bool", "null", "timestamp", "merge")
_TAGS: Final = {yaml.ScalarNode: _SCALARS, yaml.SequenceNode: ("seq",), yaml.MappingNode: ("map",)}
_TEXT: Final = ("str", "timestamp", "merge")
_TAG_PREFIX: Final = "tag:yaml.org,2002:"

Location = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The data of a YAML file (lists as tuples, mappings as dicts) and what is known of its origin."""

    path: Path
    data: dict[str, Any]
    lines: dict[Location, int] = field(repr=False)
    overrides: dict[Location, str] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """Return the place to name in a message: the override that set the value, otherwise file and line."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.overrides:
                return f"--set {self.overrides[location[:length]]}"
        for at, assignment in self.overrides.items():
            if location not in self.lines and at[: len(location)] == location:
                return f"--set {assignment}"
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return f"{self.path}:{self.lines[location[:length]]}"
        return str(self.path)

    def named(self, place: Sequence[str]) -> str:
        """Return the name of a field for a message, with its place; see `located`."""
        location = located(self.data, place)
        return f"{self.where(location)}: {dotted(location)}"


class BadPlace(BadInput):
    """A value of a grid that is not allowed: its `place` (see `located`), and a sentence without it."""

    def __init__(self, place: Sequence[str], message: str) -> None:
        super().__init__(f"{'.'.join(place)}: {message}")
        self.place, self.message = place, message


@contextmanager
def places_named(named: Callable[[Sequence[str]], str]) -> Iterator[None]:
    """Have a BadPlace of the block name the file and the line, as `named` gives them. Raises BadInput."""
    try:
        yield
    except BadPlace as error:
        raise BadInput(f"{named(error.place)}: {error.message}") from None


def dotted(location: Location) -> str:
    """Return a location as messages write it: backends[1].threads."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def located(data: Mapping[str, Any], place: Sequence[str]) -> Location:
    """Return the location of a field: `input` and `model` hold one item, or a list of named items."""
    kind, *rest = place
    if kind not in ("input", "model"):
        return tuple(place)
    name, *fields = rest
    if not isinstance(data.get(kind), tuple):
        return (kind, *fields)
    names = [item.get("name") if isinstance(item, dict) else item for item in data[kind]]
    return (kind, names.index(name if name in names else None), *fields)


class _Loader(yaml.SafeLoader):
    """A loader that reads dates as text: no field is a date, and a name may look like one."""


_Loader.yaml_constructors = {
    **yaml.SafeLoader.yaml_constructors,
    "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_str,
}


def read(path: Path) -> Source:
    """Parse one YAML file. Raises BadInput for a file that cannot be read or is no YAML mapping."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for someone to write
            kind = "a folder" if path.is_dir() else "a device or a pipe"
            raise BadInput(f"{path}: {kind}, where a YAML file is expected")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        what = "a link to a file that is not there" if path.is_symlink() else "there is no such file"
        raise BadInput(f"{path}: {what}{_near(path)}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not a text file in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{str(path)!r}: not the name of a file ({error})") from None
    if len(raw) > MAX_BYTES:
        raise BadInput(f"{path}: over {MAX_BYTES:,} bytes, more than any grid needs")
    data, lines = _parse(text, lambda line: f"{path}:{line}" if line else str(path))
    if not lines:
        raise BadInput(f"{path}: empty; a grid has at least name, input, grid and backends")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, tuple) else "a single value"
        raise BadInput(f"{path}:{lines[()]}: {kind}, where a mapping (field: value) is expected")
    return Source(path=path, data=data, lines=lines)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; its folder {path.parent} is not there either"
    siblings = [*path.parent.glob("*.yaml"), *path.parent.glob("*.yml")]
    return nearest(path.name, [sibling.name for sibling in siblings if sibling.name != path.name])


def override(source: Source, assignments: Sequence[str]) -> Source:
    """Set fields from `field.subfield=value` texts; values are YAML, numbers in the path are list indices."""
    data, overrides = source.data, dict(source.overrides)
    for assignment in assignments:
        given = " ".join(assignment.split())
        dotted, equals, text = assignment.partition("=")
        parts = dotted.strip().split(".")
        if not equals or not all(parts) or len(parts) > MAX_DEPTH:
            raise BadInput(f"--set {given}: not of the form field.subfield=value, as in grid.batch=[2]")
        data, location = _with_value(data, parts, value_of(text, f"--set {given}"), f"--set {given}")
        # What an earlier one set below this place is gone.
        overrides = {at: by for at, by in overrides.items() if at[: len(location)] != location}
        overrides[location] = given
    return replace(source, data=data, overrides=overrides)


def value_of(text: str, place: str) -> Any:
    """Return the data of a text from the command line. Raises BadInput for anything but plain YAML."""
    return _parse(text, lambda _: place)[0]


def _with_value(data: Any, parts: Sequence[str], value: Any, place: str) -> tuple[Any, Location]:
    """Return a copy of the data with the value at a path, and its location; missing mappings are made."""
    if not parts:
        return value, ()
    first, *rest = parts
    if isinstance(data, tuple):
        index = int(first) if first.isdecimal() and len(first) < 9 else len(data)
        if index >= len(data):
            raise BadInput(f"{place}: {first!r} is no index of a list of {len(data)}")
        changed, below = _with_value(data[index], rest, value, place)
        return (*data[:index], changed, *data[index + 1 :]), (index, *below)
    if data is not None and not isinstance(data, dict):
        raise BadInput(f"{place}: {shown(data)} has no field {first!r}")
    fields = data or {}
    changed, below = _with_value(fields.get(first), rest, value, place)
    return {**fields, first: changed}, (first, *below)


def _parse(text: str, at: Callable[[int | None], str]) -> tuple[Any, dict[Location, int]]:
    """Return the data of a YAML text (None for an empty one) and the line of each value.

    `at` formats the place of a line, or of the whole text. Raises BadInput for anything but plain YAML.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        document = _Document(loader, at)
        return document.value(node, ()), document.lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(
            f"{at(line)}: not valid YAML (the character U+{ord(text[error.position]):04X} is not allowed)"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(filter(None, (error.context, error.problem)))
        raise BadInput(f"{at(mark.line + 1 if mark else None)}: not valid YAML ({message})") from None
    except RecursionError:
        raise BadInput(f"{at(None)}: not valid YAML (nested over {MAX_DEPTH} levels deep)") from None
    except BadInput:
        raise
    except ValueError:  # chr() of an escape beyond the last character
        raise BadInput(
            f"{at(None)}: not valid YAML (an escape names a character that there is not)"
        ) from None


class _Document:
    """The values of a document, and the line of each."""

    def __init__(self, loader: _Loader, at: Callable[[int | None], str]) -> None:
        self.lines: dict[Location, int] = {}
        self._loader = loader
        self._at = at

    def value(self, node: yaml.Node, location: Location) -> Any:
        """Return a node's data; refuses tags, and aliases that expand without end."""
        if len(self.lines) > MAX_NODES or len(location) > MAX_DEPTH:
            raise BadInput(f"{self._at(None)}: unfolds to over {MAX_NODES:,} values or {MAX_DEPTH} levels")
        line = node.start_mark.line + 1
        if node.tag.removeprefix(_TAG_PREFIX) not in _TAGS[type(node)]:
            raise BadInput(f"{self._at(line)}: the tag {shown(node.tag)} is none of YAML's plain types")
        self.lines.setdefault(location, line)  # of a field it is the name's
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(child, (*location, at)) for at, child in enumerate(node.value))
        if isinstance(node, yaml.MappingNode):
            return self._fields(node, location)
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _fields(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag.removeprefix(_TAG_PREFIX) not in _TEXT:
                given = f", not {key.value[:MAX_SHOWN]}" if isinstance(key, yaml.ScalarNode) else ""
                raise BadInput(f"{self._at(line)}: a field's name must be plain text{given}")
            is_merge = key.tag.endswith(":merge")
            name = key.value if is_merge else self._scalar(key)
            if name in fields:
                raise BadInput(f"{self._at(line)}: the field {shown(name)} is given twice")
            self.lines[(*location, name)] = line
            fields[name] = self.value(child, (*location, name))
            if is_merge:
                below = fields.pop(name)
                for part in reversed(below if isinstance(below, tuple) else (below,)):
                    if not isinstance(part, dict):
                        raise BadInput(f"{self._at(line)}: not valid YAML (<< takes mappings)")
                    merged |= part
        return {**merged, **fields}

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        """Return a scalar's value; refuses numbers that nothing here can hold, and half a character."""
        given, kind = shown(node.value), node.tag.removeprefix(_TAG_PREFIX)
        place = self._at(node.start_mark.line + 1)
        if kind in ("int", "float") and _AMBIGUOUS.fullmatch(node.value):
            base = 60 if ":" in node.value else 8
            raise BadInput(
                f"{place}: {given} is a number in base {base} to some readers of YAML only; write it in base "
                "10, or as text in quotes"
            )
        try:
            value = self._loader.construct_object(node)
            node.value.encode("utf-8")
        except (ValueError, LookupError, OverflowError):
            raise BadInput(f"{place}: {given} cannot be read ({kind})") from None
        if isinstance(value, int) and value.bit_length() > 64:
            raise BadInput(f"{place}: {given} is too large a number")
        return value


def shown(value: Any) -> str:
    """Return a given value as a message repeats it, cut short."""
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    if value is None:
        text = "nothing"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
