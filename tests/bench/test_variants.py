"""Named sets of fields that replace a YAML's own."""

from pathlib import Path

import pytest

from bench.grid import config
from bench.grid.config import Experiment
from vsr_model.errors import BadInput

TEXT = """\
name: trial
input: {name: noise, kind: random}
grid: {batch: [2], frames: [1, 2], size: [[16, 16]]}
backends: [cpu]
measure:
  warmup: 1
  repetitions: {min: 2, max: 3}
variants:
  quick:
    grid: {frames: [1]}
    measure:
      warmup: 0
  faithful:
    backends: [{name: CPU, from: cpu}]
    measure: {repetitions: 1, warmup: 2}
"""


def loaded(tmp_path: Path, *wanted: str, text: str = TEXT, assignments: tuple[str, ...] = ()) -> Experiment:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return config.load(path, assignments, wanted)[0]


def test_mappings_are_merged_and_all_else_is_replaced(tmp_path: Path) -> None:
    assert loaded(tmp_path) == loaded(tmp_path, text=TEXT.partition("variants:")[0])
    quick = loaded(tmp_path, "quick")
    assert quick.name == "trial-quick"
    assert (quick.grid.batch, quick.grid.frames) == ((2,), (1,))
    assert (quick.measure.warmup, quick.measure.repetitions.max) == (0, 3)
    faithful = loaded(tmp_path, "faithful")
    assert [backend.name for backend in faithful.backends] == ["CPU"]
    assert faithful.measure.repetitions.max == 1
    assert "variants" not in config.dump(quick, tmp_path)


def test_later_variants_win_and_the_command_line_over_all(tmp_path: Path) -> None:
    assert loaded(tmp_path, "quick", "faithful").measure.warmup == 2
    both = loaded(tmp_path, "faithful", "quick", assignments=("measure.warmup=5",))
    assert (both.name, both.measure.warmup, both.grid.frames) == ("trial-faithful-quick", 5, (1,))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("warmup: 0", "warmup: -1", "grid.yaml:12: measure.warmup: should be a whole number from 0"),
        ("from: cpu}", "from: gpu}", "grid.yaml:14: backends[0].from: should be 'cpu'"),
        ("  quick:\n    grid: {frames: [1]}\n    measure:\n      warmup: 0", "  quick: 3",
         "grid.yaml:9: variants.quick: should be a mapping of fields"),
        (" quick:", " '-q':", "grid.yaml:9: variants.-q: a variant's name consists of"),
        ("    grid: {frames: [1]}", "    name: x", "grid.yaml:10: variants.quick.name: no variant has one"),
        (TEXT.partition("variants:")[2], " [quick]", "grid.yaml:8: variants: should be a mapping of names"),
    ],
)  # fmt: skip
def test_a_wrong_variant_is_refused_even_where_it_is_not_asked_for(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        loaded(tmp_path, text=TEXT.replace(old, new))
    assert str(refused.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_an_unknown_variant_is_refused_with_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'qick' \(did you mean 'quick'\?\); it has quick, faithful"):
        loaded(tmp_path, "qick")
    with pytest.raises(BadInput, match=r"no variant 'quick'; it has none"):
        loaded(tmp_path, "quick", text=TEXT.partition("variants:")[0])
