"""What claims and figures are made from: the paper, or a method on this machine, as ordinary tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

import pandas as pd

from bench.grid.config import Experiment
from bench.paper.method import Method
from bench.records import Phase, Status
from bench.results.analysis import Tables


class Role(StrEnum):
    """What a backend is, whatever a run calls it: the backend that it derives from."""

    CPU = "cpu"
    CUDA = "cuda"
    CUDNN = "cudnn"
    CUDNN_AUTOTUNE = "cudnn_autotune"


PAPER_NAMES: Final = {Role.CPU: "CPU", Role.CUDNN: "CUDA", Role.CUDNN_AUTOTUNE: "cuDNN"}
"""What the paper calls them: its "CUDA" never switched cuDNN off, and its "cuDNN" is cuDNN autotuned."""

NO_DEVICE: Final = ("no CUDA", "no device cuda")
"""How the reasons of cells begin that were skipped for want of a GPU (bench.measure.backends)."""


UNSYNCHRONISED: Final = (
    "the clock was read without waiting for the GPU, so that its times may be those of launching the work"
)


class NotKnownError(Exception):
    """What a source lacks; the text says what."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell that ended well: its rows of the run's tables."""

    name: str
    role: Role
    backend: str  # as the run calls it
    batch: int
    frames: int
    height: int
    width: int
    run: "Run"

    def stage(self, stage: str = "forward") -> Mapping[str, Any]:
        """Return the stage's row of summary.csv. Raises NotKnownError where it was not timed."""
        summary = self.run.tables.summary
        rows = summary[(summary["cell"] == self.name) & (summary["stage"] == stage)]
        if not len(rows):
            raise NotKnownError(f"{stage} of {self.backend} was not timed")
        return {str(name): value for name, value in rows.iloc[0].items()}

    def column(self, name: str) -> float:
        """Return a figure of cells.csv, the worst of the rounds. Raises NotKnownError where there is none."""
        cells = self.run.tables.cells
        values = cells.loc[cells["cell"] == self.name, name].dropna()
        if not len(values):
            raise NotKnownError(f"{name} of {self.backend} was not measured")
        return float(values.min() if name == "output_psnr_db" else values.max())

    def rows(self, table: str) -> pd.DataFrame:
        """Return the rows of a table, of the first round that has any."""
        rows: pd.DataFrame = getattr(self.run.tables, table)
        rows = rows[rows["cell"] == self.name]
        first: pd.DataFrame = rows[rows["round"] == rows["round"].min()]
        return first

    def calls(self) -> list[tuple[list[float], list[float]]]:
        """Return each round's calls in seconds: the first, and those after it that count."""
        samples = self.run.tables.samples
        samples = samples[
            (samples["cell"] == self.name)
            & (samples["pass"] == "end_to_end")
            & (samples["stage"] == "forward")
        ].sort_values("start_s", kind="stable")
        rounds = []
        for _, own in samples.groupby("round", sort=True):
            later = own.iloc[1:]
            later = later[later["phase"] == Phase.STEADY]
            rounds.append((list(own["wall_s"].iloc[:1]), list(later["wall_s"])))
        return rounds


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, or that part of one which is an experiment of the paper."""

    tables: Tables
    roles: Mapping[str, Role]  # by the backend's name
    method: Method | None  # of the paper's script; None: measured as any run is
    blind: bool = False  # its times of a GPU count as not measured

    @classmethod
    def of(cls, tables: Tables, experiment: Experiment, environment: Mapping[str, Any]) -> "Run":
        roles = {spec.name: Role(spec.from_ or spec.name) for spec in experiment.backends}
        return cls(tables=tables, roles=roles, method=Method.of(environment.get("method")))

    def only(self, input_: str) -> "Run":
        """Return the part that is of one input."""
        cells = set(self.tables.summary.loc[self.tables.summary["input"] == input_, "cell"])
        kept = {
            field.name: table[table["cell"].isin(cells)] if "cell" in table else table
            for field in fields(Tables)
            for table in (getattr(self.tables, field.name),)
        }
        return replace(self, tables=Tables(**kept))

    def cells(self, role: Role | None = None) -> list[Cell]:
        """Return the cells that ended well, shortest clip first.

        Raises NotKnownError where there is none, with the reason of one that did not.
        """
        rows = self.tables.summary.drop_duplicates("cell")
        rows = rows[rows["backend"].map(lambda name: role in (None, self.roles[name]))]
        if not len(rows):
            raise NotKnownError(f"there is no backend {role}")
        good = rows[rows["status"] == Status.OK].sort_values("frames", kind="stable")
        if not len(good):
            raise NotKnownError("; ".join(self.missing(role)))
        if self.blind and role not in (None, Role.CPU):
            raise NotKnownError(UNSYNCHRONISED)
        return [
            Cell(
                name=str(row["cell"]), role=self.roles[row["backend"]], backend=str(row["backend"]),
                batch=int(row["batch"]), frames=int(row["frames"]), height=int(row["height"]),
                width=int(row["width"]), run=self,
            )
            for row in good.to_dict("records")
        ]  # fmt: skip

    def missing(self, role: Role | None = None) -> list[str]:
        """Return why cells did not end well, each reason once with the backends that it is of."""
        cells = self.tables.cells
        backends: dict[tuple[str, str], dict[str, None]] = {}
        for row in cells[cells["status"] != Status.OK].to_dict("records"):
            if role in (None, self.roles[row["backend"]]):
                backends.setdefault((row["status"], str(row["reason"])), {})[row["backend"]] = None
        return [
            f"no GPU ({reason})"
            if reason.startswith(NO_DEVICE)
            else f"{', '.join(names)} ended as {status} ({reason})"
            for (status, reason), names in backends.items()
        ]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The paper's experiments as one source tells them; those that were not run are not among `runs`."""

    name: str  # paper | faithful | corrected
    machine: str  # in a few words
    version: str  # of bench.paper.experiments.VERSIONS
    runs: Mapping[str, Run]  # by experiment; of a fault, by its folder below `faults`

    def waited_for(self) -> "Source":
        """Return the source without times of GPUs that nothing waited for: they may be of launching."""
        runs = {
            name: replace(
                run, blind=run.method is not None and run.method.unsynchronised and name != "memory"
            )
            for name, run in self.runs.items()
        }
        return replace(self, runs=runs)

    def run(self, experiment: str) -> Run:
        """Return an experiment's run. Raises NotKnownError where there is none."""
        if experiment not in self.runs:
            name, fault, _ = experiment.partition("/")
            how = "`--figures faults`" if fault else "the experiment was not run"
            raise NotKnownError(f"the runs of `{name}` ({how})")
        return self.runs[experiment]


