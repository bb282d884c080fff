"""The paper's claims (claims.yaml) held against each source: verdicts, and what they rest on. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Final

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bench.paper.experiments import CORRECTED, PAPER
from bench.paper.metrics import METRICS, Figure
from bench.paper.sources import PAPER_NAMES, NotKnownError, Role, Source


class Verdict(StrEnum):
    """What the figures say of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CANNOT_TELL = "cannot tell"


class Form(StrEnum):
    """In which form a claim is judged."""

    PAPER = "paper"  # its own words and numbers, on its own measurements, taken at their word
    GENERAL = "general"  # with bounds that mean something on any machine


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Data):
    """A figure and its bounds."""

    metric: str
    above: float = -math.inf
    below: float = math.inf
    at_its_word: bool = False
    otherwise: Verdict = Verdict.REFUTED

    def verdict(self, figure: Figure, *, at_its_word: bool) -> tuple[Verdict, str]:
        """Return whether the figure lies between the bounds, by its interval; and why that is not known."""
        low, high = figure.low, figure.high
        if at_its_word or self.at_its_word:
            low = high = figure.value
        if low is None or high is None:
            return Verdict.CANNOT_TELL, f"too few samples for an interval of the {figure.name}"
        if self.above < low and high < self.below:
            return Verdict.SUPPORTED, ""
        if high <= self.above or low >= self.below:
            return self.otherwise, f"out of bounds: {figure}" if self.otherwise is not Verdict.REFUTED else ""
        return Verdict.CANNOT_TELL, f"interval too wide: {figure}"


class Stated(_Data):
    """A form of a claim: its words, and what it is judged by or needs."""

    title: str = ""
    says: str = ""
    judged: tuple[Condition, ...] = ()
    needs: str = ""


class Claims(_Data):
    """A claim about one backend or several."""

    ids: Annotated[dict[str, Role], Field(min_length=1)]
    source: str  # where in the paper
    title: str = ""
    needs: str = ""
    refuted_by_correction: bool = False  # what it tells of is what the corrected method leaves out
    paper: Stated = Stated()
    general: Stated = Stated()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict on one form of a claim by one source."""

    claim: str
    title: str
    source: str  # where in the paper
    edition: str  # whose numbers
    form: Form
    verdict: Verdict
    statement: str
    evidence: tuple[Figure, ...]
    missing: str  # why a verdict cannot be told
    by_design: bool  # this source's method is meant to refute it


COLUMNS: Final = (
    "claim", "title", "source", "edition", "form", "verdict", "statement", "evidence", "missing",
)  # fmt: skip


def _load() -> list[Claims]:
    text = files("bench.paper").joinpath("claims.yaml").read_text(encoding="utf-8")
    return [Claims.model_validate(entry) for entry in yaml.safe_load(text)]


def findings(sources: Iterable[Source]) -> list[Finding]:
    """Return a finding per claim, form and source; the paper's own form is of the paper alone."""
    given = list(sources)
    numbered = sorted(
        ((id_, role, claim) for claim in _load() for id_, role in claim.ids.items()),
        key=lambda item: (int(item[0].rstrip("abcdef")), item[0]),
    )
    return [
        _finding(id_, role, claim, form, source)
        for id_, role, claim in numbered
        for source in given
        for form in Form
        if form is Form.GENERAL or source.name == PAPER
    ]


def _finding(id_: str, role: Role, claim: Claims, form: Form, source: Source) -> Finding:
    stated = claim.paper if form is Form.PAPER else claim.general
    words = {"paper": PAPER_NAMES.get(role, ""), "role": str(role)}
    evidence: tuple[Figure, ...] = ()
    needs = stated.needs or claim.needs
    if needs:
        verdict, missing = Verdict.CANNOT_TELL, needs
    else:
        asked = source if form is Form.PAPER else source.waited_for()
        verdict, missing, evidence = _judged(stated.judged, role, form, asked)
    title = stated.title or claim.title
    return Finding(
        claim=id_,
        title=title.format(**words),
        source=claim.source,
        edition=source.name,
        form=form,
        verdict=verdict,
        statement=(stated.says or f"{title}.").format(**words),
        evidence=evidence,
        missing=missing,
        by_design=claim.refuted_by_correction and source.name == CORRECTED and form is Form.GENERAL,
    )


def _judged(
    conditions: Sequence[Condition], role: Role, form: Form, source: Source
) -> tuple[Verdict, str, tuple[Figure, ...]]:
    """Refuted where one condition is, open where one is open and none refuted."""
    verdicts: list[Verdict] = []
    missing: list[str] = []
    evidence: list[Figure] = []
    for condition in conditions:
        try:
            figure, *more = METRICS[condition.metric](source, role)
        except NotKnownError as error:
            verdicts.append(Verdict.CANNOT_TELL)
            missing.append(str(error))
            continue
        verdict, why = condition.verdict(figure, at_its_word=form is Form.PAPER)
        verdicts.append(verdict)
        missing += [why] if why else []
        evidence += [figure, *more]
    for verdict in (Verdict.REFUTED, Verdict.CANNOT_TELL):
        if verdict in verdicts:
            told = "; ".join(missing) if verdict is Verdict.CANNOT_TELL else ""
            return verdict, told, tuple(evidence)
    return Verdict.SUPPORTED, "", tuple(evidence)


def claims_table(found: Iterable[Finding]) -> pd.DataFrame:
    """Return a row per finding, all columns text (docs/paper.md has what is in each)."""
    rows = [
        {
            **{name: str(getattr(finding, name)) for name in COLUMNS},
            "evidence": "; ".join(map(str, finding.evidence)),
        }
        for finding in found
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def refuted(found: Iterable[Finding], source: str) -> list[str]:
    """Return the claims that the source refutes in their general form, and not by design."""
    return [
        finding.claim
        for finding in found
        if (finding.edition, finding.form, finding.verdict) == (source, Form.GENERAL, Verdict.REFUTED)
        and not finding.by_design
    ]


def tallies(found: Iterable[Finding]) -> Iterator[str]:
    """Return the counts of the verdicts of each source and form, in words."""
    counts: dict[tuple[str, Form], dict[Verdict, int]] = {}
    for finding in found:
        own = counts.setdefault((finding.edition, finding.form), dict.fromkeys(Verdict, 0))
        own[finding.verdict] += 1
    for (source, form), own in counts.items():
        yield f"{_whose(source, form)}: " + ", ".join(
            f"{number} {'cannot be told' if verdict is Verdict.CANNOT_TELL else verdict}"
            for verdict, number in own.items()
            if number
        )


def _whose(source: str, form: Form) -> str:
    if source != PAPER:
        return f"Claims on this machine, {source}"
    return "The paper's claims by its own numbers" if form is Form.PAPER else "The same in their general form"
