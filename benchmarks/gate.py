"""The gate of configs/ci.yaml put to the test: how often it cries wolf, and how often it finds a slowdown.

The program is measured against itself in turn (`vsr-bench noise`), many more rounds than a gate takes. Gates
are drawn from these real pairs of rounds as bench.comparison.noise says, slowdowns are put in by multiplying
the times of one side, and the verdicts are counted. Gates of rounds that followed each other, none in two of
them, stand beside: few, and nothing drawn.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from bench.comparison.compare import shared_confidence
from bench.comparison.comparison import Limits
from bench.comparison.noise import Pairs, found_of, noise
from bench.grid import config, plan, presets
from bench.records import FORWARD, Pass, Phase
from bench.reporting.markdown import Column, escape, table
from bench.results.run_about import read_json
from bench.statistics.changes import of_pairs
from benchmarks import evidence
from benchmarks.evidence import Evidence
from vsr_model.errors import BadInput

NAME: Final = "gate"
COLUMNS: Final = ("cell", "round", "side", "repetition", "wall_s")
SIDES: Final = ("a", "b")

PRESET: Final = "ci"
VARIANT: Final = "cpu"
PAGE: Final = evidence.ROOT / "docs" / "compare.md"
RUN_IN: Final = evidence.ROOT / "results" / NAME
ROUNDS: Final = 240
QUICK: Final = ("--rounds", "4", "--set", "measure.rounds=4", "--set", "measure.repetitions=2")

THRESHOLD: Final = Limits().threshold
SLOWDOWNS: Final = (0.05, 0.1)
DRAWS: Final = 1000


def measure(options: argparse.Namespace) -> Evidence:
    """The program against itself, or the rest of it."""
    folder = options.output / "run" if options.quick else options.run_in
    many = QUICK if options.quick else ("--rounds", str(options.rounds))
    asked = [PRESET, "--variant", VARIANT, "--output", str(folder), *many]
    what = ["--resume", str(folder)] if folder.exists() else asked
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "noise", *what],
        cwd=evidence.ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    if ended.returncode != 0:
        raise BadInput(f"{folder}: the measurement ended with exit status {ended.returncode}")
    frames = []
    for side in SIDES:
        samples = pd.read_csv(folder / side / "samples.csv")
        kept = samples[
            (samples["pass"] == str(Pass.END_TO_END))
            & (samples["phase"] == str(Phase.STEADY))
            & (samples["stage"] == FORWARD)
        ]
        frames.append(kept.assign(side=side)[list(COLUMNS)])
    described = {**read_json(folder / "a" / "environment.json"), "git_commit": evidence.code_commit()}
    ordered = pd.concat(frames).sort_values(["cell", "round", "side", "repetition"])
    return Evidence(samples=ordered, environment=described)


def pairs_of(samples: pd.DataFrame) -> dict[str, Pairs]:
    """The level of each round in seconds, side a and side b, by cell."""
    levels = samples.groupby(["cell", "side", "round"], sort=True)["wall_s"].median()
    return {
        str(cell): (list(levels[cell, SIDES[0]]), list(levels[cell, SIDES[1]]))
        for cell in samples["cell"].unique()
    }


def gate() -> tuple[list[str], int]:
    """The cells of the preset, and how many rounds it takes."""
    experiment = config.load(presets.find(PRESET), (), (VARIANT,))[0]
    return [cell.id for cell in plan.cells(experiment)], experiment.measure.rounds


def in_a_row(pairs: Mapping[str, Pairs], rounds: int) -> list[dict[str, Pairs]]:
    """Gates of rounds that followed each other, none of them in two gates."""
    least = min(len(base) for base, _ in pairs.values())
    return [
        {
            cell: (base[begin : begin + rounds], new[begin : begin + rounds])
            for cell, (base, new) in pairs.items()
        }
        for begin in range(0, least - rounds + 1, rounds)
    ]


def called_slower(gate: Mapping[str, Pairs], slowdown: float = 0.0) -> list[str]:
    """The cells of one gate that are called slower, all of them slowed by as much."""
    confidence = shared_confidence(len(gate))
    called = []
    for cell, (base, new) in gate.items():
        found = of_pairs(base, [(1 + slowdown) * value for value in new], confidence)
        if found.low is not None and found.low > 1 + THRESHOLD:
            called.append(cell)
    return called


def render(kept: Evidence) -> str:
    """The rates as Markdown."""
    measured = pairs_of(kept.samples)
    cells, rounds = gate()
    if lacking := [cell for cell in cells if cell not in measured]:
        raise BadInput(f"{NAME}: has no samples of {', '.join(lacking)}; measure anew")
    pairs = {cell: measured[cell] for cell in cells}
    judged = noise(pairs, rounds, threshold=THRESHOLD, draws=DRAWS)
    advised = noise(pairs, rounds, draws=DRAWS)
    row = in_a_row(pairs, rounds)
    lines = [
        ["unchanged: any cell called slower", f"{judged.false_alarms} of {DRAWS}",
         f"{sum(bool(called_slower(gate)) for gate in row)} of {len(row)}"],
        ["unchanged: every cell called the same", f"{judged.same} of {DRAWS}", ""],
    ]  # fmt: skip
    for slowdown in SLOWDOWNS:
        for cell in pairs:
            drawn = found_of(pairs, cell, slowdown, THRESHOLD, rounds, draws=DRAWS)
            followed = sum(cell in called_slower(gate, slowdown) for gate in row)
            lines.append([
                f"{escape(cell)} {100 * slowdown:g} % slower: called slower", f"{drawn} of {DRAWS}",
                f"{followed} of {len(row)}",
            ])  # fmt: skip
    titles = (f"gates of {rounds} rounds, threshold {100 * THRESHOLD:g} %", "drawn", "in a row")
    rates = table([Column(title=title, cells=[line[n] for line in lines]) for n, title in enumerate(titles)])
    noises = table(
        [
            Column(title="cell", cells=[escape(cell.cell) for cell in judged.cells]),
            Column(title="level", cells=[f"{1000 * cell.level_s:.3g} ms" for cell in judged.cells]),
            Column(title="pairs", cells=[str(cell.pairs) for cell in judged.cells]),
            Column(title="scatter of a pair", cells=[f"{cell.scatter:.2%}" for cell in judged.cells]),
            Column(title="half a gate's interval", cells=[f"{cell.half_width:.2%}" for cell in judged.cells]),
            Column(
                title="slowest round over fastest",
                cells=[f"{max(*base, *new) / min(*base, *new):.2f}" for base, new in pairs.values()],
            ),
        ]
    )
    advice = (
        f"The least threshold that this noise allows is {100 * advised.threshold:g} %, at which 95 of 100 "
        f"find a slowdown of {100 * advised.detectable:.1f} %."
    )
    source = evidence.source_line(kept.environment, f"python -m benchmarks.{NAME}")
    return "\n\n".join([rates, noises, advice, source])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a request that cannot be met."""
    parser = evidence.parser(__doc__, NAME)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs of rounds to measure")
    parser.add_argument("--run-in", type=Path, default=RUN_IN, help="folder of the measurement itself")
    return evidence.conduct(
        parser.parse_args(argv), NAME, columns=COLUMNS, measure=measure, render=render, page=PAGE
    )


if __name__ == "__main__":
    raise SystemExit(main())
