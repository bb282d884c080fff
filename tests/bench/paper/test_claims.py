"""The verdicts: of the paper's own numbers all of them, and of each metric where it turns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.paper import claims, published
from bench.paper.claims import COLUMNS, Condition, Finding, Form, Verdict, claims_table, findings
from bench.paper.method import PAPER
from bench.paper.metrics import METRICS, Figure
from bench.paper.sources import UNSYNCHRONISED, Source
from bench.records import CellRecord
from tests.bench.paper.made import (
    CPU,
    CUDNN,
    NO_GPU,
    TUNED,
    calls,
    memory,
    record,
    repeated,
    run,
    sample,
    skipped,
    source,
    staged,
)  # fmt: skip

SUPPORTED, REFUTED, OPEN = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.CANNOT_TELL

IN_ITS_WORDS = {
    "supported": "1a 1b 1c 1d 2a 3a 3b 3c 3d 4a 4b 4c 4e 5a 5b 5c 7a 7b 8a 11c",
    "refuted": "2b 3e 4d 6 11a 11b 12",
    "cannot tell": "8b 9 10a 10b 10c 10d 10e 13",
}
IN_GENERAL = "4a 8a"
"""All others stay open in their general form: single samples, and a clock that waits for nothing."""


def judged(claim: str, of: Source, form: Form = Form.GENERAL) -> Finding:
    (found,) = (one for one in findings([of]) if (one.claim, one.form) == (claim, form))
    return found


def test_the_papers_claims_by_its_own_numbers():
    found = findings([published.source()])
    assert len(found) == 2 * 35
    for verdict, expected in IN_ITS_WORDS.items():
        assert [
            one.claim for one in found if (one.form, one.verdict) == ("paper", verdict)
        ] == expected.split()
    told = [one.claim for one in found if (one.form, one.verdict) == ("general", SUPPORTED)]
    assert told == IN_GENERAL.split()
    assert {one.verdict for one in found if one.form is Form.GENERAL} == {SUPPORTED, OPEN}
    assert judged("1a", published.source()).missing == UNSYNCHRONISED
    evidence = {one.claim: str(one.evidence[0]) for one in found if one.form is Form.PAPER and one.evidence}
    # As the paper's figures, recomputed by hand, have them.
    assert evidence["1a"].startswith("speedup, t = 4 to 61: 3.45×")
    assert evidence["2a"] == "speedup at t = 1: 0.137×"
    assert evidence["4a"].startswith("coefficient of variation: 14.2 %")
    assert evidence["4d"] == "farthest from the line, t = 55: 30.8 %"
    assert evidence["6"] == "the largest over the smallest: 2.17×"
    assert evidence["11a"] == "speedup, t = 60: 2.36×"


def test_every_metric_has_a_claim_or_a_column_and_every_claim_a_metric():
    named = {
        condition.metric
        for claim in claims._load()
        for stated in (claim.paper, claim.general)
        for condition in stated.judged
    }
    assert named <= METRICS.keys()
    assert METRICS.keys() - named <= {"speedup_of_long_clips", "rate_of_growth"}
    for claim in claims._load():
        for stated in (claim.paper, claim.general):
            assert bool(stated.judged) != bool(stated.needs or claim.needs)


@pytest.mark.parametrize(
    ("value", "low", "high", "at_its_word", "verdict"),
    [
        (1.5, 1.2, 1.8, False, SUPPORTED),
        (1.5, 0.9, 1.8, False, OPEN),
        (0.5, 0.4, 1.0, False, REFUTED),
        (2.5, 2.0, 3.0, False, REFUTED),
        (1.5, None, None, False, OPEN),
        (1.5, None, None, True, SUPPORTED),
        (1.5, 0.9, 1.8, True, SUPPORTED),
    ],
)
def test_a_figure_is_judged_by_its_interval_or_at_its_word(value, low, high, at_its_word, verdict):
    figure = Figure(name="x", value=value, low=low, high=high)
    condition = Condition(metric="x", above=1.0, below=2.0)
    assert condition.verdict(figure, at_its_word=at_its_word)[0] is verdict


# Speedups.

LENGTHS = (1, 4, 10, 20, 30, 40, 50, 60)


def sweep(gpu: Callable[[int], float], role: Any = CUDNN, lengths: Sequence[int] = LENGTHS) -> Source:
    return source(
        *(calls(CPU, "frames", repeated(0.2 * t), frames=t) for t in lengths),
        *(calls(role, "frames", repeated(gpu(t)), frames=t) for t in lengths),
    )


def test_a_speedup_that_grows_with_the_length_does_not_settle():
    assert judged("1a", sweep(lambda t: 0.05 * t)).verdict is SUPPORTED
    assert judged("1a", sweep(lambda t: 0.05 * t**0.6)).verdict is REFUTED
    few = judged("1a", sweep(lambda t: 0.05 * t, lengths=(1, 4, 10)))
    assert few.verdict is OPEN
    assert few.missing.startswith("too few frame counts")


def test_time_saved_on_long_clips():
    assert judged("1c", sweep(lambda t: 0.05 * t)).verdict is SUPPORTED
    assert judged("1c", sweep(lambda t: 0.15 * t)).verdict is REFUTED
    assert str(judged("1c", sweep(lambda t: 0.05 * t)).evidence[0]).startswith("time saved: 75.0 %")


def test_one_frame_on_a_gpu_that_starts_slowly():
    assert judged("2a", sweep(lambda t: 0.5)).verdict is SUPPORTED
    assert judged("2a", sweep(lambda t: 0.01)).verdict is REFUTED
    assert judged("2a", sweep(lambda t: 0.5, lengths=(4, 10))).missing == "no clip of one frame was measured"


def test_a_cell_off_the_line_is_scatter():
    assert judged("4d", sweep(lambda t: 0.1 + 0.05 * t)).verdict is SUPPORTED
    off = judged("4d", sweep(lambda t: (0.1 + 0.05 * t) * (1.3 if t == 30 else 1)))
    assert off.verdict is REFUTED
    assert str(off.evidence[0]) == "farthest from the line, t = 30: 30.0 %"


def test_the_headline_and_tuning():
    one = source(
        calls(CPU, "headline", repeated(10.0)), calls(CUDNN, "headline", repeated(2.0)),
        calls(TUNED, "headline", repeated(1.5)),
    )  # fmt: skip
    assert judged("11a", one).verdict is SUPPORTED
    assert judged("11c", one).verdict is REFUTED


def test_tuning_on_the_longer_half_of_the_clips():
    plain, tuned = sweep(lambda t: 0.05 * t), sweep(lambda t: 0.04 * t if t > 20 else 0.06 * t, TUNED)
    records = [plain, tuned]
    both = source(
        *(calls(CPU, "frames", repeated(0.2 * t), frames=t) for t in LENGTHS),
        *(calls(CUDNN, "frames", repeated(0.05 * t), frames=t) for t in LENGTHS),
        *(calls(TUNED, "frames", repeated(0.04 * t if t > 20 else 0.06 * t), frames=t) for t in LENGTHS),
    )
    assert judged("12", both).verdict is SUPPORTED
    assert judged("12", records[0]).missing.startswith("there is no backend cudnn_autotune")


# Repeated calls.


def processes(role: Any, first: float, later: float, spread: float = 0.005) -> list[CellRecord]:
    return calls(role, "repetitions", *[repeated(later, spread)] * 3, cold=first)


def test_first_calls_and_later_ones():
    one = source(processes(CUDNN, 3.0, 1.0), processes(TUNED, 4.0, 0.97))
    assert judged("3a", one).verdict is SUPPORTED
    assert judged("3b", one).verdict is SUPPORTED
    assert judged("3d", one).verdict is SUPPORTED
    assert judged("3e", one).verdict is SUPPORTED
    alone = source(calls(CUDNN, "repetitions", repeated(1.0), cold=3.0), processes(TUNED, 4.0, 0.8))
    assert judged("3b", alone).missing.startswith("too few samples for an interval")
    assert judged("3d", alone).verdict is REFUTED


@pytest.mark.parametrize(("spread", "verdict"), [(0.004, SUPPORTED), (0.2, REFUTED)])
def test_times_that_scatter(spread, verdict):
    assert judged("4b", source(processes(CUDNN, 1.0, 1.0, spread))).verdict is verdict


def test_a_scatter_needs_calls():
    few = source(calls(CUDNN, "repetitions", [1.0, 1.1, 1.2]))
    assert judged("4b", few).missing == "too few samples: 6 calls after the first are needed"


# Stages.


def test_the_longest_stage():
    assert judged("5a", source(staged(CPU, 1, 3, 1, 2))).verdict is SUPPORTED
    assert judged("5a", source(staged(CPU, 1, 2, 1, 3))).verdict is REFUTED
    assert judged("5a", source(staged(CPU, 1, 2, 1, 2))).verdict is OPEN


def test_stages_accelerated_alike():
    assert judged("6", source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 1.1))).verdict is SUPPORTED
    assert judged("6", source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 2.0))).verdict is REFUTED


def test_what_tuning_gains_in_propagation():
    one = source(staged(CUDNN, 1, 5, 1, 1), staged(TUNED, 1, 4, 1, 1))
    assert (judged("7a", one).verdict, judged("7b", one).verdict) == (SUPPORTED, SUPPORTED)
    other = source(staged(CUDNN, 1, 5, 1, 2), staged(TUNED, 1, 4.9, 1, 1))
    assert (judged("7a", other).verdict, judged("7b", other).verdict) == (REFUTED, REFUTED)


# Memory.


def test_memory_that_grows_steadily():
    steady = source(memory(CPU, [400 + 20 * i for i in range(60)]))
    assert judged("8a", steady).verdict is SUPPORTED
    small = judged("8a", source(memory(CPU, [400 + 0.2 * i for i in range(60)])))
    assert small.verdict is REFUTED
    assert small.by_design
    assert claims.refuted([small], "corrected") == []
    bent = source(memory(CPU, [400 + 1200 * (i / 59) ** 3 for i in range(60)]))
    assert judged("8a", bent).verdict is REFUTED
    wavy = source(memory(CPU, [400 + 20 * i + (90 if i // 3 % 2 else 0) for i in range(60)]))
    assert judged("8a", wavy).verdict is OPEN
    assert judged("8a", source(memory(CPU, [400, 1900]))).missing.startswith("too few points")


def test_memory_in_convolutions():
    grown = {"feat = self.trunk(x)": 900, "flows = compute_flow(x)": 50, "x = torch.cat(y)": 100}
    assert judged("8b", source(memory(CPU, [1, 2], lines=grown))).verdict is SUPPORTED
    assert judged("8b", source(memory(CPU, [1, 2], lines={"x = torch.cat(y)": 5}))).verdict is REFUTED
    assert (
        judged("8b", source(memory(CPU, [1, 2]))).missing == "memory by line of the forward was not measured"
    )


def test_transfers_of_device_memory():
    copied = 12 * 17 * 10 * 64 * 64
    for peak, verdict in ((int(1.5 * copied), SUPPORTED), (3 * copied, REFUTED)):
        assert judged("9", source(memory(CUDNN, [1, 2], peak_device_bytes=peak))).verdict is verdict


# Experiments on one fault.


def with_fault(fault: str, off: Sequence[CellRecord], on: Sequence[CellRecord]) -> Source:
    return replace(source(), runs={f"{fault}/off": run(off), f"{fault}/on": run(on)})


def copies(there: float, back: float) -> list[CellRecord]:
    return [
        record(
            CUDNN, "noise",
            samples=[
                sample("end_to_end", "steady", stage, place, value)  # type: ignore[arg-type]
                for stage, middle in (("forward", 0.9), ("host_to_device", there), ("device_to_host", back))
                for place, value in enumerate(repeated(middle))
            ],
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("pinned", "verdict"), [(0.01, SUPPORTED), (0.049, REFUTED)])
def test_cheaper_transfers(pinned, verdict):
    assert judged("10c", with_fault("transfers", copies(0.05, 0.05), copies(pinned, 0.05))).verdict is verdict


@pytest.mark.parametrize(("shared", "verdict"), [(0.03, SUPPORTED), (2.9, REFUTED)])
def test_a_first_point_is_short_after_another_backend(shared, verdict):
    apart, together = (calls(TUNED, "noise", [seconds], frames=1) for seconds in (3.0, shared))
    assert judged("13", with_fault("order", apart, together)).verdict is verdict
    assert judged("13", source()).missing == "the runs of `order` (`--figures faults`)"


# What is lacking.


def test_without_a_gpu_the_reason_is_the_cells():
    one = source(calls(CPU, "headline", repeated(1.0)), [skipped(CUDNN, "headline")])
    assert judged("11a", one).missing == f"no GPU ({NO_GPU})"
    assert judged("5a", one).missing == "the runs of `stages` (the experiment was not run)"


def test_times_that_nothing_waited_for_leave_a_claim_open_and_memory_does_not():
    blind = source(
        calls(CPU, "headline", repeated(1.0)), calls(CUDNN, "headline", repeated(0.5)),
        memory(CUDNN, [1, 2], peak_device_bytes=10**9), name="faithful", method=PAPER,
    )  # fmt: skip
    assert judged("11a", blind).missing == UNSYNCHRONISED
    assert judged("9", blind).verdict is REFUTED


def test_the_table_has_a_text_for_each_column():
    found = findings([published.source(), source(calls(CPU, "headline", repeated(1.0)))])
    table = claims_table(found)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 3 * 35
    assert (table["title"] != "").all()
    assert not table["statement"].str.contains("{", regex=False).any()
    untold = table["verdict"] == "cannot tell"
    assert (table.loc[untold, "missing"] != "").all()
    assert (table.loc[~untold, "missing"] == "").all()
    assert (table.loc[~untold, "evidence"] != "").all()
