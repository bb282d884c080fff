"""The verdicts: of the paper's own numbers all of them, and of each metric where it turns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.paper import claims
from bench.paper.claims import Condition, Verdict, findings
from bench.paper.experiments import PAPER
from bench.paper.metrics import METRICS, Value
from bench.paper.sources import UNSYNCHRONISED, Source, published
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
    samples,
    skipped,
    source,
    staged,
)

SUPPORTED, REFUTED, OPEN = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.CANNOT_TELL

IN_ITS_WORDS = {
    SUPPORTED: "1a 1b 1c 1d 2a 3a 3b 3c 3d 4a 4b 4c 4e 5a 5b 5c 7a 7b 8a 11c",
    REFUTED: "2b 3e 4d 6 11a 11b 12",
    OPEN: "8b 9 10a 10b 10c 10d 10e 13",
}


def judged(claim: str, of: Source) -> Any:
    (found,) = findings([of]).query("claim == @claim and form == 'general'").itertuples()
    return found


def test_the_papers_claims_by_its_own_numbers():
    found = findings([published()])
    assert len(found) == 2 * 35
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


def test_every_claim_has_a_metric_or_says_what_it_needs():
    for claim in claims.load():
        assert {condition.metric for condition in claim.judged} <= METRICS.keys()
        assert bool(claim.judged) != bool(claim.needs)


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


def by_line(**grown: int) -> Source:
    return source(memory(CPU, [1, 2], lines={f"y = {call}(x)": added for call, added in grown.items()}))


COPIED = 12 * 17 * 10 * 64 * 64
"""Bytes of ten frames of 64x64 and of their output."""


@pytest.mark.parametrize(
    ("claim", "of", "verdict"),
    [
        ("1a", sweep(lambda t: 0.05 * t), SUPPORTED),
        ("1a", sweep(lambda t: 0.05 * t**0.6), REFUTED),
        ("1c", sweep(lambda t: 0.05 * t), SUPPORTED),
        ("1c", sweep(lambda t: 0.15 * t), REFUTED),
        ("2a", sweep(lambda t: 0.5), SUPPORTED),
        ("2a", sweep(lambda t: 0.01), REFUTED),
        ("3a", processes((3.0, 1.0), (4.0, 0.97)), SUPPORTED),
        ("3a", processes((4.0, 1.0), (3.0, 0.97)), REFUTED),
        ("3b", processes((3.0, 1.0), (4.0, 0.97)), SUPPORTED),
        ("3d", processes((3.0, 1.0), (4.0, 0.97)), SUPPORTED),
        ("3d", processes((3.0, 1.0), (4.0, 0.8)), REFUTED),
        ("3e", processes((3.0, 1.0), (4.0, 0.97)), SUPPORTED),
        ("4b", processes((1.0, 1.0), (1.0, 1.0), 0.004), SUPPORTED),
        ("4b", processes((1.0, 1.0), (1.0, 1.0), 0.2), REFUTED),
        ("4d", sweep(lambda t: 0.1 + 0.05 * t), SUPPORTED),
        ("4d", sweep(lambda t: (0.1 + 0.05 * t) * (1.3 if t == 30 else 1)), REFUTED),
        ("5a", source(staged(CPU, 1, 3, 1, 2)), SUPPORTED),
        ("5a", source(staged(CPU, 1, 2, 1, 3)), REFUTED),
        ("5a", source(staged(CPU, 1, 2, 1, 2)), OPEN),
        ("6", source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 1.1)), SUPPORTED),
        ("6", source(staged(CPU, 4, 8, 2, 4), staged(CUDNN, 1, 2, 0.5, 2.0)), REFUTED),
        ("7a", source(staged(CUDNN, 1, 5, 1, 1), staged(TUNED, 1, 4, 1, 1)), SUPPORTED),
        ("7a", source(staged(CUDNN, 1, 5, 1, 2), staged(TUNED, 1, 4.9, 1, 1)), REFUTED),
        ("7b", source(staged(CUDNN, 1, 5, 1, 1), staged(TUNED, 1, 4, 1, 1)), SUPPORTED),
        ("7b", source(staged(CUDNN, 1, 5, 1, 2), staged(TUNED, 1, 4.9, 1, 1)), REFUTED),
        ("8a", rising(*(20 * i for i in range(60))), SUPPORTED),
        ("8a", rising(*(0.2 * i for i in range(60))), REFUTED),
        ("8a", rising(*(1200 * (i / 59) ** 3 for i in range(60))), REFUTED),
        ("8a", rising(*(20 * i + (90 if i // 3 % 2 else 0) for i in range(60))), OPEN),
        ("8b", by_line(trunk=900, compute_flow=50, cat=100), SUPPORTED),
        ("8b", by_line(cat=5), REFUTED),
        ("9", source(memory(CUDNN, [1, 2], peak_device_bytes=int(1.5 * COPIED))), SUPPORTED),
        ("9", source(memory(CUDNN, [1, 2], peak_device_bytes=3 * COPIED)), REFUTED),
        ("10c", copies(off=0.05, on=0.01), SUPPORTED),
        ("10c", copies(off=0.05, on=0.049), REFUTED),
        ("11a", headline(10.0, 2.0, 1.5), SUPPORTED),
        ("11a", headline(1.0, 2.0, 1.5), REFUTED),
        ("11c", headline(10.0, 2.0, 1.5), REFUTED),
        ("12", sweep(lambda t: 0.05 * t, lambda t: (0.04 if t > 20 else 0.06) * t), SUPPORTED),
        ("12", sweep(lambda t: 0.05 * t, lambda t: 0.05 * t), REFUTED),
        ("13", first_points(off=3.0, on=0.03), SUPPORTED),
        ("13", first_points(off=3.0, on=2.9), REFUTED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_claim_is_judged_by_its_metric(claim, of, verdict):
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
        ("8b", rising(0, 1500), "memory by line of the forward was not measured"),
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
