"""Samples on disk, the tables made of them, and the page that quotes the tables.

A table is always made from the samples that were kept, so that it can be made anew without measuring.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bench.machine import environment
from bench.measure import preflight
from bench.places import ROOT
from bench.process.launcher import Launcher
from bench.reporting import markdown
from bench.stats.intervals import Summary
from vsr_model.errors import BadInput

DATA: Final = ROOT / "benchmarks" / "data"
PAGE: Final = ROOT / "docs" / "evidence.md"

RETAIN: Final = environment.ALLOCATOR_VARIABLES["retain"]
"""The allocator that the workers of a run have."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Samples, and the environment (bench.machine.environment) that explains them."""

    samples: pd.DataFrame
    environment: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Return the machine, the versions and the commit in one line."""
        commit, _, dirty = str(self.environment.get("git_commit") or "unknown").partition("-")
        return f"{environment.in_short(self.environment)}; commit {commit[:12]}{'-dirty' if dirty else ''}."


def keep(evidence: Evidence, folder: Path, name: str) -> None:
    """Write <name>.csv.gz and <name>.environment.json."""
    folder.mkdir(parents=True, exist_ok=True)
    text = evidence.samples.to_csv(index=False, lineterminator="\n", float_format="%.9f")
    # Without the time of writing, so that equal samples are equal files.
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    described = json.dumps(evidence.environment, indent=2) + "\n"
    (folder / f"{name}.environment.json").write_text(described, encoding="utf-8")


def read(folder: Path, name: str) -> Evidence:
    """Return what `keep` wrote."""
    text = gzip.decompress((folder / f"{name}.csv.gz").read_bytes()).decode()
    described = json.loads((folder / f"{name}.environment.json").read_text(encoding="utf-8"))
    return Evidence(samples=pd.read_csv(StringIO(text)), environment=described)


def split(page: str, name: str) -> tuple[str, str, str]:
    """Return a page before, between and behind its markers of that name. Raises BadInput without them."""
    before, begin, rest = page.partition(f"<!-- begin {name} -->\n")
    between, end, after = rest.partition(f"<!-- end {name} -->\n")
    if not (begin and end):
        raise BadInput(f"{PAGE}: has no markers named {name}")
    return before + begin, between, end + after


def environment_of(launcher: Launcher) -> dict[str, Any]:
    """Describe the machine and the launcher's workers."""
    return environment.collect(preflight.ask(launcher, ()).torch, RETAIN)


def table(rows: Sequence[Mapping[str, str]], *, numeric: Sequence[str] = ()) -> str:
    """Return a Markdown table of rows, each a mapping from the titles to its cells."""
    return markdown.table(
        [
            markdown.Column(title=title, cells=[row[title] for row in rows], numeric=title in numeric)
            for title in rows[0]
        ]
    )


def interval(found: Summary, form: str, factor: float = 1.0) -> str:
    """Return the bounds of an interval; empty if there is none."""
    if found.low is None or found.high is None:
        return ""
    return f"{format(factor * found.low, form)} to {format(factor * found.high, form)}"


def say(text: str) -> None:
    """Show progress, apart from the tables."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that the scripts share."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--output", type=Path, default=DATA, help="folder of samples and environment")
    made.add_argument("--quick", action="store_true", help="too little to quote, to see that it works")
    made.add_argument("--report", action="store_true", help="measure nothing: the table of what was kept")
    made.add_argument("--write-docs", action="store_true", help="put the table into docs/evidence.md")
    return made


def conduct(
    options: argparse.Namespace,
    name: str,
    measure: Callable[[argparse.Namespace], Evidence],
    render: Callable[[Evidence], str],
) -> int:
    """Measure and keep, or read what was kept; print the table. Return the exit status."""
    try:
        if options.quick and (options.write_docs or options.output == DATA):
            raise BadInput("--quick: too little to keep; give --output, and no --write-docs")
        if not options.report:
            keep(measure(options), options.output, name)
        text = render(read(options.output, name)) + "\n"
        if options.write_docs:
            before, _, after = split(PAGE.read_text(encoding="utf-8"), name)
            PAGE.write_text(before + text + after, encoding="utf-8")
    except (BadInput, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(text)
    return 0
