"""The gate of configs/ci.yaml, by real pairs of rounds of the program against itself."""

import pytest

from bench.comparison.noise import Pairs, found_of, noise
from benchmarks import evidence, gate

DRAWS = 400


@pytest.fixture(scope="module")
def pairs() -> dict[str, Pairs]:
    measured = gate.pairs_of(evidence.read(evidence.DATA, gate.NAME, gate.COLUMNS).samples)
    cells, _ = gate.gate()
    return {cell: measured[cell] for cell in cells}


def test_of_a_hundred_runs_on_unchanged_code_one_at_most_is_a_false_alarm(pairs: dict[str, Pairs]) -> None:
    _, rounds = gate.gate()
    assert all(len(base) >= 4 * rounds for base, _ in pairs.values())
    found = noise(pairs, rounds, threshold=gate.THRESHOLD, draws=DRAWS)
    assert found.false_alarms <= 0.01 * DRAWS
    assert not any(gate.called_slower(one) for one in gate.in_a_row(pairs, rounds))


def test_of_a_hundred_slowdowns_by_a_twentieth_95_are_found(pairs: dict[str, Pairs]) -> None:
    _, rounds = gate.gate()
    for cell in pairs:
        assert found_of(pairs, cell, 0.05, gate.THRESHOLD, rounds, draws=DRAWS) >= 0.95 * DRAWS
    row = gate.in_a_row(pairs, rounds)
    assert len(row) >= 4
    assert all(gate.called_slower(one, 0.05) == list(pairs) for one in row)


def test_the_verdicts_counted_here_are_those_of_a_comparison(pairs: dict[str, Pairs]) -> None:
    (cell,) = pairs
    base, new = pairs[cell]
    assert gate.called_slower({cell: (base, new)}) == []
    assert gate.called_slower({cell: (base, [1.2 * value for value in new])}) == [cell]
    assert gate.called_slower({cell: ([1.2 * value for value in base], new)}) == []


def test_the_page_quotes_what_the_data_gives() -> None:
    begin, end = evidence.markers(gate.NAME)
    quoted = gate.PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    rendered = gate.render(evidence.read(evidence.DATA, gate.NAME, gate.COLUMNS))
    assert quoted.strip() == rendered.strip()
