"""Forecasts of what rounds take, and a budget that is spent over them, from made-up records."""

from collections.abc import Sequence
from typing import Any

import pytest

from bench.grid.config import Experiment
from bench.grid.costs import Costs, StageCost
from bench.grid.plan import Cell, Job
from bench.messages import blank_record
from bench.process.budget import MARGIN, Budget
from bench.process.forecast import FIXED_S, Forecast
from bench.records import CellRecord, OutputCheck, Pass, Phase, Sample, Status
from bench.stats.stopping import Stop
from tests.bench.fakes import experiment, jobs_of


def costs_of(cell: Cell) -> Costs:
    flops = cell.batch * cell.frames * cell.height * cell.width
    return {"trunk": StageCost(flops=flops, bytes=1, fused_bytes=1, peak_bytes=1)}


def grid(*frames: int, backends: Sequence[Any] = ("cpu",), **measure: Any) -> Experiment:
    return experiment(
        grid={"frames": [*frames], "size": [[16, 16]]},
        backends=[*backends],
        measure={"warmup": 0, "repetitions": 4, "stages": "off", "memory": "off", **measure},
    )


def record(job: Job, call_s: float, calls: int = 4, **values: Any) -> CellRecord:
    """Return a round of so many calls, the cold one as long as the others."""
    samples = [
        Sample(
            pass_=Pass.END_TO_END, phase=Phase.STEADY if number else Phase.COLD, repetition=number,
            stage="forward", start_s=0.0, wall_s=call_s,
        )
        for number in range(calls + 1)
    ]  # fmt: skip
    figures = {
        "samples": tuple(samples), "round_wall_s": FIXED_S + (calls + 1) * call_s, "first_forward_s": call_s,
        "output_check": OutputCheck.REFERENCE, **values,
    }  # fmt: skip
    return blank_record(job, Status.OK, "").model_copy(update=figures)


def forecast_of(one: Experiment, *call_s: float) -> Forecast:
    """Return a forecast that knows the first cells' times of a call."""
    forecast = Forecast(one.measure, costs_of)
    for job, seconds in zip(jobs_of(one), call_s, strict=False):
        forecast.learn(job.cell, record(job, seconds))
    return forecast


def test_nothing_is_known_before_anything_is_measured() -> None:
    one = grid(1, 2)
    assert Forecast(one.measure, costs_of).seconds(jobs_of(one)) == [None, None]


def test_a_call_takes_what_the_nearest_cell_took_by_work() -> None:
    one = grid(1, 2, 8)
    jobs = jobs_of(one)
    forecast = forecast_of(one, 1.0)
    assert [forecast.call_s(job.cell) for job in jobs] == [1.0, 2.0, 8.0]
    forecast.learn(jobs[1].cell, record(jobs[1], 3.0))  # more than in proportion
    assert [forecast.call_s(job.cell) for job in jobs] == [1.0, 3.0, 12.0]
    without_costs = Forecast(one.measure, lambda _: None, [(jobs[0].cell, record(jobs[0], 1.0))])
    assert without_costs.call_s(jobs[2].cell) == 8.0  # by pixels


def test_one_disturbed_cell_of_three_changes_nothing() -> None:
    one = grid(1, 2, 3, 4)
    forecast = forecast_of(one, 1.0, 20.0, 3.0)
    assert forecast.call_s(jobs_of(one)[3].cell) == pytest.approx(4.0)


def test_a_backend_that_is_not_measured_yet_is_taken_for_its_like() -> None:
    one = grid(2, backends=["cpu", {"name": "other", "from": "cpu", "threads": 1}, "cudnn"])
    forecast = forecast_of(one, 1.0)
    assert [forecast.call_s(job.cell) for job in jobs_of(one)] == [1.0, 1.0, None]


def test_seconds_are_of_fixed_costs_the_first_call_and_the_others() -> None:
    one = grid(1, 2)
    jobs = jobs_of(one)
    forecast = Forecast(one.measure, costs_of)
    # Of 9 s, 5 calls of 1 s and 2 s more of the first: 2 s are fixed.
    forecast.learn(jobs[0].cell, record(jobs[0], 1.0, round_wall_s=7.0, first_forward_s=3.0))
    # The second clip has a reference still to be made twice, on half the threads.
    assert forecast.seconds(jobs) == [2.0 + 2.0 + 5 * 1.0, 2.0 + 2.0 + 5 * 2.0 + 2 * 2.0]


