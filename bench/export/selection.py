"""What of a run is exported: the cells that ended `ok`, their stages, and what is left out and why."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.grid.baseline import Baseline
from bench.grid.spans import SPANS
from bench.records import CellRecord, Pass, Status, worst_status
from bench.results.identity import CodeVersion
from bench.results.samples import samples_of, stages_of
from bench.results.tables import summary_table
from vsr_model.errors import BadInput

MAX_REASONS: Final = 3
"""That a note repeats."""

LEAST_S: Final = 1e-12
"""Less is no benchmark's time: no clock is that fine, and some tools take neither 0 nor less."""

MOST_S: Final = 1e12
"""More is no time of a run. Between the two all that is made of a time fits into a float."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One process's samples of one stage, in seconds, in the order in which they were taken."""

    record: CellRecord
    steady_s: tuple[float, ...]
    before_s: tuple[float, ...]  # of the same pass: the cold call, tuning and warm-up


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A stage of a cell, which other tools call a benchmark; its figures are those of summary.csv."""

    stage: str
    pass_: Pass
    clock: str  # "wall" or "device"
    rounds: tuple[Round, ...]  # those with steady samples
    median_s: float
    low_s: float | None  # both None without an interval
    high_s: float | None
    interval: str
    frames_per_s: float | None  # of a whole call only
    speedup: float | None

    @property
    def cell(self) -> CellRecord:
        """A record that has the cell's axes."""
        return self.rounds[0].record

    @property
    def name(self) -> str:
        """The same in every run: the cell's id and the stage, as basicvsr/noise/b1/t4/64x64/cpu/forward."""
        return f"{self.cell.cell}/{self.stage}"

    @property
    def group(self) -> str:
        """What the same stage of the cell on other backends has in common with it."""
        cell = self.cell
        clip = f"{cell.model}/{cell.input}/b{cell.batch}/t{cell.frames}/{cell.height}x{cell.width}"
        return f"{clip}/{self.stage}"

    @property
    def pooled_s(self) -> list[float]:
        """The steady samples of all rounds."""
        return [value for one in self.rounds for value in one.steady_s]


@dataclass(frozen=True, kw_only=True)
class Export:
    """A run as it is exported."""

    name: str  # of the experiment
    started_at: str  # UTC, ISO 8601
    baseline: Baseline
    environment: Mapping[str, Any]
    code: CodeVersion | None
    stages: frozenset[str]
    records: tuple[CellRecord, ...]  # rounds of cells that ended ok, their samples of all stages
    benchmarks: tuple[Benchmark, ...]  # of the stages asked for
    notes: tuple[str, ...]  # what is left out, in sentences


def export_of(
    records: Sequence[CellRecord],
    *,
    where: str,
    name: str,
    started_at: str,
    baseline: Baseline,
    environment: Mapping[str, Any],
    code: CodeVersion | None,
    planned: int,
    stages: Collection[str] = (),
) -> Export:
    """Choose what is exported; `planned` is the number of rounds that the run is to have, and `where` is
    what messages call it.

    `stages` keeps only some; all where it is empty. Raises BadInput for a stage that there is none of, for
    a run without a record or without a cell that ended `ok`, and for times that no run can have.
    """
    known = (*stages_of(records), *SPANS)
    for stage in stages:
        if stage not in known:
            raise BadInput(f"--stage {stage}: is none of {', '.join(known)}")
    if not records:
        raise BadInput(f"{where}: its journal holds no record yet; there is nothing to export")
    by_cell: dict[str, list[CellRecord]] = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    statuses = {cell: worst_status(rounds) for cell, rounds in by_cell.items()}
    left_out = _left_out(by_cell, statuses)
    ok = {cell: rounds for cell, rounds in by_cell.items() if statuses[cell] is Status.OK}
    if not ok:
        raise BadInput(f"{where}: no cell ended ok, so that there is nothing to export: {left_out}")
    for record in (record for rounds in ok.values() for record in rounds):
        if (longest := _longest_s(record)) > MOST_S:
            raise BadInput(
                f"{where}: round {record.round} of {record.cell} has a time of {longest:.3g} s; at most "
                f"{MOST_S:g} s can be exported"
            )
    wanted = frozenset(stages or known)
    found, unusable = _benchmarks(records, ok, baseline, wanted)
    notes = [f"left out {left_out}"] if left_out else []
    if unusable:
        notes.append(
            f"left out {_some(unusable)}: a sample below {LEAST_S:g} s, as the difference `other` may be, is "
            "no benchmark's"
        )
    if bare := [cell for cell in ok if not any(record.samples for record in ok[cell])]:
        notes.append(f"no times: {_some(bare)} ended ok without a timed call")
    if planned > len(records):
        notes.append(f"the run is not whole: {planned - len(records)} of {planned} rounds are still to come")
    return Export(
        name=name,
        started_at=started_at,
        baseline=baseline,
        environment=environment,
        code=code,
        stages=wanted,
        records=tuple(record for rounds in ok.values() for record in rounds),
        benchmarks=tuple(found),
        notes=tuple(notes),
    )


