"""The paper's claims, and what each edition makes of them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from bench.paper import (
    claims_advice,
    claims_calls,
    claims_faults,
    claims_memory,
    claims_speed,
    claims_stages,
)
from bench.paper.claims_faults import Runs, by_runs
from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, Edition
from bench.paper.needed import in_its_words, synchronised
from bench.paper.verdict import Claim, Finding, Form, find


def _order(claim: Claim) -> tuple[int, str]:
    return int(claim.id.rstrip("abcdef")), claim.id


CLAIMS: Final = tuple(
    sorted(
        (
            *claims_speed.CLAIMS,
            *claims_calls.CLAIMS,
            *claims_stages.CLAIMS,
            *claims_memory.CLAIMS,
            *claims_advice.CLAIMS,
            *claims_faults.CLAIMS,
        ),
        key=_order,
    )
)
"""In the order of their numbers. 1 to 10 as the paper's sections bring them up, 11 its headline, 12 and 13
what it says of figures 15 and 16 beside that."""


def findings(editions: Iterable[Edition], faults: Mapping[str, Runs] | None = None) -> tuple[Finding, ...]:
    """A finding per claim, form and edition, claim by claim.

    The paper's form is judged on the paper's edition alone; the general one on each, and there the times of
    a GPU that nothing waited for count as not measured. `faults` are the runs of experiments on faults by
    name, without the fault and with it, from the editions' machine: what they tell stands under the corrected
    edition, or under the faithful one where that alone was run.
    """
    given = tuple(map(in_its_words, editions))
    names = {edition.name for edition in given}
    teller = next((name for name in (CORRECTED, FAITHFUL) if name in names), None)
    found = []
    for claim in CLAIMS:
        for edition in given:
            if edition.name == PAPER:
                found.append(find(claim, Form.PAPER, edition))
            judged = by_runs(claim, faults or {}) if edition.name == teller else claim
            found.append(find(judged, Form.GENERAL, synchronised(edition)))
    return tuple(finding for finding in found if finding is not None)
