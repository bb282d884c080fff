"""What of a comparison fails a gate. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.comparison.comparison import Amount, CellComparison, Comparison, Verdict
from vsr_model.errors import BadInput, nearest


class Failing(StrEnum):
    """What can be made to fail."""

    SLOWER = "slower"
    WORSE = "worse"
    MEMORY = "memory"
    ACCURACY = "accuracy"
    UNCLEAR = "unclear"
    MISSING = "missing"
    INCOMPARABLE = "incomparable"
    STAGE = "stage"  # a stage that is slower where its cell may not be
    FAILED = "failed"


REGRESSIONS: Final = (Failing.SLOWER, Failing.WORSE, Failing.MEMORY, Failing.ACCURACY)
"""What fails by itself: a change for the worse that was measured."""

_OF_VERDICTS: Final = {
    Verdict.SLOWER: Failing.SLOWER,
    Verdict.WORSE: Failing.WORSE,
    Verdict.UNCLEAR: Failing.UNCLEAR,
    Verdict.MISSING: Failing.MISSING,
    Verdict.INCOMPARABLE: Failing.INCOMPARABLE,
    Verdict.FAILED: Failing.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Something that fails the gate."""

    cell: str
    kind: Failing
    what: str  # the stage or the memory figure; empty for the cell as a whole


def fail_on(text: str) -> tuple[Failing, ...]:
    """What `--fail-on` asks for: `slower` (all regressions), `any`, `never`, or those with others by commas.

    Raises BadInput for a word that is none of them.
    """
    words = [word.strip() for word in text.split(",")]
    allowed = ("any", "never", *(kind.value for kind in Failing))
    for word in words:
        if word not in allowed:
            raise BadInput(
                f"--fail-on: {word!r} is none of {', '.join(allowed)}{nearest(word, allowed)}; several are "
                "separated by commas"
            )
    if "never" in words:
        if len(words) > 1:
            raise BadInput("--fail-on: never leaves no room for others")
        return ()
    if "any" in words:
        return tuple(Failing)
    chosen = {Failing(word) for word in words}
    if Failing.SLOWER in chosen:
        chosen |= set(REGRESSIONS)
    return tuple(kind for kind in Failing if kind in chosen)


def failures(comparison: Comparison, failing: Sequence[Failing]) -> tuple[Failure, ...]:
    """What of a comparison fails where these count, cell by cell."""
    return tuple(found for cell in comparison.cells for found in _of_cell(cell) if found.kind in failing)


def _of_cell(cell: CellComparison) -> list[Failure]:
    found = []
    if cell.verdict in _OF_VERDICTS:
        found.append(Failure(cell=cell.cell, kind=_OF_VERDICTS[cell.verdict], what=""))
    found += [
        Failure(cell=cell.cell, kind=Failing.STAGE, what=stage.stage)
        for stage in cell.stages
        if stage.verdict is Verdict.SLOWER
    ]
    found += [Failure(cell=cell.cell, kind=Failing.MEMORY, what=item.what) for item in cell.grown]
    if cell.accuracy is not None and cell.accuracy.amount is Amount.LESS:
        found.append(Failure(cell=cell.cell, kind=Failing.ACCURACY, what=""))
    return found
