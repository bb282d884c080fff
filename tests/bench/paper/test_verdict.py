"""How figures become verdicts, and findings a table."""

import pytest

from bench.paper.claims import CLAIMS, findings
from bench.paper.editions import Edition
from bench.paper.verdict import (
    CLAIMS_COLUMNS,
    Claim,
    Figure,
    Form,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    Verdict,
    all_hold,
    cannot_tell,
    claims_table,
    find,
    lies,
    shown,
)
from tests.bench.paper import facts
from tests.bench.paper.made import corrected


def figure(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(name="speedup", value=value, quantity=Quantity.RATIO, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.3, "supported"),
        (0.9, 1.3, "cannot tell"),
        (1.1, 2.1, "cannot tell"),
        (0.5, 3.0, "cannot tell"),
        (0.7, 0.9, "refuted"),
        (2.1, 2.3, "refuted"),
        (1.0, 1.3, "cannot tell"),
        (0.7, 1.0, "refuted"),
    ],
)
def test_an_interval_decides_unless_it_straddles(low: float, high: float, verdict: str) -> None:
    judged = lies(figure((low + high) / 2, low, high), above=1.0, below=2.0)
    assert judged.verdict == verdict
    assert ("interval too wide" in judged.missing) is (verdict == "cannot tell")


def test_one_sample_decides_only_where_it_is_taken_at_its_word() -> None:
    assert lies(figure(3.0), above=1.0, at_its_word=True).verdict is Verdict.SUPPORTED
    assert lies(figure(0.5), above=1.0, at_its_word=True).verdict is Verdict.REFUTED
    open_ = lies(figure(3.0), above=1.0)
    assert open_.verdict is Verdict.CANNOT_TELL
    assert open_.missing == "too few samples for an interval of the speedup"
    assert open_.evidence == (figure(3.0),)


def test_of_several_the_worst_decides() -> None:
    yes, no, open_ = (lies(figure(3.0), above=bound, at_its_word=True) for bound in (1, 5, 1))
    open_ = cannot_tell("a GPU")
    assert all_hold([yes, yes]).verdict is Verdict.SUPPORTED
    assert all_hold([yes, open_]) == Judgement(
        verdict=Verdict.CANNOT_TELL, evidence=yes.evidence, missing="a GPU"
    )
    refuted = all_hold([yes, open_, no], figure(7.0))
    assert refuted.verdict is Verdict.REFUTED
    assert refuted.missing == ""
    assert refuted.evidence == (*yes.evidence, *no.evidence, figure(7.0))


def test_what_an_edition_lacks_is_what_is_missing() -> None:
    def judge(_: Edition) -> Judgement:
        raise NotKnownError("no GPU")

    claim = Claim(id="1", title="t", source="s", paper=None, general=Stated(statement="x", judge=judge))
    assert find(claim, Form.PAPER, corrected()) is None
    found = find(claim, Form.GENERAL, corrected())
    assert found is not None
    assert (found.verdict, found.missing, found.evidence) == (Verdict.CANNOT_TELL, "no GPU", ())


@pytest.mark.parametrize(
    ("edition", "version", "missing", "more"),
    [
        ("corrected", "quick", "too few samples", True),
        ("corrected", "brief", "interval too wide", True),
        ("corrected", "full", "too few samples", False),
        ("corrected", "quick", "no GPU", False),
        ("faithful", "quick", "too few samples", False),  # one in full, too
        ("faithful", "quick", "too few frame counts", True),
        ("corrected", "brief", "no clip of 10 frames", False),  # its clips are the full ones
    ],
)
def test_a_short_version_says_so_where_the_full_one_would_tell(
    edition: str, version: str, missing: str, more: bool
) -> None:
    stated = Stated(statement="x", judge=lambda _: cannot_tell(missing))
    claim = Claim(id="1", title="t", source="s", paper=None, general=stated)
    thin = find(claim, Form.GENERAL, Edition(name=edition, machine="m", version=version))
    assert thin is not None
    said = f"; this is a {version} version, and the full one measures more"
    assert thin.missing == missing + (said if more else "")


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (0.0615, Quantity.SECONDS, "61.5 ms"),
        (-0.0615, Quantity.SECONDS, "−61.5 ms"),
        (2**21, Quantity.BYTES, "2.00 MiB"),
        (2**31, Quantity.BYTES_PER_S, "2.00 GiB/s"),
        (-0.158, Quantity.SHARE, "−15.8 %"),
        (3.4528, Quantity.RATIO, "3.45×"),
        (4, Quantity.COUNT, "4"),
        (float("inf"), Quantity.SECONDS, "∞"),
    ],
)
def test_numbers_for_people(value: float, quantity: Quantity, text: str) -> None:
    assert shown(value, quantity) == text


def test_a_figure_tells_its_interval_and_what_that_speaks_of() -> None:
    told = Figure(
        name="a", value=2.0, quantity=Quantity.RATIO, low=1.5, high=2.5, n=7, interval="within one process"
    )
    assert str(told) == "a: 2.00× (1.50× to 2.50×, within one process, n = 7)"
    assert str(figure(2.0)) == "speedup: 2.00×"


def test_the_table_has_a_row_per_finding() -> None:
    found = findings([facts.edition(), corrected()])
    table = claims_table(found)
    assert tuple(table.columns) == CLAIMS_COLUMNS
    assert len(table) == len(found)
    row = table[(table["claim"] == "6") & (table["edition"] == "paper") & (table["form"] == "paper")].iloc[0]
    assert row["verdict"] == "refuted"
    assert row["evidence"].startswith("the largest of these over the smallest: 2.17×; speedup of alignment")
    assert row["missing"] == ""
    assert claims_table([]).empty


def test_each_claim_has_a_number_of_its_own_a_form_and_a_sentence() -> None:
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids))
    assert {int(id_.rstrip("abcdef")) for id_ in ids} == set(range(1, 14))
    for claim in CLAIMS:
        stated = [form for form in (claim.paper, claim.general) if form is not None]
        assert stated
        assert all(form.statement.endswith(".") for form in stated), claim.id


def test_where_nothing_was_run_nothing_can_be_told() -> None:
    found = findings([corrected()])
    assert {finding.verdict for finding in found} == {Verdict.CANNOT_TELL}
    assert all(finding.missing for finding in found)
