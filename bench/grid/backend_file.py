"""Files of named backends, such as `vsr-bench tune` writes: found by path or by name, and included in a grid.

A file has `backends:`, a list as a grid's. In a grid `{name: fast, from: tuned.yaml}` takes the fields of the
one that is there, and puts its own over them; `tuned` alone is looked up in `backends/` and then in the
user's configuration folder. What is included is written out in a run's config.yaml, which needs no other
file.
"""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from bench.grid.backend import BACKEND_NAMES, Backend
from bench.grid.strict import Strict, validated
from bench.grid.yaml_source import Location, Source, read
from vsr_model.errors import BadInput

SUFFIXES: Final = (".yaml", ".yml")


class BackendFile(Strict):
    """A file of named backends."""

    backends: tuple[Backend, ...] = Field(min_length=1)
    """As in a grid; each derives from a backend that needs no file."""


def folders() -> tuple[Path, ...]:
    """Return the folders where a backend is looked up by its name: the project's, then the user's."""
    own = []
    with suppress(BadInput):  # a user without a home has none
        own.append(user_folder())
    return Path("backends"), *own


def user_folder() -> Path:
    """Return the folder of the user's backends: $XDG_CONFIG_HOME/vsr-bench/backends, or below ~/.config.

    Raises BadInput for a user without a home.
    """
    given = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        root = Path(given) if Path(given).is_absolute() else Path("~/.config").expanduser()
    except RuntimeError:
        raise BadInput(
            "this user has no home folder for a file of backends; name a file by --output, or set "
            "XDG_CONFIG_HOME to an absolute path"
        ) from None
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
    return next((path for path in known if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; a folder closed to this user and a name too long have none."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_backends(path: Path) -> dict[str, dict[str, Any]]:
    """Return the fields of each backend of a file, by its name. Raises BadInput for an invalid file."""
    source = read(path)
    if "backends" not in source.data:
        raise BadInput(f"{path}: is no file of backends, which has a list `backends:`")
    found = validated(BackendFile, source)
    return {item.name: item.model_dump(by_alias=True, exclude_none=True) for item in found.backends}


def fields_of(path: Path, name: str | None) -> dict[str, Any]:
    """Return the fields of the backend of that name, or of the only backend.

    Raises BadInput where it is ambiguous which backend is meant.
    """
    known = read_backends(path)
    if name not in known and len(known) > 1:
        raise BadInput(
            f"{path}: has {len(known)} backends, of which none is called {name!r}; name one of "
            f"{', '.join(known)}"
        )
    return known.get(str(name)) or next(iter(known.values()))


def included(source: Source) -> Source:
    """Return the grid with the fields of files in place of their names.

    Raises BadInput as `read_backends`.
    """
    backends = source.data.get("backends")
    if not isinstance(backends, tuple):
        return source
    lines = dict(source.lines)
    changed = list(backends)
    for place, item in enumerate(backends):
        fields = with_file({"name": item} if isinstance(item, str) else item, source.path.parent)
        if fields is not None:
            at: Location = ("backends", place)
            line = lines.get((*at, "from"), lines.get(at))
            lines |= {(*at, name): line for name in fields if (*at, name) not in lines and line is not None}
            changed[place] = fields
    return replace(source, data={**source.data, "backends": tuple(changed)}, lines=lines)


def with_file(item: Any, folder: Path = Path()) -> dict[str, Any] | None:
    """Return a backend's own fields over those of the file that it derives from, or None without a file."""
    name = item.get("name") if isinstance(item, dict) else None
    origin = item.get("from", name) if isinstance(item, dict) else None
    path = find(origin, folder) if isinstance(origin, str) else None
    if path is None:
        return None
    own = {key: value for key, value in item.items() if key != "from"}
    return {**fields_of(path, name if isinstance(name, str) else None), **own}
