"""What a comparison found, in plain words: its headline, and each failing cell with its figures. Not escaped.

The page, the terminal and the tests' report all say it with these words.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.comparison.comparison import (
    AccuracyChange,
    CellComparison,
    Change,
    Comparison,
    MemoryChange,
    StageChange,
    Verdict,
)
from bench.comparison.policy import REGRESSIONS, Failing, Failure, failures
from bench.reporting.legible import legible
from bench.units import BYTES, SECONDS, Unit, significant, unit_for

WORST_FIRST: Final = (
    Failing.WORSE,
    Failing.SLOWER,
    Failing.ACCURACY,
    Failing.MEMORY,
    Failing.STAGE,
    Failing.UNCLEAR,
    Failing.MISSING,
    Failing.INCOMPARABLE,
    Failing.FAILED,
)
"""What no longer works, then what is slower, then the rest."""

FOR_THE_WORSE: Final = (*REGRESSIONS, Failing.STAGE)
"""What is told even where it does not fail."""

UNTOLD: Final = (Verdict.UNCLEAR, Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.FAILED)
"""Verdicts that leave open whether a cell became slower."""

LISTED: Final = 10
"""Cells that a summary lists; more are counted, and stand in the tables."""

MOST: Final = 0.5
"""Share of a cell's added time from which on one stage explains it, though it is unclear by itself."""

OUTSIDE: Final = "most of the added time lies in no stage"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A cell with what was found of it, of the kinds that were asked for."""

    cell: CellComparison
    failures: tuple[Failure, ...]

    @property
    def kinds(self) -> tuple[Failing, ...]:
        """Each once, the worst first."""
        return tuple(kind for kind in WORST_FIRST if any(item.kind is kind for item in self.failures))


def found(comparison: Comparison, kinds: Sequence[Failing]) -> list[Found]:
    """The cells of which something of these kinds was found, the worst first."""
    every = [
        Found(cell=cell, failures=its)
        for cell in comparison.cells
        # Cell by cell: ids tell cells apart, but a base's may be another's on the new side.
        if (its := failures(replace(comparison, cells=(cell,)), kinds))
    ]
    return sorted(every, key=lambda item: (WORST_FIRST.index(item.kinds[0]), -_magnitude(item)))


def beside(comparison: Comparison, failing: Sequence[Failing]) -> list[Found]:
    """The cells that became worse in a way that does not fail here, the worst first.

    The stages of a slower cell explain it, and are not told again.
    """
    every = found(comparison, [kind for kind in FOR_THE_WORSE if kind not in failing])
    kept = [
        replace(item, failures=tuple(one for one in item.failures if not _explained(item.cell, one)))
        for item in every
    ]
    return [item for item in kept if item.failures]


def headline(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """What a reader must know if they read nothing else; no full stop."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    failed = sum(len(found(comparison, failing)) for comparison in comparisons)
    regressed = sum(len(found(comparison, REGRESSIONS)) for comparison in comparisons)
    untold = sum(cell.verdict in UNTOLD for cell in cells)
    if not cells:
        return "No cell was compared"
    if failed:
        return f"{_of(failed, cells)} {'fails' if failed == 1 else 'fail'}"
    if regressed:
        return f"{_of(regressed, cells)} became worse, and nothing fails"
    if untold == len(cells):
        return "No cell fails, and none could be told"
    return "No cell fails" + (f", {untold} of {len(cells)} could not be told" if untold else "")


def counted(comparison: Comparison, failing: Sequence[Failing]) -> str:
    """How many cells have which verdict, and how many fail for what: one or two sentences."""
    counts = comparison.counts
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    kinds = Counter(kind for item in found(comparison, failing) for kind in item.kinds)
    failed = ", ".join(f"{kinds[kind]} {kind}" for kind in WORST_FIRST if kinds[kind])
    said = f"{_cells(len(comparison.cells))}: {verdicts}." if verdicts else "No cells."
    return f"{said} Failing: {failed}." if failed else said


def sensitivity(comparison: Comparison) -> str:
    """The smallest slowdown that could have been told, a sentence; empty where no rounds were in turn."""
    known = {cell.cell: cell.least_slowdown for cell in comparison.cells if cell.least_slowdown is not None}
    if not known:
        return ""
    noisiest = max(known, key=lambda cell: known[cell])
    said = f"The smallest slowdown that 95 of 100 such comparisons would tell is {_at_least(known[noisiest])}"
    if len(known) == 1:
        return f"{said}."
    return f"{said} in {noisiest}, the noisiest cell, and {_at_least(min(known.values()))} in the steadiest."


def _at_least(slowdown: float) -> str:
    """Rounded up, for what is said of it to hold: to a tenth of a percent where it is small."""
    digits = 1 if slowdown < 0.1 else 0
    return f"{math.ceil(10**digits * 100 * slowdown - 1e-6) / 10**digits:.{digits}f} %"


def clauses(item: Found) -> list[str]:
    """What was found of a cell, a clause for each, the worst first; no full stops."""
    ordered = sorted(item.failures, key=lambda failure: WORST_FIRST.index(failure.kind))
    told = any(failure.kind is Failing.SLOWER for failure in ordered)
    return [
        _clause(item.cell, failure)
        for failure in ordered
        if not (told and failure.kind is Failing.STAGE)  # the clause on its time names them
    ]


