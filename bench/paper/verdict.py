"""What a claim comes to on one edition: a verdict, the figures it rests on, or what is missing. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pandas as pd

from bench.paper.editions import CORRECTED, Edition
from bench.paper.experiments import QUICK
from bench.statistics.stats import IntervalKind
from bench.units import BYTES, SECONDS, Unit, significant, with_unit


class Verdict(StrEnum):
    """What the figures say of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CANNOT_TELL = "cannot tell"


class Form(StrEnum):
    """In which form a claim is judged."""

    PAPER = "paper"  # its own words and numbers, on its own measurements, taken at their word
    GENERAL = "general"  # with tolerances that mean something on any machine


class Quantity(StrEnum):
    """What a figure counts, which tells how it is shown."""

    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_S = "bytes/s"
    SHARE = "share"  # shown in per cent
    RATIO = "ratio"
    COUNT = "count"


INTERVAL_NAMES: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between processes",
    IntervalKind.BETWEEN_ROUNDS_T: "between processes, Student's",
    IntervalKind.WITHIN_PROCESS: "within one process",
}
"""How an interval of the tables is called in a sentence."""

_FOR_WANT_OF_LENGTH: Final = ("too few frame counts", "too few points", "no clip of")
"""What a verdict lacks that the quick version's clips were too few or too short for, by either method."""

_FOR_WANT_OF_CALLS: Final = ("too few samples", "too wide")
"""What a shorter version has too few calls for. In full the paper's method has as few."""

OVER_FRAMES: Final = "over frame counts"
"""An interval of a median over cells of other lengths: how the cells scatter, not how one repeats."""


