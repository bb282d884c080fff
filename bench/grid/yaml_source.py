"""A YAML file as plain data that remembers where each value stands.

Stricter than YAML: no duplicate keys, no tags beyond the plain types, no document that unfolds without end.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from vsr_model.errors import BadInput, nearest

MAX_NODES: Final = 50_000
"""Values of one file, aliases written out: above ten thousand sizes, and read within a second."""

MAX_DEPTH: Final = 40

MAX_SHOWN: Final = 60
"""Characters of a given value that a message repeats."""

MAX_BYTES: Final = 2**20
"""Limit for one file; a grid of ten thousand sizes written out has a tenth of it."""

_AMBIGUOUS: Final = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Numbers that YAML 1.1 reads in base 8 or 60, and YAML 1.2 and people as something else: 010, 1:30."""

_PLAIN_TAGS: Final = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge")
}
_NUMBER_TAGS: Final = {f"tag:yaml.org,2002:{name}" for name in ("int", "float")}
_TEXT_TAGS: Final = {f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "merge")}

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


class _TooLargeError(Exception):
    """A document with more values than any grid has."""


class _Loader(yaml.SafeLoader):
    """A loader that reads dates as text: no field is a date, and a name may look like one.

    Raises _TooLargeError as soon as the text has too many values: the rest would take seconds to read.
    """

    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooLargeError
        return super().compose_node(parent, index)


_Loader.yaml_constructors = {
    **yaml.SafeLoader.yaml_constructors,
    "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_str,
}


def read(path: Path) -> Source:
    """Parse one YAML file. Raises BadInput for a file that cannot be read or is no YAML mapping."""
    if _is_special(path):  # opening a pipe would wait for someone to write
        raise BadInput(f"{path}: a device or a pipe, where a YAML file is expected")
    try:
        # What calls itself a file may still wait, as /proc/kmsg does; it is to say so instead.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            raw: bytes | None = file.read(MAX_BYTES + 1)  # None where there would be a wait
        if raw is None:
            raise BadInput(f"{path}: waits for someone to write; a YAML file is expected")
        text = raw.decode("utf-8")
    except FileNotFoundError:
        what = "a link to a file that is not there" if path.is_symlink() else "there is no such file"
        raise BadInput(f"{path}: {what}{_near(path)}") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: a folder, where a YAML file is expected") from None
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


def override(source: Source, assignments: Sequence[str]) -> Source:
    """Set fields from `field.subfield=value` texts; values are YAML, numbers in the path are list indices."""
    data, overrides = source.data, dict(source.overrides)
    for assignment in assignments:
        shown = " ".join(assignment.split())
        dotted, equals, text = assignment.partition("=")
        parts = dotted.strip().split(".")
        if not equals or not all(parts) or len(parts) > MAX_DEPTH:
            raise BadInput(f"--set {shown}: not of the form field.subfield=value, as in grid.batch=[2]")
        value = value_of(text, f"--set {shown}")
        location = _locate(data, parts, shown)
        data = _replaced(data, location, value)
        # What an earlier one set below this place is gone.
        overrides = {at: by for at, by in overrides.items() if at[: len(location)] != location}
        overrides[location] = shown
    return Source(path=source.path, data=data, lines=source.lines, overrides=overrides)


def value_of(text: str, place: str) -> Any:
    """Return the data of a text from the command line. Raises BadInput for anything but plain YAML."""
    return _parse(text, lambda _: place)[0]


