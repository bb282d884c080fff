"""Select what of a run is exported: the stages of cells that ended `ok`, and what is left out and why."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from bench.grid.spans import SPANS
from bench.records import Phase, Status
from bench.results.identity import cuda_devices
from bench.results.run_folder import RunFolder
from bench.results.tables import Row, Tables, rows_of
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

MAX_REASONS: Final = 3
"""That a note repeats."""

LEAST_S: Final = 1e-12
"""Less is no benchmark's time: no clock is that fine, and some tools take neither 0 nor less."""

MOST_S: Final = 1e12
"""More is no time of a run. Between the two all that is made of a time fits into a float."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One process's samples of one stage, in seconds, in the order in which they were taken."""

    cell: Row  # of cells.csv
    steady_s: tuple[float, ...]
    before_s: tuple[float, ...]  # of the same pass: the cold call, tuning and warm-up


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A stage of a cell, which other tools call a benchmark."""

    row: Row  # of summary.csv
    rounds: tuple[Round, ...]  # those with steady samples

    @property
    def name(self) -> str:
        """The same in every run: the cell's id and the stage, as basicvsr/noise/b1/t4/64x64/cpu/forward."""
        return f"{self.row['cell']}/{self.row['stage']}"

    @property
    def group(self) -> str:
        """The name without the backend: the same stage of the clip on all of them."""
        return f"{self.row['cell'].rpartition('/')[0]}/{self.row['stage']}"

    @property
    def pooled_s(self) -> list[float]:
        """The steady samples of all rounds."""
        return [value for one in self.rounds for value in one.steady_s]


@dataclass(frozen=True, kw_only=True)
class Export:
    """A run as it is exported."""

    folder: RunFolder
    stages: frozenset[str]
    cells: pd.DataFrame  # this and the next two: of cells that ended ok, all their stages
    samples: pd.DataFrame
    memory: pd.DataFrame
    benchmarks: tuple[Benchmark, ...]  # of the stages asked for
    notes: tuple[str, ...]  # what is left out, in sentences

    def text(self, *path: str) -> str | None:
        """Return a text of environment.json as one line; None where it is missing, empty or none."""
        found = self._fact(path)
        return _line(found) if isinstance(found, str) else None

    def count(self, *path: str) -> int | None:
        """Return a whole number of environment.json; None where it is missing or none."""
        found = self._fact(path)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def gpus(self) -> str | None:
        """The names of the GPUs that torch saw, in one line; None where there are none."""
        devices = cuda_devices(self.folder.environment) or []
        names = [one.get("name") for one in devices if isinstance(one, Mapping)]
        return ", ".join(_line(name) or "" for name in names if isinstance(name, str) and _line(name)) or None

    def _fact(self, path: Sequence[str]) -> object:
        found: object = self.folder.environment
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def export_of(folder: RunFolder, tables: Tables, stages: Collection[str] = ()) -> Export:
    """Select from a run's tables; `stages` keeps only some, all where it is empty.

    Raises BadInput for a stage that there is none of, for a run without a record or without a cell that
    ended `ok`, and for times that no run can have.
    """
    known = list(dict.fromkeys([*tables.costs["stage"], *tables.samples["stage"], *SPANS]))
    for stage in stages:
        if stage not in known:
            raise BadInput(f"--stage {stage}: is none of {', '.join(known)}")
    if not len(tables.cells):
        raise BadInput(f"{folder.path}: its journal holds no record yet; there is nothing to export")
    statuses = tables.summary.drop_duplicates("cell").set_index("cell")["status"]
    ok = [str(cell) for cell, status in statuses.items() if status == Status.OK]
    left_out = _left_out(tables.cells, statuses)
    if not ok:
        raise BadInput(f"{folder.path}: no cell ended ok, so that there is nothing to export: {left_out}")
    cells, samples, memory = (
        table[table["cell"].isin(ok)] for table in (tables.cells, tables.samples, tables.memory)
    )
    _check_times(folder, samples, memory)
    wanted = frozenset(stages or known)
    rows = tables.summary[tables.summary["cell"].isin(ok) & tables.summary["stage"].isin(wanted)]
    found = _benchmarks(rows, cells, samples)
    unusable = [one.name for one in found if min(one.pooled_s) < LEAST_S]
    notes = [f"left out {left_out}"] if left_out else []
    if unusable:
        notes.append(
            f"left out {_some(unusable)}: a sample below {LEAST_S:g} s, as the difference `other` may be, is "
            "no benchmark's"
        )
    if bare := [cell for cell in ok if cell not in {*samples["cell"]}]:
        notes.append(f"no times: {_some(bare)} ended ok without a timed call")
    planned = folder.round_count()
    if planned > len(tables.cells):
        missing = planned - len(tables.cells)
        notes.append(f"the run is not whole: {missing} of {planned} rounds are still to come")
    return Export(
        folder=folder,
        stages=wanted,
        cells=cells,
        samples=samples,
        memory=memory,
        benchmarks=tuple(one for one in found if min(one.pooled_s) >= LEAST_S),
        notes=tuple(notes),
    )


def _line(text: str) -> str | None:
    return one_line(text).strip() or None


def _benchmarks(rows: pd.DataFrame, cells: pd.DataFrame, samples: pd.DataFrame) -> list[Benchmark]:
    rounds = {cell: rows_of(own) for cell, own in cells.groupby("cell")}
    by_stage = dict(iter(samples.groupby(["cell", "pass", "stage", "round"])))
    found = []
    for row in rows_of(rows):
        taken = []
        for cell in rounds[row["cell"]]:
            own = by_stage.get((row["cell"], row["pass"], row["stage"], cell["round"]), samples[:0])
            own = own.dropna(subset=[f"{row['clock']}_s"])
            is_steady = own["phase"] == Phase.STEADY
            steady, before = (own.loc[of, f"{row['clock']}_s"].tolist() for of in (is_steady, ~is_steady))
            if steady:
                taken.append(Round(cell=cell, steady_s=tuple(steady), before_s=tuple(before)))
        found.append(Benchmark(row=row, rounds=tuple(taken)))
    return found


def _check_times(folder: RunFolder, samples: pd.DataFrame, memory: pd.DataFrame) -> None:
    """Raise BadInput for a time that is too long for an export."""
    ends = samples["start_s"] + samples[["wall_s", "device_s"]].max(axis=1)
    for table, times in ((samples, ends), (memory, memory["elapsed_s"])):
        if len(times) and times.max() > MOST_S:
            row = table.iloc[times.argmax()]
            raise BadInput(
                f"{folder.path}: round {row['round']} of {row['cell']} has a time of {times.max():.3g} s; at "
                f"most {MOST_S:g} s can be exported"
            )


def _left_out(cells: pd.DataFrame, statuses: "pd.Series[str]") -> str:
    """Count the cells that did not end ok, with their reasons; empty where there are none."""
    counts = Counter(status for status in statuses if status != Status.OK)
    parts = []
    for status, count in counts.items():
        worst = cells[(cells["status"] == status) & (cells["cell"].map(statuses) == status)]
        reasons = worst.drop_duplicates("cell")["reason"].replace("", "no reason given").unique()
        parts.append(f"{count} {status} ({_some(list(reasons), '; ')})")
    return f"{counts.total()} of {len(statuses)} cells: {', '.join(parts)}" if parts else ""


def _some(texts: Sequence[str], between: str = ", ") -> str:
    """Join the first of several, and count the others."""
    shown = between.join(texts[:MAX_REASONS])
    return shown if len(texts) <= MAX_REASONS else f"{shown} and {len(texts) - MAX_REASONS} more"
