"""What two looks leave of the failures, and which cells the second one takes."""

from dataclasses import replace

import pytest

from bench.comparison.comparison import Amount, CellComparison, Comparison, Limits, Verdict
from bench.comparison.policy import REGRESSIONS, Failing, Failure, fail_on, failures
from bench.comparison.second_look import Settled, filters_of, settle
from bench.grid import plan
from bench.records import Status
from tests.bench import compared
from tests.bench.compared import cell, change, memory
from tests.bench.fakes import experiment

ONE, TWO, THREE = (
    "basicvsr/noise/b1/t4/64x64/cudnn",
    "basicvsr/noise/b1/t8/64x64/cudnn",
    "basicvsr/noise/b1/t4/180x320/cuda",
)


def comparison(*cells: CellComparison) -> Comparison:
    return Comparison(
        base=compared.BASE, new=compared.NEW, limits=Limits(), cells=cells, differing={}, cautions=()
    )


def slow(name: str, ratio: float = 1.1) -> CellComparison:
    return cell(name, verdict=Verdict.SLOWER, change=change(ratio))


def large(name: str) -> CellComparison:
    return cell(name, memory=memory(new=2 * compared.GIB, amount=Amount.MORE))


def settled(first: Comparison, *again: CellComparison, failing: tuple[Failing, ...] = REGRESSIONS) -> Settled:
    return settle(first, failures(first, failing), comparison(*again), failing)


def test_what_is_found_twice_counts_with_the_second_figures():
    first = comparison(slow(ONE, 1.2), cell(TWO))
    found = settled(first, slow(ONE, 1.1))
    assert found.confirmed == (Failure(cell=ONE, kind=Failing.SLOWER, what=""),)
    assert found.comparison == comparison(slow(ONE, 1.1), cell(TWO))
    assert found.said == (
        f"1 cell was measured anew for failing at the first look, and {ONE} failed again. Its figures here "
        "are the second look's."
    )


def test_what_is_not_found_again_does_not():
    first = comparison(slow(ONE), cell(TWO), slow(THREE))
    again = cell(THREE, change=change(1.01))
    found = settled(first, slow(ONE), cell(TWO), again)
    assert [failure.cell for failure in found.confirmed] == [ONE]
    assert found.comparison.cells == (slow(ONE), cell(TWO), again)
    assert failures(found.comparison, REGRESSIONS) == found.confirmed
    assert f"and {ONE} failed again, but {THREE} did not, which does not count." in found.said
    cleared = settled(comparison(slow(ONE)), cell(ONE))
    assert cleared.confirmed == ()
    assert f"and {ONE} did not fail again" in cleared.said


def test_a_cell_that_was_not_doubted_stays_as_the_first_look_has_it():
    """The second look may take more cells than failed."""
    first = comparison(slow(ONE), cell(TWO))
    found = settled(first, slow(ONE), slow(TWO))
    assert found.comparison == first
    assert [failure.cell for failure in found.confirmed] == [ONE]


def ended(status: Status, why: str = "was ok, and is not now") -> CellComparison:
    return compared.without(ONE, Verdict.WORSE, why, new_status=status)


@pytest.mark.parametrize("first", [large(ONE), ended(Status.TIMEOUT), ended(Status.ERROR)])
def test_a_cell_that_fails_in_both_looks_counts_whatever_fails(first):
    found = settled(comparison(first), slow(ONE, 1.5))
    assert found.confirmed == (Failure(cell=ONE, kind=Failing.SLOWER, what=""),)
    assert found.comparison == comparison(slow(ONE, 1.5))
    assert f"and {ONE} failed again." in found.said


def test_all_that_the_second_look_finds_is_told():
    both = cell(ONE, verdict=Verdict.SLOWER, change=change(1.1), memory=large(ONE).memory)
    for first, second in ((both, large(ONE)), (large(ONE), both)):
        found = settled(comparison(first), second)
        assert found.confirmed == failures(comparison(second), REGRESSIONS)
        assert found.comparison == comparison(second)


