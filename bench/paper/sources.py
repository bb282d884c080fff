"""The tables that claims and figures are made from: the paper's, and those of each method on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import pandas as pd

from bench.grid.spans import FORWARD
from bench.machine.environment import in_short
from bench.paper.experiments import (
    BEYOND,
    BEYOND_KEY,
    EXPERIMENTS,
    FAULTS_KEY,
    Fault,
    Method,
    Request,
    method_of,
    runs_of,
)
from bench.places import PACKAGE, ROOT
from bench.records import Phase, Status
from bench.reporting.runs import one_table
from bench.results.run_folder import RunFolder
from bench.results.tables import Row, Tables, rows_of, summary_of
from bench.stats.intervals import Summary


class Role(StrEnum):
    """The built-in backend that a run's backend derives from, whatever the run calls it."""

    CPU = "cpu"
    CUDA = "cuda"
    CUDNN = "cudnn"
    CUDNN_AUTOTUNE = "cudnn_autotune"


PAPER: Final = "paper"
"""The source that is no edition of this machine."""

PAPER_NAMES: Final = {Role.CPU: "CPU", Role.CUDNN: "CUDA", Role.CUDNN_AUTOTUNE: "cuDNN"}
"""The paper's own names: its "CUDA" never switched cuDNN off, and its "cuDNN" is cuDNN autotuned."""

PUBLISHED: Final = (PACKAGE / "paper" / "published", ROOT / "results" / "paper-tesla-k80")
"""The paper's measurements as a run: in a wheel, and in a clone."""

NO_DEVICE: Final = ("no CUDA", "no device cuda")
"""How the reasons of cells begin that were skipped for want of a GPU (bench.measure.backends)."""

UNSYNCHRONISED: Final = (
    "the clock was read without waiting for the GPU, so that its times may be those of launching the work"
)


class NotKnownError(Exception):
    """A source lacks a value; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell that ended well: its rows of the run's tables."""

    name: str
    role: Role
    backend: str  # as the run calls it
    frames: int
    size: str  # height and width of a frame
    pixels: int  # of the whole clip
    tables: Tables

    def stage(self, stage: str = FORWARD) -> Row:
        """Return the stage's row of summary.csv. Raises NotKnownError where it was not timed."""
        rows = self._of(self.tables.summary)
        rows = rows[rows["stage"] == stage]
        if not len(rows):
            raise NotKnownError(f"{stage} of {self.backend} was not timed")
        return rows_of(rows)[0]

    def summary(self, stage: str = FORWARD) -> Summary:
        """Return the stage's seconds. Raises NotKnownError where it was not timed."""
        return summary_of(self.stage(stage))

    def column(self, name: str) -> float:
        """Return a value of cells.csv, the worst of the rounds. Raises NotKnownError where there is none."""
        values = self._of(self.tables.cells)[name].dropna()
        if not len(values):
            raise NotKnownError(f"{name} of {self.backend} was not measured")
        return float(values.max())

    def rows(self, table: str) -> pd.DataFrame:
        """Return the rows of a table, of the first round that has any."""
        rows = self._of(getattr(self.tables, table))
        first: pd.DataFrame = rows[rows["round"] == rows["round"].min()]
        return first

    def calls(self) -> list[tuple[float, list[float]]]:
        """Return each round's calls in seconds: the first, and those after it that count."""
        samples = self._of(self.tables.samples).query("`pass` == 'end_to_end' and stage == 'forward'")
        rounds = []
        for _, own in samples.sort_values("start_s", kind="stable").groupby("round", sort=True):
            later = own.iloc[1:]
            rounds.append((own["wall_s"].iloc[0], list(later.loc[later["phase"] == Phase.STEADY, "wall_s"])))
        return rounds

    def _of(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["cell"] == self.name]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, or that part of one which is an experiment of the paper."""

    tables: Tables
    roles: Mapping[str, Role]  # by the backend's name
    method: Method | None = None  # of the paper's script; None: measured as any run is
    blind: bool = False  # its times of a GPU count as not measured

    @classmethod
    def of(cls, folder: RunFolder) -> "Run":
        """Return a folder's run."""
        roles = {backend.name: Role(backend.origin) for backend in folder.experiment.backends}
        return cls(tables=folder.tables(), roles=roles, method=method_of(folder.environment.get("method")))

    def cells(self, role: Role | None = None, *, name: str | None = None) -> list[Cell]:
        """Return the cells of a role, or of the backend of that name, that ended well, shortest clip first.

        Raises NotKnownError where there is none, with the reason of one that did not.
        """
        rows = self.tables.summary.drop_duplicates("cell")
        rows = rows[rows["backend"].map(lambda own: self._is_meant(own, role, name))]
        if not len(rows):
            raise NotKnownError(f"there is no backend {name or role}")
        good = rows[rows["status"] == Status.OK].sort_values("frames", kind="stable")
        if not len(good):
            raise NotKnownError("; ".join(self.missing(role, name=name)))
        if self.blind and role not in (None, Role.CPU):
            raise NotKnownError(UNSYNCHRONISED)
        return [
            Cell(
                name=str(row["cell"]), role=self.roles[row["backend"]], backend=str(row["backend"]),
                frames=int(row["frames"]), size=f"{row['height']}×{row['width']}", tables=self.tables,
                pixels=int(row["batch"] * row["frames"] * row["height"] * row["width"]),
            )
            for row in good.to_dict("records")
        ]  # fmt: skip

    def _is_meant(self, backend: str, role: Role | None, name: str | None) -> bool:
        return role in (None, self.roles[backend]) and name in (None, backend)

    def missing(self, role: Role | None = None, *, name: str | None = None) -> list[str]:
        """Return why cells did not end well, each reason once with the backends that it is of."""
        cells = self.tables.cells
        cells = cells[
            (cells["status"] != Status.OK) & cells["backend"].map(lambda own: self._is_meant(own, role, name))
        ]
        return [
            f"no GPU ({reason})"
            if str(reason).startswith(NO_DEVICE)
            else f"{', '.join(own['backend'].unique())} ended as {status} ({reason})"
            for (status, reason), own in cells.groupby(["status", "reason"], sort=False)
        ]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The paper's experiments by one source; those that were not run are not among `runs`."""

    name: str  # `paper`, or an edition
    machine: str  # in a few words
    runs: Mapping[str, Run]  # by experiment; of a fault, by its folder below `faults`

    def waited_for(self) -> "Source":
        """Return the source without times of GPUs that nothing waited for: they may be of launching."""
        runs = {
            name: replace(run, blind=Fault.UNSYNCHRONISED in (run.method or ()) and name != "memory")
            for name, run in self.runs.items()
        }
        return replace(self, runs=runs)

    def run(self, experiment: str) -> Run:
        """Return an experiment's run. Raises NotKnownError where there is none."""
        if experiment not in self.runs:
            name, fault, _ = experiment.partition("/")
            key = FAULTS_KEY if fault else BEYOND_KEY if name in BEYOND else ""
            how = f"`--figures {key}`" if key else "the experiment was not run"
            raise NotKnownError(f"the runs of `{name}` ({how})")
        return self.runs[experiment]

    def longest(self, experiment: str, role: Role) -> Cell:
        """Return an experiment's cell of the longest clip. Raises NotKnownError where there is none."""
        return self.run(experiment).cells(role)[-1]

    def backend(self, experiment: str, name: str) -> Cell:
        """Return the longest cell of the backend that an experiment calls so.

        Raises NotKnownError where there is none, with the reason.
        """
        return self.run(experiment).cells(name=name)[-1]


