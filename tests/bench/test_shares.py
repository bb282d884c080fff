"""Shares as the command line says them."""

import pytest

from bench.comparison.shares import share
from vsr_model.errors import BadInput


@pytest.mark.parametrize(("text", "value"), [("3%", 0.03), ("0.03", 0.03), (" 2.5 % ", 0.025), ("100%", 1.0)])
def test_shares(text: str, value: float) -> None:
    assert share(text, "--threshold") == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["3", "", "three", "-1%", "nan", "inf", "1e400", "0%", "0", "101%", "٣%", "3%%"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--threshold: should be a percentage"):
        share(text, "--threshold")


def test_no_allowance_is_an_allowance() -> None:
    assert share("0%", "--apart", may_be_zero=True) == 0
