"""The same experiment run again and again, through the command line: how often do two runs seem to differ?

Nothing differs, so every difference found is a false alarm. benchmarks/a_a.yaml is what is run; every run is
a folder of its own below --runs-in, and a run that was interrupted is resumed, so that the script can be
stopped and started again. What is kept is one file of all steady samples, which other tests may resample.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final

import pandas as pd

from bench.records import FORWARD, Pass, Phase
from bench.reporting.markdown import Column, escape, table
from bench.statistics.stats import CONFIDENCE, Summary, median_interval, ratio, summarise
from benchmarks import evidence
from benchmarks.evidence import Evidence
from vsr_model.errors import BadInput

NAME: Final = "a_a"
COLUMNS: Final = ("run", "cell", "round", "repetition", "wall_s")

CONFIG: Final = Path(__file__).with_name("a_a.yaml")
RUNS_IN: Final = evidence.ROOT / "results" / NAME

RUNS: Final = 80
MINUTES: Final = 20.0
QUICK_RUNS: Final = 2
QUICK_OPTIONS: Final = (
    "--set", "measure.rounds=1", "--set", "measure.repetitions=6", "--filter", "backend=cpu-1-thread",
)  # fmt: skip

SAME: Final = ("vsr_bench", "git_commit", "cpu", "kernel", "packages", "torch", "workers_environment")
"""What of the environment must be one and the same in all runs."""

Cell = list[list[float]]
"""A cell of a run: the steady samples of each round."""

Runs = list[dict[str, Cell]]
"""The cells of each run, by id; runs in the order in which they were made."""


# Measuring.


def measure(options: argparse.Namespace) -> Evidence:
    """Make the runs that are not there yet, as many as there is time for, and gather them all."""
    folder = options.output / "runs" if options.quick else options.runs_in
    wanted = QUICK_RUNS if options.quick else options.runs
    began = monotonic()
    for number in range(wanted):
        if monotonic() - began > 60 * options.minutes:
            evidence.say(f"{options.minutes:g} minutes are over")
            break
        if not _samples_path(folder, number).exists():
            one_began = monotonic()
            _run(folder, number, QUICK_OPTIONS if options.quick else ())
            evidence.say(f"run {number + 1}/{wanted}: {monotonic() - one_began:.1f} s")
    return gather(folder)


def _run(folder: Path, number: int, options: Sequence[str]) -> None:
    """One run, or the rest of it; then what is kept of it beside its folder, whole or not at all."""
    path = folder / f"run-{number:03}"
    what = ["--resume", str(path)] if path.exists() else [str(CONFIG), "--output", str(path), *options]
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "run", *what],
        cwd=evidence.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        words = (ended.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise BadInput(f"{path}: the run ended with exit status {ended.returncode} ({words})")
    samples = pd.read_csv(path / "samples.csv")
    kept = samples[
        (samples["pass"] == str(Pass.END_TO_END))
        & (samples["phase"] == str(Phase.STEADY))
        & (samples["stage"] == FORWARD)
    ]
    described = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    described["git_commit"] = evidence.code_commit()
    target = _samples_path(folder, number)
    target.with_suffix(".json").write_text(json.dumps(described), encoding="utf-8")
    partial = target.with_suffix(".partial")
    kept.assign(run=number)[list(COLUMNS)].to_csv(partial, index=False)
    partial.replace(target)


def _samples_path(folder: Path, number: int) -> Path:
    return folder / f"run-{number:03}.csv"


def gather(folder: Path) -> Evidence:
    """All runs that are done. Raises BadInput for none, and for runs that differ in more than time."""
    paths = sorted(folder.glob("run-*.csv"))
    if not paths:
        raise BadInput(f"{folder}: no run is done")
    environments = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in paths]
    for path, described in zip(paths, environments, strict=True):
        for name in SAME:
            if described.get(name) != environments[0].get(name):
                raise BadInput(f"{path.with_suffix('')}: made with another {name} than {paths[0].stem}")
    frames = [pd.read_csv(path) for path in paths]
    return Evidence(samples=pd.concat(frames, ignore_index=True), environment=environments[0])


# What it shows.


def runs_of(samples: pd.DataFrame) -> Runs:
    """The samples by run, cell and round."""
    return [
        {
            str(cell): [list(of_round["wall_s"]) for _, of_round in of_cell.groupby("round")]
            for cell, of_cell in of_run.groupby("cell", sort=False)
        }
        for _, of_run in samples.groupby("run")
    ]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two runs are compared."""

    name: str
    rounds: int | None  # only the first so many; None is all
    confidence: float = CONFIDENCE


