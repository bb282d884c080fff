"""How to read a comparison: its verdicts, its thresholds, and what fails."""

from collections.abc import Sequence
from typing import Final

from bench.comparison.comparison import Change, Comparison, Limits, Method, Verdict
from bench.comparison.policy import Failing
from bench.reporting.comparison.words import listed, share
from bench.reporting.markdown import escape

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


def guide(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """Markdown, without a heading."""
    fails = listed(_KINDS.get(kind, kind) for kind in failing) if failing else "nothing"
    rest = [kind for kind in Failing if kind not in failing]
    spared = f" Not: {listed(_KINDS.get(kind, kind) for kind in rest)}." if rest else ""
    lines = [
        "* A **ratio** is new over base: above 1 is slower, or more. **Time** is of one `forward`, or of one "
        "`call` where that was timed; stages come from a pass of their own.",
        *(f"* **{verdict}**: {meaning}." for verdict, meaning in VERDICTS.items()),
        *_thresholds(comparisons),
        "* All intervals of a comparison's cells hold together with 95 %, and so do those of its stages; "
        f"each by itself with more{_each(comparisons)}. Where nothing changed, at most one comparison in "
        "twenty has a cell that is called slower or faster, however many cells it has.",
        f"* Rounds in **{Method.PAIRS}**: both sides took turns, and the ratio is the middle of those of "
        "each round to its neighbour, which is not that of the two medians where the machine changed its "
        f"level. Rounds **{Method.APART}**: each side was measured on its own, so that a change of the "
        "machine between them shows as if the code had changed. *Student's t*: too few rounds to do without "
        "taking their logarithms for normal.",
        f"* Here {fails} {'fails' if len(failing) < 2 else 'fail'}.{spared}",
    ]
    return "\n".join(lines)


def _thresholds(comparisons: Sequence[Comparison]) -> list[str]:
    """One line for all comparisons that share their limits."""
    every = list(dict.fromkeys(comparison.limits for comparison in comparisons))
    if len(every) == 1:
        return [f"* Thresholds: {_limits(every[0])}."]
    return [
        f"* Thresholds of {escape(comparison.base.name)} → {escape(comparison.new.name)}: "
        f"{_limits(comparison.limits)}."
        for comparison in comparisons
    ]


def _limits(limits: Limits) -> str:
    said = [
        f"time {share(limits.threshold)}",
        f"memory {share(limits.memory_threshold)}",
        f"accuracy {limits.accuracy_loss_db:.6g} dB",
    ]
    if limits.apart:
        said.append(f"the machine itself may have changed by {share(limits.apart)} between runs")
    if limits.across:
        said.append(f"{listed(escape(name) for name in sorted(limits.across))} may differ")
    return "; ".join(said)


def _each(comparisons: Sequence[Comparison]) -> str:
    """At what confidence a single interval was made, of cells and of stages."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    every = {
        "cell": [cell.change for cell in cells if cell.change is not None],
        "stage": [stage.change for cell in cells for stage in cell.stages],
    }
    said = [f"a {what}'s {range_}" for what, changes in every.items() if (range_ := _confidence(changes))]
    return f" ({', '.join(said)})" if said else ""


def _confidence(changes: Sequence[Change]) -> str:
    values = [change.confidence for change in changes if change.method is not Method.NONE]
    if not values:
        return ""
    low, high = (f"{100 * value:.4g} %" for value in (min(values), max(values)))
    return f"with {low}" + (f" to {high}" if low != high else "")
