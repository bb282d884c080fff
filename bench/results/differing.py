"""What of their recorded facts differs between runs: of environments, or of configurations. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

Facts = Mapping[str, str]
"""Texts by name: `outer.inner` of what was nested."""


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested value as names and texts: `outer.inner` in mappings, a list of plain values in one text, other
    lists by position; what is None is left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        for place, item in enumerate(value):
            yield from flat(item, f"{prefix}.{place}")
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, str(value)


def facts(values: Mapping[str, object], but: Iterable[str] = ()) -> Facts:
    """The values as names and texts; what stands at the top under one of the names in `but` is left out."""
    left_out = {*but}
    return dict(flat({name: value for name, value in values.items() if name not in left_out}))


def differing_facts(sides: Sequence[Facts]) -> dict[str, tuple[str | None, ...]]:
    """What is not the same on all sides, in the order in which it first comes; None: that side has none."""
    return {
        name: texts
        for name in dict.fromkeys(name for side in sides for name in side)
        for texts in (tuple(side.get(name) for side in sides),)
        if len(set(texts)) > 1
    }
