"""A YAML file as plain data that remembers where each value stands.

Stricter than YAML: no duplicate keys, no tags beyond the plain types, no document that unfolds without end.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from vsr_model.errors import BadInput

MAX_NODES: Final = 100_000
"""Values of one file, aliases written out: far above any real grid, far below what fills a memory."""

MAX_DEPTH: Final = 40

Location = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The data of a YAML file (lists as tuples, mappings as dicts) and what is known of its origin."""

    path: Path
    data: dict[str, Any]
    lines: dict[Location, int] = field(repr=False)
    overrides: dict[Location, str] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """The place to name in a message: the override that set the value, otherwise file and line."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.overrides:
                return f"--set {self.overrides[location[:length]]}"
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return f"{self.path}:{self.lines[location[:length]]}"
        return str(self.path)


def read(path: Path) -> Source:
    """Parse one YAML file. Raises BadInput for a file that cannot be read or is no YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file{_near(path)}") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: a folder, where a YAML file is expected") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not a text file in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise BadInput(f"{path}: empty; a grid has at least name, model, input, grid and backends")
        lines: dict[Location, int] = {}
        _survey(path, node, (), lines)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        raise BadInput(f"{at}: not valid YAML ({error.problem or error.context})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: a {type(data).__name__}, where a mapping (field: value) is expected")
    return Source(path=path, data=_plain(path, data), lines=lines)


def override(source: Source, assignments: Sequence[str]) -> Source:
    """Set fields from `field.subfield=value` texts; values are YAML, numbers in the path are list indices."""
    data, overrides = source.data, dict(source.overrides)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip() or not all(dotted.strip().split(".")):
            raise BadInput(f"--set {assignment}: not of the form field.subfield=value, as in grid.batch=[2]")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise BadInput(f"--set {assignment}: the value is not valid YAML ({first})") from None
        location: Location = tuple(
            int(part) if part.isdecimal() else part for part in dotted.strip().split(".")
        )
        data = _replaced(data, location, _plain(source.path, value), assignment)
        overrides[location] = assignment
    return Source(path=source.path, data=data, lines=source.lines, overrides=overrides)


def nearest(name: str, allowed: Sequence[str]) -> str:
    """' (did you mean ...?)' with the most similar allowed name, or nothing."""
    found = difflib.get_close_matches(name, allowed, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _near(path: Path) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return f"; its folder {path.parent} is not there either" if not path.parent.exists() else ""
    return nearest(path.name, siblings)


def _replaced(data: Any, location: Location, value: Any, assignment: str) -> Any:
    """A copy of the data with the value at the location; missing mappings on the way are made."""
    if not location:
        return value
    first, *rest = location
    if isinstance(data, tuple):
        if not isinstance(first, int) or first >= len(data):
            raise BadInput(f"--set {assignment}: {first!r} is no index of a list of {len(data)}")
        changed = list(data)
        changed[first] = _replaced(data[first], tuple(rest), value, assignment)
        return tuple(changed)
    if isinstance(data, dict):
        return {**data, first: _replaced(data.get(first), tuple(rest), value, assignment)}
    if data is None:
        return {first: _replaced(None, tuple(rest), value, assignment)}
    raise BadInput(f"--set {assignment}: {data!r} has no field {first!r}")


def _survey(path: Path, node: yaml.Node, location: Location, lines: dict[Location, int]) -> None:
    """Note every value's line; refuse duplicate keys, and aliases that unfold without end."""
    if len(lines) > MAX_NODES or len(location) > MAX_DEPTH:
        raise BadInput(f"{path}: unfolds to over {MAX_NODES:,} values or {MAX_DEPTH} levels")
    # A merge key or an alias repeats nodes at another location; the first place wins.
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _survey(path, child, (*location, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadInput(f"{path}:{line}: a field's name must be plain text")
            if key.value in seen:
                raise BadInput(f"{path}:{line}: the field {key.value!r} stands there twice")
            seen.add(key.value)
            _survey(path, child, (*location, key.value), lines)
            lines[(*location, key.value)] = line


def _plain(path: Path, value: Any) -> Any:
    """Lists as tuples and field names as text, so that the result is hashable where it can be."""
    if isinstance(value, dict):
        return {str(key): _plain(path, item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_plain(path, item) for item in value)
    return value
