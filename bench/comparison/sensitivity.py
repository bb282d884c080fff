"""The smallest slowdown that a comparison of rounds in turn could have told, from its own pairs. Pure."""

import math
from collections.abc import Sequence
from random import Random
from typing import Final

from bench.stats.changes import of_pairs

BLOCK: Final = 4
"""Neighbouring pairs that are drawn together, so that what the machine does for a while stays together. An
even number, so that either side goes first as often."""

DRAWS: Final = 200

FOUND: Final = 0.95
"""Share of comparisons that tell the slowdown."""


def least_slowdown(
    base: Sequence[float], new: Sequence[float], confidence: float, threshold: float
) -> float | None:
    """Return the smallest slowdown, as a share, that FOUND of such comparisons call slower at the threshold.

    `base` and `new` are the levels of rounds that were measured in turn, pair by pair. Comparisons of as many
    pairs are drawn from them. A slowdown multiplies all ratios alike, so that it moves an interval and leaves
    its width: it is told where it lifts the lower end above the threshold. None where so few pairs give no
    interval.
    """
    middle = math.log(of_pairs(base, new, confidence).ratio)
    random = Random(0)  # the same pairs give the same answer
    short = []  # by how much, as a logarithm, an interval's lower end falls short of the slowdown itself
    for _ in range(DRAWS):
        chosen = _drawn(len(base), random)
        found = of_pairs([base[n] for n in chosen], [new[n] for n in chosen], confidence)
        if found.low is None:
            return None
        short.append(middle - math.log(found.low))
    enough = sorted(short)[math.ceil(FOUND * DRAWS) - 1]
    return max(0.0, math.expm1(math.log1p(threshold) + enough))


def _drawn(pairs: int, random: Random) -> list[int]:
    """Draw as many places as there are pairs, in blocks of neighbours that go on at the beginning."""
    chosen: list[int] = []
    while len(chosen) < pairs:
        # From an even place on, so that who goes first alternates across the joints.
        begin = 2 * random.randrange((pairs + 1) // 2)
        chosen += [(begin + step) % pairs for step in range(min(BLOCK, pairs - len(chosen)))]
    return chosen
