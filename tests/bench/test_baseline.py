"""A baseline as it is written and matched, and the speedups of several runs over theirs."""

import pytest

from bench.grid.baseline import Baseline
from bench.reporting.report_cells import cells_of
from bench.reporting.side_by_side_figures import Side, speedups
from bench.results.analysis import tables_of
from tests.bench import synthetic

NETWORKS = (synthetic.BASICVSR, synthetic.MINE)


@pytest.mark.parametrize(
    ("text", "baseline", "matched"),
    [
        ("cpu", Baseline(backend="cpu"), [("basicvsr", "cpu"), ("mine", "cpu")]),
        ("mine/cpu", Baseline(model="mine", backend="cpu"), [("mine", "cpu")]),
    ],
)
def test_a_baseline_is_a_backend_or_that_of_one_network(
    text: str, baseline: Baseline, matched: list[tuple[str, str]]
) -> None:
    assert Baseline.of(text) == baseline
    assert str(baseline) == text
    places = [(model, backend) for model in ("basicvsr", "mine") for backend in ("cpu", "cuda")]
    assert [place for place in places if baseline.matches(*place)] == matched


def side(name: str, over: str) -> Side:
    tables = tables_of(synthetic.run((synthetic.CPU,), nets=NETWORKS, frames=(4,)), Baseline.of(over))
    return Side(name=name, baseline=Baseline.of(over), cells=cells_of(tables))


def test_runs_beside_each_other_have_the_other_network_over_the_one_of_the_baseline() -> None:
    # A network on the baseline's backend is no row where speedups are over itself.
    assert speedups([side("a", "cpu"), side("b", "cpu")], "") == ""
    text = speedups([side("a", "basicvsr/cpu"), side("b", "cpu")], "")
    assert "Over: a: basicvsr/cpu; b: cpu." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| mine")]
    faster, own = [cell.strip() for cell in row.strip("| ").split("|")][-2:]
    assert float(faster.split()[0]) == pytest.approx(2.0, rel=0.1)  # MINE takes half of the time
    assert own == "baseline"
    assert "| basicvsr" not in text