def differ(a: Cell, b: Cell, how: Comparison) -> bool | None:
    """Whether the interval of the ratio leaves out 1; None where there is no interval."""
    found = ratio(*(_figure(side[: how.rounds], how.confidence) for side in (a, b)))
    if found.low is None or found.high is None:
        return None
    return not found.low <= 1 <= found.high


def _figure(rounds: Cell, confidence: float) -> Summary:
    """The cell's summary, with the interval of another confidence if that is asked for."""
    summary = summarise(rounds)
    if confidence == CONFIDENCE:
        return summary
    bounds = median_interval([median(samples) for samples in rounds], confidence)
    low, high = bounds or (None, None)
    return replace(summary, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """False alarms over pairs of runs, no run in two pairs."""

    pairs: int
    by_cell: dict[str, int]  # pairs that seem to differ there
    any_cell: int  # pairs that seem to differ in one cell at least

    @property
    def share(self) -> float:
        """Of all comparisons of a cell."""
        return sum(self.by_cell.values()) / (self.pairs * len(self.by_cell))


TURNS: Final = 6
"""Rounds of a side that took turns over many runs: the fewest that have an interval without an assumption."""


def neighbours(n: int) -> list[tuple[int, int]]:
    """Each run with the next: 0 and 1, 2 and 3, ..."""
    return [(first, first + 1) for first in range(0, n - 1, 2)]


def far_apart(n: int) -> list[tuple[int, int]]:
    """Each run with the one half the series later, so that slow drift of the machine is in it."""
    return [(first, first + n // 2) for first in range(n // 2)]


def in_turn(runs: Runs) -> Runs:
    """Each run as two that ran in turn: its even rounds, then its odd ones; none where one has no second."""
    if any(len(rounds) < 2 for run in runs for rounds in run.values()):
        return []
    return [{cell: rounds[side::2] for cell, rounds in run.items()} for run in runs for side in (0, 1)]


def over_runs(runs: Runs) -> Runs:
    """Two sides of TURNS rounds each that ran in turn over 2 * TURNS runs in a row, a round of each run.

    A block of runs gives as many such pairs as a run has rounds; they are of the same minutes.
    """
    rounds = min(len(cell) for run in runs for cell in run.values())
    sides: Runs = []
    for first in range(0, len(runs) - 2 * TURNS + 1, 2 * TURNS):
        block = runs[first : first + 2 * TURNS]
        for number in range(rounds):
            sides += [
                {cell: [run[cell][number] for run in block[side::2]] for cell in block[0]} for side in (0, 1)
            ]
    return sides


def alarms(runs: Runs, pairs: Sequence[tuple[int, int]], how: Comparison) -> Alarms | None:
    """What comparing these pairs finds; None where some comparison has no interval."""
    by_cell = dict.fromkeys(runs[0], 0)
    any_cell = 0
    for first, second in pairs:
        found = {cell: differ(runs[first][cell], runs[second][cell], how) for cell in by_cell}
        if None in found.values():
            return None
        for cell, differs in found.items():
            by_cell[cell] += bool(differs)
        any_cell += any(found.values())
    return Alarms(pairs=len(pairs), by_cell=by_cell, any_cell=any_cell)


def comparisons(runs: Runs) -> list[Comparison]:
    """Those that the page shows: all rounds, fewer, and all cells at once."""
    cells = len(runs[0])
    rounds = min(len(cell) for run in runs for cell in run.values())
    family = 1 - (1 - CONFIDENCE) / cells
    found = [Comparison(name=f"all {rounds} rounds", rounds=None)] if rounds > 1 else []
    found += [Comparison(name=f"the first {n} rounds", rounds=n) for n in (6, 3) if n < rounds]
    found.append(Comparison(name="the first round alone", rounds=1))
    if rounds > 1:
        name = f"all {rounds} rounds, intervals of {family:.2%} for {cells} cells at once"
        found.append(Comparison(name=name, rounds=None, confidence=family))
    return found


def render(kept: Evidence) -> str:
    """Two tables: false alarms by how runs are compared, and by cell."""
    runs = runs_of(kept.samples)
    if len(runs) < 2:
        raise BadInput(f"{NAME}: one run has none to be compared with")
    text = "\n\n".join(filter(None, [_alarms_table(runs), _cells_table(runs)]))
    source = evidence.source_line(kept.environment, f"python -m benchmarks.{NAME}")
    return f"{text}\n\n{len(runs)} runs. {source}"


def _alarms_table(runs: Runs) -> str:
    rows: list[list[str]] = []
    for how in comparisons(runs):
        for title, pairs in (("neighbours", neighbours(len(runs))), ("far apart", far_apart(len(runs)))):
            found = alarms(runs, pairs, how)
            if found is None:
                rows.append([how.name, title, str(len(pairs)), "no interval", "", "", ""])
                continue
            rows.append(_alarms_row(how.name, title, found))
    for name, title, sides in (
        ("rounds in turn, all of a run", "the same run", in_turn(runs)),
        (f"rounds in turn, {TURNS} a side", f"the same {2 * TURNS} runs", over_runs(runs)),
    ):
        found = alarms(sides, neighbours(len(sides)), Comparison(name=name, rounds=None)) if sides else None
        if found is not None:
            rows.append(_alarms_row(name, title, found))
    titles = (
        "compared by", "runs", "pairs", "false alarms per cell", "95 % interval",
        "pairs with one or more", "95 % interval ",
    )  # fmt: skip
    return table([Column(title=title, cells=[row[n] for row in rows]) for n, title in enumerate(titles)])


def _alarms_row(name: str, title: str, found: Alarms) -> list[str]:
    any_share = found.any_cell / found.pairs
    return [
        name, title, str(found.pairs),
        f"{found.share:.1%}", _limits(found.share, found.pairs),
        f"{any_share:.1%}", _limits(any_share, found.pairs),
    ]  # fmt: skip


def _limits(share: float, n: int) -> str:
    low, high = evidence.wilson(share, n)
    return f"{low:.1%} to {high:.1%}"


def _cells_table(runs: Runs) -> str:
    how = Comparison(name="", rounds=None)
    found = alarms(runs, neighbours(len(runs)), how)
    rows: list[list[str]] = []
    for cell in runs[0]:
        summaries = [_figure(run[cell], CONFIDENCE) for run in runs]
        figures = [summary.median for summary in summaries]
        ratios = [ratio(summaries[a], summaries[b]) for a, b in neighbours(len(runs))]
        widths = [
            math.log(one.high / one.low) / 2 for one in ratios if one.low is not None and one.high is not None
        ]
        rows.append([
            escape(cell), f"{1000 * median(figures):.3g} ms",
            f"{max(figures) / min(figures) - 1:.1%}",
            f"{median(abs(one.ratio - 1) for one in ratios):.2%}",
            f"{median(widths):.1%}" if widths else "",
            "" if found is None else f"{found.by_cell[cell]} of {found.pairs}",
        ])  # fmt: skip
    titles = (
        "cell", "median of runs", "slowest run over fastest", "neighbours differ by",
        "half the interval of their ratio", "false alarms",
    )  # fmt: skip
    return table([Column(title=title, cells=[row[n] for row in rows]) for n, title in enumerate(titles)])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a request that cannot be met."""
    parser = evidence.parser(__doc__, NAME)
    parser.add_argument("--runs", type=int, default=RUNS, help="how many runs there should be in the end")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin no further run after so long")
    parser.add_argument("--runs-in", type=Path, default=RUNS_IN, help="folder of the runs themselves")
    return evidence.conduct(parser.parse_args(argv), NAME, columns=COLUMNS, measure=measure, render=render)


if __name__ == "__main__":
    raise SystemExit(main())
