"""Check that the CSV tables beside a journal are whole: a copy that was cut off must not pass for a run."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.records import CellRecord
from vsr_model.errors import BadInput

_MAX_FIELD: Final = 2**27


def check_tables(path: Path, records: Sequence[CellRecord]) -> None:
    """Check that the tables in a run's folder are whole and have the rows that `records` give.

    Raises BadInput for one that does not. A missing table was not derived yet, or not copied, and is no
    fault.
    """
    expected = {
        "cells.csv": len(records),
        "samples.csv": sum(len(record.samples) for record in records),
        "memory.csv": sum(len(record.memory) for record in records),
        "telemetry.csv": sum(len(record.telemetry) for record in records),
        "summary.csv": None,
        "perturbation.csv": None,
        "warnings.csv": None,
        "memory_lines.csv": None,
        "ceilings.csv": None,
        "roofline.csv": None,
        "kernels.csv": sum(len(record.kernels) for record in records),
    }
    for name, rows in expected.items():
        table = path / name
        if not table.is_file():
            continue
        try:
            text = table.read_bytes().decode("utf-8")
        except (OSError, ValueError) as error:
            raise BadInput(f"{table}: cannot be read as a table ({error})") from None
        found = _rows(text)
        if found is None:
            raise _cut(table, path, "ends in the middle of a line")
        if rows is not None and found != rows:
            raise _cut(table, path, f"has {found} rows where the journal's records give {rows}")


def _rows(text: str) -> int | None:
    """Return the lines of a CSV below its header; None where the last is incomplete."""
    if not text.endswith("\n"):
        return None
    csv.field_size_limit(_MAX_FIELD)
    try:
        return sum(1 for _ in csv.reader(text.splitlines(keepends=True), strict=True)) - 1
    except csv.Error:
        return None


def _cut(table: Path, path: Path, what: str) -> BadInput:
    return BadInput(f"{table}: {what}; vsr-bench rebuild {path} makes the tables anew from the journal")