def _is_special(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _near(path: Path) -> str:
    try:
        siblings = [
            entry.name
            for entry in path.parent.iterdir()
            if entry.suffix in (".yaml", ".yml") and entry.name != path.name
        ]
    except OSError:
        return f"; its folder {path.parent} is not there either" if not path.parent.exists() else ""
    return nearest(path.name, siblings)


def _locate(data: Any, parts: Sequence[str], shown: str) -> Location:
    """Return the location of the parts: indices in lists, otherwise field names, also of new mappings."""
    location: list[str | int] = []
    for part in parts:
        if isinstance(data, tuple):
            index = int(part) if part.isdecimal() and len(part) < 9 else len(data)
            if index >= len(data):
                raise BadInput(f"--set {shown}: {part!r} is no index of a list of {len(data)}")
            location.append(index)
            data = data[index]
        elif isinstance(data, dict) or data is None:
            location.append(part)
            data = data.get(part) if data else None
        else:
            raise BadInput(f"--set {shown}: {data!r} has no field {part!r}")
    return tuple(location)


def _replaced(data: Any, location: Location, value: Any) -> Any:
    """Return a copy of the data with the value at the location; missing mappings on the way are made."""
    if not location:
        return value
    first, *rest = location
    if isinstance(data, tuple):
        changed = list(data)
        changed[int(first)] = _replaced(data[int(first)], tuple(rest), value)
        return tuple(changed)
    fields = data or {}
    return {**fields, first: _replaced(fields.get(first), tuple(rest), value)}


def _parse(text: str, at: Callable[[int | None], str]) -> tuple[Any, dict[Location, int]]:
    """Return the data of a YAML text (None for an empty one) and the line of each value.

    `at` formats the place of a line, or of the whole text. Raises BadInput for anything but plain YAML.
    """
    lines: dict[Location, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _survey(loader, node, (), lines, at)
        return _plain(loader.construct_document(node)), lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(
            f"{at(line)}: not valid YAML (the character U+{ord(text[error.position]):04X} is not allowed)"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(filter(None, (error.context, error.problem)))
        raise BadInput(f"{at(mark.line + 1 if mark else None)}: not valid YAML ({message})") from None
    except BadInput:
        raise
    except ValueError:  # chr() of an escape beyond the last character
        raise BadInput(
            f"{at(None)}: not valid YAML (an escape names a character that there is not)"
        ) from None
    except _TooLargeError:
        raise BadInput(f"{at(None)}: over {MAX_NODES:,} values, more than any grid needs") from None
    except RecursionError:
        raise BadInput(f"{at(None)}: not valid YAML (nested over {MAX_DEPTH} levels deep)") from None


def _survey(
    loader: _Loader,
    node: yaml.Node,
    location: Location,
    lines: dict[Location, int],
    at: Callable[[int | None], str],
) -> None:
    """Record the line of every value; refuse tags, and aliases that expand without end."""
    if len(lines) > MAX_NODES or len(location) > MAX_DEPTH:
        raise BadInput(f"{at(None)}: unfolds to over {MAX_NODES:,} values or {MAX_DEPTH} levels")
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        raise BadInput(f"{at(line)}: the tag {_shown(node.tag)} is none of YAML's plain types")
    # A merge key or an alias repeats nodes at another location; the first place wins.
    lines.setdefault(location, line)
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(loader, node, at(line))
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _survey(loader, child, (*location, index), lines, at)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _TEXT_TAGS:
                given = f", not {key.value[:MAX_SHOWN]}" if isinstance(key, yaml.ScalarNode) else ""
                raise BadInput(f"{at(line)}: a field's name must be plain text{given}")
            _check_scalar(loader, key, at(line))
            if key.value in seen:
                raise BadInput(f"{at(line)}: the field {_shown(key.value)} stands there twice")
            seen.add(key.value)
            _survey(loader, child, (*location, key.value), lines, at)
            lines[(*location, key.value)] = line


def _check_scalar(loader: _Loader, node: yaml.ScalarNode, place: str) -> None:
    """Refuse a value that its own type cannot hold, a number that nothing here can, and half a character."""
    if node.tag.endswith(":merge"):
        return
    shown = _shown(node.value)
    if node.tag in _NUMBER_TAGS and _AMBIGUOUS.fullmatch(node.value):
        base = 60 if ":" in node.value else 8
        raise BadInput(
            f"{place}: {shown} is a number in base {base} to some readers of YAML only; write it in base 10, "
            "or as text in quotes"
        )
    try:
        value = loader.construct_object(node)
        node.value.encode("utf-8")
    except (ValueError, LookupError, OverflowError):
        raise BadInput(f"{place}: {shown} cannot be read ({node.tag.rpartition(':')[2]})") from None
    if isinstance(value, int) and value.bit_length() > 64:
        raise BadInput(f"{place}: {shown} is too large a number")


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def _plain(value: Any) -> Any:
    """Return lists as tuples, so that the result is hashable where possible."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    return value
