"""Runs made up for comparisons: real experiments and records, with times that are given."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bench.comparison.cells import MeasuredCell, cells_of
from bench.grid import config, plan
from bench.grid.baseline import Baseline
from bench.grid.config import Experiment
from bench.records import CellRecord, OutputCheck, Pass, Phase, Sample, Status
from bench.results.tables import Row, tables_of

BEGAN: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENVIRONMENT: Final = {
    "cpu": "a processor",
    "cpu_physical_cores": 2,
    "cpu_logical_cores": 2,
    "torch": {"torch": "2.13.0", "torch_cuda": None, "cudnn": None, "cpu_capability": "AVX2", "devices": []},
}
MIB: Final = 2**20
SHARES: Final = {"alignment": 0.4, "propagation": 0.4, "aggregation": 0.1, "upsampling": 0.1}


def experiment(**changes: Any) -> Experiment:
    """Return a grid of one input, 64x64; `changes` replace its fields."""
    plain: dict[str, Any] = {
        "name": "made-up",
        "model": {"mid_channels": 8, "num_blocks": 1},
        "input": [{"name": "noise", "kind": "random"}],
        "grid": {"frames": [2], "size": [[64, 64]]},
        "backends": [{"name": "cpu"}],
    }
    if "grid" in changes:
        changes["grid"] = plain["grid"] | changes["grid"]
    return config.of_plain(plain | changes)


def record(
    cell: plan.Cell,
    number: int,
    seconds: float | None,
    *,
    begun_s: float = 0.0,
    shares: Mapping[str, float] | None = None,
    **changes: Any,
) -> CellRecord:
    """Return a round whose every steady call took so long; stages take what SHARES and `shares` say of it."""
    parts = SHARES | dict(shares or {})
    samples: list[Sample] = []
    for repetition in range(0 if seconds is None else 3):
        assert seconds is not None
        samples += [
            _sample(pass_, repetition, "forward", seconds) for pass_ in (Pass.END_TO_END, Pass.STAGE_SYNC)
        ]
        samples += [
            _sample(Pass.STAGE_SYNC, repetition, stage, share * seconds) for stage, share in parts.items()
        ]
    fields: dict[str, Any] = {
        "cell": cell.id, "round": number, "model": cell.model.name, "input": cell.input.name,
        "batch": cell.batch, "frames": cell.frames, "height": cell.height, "width": cell.width,
        "backend": cell.backend.name, "dtype": cell.backend.dtype,
        "fp32_precision": cell.backend.fp32_precision, "memory_format": cell.backend.features_format,
        "stages": tuple(parts), "status": Status.OK,
        "started_at": (BEGAN + timedelta(seconds=begun_s)).isoformat(),
        "threads": 2, "output_check": OutputCheck.REFERENCE, "samples": tuple(samples),
        "peak_host_bytes": 400 * MIB, "host_growth_bytes": 100 * MIB,
    }  # fmt: skip
    return CellRecord.model_validate(fields | changes)


def _sample(pass_: Pass, repetition: int, stage: str, seconds: float) -> Sample:
    return Sample.model_validate(
        {"pass": pass_, "phase": Phase.STEADY, "repetition": repetition, "stage": stage, "start_s": 1.0,
         "wall_s": seconds}
    )  # fmt: skip


def side(
    seconds: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    of: Experiment | None = None,
    begun_s: Sequence[float] | None = None,
    environment: Mapping[str, Any] = ENVIRONMENT,
    files: Mapping[str, str] | None = None,
    **changes: Any,
) -> list[MeasuredCell]:
    """Return a run's cells, each with a round of these seconds after the other, by backend.

    Rounds begin ten seconds after each other unless `begun_s` says when. `changes` are of every record.
    """
    wanted = of or experiment()
    cells = plan.cells(wanted)
    by_backend = seconds if isinstance(seconds, Mapping) else {cells[0].backend.name: seconds}
    records = [
        record(cell, number, value, begun_s=begun_s[number] if begun_s else 10.0 * number, **changes)
        for cell in cells
        for number, value in enumerate(by_backend.get(cell.backend.name, ()))
    ]
    tables = tables_of(records, Baseline(backend=cells[0].backend.name))
    return cells_of(cells, tables, experiment=wanted, files=files or {}, environment=environment)


def taking_turns(base: list[MeasuredCell], new: list[MeasuredCell]) -> tuple[list[MeasuredCell], ...]:
    """Return both with the times of runs that were measured in turn."""
    rounds = max((one["round"] for cell in (*base, *new) for one in cell.rounds), default=0) + 1
    return tuple(
        [replace(cell, rounds=tuple(_at(one, begun[one["round"]]) for one in cell.rounds)) for cell in cells]
        for cells, begun in zip((base, new), in_turn(rounds), strict=True)
    )


def _at(row: Row, begun_s: float) -> Row:
    return {**row, "started_at": (BEGAN + timedelta(seconds=begun_s)).isoformat()}


def in_turn(rounds: int) -> tuple[list[float], list[float]]:
    """Return when the rounds of two sides began that were measured A B B A."""
    begun = [(20.0 * n, 20.0 * n + 10) for n in range(rounds)]
    order = [(a, b) if n % 2 == 0 else (b, a) for n, (a, b) in enumerate(begun)]
    return [a for a, _ in order], [b for _, b in order]