def together(
    sources: Sequence[Source], experiment: str, *, frames: int | None = None, gpus: bool = False
) -> Tables | None:
    """Return the tables of an experiment of all sources, each backend called by its source, too.

    With `frames` only cells of so many, with `gpus` only those on one. None where no source has any.
    """
    parts = [
        _renamed(source.name, run, frames, gpus)
        for source in sources
        if (run := source.runs.get(experiment)) is not None
    ]
    merged = {}
    for field in fields(Tables):
        filled = [part[field.name] for part in parts if len(part[field.name])]
        filled = filled or [part[field.name] for part in parts[:1]]  # for its columns
        merged[field.name] = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return Tables(**merged) if len(merged["cells"]) else None


def _renamed(source: str, run: Run, frames: int | None, gpus: bool) -> dict[str, pd.DataFrame]:
    """Return the tables of a run, of the cells that are wanted, with its name in each cell and backend."""
    summary = run.tables.summary
    wanted = (summary["frames"] == frames) | (frames is None)
    wanted &= (summary["backend"].map(run.roles) != Role.CPU) | (not gpus)
    cells = set(summary.loc[wanted, "cell"])
    renamed = {}
    for field in fields(Tables):
        table = getattr(run.tables, field.name)
        if "cell" in table:
            table = table[table["cell"].isin(cells)].copy()
            table["cell"] = table["cell"] + f" ({source})"
        if "backend" in table:
            table["backend"] = f"{source}: " + table["backend"]
        renamed[field.name] = table
    return renamed
