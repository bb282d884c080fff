import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.measure.output_check import compare, compare_frames, keep, kept


@pytest.fixture
def reference() -> torch.Tensor:
    return torch.rand((2, 3, 3, 8, 12), generator=torch.Generator().manual_seed(0))


def test_psnr_is_exact(reference):
    """Every value off by 2**-10 of a peak of 1: 20 log10(2**10) dB."""
    base = torch.full_like(reference, 0.5)
    error = compare(base + 2**-10, base)
    assert error.max_abs_error == 2**-10
    assert error.psnr_db == pytest.approx(20 * math.log10(2**10), abs=1e-12)


def test_one_wrong_value_counts_over_all_frames(reference):
    other = torch.zeros_like(reference)
    base = torch.zeros_like(reference)
    other[1, 2, 0, 0, 0] = 0.5
    error = compare(other, base)
    assert error.max_abs_error == 0.5
    assert error.psnr_db == pytest.approx(-10 * math.log10(0.25 / base.numel()), abs=1e-12)


def test_an_equal_output_is_infinitely_good(reference):
    error = compare(reference.clone(), reference)
    assert error.max_abs_error == 0
    assert error.psnr_db == math.inf


def test_values_are_not_clipped(reference):
    base = torch.zeros_like(reference)
    assert compare(base - 1, base).psnr_db == 0
    assert compare(base + 10, base).psnr_db == -20


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_nan_anywhere_is_nan(reference, frame):
    output = reference.clone()
    output[0, frame, 1, 3, 3] = math.nan
    error = compare(output, reference)
    assert math.isnan(error.max_abs_error)
    assert math.isnan(error.psnr_db)


def test_infinity_is_infinitely_bad(reference):
    output = reference.clone()
    output[0, 0, 0, 0, 0] = math.inf
    error = compare(output, reference)
    assert error.max_abs_error == math.inf
    assert error.psnr_db == -math.inf


def test_infinite_where_the_reference_is_too_is_nan(reference):
    output = reference.clone()
    output[0, 0, 0, 0, 0] = math.inf
    assert math.isnan(compare(output, output.clone()).psnr_db)


def test_another_shape_is_refused(reference):
    with pytest.raises(ValueError, match=r"an output of \(2, 2, .* against a reference of \(2, 3, "):
        compare(reference[:, :2], reference)


def test_frame_by_frame_is_the_same(reference):
    output = reference + torch.linspace(-0.1, 0.2, reference.numel()).view(reference.shape)
    whole, by_frame = compare(output, reference), compare_frames(iter(output.unbind(1)), reference)
    assert by_frame.max_abs_error == whole.max_abs_error
    assert by_frame.psnr_db == pytest.approx(whole.psnr_db, abs=1e-9)
    assert compare_frames(reference.unbind(1), reference).psnr_db == math.inf
    wrong = [*reference.unbind(1)[:-1], torch.full_like(reference[:, 0], math.nan)]
    assert math.isnan(compare_frames(wrong, reference).psnr_db)


@pytest.mark.parametrize("count", [2, 4])
def test_more_frames_or_fewer_are_refused(reference, count):
    with pytest.raises(ValueError, match="zip"):
        compare_frames([reference[:, 0]] * count, reference)


def test_frames_of_another_shape_are_refused(reference):
    with pytest.raises(ValueError, match=r"a frame of \(2, 3, 8, 6\) against one of \(2, 3, 8, 12\)"):
        compare_frames(reference[..., :6].unbind(1), reference)


def test_what_is_kept_comes_back_equal(reference, tmp_path: Path):
    path = tmp_path / "made" / "on the way" / "clip.npy"
    keep(reference, path)
    found = kept(path)
    assert found is not None
    assert found.dtype == torch.float32
    assert torch.equal(found, reference)
    assert [item.name for item in path.parent.iterdir()] == ["clip.npy"]


def test_what_is_kept_is_not_changed_by_writing_to_it(reference, tmp_path: Path):
    path = tmp_path / "clip.npy"
    keep(reference, path)
    kept(path).zero_()
    assert torch.equal(kept(path), reference)


def test_nothing_is_kept(tmp_path: Path):
    assert kept(tmp_path / "none.npy") is None


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
