"""What a machine's own noise lets a gate tell, from one program measured against itself. Pure.

The pairs of rounds are real ones, of an experiment measured in turn with itself. A gate takes some of them at
a time; which, is drawn again and again, in blocks of neighbours, so that what the machine does for a while
stays together. A slowdown is put in by multiplying the new side's times, and the verdict is that of
bench.comparison.compare: nothing in it knows that nothing differed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from statistics import median
from typing import Final

from bench.comparison.compare import shared_confidence
from bench.statistics.changes import MIN_ROUNDS, of_pairs

BLOCK: Final = 4
"""Neighbouring pairs that are drawn together: an even number, so that either side goes first as often."""

DRAWS: Final = 1000
FALSE_ALARMS: Final = 0.01
"""Of runs on unchanged code, at most."""

FOUND: Final = 0.95
"""Of slowdowns of a given size, at least."""

STEP: Final = 0.005
"""Thresholds are multiples of it: a finer one would claim more than can be known."""

PARTS: Final = 10
LEAST_OF_PART: Final = 3
"""Rounds, below which the level of a part is too much that of a single round."""

Pairs = tuple[Sequence[float], Sequence[float]]
"""The levels in seconds of rounds measured in turn: base, new.

A place in them is the same round in all cells that are drawn together (drawn_together), as far as they go."""


@dataclass(frozen=True, kw_only=True)
class CellNoise:
    """One cell of the program against itself."""

    cell: str
    level_s: float
    pairs: int
    scatter: float  # of a pair's ratio: half the width of the middle 68 % of its logarithms
    half_width: float  # of a gate's interval, as a share; the middle of all draws
    detectable: float  # the least slowdown, as a share, that FOUND of the draws tell at the threshold


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a gate of so many rounds can do on this machine."""

    rounds: int
    threshold: float  # as a share
    recommended: bool  # whether the threshold follows from the noise, or was given
    draws: int
    false_alarms: int  # draws of unchanged code in which any cell was called slower
    same: int  # draws in which every cell was called the same
    cells: tuple[CellNoise, ...]

    @property
    def detectable(self) -> float:
        """The least slowdown that is found in any of the cells."""
        return max(cell.detectable for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A cell that tells nothing of the noise."""

    cell: str
    why: str
    failed: bool  # and neither skipped nor not come to


@dataclass(frozen=True, kw_only=True)
class MachineNoise:
    """A program measured against itself on one machine, and what that tells of a gate there."""

    experiment: str
    machine: str
    code: str
    began_at: str  # the first round
    last_began_at: str  # the last one
    gate_rounds: int  # that were asked about
    planned_pairs: int  # of each cell
    whole: bool  # whether all of them were measured
    gate: Noise  # of as many rounds as asked about, or as there are pairs
    recommended: Noise  # the same with the least threshold that the noise allows
    by_rounds: tuple[Noise, ...]  # of half as many rounds, as many, and more; one of them is `gate`
    pairs: Mapping[str, Pairs]
    wander: Mapping[str, float | None]  # of each cell's level
    left_out: tuple[LeftOut, ...]

    @property
    def least_pairs(self) -> int:
        """Of any cell."""
        return least_pairs(self.pairs)


def least_pairs(pairs: Mapping[str, Pairs]) -> int:
    """Of the cell that has the fewest."""
    return min(len(base) for base, _ in pairs.values())


def drawn_together(rounds: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Of each cell's rounds, by number and in order, those with which a place is the same round in all cells.

    That is all of them where some cells only have fewer at the end, as after an interrupt, and those that all
    have where one is missing in between. A cell whose gaps would leave fewer than MIN_ROUNDS is left out.
    """
    kept = {cell: list(numbers) for cell, numbers in rounds.items()}
    while kept:
        least = min(len(numbers) for numbers in kept.values())
        if len({tuple(numbers[:least]) for numbers in kept.values()}) == 1:
            return kept
        common = set.intersection(*(set(numbers) for numbers in kept.values()))
        if len(common) >= MIN_ROUNDS:
            return {cell: sorted(common) for cell in kept}
        del kept[min(kept, key=lambda cell: len(kept[cell]))]
    return kept


def over_rounds(
    pairs: Mapping[str, Pairs], rounds: int, *, threshold: float | None = None, draws: int = DRAWS
) -> tuple[Noise, tuple[Noise, ...]]:
    """A gate of so many rounds, or of as many as there are pairs, and gates of half, twice and four times as
    many, but of none with more rounds than there are pairs: those would be the same rounds again."""
    most = least_pairs(pairs)
    own = min(rounds, most)
    found = {
        number: noise(pairs, number, threshold=threshold, draws=draws)
        for number in (own // 2, own, 2 * own, 4 * own)
        if MIN_ROUNDS <= number <= most
    }
    return found[own], tuple(found.values())


def wander(pair: Pairs) -> float | None:
    """By how much, as a share, the slowest tenth of a cell's rounds took longer than the fastest.

    The tenths follow each other in time, and the level of each is the median of its rounds: what remains is
    what the machine did for a while. None where there are too few rounds.
    """
    levels = [
        level
        for number, sides in enumerate(zip(*pair, strict=True))
        for level in (sides if number % 2 == 0 else reversed(sides))
    ]
    if len(levels) < PARTS * LEAST_OF_PART:
        return None
    ends = [part * len(levels) // PARTS for part in range(PARTS + 1)]
    of_parts = [median(levels[begin:end]) for begin, end in pairwise(ends)]
    return max(of_parts) / min(of_parts) - 1


def noise(
    pairs: Mapping[str, Pairs],
    rounds: int,
    *,
    threshold: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Noise:
    """A gate's rates with so many rounds, at a threshold or at the least that the noise allows.

    That is the least at which unchanged code is called slower in no more than FALSE_ALARMS of runs, and the
    same, not unclear, in FOUND of them. Cells are drawn together: what hits all of them at once does so here.
    """
    confidence = shared_confidence(len(pairs))
    drawn = [_drawn(pairs, rounds, confidence, Random(f"{seed} {number}")) for number in range(draws)]
    lows = sorted(max(ends.low for ends in one.values()) for one in drawn)
    reach = sorted(max(max(-ends.low, ends.high) for ends in one.values()) for one in drawn)
    chosen = threshold
    if chosen is None:
        least = max(_quantile(lows, 1 - FALSE_ALARMS), _quantile(reach, FOUND), math.log1p(STEP))
        chosen = round(STEP * math.ceil(math.expm1(least) / STEP - 1e-9), 4)
    limit = math.log1p(chosen)
    return Noise(
        rounds=rounds,
        threshold=chosen,
        recommended=threshold is None,
        draws=draws,
        false_alarms=sum(low > limit for low in lows),
        same=sum(value <= limit for value in reach),
        cells=tuple(
            _of_cell(cell, pair, [one[cell] for one in drawn], limit) for cell, pair in pairs.items()
        ),
    )


def found_of(
    pairs: Mapping[str, Pairs],
    cell: str,
    slowdown: float,
    threshold: float,
    rounds: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> int:
    """In how many draws a slowdown of one cell, as a share, is called slower; the others stay as they are."""
    confidence = shared_confidence(len(pairs))
    limit = math.log1p(threshold) - math.log1p(slowdown)
    return sum(
        _drawn({cell: pairs[cell]}, rounds, confidence, Random(f"{seed} {number}"))[cell].low > limit
        for number in range(draws)
    )


@dataclass(frozen=True)
class _Ends:
    """Of an interval, as logarithms."""

    low: float
    high: float


def _drawn(pairs: Mapping[str, Pairs], rounds: int, confidence: float, random: Random) -> dict[str, _Ends]:
    """The intervals of one gate, of rounds drawn in blocks that are the same for all cells."""
    least = least_pairs(pairs)
    chosen: list[int] = []
    while len(chosen) < rounds:
        # From an even place on, so that who goes first alternates on across the joints; round the end.
        begin = 2 * random.randrange((least + 1) // 2)
        chosen += [(begin + step) % least for step in range(min(BLOCK, rounds - len(chosen)))]
    ends = {}
    for cell, (base, new) in pairs.items():
        found = of_pairs([base[n] for n in chosen], [new[n] for n in chosen], confidence)
        if found.low is None or found.high is None:
            raise ValueError(f"{rounds} rounds give no interval")
        ends[cell] = _Ends(math.log(found.low), math.log(found.high))
    return ends


def _of_cell(cell: str, pair: Pairs, drawn: Sequence[_Ends], limit: float) -> CellNoise:
    base, new = pair
    logs = sorted(math.log(b / a) for a, b in zip(base, new, strict=True))
    # Put in, a slowdown moves both ends by its logarithm: it is found where that lifts the lower one enough.
    missing = sorted(limit - ends.low for ends in drawn)
    return CellNoise(
        cell=cell,
        level_s=median([*base, *new]),
        pairs=len(base),
        scatter=math.expm1((_quantile(logs, 0.84) - _quantile(logs, 0.16)) / 2),
        half_width=math.expm1(median((ends.high - ends.low) / 2 for ends in drawn)),
        detectable=max(0.0, math.expm1(_quantile(missing, FOUND))),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The least of the ordered values that a share of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
