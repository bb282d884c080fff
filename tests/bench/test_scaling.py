"""How a quantity grows: exponents of made-up powers, and their intervals."""

import math
from itertools import product
from random import Random

import pytest

from bench.records import Status
from bench.results.tables import scaling_table, tables_of
from bench.stats.scaling import Point, exponents
from tests.bench import synthetic
from tests.bench.synthetic import BASELINE


def power(*at: float, by: tuple[float, ...], noise: float = 0.0, random: Random | None = None) -> Point:
    exact = 3.0 * math.prod(x**exponent for x, exponent in zip(at, by, strict=True))
    return Point(at=at, value=exact * math.exp(noise * random.gauss(0, 1) if random else 0.0))


def test_exponents_of_exact_powers_and_none_of_an_axis_that_does_not_vary() -> None:
    points = [power(x, 5, y, by=(0.9, 1, 1.2)) for x, y in product((64, 256, 1000), (1, 4))]
    pixels, still, frames = exponents(points)
    assert still is None
    for found, exponent in ((pixels, 0.9), (frames, 1.2)):
        assert found is not None
        assert (found.exponent, found.low, found.high) == (pytest.approx(exponent),) * 3


def test_without_a_point_left_over_there_is_no_interval() -> None:
    (found,) = exponents([power(1, by=(1.1,)), power(8, by=(1.1,))])
    assert found is not None
    assert (found.exponent, found.low, found.high) == (pytest.approx(1.1), None, None)
    assert exponents([power(1, by=(1,))]) == [None]


def test_axes_that_vary_together_have_no_exponents() -> None:
    assert exponents([power(x, x * x, by=(1, 1)) for x in (1, 2, 4)]) == [None, None]


def test_the_interval_covers_the_exponent_as_often_as_it_claims() -> None:
    random = Random(1)
    trials = 2000
    held = 0
    for _ in range(trials):
        (found,) = exponents([power(x, by=(0.95,), noise=0.05, random=random) for x in (1, 2, 4, 8)])
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.95 <= found.high
    assert held / trials == pytest.approx(0.95, abs=0.015)


def test_points_that_are_uncertain_widen_the_interval() -> None:
    wide = [Point(at=(x,), value=x, low=x / 2, high=x * 2) for x in (1.0, 4.0, 16.0)]
    (found,) = exponents(wide)
    assert found is not None
    assert found.low is not None
    # Of the outer two: log 2 either way at both, over a distance of log 16.
    assert found.exponent - found.low == pytest.approx(math.sqrt(2) * math.log(2) / math.log(16))


def test_the_table_has_a_row_per_stage_and_axis_of_cells_that_ended_ok() -> None:
    sizes = ((64, 64), (96, 96), (180, 320))
    records = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.height == 96 else record
        for record in synthetic.run((synthetic.CPU, synthetic.CPU_1), frames=(1, 4, 15), sizes=sizes)
    ]
    table = tables_of(records, BASELINE).scaling
    assert table["stage"].unique().tolist() == [*synthetic.BASICVSR.stages, "forward"]
    assert table["axis"].unique().tolist() == ["frames", "pixels"]
    assert len(table) == 2 * 5 * 2
    assert set(table["points"]) == {6}
    pixels = table[(table["stage"] == "forward") & (table["axis"] == "pixels")]
    assert list(pixels["exponent"]) == pytest.approx([1, 1], abs=0.05)
    assert (pixels["low"] < pixels["exponent"]).all()
    assert scaling_table(tables_of(records[:2], BASELINE).summary).empty
