"""Comparisons for programs: every field, and what fails (docs/compare.md names them)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.comparison.comparison import CellComparison, Comparison, Verdict
from bench.comparison.policy import Failing, failures

SCHEMA_VERSION: Final = 1
"""Raised whenever a field changes its meaning or goes. History: 1, the first."""


def to_json(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """JSON as RFC 8259 has it, in ASCII, ending in a newline; the same arguments give the same text.

    What is not known is null. An infinite number is the text "Infinity", as in the journal.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "failing": list(failing),
        "failed": any(failures(comparison, failing) for comparison in comparisons),
        "comparisons": [_comparison(comparison, failing) for comparison in comparisons],
    }
    return json.dumps(_plain(document), indent=2, allow_nan=False) + "\n"


def _comparison(comparison: Comparison, failing: Sequence[Failing]) -> dict[str, Any]:
    counts = comparison.counts
    return {
        "base": asdict(comparison.base),
        "new": asdict(comparison.new),
        "limits": asdict(comparison.limits),
        "least_slowdown": comparison.least_slowdown,
        "counts": {verdict: counts[verdict] for verdict in Verdict},
        "failures": [asdict(failure) for failure in failures(comparison, failing)],
        "differing": {name: {"base": base, "new": new} for name, (base, new) in comparison.differing.items()},
        "cautions": comparison.cautions,
        "cells": [_cell(cell) for cell in comparison.cells],
    }


def _cell(cell: CellComparison) -> dict[str, Any]:
    return asdict(cell) | {"memory": [{**asdict(item), "ratio": item.ratio} for item in cell.memory]}


def _plain(value: Any) -> Any:
    """The value as JSON has it: text that is valid Unicode, finite numbers, sets in order."""
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, frozenset):
        return [_plain(inner) for inner in sorted(value)]
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        # A folder's name may hold bytes that are no text, which Python keeps as halves of characters.
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
