"""Verdicts on two runs: exact, on made-up rounds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.comparison.cells import MeasuredCell, neighbours
from bench.comparison.compare import compare
from bench.comparison.comparison import Amount, CellComparison, Limits, Method, Verdict
from bench.records import Status
from tests.bench.sides import ENVIRONMENT, MIB, experiment, in_turn, side, taking_turns

TEN = (1.0, 1.001, 0.999, 1.002, 0.998, 1.0005, 0.9995, 1.0015, 0.9985, 1.0)
THREE_PERCENT = Limits()


def times(factor: float, of: Sequence[float] = TEN) -> list[float]:
    return [factor * value for value in of]


def only(base: Any, new: Any, limits: Limits = THREE_PERCENT) -> CellComparison:
    """Compare rounds in turn, unless it is said when they began."""
    if all(a["started_at"] == b["started_at"] for a, b in zip(base[0].rounds, new[0].rounds, strict=False)):
        base, new = taking_turns(base, new)
    (found,) = compare(base, new, limits)
    return found


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, Verdict.SAME), (1.05, Verdict.SLOWER), (0.95, Verdict.FASTER), (1.03, Verdict.UNCLEAR)],
)
def test_an_interval_beyond_the_threshold_is_a_verdict(factor: float, verdict: Verdict) -> None:
    found = only(side(TEN), side(times(factor, TEN[::-1])))
    assert found.verdict is verdict
    assert found.change is not None
    assert found.change.ratio == pytest.approx(factor, rel=0.003)
    assert {stage.verdict for stage in found.stages} == {verdict}
    assert bool(found.why) == (verdict is Verdict.UNCLEAR)


def test_the_bounds_themselves_decide() -> None:
    """Six rounds have their whole range as interval, so that bounds can be set."""
    base = side([1.0] * 6)  # as exact as they are

    def verdict(low: float, high: float) -> Verdict:
        return only(base, side([low, *[(low + high) / 2] * 4, high])).verdict

    assert verdict(1.0301, 1.2) is Verdict.SLOWER
    assert verdict(1.0299, 1.2) is Verdict.UNCLEAR
    assert verdict(0.8, 1 / 1.0301) is Verdict.FASTER
    assert verdict(0.8, 1 / 1.0299) is Verdict.UNCLEAR
    assert verdict(1 / 1.0299, 1.0299) is Verdict.SAME
    assert verdict(1 / 1.0301, 1.0) is Verdict.UNCLEAR


def test_intervals_are_wider_where_more_cells_are_asked_about() -> None:
    names = [f"cpu-{n}" for n in range(1, 9)]
    many = experiment(backends=[{"name": name, "from": "cpu", "threads": int(name[-1])} for name in names],
                      baseline=names[0])  # fmt: skip
    spread = [1.0 + 0.01 * n for n in range(20)]
    base, new = (side(dict.fromkeys(names, values), of=many) for values in (spread, spread[::-1]))
    widths = []
    for chosen, family, intervals in ((1, 0, 1), (8, 0, 8), (1, 8, 8)):
        for cell in compare(base[:chosen], new[:chosen], THREE_PERCENT, family=family):
            assert cell.change is not None
            assert cell.change.low is not None
            assert cell.change.confidence == pytest.approx(1 - 0.05 / intervals)
            assert [s.change.confidence for s in cell.stages] == [pytest.approx(1 - 0.05 / intervals / 4)] * 4
        widths.append(cell.change.low)
    assert widths[0] > widths[1] == widths[2]


def test_rounds_in_turn_are_compared_pair_by_pair_whatever_the_machine_does() -> None:
    machine = [1.0, 1.4, 0.8, 1.1, 1.6, 0.9, 1.2, 1.3, 0.7, 1.5]
    a, b = in_turn(len(machine))
    paired = only(side(machine, begun_s=a), side(times(1.05, machine), begun_s=b))
    apart = only(side(machine, begun_s=a), side(times(1.05, machine), begun_s=[at + 300 for at in b]))
    assert paired.change is not None
    assert apart.change is not None
    assert (paired.verdict, paired.change.method) == (Verdict.SLOWER, Method.PAIRS)
    assert (apart.verdict, apart.change.method) == (Verdict.UNCLEAR, Method.APART)


def test_one_process_each_says_nothing_however_great_the_ratio() -> None:
    found = only(side([1.0]), side([3.0]))
    assert found.verdict is Verdict.UNCLEAR
    assert found.change is not None
    assert (found.change.ratio, found.change.low, found.change.method) == (3.0, None, Method.NONE)
    assert found.change.rounds_needed is None
    assert "measure.rounds" in found.why


def test_a_machine_that_is_known_to_wander_widens_runs_apart_and_not_those_in_turn() -> None:
    limits = Limits(apart=0.05)
    a, b = in_turn(10)
    later = [1000.0 + at for at in a]
    for allowed, verdict in ((limits, Verdict.UNCLEAR), (THREE_PERCENT, Verdict.SLOWER)):
        assert only(side(TEN, begun_s=a), side(times(1.07), begun_s=later), allowed).verdict is verdict
    in_pairs = only(side(TEN, begun_s=a), side(times(1.07), begun_s=b), limits)
    assert in_pairs.verdict is Verdict.SLOWER


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        (Status.OK, Status.OOM, Verdict.WORSE), (Status.OK, Status.INACCURATE, Verdict.WORSE),
        (Status.OK, Status.TIMEOUT, Verdict.WORSE), (Status.OK, Status.ERROR, Verdict.WORSE),
        (Status.OOM, Status.OK, Verdict.MENDED), (Status.OOM, Status.ERROR, Verdict.FAILED),
        (Status.OK, Status.SKIPPED, Verdict.MISSING), (Status.SKIPPED, Status.OK, Verdict.MISSING),
        (Status.SKIPPED, Status.SKIPPED, Verdict.MISSING), (Status.SKIPPED, Status.OOM, Verdict.MISSING),
    ],
)  # fmt: skip
def test_how_cells_ended(base: Status, new: Status, verdict: Verdict) -> None:
    def ended(status: Status) -> Any:
        return side(TEN[:3]) if status is Status.OK else side([1.0], status=status, reason=f"for {status}")

    found = only(ended(base), ended(new))
    assert found.verdict is verdict
    assert (found.base_status, found.new_status) == (base, new)
    assert all(f"for {status}" in found.why for status in {base, new} - {Status.OK})


def broken(cells: list[MeasuredCell], number: int, status: Status = Status.OOM) -> list[MeasuredCell]:
    """Return the cells with one round that did not end ok."""
    (cell,) = cells
    failed = {**cell.rounds[number], "status": status, "reason": "no memory"}
    return [replace(cell, rounds=(*cell.rounds[:number], failed, *cell.rounds[number + 1 :]))]


def test_rounds_that_failed_hide_no_slowdown() -> None:
    slower = side(times(2))
    assert only(broken(side(TEN), 4), slower).verdict is Verdict.SLOWER
    assert only(broken(side(TEN), 4), broken(slower, 2)).verdict is Verdict.SLOWER
    assert only(broken(side(TEN), 4), side(TEN[::-1])).verdict is Verdict.MENDED
    assert only(broken(side(TEN), 4), broken(side(TEN), 2)).verdict is Verdict.FAILED


@pytest.mark.parametrize("share", [0.0, 1e-5])
def test_a_stage_that_is_next_to_nothing_has_no_verdict(share: float) -> None:
    base, new = (side(TEN, shares={"alignment": factor * share}) for factor in (1, 3))
    found = only(base, new)
    assert [stage.stage for stage in found.stages] == ["propagation", "aggregation", "upsampling"]
    assert found.stages[0].change.confidence == pytest.approx(1 - 0.05 / 3)


def test_a_cell_that_one_side_lacks_is_missing_on_that_side() -> None:
    one, two = experiment(grid={"frames": [1, 2]}), experiment(grid={"frames": [2, 3]})
    found = {cell.frames: cell for cell in compare(side(TEN, of=one), side(TEN, of=two), THREE_PERCENT)}
    assert {frames: cell.verdict for frames, cell in found.items()} == {
        1: Verdict.MISSING, 2: Verdict.SAME, 3: Verdict.MISSING
    }  # fmt: skip
    assert found[1].why == "new: has no such cell"
    assert found[3].why == "base: has no such cell"


GPU = {
    **ENVIRONMENT,
    "torch": {"torch": "2.13.0", "torch_cuda": "13.0", "cudnn": 91000, "devices": [{"name": "a GPU"}]},
}


@pytest.mark.parametrize(
    ("changes", "facet"),
    [
        ({"of": experiment(model={"mid_channels": 16, "num_blocks": 1})}, "network"),
        ({"of": experiment(model={"mid_channels": 8, "num_blocks": 1, "seed": 3})}, "network"),
        ({"of": experiment(input=[{"name": "noise", "kind": "random", "seed": 1}])}, "input"),
        ({"of": experiment(backends=[{"name": "cpu", "dtype": "bfloat16"}])}, "precision"),
        ({"of": experiment(backends=[{"name": "cpu", "memory_format": "channels_last"}])}, "backend"),
        ({"of": experiment(measure={"allocator": "system"})}, "method"),
        ({"environment": {**ENVIRONMENT, "method": "the course paper's script"}}, "method"),
        ({"environment": {**ENVIRONMENT, "cpu": "another"}}, "device"),
        ({"threads": 1}, "device"),
        ({"environment": {**ENVIRONMENT, "torch": {**ENVIRONMENT["torch"], "torch": "2.12.0"}}}, "torch"),  # type: ignore[dict-item]
    ],
)
def test_what_differs_in_more_than_the_code_does_not_compare_unless_it_is_meant_to(
    changes: dict[str, Any], facet: str
) -> None:
    found = only(side(TEN), side(times(2), **changes))
    assert found.verdict is Verdict.INCOMPARABLE
    assert found.change is None
    assert f"{facet} differs" in found.why
    meant = only(side(TEN), side(times(2), **changes), Limits(across=frozenset({facet})))
    assert meant.verdict is Verdict.SLOWER


def test_a_gpus_cells_differ_by_the_gpu_and_a_cpus_do_not() -> None:
    both = experiment(backends=[{"name": "cpu"}, {"name": "cudnn"}])
    another = {**GPU, "torch": {**GPU["torch"], "devices": [{"name": "another GPU"}]}}  # type: ignore[dict-item]
    seconds = {"cpu": TEN, "cudnn": TEN}
    found = compare(
        side(seconds, of=both, environment=GPU), side(seconds, of=both, environment=another), THREE_PERCENT
    )
    assert [cell.verdict for cell in found] == [Verdict.SAME, Verdict.INCOMPARABLE]
    assert "a GPU, another GPU" in found[1].why


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("cpu_model", ("family 25, model 1, stepping 1", "family 25, model 17, stepping 1"),
         "family 25, model 1, stepping 1, family 25, model 17, stepping 1"),
        ("cpu_caches", ({"L2": "512K", "L3": "16384K"}, {"L2": "512K", "L3": "32768K"}),
         "cpu_L3 16384K, 32768K"),
    ],
)  # fmt: skip
def test_processors_of_one_name_differ_by_what_the_sentence_shows(
    field: str, values: Sequence[Any], said: str
) -> None:
    base, new = (side(TEN, environment={**ENVIRONMENT, field: value}) for value in values)
    found = only(base, new)
    assert found.verdict is Verdict.INCOMPARABLE
    assert said in found.why
    assert only(base, side(TEN)).verdict is Verdict.SAME  # of which this is not known


def test_cells_are_matched_by_what_they_measure() -> None:
    base = experiment(
        backends=[{"name": "cpu"}, {"name": "single", "from": "cpu", "threads": 1}], baseline="cpu"
    )
    new = experiment(backends=[{"name": "one", "from": "cpu", "threads": 1}, {"name": "cpu"}], baseline="cpu")
    found = compare(
        side({"cpu": TEN, "single": times(5)}, of=base),
        side({"cpu": TEN, "one": times(5)}, of=new),
        THREE_PERCENT,
    )
    assert [(cell.cell, cell.base_cell, cell.verdict) for cell in found] == [
        ("basicvsr/noise/b1/t2/64x64/one", "basicvsr/noise/b1/t2/64x64/single", Verdict.SAME),
        ("basicvsr/noise/b1/t2/64x64/cpu", None, Verdict.SAME),
    ]


def grown(*mib: int) -> list[MeasuredCell]:
    """Return a run whose rounds grow the host's memory by so much."""
    (cell,) = side(TEN[: len(mib)])
    rounds = [{**one, "host_growth_bytes": value * MIB} for one, value in zip(cell.rounds, mib, strict=True)]
    return [replace(cell, rounds=tuple(rounds))]