def test_the_reference_is_counted_once_for_each_clip_that_lacks_it() -> None:
    one = grid(
        1, backends=[{"name": "a", "from": "cpu", "threads": 1}, {"name": "b", "from": "cpu", "threads": 2}]
    )
    jobs = jobs_of(one)
    unchecked = record(jobs[0], 1.0, output_check=None)
    forecast = Forecast(one.measure, costs_of, [(jobs[0].cell, unchecked)])
    assert forecast.seconds(jobs) == [FIXED_S + 5.0 + (1 + 2) * 1.0, FIXED_S + 5.0]
    forecast.learn(jobs[0].cell, record(jobs[0], 1.0))
    assert forecast.seconds(jobs) == [FIXED_S + 5.0, FIXED_S + 5.0]


def test_rules_are_content_after_as_many_calls_as_they_were() -> None:
    one = grid(1, repetitions={"min": 6, "max": 60, "budget_s": 1000.0})
    jobs = jobs_of(one)
    seen = record(jobs[0], 1.0, calls=30, stop_end_to_end=Stop.TARGET)
    forecast = Forecast(one.measure, costs_of, [(jobs[0].cell, seen)])
    assert forecast.seconds(jobs)[0] == FIXED_S + 31.0
    assert forecast.least_seconds(jobs)[0] == FIXED_S + 7.0


def budget_of(one: Experiment, seconds: float, call_s: float = 1.0) -> Budget:
    """Return a budget whose clock stands still, of a grid whose every backend takes so long for a frame."""
    forecast = Forecast(one.measure, costs_of)
    for job in jobs_of(one):
        if job.cell.frames == 1:
            forecast.learn(job.cell, record(job, call_s))
    return Budget(seconds=seconds, forecast=forecast, began_s=0.0, clock=lambda: 0.0)


def left_out(budget: Budget, jobs: Sequence[Job]) -> list[str]:
    shares = budget.expected(jobs)
    return [
        f"t{job.cell.frames} {job.cell.backend.name}"
        for job, share in zip(jobs, shares, strict=True)
        if not share
    ]


TWO = ["cpu", {"name": "b", "from": "cpu", "threads": 1}]


@pytest.mark.parametrize(
    ("seconds", "gone"),
    [
        (1000.0, []),
        (142.0, []),
        (80.0, ["t4 cpu", "t4 b"]),  # the largest clip, with all its backends
        (30.0, ["t2 cpu", "t2 b", "t4 cpu", "t4 b"]),
        (10.0, ["t1 b", "t2 cpu", "t2 b", "t4 cpu", "t4 b"]),  # the baseline of the smallest stays
        (0.1, ["t1 b", "t2 cpu", "t2 b", "t4 cpu", "t4 b"]),
    ],
)
def test_the_largest_clips_are_left_out(seconds: float, gone: list[str]) -> None:
    one = grid(1, 2, 4, backends=TWO, repetitions={"min": 6, "max": 6})
    assert left_out(budget_of(one, seconds), jobs_of(one)) == gone


def test_later_rounds_go_before_backends_where_one_clip_is_too_much() -> None:
    one = grid(1, backends=TWO, repetitions=6, rounds=3, order="blocked")
    jobs = jobs_of(one)
    shares = budget_of(one, 4 * 9.5)._shares(jobs)  # of six rounds, each of 7.5 s with the margin 9
    assert [(job.round, job.cell.backend.name) for job, share in zip(jobs, shares, strict=True) if share] == [
        (0, "cpu"), (1, "cpu"), (0, "b"), (1, "b"),
    ]  # fmt: skip


def test_shares_are_what_is_left_and_no_less_than_the_least() -> None:
    one = grid(1, 2, backends=TWO, repetitions={"min": 6, "max": 60, "budget_s": 1000.0})
    jobs = jobs_of(one)
    budget = budget_of(one, 100.0)
    shares = [share or 0.0 for share in budget._shares(jobs)]
    least = [MARGIN * (each or 0.0) for each in budget.forecast.least_seconds(jobs)]
    assert sum(shares) == pytest.approx(100.0)
    assert all(share >= need for share, need in zip(shares, least, strict=True))


def test_a_budget_that_is_overrun_leaves_the_rest_out() -> None:
    one = grid(1, 2, 4, repetitions=6)
    jobs = jobs_of(one)
    now_s = [0.0]
    budget = Budget(seconds=100.0, forecast=budget_of(one, 1.0).forecast, began_s=0.0, clock=lambda: now_s[0])
    assert budget.share_s(jobs) is not None
    now_s[0] = 99.0  # it took longer than was forecast
    assert budget.share_s(jobs[1:]) is None
    now_s[0] = 0.0
    assert budget.share_s(jobs[1:]) is None  # a clip that was left out stays so, in every round
    assert budget.share_s(jobs[2:]) is not None