def _benchmarks(
    records: Sequence[CellRecord],
    ok: Mapping[str, Sequence[CellRecord]],
    baseline: Baseline,
    wanted: Collection[str],
) -> tuple[list[Benchmark], list[str]]:
    """The benchmarks, and the names of those that have a sample too small for one."""
    found, unusable = [], []
    for row in summary_table(records, baseline).to_dict("records"):
        if row["cell"] not in ok or row["stage"] not in wanted:
            continue
        benchmark = _benchmark(row, ok[row["cell"]])
        if min(benchmark.pooled_s) >= LEAST_S:
            found.append(benchmark)
        else:
            unusable.append(benchmark.name)
    return found, unusable


def _benchmark(row: Mapping[Any, Any], records: Sequence[CellRecord]) -> Benchmark:
    stage, pass_, clock = row["stage"], Pass(row["pass"]), row["clock"]
    rounds = []
    for record in records:
        steady = samples_of(record, pass_, stage, f"{clock}_s")
        before = samples_of(record, pass_, stage, f"{clock}_s", steady=False)
        if steady:
            rounds.append(Round(record=record, steady_s=tuple(steady), before_s=tuple(before)))
    return Benchmark(
        stage=stage,
        pass_=pass_,
        clock=clock,
        rounds=tuple(rounds),
        median_s=row["median_s"],
        low_s=_known(row["low_s"]),
        high_s=_known(row["high_s"]),
        interval=str(row["interval"]),
        frames_per_s=_known(row["frames_per_s"]),
        speedup=_known(row["speedup"]),
    )


def _known(value: float) -> float | None:
    """A figure of a table; what is missing there is not a number."""
    return None if math.isnan(value) else float(value)


def _longest_s(record: CellRecord) -> float:
    spans = [sample.start_s + max(sample.wall_s, sample.device_s or 0.0) for sample in record.samples]
    return max([*spans, *(point.elapsed_s for point in record.memory)], default=0.0)


def _left_out(by_cell: Mapping[str, Sequence[CellRecord]], statuses: Mapping[str, Status]) -> str:
    """The cells that did not end ok, counted, with their reasons; nothing where there are none."""
    counts = Counter(status for status in statuses.values() if status is not Status.OK)
    told = []
    for status, count in counts.items():
        reasons = list(
            dict.fromkeys(
                next(record.reason for record in rounds if record.status is status)
                for cell, rounds in by_cell.items()
                if statuses[cell] is status
            )
        )
        told.append(f"{count} {status} ({_some([reason or 'no reason given' for reason in reasons], '; ')})")
    return f"{counts.total()} of {len(statuses)} cells: {', '.join(told)}" if told else ""


def _some(texts: Sequence[str], between: str = ", ") -> str:
    """The first of several, and how many there are beside."""
    shown = between.join(texts[:MAX_REASONS])
    return shown if len(texts) <= MAX_REASONS else f"{shown} and {len(texts) - MAX_REASONS} more"
