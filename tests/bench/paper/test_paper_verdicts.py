"""On the paper's own figures the verdicts are what its numbers say."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.paper.claims import CLAIMS, findings
from bench.paper.editions import PAPER, Edition
from bench.paper.reading import RunOfPaper, edition_of
from bench.paper.verdict import Finding, Form, Verdict
from bench.records import read_journal
from bench.results.analysis import tables_of
from tests.bench.paper import facts

RUN = Path(__file__).resolve().parents[3] / "results" / "paper-tesla-k80"

AT_ITS_WORD = {
    "1a": "supported",  # 3.45 without t = 1
    "1b": "supported",
    "1c": "supported",
    "1d": "supported",
    "2a": "supported",  # 1.754 s against 0.241 s
    "2b": "refuted",  # 0.023 s
    "3a": "supported",
    "3b": "supported",
    "3c": "supported",
    "3d": "supported",  # 2.9 %
    "3e": "refuted",  # 0.06 s, and not 0.03 s
    "4a": "supported",
    "4b": "supported",
    "4c": "supported",
    "4d": "refuted",  # 4.83 s at t = 55
    "4e": "supported",
    "5a": "supported",
    "5b": "supported",
    "5c": "supported",
    "6": "refuted",  # 1.36 to 2.95 times
    "7a": "supported",
    "7b": "supported",
    "8a": "supported",
    "8b": "cannot tell",
    "9": "cannot tell",
    "10a": "cannot tell",
    "10b": "cannot tell",
    "10c": "cannot tell",
    "10d": "cannot tell",
    "10e": "cannot tell",
    "11a": "refuted",  # 2.36, and not 2.071
    "11b": "refuted",  # 1.965, and not 1.964
    "11c": "supported",
    "12": "refuted",
    "13": "cannot tell",
}


def by_claim(edition: Edition, form: Form) -> Mapping[str, Finding]:
    return {finding.claim: finding for finding in findings([edition]) if finding.form is form}


@pytest.fixture(params=["facts", "run"])
def paper(request: pytest.FixtureRequest) -> Edition:
    if request.param == "facts":
        return facts.edition()
    roles = {str(role): role for role in facts.ROLES}
    tables = tables_of(read_journal(RUN / "journal.jsonl"), baseline="cpu")
    run = RunOfPaper(tables=tables, roles=roles, machine="Tesla K80", baseline="cpu")
    return edition_of(PAPER, [run], version="full")


def test_the_verdicts_are_what_the_numbers_say(paper: Edition) -> None:
    found = by_claim(paper, Form.PAPER)
    assert {claim: str(finding.verdict) for claim, finding in found.items()} == AT_ITS_WORD
    assert found.keys() == {claim.id for claim in CLAIMS if claim.paper is not None}


@pytest.mark.parametrize(
    ("claim", "figures"),
    [
        ("1a", ["3.45×"]),
        ("1b", ["3.46×"]),
        ("1c", ["69.5 %"]),
        ("2a", ["0.137×"]),
        ("2b", ["10.3×"]),
        ("3a", ["1.29×", "3.53 s", "4.57 s"]),
        ("3d", ["1.03×", "1.88 s", "1.82 s"]),
        ("3e", ["61.5 ms", "−48.6 ms"]),
        ("4a", ["14.2 %"]),
        ("4b", ["0.773 %"]),
        ("4c", ["0.46"]),
        ("4d", ["30.8 %", "1.09 %"]),
        ("5a", ["51.2 %"]),
        ("5b", ["53.4 %"]),
        ("5c", ["44.0 %"]),
        ("6", ["2.17×", "2.95×", "2.27×", "1.36×", "2.51×"]),
        ("7a", ["1.10 s", "92.5 %"]),
        ("7b", ["−1.28 %", "−15.8 %"]),
        ("8a", ["1.16 GiB/s"]),
        ("11a", ["2.36×", "14.2 %"]),
        ("11b", ["1.96×", "1.9649 beyond the printed 1.964", "0.0447 %"]),
        ("12", ["0.997×", "10: 4"]),
    ],
)
def test_they_rest_on_the_published_figures(claim: str, figures: list[str]) -> None:
    said = "; ".join(map(str, by_claim(facts.edition(), Form.PAPER)[claim].evidence))
    assert [figure for figure in figures if figure not in said] == []


def test_the_general_forms_take_no_gpu_time_that_nothing_waited_for() -> None:
    found = by_claim(facts.edition(), Form.GENERAL)
    waited = "clock was read without waiting for the GPU"
    for claim in ("1a", "1b", "1c", "1d", "2a", "2b", "3a", "3d", "4b", "4d", "5b", "6", "7a", "11a", "12"):
        assert found[claim].verdict is Verdict.CANNOT_TELL, claim
        assert waited in found[claim].missing, claim
    # The CPU's own need no waiting: nine repeated calls, three of a stage, and one curve.
    assert found["4a"].verdict is Verdict.SUPPORTED
    assert found["5a"].verdict is Verdict.CANNOT_TELL
    assert "too few samples" in found["5a"].missing
    assert found["8a"].verdict is Verdict.SUPPORTED


def test_its_methods_stand_under_its_own_names_with_the_projects() -> None:
    found = by_claim(facts.edition(), Form.PAPER)
    said = [str(found[claim].evidence[0]) for claim in ("1a", "1b")]
    assert [text.split(" over the CPU")[0] for text in said] == [
        "speedup of CUDA (cudnn)",
        "speedup of cuDNN (cudnn_autotune)",
    ]
