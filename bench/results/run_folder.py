"""A run's folder: what is written there, and how it is read again.

config.yaml  environment.json  run.json  journal.jsonl      made before the first cell
profiles/*.json.gz                                          made by each round that has a profiler pass
ceilings.jsonl                                              before the first cell
cells.csv samples.csv memory.csv summary.csv perturbation.csv                       derived
[scaling.csv memory_lines.csv kernels.csv ceilings.csv roofline.csv]                derived
plots/*.png *.svg  report.md report.html                                            derived
"""

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ValidationError

from bench.grid import config, plan
from bench.grid.baseline import Baseline
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.grid.yaml_source import read
from bench.records import (
    CEILINGS_NAME,
    JOURNAL_NAME,
    SCHEMA_VERSION,
    CellRecord,
    Journal,
    read_ceilings,
    read_journal,
)
from bench.results import identity
from bench.results.files import bad_field, read_json, to_csv, write_whole
from bench.results.identity import CodeVersion, differing_facts, facts, lasting, shown
from bench.results.roofline import with_roofline
from bench.results.tables import AXES, Tables, tables_of
from vsr_model.errors import BadInput
from vsr_model.frame_files import frame_files

CONFIG_NAME: Final = "config.yaml"
ENVIRONMENT_NAME: Final = "environment.json"
RUN_NAME: Final = "run.json"
REFERENCES_NAME: Final = ".references"
PROFILES_NAME: Final = "profiles"

TABLES: Final = (
    "summary", "scaling", "cells", "samples", "memory", "memory_lines", "kernels", "perturbation", "roofline",
    "ceilings", "telemetry", "warnings",
)  # fmt: skip
"""The tables that are written, in the order in which a reader wants them."""

ONLY_WITH_ROWS: Final = ("scaling", "memory_lines", "kernels", "ceilings", "roofline")
"""Those of what only some runs ask for."""

FILES: Final = (
    *(f"{name}.csv" for name in (TABLES[0], "ladder", *TABLES[1:])),
    JOURNAL_NAME, CEILINGS_NAME, ENVIRONMENT_NAME, CONFIG_NAME,
)  # fmt: skip
"""The files that a page links, in the order in which a reader wants them."""


class About(BaseModel):
    """The content of run.json.

    Fields that were added later are optional, so that older runs can be rebuilt.
    """

    schema_version: int
    started_at: str
    filters: tuple[str, ...]
    files: dict[str, str]
    config_sha256: str | None = None
    code_version: CodeVersion | None = None
    environment_sha256: str | None = None
    config: dict[str, Any] | None = None  # as config.yaml began