@pytest.mark.parametrize(
    ("base", "new", "threshold", "amount"),
    [
        ([100] * 3, [120, 130, 125], 0.1, Amount.MORE), ([100] * 3, [120, 100, 105], 0.1, Amount.SAME),
        ([100] * 3, [80, 81, 82], 0.1, Amount.LESS), ([100] * 3, [120, 130, 125], 0.5, Amount.SAME),
        ([10] * 3, [15] * 3, 0.1, Amount.SAME),  # less than what allocators do
        ([100], [200], 0.1, Amount.SAME),  # of one process
        ([*[100] * 9, 1000], [1000] * 10, 0.1, Amount.MORE),  # a round that is far out
        ([100] * 10, [*[100] * 9, 1000], 0.1, Amount.SAME),
    ],
)  # fmt: skip
def test_memory_counts_beyond_its_threshold_and_the_rounds_scatter(
    base: list[int], new: list[int], threshold: float, amount: Amount
) -> None:
    found = only(grown(*base), grown(*new), Limits(memory_threshold=threshold))
    assert {item.what: item.amount for item in found.memory} == {
        "host peak": Amount.SAME, "host growth": amount
    }  # fmt: skip


@pytest.mark.parametrize(
    ("base_db", "new_db", "amount"),
    [
        (70.0, 69.0, Amount.SAME), (70.0, 60.0, Amount.LESS), (60.0, 70.0, Amount.MORE),
        (float("inf"), 105.0, Amount.SAME), (float("inf"), 90.0, Amount.LESS), (104.0, 101.0, Amount.SAME),
    ],
)  # fmt: skip
def test_accuracy_is_compared_where_it_can_be_lost(base_db: float, new_db: float, amount: Amount) -> None:
    found = only(side(TEN, output_psnr_db=base_db), side(TEN, output_psnr_db=new_db))
    assert found.accuracy is not None
    assert found.accuracy.amount is amount


