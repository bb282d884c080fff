"""How often the intervals hold the truth, on simulated times whose truth is known.

`python -m benchmarks.coverage` prints the tables of docs/statistics.md; `--runs` and `--seed` change how
many simulations stand behind a figure, and which. The simulated times go through the functions that a run's
times go through (bench.statistics). Some minutes on one core.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from statistics import NormalDist, fmean, median, quantiles
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.statistics.stats import (
    CONFIDENCE,
    Summary,
    differs,
    median_interval,
    paired_ratio,
    ratio,
    spread,
    summarise,
)
from bench.statistics.steady import Steadiness, steadiness
from bench.statistics.stopping import Rule, Stop, decide

RUNS: Final = 10_000
"""Simulations behind a figure: it is good to 0.4 points then (two standard errors at 95 %)."""

SEED: Final = 20260101

WITHIN: Final = 0.01
"""Deviation of the samples of a process, as a fraction of their median."""

BETWEEN: Final = 0.02
"""Deviation of the processes' levels, as a fraction of their median: twice that within is seen on GPUs."""

SAMPLES: Final = 7
"""Samples of a round where the table is about rounds: the default of `measure.repetitions`."""

Samples = list[float]
Rounds = list[Samples]
Draw = npt.NDArray[np.float64]


class Shape(StrEnum):
    """How values scatter. Each has the median 0 and a deviation of about 1 where that can be said."""

    NORMAL = "normal"
    SKEWED = "skewed"  # lognormal with a deviation of 1 of the logarithm: a long tail of slow calls
    BIMODAL = "bimodal"  # seven of ten in one mode, the others four deviations slower
    DRIFTING = (
        "drifting"  # normal on a line that rises by four deviations in fifty values, or in all if fewer
    )
    WANDERING = (
        "wandering"  # each value keeps 0.7 of the last one's distance: autoregressive, not independent
    )


_SLOW_PART: Final = 0.3
_SLOW_BY: Final = 4.0
_MODE_DEVIATION: Final = 0.3
_DRIFT: Final = 4.0
_DRIFT_VALUES: Final = 50
_KEPT: Final = 0.7


def scatter(shape: Shape, random: np.random.Generator, size: tuple[int, int]) -> Draw:
    """Values with the median 0: a row per simulation, a column per value in the order of time."""
    normal = random.standard_normal(size)
    match shape:
        case Shape.NORMAL:
            return normal
        case Shape.SKEWED:
            return np.exp(normal) - 1
        case Shape.BIMODAL:
            slow = random.random(size) < _SLOW_PART
            return _MODE_DEVIATION * normal + _SLOW_BY * slow - _bimodal_median()
        case Shape.DRIFTING:
            return normal + drift(size[1], size[1])
        case Shape.WANDERING:
            for column in range(1, size[1]):
                fresh = math.sqrt(1 - _KEPT**2) * normal[:, column]
                normal[:, column] = _KEPT * normal[:, column - 1] + fresh
            return normal


def drift(count: int, length: int) -> Draw:
    """The line of the first values of a drifting series, 0 in the middle of its whole length."""
    slope = _DRIFT / min(max(1, length - 1), _DRIFT_VALUES)
    return slope * (np.arange(count, dtype=np.float64) - (length - 1) / 2)


