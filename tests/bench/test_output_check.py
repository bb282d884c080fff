"""The error of an output against the reference, and the file that a reference is kept in."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.measure.output_check import OutputError, compare, keep, kept


@pytest.fixture
def reference() -> Tensor:
    return torch.rand((2, 3, 3, 8, 12), generator=torch.Generator().manual_seed(0))


def error_of(output: Tensor, reference: Tensor) -> OutputError:
    return compare(output.unbind(1), reference)


def test_psnr_is_exact():
    base = torch.full((2, 3, 3, 8, 12), 0.5)
    error = error_of(base + 2**-10, base)
    assert error.max_abs_error == 2**-10
    assert error.psnr_db == pytest.approx(20 * math.log10(2**10), abs=1e-12)
    one_wrong = base.clone()
    one_wrong[1, 2, 0, 0, 0] = 1
    error = error_of(one_wrong, base)
    assert error.max_abs_error == 0.5
    assert error.psnr_db == pytest.approx(-10 * math.log10(0.25 / base.numel()), abs=1e-12)


def test_values_are_not_clipped():
    base = torch.zeros(2, 3, 3, 8, 12)
    assert error_of(base - 1, base).psnr_db == 0
    assert error_of(base + 10, base).psnr_db == -20


def test_an_equal_output_is_infinitely_good(reference):
    assert error_of(reference.clone(), reference) == OutputError(max_abs_error=0, psnr_db=math.inf)


@pytest.mark.parametrize("frame", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(reference, frame, value):
    output = reference.clone()
    output[0, frame, 1, 3, 3] = value
    error = error_of(output, reference)
    if math.isnan(value):
        assert math.isnan(error.max_abs_error)
        assert math.isnan(error.psnr_db)
    else:
        assert error == OutputError(max_abs_error=math.inf, psnr_db=-math.inf)
    assert math.isnan(error_of(output, output.clone()).psnr_db)


def test_another_shape_is_refused(reference):
    with pytest.raises(ValueError, match=r"a frame of \(2, 3, 8, 6\) against one of \(2, 3, 8, 12\)"):
        error_of(reference[..., :6], reference)
    for count in (2, 4):
        with pytest.raises(ValueError, match="zip"):
            compare([reference[:, 0]] * count, reference)


def test_what_is_kept_comes_back_equal(reference, tmp_path: Path):
    path = tmp_path / "made" / "on the way" / "clip.npy"
    assert kept(path) is None
    keep(reference, path)
    found = kept(path)
    assert found is not None
    assert found.dtype == torch.float32
    assert torch.equal(found, reference)
    found.zero_()  # in memory alone
    assert torch.equal(kept(path), reference)
    assert [item.name for item in path.parent.iterdir()] == ["clip.npy"]


def test_a_failure_half_way_leaves_what_was_there(reference, tmp_path: Path, monkeypatch):
    path = tmp_path / "clip.npy"
    keep(reference, path)

    def fail(file, _array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="No space"):
        keep(reference + 1, path)
    assert torch.equal(kept(path), reference)
    assert list(tmp_path.iterdir()) == [path]