def read_about(path: Path) -> About:
    """Read run.json. Raises BadInput for one that is not of this version."""
    data = read_json(path)
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    try:
        return About.model_validate(data)
    except ValidationError as error:
        raise bad_field(path, error) from None


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder that holds a run, begun or finished."""

    path: Path
    experiment: Experiment
    environment: Mapping[str, Any]
    started_at: str  # UTC, ISO 8601
    filters: tuple[str, ...]
    files: Mapping[str, str]  # SHA-256 by what they are of (file_digests)
    begun_with: Mapping[str, Any] | None = None  # the configuration, as run.json keeps it
    code: CodeVersion | None = None  # that the run began with

    @classmethod
    def create(
        cls,
        path: Path,
        experiment: Experiment,
        environment: Mapping[str, Any],
        filters: Sequence[str],
        code: CodeVersion | None = None,
    ) -> Self:
        """Make the folder with all that is known before the first cell. Raises BadInput if it is taken.

        `code`: what measures, where the network is not this program's own.
        """
        check_free(path)
        files = file_digests(experiment)
        resolved = config.resolved(experiment, path)
        code = code or identity.code_version(environment.get("git_commit"))
        about = About(
            schema_version=SCHEMA_VERSION,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            filters=tuple(filters),
            files=files,
            config_sha256=identity.config_sha256(resolved, files),
            code_version=code,
            environment_sha256=identity.environment_sha256(environment),
            config=resolved,
        )
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        claimed = False
        try:
            path.mkdir(parents=True, exist_ok=True)
            # First of all, and only by one: of two runs that begin here at once the other is refused.
            (path / JOURNAL_NAME).touch(exist_ok=False)
            claimed = True
            write_whole(path / CONFIG_NAME, config.dump(experiment, path))
            write_whole(path / ENVIRONMENT_NAME, json.dumps(environment, indent=2) + "\n")
            write_whole(path / RUN_NAME, json.dumps(about.model_dump(mode="json"), indent=2) + "\n")
        except BaseException as error:
            if claimed:
                for name in (CONFIG_NAME, ENVIRONMENT_NAME, RUN_NAME, JOURNAL_NAME):
                    (path / name).unlink(missing_ok=True)
            for folder in new:
                with suppress(OSError):
                    folder.rmdir()
            if isinstance(error, FileExistsError):
                raise _taken(path) from None
            if isinstance(error, OSError):
                raise BadInput(f"{path}: cannot be written to ({error.strerror})") from error
            raise
        return cls(
            path=path,
            experiment=experiment,
            environment=environment,
            started_at=about.started_at,
            filters=about.filters,
            files=files,
            begun_with=resolved,
            code=code,
        )

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder that holds a run. Raises BadInput for one without, or of another version."""
        if not (path / JOURNAL_NAME).is_file():
            raise BadInput(f"{path}: holds no run (there is no {JOURNAL_NAME} in it)")
        if not (path / RUN_NAME).exists() and not (path / JOURNAL_NAME).stat().st_size:
            raise BadInput(
                f"{path}: holds a run that was ended before its first cell; remove it, and run anew"
            )
        about = read_about(path / RUN_NAME)
        experiment, _ = config.load(path / CONFIG_NAME)
        return cls(
            path=path,
            experiment=experiment,
            environment=read_json(path / ENVIRONMENT_NAME),
            started_at=about.started_at,
            filters=about.filters,
            files=about.files,
            begun_with=about.config,
            code=about.code_version,
        )

    def check_config(self, given: Experiment | None = None) -> None:
        """Check that config.yaml and the experiment `given`, if any, are what the run began with.

        Raises BadInput that names the first difference. Arguments of a network that are not given are the
        run's.
        """
        if self.begun_with is None:
            raise BadInput(
                f"{self.path / RUN_NAME}: config: is missing; what the run began with is not known"
            )
        try:
            # By way of the folder, as it lies now: of `..` beyond the root nothing is left.
            begun_with = config.resolved(
                config.in_folder(config.of_plain(self.begun_with), self.path.resolve()), self.path
            )
        except ValidationError as error:
            raise bad_field(self.path / RUN_NAME, error, "config") from None
        for name, experiment in ((CONFIG_NAME, self.experiment), ("the CONFIG given", given)):
            if experiment is None:
                continue
            now = config.resolved(experiment, self.path)
            if experiment is given:
                now["model"] = _filled(now["model"], begun_with["model"])
            for field, (was, is_now) in differing_facts([facts(begun_with), facts(now)]).items():
                raise BadInput(
                    f"{self.path}: begun with {field}: {shown(was)}, and {name} has {shown(is_now)}; a run "
                    "goes on only as it began"
                )
            if begun_with != now:  # such as a network's argument 1, which was "1"
                raise BadInput(
                    f"{self.path}: begun with values of other types than those in {name}; a run goes on only "
                    "as it began"
                )

    def check_same(
        self, environment: Mapping[str, Any], *, but: Sequence[str] = (), code: CodeVersion | None = None
    ) -> None:
        """Check that going on here does not mix machines, versions, weights or clips in one run.

        Raises BadInput where it would.

        `but`: fields of the environment that may differ. `code`: as of `create`."""
        machines = [facts(lasting(one), but) for one in (self.environment, environment)]
        for field, (was, is_now) in differing_facts(machines).items():
            raise BadInput(
                f"{self.path}: begun with another {field} ({shown(was)}) than here ({shown(is_now)}); a run "
                "goes on only where it began"
            )
        code = code or identity.code_version(environment.get("git_commit"))
        if self.code is not None and self.code.source_sha256 != code.source_sha256:
            raise BadInput(
                f"{self.path}: begun with other code ({self.code.in_short}) than this ({code.in_short}); "
                f"a run goes on only with the code that it began with"
            )
        for name, digest in file_digests(self.experiment).items():
            if self.files.get(name) != digest:
                raise BadInput(f"{self.path}: the file of {name!r} has changed since the run began")

    def named(self, place: Sequence[str]) -> str:
        """Name a field of config.yaml for a message, with its line."""
        return read(self.path / CONFIG_NAME).named(place)

    @property
    def baseline(self) -> Baseline:
        return Baseline.of(self.experiment.baseline or self.experiment.backends[0].name)

    @property
    def references(self) -> Path:
        """The folder of CPU float32 results, which are kept while the run goes on."""
        return self.path / REFERENCES_NAME

    @property
    def profiles(self) -> Path:
        """The folder of profilers' traces, for measure.profile."""
        return self.path / PROFILES_NAME

    def cells(self) -> list[Cell]:
        """Return the cells that the run measures."""
        return plan.cells(self.experiment, self.filters)

    def round_count(self) -> int:
        """Return the number of rounds of all cells that the run measures."""
        return plan.round_count(self.cells(), self.experiment.measure)

    def records(self) -> list[CellRecord]:
        """Read the journal's records in the order of the plan.

        Skipped cells end first, and are moved to their place.
        """
        planned = {cell.id: (place, cell) for place, cell in enumerate(self.cells())}
        records = read_journal(self.path / JOURNAL_NAME)
        for line, record in enumerate(records, start=1):
            where = f"{self.path / JOURNAL_NAME}:{line}: round {record.round} of {record.cell}"
            _, cell = planned.get(record.cell, (0, None))
            if cell is None or record.round >= cell.rounds(self.experiment.measure):
                raise BadInput(f"{where} is not one that {CONFIG_NAME} plans")
            axes = (cell.model.name, cell.input.name, cell.batch, cell.frames, cell.height, cell.width)
            for name, value in zip(AXES, (*axes, cell.backend.name), strict=True):
                if getattr(record, name) != value:
                    raise BadInput(f"{where} has the {name} {getattr(record, name)}, and not {value}")
        return sorted(records, key=lambda record: (planned[record.cell][0], record.round))

    def journal(self) -> Journal:
        """Open the journal to append to it, and cut off a torn last line.

        Raises BadInput if a run is going on, and, before anything is changed, as `records` does.
        """
        self.records()
        try:
            return Journal(self.path / JOURNAL_NAME)
        except BlockingIOError:
            raise BadInput(f"{self.path}: another run is writing to it") from None

    def written(self) -> list[Path]:
        """Return the tables and their source files that exist."""
        return [path for name in FILES if (path := self.path / name).is_file()]

    def check_tables(self, tables: Tables) -> None:
        """Check that the CSV tables beside the journal are whole: a copy may have been cut off.

        Raises BadInput for one that ends within a line, or lacks rows that `tables` have. A missing table
        was not derived yet, or not copied, and is no fault.
        """
        names = ("cells", "samples", "memory", "telemetry", "kernels")
        expected = {f"{name}.csv": len(getattr(tables, name)) for name in names}
        for table in (path for path in self.written() if path.suffix == ".csv"):
            try:
                text = table.read_bytes().decode("utf-8")
            except (OSError, ValueError) as error:
                raise BadInput(f"{table}: cannot be read as a table ({error})") from None
            rows = _rows(text)
            fault = "ends in the middle of a line" if rows is None else ""
            if not fault and rows != expected.get(table.name, rows):
                fault = f"has {rows} rows where the journal's records give {expected[table.name]}"
            if fault:
                raise BadInput(
                    f"{table}: {fault}; vsr-bench rebuild {self.path} makes the tables anew from the journal"
                )

    def tables(self, records: Sequence[CellRecord] | None = None) -> Tables:
        """Derive every table from the journal, or from `records`, and the ceilings. Nothing is written."""
        known = self.records() if records is None else records
        tables = tables_of(known, self.baseline, self.environment)
        return with_roofline(tables, self.experiment, read_ceilings(self.path))

    def write_tables(self) -> Tables:
        """Derive the CSV tables from the journal and write them."""
        tables = self.tables()
        for name in TABLES:
            table, path = getattr(tables, name), self.path / f"{name}.csv"
            if len(table) or name not in ONLY_WITH_ROWS:
                write_whole(path, to_csv(table))
            else:
                path.unlink(missing_ok=True)
        return tables


