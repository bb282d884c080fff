"""What a comparison's page says on how to read it: its verdicts, its thresholds, and what fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.comparison.comparison import Change, Comparison, Limits, Method, Verdict
from bench.comparison.policy import Failing
from bench.reporting.comparison.words import listed, share

VERDICTS: Final = {
    Verdict.SLOWER: "the whole interval of the ratio lies above 1 + threshold",
    Verdict.WORSE: "the cell was ok in the base, and now it runs out of memory, is inaccurate, fails or "
    "takes too long",
    Verdict.UNCLEAR: "the interval holds 1 + threshold or 1 / (1 + threshold), or there is none: more rounds "
    "may tell",
    Verdict.MISSING: "one side has not got the cell, or skipped it",
    Verdict.INCOMPARABLE: "what was measured differs in more than the code",
    Verdict.FAILED: "the cell is ok on neither side",
    Verdict.MENDED: "it was not ok in the base, and now it is",
    Verdict.FASTER: "the whole interval lies below 1 / (1 + threshold)",
    Verdict.SAME: "the whole interval lies between the two: shown to have changed by less than the threshold",
}
"""What each verdict on a cell's time means."""

_KINDS: Final = {
    Failing.MEMORY: "memory (one of the cell's memory figures grew by more than its threshold)",
    Failing.ACCURACY: "accuracy (the output lost more PSNR than is allowed)",
    Failing.STAGE: "stage (a stage is slower, whatever the whole cell does)",
}
"""What can fail that is no verdict on a cell's time, and needs a word."""


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What differs in it from page to page."""

    verdicts: Mapping[str, str]
    thresholds: Sequence[tuple[str, str]]  # and of which comparison, where they do not share them
    confidences: str  # at which single intervals were made
    failing: str
    spared: str


def guide(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> Guide:
    limits = [(f" of {one.base.name} → {one.new.name}", _limits(one.limits)) for one in comparisons]
    if len({text for _, text in limits}) == 1:
        limits = [("", limits[0][1])]
    fails = listed(_KINDS.get(kind, kind) for kind in failing) if failing else "nothing"
    return Guide(
        verdicts={str(verdict): meaning for verdict, meaning in VERDICTS.items()},
        thresholds=limits,
        confidences=_each(comparisons),
        failing=f"{fails} {'fails' if len(failing) < 2 else 'fail'}",
        spared=listed(_KINDS.get(kind, kind) for kind in Failing if kind not in failing)
        if len(failing) < len(Failing)
        else "",
    )


def _limits(limits: Limits) -> str:
    said = [
        f"time {share(limits.threshold)}",
        f"memory {share(limits.memory_threshold)}",
        f"accuracy {limits.accuracy_loss_db:.6g} dB",
    ]
    if limits.apart:
        said.append(f"the machine itself may have changed by {share(limits.apart)} between runs")
    if limits.across:
        said.append(f"{listed(sorted(limits.across))} may differ")
    return "; ".join(said)


def _each(comparisons: Sequence[Comparison]) -> str:
    """Return at what confidence a single interval was made, of cells and of stages."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    every = {
        "cell": [cell.change for cell in cells if cell.change is not None],
        "stage": [stage.change for cell in cells for stage in cell.stages],
    }
    said = [f"a {what}'s {range_}" for what, changes in every.items() if (range_ := _confidence(changes))]
    return f"({', '.join(said)})" if said else ""


def _confidence(changes: Sequence[Change]) -> str:
    values = [change.confidence for change in changes if change.method is not Method.NONE]
    if not values:
        return ""
    low, high = (f"{100 * value:.4g} %" for value in (min(values), max(values)))
    return f"with {low}" + (f" to {high}" if low != high else "")