@cache
def _bimodal_median() -> float:
    """By bisection: nothing closed says it."""
    fast, slow = NormalDist(0, _MODE_DEVIATION), NormalDist(_SLOW_BY, _MODE_DEVIATION)
    low, high = 0.0, _SLOW_BY
    while high - low > 1e-12:
        middle = (low + high) / 2
        below = (1 - _SLOW_PART) * fast.cdf(middle) + _SLOW_PART * slow.cdf(middle)
        low, high = (middle, high) if below < 0.5 else (low, middle)
    return low


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Simulated cells: their rounds, the samples of each, and how both scatter. The true median is 1."""

    rounds: int = 1
    samples: int = SAMPLES
    within: Shape = Shape.NORMAL
    between: Shape = Shape.NORMAL
    between_deviation: float = 0.0
    within_deviation: float = WITHIN

    def cells(self, runs: int, random: np.random.Generator) -> Iterable[tuple[Samples, Rounds]]:
        """The true level of each process and its samples, a cell per run."""
        levels = 1 + self.between_deviation * scatter(self.between, random, (runs, self.rounds))
        noise = scatter(self.within, random, (runs * self.rounds, self.samples))
        values = levels[..., None] * (1 + self.within_deviation * noise.reshape(runs, self.rounds, -1))
        return zip(levels.tolist(), values.tolist(), strict=True)


@dataclass(frozen=True, kw_only=True)
class Covered:
    """Of many simulations: how many had an interval, the part of those that held the truth, their width."""

    intervals: int
    part: float
    half_width: float  # the median one, as a fraction of the truth


def covered(bounds: Iterable[tuple[float | None, float | None, float]]) -> Covered:
    """Of (low, high, truth) of each simulation."""
    whole = [(low, high, truth) for low, high, truth in bounds if low is not None and high is not None]
    return Covered(
        intervals=len(whole),
        part=fmean(low <= truth <= high for low, high, truth in whole),
        half_width=median((high - low) / 2 / truth for low, high, truth in whole),
    )


def of_next_process(scenario: Scenario, runs: int, random: np.random.Generator) -> Covered:
    """Of `summarise` for the median over all processes that there could be."""
    return covered(_ends(summarise(rounds), 1.0) for _, rounds in scenario.cells(runs, random))


def of_these_processes(scenario: Scenario, runs: int, random: np.random.Generator) -> Covered:
    """Of `summarise` for the median level of the processes that were measured."""
    return covered(
        _ends(summarise(rounds), median(levels)) for levels, rounds in scenario.cells(runs, random)
    )


def of_ratios(
    scenario: Scenario, runs: int, random: np.random.Generator, other: Scenario | None = None
) -> Covered:
    """Of `ratio`, of two cells of the scenario, or of two scenarios, whose true ratio is 1."""
    return covered(
        (found.low, found.high, 1.0)
        for base, new in _pairs(scenario, runs, random, other)
        if (found := ratio(base, new))
    )


def of_paired_ratios(scenario: Scenario, runs: int, random: np.random.Generator) -> Covered:
    """Of `paired_ratio`, true ratio 1: the shape's scatter hits both of a pair alike, noise each alone."""

    def noisy(rounds: Rounds) -> Rounds:
        return [(np.array(samples) * _noise(random, len(samples))).tolist() for samples in rounds]

    return covered(
        _ends(paired_ratio(noisy(rounds), noisy(rounds)), 1.0) for _, rounds in scenario.cells(runs, random)
    )


def _noise(random: np.random.Generator, count: int) -> Draw:
    return 1 + WITHIN * random.standard_normal(count)


def false_alarms(scenario: Scenario, runs: int, random: np.random.Generator) -> float:
    """The part of comparisons of a cell with its own repeat that find a difference."""
    found = [differs(base, new) for base, new in _pairs(scenario, runs, random)]
    return fmean(bool(verdict) for verdict in found if verdict is not None)


def _pairs(
    scenario: Scenario, runs: int, random: np.random.Generator, other: Scenario | None = None
) -> Iterable[tuple[Summary, Summary]]:
    base, new = scenario.cells(runs, random), (other or scenario).cells(runs, random)
    for (_, of_base), (_, of_new) in zip(base, new, strict=True):
        yield summarise(of_base), summarise(of_new)


def _ends(summary: Summary, truth: float) -> tuple[float | None, float | None, float]:
    return summary.low, summary.high, truth


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What a stopping rule did in many simulations: coverage, mean samples, how often it met its target."""

    covered: Covered
    samples: float
    met: float


Decide = Callable[[Rule, Sequence[float], float], Stop | None]


def looking(confidence: float, growth: float) -> Decide:
    """A rule of another confidence and other looks than bench.statistics.stopping's, to compare with it."""

    def by(rule: Rule, values: Sequence[float], _elapsed_s: float) -> Stop | None:
        if len(values) not in _looks(rule.min, rule.max, growth):
            return None
        bounds, middle = median_interval(values, confidence), median(values)
        if bounds and rule.target and max(middle - bounds[0], bounds[1] - middle) <= rule.target * middle:
            return Stop.TARGET
        return Stop.MAX if len(values) >= rule.max else None

    return by


