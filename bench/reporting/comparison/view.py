"""A comparison as people read it: the sentences and figures that the page, the terminal and JUnit show.

All is plain text: who shows it escapes it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.comparison.comparison import (
    INCONCLUSIVE,
    AccuracyChange,
    CellComparison,
    Change,
    Comparison,
    Limits,
    MemoryChange,
    StageChange,
    Verdict,
)
from bench.comparison.policy import REGRESSIONS, Failing, Failure, failures_of
from bench.units import BYTES, SECONDS, Unit, significant, unit_for
from vsr_model.one_line import one_line

WORST_FIRST: Final = (
    Failing.WORSE, Failing.SLOWER, Failing.ACCURACY, Failing.MEMORY, Failing.STAGE, Failing.UNCLEAR,
    Failing.MISSING, Failing.INCOMPARABLE, Failing.FAILED,
)  # fmt: skip
"""What no longer works, then what is slower, then the rest."""

MOST: Final = 0.5
"""Share of a cell's added time from which on one stage explains it, though it is unclear by itself."""

LISTED: Final = 10
"""Cells that a summary lists; more are counted, and stand in the tables."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A cell with its findings of some kinds."""

    cell: CellComparison
    kinds: tuple[Failing, ...]  # each once, the worst first
    clauses: tuple[str, ...]  # one for each finding, the worst first; no full stops

    @property
    def text(self) -> str:
        return one_line(f"{named(self.cell)}: {'; '.join(self.clauses)}")


@dataclass(frozen=True, kw_only=True)
class View:
    """A comparison with all that is shown of it."""

    comparison: Comparison
    title: str
    headline: str
    counted: str  # how many cells have which verdict, and how many fail for what
    sensitivity: str  # the smallest slowdown that could have been found; empty without rounds in turn
    limits: str
    items: Sequence[Item]  # of every cell, with what fails here
    fails: Sequence[Item]  # the worst first


def view(comparison: Comparison, failing: Sequence[Failing]) -> View:
    """Return a comparison as it is shown where these kinds fail."""
    items = [_item(cell, failing) for cell in comparison.cells]
    return View(
        comparison=comparison,
        title=f"{comparison.base.name} → {comparison.new.name}",
        headline=headline([comparison], failing),
        counted=_counted(comparison, items),
        sensitivity=_sensitivity(comparison),
        limits=_limits(comparison.limits),
        items=items,
        fails=_worst_first(items),
    )


