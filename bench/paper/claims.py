"""The paper's claims (claims.yaml) held against each source: verdicts, and what they rest on. Pure."""

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib.resources import files
from typing import Annotated

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bench.paper.experiments import Edition
from bench.paper.figure import Figure
from bench.paper.metrics import METRICS
from bench.paper.sources import PAPER, PAPER_NAMES, NotKnownError, Role, Source


class Verdict(StrEnum):
    """A claim's standing by the figures."""

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
        if math.isnan(low):
            return Verdict.CANNOT_TELL, f"too few samples for an interval of the {figure.name}"
        if self.above < low and high < self.below:
            return Verdict.SUPPORTED, ""
        if high <= self.above or low >= self.below:
            return self.otherwise, f"out of bounds: {figure}"
        return Verdict.CANNOT_TELL, f"interval too wide: {figure}"


class Stated(_Data):
    """A form of a claim: its words, and what it is judged by or needs."""

    title: str = ""
    says: str = ""
    judged: tuple[Condition, ...] = ()
    needs: str = ""


class Claim(_Data):
    """A claim about one backend or several."""

    ids: Annotated[dict[str, Role], Field(min_length=1)]
    source: str  # where in the paper
    title: str = ""
    needs: str = ""
    refuted_by_correction: bool = False  # what it tells of is what the corrected method leaves out
    paper: Stated = Stated()
    general: Stated = Stated()


def load() -> list[Claim]:
    """Return the claims in their order."""
    text = files("bench.paper").joinpath("claims.yaml").read_text(encoding="utf-8")
    return [Claim.model_validate(entry) for entry in yaml.safe_load(text)]


def findings(sources: Sequence[Source]) -> pd.DataFrame:
    """Return a row per claim, source and form, all text (docs/paper.md has what is in each column).

    The paper's own form is of the paper alone.
    """
    rows = [
        _finding(id_, role, claim, form, source)
        for claim in load()
        for id_, role in claim.ids.items()
        for source in sources
        for form in Form
        if form is Form.GENERAL or source.name == PAPER
    ]
    return pd.DataFrame(rows, dtype=object)


def _finding(id_: str, role: Role, claim: Claim, form: Form, source: Source) -> dict[str, str]:
    stated = claim.paper if form is Form.PAPER else claim.general
    title = stated.title or claim.title
    words = {"paper": PAPER_NAMES.get(role, ""), "role": str(role)}
    asked = source if form is Form.PAPER else source.waited_for()
    verdicts: list[tuple[Verdict, str]] = []
    evidence: list[Figure] = []
    for condition in stated.judged:
        try:
            found = METRICS[condition.metric](asked, role)
        except NotKnownError as error:
            verdicts.append((Verdict.CANNOT_TELL, str(error)))
        else:
            verdicts.append(condition.verdict(found[0], at_its_word=form is Form.PAPER))
            evidence += found
    if needs := stated.needs or claim.needs:
        verdicts = [(Verdict.CANNOT_TELL, needs)]
    # One condition refutes a claim, and one that is open leaves it open.
    kinds = [kind for kind, _ in verdicts]
    verdict = next(
        (kind for kind in (Verdict.REFUTED, Verdict.CANNOT_TELL) if kind in kinds), Verdict.SUPPORTED
    )
    return {
        "claim": id_,
        "title": title.format(**words),
        "source": claim.source,  # where in the paper
        "edition": source.name,
        "form": str(form),
        "verdict": str(verdict),
        "statement": (stated.says or f"{title}.").format(**words),
        "evidence": "; ".join(map(str, evidence)),
        "missing": "; ".join(why for kind, why in verdicts if verdict is kind is Verdict.CANNOT_TELL),
    }


def by_design(found: pd.DataFrame) -> "pd.Series[bool]":
    """Return which findings are of claims that the corrected method is meant to refute."""
    meant = {id_ for claim in load() if claim.refuted_by_correction for id_ in claim.ids}
    corrected: pd.Series[bool] = found["edition"] == Edition.CORRECTED
    return corrected & found["claim"].isin(meant)


def refuted(found: pd.DataFrame, source: str) -> list[str]:
    """Return the claims that the source refutes in their general form, and not by design."""
    asked = (
        (found["edition"] == source) & (found["form"] == Form.GENERAL) & (found["verdict"] == Verdict.REFUTED)
    )
    return list(found.loc[asked & ~by_design(found), "claim"])


def tallies(found: pd.DataFrame) -> Iterator[str]:
    """Return the counts of the verdicts of each source and form, in words."""
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