@cache
def _looks(minimum: int, maximum: int, growth: float) -> frozenset[int]:
    counts = [minimum]
    while counts[-1] < maximum:
        counts.append(min(maximum, max(counts[-1] + 1, round(counts[-1] * growth))))
    return frozenset(counts)


looking_always: Final = looking(CONFIDENCE, 1.0)
"""The rule that one would write first: the reported interval itself, compared after every sample."""


def stopped(
    scenario: Scenario, rule: Rule, runs: int, random: np.random.Generator, by: Decide = decide
) -> Stopped:
    """Of cells whose rounds each stop by the rule; the scenario's samples are the most that a round has.

    The truth is that of these processes for one round, and that of all processes for more. Of samples that
    drift it is their level in the middle of the time that was sampled.
    """
    ends, counts, reasons = [], [], []
    for levels, rounds in scenario.cells(runs, random):
        kept = []
        for samples in rounds:
            count, reason = _until(rule, samples, by)
            kept.append(samples[:count])
            counts.append(count)
            reasons.append(reason)
        truth = 1.0 if len(levels) > 1 else levels[0]
        if scenario.within is Shape.DRIFTING:
            truth *= 1 + scenario.within_deviation * float(drift(len(kept[0]), scenario.samples).mean())
        ends.append(_ends(summarise(kept), truth))
    met = fmean(reason is Stop.TARGET for reason in reasons)
    return Stopped(covered=covered(ends), samples=fmean(counts), met=met)


def _until(rule: Rule, samples: Samples, by: Decide) -> tuple[int, Stop]:
    taken: Samples = []
    for sample in samples:
        taken.append(sample)
        if reason := by(rule, taken, 0.0):
            return len(taken), reason
    raise ValueError(f"{len(samples)} samples do not reach the rule's end at {rule.max}")


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    """What warm-up did in many simulations."""

    calls: float  # the mean number of calls after the cold one
    most: int  # the number that 95 % stayed within
    gave_up: float  # the part that never became steady
    left: float  # the mean excess of the first call that is measured, as a fraction of the steady level


def warmed_up(
    transient: Callable[[int], float], noise: Shape, deviation: float, runs: int, random: np.random.Generator
) -> WarmedUp:
    """Of series of calls of one second: 1 + transient(call), and noise upon that; call 0 is the cold one."""
    length = 40
    level = np.array([1 + transient(call) for call in range(length)])
    counts, gave_up = [], 0
    for walls in (level * (1 + deviation * scatter(noise, random, (runs, length)))).tolist():
        count = 0
        while (said := steadiness(walls[0], walls[1 : 1 + count])) is Steadiness.NOT_YET:
            count += 1
        counts.append(count)
        gave_up += said is Steadiness.GAVE_UP
    return WarmedUp(
        calls=fmean(counts),
        most=sorted(counts)[math.ceil(0.95 * runs) - 1],
        gave_up=gave_up / runs,
        left=fmean(transient(count + 1) for count in counts),
    )


TRANSIENTS: Final[dict[str, Callable[[int], float]]] = {
    "none but a cold call that takes 4 times as long": lambda call: 3.0 * (call == 0),
    "cold call and the two after it tune, 8 times as long": lambda call: 7.0 * (call < 3),
    "30 % too slow at first, a third less with each call": lambda call: 0.3 * (2 / 3) ** call,
    "10 % faster with each call, five times": lambda call: 0.1 * max(0, 5 - call),
}


def percent(part: float, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f}"


def markdown(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join((f"**{title}**", "", *lines))


def tables(runs: int, seed: int) -> str:
    """All tables as Markdown. Each has random numbers of its own: one can change without the others."""
    makers = (
        process_table, rounds_table, next_process_table, stopping_table, ratio_table, alarm_table,
        spread_table, warm_up_table, modes_table, rules_table,
    )  # fmt: skip
    return "\n\n".join(
        maker(runs, np.random.default_rng((seed, number))) for number, maker in enumerate(makers)
    )


SHAPES: Final = (Shape.NORMAL, Shape.SKEWED, Shape.BIMODAL, Shape.DRIFTING)


def process_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int, samples: int) -> list[str]:
        found = [
            of_these_processes(
                Scenario(rounds=rounds, samples=samples, within=shape, between_deviation=BETWEEN),
                runs,
                random,
            )
            for shape in Shape
        ]
        return [str(rounds), str(samples), *(percent(one.part) for one in found)]

    return markdown(
        "`within_process`: coverage in % of the level of the processes that were measured",
        ["rounds", "samples each", *Shape],
        [row(1, 6), row(1, 7), row(1, 9), row(1, 20), row(1, 50), row(2, 7), row(2, 20)],
    )


