"""The statistics on simulated times of known truth, and docs/statistics.md against what made it."""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from bench.statistics.stats import CONFIDENCE, IntervalKind, median_interval, spread, summarise
from bench.statistics.stopping import Rule
from benchmarks.coverage import (
    BETWEEN,
    RUNS,
    SEED,
    TRANSIENTS,
    WITHIN,
    Scenario,
    Shape,
    drift,
    false_alarms,
    looking_always,
    of_next_process,
    of_paired_ratios,
    of_ratios,
    of_these_processes,
    scatter,
    stopped,
    tables,
    warmed_up,
)

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "statistics.md"

FEW_RUNS: Final = 800
"""Simulations behind a figure here: two standard errors of 95 % are 1.5 points."""

ALLOWED: Final = 0.02 + 0.02
"""Two points under the nominal coverage, and two more for FEW_RUNS."""

INDEPENDENT: Final = (Shape.NORMAL, Shape.SKEWED, Shape.BIMODAL, Shape.DRIFTING)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


class TestShapes:
    @pytest.mark.parametrize("shape", Shape)
    def test_have_the_median_0(self, shape: Shape, random: np.random.Generator) -> None:
        values = scatter(shape, random, (4000, 20))
        # A bimodal distribution has few values near its median, so that of a sample wanders most.
        assert np.mean(values < 0) == pytest.approx(0.5, abs=0.01)

    def test_drift_is_of_four_deviations(self) -> None:
        assert drift(10, 10).tolist() == pytest.approx(np.linspace(-2, 2, 10).tolist())
        assert np.diff(drift(400, 400)).tolist() == pytest.approx([4 / 50] * 399)
        assert drift(400, 400).mean() == pytest.approx(0)

    def test_wandering_values_keep_their_deviation(self, random: np.random.Generator) -> None:
        values = scatter(Shape.WANDERING, random, (4000, 20))
        assert values[:, -1].std() == pytest.approx(1, abs=0.05)
        assert np.corrcoef(values[:, -2], values[:, -1])[0, 1] == pytest.approx(0.7, abs=0.05)


class TestIntervals:
    @pytest.mark.parametrize("shape", INDEPENDENT)
    @pytest.mark.parametrize(("rounds", "samples"), [(1, 6), (1, 20), (2, 7)])
    def test_hold_the_processes_own_level(
        self, shape: Shape, rounds: int, samples: int, random: np.random.Generator
    ) -> None:
        scenario = Scenario(rounds=rounds, samples=samples, within=shape, between_deviation=BETWEEN)
        found = of_these_processes(scenario, FEW_RUNS, random)
        assert found.intervals == FEW_RUNS
        assert found.part > CONFIDENCE - ALLOWED

    @pytest.mark.parametrize("shape", INDEPENDENT)
    @pytest.mark.parametrize("rounds", [3, 4, 5, 6, 10])
    def test_of_rounds_hold_the_level_of_all_processes(
        self, shape: Shape, rounds: int, random: np.random.Generator
    ) -> None:
        scenario = Scenario(rounds=rounds, within=shape, between=shape, between_deviation=BETWEEN)
        found = of_next_process(scenario, FEW_RUNS, random)
        assert found.intervals == FEW_RUNS
        assert found.part > CONFIDENCE - ALLOWED

    def test_of_order_statistics_cover_what_the_binomial_distribution_says(
        self, random: np.random.Generator
    ) -> None:
        found = of_these_processes(Scenario(samples=6, within=Shape.SKEWED), 4000, random)
        assert found.part == pytest.approx(1 - 2 / 2**6, abs=0.01)

    def test_of_one_process_say_nothing_of_the_next(self, random: np.random.Generator) -> None:
        """What `within_process` warns of."""
        scenario = Scenario(samples=20, between_deviation=BETWEEN)
        assert of_next_process(scenario, FEW_RUNS, random).part < 0.5

    def test_of_samples_that_depend_on_each_other_cover_too_little(self, random: np.random.Generator) -> None:
        """A limit that docs/statistics.md names: rounds mend it."""
        one = Scenario(samples=20, within=Shape.WANDERING)
        assert of_these_processes(one, FEW_RUNS, random).part < 0.8
        six = Scenario(rounds=6, samples=20, within=Shape.WANDERING)
        assert of_next_process(six, FEW_RUNS, random).part > CONFIDENCE - ALLOWED

    def test_pooling_rounds_would_cover_too_little(self, random: np.random.Generator) -> None:
        """Why the round is the unit: samples of five processes taken as if they were independent."""
        scenario = Scenario(rounds=5, samples=20, between_deviation=BETWEEN)
        held = []
        for _, rounds in scenario.cells(FEW_RUNS, random):
            bounds = median_interval([sample for samples in rounds for sample in samples])
            assert bounds is not None
            held.append(bounds[0] <= 1 <= bounds[1])
        assert np.mean(held) < 0.7


