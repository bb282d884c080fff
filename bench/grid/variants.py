"""Variants: named sets of fields of a YAML file that replace its own when they are asked for. Pure.

A method of measuring, or a thinner grid, is the same experiment with some fields changed; one file holds
both, so that what differs can be read off it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from bench.grid.strict import NAME_PATTERN
from bench.grid.yaml_source import Location, Source
from vsr_model.errors import BadInput, nearest

FIELD: Final = "variants"


def names(source: Source) -> tuple[str, ...]:
    """Return the variants of a file. Raises BadInput where they do not map names to fields."""
    found = source.data.get(FIELD, {})
    if not isinstance(found, dict):
        raise BadInput(
            f"{source.where((FIELD,))}: {FIELD}: should be a mapping of names to fields, as in "
            "{quick: {grid: {frames: [1]}}}"
        )
    for name, fields in found.items():
        place = f"{source.where((FIELD, name))}: {FIELD}.{name}"
        if not re.match(NAME_PATTERN, name):
            raise BadInput(f"{place}: a variant's name consists of letters, digits, '.', '_' and '-'")
        if not isinstance(fields, dict):
            raise BadInput(f"{place}: should be a mapping of fields, as in {{grid: {{frames: [1]}}}}")
        for taken in {"name", FIELD} & fields.keys():
            raise BadInput(
                f"{source.where((FIELD, name, taken))}: {FIELD}.{name}.{taken}: no variant has one; the "
                f"experiment's name gets -{name}"
            )
    return tuple(found)


def chosen(source: Source, wanted: Sequence[str]) -> Source:
    """Return the file with the fields of the wanted variants merged into it, in their order.

    Mappings are merged, everything else replaces; each variant's name is appended to the experiment's. Raises
    BadInput for a variant that the file does not have.
    """
    have = names(source)
    data = {name: value for name, value in source.data.items() if name != FIELD}
    lines = {at: line for at, line in source.lines.items() if at[:1] != (FIELD,)}
    for variant in wanted:
        if variant not in have:
            listed = f"it has {', '.join(have)}" if have else "it has none"
            raise BadInput(f"{source.path}: no variant {variant!r}{nearest(variant, have)}; {listed}")
        fields = source.data[FIELD][variant]
        data = _merged(data, fields)
        for at in _replaced_at(fields):
            lines = {known: line for known, line in lines.items() if known[: len(at)] != at or known == at}
        above = (FIELD, variant)
        lines |= {at[2:]: line for at, line in source.lines.items() if at[:2] == above and len(at) > 2}
    if wanted and isinstance(data.get("name"), str):
        data["name"] = "-".join((data["name"], *wanted))
    return replace(source, data=data, lines=lines)


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}


def _replaced_at(fields: Any, at: Location = ()) -> list[Location]:
    """Return where the fields replace values: what the file had there and below is gone."""
    if not isinstance(fields, dict):
        return [at]
    return [found for name, value in fields.items() for found in _replaced_at(value, (*at, name))]