def rounds_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int) -> list[str]:
        scenarios = [
            Scenario(rounds=rounds, between=shape, within=shape, between_deviation=BETWEEN)
            for shape in SHAPES
        ]
        found = [of_next_process(scenario, runs, random) for scenario in scenarios]
        kind = summarise([[1.0] * SAMPLES] * rounds).interval
        return [
            str(rounds),
            f"`{kind}`",
            *(percent(one.part) for one in found),
            f"± {percent(found[0].half_width)}",
        ]

    return markdown(
        f"Rounds as the unit: coverage in % of the median over all processes, {SAMPLES} samples in each",
        ["rounds", "kind", *SHAPES, "half width, normal, %"],
        [row(rounds) for rounds in (3, 4, 5, 6, 7, 8, 10, 20)],
    )


def next_process_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int, between: float) -> list[str]:
        found = of_next_process(Scenario(rounds=rounds, samples=20, between_deviation=between), runs, random)
        return [str(rounds), percent(between, 0), percent(found.part)]

    return markdown(
        "What `within_process` does not say: how often it holds the median over all processes, 20 samples, "
        f"deviation within {percent(WITHIN, 0)} %",
        ["rounds", "deviation between, %", "coverage, %"],
        [row(rounds, between) for rounds in (1, 2) for between in (0.0, 0.01, 0.02)],
    )


def stopping_table(runs: int, random: np.random.Generator) -> str:
    most = 400

    def row(shape: Shape, rounds: int, target: float) -> list[str]:
        scenario = Scenario(rounds=rounds, samples=most, within=shape, between_deviation=BETWEEN)
        rule = Rule(min=6, max=most, target=target)
        # A cell of several rounds is made of as many simulations.
        used = max(1, runs // rounds)
        ours = stopped(scenario, rule, used, random)
        always = stopped(scenario, rule, used, random, looking_always)
        return [
            shape, str(rounds), percent(target, 2), percent(ours.covered.part), f"{ours.samples:.0f}",
            percent(ours.met, 0), percent(always.covered.part), f"{always.samples:.0f}",
        ]  # fmt: skip

    rows = [row(shape, 1, target) for shape in Shape for target in (0.0025, 0.005, 0.01, 0.02)]
    rows += [row(shape, 6, 0.005) for shape in Shape if shape is not Shape.DRIFTING]
    return markdown(
        f"Sampling until the target is met, at most {most}: coverage in %, samples of a round",
        [
            "shape",
            "rounds",
            "target, %",
            "coverage",
            "samples",
            "met, %",
            "looking always: coverage",
            "samples",
        ],
        rows,
    )


def rules_table(runs: int, random: np.random.Generator) -> str:
    most = 400
    rules = [
        ("95 %, always", looking_always),
        ("95 %, by a quarter", looking(0.95, 1.25)),
        ("98 %, by a twentieth: the rule", decide),
        ("98 %, by a quarter", looking(0.98, 1.25)),
        ("99 %, by a twentieth", looking(0.99, 1.05)),
    ]

    def row(name: str, by: Decide) -> Iterable[str]:
        yield name
        for shape in (Shape.NORMAL, Shape.SKEWED):
            for target in (0.003, 0.005):
                rule = Rule(min=6, max=most, target=target)
                found = stopped(Scenario(samples=most, within=shape), rule, runs, random, by)
                yield f"{percent(found.covered.part)} ({found.samples:.0f})"

    header = [f"{shape}, {percent(target)}" for shape in ("normal", "skewed") for target in (0.003, 0.005)]
    return markdown(
        "Rules that stop otherwise: coverage in % (samples), by shape and target in %",
        ["confidence to stop, looks", *header],
        [list(row(*rule)) for rule in rules],
    )


def modes_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int, samples: int) -> list[str]:
        found = [
            of_next_process(
                Scenario(
                    rounds=rounds,
                    samples=samples,
                    within=within,
                    between=Shape.BIMODAL,
                    between_deviation=BETWEEN,
                ),
                runs,
                random,
            )
            for within in (Shape.NORMAL, Shape.BIMODAL)
        ]
        return [str(rounds), str(samples), *(percent(one.part) for one in found)]

    return markdown(
        "Many rounds of few samples: coverage in % where processes have two modes",
        ["rounds", "samples each", "normal within", "bimodal within"],
        [row(20, 7), row(50, 7), row(20, 51)],
    )


