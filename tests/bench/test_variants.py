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


def written(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return path


def loaded(tmp_path: Path, *wanted: str, text: str = TEXT, assignments: tuple[str, ...] = ()) -> Experiment:
    return config.load(written(tmp_path, text), assignments, wanted)[0]


def test_a_file_is_read_without_its_variants_unless_one_is_asked_for(tmp_path: Path) -> None:
    plain = TEXT.partition("variants:")[0]
    assert loaded(tmp_path) == loaded(tmp_path, text=plain)


def test_mappings_are_merged_and_all_else_is_replaced(tmp_path: Path) -> None:
    quick = loaded(tmp_path, "quick")
    assert quick.name == "trial-quick"
    assert (quick.grid.batch, quick.grid.frames) == ((2,), (1,))
    assert (quick.measure.warmup, quick.measure.repetitions.max) == (0, 3)
    faithful = loaded(tmp_path, "faithful")
    assert [backend.name for backend in faithful.backends] == ["CPU"]
    assert faithful.measure.repetitions.max == 1


def test_later_ones_win_and_the_command_line_over_all(tmp_path: Path) -> None:
    assert loaded(tmp_path, "faithful", "quick").measure.warmup == 0
    assert loaded(tmp_path, "quick", "faithful").measure.warmup == 2
    both = loaded(tmp_path, "faithful", "quick", assignments=("measure.warmup=5",))
    assert (both.name, both.measure.warmup, both.grid.frames) == ("trial-faithful-quick", 5, (1,))


def test_what_is_written_out_is_what_was_asked_for(tmp_path: Path) -> None:
    quick = loaded(tmp_path, "quick")
    path = tmp_path / "again.yaml"
    path.write_text(config.dump(quick, tmp_path))
    assert "variants" not in path.read_text()
    assert config.load(path)[0] == quick


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("warmup: 0", "warmup: -1", "grid.yaml:12: measure.warmup: should be a whole number from 0"),
        ("warmup: 0", "warmpu: 0", "grid.yaml:12: measure: unknown field 'warmpu' (did you mean 'warmup'?)"),
        ("from: cpu}", "from: gpu}", "grid.yaml:14: backends[0].from: should be 'cpu'"),
        ("  quick:\n    grid: {frames: [1]}\n    measure:\n      warmup: 0", "  quick: 3",
         "grid.yaml:9: variants.quick: should be a mapping of fields"),
        (" quick:", " '-q':", "grid.yaml:9: variants.-q: a variant's name consists of"),
        ("    grid: {frames: [1]}", "    name: x", "grid.yaml:10: variants.quick.name: no variant has one"),
        ("    grid: {frames: [1]}", "    variants: {}", "grid.yaml:10: variants.quick.variants: no variant"),
    ],
)  # fmt: skip
def test_a_wrong_variant_is_refused_even_where_it_is_not_asked_for(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in TEXT
    with pytest.raises(BadInput) as refused:
        loaded(tmp_path, text=TEXT.replace(old, new))
    assert str(refused.value).removeprefix(f"{tmp_path}/").startswith(said)


def test_variants_are_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"grid.yaml:8: variants: should be a mapping of names to fields"):
        loaded(tmp_path, text=TEXT.partition("variants:")[0] + "variants: [quick]\n")


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"no variant 'qick' \(did you mean 'quick'\?\); it has quick, faithful"
    ):
        loaded(tmp_path, "qick")
    with pytest.raises(BadInput, match=r"no variant 'quick'; it has none"):
        loaded(tmp_path, "quick", text=TEXT.partition("variants:")[0])


def test_the_command_line_sets_no_variant(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be set from the command line; --variant chooses one"):
        loaded(tmp_path, assignments=("variants.quick.name=other",))


def test_the_schema_knows_them() -> None:
    assert "variants" in config.json_schema({})["properties"]