# Rounds in turn.

A, B = in_turn(6)


def in_pairs(a: Sequence[float], b: Sequence[float]) -> Sequence[int]:
    """Return the rounds that are neighbours where they began at these seconds and lasted one."""
    (base,), (new,) = (side([1.0] * 6, begun_s=begun, measured_s=1.0) for begun in (a, b))
    return neighbours(base, new, range(6))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([10.0 * n for n in range(6)], [100 + 10.0 * n for n in range(6)]),  # one run after the other
        ([10.0 * n for n in range(6)], [10.0 * n + 0.5 for n in range(6)]),  # on two machines at once
        ([20.0 * n for n in range(6)], [20.0 * n + 10 for n in range(6)]),  # the same always first
        ([20.0 * n for n in range(6)], [*B[:5], A[5]]),  # the last at the same moment
        ([*A[:3], A[4], A[3], A[5]], B),  # not in the order of rounds
    ],
)
def test_rounds_that_did_not_take_turns_are_no_pairs(a: Sequence[float], b: Sequence[float]) -> None:
    assert in_pairs(a, b) == ()
    assert list(in_pairs(A, B)) == list(in_pairs(B, A)) == [*range(6)]


def test_a_pair_that_was_interrupted_is_no_pair() -> None:
    a = [*A[:3], *(at + 5000 for at in A[3:])]
    b = [*B[:2], *(at + 5000 for at in B[2:])]
    assert in_pairs(a, b) == [0, 1, 3, 4, 5]


def test_rounds_of_unknown_times_are_no_pairs() -> None:
    for unknown in ({"started_at": ""}, {"measured_s": 1e308}):
        (one,), (other,) = side(TEN), side(TEN, **unknown)
        assert neighbours(other, one, range(10)) == ()
