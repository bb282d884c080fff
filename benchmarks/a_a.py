"""One experiment run again and again through the command line: how often do two runs seem to differ?

Nothing differs, so every difference found is a false alarm. benchmarks/a_a.yaml is what is run, into folders
below --runs-in; runs that are there already count, and one that was interrupted is resumed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final

import pandas as pd
from scipy.stats import binomtest

from bench.grid.spans import FORWARD
from bench.places import ROOT
from bench.records import Pass, Phase
from bench.results.files import read_json
from bench.stats.intervals import ratio, summarise
from benchmarks import common
from benchmarks.common import Evidence
from vsr_model.errors import BadInput

NAME: Final = "a_a"
COLUMNS: Final = ("run", "cell", "round", "repetition", "wall_s")
CONFIG: Final = ROOT / "benchmarks" / "a_a.yaml"
QUICK: Final = ("--set", "measure.rounds=1", "--set", "measure.repetitions=6", "--filter", "backend=cpu")

Side = dict[str, list[list[float]]]
"""The steady samples of each round of each cell, by the cell's id."""


def measure(options: argparse.Namespace) -> Evidence:
    """Make the runs that are not there yet, as many as there is time for, and gather all."""
    folder = options.output / "runs" if options.quick else options.runs_in
    began = monotonic()
    for number in range(2 if options.quick else options.runs):
        path = folder / f"run-{number:03}"
        if not path.exists() and monotonic() - began > 60 * options.minutes:
            common.say(f"{options.minutes:g} minutes are over")
            break
        common.say(f"run {number + 1}")
        what = [CONFIG, "--output", path, *(QUICK if options.quick else ())]
        if path.exists():
            what = ["--resume", path]
        command = [sys.executable, "-m", "bench", "run", *what]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if ended.returncode != 0:
            raise BadInput(f"{path}: the run ended with {ended.returncode}: {ended.stderr.decode()[-400:]}")
    return gather(sorted(folder.glob("run-*")))


def gather(paths: Sequence[Path]) -> Evidence:
    """Read the runs. Raises BadInput for runs of different code, and for runs on different machines."""
    abouts = [read_json(path / "run.json") for path in paths]
    for name in ("config_sha256", "code_version", "environment_sha256"):
        if len({json.dumps(about[name]) for about in abouts}) > 1:
            raise BadInput(f"{paths[0].parent}: the runs differ in {name}")
    frames = []
    for number, path in enumerate(paths):
        samples = pd.read_csv(path / "samples.csv")
        steady = samples[
            (samples["pass"] == str(Pass.END_TO_END))
            & (samples["phase"] == str(Phase.STEADY))
            & (samples["stage"] == FORWARD)
        ]
        frames.append(steady.assign(run=number)[list(COLUMNS)])
    described = read_json(paths[0] / "environment.json")
    return Evidence(samples=pd.concat(frames, ignore_index=True), environment=described)


def runs_of(samples: pd.DataFrame) -> list[Side]:
    """Return the runs in the order in which they were made."""
    return [
        {
            str(cell): [list(of_round["wall_s"]) for _, of_round in of_cell.groupby("round")]
            for cell, of_cell in of_run.groupby("cell", sort=False)
        }
        for _, of_run in samples.groupby("run")
    ]


Pairs = list[tuple[Side, Side]]


def neighbours(runs: Sequence[Side]) -> Pairs:
    """Pair runs 1 and 2, 3 and 4, and so on: no run is in two pairs."""
    return list(zip(runs[::2], runs[1::2], strict=False))


def far_apart(runs: Sequence[Side]) -> Pairs:
    """Pair each run with the one half the series later, so that slow changes of the machine are in them."""
    half = len(runs) // 2
    return list(zip(runs[:half], runs[half : 2 * half], strict=True))


def in_turn(runs: Sequence[Side]) -> Pairs:
    """Pair each run's even rounds with its odd ones, which alternate."""
    even, odd = ([{cell: rounds[side::2] for cell, rounds in run.items()} for run in runs] for side in (0, 1))
    return list(zip(even, odd, strict=True))


def first_rounds(pairs: Pairs, count: int) -> Pairs:
    """Return the same pairs, by the first rounds of both sides alone."""
    return [
        tuple({cell: rounds[:count] for cell, rounds in side.items()} for side in pair)  # type: ignore[misc]
        for pair in pairs
    ]


def alarms(pairs: Pairs) -> list[set[str]]:
    """Return for each pair the cells that seem to differ: the interval of their ratio leaves out 1."""
    found = []
    for a, b in pairs:
        ratios = {cell: ratio(summarise(a[cell]), summarise(b[cell])) for cell in a}
        if any(one.low is None or one.high is None for one in ratios.values()):
            raise BadInput(f"{NAME}: too few samples for an interval")
        found.append({
            cell for cell, one in ratios.items() if not (one.low or 0.0) <= 1 <= (one.high or 0.0)
        })  # fmt: skip
    return found


def render(kept: Evidence) -> str:
    """Tabulate false alarms by how runs are compared, and how far the runs of each cell lie apart."""
    runs = runs_of(kept.samples)
    if len(runs) < 2:
        raise BadInput(f"{NAME}: one run has none to be compared with")
    rounds = min(len(cell) for run in runs for cell in run.values())
    compared = {("all", "neighbours"): neighbours(runs), ("all", "far apart"): far_apart(runs)}
    for count, which in ((3, "the first 3"), (1, "the first alone")):
        if count < rounds:
            compared[which, "neighbours"] = first_rounds(neighbours(runs), count)
            compared[which, "far apart"] = first_rounds(far_apart(runs), count)
    if rounds > 1:
        compared["in turn", "the same run"] = in_turn(runs)
    rows = []
    for (which, where), pairs in compared.items():
        found = alarms(pairs)
        any_cell = binomtest(sum(map(bool, found)), len(pairs))
        bounds = any_cell.proportion_ci(method="wilson")
        rows.append({
            "rounds": which, "runs": where, "pairs": str(len(pairs)),
            "false alarms per cell": f"{sum(map(len, found)) / len(pairs) / len(runs[0]):.1%}",
            "pairs with one or more": f"{any_cell.statistic:.1%}",
            "95 % interval": f"{bounds.low:.1%} to {bounds.high:.1%}",
        })  # fmt: skip
    by_cell = []
    for cell in runs[0]:
        medians = [summarise(run[cell]).median for run in runs]
        by_cell.append({
            "cell": cell, "median of runs": f"{1000 * median(medians):.3g} ms",
            "slowest run over fastest": f"{max(medians) / min(medians) - 1:.1%}",
        })  # fmt: skip
    return f"{common.table(rows)}\n\n{common.table(by_cell)}\n\n{len(runs)} runs. {kept.source}"


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = common.parser(__doc__, NAME)
    parser.add_argument("--runs", type=int, default=80, help="how many there should be in the end")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no further run after so long")
    parser.add_argument("--runs-in", type=Path, default=ROOT / "results" / NAME, help="folder of the runs")
    return common.conduct(parser.parse_args(argv), NAME, measure, render)


if __name__ == "__main__":
    raise SystemExit(main())