def _rows(text: str) -> int | None:
    """Return the rows of a CSV below its header; None where the last is incomplete."""
    if not text.endswith("\n"):
        return None
    csv.field_size_limit(2**27)
    try:
        return sum(1 for _ in csv.reader(text.splitlines(keepends=True), strict=True)) - 1
    except csv.Error:
        return None


def _filled(given: Sequence[dict[str, Any]], begun_with: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the networks with the arguments that a run has written out."""
    known = {
        model["name"]: {name: value for name, value in model.items() if name not in ("seed", "checkpoint")}
        for model in begun_with
    }
    return [{**known.get(model["name"], {}), **model} for model in given]


def file_digests(experiment: Experiment) -> dict[str, str]:
    """Return the SHA-256 of each media file by its input's name, each checkpoint and each imported class's
    file; for a folder of frames, that of its frames' in order.
    """
    paths = {item.name: item.path for item in experiment.input if not isinstance(item, config.RandomInput)}
    for model in experiment.models:
        if model.checkpoint is not None:
            paths[checkpoint_of(model.name)] = model.checkpoint
        if model.import_ is not None and (source := model.source_file()) is not None:
            paths[f"import of {model.name}"] = str(source)
    digests = {}
    for name, path in paths.items():
        frames = frame_files(Path(path))
        if frames is None:
            digests[name] = _sha256(Path(path)).hexdigest()
        else:
            each = b"".join(_sha256(frame).digest() for frame in frames.paths)
            digests[name] = hashlib.sha256(each).hexdigest()
    return digests


def _sha256(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def checkpoint_of(model: str) -> str:
    """Return the name of a network's checkpoint among the digests of run.json."""
    return f"checkpoint of {model}"


def is_begun(path: Path) -> bool:
    """Return whether the folder holds a run that can be continued."""
    return (path / RUN_NAME).is_file() and (path / JOURNAL_NAME).is_file()


def clear_unbegun(path: Path) -> None:
    """Remove the files of a run that was ended before its first cell, and nothing else.

    Raises BadInput where there is more: it is someone's.
    """
    if not path.exists():
        return
    made = {CONFIG_NAME, ENVIRONMENT_NAME, RUN_NAME, JOURNAL_NAME}
    found = list(path.iterdir()) if path.is_dir() else []
    known = [file for file in found if file.name in made or file.name.endswith(".partial")]
    journal = path / JOURNAL_NAME
    if not path.is_dir() or len(known) < len(found) or (journal.is_file() and journal.stat().st_size):
        raise BadInput(
            f"{path}: holds no run that can be gone on with, and more than one leaves before its first cell; "
            f"remove it, or put back what is missing of {JOURNAL_NAME} and {RUN_NAME}"
        )
    for file in known:
        file.unlink()


def check_free(path: Path) -> None:
    """Check that a new run may use the path. Raises BadInput where it may not."""
    if path.is_symlink() and not path.exists():
        raise BadInput(f"{path}: is a link that leads nowhere; a run needs a folder that is new or empty")
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path}: is a file; a run needs a folder that is new or empty")
    if (path / JOURNAL_NAME).exists():
        raise _taken(path)
    if path.is_dir() and any(path.iterdir()):
        raise BadInput(f"{path}: is not empty; a run needs a folder that is new or empty")
    parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not parent.is_dir():
        raise BadInput(f"{path}: cannot be made, since {parent} is a file")
    if not os.access(parent, os.W_OK):
        raise BadInput(f"{path}: cannot be made, since {parent} is not writable")


def _taken(path: Path) -> BadInput:
    return BadInput(f"{path}: holds a run already; name another folder, or go on with it by --resume {path}")


def free_path(name: str, root: Path = Path("results")) -> Path:
    """Return results/<name>-<UTC time>, with a number appended where that exists."""
    stem = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    path, number = root / stem, 2
    while path.exists() or path.is_symlink():  # a link that leads nowhere is taken, too
        path, number = root / f"{stem}-{number}", number + 1
    return path


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, with as many parent folders as make it unique.

    The paths are absolute, and differ.
    """
    names = []
    for path in paths:
        others = [other.parts for other in paths if other != path]
        for count in range(1, len(path.parts) + 1):
            own = path.parts[-count:]
            if all(other[-count:] != own for other in others):
                break
        names.append("/".join(own))
    return names
