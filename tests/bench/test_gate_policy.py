"""What of a comparison fails a gate, and what two looks leave of it."""

from dataclasses import replace

import pytest

from bench.commands.options import words
from bench.comparison.comparison import Amount, CellComparison, Verdict
from bench.comparison.policy import FAIL_ON, REGRESSIONS, Failing, chosen, failures, settle
from bench.records import Status
from tests.bench import compared
from tests.bench.compared import cell, change, comparison, memory
from vsr_model.errors import BadInput

ONE, TWO, THREE = (f"basicvsr/noise/b1/t{frames}/64x64/cudnn" for frames in (1, 2, 3))
FIRST_LOOK = "measured anew for failing at the first look."
SECONDS = "(figures of the second look)"


def fail_on(text: str) -> tuple[Failing, ...]:
    return chosen(words(text, "--fail-on", FAIL_ON))


def test_each_kind_of_finding_can_be_made_to_fail() -> None:
    def failing(text: str) -> list[tuple[str, str]]:
        return [(found.kind, found.what) for found in failures(comparison(), fail_on(text))]

    assert failing("never") == []
    assert failing("slower") == [
        ("slower", ""), ("memory", "device peak"), ("slower", ""), ("accuracy", ""), ("worse", "")
    ]  # fmt: skip
    assert failing("stage") == [("stage", "propagation"), ("stage", "aggregation"), ("stage", "upsampling")]
    assert {kind for kind, _ in failing("any")} == {*Failing}
    assert failing("missing, failed") == [("missing", ""), ("failed", "")]


@pytest.mark.parametrize("text", ["", "slow", "slower,", "never,slower", "any,fast"])
def test_a_word_that_is_no_kind_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--fail-on"):
        fail_on(text)


def test_slower_stands_for_every_regression() -> None:
    assert fail_on("slower") == REGRESSIONS
    assert set(fail_on("slower, missing")) == {*REGRESSIONS, Failing.MISSING}


def slow(name: str, ratio: float = 1.1) -> CellComparison:
    return cell(name, verdict=Verdict.SLOWER, change=change(ratio))


def ended(status: Status) -> CellComparison:
    return compared.without(ONE, Verdict.WORSE, "was ok, and is not now", new_status=status)


LARGE = cell(ONE, memory=memory(new=2 * compared.GIB, amount=Amount.MORE))


def settled(
    first: CellComparison, second: CellComparison, failing: tuple[Failing, ...] = REGRESSIONS
) -> tuple[CellComparison, list[str], str]:
    """Return what is left of ONE, all that fails, and the sentence, where THREE did not fail."""
    whole, said = settle(comparison([first, cell(THREE)]), comparison([second, slow(THREE)]), failing)
    assert whole.cells[1] == cell(THREE)  # the second look may take more cells than failed
    return whole.cells[0], [found.kind for found in failures(whole, failing)], said


@pytest.mark.parametrize("first", [slow(ONE, 1.2), LARGE, ended(Status.TIMEOUT), ended(Status.ERROR)])
def test_a_cell_that_fails_in_both_looks_counts_with_the_second_figures_whatever_fails(
    first: CellComparison,
) -> None:
    assert settled(first, slow(ONE)) == (
        slow(ONE), ["slower"], f"1 cell was {FIRST_LOOK} Failed again {SECONDS}: {ONE}."
    )  # fmt: skip


@pytest.mark.parametrize("first", [slow(ONE), LARGE, ended(Status.TIMEOUT)])
@pytest.mark.parametrize(
    "second", [cell(ONE), cell(ONE, verdict=Verdict.UNCLEAR, why="more rounds", change=change(1.02))]
)
def test_a_cell_that_does_not_fail_again_does_not_count(
    first: CellComparison, second: CellComparison
) -> None:
    said = f"1 cell was {FIRST_LOOK} Did not fail again, and not counted {SECONDS}: {ONE}."
    assert settled(first, second) == (second, [], said)


@pytest.mark.parametrize("status", [Status.ERROR, Status.OOM, Status.INACCURATE])
def test_what_happened_once_is_not_cleared(status: Status) -> None:
    left, failing, said = settled(ended(status), cell(ONE))
    assert (left.verdict, left.new_status, failing) == (Verdict.WORSE, status, ["worse"])
    assert left.why == "was ok, and is not now; a second look did not meet it again"
    assert "Did not fail again, but counted" in said


def test_what_happened_is_cleared_where_it_is_not_what_failed() -> None:
    first = replace(ended(Status.ERROR), memory=LARGE.memory)
    assert settled(first, cell(ONE), (Failing.MEMORY,))[:2] == (cell(ONE), [])


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (compared.without(ONE, Verdict.MISSING, "new: skipped (no room)"), "missing, new: skipped (no room)"),
        (compared.without(ONE, Verdict.INCOMPARABLE, "device differs"), "incomparable, device differs"),
        (compared.without(ONE, Verdict.FAILED, "both: oom"), "failed, both: oom"),
        (cell(ONE, verdict=Verdict.FAILED, why="some rounds"), "failed, some rounds"),
        (cell(ONE, verdict=Verdict.UNCLEAR, why="too few", change=change(1.1, None)), "unclear, too few"),
        (cell(TWO), "it has no such cell"),
    ],
)
def test_a_second_look_that_tells_nothing_neither_confirms_nor_clears(
    second: CellComparison, why: str
) -> None:
    left, failing, said = settled(slow(ONE), second)
    assert (left.verdict, left.change, failing) == (Verdict.SLOWER, slow(ONE).change, ["slower"])
    assert left.why == f"a second look could not tell: {why}"
    assert f"Not clear in the second look, and so counted: {ONE}." in said


def test_what_fails_by_being_unclear_is_confirmed_by_being_unclear() -> None:
    unclear = cell(ONE, verdict=Verdict.UNCLEAR, why="too few rounds", change=None)
    first = comparison([unclear])
    assert settle(first, first, fail_on("any"))[0] == first


def test_many_cells_are_not_all_named() -> None:
    names = [f"basicvsr/noise/b1/t{number}/64x64/cudnn" for number in range(1, 9)]
    both = comparison([*map(slow, names)])
    _, said = settle(both, both, REGRESSIONS)
    assert said.startswith(f"8 cells were {FIRST_LOOK} Failed again {SECONDS}: ")
    assert f"{names[2]} and 5 more." in said
