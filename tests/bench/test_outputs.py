"""Whether two networks still give the same output."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.comparison.runs import outputs_cautions
from bench.measure import output_check
from bench.results.outputs import OutputDifference, of_json, output_differences, to_json
from vsr_model.errors import BadInput


def kept(folder: Path, **clips: torch.Tensor) -> Path:
    for name, clip in clips.items():
        output_check.keep(clip, folder / f"{name}.npy")
    return folder


def test_differences_are_those_of_the_check_of_outputs(tmp_path: Path) -> None:
    ours, theirs = torch.rand(2, 3, 3, 8, 8), torch.rand(2, 3, 3, 8, 8)
    base = kept(tmp_path / "base", a=ours, same=ours, alone=ours)
    head = kept(tmp_path / "head", a=theirs, same=ours, other=ours)
    found = {item.clip: item for item in output_differences(base, head)}
    expected = output_check.compare(theirs.unbind(1), ours)
    assert sorted(found) == ["a", "same"]
    assert found["a"].psnr_db == pytest.approx(expected.psnr_db, abs=1e-4)
    assert found["a"].max_abs == pytest.approx(expected.max_abs_error)
    assert (found["same"].psnr_db, found["same"].max_abs) == (math.inf, 0)


def test_values_that_are_not_finite_and_other_shapes_are_differences(tmp_path: Path) -> None:
    one = torch.zeros(1, 2, 3, 4, 4)
    broken = one.clone()
    broken[0, 1, 0, 0, 0] = math.nan
    base = kept(tmp_path / "base", a=one, b=one)
    head = kept(tmp_path / "head", a=broken, b=torch.zeros(1, 1, 3, 4, 4))
    a, b = output_differences(base, head)
    assert a.psnr_db == -math.inf
    assert b.psnr_db is None
    assert "shape (b)" in " ".join(outputs_cautions([a, b]))
    assert "do not give the same output" in " ".join(outputs_cautions([a]))


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    found = [
        OutputDifference(clip="a", psnr_db=math.inf, max_abs=0.0),
        OutputDifference(clip="b", psnr_db=-math.inf, max_abs=math.inf),
        OutputDifference(clip="c", psnr_db=None, max_abs=None),
        OutputDifference(clip="d", psnr_db=42.5, max_abs=0.25, dtypes=("float32", "float64")),
    ]
    path = tmp_path / "outputs.json"
    path.write_text(to_json(found))
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert [row["psnr_db"] for row in strict] == ["Infinity", "-Infinity", None, 42.5]
    assert of_json(path) == found
    path.write_text('[{"clip": "a", "psnr_db": 42.5, "max_abs": 0.25}]')  # as earlier versions wrote
    assert of_json(path) == [OutputDifference(clip="a", psnr_db=42.5, max_abs=0.25)]
    for text in ('[{"clip": 1}]', "[1]", '[{"clip": "a", "psnr_db": 1, "max_abs": 0, "dtypes": ["a"]}]'):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"outputs\.json"):
            of_json(path)


def test_rounding_is_no_other_answer_and_less_is() -> None:
    def said(*psnr_db: float) -> str:
        found = [OutputDifference(clip=f"clip{n}", psnr_db=db, max_abs=0.0) for n, db in enumerate(psnr_db)]
        return " ".join(outputs_cautions(found))

    assert said() == said(math.inf) == said(math.inf, 110.0, 80.0) == ""
    assert "35.0 dB apart on clip1" in said(math.inf, 35.0, 60.0)


def test_batches_are_compared_frame_by_frame(tmp_path: Path) -> None:
    one = np.zeros((2, 2, 3, 4, 4), dtype=np.float32)
    other = one.copy()
    other[1, 1] = 0.5
    base, head = (
        kept(tmp_path / "a", x=torch.from_numpy(one)),
        kept(tmp_path / "b", x=torch.from_numpy(other)),
    )
    (found,) = output_differences(base, head)
    assert found.max_abs == 0.5
    assert found.psnr_db == pytest.approx(-10 * math.log10(0.25 / 4))