@pytest.mark.parametrize("status", [Status.ERROR, Status.OOM, Status.INACCURATE])
def test_what_happened_once_is_not_cleared(status):
    found = settled(comparison(ended(status), slow(TWO)), cell(ONE), cell(TWO))
    assert found.confirmed == (Failure(cell=ONE, kind=Failing.WORSE, what=""),)
    shown = found.comparison.cells[0]
    assert (shown.verdict, shown.new_status) == (Verdict.WORSE, status)
    assert shown.why == "was ok, and is not now; a second look did not meet it again"
    assert (
        f"and {TWO} did not fail again, which does not count. {ONE} did not fail again, and counts"
        in found.said
    )
    assert found.said.endswith("The others' figures here are the second look's.")
    alone = settled(comparison(ended(status)), cell(ONE))
    assert alone.said.startswith(
        f"1 cell was measured anew for failing at the first look. {ONE} did not fail"
    )
    assert "figures here" not in alone.said


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (compared.without(ONE, Verdict.MISSING, "new: skipped (no room)"), "missing, new: skipped (no room)"),
        (compared.without(ONE, Verdict.INCOMPARABLE, "device differs"), "incomparable, device differs"),
        (compared.without(ONE, Verdict.FAILED, "both: oom"), "failed, both: oom"),
        (cell(ONE, verdict=Verdict.UNCLEAR, why="too few", change=change(1.1, None)), "unclear, too few"),
        (cell(TWO), "it has no such cell"),
    ],
)
def test_a_second_look_that_tells_nothing_neither_confirms_nor_clears(again, said):
    found = settled(comparison(slow(ONE), cell(THREE)), again)
    assert [failure.cell for failure in found.confirmed] == [ONE]
    shown, other = found.comparison.cells
    assert (shown.verdict, shown.change) == (slow(ONE).verdict, slow(ONE).change)
    assert shown.why == f"a second look could not tell: {said}"
    assert other == cell(THREE)
    assert found.said == (
        f"1 cell was measured anew for failing at the first look. Of {ONE} the second look could not tell: "
        "neither confirmed nor cleared, it counts."
    )


def test_an_unclear_second_look_with_an_interval_clears():
    again = cell(ONE, verdict=Verdict.UNCLEAR, why="more rounds", change=change(1.02))
    found = settled(comparison(slow(ONE)), again)
    assert (found.confirmed, found.comparison) == ((), comparison(again))


def test_what_happened_and_could_not_be_looked_at_again_is_no_more_than_untold():
    again = compared.without(ONE, Verdict.MISSING, "new: skipped")
    found = settled(comparison(ended(Status.ERROR), slow(TWO)), again, cell(TWO))
    assert [failure.cell for failure in found.confirmed] == [ONE]
    assert found.comparison.cells[0].why.endswith("; a second look could not tell: missing, new: skipped")
    assert f"{TWO} did not fail again, which does not count. Of {ONE} the second look could not" in found.said
    assert found.said.endswith("The others' figures here are the second look's.")


def test_a_timeout_may_be_the_machines():
    found = settled(comparison(ended(Status.TIMEOUT)), cell(ONE))
    assert (found.confirmed, found.comparison) == ((), comparison(cell(ONE)))
    assert "did not fail again, which does not count" in found.said


def test_what_happened_is_not_doubted_where_it_is_not_asked_about():
    first = replace(ended(Status.ERROR), memory=large(ONE).memory)
    found = settled(comparison(first), cell(ONE), failing=(Failing.MEMORY,))
    assert (found.confirmed, found.comparison) == ((), comparison(cell(ONE)))


def test_what_does_not_fail_here_is_not_doubted():
    first = comparison(slow(ONE))
    assert failures(first, fail_on("memory")) == ()
    every = fail_on("any")
    unclear = cell(ONE, verdict=Verdict.UNCLEAR, why="too few rounds")
    found = settle(comparison(unclear), failures(comparison(unclear), every), comparison(unclear), every)
    assert [failure.kind for failure in found.confirmed] == [Failing.UNCLEAR]


def test_many_cells_are_not_all_named():
    names = [f"basicvsr/noise/b1/t{number}/64x64/cudnn" for number in range(1, 9)]
    found = settled(comparison(*map(slow, names)), *map(slow, names))
    assert f"{names[2]} and 5 more failed again" in found.said
    assert names[3] not in found.said
    assert "Their figures here" in found.said


@pytest.mark.parametrize("failed", [[0], [3, 5], [0, 7], list(range(8))])
def test_the_filters_keep_the_cells_that_failed_and_no_others(failed):
    one = experiment(
        grid={"frames": [1, 2], "size": [[16, 16], [16, 20]]},
        backends=["cpu", {"name": "one", "from": "cpu", "threads": 1}],
    )
    cells = plan.cells(one)
    suspects = [Failure(cell=cells[place].id, kind=Failing.SLOWER, what="") for place in failed]
    kept = [found.id for found in plan.cells(one, filters_of(suspects))]
    assert kept == [cells[place].id for place in failed]