def named(cell: CellComparison) -> str:
    """The cell's id, with the base's where that is another."""
    other = cell.base_cell is not None and cell.base_cell != cell.cell
    return f"{cell.cell} (base: {cell.base_cell})" if other else cell.cell


def ratio(value: float) -> str:
    """A ratio to the thousandth, or with three digits where that says too much or too little."""
    return f"{value:.3f}" if 0.1 <= value < 100 else legible(value)


def interval(change: Change) -> str:
    """`[1.080, 1.120]`; empty where there is none."""
    if change.low is None or change.high is None:
        return ""
    return f"[{ratio(change.low)}, {ratio(change.high)}]"


def figure(change: Change) -> str:
    """`1.100 [1.080, 1.120]`."""
    return f"{ratio(change.ratio)} {interval(change) or '(no interval)'}"


def stage_figure(stage: StageChange) -> str:
    return f"{stage.stage} {figure(stage.change)}"


def memory_figure(item: MemoryChange) -> str:
    """`device peak 1.250 (1.00 → 1.25 GiB)`."""
    sizes = _from_to(item.base_bytes, item.new_bytes, BYTES)
    return f"{item.what} {sizes}" if item.ratio is None else f"{item.what} {ratio(item.ratio)} ({sizes})"


def accuracy_figure(item: AccuracyChange) -> str:
    return f"PSNR {decibels(item.base_psnr_db)} → {decibels(item.new_psnr_db)} dB"


def decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else significant(value)


def share(value: float) -> str:
    """`3 %`."""
    return f"{100 * value:.6g} %"


def explanation(cell: CellComparison) -> str:
    """Which stages account for a slower cell: those that are slower, or else the one that added most; and
    whether most of what was added lies in none of them."""
    whole = cell.change.added_s if cell.change is not None else 0.0
    outside = _covered(cell) and whole > 0 and sum(map(_added_s, cell.stages)) < MOST * whole
    slower = sorted((stage for stage in cell.stages if stage.verdict is Verdict.SLOWER), key=_added_s)
    if slower:
        told = ", ".join(f"{stage.stage} {ratio(stage.change.ratio)}" for stage in reversed(slower))
        return f"{told}, but {OUTSIDE}" if outside else told
    if not cell.stages or cell.change is None:
        return ""
    if outside:
        return OUTSIDE
    most = max(cell.stages, key=_added_s)
    if whole > 0 and _added_s(most) >= MOST * whole:
        return f"mostly {most.stage} {ratio(most.change.ratio)}, {most.verdict} by itself"
    return "no stage stands out"


def _covered(cell: CellComparison) -> bool:
    """Whether the stages are most of the base's time: a clock that only sees the launching tells nothing."""
    known = sum(stage.change.base_s for stage in cell.stages)
    return cell.change is not None and bool(cell.stages) and known >= MOST * cell.change.base_s


def reason(cell: CellComparison) -> str:
    """Why a cell is what it is, with its ratio where it has one."""
    figures = [f"time {figure(cell.change)}"] if cell.change is not None else []
    return "; ".join(filter(None, [*figures, cell.why]))


def _clause(cell: CellComparison, failure: Failure) -> str:
    match failure.kind:
        case Failing.SLOWER if cell.change is not None:
            why = explanation(cell)
            times = _from_to(cell.change.base_s, cell.change.new_s, SECONDS)
            return f"time {figure(cell.change)}, {times}" + (f": {why}" if why else "")
        case Failing.STAGE:
            return next(stage_figure(stage) for stage in cell.stages if stage.stage == failure.what)
        case Failing.MEMORY:
            return next(memory_figure(item) for item in cell.memory if item.what == failure.what)
        case Failing.ACCURACY if cell.accuracy is not None:
            return accuracy_figure(cell.accuracy)
    return reason(cell) or str(cell.verdict)


def _from_to(base: float, new: float, units: tuple[Unit, ...]) -> str:
    """Both in one unit: `1.00 → 1.25 GiB`."""
    unit = unit_for([base, new], units)
    return f"{legible(base / unit.scale)} → {legible(new / unit.scale)} {unit.name}"


def _explained(cell: CellComparison, failure: Failure) -> bool:
    return failure.kind is Failing.STAGE and cell.verdict is Verdict.SLOWER


def _magnitude(item: Found) -> float:
    """By how much the worst kind of an item is over: comparable within a kind."""
    cell, kind = item.cell, item.kinds[0]
    what = {failure.what for failure in item.failures if failure.kind is kind}
    match kind:
        case Failing.STAGE:
            return max(stage.change.ratio for stage in cell.stages if stage.stage in what)
        case Failing.MEMORY:
            return max(_grown(one) for one in cell.memory if one.what in what)
        case Failing.ACCURACY if cell.accuracy is not None:
            return -cell.accuracy.new_psnr_db
    return cell.change.ratio if cell.change is not None else 0.0


def _grown(item: MemoryChange) -> float:
    return math.inf if item.ratio is None else item.ratio


def _added_s(stage: StageChange) -> float:
    return stage.change.added_s


def _of(number: int, cells: Sequence[CellComparison]) -> str:
    return f"{number} of {_cells(len(cells))}"


def _cells(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"


def listed(words: Iterable[object]) -> str:
    """`a, b and c`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last
