"""Comparisons for programs: JSON with every field (docs/compare.md names them), and JUnit's XML.

GitLab, Jenkins and GitHub's readers show JUnit as tests: a suite is a comparison and a test a cell. There is
no standard: this is what both of the published schemas allow, Apache Ant's
(https://github.com/windyroad/JUnit-Schema, JUnit.xsd) and Jenkins' (xunit-plugin, junit-10.xsd). Ant's allows
a test one failure: what else is wrong with the cell stands in its text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bench.comparison.comparison import INCONCLUSIVE, Comparison, Verdict
from bench.comparison.policy import Failing, failures
from bench.reporting.comparison.view import Item, View, named, reason, view
from bench.results.tables import moment
from vsr_model.one_line import visible

SCHEMA_VERSION: Final = 1
"""Raised whenever a field changes its meaning or goes. History: 1, the first."""

_NO_HOST: Final = "localhost"
"""What Ant's schema asks for where the host is not known: a run does not record it."""


def to_json(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """Return JSON as RFC 8259 has it, in ASCII, ending in a newline.

    What is not known is null. An infinite number is the text "Infinity", as in the journal.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "failing": failing,
        "failed": any(failures(comparison, failing) for comparison in comparisons),
        "comparisons": [
            {
                "base": asdict(one.base),
                "new": asdict(one.new),
                "limits": asdict(one.limits),
                "least_slowdown": one.least_slowdown,
                "counts": {verdict: one.counts[verdict] for verdict in Verdict},
                "failures": [asdict(failure) for failure in failures(one, failing)],
                "differing": {
                    name: {"base": base, "new": new} for name, (base, new) in one.differing.items()
                },
                "cautions": one.cautions,
                "cells": [
                    asdict(cell) | {"memory": [{**asdict(item), "ratio": item.ratio} for item in cell.memory]}
                    for cell in one.cells
                ],
            }
            for one in comparisons
        ],
    }
    return json.dumps(_plain(document), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return the value as JSON has it: text that is valid Unicode, finite numbers, sets in order."""
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, frozenset | list | tuple):
        return [_plain(inner) for inner in (sorted(value) if isinstance(value, frozenset) else value)]
    if isinstance(value, str):
        # A folder's name may hold bytes that are no text, which Python keeps as halves of characters.
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_junit(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """Return XML in ASCII, ending in a newline; characters that XML cannot hold are shown as escapes."""
    root = Element("testsuites")
    for number, comparison in enumerate(comparisons):
        _suite(root, number, view(comparison, failing))
    indent(root)
    # References to characters, so that an output of any encoding leaves the document as it is.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="us-ascii").decode("ascii")}\n'


def _suite(root: Element, number: int, shown: View) -> None:
    comparison = shown.comparison
    experiment = _token(comparison.new.experiment)
    attributes = {
        "name": _token(shown.title),
        "package": experiment,
        "id": str(number),
        "hostname": _NO_HOST,
        "tests": str(len(shown.items)),
        "failures": str(len(shown.fails)),
        "errors": "0",
        "skipped": str(sum(_is_skipped(item) for item in shown.items)),
        "time": _seconds(math.fsum(map(_new_s, shown.items))),
    }
    if started := _timestamp(comparison.new.started_at):
        attributes["timestamp"] = started
    suite = SubElement(root, "testsuite", attributes)
    properties = SubElement(suite, "properties")
    for role, side in (("base", comparison.base), ("new", comparison.new)):
        for name in ("name", "experiment", "code", "machine", "started_at"):
            value = visible(getattr(side, name))
            SubElement(properties, "property", {"name": f"{role}.{name}", "value": value})
    for item in shown.items:
        names = {"classname": experiment, "name": _token(item.cell.cell), "time": _seconds(_new_s(item))}
        test = SubElement(suite, "testcase", names)
        if item.kinds:
            clauses, kinds = list(map(visible, item.clauses)), ", ".join(item.kinds)
            message = f"{kinds}: {'; '.join(clauses)}"
            failure = SubElement(test, "failure", {"message": message, "type": kinds})
            failure.text = "\n".join([visible(named(item.cell)), *clauses])
        elif _is_skipped(item):
            why = ": ".join(filter(None, [item.cell.verdict, reason(item.cell)]))
            SubElement(test, "skipped", {"message": visible(why)})
    lines = filter(None, [shown.counted, shown.sensitivity, *comparison.cautions])
    SubElement(suite, "system-out").text = "\n".join(map(visible, lines))
    SubElement(suite, "system-err")


def _is_skipped(item: Item) -> bool:
    return not item.kinds and item.cell.verdict in INCONCLUSIVE


def _new_s(item: Item) -> float:
    """Return the cell's new median; 0, as of any test that was not run, where it has none."""
    value = item.cell.change.new_s if item.cell.change is not None else 0.0
    return value if math.isfinite(value) else 0.0


def _seconds(value: float) -> str:
    """Return a decimal without an exponent, to the nanosecond."""
    return f"{value:.9f}"


def _timestamp(started_at: str) -> str:
    """Return the time in UTC, to the second and without a zone, as Ant's schema has it; else nothing."""
    started = moment(started_at)
    return "" if started is None else started.replace(tzinfo=None).isoformat(timespec="seconds")


def _token(text: str) -> str:
    """Return the text as Ant's schema asks for it: at least a character, and no space at the ends."""
    return " ".join(visible(text).split()) or "unnamed"