def published() -> Source:
    """Return the paper's own measurements, its methods by its own names."""
    folder = RunFolder.open(next(filter(Path.is_dir, PUBLISHED), PUBLISHED[-1]))
    whole = Run.of(folder)
    for table in (whole.tables.cells, whole.tables.summary, whole.tables.scaling):
        table["backend"] = table["backend"].map(PAPER_NAMES)
    whole = replace(whole, roles={name: role for role, name in PAPER_NAMES.items()})
    summary = whole.tables.summary
    runs = {
        name: replace(whole, tables=_part(whole.tables, summary["input"] == name)) for name in EXPERIMENTS
    }
    return Source(name=PAPER, machine=in_short(folder.environment), runs=runs)


def sources_of(folder: Path, wanted: Request) -> list[Source]:
    """Return the paper, and the methods whose runs are in the folder, the best last.

    Experiments on faults and beyond the paper are of this machine, and stand with the last.
    """
    read = runs_of(folder, wanted)
    sources = [published()]
    for edition in reversed(wanted.methods):
        rooms = (edition, FAULTS_KEY, BEYOND_KEY) if edition == wanted.methods[0] else (edition,)
        runs = {
            name.partition("/")[2]: Run.of(run)
            for name, run in read.items()
            if name.partition("/")[0] in rooms
        }
        if runs:
            machine = in_short(next(iter(read.values())).environment)
            sources.append(Source(name=str(edition), machine=machine, runs=runs))
    return sources


def together(
    sources: Sequence[Source], experiment: str, *, frames: int | None = None, gpus: bool = False
) -> Tables | None:
    """Return the tables of an experiment of all sources as those of several runs.

    With `frames` only cells of so many, with `gpus` only those on one. None where no source has any.
    """
    parts = {}
    for source in sources:
        if (run := source.runs.get(experiment)) is not None:
            summary = run.tables.summary
            wanted = (summary["frames"] == frames) | (frames is None)
            wanted &= (summary["backend"].map(run.roles) != Role.CPU) | (not gpus)
            parts[source.name] = _part(run.tables, wanted)
    return one_table(parts) if any(len(part.cells) for part in parts.values()) else None


def _part(tables: Tables, wanted: "pd.Series[bool]") -> Tables:
    """Return the rows of the cells that are wanted of the summary."""
    cells = set(tables.summary.loc[wanted, "cell"])
    kept = {of.name: getattr(tables, of.name) for of in fields(Tables)}
    for name, table in kept.items():
        if "cell" in table:
            kept[name] = table[table["cell"].isin(cells)]
    return Tables(**kept)