def headline(comparisons: Sequence[Comparison], failing: Sequence[Failing]) -> str:
    """Return what a reader must know if they read nothing else; no full stop."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    failed = sum(bool(failures_of(cell, failing)) for cell in cells)
    regressed = sum(bool(failures_of(cell, REGRESSIONS)) for cell in cells)
    inconclusive = sum(cell.verdict in INCONCLUSIVE for cell in cells)
    if not cells:
        return "No cell was compared"
    if failed:
        return f"{failed} of {_cells(len(cells))} {'fails' if failed == 1 else 'fail'}"
    if regressed:
        return f"{regressed} of {_cells(len(cells))} became worse, and nothing fails"
    if inconclusive == len(cells):
        return "No cell fails, and none could be told"
    return "No cell fails" + (f", {inconclusive} of {len(cells)} could not be told" if inconclusive else "")


def named(cell: CellComparison) -> str:
    """Return the cell's id, with the base's where that is another."""
    return f"{cell.cell} (base: {cell.base_cell})" if cell.base_cell else cell.cell


def reason(cell: CellComparison) -> str:
    """Return why a cell is what it is, with its ratio where it has one."""
    figures = [f"time {figure(cell.change)}"] if cell.change is not None else []
    return "; ".join(filter(None, [*figures, cell.why]))


def ratio(value: float) -> str:
    """Return a ratio to the thousandth, or with three digits where that says too much or too little."""
    return f"{value:.3f}" if 0.1 <= value < 100 else significant(value)


def interval(change: Change) -> str:
    """Return such as `[1.080, 1.120]`; empty where there is none."""
    if change.low is None or change.high is None:
        return ""
    return f"[{ratio(change.low)}, {ratio(change.high)}]"


def figure(change: Change) -> str:
    """Return such as `1.100 [1.080, 1.120]`."""
    return f"{ratio(change.ratio)} {interval(change) or '(no interval)'}"


def decibels(value: float) -> str:
    """Return such as `61.0`, or `∞` for equal outputs."""
    return f"{value:.1f}" if math.isfinite(value) else significant(value)


def stage_figure(stage: StageChange) -> str:
    return f"{stage.stage} {figure(stage.change)}"


def memory_figure(item: MemoryChange) -> str:
    """Return such as `device peak 1.250 (1.00 → 1.25 GiB)`."""
    sizes = _from_to(item.base_bytes, item.new_bytes, BYTES)
    return f"{item.what} {sizes}" if item.ratio is None else f"{item.what} {ratio(item.ratio)} ({sizes})"


def accuracy_figure(item: AccuracyChange) -> str:
    return f"PSNR {decibels(item.base_psnr_db)} → {decibels(item.new_psnr_db)} dB"


def _item(cell: CellComparison, kinds: Sequence[Failing]) -> Item:
    found = sorted(failures_of(cell, kinds), key=lambda failure: WORST_FIRST.index(failure.kind))
    is_slower = any(failure.kind is Failing.SLOWER for failure in found)
    return Item(
        cell=cell,
        kinds=tuple(dict.fromkeys(failure.kind for failure in found)),
        clauses=tuple(
            _clause(cell, failure)
            for failure in found
            if not (is_slower and failure.kind is Failing.STAGE)  # the clause on its time names them
        ),
    )


def _worst_first(items: Iterable[Item]) -> list[Item]:
    """Return the items in which anything was found; within a kind those whose time grew most come first."""

    def place(item: Item) -> tuple[int, float]:
        change = item.cell.change
        return WORST_FIRST.index(item.kinds[0]), 0.0 if change is None else -change.ratio

    return sorted((item for item in items if item.kinds), key=place)


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


def explanation(cell: CellComparison) -> str:
    """Return the stages that account for a slower cell: those that are slower, or the one that added most."""
    if cell.change is None or not cell.stages:
        return ""
    stages = sorted(cell.stages, key=lambda stage: -stage.change.added_s)
    if slower := [stage for stage in stages if stage.verdict is Verdict.SLOWER]:
        return ", ".join(f"{stage.stage} {ratio(stage.change.ratio)}" for stage in slower)
    most = stages[0]
    if most.change.added_s >= MOST * cell.change.added_s > 0:
        return f"mostly {most.stage} {ratio(most.change.ratio)}, {most.verdict} by itself"
    return "no stage stands out"


def _counted(comparison: Comparison, items: Sequence[Item]) -> str:
    counts = comparison.counts
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    kinds = Counter(kind for item in items for kind in item.kinds)
    failed = ", ".join(f"{kinds[kind]} {kind}" for kind in WORST_FIRST if kinds[kind])
    text = f"{_cells(len(comparison.cells))}: {verdicts}." if verdicts else "No cells."
    return f"{text} Failing: {failed}." if failed else text


def _sensitivity(comparison: Comparison) -> str:
    known = {cell.cell: cell.least_slowdown for cell in comparison.cells if cell.least_slowdown is not None}
    if not known:
        return ""
    noisiest = max(known, key=lambda cell: known[cell])
    text = f"The smallest slowdown that 95 of 100 such comparisons would find is {_at_least(known[noisiest])}"
    if len(known) == 1:
        return f"{text}."
    return f"{text} in {noisiest}, the noisiest cell, and {_at_least(min(known.values()))} in the steadiest."


def _at_least(slowdown: float) -> str:
    """Round up, for the sentence to hold: to a tenth of a percent where it is small."""
    digits = 1 if slowdown < 0.1 else 0
    return f"{math.ceil(10**digits * 100 * slowdown - 1e-6) / 10**digits:.{digits}f} %"


def _limits(limits: Limits) -> str:
    parts = [
        f"time {_share(limits.threshold)}",
        f"memory {_share(limits.memory_threshold)}",
        f"accuracy {limits.accuracy_loss_db:.6g} dB",
    ]
    if limits.apart:
        parts.append(f"the machine itself may have changed by {_share(limits.apart)} between runs")
    if limits.across:
        parts.append(f"allowed to differ: {', '.join(sorted(limits.across))}")
    return "; ".join(parts)


def _share(value: float) -> str:
    return f"{100 * value:.6g} %"


def _from_to(base: float, new: float, units: tuple[Unit, ...]) -> str:
    """Return both in one unit: `1.00 → 1.25 GiB`."""
    unit = unit_for([base, new], units)
    return f"{significant(base / unit.scale)} → {significant(new / unit.scale)} {unit.name}"


def _cells(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"
