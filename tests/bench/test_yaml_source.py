"""What is plain YAML and what is refused, each with the place in one line."""

import os
from pathlib import Path

import pytest

from bench.grid.yaml_source import MAX_BYTES, override, read
from vsr_model.errors import BadInput, nearest

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return tmp_path / "grid.yaml"


def refusal(path: Path, content: str | bytes, assignments: tuple[str, ...] = ()) -> str:
    """The message, with the file's folder cut off."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as caught:
        override(read(path), assignments)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said.replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("", "grid.yaml: empty; a grid has at least name", id="empty"),
        pytest.param("# nothing\n", "grid.yaml: empty; a grid has at least name", id="only a comment"),
        pytest.param("# a list\n- 1\n", "grid.yaml:2: a list, where a mapping", id="list at the top"),
        pytest.param("word", "grid.yaml:1: a single value, where a mapping", id="word at the top"),
        pytest.param(
            "a: 1\n---\nb: 2\n", "grid.yaml:2: not valid YAML (expected a single document", id="two"
        ),
        pytest.param(
            "a: 1\nb: [1\n", "grid.yaml:3: not valid YAML (while parsing a flow seq", id="open list"
        ),
        pytest.param("a: 1\nb: {x: 1]\n", "grid.yaml:2: not valid YAML", id="wrong bracket"),
        pytest.param("a:\n\tb: 1\n", "grid.yaml:2: not valid YAML (while scanning for the next", id="tab"),
        pytest.param("a: 1\nb: *c\n", "grid.yaml:2: not valid YAML (found undefined alias", id="no anchor"),
        pytest.param(b"a: \xff\n", "grid.yaml: not a text file in UTF-8 (byte 3)", id="not UTF-8"),
        pytest.param("a: 1\nb: \0\n", "grid.yaml:2: not valid YAML (the character U+0000", id="NUL"),
        pytest.param("a: 1\na: 2\n", "grid.yaml:2: the field 'a' stands there twice", id="duplicate key"),
        pytest.param(
            "g:\n  x: 1\n  y: 2\n  x: 3\n",
            "grid.yaml:4: the field 'x' stands there twice",
            id="nested duplicate",
        ),
        pytest.param("1: a\n", "grid.yaml:1: a field's name must be plain text, not 1", id="number as key"),
        pytest.param("on: a\n", "grid.yaml:1: a field's name must be plain text, not on", id="bool as key"),
        pytest.param("? [a]\n: b\n", "grid.yaml:1: a field's name must be plain text", id="list as key"),
        pytest.param('"\\ud800": b\n', "grid.yaml:1: '\\ud800' cannot be read", id="half a character as key"),
        pytest.param('a: "\\ud800"\n', "grid.yaml:1: '\\ud800' cannot be read", id="half a character"),
        pytest.param("a: !!bool perhaps\n", "grid.yaml:1: 'perhaps' cannot be read (bool)", id="no bool"),
        pytest.param("a: !!int ''\n", "grid.yaml:1: '' cannot be read (int)", id="no number"),
        pytest.param(f"a: 0x{'f' * 5000}\n", "grid.yaml:1: '0xfff", id="number without end"),
        pytest.param(f"a: {'9' * 5000}\n", "grid.yaml:1: '99999", id="digits without end"),
        pytest.param('a: "\\U00110000"\n', "grid.yaml: not valid YAML (an escape names", id="beyond Unicode"),
        pytest.param("a: 010\n", "grid.yaml:1: '010' is a number in base 8", id="base 8"),
        pytest.param("a: 1:30.5\n", "grid.yaml:1: '1:30.5' is a number in base 60", id="base 60"),
        pytest.param("<<: 1\n", "grid.yaml:1: not valid YAML", id="a number merged"),
        pytest.param("a: &x 1\nb: &x 2\n", "grid.yaml:2: not valid YAML", id="anchor twice"),
        pytest.param("? &k [*k]\n: 1\n", "grid.yaml:1: a field's name must be plain", id="a key in itself"),
        pytest.param("%YAML 2.0\n---\na: 1\n", "grid.yaml:1: not valid YAML", id="another YAML"),
        pytest.param("a: !!str {}\n", "grid.yaml:1: the tag", id="tag of another kind"),
        pytest.param("a: !!set {b, c}\n", "grid.yaml:1: the tag 'tag:yaml.org,2002:set' is", id="set"),
        pytest.param("a: !!binary aGk=\n", "grid.yaml:1: the tag 'tag:yaml.org,2002:binary' is", id="binary"),
        pytest.param("a: !mine 1\n", "grid.yaml:1: the tag '!mine' is none of", id="own tag"),
        pytest.param(LAUGHS, "grid.yaml: unfolds to over 50,000 values", id="billion laughs"),
        pytest.param("a: &a [*a]\n", "grid.yaml: unfolds to over", id="list in itself"),
        pytest.param("a: &a {b: *a}\n", "grid.yaml: unfolds to over", id="mapping in itself"),
        pytest.param("a: &a {<<: *a}\n", "grid.yaml: unfolds to over", id="merged into itself"),
        pytest.param(f"a: {'[' * 300}{']' * 300}", "grid.yaml: unfolds to over", id="deep"),
        pytest.param("a: " + "[" * 2000, "grid.yaml: not valid YAML (nested over 40", id="deeper"),
        pytest.param("#" * (MAX_BYTES + 1), f"grid.yaml: over {MAX_BYTES:,} bytes", id="huge file"),
    ],
)
def test_refused_with_its_place(grid: Path, content: str | bytes, said: str) -> None:
    assert refusal(grid, content).startswith(said)


def test_a_python_tag_is_never_constructed(grid: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    tag = "tag:yaml.org,2002:python/object/apply:os.mkdir"
    said = refusal(grid, f"a: 1\nb: !!python/object/apply:os.mkdir ['{witness}']\n")
    assert said == f"grid.yaml:2: the tag {tag!r} is none of YAML's plain types"
    assert not witness.exists()


def test_aliases_and_merges_are_ordinary(grid: Path) -> None:
    grid.write_text("a: &a [1, 2]\nb: *a\nc: &c {x: 1, y: 2}\nd: {<<: *c, y: 3}\n")
    assert read(grid).data == {"a": (1, 2), "b": (1, 2), "c": {"x": 1, "y": 2}, "d": {"x": 1, "y": 3}}


@pytest.mark.parametrize("text", ["\ufeffa: 1\n", "a: 1\r\n", "a: 1", "---\na: 1\n...\n", '{"a": 1}'])
def test_ways_to_write_the_same(grid: Path, text: str) -> None:
    grid.write_bytes(text.encode())
    assert read(grid).data == {"a": 1}


def test_dates_are_text(grid: Path) -> None:
    grid.write_text("name: 2026-01-02\nother: 2026-99-99\n")
    assert read(grid).data == {"name": "2026-01-02", "other": "2026-99-99"}


def test_places_are_those_of_the_field_names(grid: Path) -> None:
    grid.write_text("a:\n  b:\n    - 1\n    - c: 2\n")
    source = read(grid)
    lines = {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 1): 4,
        ("a", "b", 1, "c"): 4,
        ("a", "b", 0, "x"): 3,
        ("z",): 1,
    }
    assert {at: source.where(at) for at in lines} == {at: f"{grid}:{line}" for at, line in lines.items()}


class TestFiles:
    def test_the_nearest_name_of_a_missing_one(self, tmp_path: Path) -> None:
        (tmp_path / "quickstart.yaml").touch()
        with pytest.raises(BadInput, match=r"no such file \(did you mean 'quickstart.yaml'\?\)$"):
            read(tmp_path / "quikstart.yaml")

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"no such file; its folder .*/configs is not there either$"):
            read(tmp_path / "configs" / "quickstart.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="a folder, where a YAML file is expected"):
            read(tmp_path)

    def test_below_a_file(self, grid: Path) -> None:
        grid.touch()
        with pytest.raises(BadInput, match="cannot be read"):
            read(grid / "more.yaml")

    def test_a_name_with_a_nul(self) -> None:
        with pytest.raises(BadInput, match="not the name of a file"):
            read(Path("a\0b"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_not_allowed_to(self, grid: Path) -> None:
        grid.touch(mode=0)
        with pytest.raises(BadInput, match="Permission denied"):
            read(grid)


class TestOverride:
    TEXT = "grid: {frames: [1], size: [[16, 16]]}\nbackends: [cpu, {name: x, from: cpu}]\nname: n\nempty:\n"

    @pytest.mark.parametrize(
        ("assignment", "place", "value"),
        [
            ("grid.frames=[2, 3]", ("grid", "frames"), (2, 3)),
            ("grid.frames=\n- 2\n- 3", ("grid", "frames"), (2, 3)),
            ("grid.frames.0=4", ("grid", "frames", 0), 4),
            ("backends.1.threads=1", ("backends", 1, "threads"), 1),
            ("backends.0={name: y, from: cpu}", ("backends", 0), {"name": "y", "from": "cpu"}),
            ("measure.stages=off", ("measure", "stages"), False),
            ("empty.a.b=1", ("empty", "a", "b"), 1),
            ("name=a=b", ("name",), "a=b"),
            ("name=", ("name",), None),
            (" name = x ", ("name",), "x"),
        ],
    )
    def test_sets_the_value_and_is_its_place(
        self, grid: Path, assignment: str, place: tuple[str | int, ...], value: object
    ) -> None:
        grid.write_text(self.TEXT)
        source = override(read(grid), [assignment])
        found: object = source.data
        for part in place:
            found = found[part]  # type: ignore[index]
        assert found == value
        assert source.where(place) == f"--set {' '.join(assignment.split())}"

    @pytest.mark.parametrize(
        ("assignment", "said"),
        [
            ("grid", "--set grid: not of the form field.subfield=value, as in grid.batch=[2]"),
            ("=1", "--set =1: not of the form"),
            ("grid..frames=1", "--set grid..frames=1: not of the form"),
            pytest.param(".".join("a" * 50) + "=1", "--set a.a.a", id="a long way down"),
            ("name.x=1", "--set name.x=1: 'n' has no field 'x'"),
            ("backends.2=cpu", "--set backends.2=cpu: '2' is no index of a list of 2"),
            ("backends.first=cpu", "--set backends.first=cpu: 'first' is no index of a list of 2"),
            pytest.param(f"backends.{'9' * 5000}=cpu", "--set backends.999", id="index without end"),
            ("grid.frames=[1", "--set grid.frames=[1: not valid YAML"),
            ("grid.frames=&a [*a]", "--set grid.frames=&a [*a]: unfolds to over"),
            pytest.param("grid.frames=" + "[" * 2000, "--set grid.frames=[[[", id="deep"),
            ("grid={a: 1, a: 2}", "--set grid={a: 1, a: 2}: the field 'a' stands there twice"),
            ("name=!!python/name:os.system x", "--set name=!!python/name:os.system x: the tag"),
            pytest.param("name=\0", "--set name=\\x00: not valid YAML", id="NUL"),
            ("name=1\n--- 2", "--set name=1 --- 2: not valid YAML"),
        ],
    )
    def test_refused(self, grid: Path, assignment: str, said: str) -> None:
        assert refusal(grid, self.TEXT, (assignment,)).startswith(said)

    def test_the_last_one_wins_and_is_the_place(self, grid: Path) -> None:
        grid.write_text(self.TEXT)
        source = override(read(grid), ["grid.frames=[5]", "grid={frames: [6]}", "grid.size=[[32, 32]]"])
        assert source.data["grid"] == {"frames": (6,), "size": ((32, 32),)}
        assert source.where(("grid", "frames")) == "--set grid={frames: [6]}"
        assert source.where(("grid", "size", 0)) == "--set grid.size=[[32, 32]]"

    def test_the_file_stays_as_it_is(self, grid: Path) -> None:
        grid.write_text(self.TEXT)
        source = read(grid)
        override(source, ["grid.frames=[5]", "backends.0=cuda"])
        assert source.data["grid"]["frames"] == (1,)
        assert source.data["backends"][0] == "cpu"


def test_nearest() -> None:
    assert nearest("cuddn", ["cpu", "cudnn"]) == " (did you mean 'cudnn'?)"
    assert nearest("zebra", ["cpu", "cudnn"]) == ""
