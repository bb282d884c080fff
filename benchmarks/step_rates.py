"""How often a history has a step by chance, and how often it finds one that is there.

Simulates series with a fixed seed, takes the A/A runs of benchmarks/data as they are and in other orders, and
prints the tables of docs/history.md. Every figure calls bench.statistics.steps as `vsr-bench history` does.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from bench.history.reading import deviation
from bench.reporting.markdown import Column, table
from bench.statistics.stats import Summary, summarise
from bench.statistics.steps import Steps, find_steps
from benchmarks import evidence
from benchmarks.a_a import COLUMNS, NAME, runs_of

TRIALS: Final = 1000
SEED: Final = 20_260_101
COUNTS: Final = (6, 8, 10, 15, 25, 50, 100)
SCATTER: Final = 0.02  # the deviation of the runs' logarithms, where a shape does not say otherwise

Make = Callable[[Random, int], list[float]]
"""The logarithms of so many runs."""


def _independent(draw: Callable[[Random], float]) -> Make:
    return lambda random, n: [SCATTER * draw(random) for _ in range(n)]


def _related(share: float) -> Make:
    """Each run has that share of the deviation of the one before: a machine that wanders."""

    def make(random: Random, n: int) -> list[float]:
        values = [random.gauss(0, 1)]
        while len(values) < n:
            values.append(share * values[-1] + random.gauss(0, math.sqrt(1 - share**2)))
        return [SCATTER * value for value in values]

    return make


def _sometimes(share: float, by: float) -> Make:
    """So many of the runs are slower by so much."""
    return lambda random, n: [
        random.gauss(0, SCATTER) + (by if random.random() < share else 0.0) for _ in range(n)
    ]


INDEPENDENT: Final[dict[str, Make]] = {
    "normal": _independent(lambda random: random.gauss(0, 1)),
    "Student's t, 3 degrees of freedom": _independent(
        lambda random: random.gauss(0, 1) / math.sqrt(random.gammavariate(1.5, 2) / 3)
    ),
    "exponential": _independent(lambda random: random.expovariate(1)),
    "lognormal, skewness 3.7": _independent(lambda random: random.lognormvariate(0, 0.8)),
    "each run with a scatter of its own": _independent(
        lambda random: random.gauss(0, 1) * random.lognormvariate(0, 0.7)
    ),
    "1 of 20 runs 40 % slower": _sometimes(0.05, math.log(1.4)),
    "1 of 10 runs 16 % slower": _sometimes(0.1, 0.15),
    "3 of 10 runs 16 % slower": _sometimes(0.3, 0.15),
}
WANDERING: Final[dict[str, Make]] = {
    f"keeps {share} of its neighbour's deviation": _related(share) for share in (0.3, 0.5, 0.7)
}
FOUND_IN: Final = (
    "normal",
    "exponential",
    "1 of 10 runs 16 % slower",
    "keeps 0.3 of its neighbour's deviation",
)
BEFORE_AND_AFTER: Final = ((3, 3), (5, 3), (10, 3), (10, 5), (10, 10), (30, 3), (30, 30))
CHANGES: Final = (0.03, 0.05, 0.10, 0.20)


def alarms(make: Make, n: int, trials: int) -> float:
    """The share of series without a step that have one."""
    random = Random(f"{SEED}/{n}")
    return sum(bool(_steps(make(random, n)).steps) for _ in range(trials)) / trials


def found(make: Make, before: int, after: int, change: float, trials: int) -> tuple[float, float, float]:
    """Of series with one step the shares in which it is found, one run off at most; in which there is a step
    elsewhere; and in which the interval of a step that was found holds the change."""
    random = Random(f"{SEED}/{before}/{after}/{change}")
    hits, elsewhere, held = 0, 0, 0
    for _ in range(trials):
        logs = make(random, before + after)
        steps = _steps([*logs[:before], *(value + math.log1p(change) for value in logs[before:])]).steps
        there = [step for step in steps if abs(step.after - before) <= 1]
        hits += bool(there)
        elsewhere += len(there) < len(steps)
        held += bool(there) and there[0].low <= 1 + change <= there[0].high
    return hits / trials, elsewhere / trials, held / max(1, hits)


def _steps(logs: Sequence[float]) -> Steps:
    return find_steps([math.exp(value) for value in logs])


def alarms_table(trials: int) -> str:
    makes = {**INDEPENDENT, **WANDERING}
    return table(
        [Column(title="runs", cells=list(makes))]
        + [
            Column(
                title=f"n = {n}",
                cells=[f"{100 * alarms(make, n, trials):.1f}" for make in makes.values()],
                numeric=True,
            )
            for n in COUNTS
        ]
    )


def found_table(trials: int) -> str:
    makes = {**INDEPENDENT, **WANDERING}
    rows = [(name, sizes) for name in FOUND_IN for sizes in BEFORE_AND_AFTER]
    columns = [
        Column(title="runs", cells=[name for name, _ in rows]),
        Column(title="before, after", cells=[f"{before}, {after}" for _, (before, after) in rows]),
    ]
    for change in CHANGES:
        rates = [found(makes[name], *sizes, change, trials) for name, sizes in rows]
        columns.append(
            Column(
                title=f"{change:.0%} found", cells=[f"{100 * hit:.0f}" for hit, _, _ in rates], numeric=True
            )
        )
    columns += [
        Column(
            title="20% : another step", cells=[f"{100 * other:.1f}" for _, other, _ in rates], numeric=True
        ),
        Column(
            title="20% : interval holds", cells=[f"{100 * held:.0f}" for _, _, held in rates], numeric=True
        ),
    ]
    return table(columns)


def a_a_table(trials: int) -> str:
    """The A/A runs in their order, in random ones, and with a step planted in the middle."""
    runs = runs_of(evidence.read(evidence.DATA, NAME, COLUMNS).samples)
    cells = {cell: [summarise(run[cell]) for run in runs] for cell in runs[0]}
    middle = len(runs) // 2

    def steps(summaries: Sequence[Summary], change: float = 0.0) -> Steps:
        return find_steps(
            [one.median * (1 + change * (place >= middle)) for place, one in enumerate(summaries)],
            [deviation(one) for one in summaries],
        )

    def shuffled(summaries: Sequence[Summary]) -> float:
        random = Random(SEED)
        return (
            sum(bool(steps(random.sample(summaries, len(summaries))).steps) for _ in range(trials)) / trials
        )

    def planted(summaries: Sequence[Summary], change: float) -> str:
        at = [step.after for step in steps(summaries, change).steps]
        return "none" if not at else ", ".join(f"run {place}" for place in at)

    return table(
        [
            Column(title="cell", cells=list(cells)),
            Column(title="runs", cells=[str(len(of)) for of in cells.values()], numeric=True),
            Column(
                title="slowest over fastest",
                cells=[
                    f"{max(one.median for one in of) / min(one.median for one in of) - 1:.0%}"
                    for of in cells.values()
                ],
                numeric=True,
            ),
            Column(title="steps", cells=[str(len(steps(of).steps)) for of in cells.values()], numeric=True),
            Column(
                title="runs apart", cells=[str(len(steps(of).apart)) for of in cells.values()], numeric=True
            ),
            Column(
                title="other orders with a step, %",
                cells=[f"{100 * shuffled(of):.1f}" for of in cells.values()],
                numeric=True,
            ),
            *(
                Column(
                    title=f"{change:.0%} slower from run {middle} on",
                    cells=[planted(of, change) for of in cells.values()],
                )
                for change in (0.05, 0.1, 0.2)
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="series simulated for each figure")
    trials = parser.parse_args().trials
    print(  # noqa: T201 - a script
        f"**Series without a step that have one, %**\n\n{alarms_table(trials)}\n\n"
        f"**Steps that are found, %**\n\n{found_table(max(1, trials // 4))}\n\n"
        f"**The A/A runs**\n\n{a_a_table(max(1, trials // 2))}"
    )


if __name__ == "__main__":
    main()
