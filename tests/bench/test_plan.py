"""Cells, their order and names, filters, schedules and groups."""

from collections.abc import Sequence
from typing import Any

import pytest

from bench.grid.config import Experiment
from bench.grid.config_measure import Measure
from bench.grid.plan import Cell, Job, cells, groups, round_count, schedule
from vsr_model.errors import BadInput


def experiment(**fields: Any) -> Experiment:
    given = {
        "name": "trial",
        "input": ({"name": "noise", "kind": "random"},),
        "grid": {"batch": (1,), "frames": (1, 4), "size": ((64, 64),)},
        "backends": ("cpu", "cuda"),
    } | fields
    return Experiment.model_validate(given)


def ids(found: Sequence[Cell]) -> list[str]:
    return [cell.id for cell in found]


def test_cells_are_the_product_of_the_axes_in_order() -> None:
    full = experiment(
        model=("basicvsr", {"name": "egvsr", "num_blocks": 3}),
        input=({"name": "a", "kind": "random"}, {"name": "b", "kind": "random", "grid": {"frames": (7,)}}),
        grid={"batch": (1, 2), "frames": (1, 4), "size": ((64, 64), (32, 48))},
    )
    assert ids(cells(full)) == [
        f"{model}/{name}/b{batch}/t{frames}/{size}/{backend}"
        for model in ("basicvsr", "egvsr")
        for name, axis in (("a", (1, 4)), ("b", (7,)))
        for batch in (1, 2)
        for size in ("64x64", "32x48")
        for frames in axis
        for backend in ("cpu", "cuda")
    ]
    assert len(cells(full)) == full.cell_count()


def test_the_reference_of_a_cell_has_a_name_of_its_own() -> None:
    cell = cells(experiment())[1]
    assert cell.id == "basicvsr/noise/b1/t1/64x64/cuda"
    assert (cell.batch, cell.frames, cell.height, cell.width) == (1, 1, 64, 64)
    assert cell.reference.id == "basicvsr/noise/b1/t1/64x64/"
    assert cell.reference.backend.is_reference


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["backend=cpu"], ["t1/cpu", "t4/cpu"]),
        (["frames=4,4*"], ["t4/cpu", "t4/cuda"]),
        (["frames=4", "backend=cu*"], ["t4/cuda"]),
        (["size=64x64", "batch=1", "input=noise", "model=basic*", "frames= 1 , 4", "*/t1/*"],
         ["t1/cpu", "t1/cuda"]),
        (["cell=basicvsr/noise/b1/t1/64x64/cpu"], ["t1/cpu"]),
        (["*/t4/*/cp?"], ["t4/cpu"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_filter_is_kept_to(filters: list[str], left: list[str]) -> None:
    found = [f"t{cell.frames}/{cell.backend.name}" for cell in cells(experiment(), filters)]
    assert found == left


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            ["frame=4"],
            "--filter frame=4: no axis 'frame' (did you mean 'frames'?); allowed are model, input,",
        ),
        (
            ["cpu"],
            "--filter cpu: neither axis=value (axes: model, input, batch, frames, size, backend, cell) ",
        ),
        (["frames=5"], "--filter frames=5: '5' is the frames of none of the 4 cells; they have 1, 4"),
        (
            ["backend=cup,cpu"],
            "--filter backend=cup,cpu: 'cup' is the backend of none of the 4 cells (did you",
        ),
        (["frames=1,"], "--filter frames=1,: '' is the frames of none"),
        (["backend=cpu", "backend=cuda"], "--filter backend=cpu --filter backend=cuda: leaves none of the 4"),
        (["*/CPU"], "--filter */CPU: leaves none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_filter_that_keeps_nothing_is_refused(filters: list[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        cells(experiment(), filters)
    assert str(caught.value).startswith(message)


def order(jobs: Sequence[Job]) -> list[tuple[int, str, int]]:
    return [(job.cell.frames, job.cell.backend.name, job.round) for job in jobs]


def test_interleaved_is_round_by_round_and_blocked_is_cell_by_cell() -> None:
    places = [(1, "cpu"), (1, "cuda"), (4, "cpu"), (4, "cuda")]
    interleaved = order(schedule(cells(experiment()), Measure(rounds=2)))
    assert interleaved == [(*place, number) for number in (0, 1) for place in places]
    blocked = order(schedule(cells(experiment()), Measure(rounds=2, order="blocked")))
    assert blocked == [(*place, number) for place in places for number in (0, 1)]


def test_a_network_has_axes_and_fewer_rounds_of_its_own() -> None:
    heavy = {"name": "heavy", "from": "egvsr", "grid": {"size": ((16, 16),)}, "rounds": 1}
    noise = {"name": "noise", "kind": "random", "grid": {"frames": (2,), "size": ((20, 20),)}}
    one = experiment(model=("basicvsr", heavy), input=(noise,), backends=("cpu",))
    planned, measure = cells(one), Measure(rounds=2)
    assert [cell.id for cell in planned] == ["basicvsr/noise/b1/t2/20x20/cpu", "heavy/noise/b1/t2/16x16/cpu"]
    jobs = schedule(planned, measure)
    assert [(job.cell.model.registered, job.round) for job in jobs] == [
        ("basicvsr", 0), ("egvsr", 0), ("basicvsr", 1),
    ]  # fmt: skip
    assert round_count(planned, measure) == len(jobs)


def test_random_shuffles_each_round_by_its_seed() -> None:
    planned = cells(experiment(grid={"frames": tuple(range(1, 9)), "size": ((16, 16),)}))

    def numbered(**measure: Any) -> list[tuple[int, str, int]]:
        return order(schedule(planned, Measure(rounds=3, order="random", **measure)))

    first = numbered()
    assert numbered() == first
    assert numbered(seed=1) != first
    rounds = [[job[:2] for job in first if job[2] == number] for number in range(3)]
    assert rounds == [[job[:2] for job in first[16 * n : 16 * (n + 1)]] for n in range(3)]  # round by round
    assert len({tuple(jobs) for jobs in rounds}) == 3
    assert all(sorted(jobs) == sorted(rounds[0]) and len(set(jobs)) == 16 for jobs in rounds)
    # Pinned: resuming on another Python version must not begin another order.
    assert rounds[0][:3] == [(8, "cpu"), (1, "cuda"), (7, "cpu")]


@pytest.mark.parametrize(
    ("isolation", "expected"),
    [
        ("cell", [[(t, name, n)] for n in (0, 1) for t in (1, 4) for name in ("cpu", "cuda")]),
        ("backend", [[(1, name, n), (4, name, n)] for n in (0, 1) for name in ("cpu", "cuda")]),
        ("experiment", [[(t, name, n) for t in (1, 4) for name in ("cpu", "cuda")] for n in (0, 1)]),
    ],
)
def test_jobs_share_a_process_by_the_isolation(isolation: str, expected: object) -> None:
    jobs = schedule(cells(experiment()), Measure(rounds=2))
    assert [order(group) for group in groups(jobs, isolation=isolation)] == expected
