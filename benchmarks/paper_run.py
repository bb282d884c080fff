"""The course paper's measurements as a run folder, results/paper-tesla-k80, from benchmarks/data/paper.

Nothing is measured here: published figures are re-expressed in this project's schema, so that everything that
reads a run reads them. What stands where, and what is wrong with it, is in that folder's CITATION.md. Running
this writes the same bytes again, and `vsr-bench rebuild` makes tables, plots and report from them.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import yaml

from bench.grid import config, plan
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.measure import networks
from bench.measure.costs import CostTracer
from bench.paper.editions import STAGES, Role
from bench.paper.method import PAPER
from bench.places import ROOT
from bench.records import (
    JOURNAL_NAME,
    SCHEMA_VERSION,
    CellRecord,
    Journal,
    MemoryPoint,
    OutputCheck,
    Pass,
    Phase,
    Sample,
    Status,
    WarmupEnd,
)
from bench.results.run_about import About
from bench.results.run_folder import CONFIG_NAME, ENVIRONMENT_NAME, RUN_NAME
from bench.statistics.steady import tuning_calls
from bench.statistics.stopping import Stop
from benchmarks.common import DATA
from benchmarks.paper_machine import ENVIRONMENT
from vsr_model.network import Network

PAPER_DATA: Final = DATA / "paper"
FOLDER: Final = ROOT / "results" / "paper-tesla-k80"

ROLES: Final = {"cpu": Role.CPU, "cuda": Role.CUDNN, "cudnn": Role.CUDNN_AUTOTUNE}
"""What the paper's methods were, by the names of the published files: its "CUDA" never switched cuDNN off."""

CONFIG: Final[dict[str, Any]] = {
    "name": "paper-tesla-k80",
    "model": {
        "name": "basicvsr",
        "mid_channels": 64,
        "num_blocks": 30,
        "base_upsample": "nearest",
        "flow_resize": "nearest",
    },
    "input": [
        {"name": name, "kind": "random", "grid": {"frames": frames}}
        for name, frames in (
            ("headline", [60]),
            ("repetitions", [30]),  # what the code says and the times fit; the text says 40
            ("frames", list(range(1, 62, 3))),
            ("memory", [40]),
            ("stages", [60]),  # the table does not say; its sums fit 60
        )
    ],
    "grid": {"batch": [1], "frames": [60], "size": [[64, 64]]},
    "backends": [{"name": str(role)} for role in ROLES.values()],
    "baseline": "cpu",
    "measure": {
        "warmup": 0,
        "repetitions": {"min": 1, "max": 10},  # one, three or ten
        "rounds": 1,
        "isolation": "backend",
        "stages": "sync",
        "memory": "curve",
        "allocator": "system",
    },
}
"""Only what is known or must be said: fields that the schema gains later do not change the file."""

UNCHECKED: Final = "the output was not checked: the paper compares no outputs"

NOT_IN_THE_PAPER: Final = "not in the paper: it has host memory of the CPU run alone"

PAGE_BYTES: Final = 4096
"""A resident set is whole pages: the published MiB, which are rounded, give back the exact bytes."""


def experiment() -> Experiment:
    """What the paper measured, as a YAML of this project would ask for it."""
    return config.of_plain(CONFIG)


def records(data: Path = PAPER_DATA) -> Iterator[CellRecord]:
    """A record for each cell, in the order of the plan."""
    for cell in plan.cells(experiment()):
        yield _MAKE[cell.input.name](cell, data)