class NotKnownError(Exception):
    """What an edition lacks for a claim or a sentence; its text says what."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A named number with its unit; `low` and `high` where it has a 95 % interval."""

    name: str
    value: float
    quantity: Quantity
    low: float | None = None
    high: float | None = None
    n: int | None = None  # of values behind it
    interval: str = ""  # what the interval speaks of

    @property
    def amount(self) -> str:
        """The value and its interval, such as `3.45× (3.36× to 3.50×, over frame counts, n = 20)`."""
        notes = []
        if self.low is not None and self.high is not None:
            bounds = f"{shown(self.low, self.quantity)} to {shown(self.high, self.quantity)}"
            notes.append(f"{bounds}, {self.interval}" if self.interval else bounds)
        if self.n is not None:
            notes.append(f"n = {self.n}")
        return shown(self.value, self.quantity) + (f" ({', '.join(notes)})" if notes else "")

    def __str__(self) -> str:
        return f"{self.name}: {self.amount}"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict before it is told whose and of what."""

    verdict: Verdict
    evidence: tuple[Figure, ...] = ()
    missing: str = ""  # for a verdict that cannot be told: what it would take


@dataclass(frozen=True, kw_only=True)
class Stated:
    """One form of a claim: its words with their tolerance, and the function that judges an edition by them.

    The function raises NotKnownError where the edition lacks what it needs.
    """

    statement: str
    judge: Callable[[Edition], Judgement]
    title: str = ""  # where the claim's own says more than this form asks for


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper; `id` is the project's number for it, with a letter for each part."""

    id: str
    title: str  # in the paper's words, with its number
    source: str  # where in the paper
    paper: Stated | None
    general: Stated | None
    negated_by_correction: bool = False  # what it tells of is what the corrected method leaves out


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict on one form of a claim by one edition."""

    claim: str  # Claim.id
    title: str  # its form's
    source: str
    edition: str
    form: Form
    verdict: Verdict
    statement: str
    evidence: tuple[Figure, ...]
    missing: str
    negated_by_correction: bool = False  # this edition's method is meant to refute it


CLAIMS_COLUMNS: Final = (
    "claim", "title", "source", "edition", "form", "verdict", "statement", "evidence", "missing",
)  # fmt: skip
"""`evidence`: the figures as sentences, each with its unit and interval, parted by `; `. `missing`: why a
verdict is `cannot tell`, empty for the others."""


def claims_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """A row per finding; CLAIMS_COLUMNS says what is in it. All columns are text."""
    rows = [
        {**{name: str(getattr(finding, name)) for name in CLAIMS_COLUMNS}, "evidence": _told(finding)}
        for finding in findings
    ]
    return pd.DataFrame(rows, columns=list(CLAIMS_COLUMNS), dtype=object)


def _told(finding: Finding) -> str:
    return "; ".join(map(str, finding.evidence))


def find(claim: Claim, form: Form, edition: Edition) -> Finding | None:
    """The verdict of an edition on a form of the claim; None where the claim has no such form."""
    stated = claim.paper if form is Form.PAPER else claim.general
    if stated is None:
        return None
    try:
        judgement = stated.judge(edition)
    except NotKnownError as error:
        judgement = cannot_tell(str(error))
    return Finding(
        claim=claim.id,
        title=stated.title or claim.title,
        source=claim.source,
        edition=edition.name,
        form=form,
        verdict=judgement.verdict,
        statement=stated.statement,
        evidence=judgement.evidence,
        missing=judgement.missing + _more_in_full(judgement.missing, edition),
        negated_by_correction=claim.negated_by_correction and edition.name == CORRECTED,
    )


def _more_in_full(missing: str, edition: Edition) -> str:
    """That the full version has what is missing; nothing where it would lack as much."""
    short = edition.version == QUICK and any(words in missing for words in _FOR_WANT_OF_LENGTH)
    few = edition.name == CORRECTED and any(words in missing for words in _FOR_WANT_OF_CALLS)
    if edition.thin and (short or few):
        return f"; this is a {edition.version} version, and the full one measures more"
    return ""


def cannot_tell(missing: str, *evidence: Figure) -> Judgement:
    return Judgement(verdict=Verdict.CANNOT_TELL, evidence=evidence, missing=missing)


def lies(
    figure: Figure, *, above: float = -math.inf, below: float = math.inf, at_its_word: bool = False
) -> Judgement:
    """Whether the figure lies strictly between the bounds, by its interval where it has one.

    An interval that contains a bound leaves it open. Without an interval the value itself is taken where
    `at_its_word`, and otherwise there were too few samples.
    """
    low, high = figure.low, figure.high
    if low is None or high is None:
        if not at_its_word:
            return cannot_tell(f"too few samples for an interval of the {figure.name}", figure)
        low = high = figure.value
    if above < low and high < below:
        return Judgement(verdict=Verdict.SUPPORTED, evidence=(figure,))
    if high <= above or low >= below:
        return Judgement(verdict=Verdict.REFUTED, evidence=(figure,))
    return cannot_tell(f"interval too wide: {figure}", figure)


def all_hold(judgements: Sequence[Judgement], *more: Figure) -> Judgement:
    """Refuted where one is, open where one is open and none refuted; `more` is added to the evidence."""
    verdicts = {judgement.verdict for judgement in judgements}
    ranked = (Verdict.REFUTED, Verdict.CANNOT_TELL, Verdict.SUPPORTED)
    verdict = next(verdict for verdict in ranked if verdict in verdicts)
    missing = "; ".join(judgement.missing for judgement in judgements if judgement.missing)
    return Judgement(
        verdict=verdict,
        evidence=(*(figure for judgement in judgements for figure in judgement.evidence), *more),
        missing=missing if verdict is Verdict.CANNOT_TELL else "",
    )


def shown(value: float, quantity: Quantity) -> str:
    """A number of that kind for people."""
    match quantity:
        case Quantity.SECONDS:
            return _signed(value, SECONDS)
        case Quantity.BYTES:
            return _signed(value, BYTES)
        case Quantity.BYTES_PER_S:
            return f"{_signed(value, BYTES)}/s"
        case Quantity.SHARE:
            return f"{_number(value * 100)} %"
        case Quantity.RATIO:
            return f"{_number(value)}×"
        case Quantity.COUNT:
            return f"{value:g}"


def _signed(value: float, units: tuple[Unit, ...]) -> str:
    if not math.isfinite(value):
        return _number(value)
    return f"−{with_unit(-value, units)}" if value < 0 else with_unit(value, units)


def _number(value: float) -> str:
    return significant(value).replace("-", "−")
