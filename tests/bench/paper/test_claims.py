"""The verdicts: of the paper's own numbers all of them, and of each metric where it turns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.grid.costs import StageCost
from bench.paper import claims
from bench.paper.claims import Condition, Verdict, findings
from bench.paper.experiments import PAPER
from bench.paper.metrics import METRICS, Value
from bench.paper.sources import UNSYNCHRONISED, Role, Source, published
from bench.records import StageMemory
from tests.bench.paper.made import (
    CPU,
    CUDNN,
    NO_GPU,
    TUNED,
    calls,
    memory,
    named,
    record,
    repeated,
    run,
    samples,
    skipped,
    source,
    staged,
)

SUPPORTED, REFUTED, OPEN = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.CANNOT_TELL

IN_ITS_WORDS = {
    SUPPORTED: "1a 1b 1c 1d 2a 3a 3b 3c 3d 4a 4b 4c 4e 5a 5b 5c 7a 7b 8a 11c",
    REFUTED: "2b 3e 4d 6 11a 11b 12",
    OPEN: "8b 9 10a 10b 10c 10d 10e 13 14a 14b 15a 15b 15c 16",
}


def judged(claim: str, of: Source) -> Any:
    (found,) = findings([of]).query("claim == @claim and form == 'general'").itertuples()
    return found


def test_the_papers_claims_by_its_own_numbers():
    found = findings([published()])
    assert len(found) == 2 * 41
    words, general = (found[found["form"] == form].set_index("claim") for form in ("paper", "general"))
    for verdict, expected in IN_ITS_WORDS.items():
        assert list(words.index[words["verdict"] == verdict]) == expected.split()
    # All others stay open in their general form: single samples, and a clock that waits for nothing.
    told = general["verdict"][general["verdict"] != OPEN]
    assert dict(told) == {"4a": SUPPORTED, "8a": SUPPORTED}
    assert general["missing"]["1a"] == UNSYNCHRONISED
    # As the paper's figures, recomputed by hand, have them.
    for claim, expected in {
        "1a": "speedup, t = 4 to 61: 3.45×",
        "2a": "speedup at t = 1: 0.137×",
        "4a": "coefficient of variation: 14.2 %",
        "4d": "farthest from the line, t = 55: 30.8 %",
        "6": "the largest over the smallest: 2.17×",
        "11a": "speedup, t = 60: 2.36×",
    }.items():
        assert words["evidence"][claim].startswith(expected)


def test_every_claim_is_judged_by_metrics():
    asked = {condition.metric for claim in claims.load() for condition in claim.judged}
    assert asked <= METRICS.keys()


@pytest.mark.parametrize(
    ("value", "low", "high", "at_its_word", "verdict"),
    [
        (1.5, 1.2, 1.8, False, SUPPORTED),
        (1.5, 0.9, 1.8, False, OPEN),
        (0.5, 0.4, 1.0, False, REFUTED),
        (2.5, 2.0, 3.0, False, REFUTED),
        (1.5, math.nan, math.nan, False, OPEN),
        (1.5, math.nan, math.nan, True, SUPPORTED),
        (1.5, 0.9, 1.8, True, SUPPORTED),
    ],
)
def test_a_figure_is_judged_by_its_interval_or_at_its_word(value, low, high, at_its_word, verdict):
    figure = Value(name="x", value=value, low=low, high=high)
    condition = Condition(metric="x", above=1.0, below=2.0)
    assert condition.verdict(figure, at_its_word=at_its_word)[0] is verdict


LENGTHS = (1, 4, 10, 20, 30, 40, 50, 60)
Seconds = Callable[[int], float]


def sweep(*of_gpus: Seconds, lengths: Sequence[int] = LENGTHS) -> Source:
    of = zip((CPU, CUDNN, TUNED), (lambda t: 0.2 * t, *of_gpus), strict=False)
    return source(
        *(calls(role, "frames", repeated(seconds(t)), frames=t) for role, seconds in of for t in lengths)
    )


def headline(*seconds: float) -> Source:
    of = zip((CPU, CUDNN, TUNED), seconds, strict=True)
    return source(*(calls(role, "headline", repeated(value)) for role, value in of))


def processes(plain: tuple[float, float], tuned: tuple[float, float], spread: float = 0.005) -> Source:
    """Three of each: the first call, and later ones."""
    return source(
        *(
            calls(role, "repetitions", *[repeated(later, spread)] * 3, cold=first)
            for role, (first, later) in ((CUDNN, plain), (TUNED, tuned))
        )
    )


def copies(**there: float) -> Source:
    """Without page-locked memory and with it: the copy there; that back takes 50 ms."""
    runs = {}
    for which, seconds in there.items():
        spans = {"forward": 0.9, "host_to_device": seconds, "device_to_host": 0.05}
        found = [one for span, value in spans.items() for one in samples(span, repeated(value))]
        runs[f"transfers/{which}"] = run([record(CUDNN, "noise", samples=tuple(found))])
    return replace(source(), runs=runs)


def first_points(**seconds: float) -> Source:
    runs = {f"order/{which}": run(calls(TUNED, "noise", [value])) for which, value in seconds.items()}
    return replace(source(), runs=runs)


def rising(*steps: float) -> Source:
    return source(memory(CPU, [400 + step for step in steps]))


def by_stage(**grown: int) -> Source:
    """Growth of host memory by stage, of which propagation has the most FLOPs."""
    stages = staged(CPU, 1, 3, 1, 2)[0]
    costs = {
        stage: StageCost(flops=9 if stage == "propagation" else 1, bytes=1, fused_bytes=1, peak_bytes=1)
        for stage in grown
    }
    memory_of = {
        stage: StageMemory(peak_host_bytes=added, host_growth_bytes=added, host_kept_bytes=0)
        for stage, added in grown.items()
    }
    fields = {"input": "memory", "costs": costs, "stage_memory": memory_of}
    return source([stages.model_copy(update=fields)])


def beyond(experiment: str, role: Role, **seconds: float) -> Source:
    return replace(source(), runs=named(experiment, role, **seconds))


def one_frame(context_s: float) -> Source:
    cpu = calls(CPU, "frames", repeated(0.2), frames=1)
    gpu = calls(CUDNN, "frames", repeated(0.01), frames=1)
    made = [one.model_copy(update={"context_s": context_s, "model_to_device_s": 0.001}) for one in gpu]
    return source(cpu, made)


def at_cpu(spread: float) -> Source:
    return source(calls(CPU, "repetitions", *[repeated(1.0, spread)] * 3, cold=1.0))


COPIED = 12 * 17 * 10 * 64 * 64
"""Bytes of ten frames of 64x64 and of their output."""

FIRST = processes((3.0, 1.0), (4.0, 0.97))
STEADY = processes((1.0, 1.0), (1.0, 1.0), 0.004)
UNSTEADY = processes((1.0, 1.0), (1.0, 1.0), 0.2)


def both(seconds: Seconds) -> Source:
    return sweep(seconds, seconds)


SETTLED, GROWING = both(lambda t: 0.2 / 3.5 * t), both(lambda t: 0.05 * t**0.6)
SAVED, WASTED = both(lambda t: 0.2 / 3 * t), both(lambda t: 0.15 * t)
SLOW_AT_ONE, QUICK_AT_ONE = both(lambda t: 0.5), both(lambda t: 0.01)
ON_LINE = both(lambda t: 0.1 + 0.05 * t)
OFF_LINE = both(lambda t: (0.1 + 0.05 * t) * (1.3 if t == 30 else 1))
PRINTED, WRONG = headline(2.071, 1.0, 2.071 / 1.964), headline(1.0, 2.0, 1.5)

DATA: dict[str, tuple[Source, Source]] = {
    "1a": (SETTLED, GROWING),
    "1b": (SETTLED, GROWING),
    "1c": (SAVED, WASTED),
    "1d": (SAVED, WASTED),
    "2a": (SLOW_AT_ONE, QUICK_AT_ONE),
    "2b": (SLOW_AT_ONE, QUICK_AT_ONE),
    "3a": (FIRST, processes((4.0, 1.0), (3.0, 0.97))),
    "3b": (FIRST, processes((0.5, 1.0), (0.5, 0.97))),
    "3c": (FIRST, processes((0.5, 1.0), (0.5, 0.97))),
    "3d": (FIRST, processes((3.0, 1.0), (4.0, 0.8))),
    "3e": (FIRST, processes((3.0, 1.0), (4.0, 0.8))),
    "4a": (at_cpu(0.2), at_cpu(0.005)),
    "4b": (STEADY, UNSTEADY),
    "4c": (STEADY, UNSTEADY),
    "4d": (ON_LINE, OFF_LINE),
    "4e": (ON_LINE, OFF_LINE),
    **{
        claim: (source(staged(role, 1, 3, 1, 2)), source(staged(role, 1, 2, 1, 3)))
        for claim, role in (("5a", CPU), ("5b", CUDNN), ("5c", TUNED))
    },
    "6": (
        source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 1.1)),
        source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 2.0)),
    ),
    **dict.fromkeys(
        ("7a", "7b"),
        (
            source(staged(CUDNN, 1, 5, 1, 1), staged(TUNED, 1, 4, 1, 1)),
            source(staged(CUDNN, 1, 5, 1, 2), staged(TUNED, 1, 4.9, 1, 1)),
        ),
    ),
    "8a": (rising(*(20 * i for i in range(60))), rising(*(1200 * (i / 59) ** 3 for i in range(60)))),
    "8b": (
        by_stage(alignment=5, propagation=90, aggregation=5, upsampling=80),
        by_stage(alignment=5, propagation=80, aggregation=5, upsampling=90),
    ),
    "9": (
        source(memory(CUDNN, [1, 2], peak_device_bytes=int(1.5 * COPIED))),
        source(memory(CUDNN, [1, 2], peak_device_bytes=3 * COPIED)),
    ),
    "10a": (
        beyond("processes", CUDNN, one_gpu=1.0, two_gpus=0.6),
        beyond("processes", CUDNN, one_gpu=1.0, two_gpus=1.1),
    ),
    "10b": (
        beyond("schedule", CUDNN, sequential=1.0, pipelined=0.9),
        beyond("schedule", CUDNN, sequential=1.0, pipelined=1.1),
    ),
    "10c": (copies(off=0.05, on=0.01), copies(off=0.05, on=0.049)),
    "10d": (
        beyond("schedule", CUDNN, sequential=1.0, graph=0.9),
        beyond("schedule", CUDNN, sequential=1.0, graph=1.1),
    ),
    "10e": (
        beyond("schedule", CUDNN, sequential=1.0, pipelined=1.1),
        beyond("schedule", CUDNN, sequential=1.0, pipelined=0.9),
    ),
    "11a": (PRINTED, WRONG),
    "11b": (PRINTED, WRONG),
    "11c": (headline(10.0, 1.5, 2.0), headline(10.0, 2.0, 1.5)),
    "12": (
        sweep(lambda t: 0.05 * t, lambda t: (0.04 if t > 20 else 0.06) * t),
        sweep(lambda t: 0.05 * t, lambda t: 0.05 * t),
    ),
    "13": (first_points(off=3.0, on=0.03), first_points(off=3.0, on=2.9)),
    "14a": (
        beyond("convolutions", CPU, **{"cpu": 1.0, "cpu-im2col": 1.1, "cpu-fft": 0.5}),
        beyond("convolutions", CPU, **{"cpu": 1.0, "cpu-im2col": 1.1, "cpu-fft": 1.05}),
    ),
    "14b": (
        beyond("convolutions", CUDNN, **{"cudnn": 1.0, "cudnn-im2col": 1.1, "cudnn-fft": 0.5}),
        beyond("convolutions", CUDNN, **{"cudnn": 1.0, "cudnn-im2col": 1.1, "cudnn-fft": 1.05}),
    ),
    **{
        claim: (
            beyond("processes", CPU, **{"one_thread": 1.0, name: 0.6}),
            beyond("processes", CPU, **{"one_thread": 1.0, name: 1.1}),
        )
        for claim, name in (("15a", "threads"), ("15b", "processes"), ("15c", "map_reduce"))
    },
    "16": (one_frame(0.5), one_frame(0.05)),
}
"""Of each claim a source that supports it and one that refutes it, in both forms."""


@pytest.mark.parametrize("claim", claims.load(), ids=lambda claim: f"{claim.id} {claim.form}")
def test_a_claim_can_be_supported_refuted_and_left_open(claim):
    supporting, refuting = DATA[claim.id]
    assert claim.verdict(supporting)[0] is SUPPORTED
    assert claim.verdict(refuting)[0] is REFUTED
    verdict, evidence, missing = claim.verdict(source())
    assert (verdict, evidence) == (OPEN, [])
    assert missing


@pytest.mark.parametrize(
    ("claim", "of", "verdict"),
    [
        ("5a", source(staged(CPU, 1, 2, 1, 2)), OPEN),  # intervals decide, and not medians
        ("8a", rising(*(0.2 * i for i in range(60))), REFUTED),
        ("8a", rising(*(20 * i + (90 if i // 3 % 2 else 0) for i in range(60))), OPEN),
        ("12", both(lambda t: 0.05 * t), REFUTED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_claim_is_judged_by_intervals_and_by_each_of_its_conditions(claim, of, verdict):
    assert judged(claim, of).verdict == verdict


@pytest.mark.parametrize(
    ("claim", "of", "missing"),
    [
        ("1a", sweep(lambda t: 0.05 * t, lengths=(1, 4, 10)), "too few frame counts"),
        ("2a", sweep(lambda t: 0.5, lengths=(4, 10)), "no clip of one frame was measured"),
        (
            "3b",
            source(calls(CUDNN, "repetitions", repeated(1.0), cold=3.0)),
            "too few samples for an interval",
        ),
        (
            "4b",
            source(calls(CUDNN, "repetitions", [1.0, 1.1, 1.2])),
            "too few samples: 6 calls after the first",
        ),
        ("5a", source(), "the runs of `stages` (the experiment was not run)"),
        ("8a", rising(0, 1500), "too few points"),
        ("8b", rising(0, 1500), "alignment of cpu was not timed"),
        ("10b", source(), "the runs of `schedule` (`--figures beyond`)"),
        (
            "10b",
            beyond("schedule", CUDNN, sequential=1.0),
            "there is no backend pipelined",
        ),
        ("11a", source(calls(CPU, "headline", [1.0]), [skipped(CUDNN, "headline")]), f"no GPU ({NO_GPU})"),
        ("12", sweep(lambda t: 0.05 * t), "there is no backend cudnn_autotune"),
        ("13", source(), "the runs of `order` (`--figures faults`)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_open_claim_says_what_is_missing(claim, of, missing):
    found = judged(claim, of)
    assert found.verdict == OPEN
    assert found.missing.startswith(missing)


def test_the_corrected_method_refutes_steady_growth_by_design():
    found = findings([rising(*(0.2 * i for i in range(60)))])
    assert list(found["claim"][found["verdict"] == REFUTED]) == ["8a"]
    assert claims.refuted(found, "corrected") == []
    assert "11a" in claims.refuted(findings([headline(1.0, 2.0, 1.5)]), "corrected")


def test_times_that_nothing_waited_for_leave_a_claim_open_and_memory_does_not():
    blind = source(
        calls(CPU, "headline", repeated(1.0)), calls(CUDNN, "headline", repeated(0.5)),
        memory(CUDNN, [1, 2], peak_device_bytes=10**9), name="faithful", method=PAPER,
    )  # fmt: skip
    assert judged("11a", blind).missing == UNSYNCHRONISED
    assert judged("9", blind).verdict == REFUTED


def test_the_table_has_a_text_for_each_column():
    table = findings([published(), source(calls(CPU, "headline", repeated(1.0)))])
    assert (table["title"] != "").all()
    assert not table["statement"].str.contains("{", regex=False).any()
    is_open = table["verdict"] == OPEN
    assert ((table["missing"] != "") == is_open).all()
    assert (table.loc[~is_open, "evidence"] != "").all()
