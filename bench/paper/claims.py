"""The paper's claims (claims.yaml) held against each source: verdicts, and what they rest on. Pure."""

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib.resources import files

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bench.paper.experiments import Edition
from bench.paper.metrics import METRICS, Value
from bench.paper.sources import PAPER, PAPER_NAMES, NotKnownError, Role, Source


class Verdict(StrEnum):
    """A claim's standing by the numbers."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CANNOT_TELL = "cannot tell"


class Form(StrEnum):
    """The form in which a claim is judged."""

    PAPER = "paper"  # its own words and numbers, on its own measurements, taken at their word
    GENERAL = "general"  # with bounds that mean something on any machine


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Data):
    """A metric and its bounds."""

    metric: str
    above: float = -math.inf
    below: float = math.inf
    at_its_word: bool = False
    otherwise: Verdict = Verdict.REFUTED

    def verdict(self, value: Value, *, at_its_word: bool) -> tuple[Verdict, str]:
        """Return whether the value lies between the bounds, by its interval; and why that is not known."""
        low, high = value.low, value.high
        if at_its_word or self.at_its_word:
            low = high = value.value
        if math.isnan(low):
            return Verdict.CANNOT_TELL, f"too few samples for an interval of the {value.name}"
        if self.above < low and high < self.below:
            return Verdict.SUPPORTED, ""
        if high <= self.above or low >= self.below:
            return self.otherwise, f"out of bounds: {value}"
        return Verdict.CANNOT_TELL, f"interval too wide: {value}"


class Claim(_Data):
    """A claim about one backend in one form: its words, and what it is judged by."""

    id: str
    role: Role
    form: Form
    source: str  # where in the paper
    title: str
    says: str = ""
    judged: tuple[Condition, ...] = Field(min_length=1)
    refuted_by_correction: bool = False  # what it tells of is what the corrected method leaves out

    def verdict(self, source: Source) -> tuple[Verdict, list[Value], list[str]]:
        """Return the verdict by a source's numbers, the values behind it, and what is missing for one."""
        asked = source if self.form is Form.PAPER else source.waited_for()
        verdicts: list[tuple[Verdict, str]] = []
        evidence: list[Value] = []
        for condition in self.judged:
            try:
                found = METRICS[condition.metric](asked, self.role)
            except NotKnownError as error:
                verdicts.append((Verdict.CANNOT_TELL, str(error)))
            else:
                verdicts.append(condition.verdict(found[0], at_its_word=self.form is Form.PAPER))
                evidence += found
        # One condition refutes a claim, and one that is open leaves it open.
        kinds = [kind for kind, _ in verdicts]
        verdict = next(
            (kind for kind in (Verdict.REFUTED, Verdict.CANNOT_TELL) if kind in kinds), Verdict.SUPPORTED
        )
        return verdict, evidence, [why for kind, why in verdicts if verdict is kind is Verdict.CANNOT_TELL]


def load() -> list[Claim]:
    """Return each claim about each backend in its two forms, in their order."""
    text = files("bench.paper").joinpath("claims.yaml").read_text(encoding="utf-8")
    claims = []
    for entry in yaml.safe_load(text):
        ids, words = entry.pop("ids"), {form: entry.pop(form, {}) for form in Form}
        claims += [
            Claim.model_validate({**entry, **words[form], "id": id_, "role": role, "form": form})
            for id_, role in ids.items()
            for form in Form
        ]
    return claims


def findings(sources: Sequence[Source]) -> pd.DataFrame:
    """Return a row per claim, form and source, all text (docs/paper.md has what is in each column).

    The paper's own form is of the paper alone.
    """
    rows = []
    for claim in load():
        words = {"paper": PAPER_NAMES.get(claim.role, ""), "role": str(claim.role)}
        for source in sources:
            if claim.form is Form.PAPER and source.name != PAPER:
                continue
            verdict, evidence, missing = claim.verdict(source)
            rows.append(
                {
                    "claim": claim.id,
                    "title": claim.title.format(**words),
                    "source": claim.source,
                    "edition": source.name,
                    "form": str(claim.form),
                    "verdict": str(verdict),
                    "statement": (claim.says or f"{claim.title}.").format(**words),
                    "evidence": "; ".join(map(str, evidence)),
                    "missing": "; ".join(missing),
                }
            )
    return pd.DataFrame(rows, dtype=object)


def by_design(found: pd.DataFrame) -> "pd.Series[bool]":
    """Return which findings are of claims that the corrected method is meant to refute."""
    meant = {claim.id for claim in load() if claim.refuted_by_correction}
    corrected: pd.Series[bool] = found["edition"] == Edition.CORRECTED
    return corrected & found["claim"].isin(meant)


def refuted(found: pd.DataFrame, source: str) -> list[str]:
    """Return the claims that the source refutes in their general form, and not by design."""
    asked = (
        (found["edition"] == source) & (found["form"] == Form.GENERAL) & (found["verdict"] == Verdict.REFUTED)
    )
    return list(found.loc[asked & ~by_design(found), "claim"])


def tallies(found: pd.DataFrame) -> Iterator[str]:
    """Yield the counts of the verdicts of each source and form, in words."""
    for (edition, form), own in found.groupby(["edition", "form"], sort=False):
        whose = (
            "The paper's claims by its own numbers" if form == "paper" else "The same in their general form"
        )
        if edition != PAPER:
            whose = f"Claims on this machine, {edition}"
        yield f"{whose}: " + ", ".join(
            f"{number} {'cannot be told' if verdict is Verdict.CANNOT_TELL else verdict}"
            for verdict in Verdict
            if (number := (own["verdict"] == verdict).sum())
        )
