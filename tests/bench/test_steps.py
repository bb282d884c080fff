"""Steps in series of known levels: which are found, which are chance, which cannot be told."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from bench.places import ROOT
from bench.statistics import step_search, steps
from bench.statistics.steps import Level, Steps, find_steps
from benchmarks import step_rates


def series(levels: Sequence[tuple[int, float]], *, scatter: float = 0.01, seed: int = 1) -> list[float]:
    """So many runs at each level, with normal scatter of their logarithms."""
    random = Random(seed)
    return [value * math.exp(random.gauss(0, scatter)) for count, value in levels for _ in range(count)]


def places(found: Steps) -> list[int]:
    return [step.after for step in found.steps]


class TestOneStep:
    @pytest.mark.parametrize(("before", "after"), [(3, 3), (5, 4), (10, 3), (3, 10), (20, 20), (100, 3)])
    def test_lies_where_the_level_changes(self, before: int, after: int) -> None:
        found = find_steps(series([(before, 2.0), (after, 2.4)]))
        assert places(found) == [before]
        assert found.steps[0].before == before - 1
        assert found.steps[0].ratio == pytest.approx(1.2, rel=0.02)
        assert [(level.first, level.last) for level in found.levels] == [
            (0, before - 1), (before, before + after - 1),
        ]  # fmt: skip

    def test_of_values_without_scatter_is_exact(self) -> None:
        found = find_steps([1.0] * 4 + [1.5] * 4)
        assert places(found) == [4]
        assert found.steps[0].ratio == pytest.approx(1.5, rel=1e-12)
        assert found.levels[0] == Level(first=0, last=3, value=pytest.approx(1.0))
        assert found.levels[1] == Level(first=4, last=7, value=pytest.approx(1.5))

    def test_down_is_as_far_as_up(self) -> None:
        up = series([(10, 1.0), (10, 1.3)])
        down = [1 / value for value in up]
        assert places(find_steps(up)) == places(find_steps(down)) == [10]
        assert find_steps(down).steps[0].ratio == pytest.approx(1 / find_steps(up).steps[0].ratio)

    @pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
    def test_does_not_depend_on_the_unit(self, unit: float) -> None:
        values = series([(10, 1.0), (10, 1.1)])
        found = find_steps([unit * value for value in values])
        assert places(found) == [10]
        assert found.steps[0].ratio == pytest.approx(find_steps(values).steps[0].ratio)

    def test_of_any_size_is_a_number(self) -> None:
        (step,) = find_steps([1e-300] * 4 + [1e300] * 4).steps
        assert 1e300 < step.ratio < math.inf
        (back,) = find_steps([1e300] * 4 + [1e-300] * 4).steps
        assert 0 < back.ratio < 1e-300

    def test_is_the_same_each_time(self) -> None:
        values = series([(9, 1.0), (9, 1.1), (9, 1.0)], scatter=0.03)
        assert find_steps(values) == find_steps(values)


class TestSeveralSteps:
    def test_one_after_the_other(self) -> None:
        assert places(find_steps(series([(10, 1.0), (10, 1.15), (10, 1.3)]))) == [10, 20]

    def test_a_level_that_comes_and_goes(self) -> None:
        assert places(find_steps(series([(30, 1.0), (6, 1.2), (30, 1.0)]))) == [30, 36]

    def test_so_many_that_none_stands_out(self) -> None:
        levels = [(25, 1.2 if number % 2 else 1.0) for number in range(10)]
        assert places(find_steps(series(levels))) == list(range(25, 250, 25))


class TestNoStep:
    def test_of_one_run(self) -> None:
        found = find_steps([0.25])
        assert found.steps == () == found.apart
        assert found.untellable is None
        assert found.levels == (Level(first=0, last=0, value=pytest.approx(0.25)),)

    @pytest.mark.parametrize("n", range(1, 2 * step_search.MIN_RUNS))
    def test_can_be_told_in_fewer_than_six_runs(self, n: int) -> None:
        assert find_steps([1.0] * (n // 2) + [9.0] * (n - n // 2)).steps == ()

    def test_in_equal_values(self) -> None:
        found = find_steps([0.5] * 20)
        assert found.steps == () == found.apart
        assert found.untellable is None

    def test_below_what_any_machine_repeats(self) -> None:
        assert find_steps([1.0] * 10 + [1 + steps.LEAST_DEVIATION] * 10).steps == ()

    def test_by_one_slow_run_or_two(self) -> None:
        values = series([(30, 1.0)])
        for place in (0, 7, 8, 20):
            values[place] *= 1.5
        found = find_steps(values)
        assert found.steps == ()
        assert found.apart == (0, 7, 8, 20)
        assert found.levels[0].value == pytest.approx(1.0, rel=0.01)

    def test_nor_does_one_in_a_short_level_move_it(self) -> None:
        values = series([(5, 1.0), (7, 1.2)])
        values[2] *= 1.6
        found = find_steps(values)
        assert places(found) == [5]
        assert found.apart == (2,)
        assert found.levels[0].value == pytest.approx(1.0, rel=0.02)
        assert found.steps[0].high / found.steps[0].low < 1.06

    def test_by_many_slow_runs_here_and_there(self) -> None:
        values = series([(40, 1.0)])
        values[2::4] = [1.2 * value for value in values[2::4]]
        found = find_steps(values)
        assert found.steps == ()
        assert found.apart == ()  # so many are no exceptions

    @pytest.mark.parametrize("n", [6, 10, 25, 60])
    def test_in_noise_but_for_one_series_in_a_hundred(self, n: int) -> None:
        trials = 150
        alarms = sum(bool(find_steps(series([(n, 1.0)], seed=seed)).steps) for seed in range(trials))
        assert alarms <= 6  # of 150 at 1 % more come once in 900 times; the seeds are fixed


class TestTheLastRuns:
    @pytest.mark.parametrize("late", [1, 2])
    def test_that_differ_are_not_yet_tellable(self, late: int) -> None:
        found = find_steps(series([(12, 1.0), (late, 1.3)]))
        assert found.steps == () == found.apart
        assert found.untellable is not None
        assert found.untellable.first == 12
        assert found.untellable.ratio == pytest.approx(1.3, rel=0.03)
        assert found.levels[-1].last == 11
        assert found.levels[-1].value == pytest.approx(1.0, rel=0.01)

    def test_are_a_level_when_there_are_three(self) -> None:
        found = find_steps(series([(12, 1.0), (3, 1.3)]))
        assert places(found) == [12]
        assert found.untellable is None

    def test_on_either_side_are_two_that_cannot_be_one_level(self) -> None:
        values = [*series([(12, 1.0)]), 0.7, 1.4]
        found = find_steps(values)
        assert found.untellable is not None
        assert found.untellable.first == 13


class TestUnequalNoise:
    def test_a_run_that_scatters_much_has_little_weight(self) -> None:
        values = [*series([(10, 1.0)]), 1.1]
        quiet = find_steps(values, [0.01] * 11)
        wide = find_steps(values, [*[0.01] * 10, 0.5])
        assert quiet.untellable is not None
        assert wide.untellable is None
        assert wide.levels[0].value < 1.005

    def test_what_is_not_known_is_as_the_others(self) -> None:
        values = series([(8, 1.0), (8, 1.2)])
        assert find_steps(values, [0.01] * 16) == find_steps(values, [0.01, None] * 8)
        assert places(find_steps(values, [None] * 16)) == [8]

    def test_a_change_inside_the_runs_own_scatter_is_none(self) -> None:
        values = [1.0, 1.001, 0.999, 1.02, 1.021, 1.019]
        assert places(find_steps(values)) == [3]
        assert find_steps(values, [0.05] * 6).steps == ()


class TestTheInterval:
    def test_holds_the_change_about_as_often_as_it_claims(self) -> None:
        held = 0
        for seed in range(150):
            (step,) = find_steps(series([(12, 1.0), (12, 1.2)], seed=1000 + seed)).steps[:1]
            held += step.low <= 1.2 <= step.high
        assert 0.88 * 150 <= held <= 150

    def test_is_wider_where_there_is_more_scatter(self) -> None:
        narrow, wide = (
            find_steps(series([(12, 1.0), (12, 1.3)], scatter=scatter)).steps[0] for scatter in (0.01, 0.05)
        )
        assert wide.high / wide.low > narrow.high / narrow.low > 1


class TestTheSearch:
    def test_weighs_every_place_as_the_sums_of_squares_say(self) -> None:
        random = np.random.default_rng(4)
        logs, weights = random.normal(size=(1, 15)), random.uniform(0.5, 2, size=(1, 15))
        for where in (step_search.halves(15), step_search.arcs(15)):
            found = step_search.best(logs, weights, where, 0.0)
            explained = [
                _squares(logs[0], weights[0], np.zeros(15))
                - _squares(logs[0], weights[0], (np.arange(15) >= first) & (np.arange(15) < end))
                for first, end in zip(*where, strict=True)
            ]
            place = int(np.argmax(explained))
            assert (found.first[0], found.end[0]) == (where[0][place], where[1][place])

    def test_t_is_students_where_neighbours_are_not_alike(self) -> None:
        logs = np.array([[1.0, -1.0, 1.0, -1.0, 6.0, 4.0, 6.0, 4.0]])  # neighbours differ: nothing is widened
        found = step_search.best(logs, np.ones((1, 8)), (np.array([0]), np.array([4])), 0.0)
        # Means 0 and 5, eight squares of 1 with six degrees of freedom.
        assert found.score[0] == pytest.approx(5 / math.sqrt(8 / 6 * (1 / 4 + 1 / 4)))

    def test_arcs_leave_a_level_on_both_sides(self) -> None:
        first, end = step_search.arcs(60)
        assert first.min() == step_search.MIN_RUNS
        assert end.max() == 60 - step_search.MIN_RUNS
        assert (end - first).min() == step_search.MIN_ARC
        assert len(step_search.arcs(2 * step_search.MIN_RUNS + step_search.MIN_ARC - 1)[0]) == 0


def _squares(logs: np.ndarray, weights: np.ndarray, part: np.ndarray) -> float:
    return sum(
        float(
            (weights[inside] * (logs[inside] - np.average(logs[inside], weights=weights[inside])) ** 2).sum()
        )
        for inside in (part == 0, part == 1)
        if inside.any()
    )


class TestTheRates:
    def test_count_what_is_found(self) -> None:
        normal = step_rates.INDEPENDENT["normal"]
        assert step_rates.alarms(normal, 5, 20) == 0  # too few runs for a step
        assert step_rates.alarms(lambda _, n: [0.0] * (n // 2) + [1.0] * (n - n // 2), 20, 5) == 1
        hit, elsewhere, held = step_rates.found(normal, 10, 10, 0.5, 20)
        assert hit == 1
        assert elsewhere < 0.3
        assert held > 0.7

    def test_the_docs_say_of_the_a_a_runs_what_is_seen_there(self) -> None:
        page = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
        rows = [line.split("|") for line in step_rates.a_a_table(1).splitlines()]
        assert len(rows) == 2 + 4
        for row in rows[2:]:
            (there,) = [
                line.split("|") for line in page.splitlines() if line.startswith(f"|{row[1].rstrip()} ")
            ]
            told = [
                cell.strip() for place, cell in enumerate(there) if place != 6
            ]  # shuffles: of one order here
            assert told == [cell.strip() for place, cell in enumerate(row) if place != 6]
