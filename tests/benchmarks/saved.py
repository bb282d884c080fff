"""In what the machine of a saved run differs from this one. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from vsr_model.one_line import one_line


def other_machine(here: Mapping[str, Any], saved: object) -> str | None:
    """What differs between pytest-benchmark's machine_info of now and of a saved run, in a sentence; None
    where nothing does."""
    ours, theirs = dict(_leaves(here)), dict(_leaves(saved))
    differing = [
        f"{name} ({_shown(theirs.get(name))} there, {_shown(ours.get(name))} here)"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if not differing:
        return None
    return one_line(
        "the saved run was made by another machine or with other software, which alone may explain a "
        f"difference: {', '.join(differing)}"
    )


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every value that is no mapping, by its dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name or "machine_info", list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)