class TestStopping:
    RULE = Rule(min=6, max=100, target=0.005)

    @pytest.mark.parametrize("shape", INDEPENDENT)
    def test_leaves_an_interval_that_covers(self, shape: Shape, random: np.random.Generator) -> None:
        found = stopped(Scenario(samples=100, within=shape), self.RULE, FEW_RUNS, random)
        assert found.covered.intervals == FEW_RUNS
        assert found.covered.part > CONFIDENCE - ALLOWED

    def test_of_each_round_leaves_that_of_rounds_whole(self, random: np.random.Generator) -> None:
        scenario = Scenario(rounds=6, samples=100, within=Shape.SKEWED, between_deviation=BETWEEN)
        found = stopped(scenario, self.RULE, FEW_RUNS // 4, random)
        assert found.covered.part > CONFIDENCE - ALLOWED

    def test_takes_more_where_samples_scatter_more(self, random: np.random.Generator) -> None:
        quiet, loud = (
            stopped(Scenario(samples=100, within_deviation=deviation), self.RULE, 200, random)
            for deviation in (WITHIN / 4, WITHIN)
        )
        assert quiet.samples < 12
        assert loud.samples > 30
        assert (quiet.met, loud.met) == (1.0, pytest.approx(1.0, abs=0.1))
        assert loud.covered.half_width <= self.RULE.target or 0

    def test_covers_more_than_looking_always(self, random: np.random.Generator) -> None:
        """On the same samples, at the target where that does worst."""
        scenario = Scenario(samples=200, within=Shape.SKEWED)
        rule = Rule(min=6, max=200, target=0.005)
        ours = stopped(scenario, rule, FEW_RUNS, np.random.default_rng(1))
        always = stopped(scenario, rule, FEW_RUNS, np.random.default_rng(1), looking_always)
        assert ours.covered.part > always.covered.part
        assert ours.samples > always.samples


class TestRatios:
    @pytest.mark.parametrize("shape", INDEPENDENT)
    @pytest.mark.parametrize("rounds", [1, 3, 6])
    def test_cover(self, shape: Shape, rounds: int, random: np.random.Generator) -> None:
        scenario = Scenario(
            rounds=rounds, within=shape, between=shape, between_deviation=BETWEEN if rounds > 1 else 0
        )
        assert of_ratios(scenario, FEW_RUNS // 2, random).part > CONFIDENCE - ALLOWED

    @pytest.mark.parametrize("shape", INDEPENDENT)
    def test_of_pairs_cover_what_hits_both_alike(self, shape: Shape, random: np.random.Generator) -> None:
        scenario = Scenario(rounds=3, within=shape, within_deviation=0.1)
        found = of_paired_ratios(scenario, FEW_RUNS, random)
        assert found.part > CONFIDENCE - ALLOWED
        # The shape's own scatter is ten times the pairs' noise and does not show.
        assert found.half_width < 3 * WITHIN

    @pytest.mark.parametrize("shape", INDEPENDENT)
    @pytest.mark.parametrize("rounds", [3, 6])
    def test_a_repeat_differs_seldom(self, shape: Shape, rounds: int, random: np.random.Generator) -> None:
        scenario = Scenario(rounds=rounds, between=shape, between_deviation=BETWEEN)
        assert false_alarms(scenario, FEW_RUNS, random) < 1 - CONFIDENCE


class TestSpread:
    def test_finds_both_parts(self, random: np.random.Generator) -> None:
        scenario = Scenario(rounds=10, between_deviation=BETWEEN)
        found = [spread(rounds) for _, rounds in scenario.cells(200, random)]
        assert np.median([one.within for one in found if one.within]) == pytest.approx(WITHIN, rel=0.1)
        assert np.median([one.between for one in found if one.between]) == pytest.approx(BETWEEN, rel=0.1)

    def test_finds_no_processes_that_differ_where_there_are_none(self, random: np.random.Generator) -> None:
        found = [spread(rounds) for _, rounds in Scenario(rounds=5).cells(200, random)]
        assert np.median([one.between for one in found if one.between is not None]) < WITHIN / 4

    @pytest.mark.parametrize("samples", [2, 3, 5, 9, 12])
    def test_within_is_right_for_few_samples(self, samples: int, random: np.random.Generator) -> None:
        """The factors for small samples: without them five samples would show four fifths of it."""
        found = [spread(rounds).within for _, rounds in Scenario(samples=samples).cells(3000, random)]
        assert np.mean([one for one in found if one is not None]) == pytest.approx(WITHIN, rel=0.05)


class TestWarmUp:
    def test_three_calls_where_nothing_is_to_settle(self, random: np.random.Generator) -> None:
        found = warmed_up(next(iter(TRANSIENTS.values())), Shape.NORMAL, 0.01, 300, random)
        assert (found.calls, found.most) == (pytest.approx(3, abs=0.1), 3)
        assert found.gave_up == 0

    @pytest.mark.parametrize("name", TRANSIENTS)
    def test_ends_when_what_settles_has(self, name: str, random: np.random.Generator) -> None:
        found = warmed_up(TRANSIENTS[name], Shape.SKEWED, 0.02, 300, random)
        assert found.left < 0.03
        assert found.calls < 8
        assert found.gave_up < 0.02


class TestTheDocument:
    NUMBER = re.compile(r"\d+(\.\d+)?")

    @staticmethod
    def written() -> str:
        text = DOCUMENT.read_text(encoding="utf-8")
        return text.split("<!-- coverage: begin -->\n")[1].split("<!-- coverage: end -->")[0].strip()

    def test_has_the_tables_that_the_program_prints(self) -> None:
        """Their titles, headers and rows; what the cells hold is for the slow test."""

        def frame(text: str) -> list[str]:
            return [self.NUMBER.sub("#", line) for line in text.splitlines()]

        assert frame(self.written()) == frame(tables(12, SEED))

    def test_names_every_kind(self) -> None:
        text = DOCUMENT.read_text(encoding="utf-8")
        assert [kind for kind in IntervalKind if f"`{kind}`" not in text] == []

    @pytest.mark.slow
    def test_has_the_figures_that_the_program_prints(self) -> None:
        """Another processor's last digits move a simulation or two over an edge; numpy's streams are kept."""
        expected = tables(RUNS, SEED)
        found = self.written()
        assert self.NUMBER.sub("#", found) == self.NUMBER.sub("#", expected)
        ours, theirs = (
            [float(number.group()) for number in self.NUMBER.finditer(text)] for text in (found, expected)
        )
        assert ours == pytest.approx(theirs, abs=0.2, rel=0.01)


def test_a_summary_s_kind_is_what_its_coverage_was_shown_for() -> None:
    kinds = {rounds: summarise([[1.0] * 7] * rounds).interval for rounds in range(1, 8)}
    assert list(kinds.values()) == [
        *[IntervalKind.WITHIN_PROCESS] * 2,
        *[IntervalKind.BETWEEN_ROUNDS_T] * 3,
        *[IntervalKind.BETWEEN_ROUNDS] * 2,
    ]
