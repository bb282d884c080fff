"""Lines and scatters, held to exact cases and to scipy."""

import math

import pytest
from scipy import stats

from bench.paper import trend


def test_a_straight_line_is_found_exactly() -> None:
    line = trend.fit([1, 4, 7, 10], [2.5, 4.0, 5.5, 7.0])
    assert line is not None
    assert (line.fixed, line.slope, line.at(20)) == pytest.approx((2.0, 0.5, 12.0))
    assert line.residual == pytest.approx(0, abs=1e-12)


def test_its_intervals_are_those_of_linear_regression() -> None:
    xs, ys = [1, 4, 7, 10, 13], [2.4, 4.3, 5.1, 7.3, 8.4]
    line, known = trend.fit(xs, ys), stats.linregress(xs, ys)
    assert line is not None
    t = stats.t.ppf(0.975, 3)
    assert line.slope_high == pytest.approx(known.slope + t * known.stderr, rel=2e-3)
    assert line.fixed_low == pytest.approx(known.intercept - t * known.intercept_stderr, rel=2e-2)


def test_two_points_have_a_line_without_an_interval_and_one_has_none() -> None:
    line = trend.fit([1, 3], [1.0, 2.0])
    assert line is not None
    assert (line.slope, line.residual, line.slope_low) == (0.5, None, None)
    assert trend.fit([3, 3], [1.0, 2.0]) is None


def test_an_outlier_does_not_bend_the_robust_line() -> None:
    xs = [1, 2, 3, 4, 5, 6, 7]
    ys = [2.0 + 0.5 * x for x in xs]
    ys[3] = 99.0
    assert trend.robust_line(xs, ys) == pytest.approx((2.0, 0.5))


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 19, 60])
def test_students_quantile(freedom: int) -> None:
    assert trend.student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=5e-3)


@pytest.mark.parametrize("freedom", [5, 8, 30])
@pytest.mark.parametrize("probability", [0.025, 0.975])
def test_chi_squared_quantile(probability: float, freedom: int) -> None:
    known = stats.chi2.ppf(probability, freedom)
    assert trend.chi_squared_quantile(probability, freedom) == pytest.approx(known, rel=0.05)


def test_variation_is_the_deviation_over_the_mean() -> None:
    found = trend.variation([[1.0, 2.0, 3.0]])
    assert found is not None
    assert (found.n, found.low) == (3, None)
    assert found.value == pytest.approx(0.5)
    six = trend.variation([[1.0, 2.0, 3.0, 1.0, 2.0, 3.0]])
    assert six is not None
    assert six.low is not None
    assert six.high is not None
    assert six.low < six.value < six.high


def test_levels_of_rounds_are_no_scatter() -> None:
    apart, alone = trend.variation([[1.0, 1.1], [5.0, 5.5], [3.0]]), trend.variation([[1.0, 1.1]])
    assert apart is not None
    assert alone is not None
    assert math.isclose(apart.value, alone.value)
    assert apart.n == 4
    assert trend.variation([[1.0], [2.0]]) is None
