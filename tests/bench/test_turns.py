"""Whether rounds were measured in turn: exact, by made-up times."""

from collections.abc import Sequence

import pytest

from bench.comparison.cells import MeasuredCell
from bench.comparison.turns import Turns, turns
from tests.bench.sides import in_turn, side

SIX = [1.0] * 6
A, B = in_turn(6)


def told(a: Sequence[float], b: Sequence[float], measured_s: float = 1.0) -> Turns:
    def cell(begun: Sequence[float]) -> MeasuredCell:
        (found,) = side([1.0] * len(begun), begun_s=begun, measured_s=measured_s)
        return found

    return turns(cell(a), cell(b), range(len(a)))


def test_rounds_that_took_turns_are_neighbours() -> None:
    assert told(A, B) == Turns(rounds=(0, 1, 2, 3, 4, 5))
    assert told(B, A) == Turns(rounds=(0, 1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([10.0 * n for n in range(6)], [100 + 10.0 * n for n in range(6)]),  # one run after the other
        ([10.0 * n for n in range(6)], [10.0 * n + 0.5 for n in range(6)]),  # on two machines at once
        ([20.0 * n for n in range(6)], [20.0 * n + 10 for n in range(6)]),  # the same always first
        ([20.0 * n for n in range(6)], [*B[:5], A[5]]),  # the last at the same moment
        ([*A[:3], A[4], A[3], A[5]], B),  # not in the order of rounds
    ],
)
def test_what_is_not_in_turn(a: Sequence[float], b: Sequence[float]) -> None:
    assert told(a, b) == Turns()


def test_rounds_of_the_same_moments_are_the_same_rounds() -> None:
    assert told(A, A) == Turns(rounds=(0, 1, 2, 3, 4, 5), copied=True)


def test_a_pair_that_was_interrupted_is_no_pair() -> None:
    later = 5000.0
    a = [*A[:3], *(at + later for at in A[3:])]
    b = [*B[:2], B[2] + later, *(at + later for at in B[3:])]
    assert told(a, b).rounds == (0, 1, 3, 4, 5)


def test_times_that_say_nothing() -> None:
    (one,), (other,) = side(SIX, started_at=""), side(SIX)
    assert turns(one, other, range(6)) == Turns()
    assert turns(other, other, ()) == Turns()