def ratio_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int, samples: int) -> list[str]:
        between = BETWEEN if rounds > 1 else 0.0
        scenarios = [
            Scenario(rounds=rounds, samples=samples, within=shape, between=shape, between_deviation=between)
            for shape in SHAPES
        ]
        steadier = replace(
            scenarios[0],
            between_deviation=between / 8,
            within_deviation=WITHIN / 8 if rounds == 1 else WITHIN,
        )
        paired = [
            Scenario(rounds=rounds, samples=samples, within=shape, within_deviation=0.1) for shape in SHAPES
        ]
        return [
            str(rounds), str(samples),
            *(percent(of_ratios(scenario, runs, random).part) for scenario in scenarios),
            percent(of_ratios(scenarios[0], runs, random, steadier).part),
            *(percent(of_paired_ratios(scenario, runs, random).part) for scenario in paired),
        ]  # fmt: skip

    return markdown(
        "Ratios: coverage in %, of two cells of the same shape, and of pairs that share what the shape says",
        ["rounds", "samples each", *SHAPES, "one side an eighth", *(f"paired, {shape}" for shape in SHAPES)],
        [row(1, 7), row(1, 20), row(3, 7), row(5, 7), row(6, 7), row(10, 7)],
    )


def alarm_table(runs: int, random: np.random.Generator) -> str:
    def row(rounds: int) -> list[str]:
        scenarios = [Scenario(rounds=rounds, between=shape, between_deviation=BETWEEN) for shape in SHAPES]
        return [str(rounds), *(percent(false_alarms(scenario, runs, random)) for scenario in scenarios)]

    return markdown(
        "A run against its repeat: false alarms in %",
        ["rounds", *SHAPES],
        [row(rounds) for rounds in (3, 5, 6, 7, 10)],
    )


def spread_table(runs: int, random: np.random.Generator) -> str:
    def middle(values: Sequence[float]) -> str:
        low, half, high = quantiles(values, n=4)
        return f"{percent(half, 2)} ({percent(low, 2)} to {percent(high, 2)})"

    def row(shape: Shape, rounds: int, between: float) -> list[str]:
        scenario = Scenario(rounds=rounds, within=shape, between_deviation=between)
        found = [spread(one) for _, one in scenario.cells(runs, random)]
        return [
            shape, str(rounds), percent(between, 0),
            middle([one.within for one in found if one.within is not None]),
            middle([one.between for one in found if one.between is not None]),
        ]  # fmt: skip

    rows = [row(Shape.NORMAL, rounds, between) for rounds in (2, 3, 5, 10) for between in (0.0, 0.02)]
    rows += [row(Shape.SKEWED, 5, between) for between in (0.0, 0.02)]
    return markdown(
        f"Spread: the median estimate in %, and the middle half; within is {percent(WITHIN, 0)} %, "
        f"{SAMPLES} samples each",
        ["shape within", "rounds", "true between", "within", "between"],
        rows,
    )


def warm_up_table(runs: int, random: np.random.Generator) -> str:
    def row(name: str, noise: Shape, deviation: float) -> list[str]:
        found = warmed_up(TRANSIENTS[name], noise, deviation, runs, random)
        return [
            name, noise, percent(deviation, 0), f"{found.calls:.1f}", str(found.most), percent(found.gave_up),
            percent(found.left),
        ]  # fmt: skip

    noises = ((Shape.NORMAL, 0.01), (Shape.SKEWED, 0.03), (Shape.NORMAL, 0.1))
    return markdown(
        "Warm-up until steady, calls of one second",
        [
            "at first",
            "noise",
            "its deviation, %",
            "calls, mean",
            "95 % within",
            "gave up, %",
            "too slow still, %",
        ],
        [row(name, *noise) for name in TRANSIENTS for noise in noises],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulations behind a figure")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args(argv)
    sys.stdout.write(tables(asked.runs, asked.seed) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
