"""The recorded facts, of environments or configurations, that differ between runs. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

Facts = Mapping[str, str]
"""Texts by name: `outer.inner` of what was nested."""


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten a nested value into texts by name.

    Mappings give `outer.inner`, a list of plain values one text, and other lists names by position. None is
    left out.
    """
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
    """Return the values as texts by name, without the top-level names in `but`."""
    left_out = {*but}
    return dict(flat({name: value for name, value in values.items() if name not in left_out}))


def differing_facts(sides: Sequence[Facts]) -> dict[str, tuple[str | None, ...]]:
    """Return the facts that differ between the sides, in the order of first appearance.

    None: that side lacks the fact.
    """
    return {
        name: texts
        for name in dict.fromkeys(name for side in sides for name in side)
        for texts in (tuple(side.get(name) for side in sides),)
        if len(set(texts)) > 1
    }
