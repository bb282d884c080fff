"""Files of named backends, such as `vsr-bench tune` writes: found by path or by name, and included in a grid.

A file has `backends:`, a list as a grid's. In a grid `{name: fast, from: tuned.yaml}` takes the fields of the
one that is there, and puts its own over them; `tuned` alone is looked up in `backends/` and then in the
user's configuration folder. What is included is written out in a run's config.yaml, which needs no other
file.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from bench.grid.config_backend import BACKEND_NAMES, BackendSpec
from bench.grid.config_base import Strict, named
from bench.grid.config_errors import as_bad_input
from bench.grid.yaml_source import Location, Source, read
from vsr_model.errors import BadInput

SUFFIXES: Final = (".yaml", ".yml")


class BackendFile(Strict):
    """A file of named backends."""

    backends: tuple[BackendSpec, ...] = Field(min_length=1)
    """As in a grid; each derives from a backend that needs no file."""


def folders() -> tuple[Path, ...]:
    """Return the folders where a backend is looked up by its name: the project's, then the user's."""
    return Path("backends"), user_folder()


def user_folder() -> Path:
    """Return the folder of the user's backends: $XDG_CONFIG_HOME/vsr-bench/backends, or below ~/.config."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(given) if Path(given).is_absolute() else Path("~/.config").expanduser()
    return root / "vsr-bench" / "backends"


def find(text: str, folder: Path = Path()) -> Path | None:
    """Return the file that a text names: a path from `folder` on that ends in .yaml or .yml, or a name.

    Return None for names that need no file, and for names without a file.
    """
    if text in BACKEND_NAMES:
        return None
    if text.endswith(SUFFIXES):
        return folder / text
    if "/" in text or "\0" in text:
        return None
    known = (place / f"{text}{suffix}" for place in folders() for suffix in SUFFIXES)
    return next((path for path in known if path.is_file()), None)


def read_backends(path: Path) -> dict[str, dict[str, Any]]:
    """Return the fields of each backend of a file, by its name. Raises BadInput for an invalid file."""
    source = read(path)
    data = {name: named(value) if name == "backends" else value for name, value in source.data.items()}
    if "backends" not in data:
        raise BadInput(f"{path}: is no file of backends, which has a list `backends:`")
    try:
        BackendFile.model_validate(data)
    except ValidationError as error:
        raise as_bad_input(error, source) from None
    return {item["name"]: item for item in data["backends"]}


def fields_of(path: Path, name: str | None) -> dict[str, Any]:
    """Return the fields of the backend of that name, or of the only backend.

    Raises BadInput where it is ambiguous which backend is meant.
    """
    known = read_backends(path)
    if name in known:
        return known[name]
    if len(known) > 1:
        raise BadInput(
            f"{path}: has {len(known)} backends, of which none is called {name!r}; name one of "
            f"{', '.join(known)}"
        )
    return next(iter(known.values()))


def included(source: Source) -> Source:
    """Return the grid with the fields of files in place of their names.

    Raises BadInput as `read_backends`.
    """
    backends = source.data.get("backends")
    if not isinstance(backends, tuple):
        return source
    lines = dict(source.lines)
    changed = []
    for place, (item, mapping) in enumerate(zip(backends, named(backends), strict=True)):
        fields = with_file(mapping, source.path.parent) if isinstance(mapping, dict) else None
        if fields is not None:
            at: Location = ("backends", place)
            line = lines.get((*at, "from"), lines.get(at))
            lines |= {(*at, name): line for name in fields if (*at, name) not in lines and line is not None}
        changed.append(item if fields is None else fields)
    return replace(source, data={**source.data, "backends": tuple(changed)}, lines=lines)


def with_file(item: Mapping[str, Any], folder: Path = Path()) -> dict[str, Any] | None:
    """Return a backend's own fields over those of the file that it derives from, or None without a file."""
    name, origin = item.get("name"), item.get("from")
    text = origin if isinstance(origin, str) else name if origin is None else None
    path = find(text, folder) if isinstance(text, str) else None
    if path is None:
        return None
    below = fields_of(path, name if isinstance(name, str) else None)
    above = {key: value for key, value in item.items() if key != "from"}
    return {**below, **above}