def write(folder: Path = FOLDER, data: Path = PAPER_DATA) -> None:
    """The files that a run's journal, configuration and environment stand in; those there are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    about = About(
        schema_version=SCHEMA_VERSION,
        started_at="",  # the paper does not say
        filters=(),
        files={},
        config=CONFIG,
    )
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(CONFIG, sort_keys=False, width=100), encoding="utf-8")
    (folder / ENVIRONMENT_NAME).write_text(_json({**ENVIRONMENT, "method": str(PAPER)}), encoding="utf-8")
    (folder / RUN_NAME).write_text(_json(about.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    (folder / JOURNAL_NAME).unlink(missing_ok=True)
    with Journal(folder / JOURNAL_NAME) as journal:
        for record in records(data):
            journal.append(record)


def _headline(cell: Cell, data: Path) -> CellRecord:
    seconds = [float(row["total_s"]) for row in _of_method(data / "headline.csv", cell)]
    # The published script makes one call of one method and ends.
    return _timed(cell, seconds, first_in_process=True)


def _repetitions(cell: Cell, data: Path) -> CellRecord:
    column = f"{_method(cell)}_s"
    seconds = [float(row[column]) for row in _rows(data / "time_by_repetition.csv")]
    return _timed(cell, seconds, first_in_process=True)


def _frames(cell: Cell, data: Path) -> CellRecord:
    column = f"{_method(cell)}_s"
    rows = [row for row in _rows(data / "time_by_frames.csv") if int(row["frames"]) == cell.frames]
    # "CUDA" and then "cuDNN" went through one process; which one the CPU's points went through is not said.
    first = None
    if cell.backend.name != Role.CPU:
        first = cell.backend.name == Role.CUDNN and cell.frames == 1
    return _timed(cell, [float(row[column]) for row in rows], first_in_process=first)


def _memory(cell: Cell, data: Path) -> CellRecord:
    if cell.backend.name != Role.CPU:
        return _record(cell, status=Status.SKIPPED, reason=NOT_IN_THE_PAPER)
    levels = {row["moment"]: int(row["host_mib"]) * 2**20 for row in _rows(data / "memory_levels.csv")}
    points = tuple(
        MemoryPoint(elapsed_s=float(row["elapsed_s"]), host_bytes=_bytes(row["host_mib"]))
        for row in _rows(data / "memory_by_time.csv")
        if float(row["host_mib"]) > 0  # at the end the process is gone
    )
    return _measured(
        cell,
        first_in_process=True,
        host_before_bytes=levels["before"],
        peak_host_bytes=levels["after"],
        host_growth_bytes=levels["after"] - levels["before"],
        memory=points,
    )


def _stages(cell: Cell, data: Path) -> CellRecord:
    samples = []
    begun_s = 0.0
    for row in _of_method(data / "stage_seconds.csv", cell):
        for stage in STAGES:
            wall_s = float(row[f"{stage}_s"])
            repetition = int(row["repetition"]) - 1
            samples.append(_sample(Pass.STAGE_SYNC, repetition, stage, begun_s, wall_s))
            begun_s += wall_s
    return _measured(cell, samples=tuple(samples), stop_stage_sync=Stop.COUNT)


_MAKE: Final = {
    "headline": _headline,
    "repetitions": _repetitions,
    "frames": _frames,
    "memory": _memory,
    "stages": _stages,
}


def _timed(cell: Cell, seconds: Sequence[float], *, first_in_process: bool | None) -> CellRecord:
    """A cell of which calls are known, as the paper's timer saw them."""
    # When a call began is not known: each is put where the one before it ended.
    starts = accumulate(seconds[:-1], initial=0.0)
    samples = tuple(
        _sample(Pass.END_TO_END, repetition, FORWARD, start_s, wall_s)
        for repetition, (start_s, wall_s) in enumerate(zip(starts, seconds, strict=True))
    )
    return _measured(
        cell,
        first_in_process=first_in_process,
        first_forward_s=seconds[0] if first_in_process else None,
        warmup_end=WarmupEnd.COUNT,
        tuning_calls=tuning_calls(seconds),
        stop_end_to_end=Stop.COUNT,
        samples=samples,
    )


def _sample(pass_: Pass, repetition: int, stage: str, start_s: float, wall_s: float) -> Sample:
    return Sample(
        pass_=pass_, phase=Phase.STEADY, repetition=repetition, stage=stage, start_s=start_s, wall_s=wall_s
    )


@cache
def _network() -> Network:
    (model,) = experiment().models
    return networks.build(model)


@cache
def _tracer() -> CostTracer:
    (model,) = experiment().models
    return CostTracer({model.name: _network()})


def _measured(cell: Cell, **fields: Any) -> CellRecord:
    """What holds for every cell that the paper measured, and `fields`."""
    settings = {"device": cell.backend.device, "dtype": cell.backend.dtype}
    settings |= {"method": str(PAPER)}
    if cell.backend.is_cuda:
        settings |= {
            "cudnn.enabled": str(cell.backend.cudnn_enabled),
            "cudnn.benchmark": str(cell.backend.cudnn_benchmark),
        }
    return _record(
        cell,
        status=Status.OK,
        parameters=sum(item.numel() for item in _network().parameters()),
        stages=tuple(_network().facts.stages),
        costs=_tracer().costs(cell),
        output_check=OutputCheck.NOT_DONE,
        warnings=(UNCHECKED,),
        settings=settings,
        **fields,
    )


def _record(cell: Cell, **fields: Any) -> CellRecord:
    return CellRecord(
        schema_version=SCHEMA_VERSION,
        cell=cell.id,
        round=0,
        model=cell.model.name,
        dtype=cell.backend.dtype,
        fp32_precision=cell.backend.fp32_precision,
        memory_format=cell.backend.features_format,
        input=cell.input.name,
        batch=cell.batch,
        frames=cell.frames,
        height=cell.height,
        width=cell.width,
        backend=cell.backend.name,
        **fields,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _of_method(path: Path, cell: Cell) -> Iterable[Mapping[str, str]]:
    return (row for row in _rows(path) if row["method"] == _method(cell))


def _method(cell: Cell) -> str:
    """The name under which the published files have the cell's backend."""
    return next(name for name, role in ROLES.items() if role == cell.backend.name)


def _bytes(mib: str) -> int:
    return round(float(mib) * 2**20 / PAGE_BYTES) * PAGE_BYTES


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=FOLDER, help="the run's folder (default: %(default)s)")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
