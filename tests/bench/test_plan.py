"""Cells, their order and names, filters, schedules and groups."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from bench.grid.config import Experiment
from bench.grid.config_measure import Measure
from bench.grid.plan import Cell, Job, cells, groups, schedule
from vsr_model.errors import BadInput


def experiment(**fields: Any) -> Experiment:
    given = {
        "name": "trial",
        "input": ({"name": "noise", "kind": "random"},),
        "grid": {"batch": (1,), "frames": (1, 4), "size": ((64, 64),)},
        "backends": ("cpu", "cuda"),
    } | fields
    return Experiment.model_validate(given)


FULL = experiment(
    input=({"name": "a", "kind": "random"}, {"name": "b", "kind": "random", "grid": {"frames": (7,)}}),
    grid={"batch": (1, 2), "frames": (1, 4), "size": ((64, 64), (32, 48))},
)


def ids(found: Sequence[Cell]) -> list[str]:
    return [cell.id for cell in found]


def test_inputs_batches_sizes_frames_backends() -> None:
    assert ids(cells(FULL)) == [
        f"basicvsr/{name}/b{batch}/t{frames}/{size}/{backend}"
        for name, axis in (("a", (1, 4)), ("b", (7,)))
        for batch in (1, 2)
        for size in ("64x64", "32x48")
        for frames in axis
        for backend in ("cpu", "cuda")
    ]


def test_ids_are_unique_and_the_same_every_time() -> None:
    found = ids(cells(FULL))
    assert len(set(found)) == len(found) == FULL.cell_count()
    assert ids(cells(FULL)) == found


def test_an_id_names_what_is_measured() -> None:
    cell = cells(experiment())[1]
    assert cell.id == "basicvsr/noise/b1/t1/64x64/cuda"
    assert cell.clip_id == ("basicvsr", "noise", "b1", "t1", "64x64")
    assert (cell.batch, cell.frames, cell.height, cell.width) == (1, 1, 64, 64)


def test_networks_lead_and_each_has_every_clip_and_backend() -> None:
    found = cells(experiment(model=("basicvsr", {"name": "egvsr", "num_blocks": 3})))
    assert ids(found) == [
        f"{model}/noise/b1/t{frames}/64x64/{backend}"
        for model in ("basicvsr", "egvsr")
        for frames in (1, 4)
        for backend in ("cpu", "cuda")
    ]
    assert ids(cells(experiment(model="egvsr"), ["backend=cpu"])) == [
        "egvsr/noise/b1/t1/64x64/cpu", "egvsr/noise/b1/t4/64x64/cpu",
    ]  # fmt: skip


@pytest.mark.parametrize("filters", [["model=egvsr"], ["model=egv*"], ["egvsr/*"]], ids=" ".join)
def test_a_network_is_filtered_as_any_axis(filters: list[str]) -> None:
    found = cells(experiment(model=("basicvsr", "egvsr")), [*filters, "frames=4"])
    assert ids(found) == ["egvsr/noise/b1/t4/64x64/cpu", "egvsr/noise/b1/t4/64x64/cuda"]


def test_each_input_has_its_own_axes_where_it_gives_them() -> None:
    axes = {"batch": (3,), "size": ((16, 32),)}
    found = cells(experiment(input=({"name": "a", "kind": "random", "grid": axes},)))
    assert ids(found) == [
        f"basicvsr/a/b3/t{frames}/16x32/{name}" for frames in (1, 4) for name in ("cpu", "cuda")
    ]


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "left"),
        [
            (["backend=cpu"], ["basicvsr/noise/b1/t1/64x64/cpu", "basicvsr/noise/b1/t4/64x64/cpu"]),
            (["frames=4,4*"], ["basicvsr/noise/b1/t4/64x64/cpu", "basicvsr/noise/b1/t4/64x64/cuda"]),
            (["frames=4", "backend=cuda"], ["basicvsr/noise/b1/t4/64x64/cuda"]),
            (["backend=cu*"], ["basicvsr/noise/b1/t1/64x64/cuda", "basicvsr/noise/b1/t4/64x64/cuda"]),
            (
                ["size=64x64", "batch=1", "input=noise", "frames= 1 , 4", "*/t1/*", "backend=cpu"],
                ["basicvsr/noise/b1/t1/64x64/cpu"],
            ),
            (["*/t4/*/cpu"], ["basicvsr/noise/b1/t4/64x64/cpu"]),
            (["basicvsr/noise/b1/t1/64x64/cpu"], ["basicvsr/noise/b1/t1/64x64/cpu"]),
            (["*cp?"], ["basicvsr/noise/b1/t1/64x64/cpu", "basicvsr/noise/b1/t4/64x64/cpu"]),
        ],
        ids=" ".join,
    )
    def test_keep(self, filters: list[str], left: list[str]) -> None:
        assert ids(cells(experiment(), filters)) == left

    @pytest.mark.parametrize(
        ("filters", "said"),
        [
            (
                ["frame=4"],
                "--filter frame=4: no axis 'frame' (did you mean 'frames'?); "
                "allowed are model, input, batch, frames, size, backend, cell",
            ),
            (
                ["cpu"],
                "--filter cpu: neither axis=value (axes: model, input, batch, frames, size, backend, cell) "
                "nor a pattern on a cell's id such as 'basicvsr/*/cpu'",
            ),
            ([""], "--filter : neither axis=value"),
            (
                ["frames=5"],
                "--filter frames=5: '5' is the frames of none of the 4 cells; they have 1, 4",
            ),
            (
                ["backend=cup,cpu"],
                "--filter backend=cup,cpu: 'cup' is the backend of none of the 4 cells (did you mean 'cpu'?);"
                " they have cpu, cuda",
            ),
            (
                ["model=egvsr"],
                "--filter model=egvsr: 'egvsr' is the model of none of the 4 cells; they have basicvsr",
            ),
            (["frames=1,"], "--filter frames=1,: '' is the frames of none"),
            (
                ["backend=cpu", "backend=cuda"],
                "--filter backend=cpu --filter backend=cuda: leaves none of the 4",
            ),
            (["*/CPU"], "--filter */CPU: leaves none"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_refused(self, filters: list[str], said: str) -> None:
        with pytest.raises(BadInput) as caught:
            cells(experiment(), filters)
        assert str(caught.value).startswith(said)


def order(jobs: Sequence[Job]) -> list[tuple[int, str, int]]:
    return [(job.cell.frames, job.cell.backend.name, job.round) for job in jobs]


def test_interleaved_is_round_by_round() -> None:
    jobs = schedule(cells(experiment()), Measure(rounds=2))
    assert order(jobs) == [
        (1, "cpu", 0), (1, "cuda", 0), (4, "cpu", 0), (4, "cuda", 0),
        (1, "cpu", 1), (1, "cuda", 1), (4, "cpu", 1), (4, "cuda", 1),
    ]  # fmt: skip


def test_blocked_is_cell_by_cell() -> None:
    jobs = schedule(cells(experiment()), Measure(rounds=2, order="blocked"))
    assert order(jobs) == [
        (1, "cpu", 0), (1, "cpu", 1), (1, "cuda", 0), (1, "cuda", 1),
        (4, "cpu", 0), (4, "cpu", 1), (4, "cuda", 0), (4, "cuda", 1),
    ]  # fmt: skip


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


@pytest.mark.parametrize("in_order", ["interleaved", "blocked"])
class TestGroups:
    def jobs(self, in_order: Literal["interleaved", "blocked"]) -> list[Job]:
        return schedule(cells(experiment()), Measure(rounds=2, order=in_order))

    def test_a_process_per_cell_and_round(self, in_order: str) -> None:
        jobs = self.jobs(in_order)
        assert [*groups(jobs, isolation="cell")] == [[job] for job in jobs]

    def test_a_process_per_backend_and_round(self, in_order: str) -> None:
        found = [order(group) for group in groups(self.jobs(in_order), isolation="backend")]
        assert sorted(found) == [
            [(1, name, number), (4, name, number)] for name in ("cpu", "cuda") for number in (0, 1)
        ]

    def test_a_process_per_round(self, in_order: str) -> None:
        found = [order(group) for group in groups(self.jobs(in_order), isolation="experiment")]
        assert found == [
            [(1, "cpu", number), (1, "cuda", number), (4, "cpu", number), (4, "cuda", number)]
            for number in (0, 1)
        ]

    @pytest.mark.parametrize("isolation", ["cell", "backend", "experiment"])
    def test_every_job_is_in_one(self, in_order: str, isolation: str) -> None:
        jobs = self.jobs(in_order)
        grouped = [job for group in groups(jobs, isolation=isolation) for job in group]
        assert sorted(order(grouped)) == sorted(order(jobs))


def test_no_jobs_no_groups() -> None:
    assert [*groups([], isolation="backend")] == []
