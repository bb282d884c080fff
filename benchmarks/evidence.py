"""What the scripts of this folder share: keeping what they measured, and the pages that quote it.

Figures are always made from what was kept, so that a page can be made anew without measuring again.
"""

import argparse
import gzip
import json
import math
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import NormalDist
from types import TracebackType
from typing import Any, Final, Self

import pandas as pd

from bench.grid.plan import Job
from bench.machine import environment
from bench.messages import Progress
from bench.process.launcher import Launcher
from bench.records import CellRecord
from bench.statistics.stats import CONFIDENCE
from vsr_model.errors import BadInput

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT / "benchmarks" / "data"
PAGE: Final = ROOT / "docs" / "agreement.md"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Raw samples and what explains them (bench.machine.environment)."""

    samples: pd.DataFrame
    environment: Mapping[str, Any]


def keep(evidence: Evidence, folder: Path, name: str) -> None:
    """Write <name>.csv.gz and <name>.environment.json. Raises BadInput where they cannot be written."""
    text = evidence.samples.to_csv(index=False, lineterminator="\n", float_format="%.9f")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # No time of writing inside, so that equal samples are equal files.
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        described = json.dumps(evidence.environment, indent=2) + "\n"
        (folder / f"{name}.environment.json").write_text(described, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written to ({error.strerror})") from error


def read(folder: Path, name: str, columns: Sequence[str]) -> Evidence:
    """What `keep` wrote. Raises BadInput for what is not there or is something else."""
    path = folder / f"{name}.csv.gz"
    try:
        samples = pd.read_csv(StringIO(gzip.decompress(path.read_bytes()).decode()))
        described = json.loads((folder / f"{name}.environment.json").read_text(encoding="utf-8"))
    except (gzip.BadGzipFile, zlib.error, ValueError, EOFError) as error:
        raise BadInput(f"{path}: not what this script keeps ({error})") from error
    except OSError as error:
        raise BadInput(f"{error.filename or path}: {error.strerror or error}") from error
    if list(samples.columns) != list(columns):
        raise BadInput(f"{path}: has the columns {', '.join(samples.columns)}, not {', '.join(columns)}")
    return Evidence(samples=samples, environment=described)


def put_into(page: Path, name: str, text: str) -> None:
    """Replace what stands between the page's markers of that name. Raises BadInput where it has none."""
    begin, end = markers(name)
    try:
        before, found, rest = page.read_text(encoding="utf-8").partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise BadInput(f"{page}: has no place for {name} ({begin} ... {end})")
        page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{page}: {error.strerror or error}") from error


def markers(name: str) -> tuple[str, str]:
    """What a page has around the figures of a script."""
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def source_line(described: Mapping[str, Any], command: str) -> str:
    """Where figures come from: machine, versions, commit, and the command that makes them."""
    commit = str(described.get("git_commit") or "unknown")
    short = commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")
    return f"{environment.in_short(described)}; commit {short}. Made by `{command}`."


def describe(connection: Connection) -> None:
    """A worker that says what torch and its devices are."""
    from bench.measure.backends import describe_devices  # noqa: PLC0415 - torch is the workers' alone

    connection.send(describe_devices())


def environment_of(launcher: Launcher, variables: Mapping[str, str]) -> dict[str, Any]:
    """What explains the figures of this launcher's workers."""
    worker = launcher.spawn(f"{__name__}:{describe.__name__}")
    with worker.connection as connection:
        torch_side = connection.recv()
    launcher.exit_status(worker)
    return {**environment.collect(torch_side, variables), "git_commit": code_commit()}


def code_commit() -> str | None:
    """The commit that is checked out, `-dirty` where files differ that are not what these scripts write."""
    written = (":(exclude)docs", ":(exclude)benchmarks/data")
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    ended = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    return ended.stdout.strip()


class Silent:
    """An observer of a run that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was shown."""

    def job_started(self, job: Job) -> None:
        """Not shown."""

    def job_progressed(self, job: Job, progress: Progress) -> None:
        """Not shown."""

    def job_ended(self, job: Job, record: CellRecord) -> None:
        """Not shown."""


def say(text: str) -> None:
    """Progress, apart from the figures."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in n independent trials (Wilson 1927).

    `share * n` need not be whole: a share of cells may stand for a trial of several.
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--output", type=Path, default=DATA, help="folder of samples and environment")
    made.add_argument("--quick", action="store_true", help="too little to quote, to see that it works")
    made.add_argument("--report", action="store_true", help="measure nothing: figures of what was kept")
    made.add_argument("--write-docs", action="store_true", help="put the figures into their page of docs")
    return made


def conduct(
    options: argparse.Namespace,
    name: str,
    *,
    columns: Sequence[str],
    measure: Callable[[argparse.Namespace], Evidence],
    render: Callable[[Evidence], str],
    page: Path = PAGE,
) -> int:
    """Measure and keep, or read what was kept; print the figures. The exit status."""
    try:
        if options.quick and (options.write_docs or options.output == DATA):
            raise BadInput(
                "--quick: too little for the docs and for benchmarks/data; give --output and no --write-docs"
            )
        if not options.report:
            keep(measure(options), options.output, name)
        text = render(read(options.output, name, columns))
        if options.write_docs:
            put_into(page, name, text)
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(text.strip() + "\n")
    return 0
