"""How often the cautions about patterns in samples are given: without a pattern in them, and with one.

Simulates cells of one round with a fixed seed and prints the table of docs/warnings.md. The sizes below
which a caution is not given (bench.cautions.cautions_samples) are left out, so that what is counted is
chance alone: with them, and with quieter samples, false alarms are fewer.
"""

import argparse
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from bench.statistics import patterns

COUNTS: Final = (6, 8, 10, 15, 20, 30)
TRIALS: Final = 10_000
SEED: Final = 20_260_101

Make = Callable[[Random, int], list[float]]


def _independent(draw: Callable[[Random], float]) -> Make:
    return lambda random, n: [draw(random) for _ in range(n)]


def _related(random: Random, n: int) -> list[float]:
    """Each sample half like the one before: what a machine's slow moods look like."""
    values = [random.gauss(0, 1)]
    while len(values) < n:
        values.append(0.5 * values[-1] + random.gauss(0, 0.75**0.5))
    return [1 + 0.02 * value for value in values]


def _slow_first(random: Random, n: int) -> list[float]:
    return [1.2 if i == 0 else random.gauss(1, 0.01) for i in range(n)]


def _drifting(random: Random, n: int) -> list[float]:
    return [random.gauss(1 + 0.06 * i / (n - 1), 0.01) for i in range(n)]


def _two_modes(random: Random, n: int) -> list[float]:
    return [random.gauss(random.choice((1.0, 1.15)), 0.01) for _ in range(n)]


NONE: Final[dict[str, Make]] = {
    "normal": _independent(lambda random: random.gauss(1, 0.02)),
    "lognormal, skewness 0.8": _independent(lambda random: 1 + 0.05 * random.lognormvariate(0, 0.25)),
    "gamma, skewness 1": _independent(lambda random: 1 + 0.02 * random.gammavariate(4, 1)),
    "lognormal, skewness 1.8": _independent(lambda random: 1 + 0.05 * random.lognormvariate(0, 0.5)),
    "exponential, skewness 2": _independent(lambda random: 1 + 0.05 * random.expovariate(1)),
    "uniform": _independent(lambda random: 1 + 0.05 * random.random()),
    "normal, neighbours correlated 0.5": _related,
}
SOME: Final[dict[str, Make]] = {
    "first 20 % above, noise 1 %": _slow_first,
    "drift of 6 %, noise 1 %": _drifting,
    "modes 15 % apart, noise 1 %": _two_modes,
}
LOOKS: Final[dict[str, Callable[[Sequence[Sequence[float]]], object]]] = {
    "drift": patterns.drift,
    "first_outlier": patterns.first_excess,
    "bimodal": patterns.modes,
}


def rates(make: Make, n: int, trials: int) -> dict[str, float]:
    """The share of cells of `n` samples that each caution is given for, and that any is."""
    random = Random(f"{SEED}/{n}")
    counts = dict.fromkeys((*LOOKS, "any"), 0)
    for _ in range(trials):
        samples = [make(random, n)]
        said = [name for name, look in LOOKS.items() if look(samples) is not None]
        for name in (*said, *(["any"] if said else [])):
            counts[name] += 1
    return {name: count / trials for name, count in counts.items()}


def table(trials: int) -> str:
    """Markdown: per cent of cells, by samples in the round."""
    lines = [
        "| samples | caution | " + " | ".join(f"n = {n}" for n in COUNTS) + " |",
        "|---|---|" + "---:|" * len(COUNTS),
    ]
    for name, make in NONE.items():
        of_each = [rates(make, n, trials)["any"] for n in COUNTS]
        lines.append(f"| {name} | any of the three | " + " | ".join(f"{100 * r:.1f}" for r in of_each) + " |")
    for (name, make), caution in zip(SOME.items(), ("first_outlier", "drift", "bimodal"), strict=True):
        of_each = [rates(make, n, trials)[caution] for n in COUNTS]
        lines.append(f"| {name} | `{caution}` | " + " | ".join(f"{100 * r:.0f}" for r in of_each) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="cells simulated for each figure")
    print(table(parser.parse_args().trials))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
