"""What the paper published (bench/paper/data), as ordinary records.

Nothing is measured here. results/paper-tesla-k80/CITATION.md says what stands where, and what is wrong
with it. `python -m bench.paper.published` writes that folder's run again, and `vsr-bench rebuild` the rest.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import yaml

from bench.grid import config, plan
from bench.grid.baseline import Baseline
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.machine.environment import in_short
from bench.messages import blank_record
from bench.paper.experiments import EXPERIMENTS, FULL, PAPER
from bench.paper.method import PAPER as METHOD
from bench.paper.metrics import STAGES
from bench.paper.sources import PAPER_NAMES, Role, Run, Source
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
from bench.results.analysis import tables_of
from bench.results.run_about import About
from bench.results.run_folder import CONFIG_NAME, ENVIRONMENT_NAME, RUN_NAME
from bench.statistics.steady import tuning_calls
from bench.statistics.stopping import Stop

FOLDER: Final = ROOT / "results" / "paper-tesla-k80"

ROLES: Final = {"cpu": Role.CPU, "cuda": Role.CUDNN, "cudnn": Role.CUDNN_AUTOTUNE}
"""What the paper's methods were, by the names in the files: its "CUDA" never switched cuDNN off."""

FRAMES: Final = {
    "headline": [60],
    "repetitions": [30],  # what the code says and the times fit; the text says 40
    "frames": list(range(1, 62, 3)),
    "memory": [40],
    "stages": [60],  # the table does not say; its sums fit 60
}

CONFIG: Final[dict[str, Any]] = {
    "name": "paper-tesla-k80",
    "model": {
        "name": "basicvsr", "mid_channels": 64, "num_blocks": 30,
        "base_upsample": "nearest", "flow_resize": "nearest",
    },
    "input": [{"name": name, "kind": "random", "grid": {"frames": FRAMES[name]}} for name in EXPERIMENTS],
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
}  # fmt: skip
"""Only what is known or must be said: fields that the schema gains later do not change the file."""

UNCHECKED: Final = "the output was not checked: the paper compares no outputs"
NOT_IN_THE_PAPER: Final = "not in the paper: it has host memory of the CPU run alone"

PAGE_BYTES: Final = 4096
"""A resident set is whole pages: the published MiB, which are rounded, give back the exact bytes."""


def experiment() -> Experiment:
    """Return what the paper measured, as a YAML of this project would ask for it."""
    return config.of_plain(CONFIG)


def environment() -> dict[str, Any]:
    """Return the paper's machine, as it describes it, and how it measured."""
    read: dict[str, Any] = json.loads(_text("environment.json"))
    return {**read, "method": str(METHOD)}


def source() -> Source:
    """Return the paper's own figures, its methods by its own names."""
    machine = environment()
    tables = tables_of(list(records()), Baseline(backend="cpu"), machine)
    for table in (tables.cells, tables.summary):
        table["backend"] = table["backend"].map(PAPER_NAMES)
    roles = {name: role for role, name in PAPER_NAMES.items()}
    run = Run(tables=tables, roles=roles, method=METHOD)
    runs = {name: run.only(name) for name in EXPERIMENTS}
    return Source(name=PAPER, machine=in_short(machine), version=FULL, runs=runs)


def records() -> Iterator[CellRecord]:
    """Return a record for each cell, in the order of the plan."""
    for cell in plan.cells(experiment()):
        yield _MAKE[cell.input.name](cell)


def write(folder: Path) -> None:
    """Write the files that a run's journal, configuration and environment stand in over those there."""
    folder.mkdir(parents=True, exist_ok=True)
    about = About(schema_version=SCHEMA_VERSION, started_at="", filters=(), files={}, config=CONFIG)
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(CONFIG, sort_keys=False, width=100), encoding="utf-8")
    (folder / ENVIRONMENT_NAME).write_text(_json(environment()), encoding="utf-8")
    (folder / RUN_NAME).write_text(_json(about.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    (folder / JOURNAL_NAME).unlink(missing_ok=True)
    with Journal(folder / JOURNAL_NAME) as journal:
        for record in records():
            journal.append(record)


def _headline(cell: Cell) -> CellRecord:
    seconds = [float(row["total_s"]) for row in _rows("headline.csv", cell)]
    return _timed(cell, seconds, first_in_process=True)  # the script makes one call of one method and ends


def _repetitions(cell: Cell) -> CellRecord:
    column = f"{_method(cell)}_s"
    seconds = [float(row[column]) for row in _rows("time_by_repetition.csv")]
    return _timed(cell, seconds, first_in_process=True)


def _frames(cell: Cell) -> CellRecord:
    column = f"{_method(cell)}_s"
    rows = [row for row in _rows("time_by_frames.csv") if int(row["frames"]) == cell.frames]
    # "CUDA" and then "cuDNN" went through one process; which one the CPU's points went through is not said.
    first = None
    if cell.backend.name != Role.CPU:
        first = cell.backend.name == Role.CUDNN and cell.frames == 1
    return _timed(cell, [float(row[column]) for row in rows], first_in_process=first)


def _memory(cell: Cell) -> CellRecord:
    if cell.backend.name != Role.CPU:
        return blank_record(plan.Job(cell=cell, round=0), Status.SKIPPED, NOT_IN_THE_PAPER)
    levels = {row["moment"]: int(row["host_mib"]) * 2**20 for row in _rows("memory_levels.csv")}
    points = tuple(
        MemoryPoint(elapsed_s=float(row["elapsed_s"]), host_bytes=_bytes(row["host_mib"]))
        for row in _rows("memory_by_time.csv")
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


def _stages(cell: Cell) -> CellRecord:
    samples = []
    begun_s = 0.0
    for row in _rows("stage_seconds.csv", cell):
        for stage in STAGES:
            wall_s = float(row[f"{stage}_s"])
            samples.append(_sample(Pass.STAGE_SYNC, int(row["repetition"]) - 1, stage, begun_s, wall_s))
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


def _measured(cell: Cell, **fields: Any) -> CellRecord:
    """Return a record with what holds for every cell that the paper measured, and `fields`."""
    settings = {"device": cell.backend.device, "dtype": cell.backend.dtype, "method": str(METHOD)}
    if cell.backend.is_cuda:
        settings |= {
            "cudnn.enabled": str(cell.backend.cudnn_enabled),
            "cudnn.benchmark": str(cell.backend.cudnn_benchmark),
        }
    checked = {
        "output_check": OutputCheck.NOT_DONE,
        "warnings": (UNCHECKED,),
        "settings": settings,
        "stages": STAGES,
        "scale": 4,
    }
    blank = blank_record(plan.Job(cell=cell, round=0), Status.OK, "")
    return blank.model_copy(update={**checked, **fields})


def _method(cell: Cell) -> str:
    """Return the name under which the files have the cell's backend."""
    return next(name for name, role in ROLES.items() if role == cell.backend.name)


def _rows(name: str, of: Cell | None = None) -> list[Mapping[str, str]]:
    rows = csv.DictReader(_text(name).splitlines())
    return [row for row in rows if of is None or row["method"] == _method(of)]


def _text(name: str) -> str:
    return files("bench.paper").joinpath("data", name).read_text(encoding="utf-8")


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
