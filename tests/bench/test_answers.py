"""The first screen of a run's page, from made-up runs: every figure in it is one of the tables'."""

from collections.abc import Sequence

import pytest

from bench.records import CellRecord, Pass, Status
from bench.reporting.answers import answers, not_measured
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.pages import one_run
from tests.bench.synthetic import BASELINE, Machine

PLAIN = Machine(name="cpu", per_frame_s=0.1)
FAST = Machine(name="fast", per_frame_s=0.02)
SLOW = Machine(name="slow", per_frame_s=0.3)
LIKE = Machine(name="like", per_frame_s=0.1)
GONE = Machine(name="gone", per_frame_s=0.1, skipped="no such device")


def answered(records: Sequence[CellRecord]) -> dict[str, str]:
    tables = tables_of(list(records), BASELINE)
    found = answers(one_run(tables).rows, tables, BASELINE)
    return {answer.question: " ".join(answer.sentences) for answer in found}


def made(*machines: Machine, frames: Sequence[int] = (1, 4), rounds: int = 6) -> dict[str, str]:
    return answered(synthetic.run(machines, frames=frames, rounds=rounds))


def test_the_fastest_backend_of_the_largest_clip_is_named() -> None:
    said = made(PLAIN, FAST, GONE)["How fast?"]
    assert " for 4 frames of " in said
    assert " on fast, the fastest: " in said
    assert said.endswith(" frames/s.")
    assert "the fastest" not in made(PLAIN)["How fast?"]


def test_backends_pay_by_their_whole_intervals() -> None:
    said = made(PLAIN, FAST, SLOW)["What pays?"]
    assert said.startswith("Faster than cpu: fast ")
    assert "Slower than cpu: slow " in said
    nothing = "Nothing is sure to be faster than cpu here. "
    assert made(PLAIN, SLOW)["What pays?"].startswith(f"{nothing}Slower than cpu: slow ")
    assert "aster" not in made(PLAIN, LIKE)["What pays?"].removeprefix(nothing)
    assert "What pays?" not in made(PLAIN)


def test_a_difference_that_processes_of_the_same_code_have_does_not_pay_in_one_of_them() -> None:
    little = Machine(name="little", per_frame_s=0.098)

    def said(rounds: int) -> str:
        made_up = synthetic.run((PLAIN, little), frames=(4,), rounds=rounds, spread=0.001)
        return answered(made_up)["What pays?"]

    assert said(1).startswith("Nothing is sure to be faster than cpu here. ")
    assert said(6).startswith("Faster than cpu: little 1.0")


def test_time_goes_where_the_shares_are_greatest_and_grows_with_what_varies() -> None:
    said = made(PLAIN, frames=(1, 2, 4, 8))["Where does time go?"]
    assert "On cpu, 8 frames of " in said
    assert ": propagation 44 %, alignment 42 %." in said
    assert "frames to the power of " in said
    assert "power" not in made(PLAIN, frames=(4,))["Where does time go?"]
    assert "takes more points" in made(PLAIN, frames=(1, 4))["Where does time go?"]
    unprobed = [
        record.model_copy(update={"samples": [one for one in record.samples if one.pass_ is Pass.END_TO_END]})
        for record in synthetic.run((PLAIN,), frames=(1, 2, 4, 8), rounds=6)
    ]
    assert answered(unprobed)["Where does time go?"].startswith("On cpu time grows with frames")


def test_networks_are_named_where_there_are_several() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    said = answered(synthetic.run((PLAIN, FAST), nets=nets, frames=(4,), rounds=6))
    for question in ("How fast?", "What pays?", "Where does time go?", "Where does memory go?"):
        assert "basicvsr" in said[question]
        assert "mine" in said[question]


def test_memory_goes_to_the_stage_in_which_it_rises_most() -> None:
    assert "host memory rises most in " in made(PLAIN)["Where does memory go?"]


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        (1, "One round: intervals hold within these processes"),
        (3, "of few rounds, which are taken to scatter normally"),
        (6, "they hold for the next one, too"),
    ],
)
def test_intervals_are_said_to_hold_for_what_they_hold_for(rounds: int, said: str) -> None:
    assert said in made(PLAIN, rounds=rounds)["Can I trust it?"]


def test_cells_of_which_rounds_were_left_out_are_told_apart() -> None:
    every = synthetic.run((PLAIN, FAST), frames=(4,), rounds=6)
    records = [one for one in every if one.round == 0 or one.backend == "cpu"]
    said = answered(records)["Can I trust it?"]
    assert said.startswith(
        "1 cell of 2, of fewer than 3 rounds, can be compared with no other run. Intervals are"
    )


def test_the_farthest_output_is_named() -> None:
    wrong = Machine(name="rough", per_frame_s=0.02, psnr_db=81.0)
    assert "the farthest, rough's, is 81 dB from" in made(PLAIN, FAST, wrong)["Can I trust it?"]


def test_what_was_not_measured_is_a_line_for_each_reason() -> None:
    tables = tables_of(synthetic.run((PLAIN, GONE), frames=(1, 2, 4), rounds=1), BASELINE)
    assert not_measured(one_run(tables).rows, tables) == {"no such device": "gone (3 cells)"}


def test_rounds_that_were_left_out_of_measured_cells_are_counted() -> None:
    first, second, third = synthetic.run((PLAIN,), frames=(4,), rounds=3)
    left_out = synthetic.ended(third, Status.SKIPPED, "no time")
    tables = tables_of([first, second, left_out], BASELINE)
    said = not_measured(one_run(tables).rows, tables)
    assert said == {"no time": "cpu (1 round of measured cells)"}


def test_a_run_in_which_nothing_was_measured_answers_nothing() -> None:
    records = [synthetic.ended(one, Status.ERROR, "boom") for one in synthetic.run((PLAIN,), rounds=1)]
    assert answered(records) == {}
    tables = tables_of(records, BASELINE)
    assert [*not_measured(one_run(tables).rows, tables)] == ["error: boom"]
