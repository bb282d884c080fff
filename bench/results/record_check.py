"""Checks of a record against the plan, and against what can have been measured. Pure."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import BaseModel

from bench.grid.costs import StageCost
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD, FORWARD_UNPROBED, OTHER, SPANS, TOTAL
from bench.records import CellRecord, Sample

_MAX_INTEGER: Final = 2**63
"""From here on a number fits into no column of integers."""

_MAY_BE_WILD: Final = ("output_max_abs_error", "output_psnr_db")
"""Figures that are infinite, or not a number, for some outputs."""


_MAY_BE_NEGATIVE: Final = ("harness_s", "host_growth_bytes", "increment_bytes", "temperature_c")
"""Differences, and the cold."""

_CALLS: Final = (FORWARD, FORWARD_UNPROBED, TOTAL)
"""Spans that no clock shows as nothing."""


def fault(record: CellRecord, cell: Cell, rounds: int) -> str | None:
    """Return why the record cannot be a round of a cell with this many rounds; None where it can.

    Types are the record's own matter. A journal that was damaged or edited may still have the right ones.
    """
    return next(_faults(record, cell, rounds), None)


def _faults(record: CellRecord, cell: Cell, rounds: int) -> Iterator[str]:
    if not 0 <= record.round < rounds:
        yield f"round: {record.round}, of {rounds}"
    planned = {
        "model": cell.model.name,
        "input": cell.input.name,
        "batch": cell.batch,
        "frames": cell.frames,
        "height": cell.height,
        "width": cell.width,
        "backend": cell.backend.name,
    }
    for name, value in planned.items():
        if getattr(record, name) != value:
            yield f"{name}: {getattr(record, name)}, where {record.cell} has {value}"
    yield from _field_faults(record)
    for index, sample in enumerate(record.samples):
        yield from (f"samples.{index}.{text}" for text in _sample_faults(sample, record.stages))
    for stage, cost in record.costs.items():
        yield from (f"costs.{stage}.{text}" for text in _cost_faults(cost))
    for field in ("memory", "memory_lines", "kernels", "telemetry", "others"):
        for index, item in enumerate(getattr(record, field)):
            yield from (f"{field}.{index}.{text}" for text in _number_faults(item))


def _field_faults(record: CellRecord) -> Iterator[str]:
    """Yield the record's own numbers that cannot have been measured."""
    for name, value in record:
        if isinstance(value, float) and name not in _MAY_BE_WILD:
            if not math.isfinite(value) or (value < 0 and name not in _MAY_BE_NEGATIVE):
                yield f"{name}: {value}"
        elif isinstance(value, int):
            if abs(value) >= _MAX_INTEGER:
                yield f"{name}: {value:.0e}"
            if value < 0 and name not in _MAY_BE_NEGATIVE:
                yield f"{name}: {value}"


def _cost_faults(cost: StageCost) -> Iterator[str]:
    """Yield costs below zero. They may exceed any column's range, in cells that nothing runs."""
    for name, value in cost:
        if isinstance(value, int) and value < 0:
            yield f"{name}: {value}"


def _sample_faults(sample: Sample, stages: Sequence[str]) -> Iterator[str]:
    if sample.stage not in (*stages, *SPANS):
        yield f"stage: {sample.stage!r}"
    if not 0 <= sample.repetition < _MAX_INTEGER:
        yield f"repetition: {sample.repetition}"
    for name in ("start_s", "wall_s", "device_s"):
        value = getattr(sample, name)
        # What no stage claims is a difference, which rounding may take below zero.
        if value is not None and (not math.isfinite(value) or (value < 0 and sample.stage != OTHER)):
            yield f"{name}: {value}"
    if sample.wall_s == 0 and sample.stage in _CALLS:
        yield f"wall_s: 0 s of {sample.stage}"


def _number_faults(item: BaseModel) -> Iterator[str]:
    """Yield numbers that are not finite, negative where they cannot be, or too large for a column."""
    for name, value in item:
        if not isinstance(value, int | float):
            continue
        wild = isinstance(value, float) and not math.isfinite(value)
        if wild or abs(value) >= _MAX_INTEGER or (value < 0 and name not in _MAY_BE_NEGATIVE):
            yield f"{name}: {value:g}"
