"""Comparisons as JUnit's XML, which GitLab, Jenkins and GitHub's readers show as tests.

A suite is a comparison and a test a cell. There is no standard: this is what both of the published schemas
allow, Apache Ant's (https://github.com/windyroad/JUnit-Schema, JUnit.xsd) and Jenkins' (xunit-plugin,
junit-10.xsd). Ant's allows a test one failure: what else is wrong with the cell stands in its text.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bench.comparison.comparison import CellComparison, Comparison
from bench.comparison.policy import Failing
from bench.reporting.comparison.words import (
    UNTOLD,
    Found,
    clauses,
    counted,
    found,
    named,
    reason,
    sensitivity,
)
from vsr_model.one_line import visible

_NO_HOST: Final = "localhost"
"""What Ant's schema asks for where the host is not known: a run does not record it."""


def to_junit(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """The document in ASCII, ending in a newline; characters that XML cannot hold are shown as escapes."""
    root = Element("testsuites")
    for number, comparison in enumerate(comparisons):
        _suite(root, number, comparison, failing)
    indent(root)
    # References to characters, so that an output of any encoding leaves the document as it is.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="us-ascii").decode("ascii")}\n'


def _suite(root: Element, number: int, comparison: Comparison, failing: Sequence[Failing]) -> None:
    failed = {id(one.cell): one for one in found(comparison, failing)}
    cells = comparison.cells
    skipped = [cell for cell in cells if id(cell) not in failed and cell.verdict in UNTOLD]
    attributes = {
        "name": _token(f"{comparison.base.name} → {comparison.new.name}"),
        "package": _token(comparison.new.experiment),
        "id": str(number),
        "hostname": _NO_HOST,
        "tests": str(len(cells)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(skipped)),
        "time": _seconds(math.fsum(map(_new_s, cells))),
    }
    if started := _timestamp(comparison.new.started_at):
        attributes["timestamp"] = started
    suite = SubElement(root, "testsuite", attributes)
    _properties(suite, comparison)
    for cell in cells:
        test = SubElement(
            suite,
            "testcase",
            {
                "classname": _token(comparison.new.experiment),
                "name": _token(cell.cell),
                "time": _seconds(_new_s(cell)),
            },
        )
        if (one := failed.get(id(cell))) is not None:
            _failure(test, one)
        elif cell.verdict in UNTOLD:
            SubElement(test, "skipped", {"message": _line(_untold(cell))})
    lines = filter(None, [counted(comparison, failing), sensitivity(comparison), *comparison.cautions])
    SubElement(suite, "system-out").text = "\n".join(map(_line, lines))
    SubElement(suite, "system-err")


def _properties(suite: Element, comparison: Comparison) -> None:
    properties = SubElement(suite, "properties")
    for role, side in (("base", comparison.base), ("new", comparison.new)):
        for name in ("name", "experiment", "code", "machine", "started_at"):
            value = _line(getattr(side, name))
            SubElement(properties, "property", {"name": f"{role}.{name}", "value": value})


def _failure(test: Element, one: Found) -> None:
    """The first clause is of the worst; where there are more, the text has each on a line."""
    said = [_line(clause) for clause in clauses(one)]
    kinds = ", ".join(one.kinds)
    failure = SubElement(test, "failure", {"message": f"{kinds}: {'; '.join(said)}", "type": kinds})
    failure.text = "\n".join([_line(named(one.cell)), *said])


def _untold(cell: CellComparison) -> str:
    why = reason(cell)
    return f"{cell.verdict}: {why}" if why else str(cell.verdict)


def _new_s(cell: CellComparison) -> float:
    """The cell's new median; 0, as of any test that was not run, where it has none."""
    value = cell.change.new_s if cell.change is not None else 0.0
    return value if math.isfinite(value) else 0.0


def _seconds(value: float) -> str:
    """A decimal without an exponent, to the nanosecond."""
    return f"{value:.9f}"


def _timestamp(started_at: str) -> str:
    """In UTC, to the second and without a zone, as Ant's schema has it; empty where it is not known."""
    try:
        started = datetime.fromisoformat(started_at)
    except ValueError:
        return ""
    if started.tzinfo is not None:
        started = started.astimezone(UTC)
    return started.replace(tzinfo=None).isoformat(timespec="seconds")


def _line(text: str) -> str:
    return visible(text)


def _token(text: str) -> str:
    """Ant's schema asks for at least a character, and for no space at the ends."""
    return " ".join(visible(text).split()) or "unnamed"
