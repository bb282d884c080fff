"""Plain YAML with the place of each value, and what is refused, each in one line with its place."""

import os
from pathlib import Path

import pytest

from bench.grid.yaml_source import MAX_BYTES, override, read
from vsr_model.errors import BadInput, nearest

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TAG = "tag:yaml.org,2002:"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return tmp_path / "grid.yaml"


def refusal(path: Path, content: str | bytes, assignments: tuple[str, ...] = ()) -> str:
    """Return the message, with the file's folder cut off."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as caught:
        override(read(path), assignments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("# nothing\n", "grid.yaml: empty; a grid has at least name", id="only a comment"),
        pytest.param("# a list\n- 1\n", "grid.yaml:2: a list, where a mapping", id="list at the top"),
        pytest.param("word", "grid.yaml:1: a single value, where a mapping", id="word at the top"),
        pytest.param("a: 1\n---\nb: 2\n", "grid.yaml:2: not valid YAML (expected a single", id="two"),
        pytest.param("a: 1\nb: [1\n", "grid.yaml:3: not valid YAML (while parsing a flow", id="open list"),
        pytest.param("a: 1\nb: *c\n", "grid.yaml:2: not valid YAML (found undefined alias", id="no anchor"),
        pytest.param(b"a: \xff\n", "grid.yaml: not a text file in UTF-8 (byte 3)", id="not UTF-8"),
        pytest.param("a: 1\nb: \0\n", "grid.yaml:2: not valid YAML (the character U+0000", id="NUL"),
        pytest.param("g:\n  x: 1\n  x: 3\n", "grid.yaml:3: the field 'x' is given twice", id="twice"),
        pytest.param("1: a\n", "grid.yaml:1: a field's name must be plain text, not 1", id="number as key"),
        pytest.param("? [a]\n: b\n", "grid.yaml:1: a field's name must be plain text", id="list as key"),
        pytest.param('a: "\\ud800"\n', "grid.yaml:1: '\\ud800' cannot be read", id="half a character"),
        pytest.param("a: !!bool perhaps\n", "grid.yaml:1: 'perhaps' cannot be read (bool)", id="no bool"),
        pytest.param(f"a: {'9' * 5000}\n", "grid.yaml:1: '99999", id="digits without end"),
        pytest.param('a: "\\U00110000"\n', "grid.yaml: not valid YAML (an escape names", id="beyond Unicode"),
        pytest.param("a: 010\n", "grid.yaml:1: '010' is a number in base 8", id="base 8"),
        pytest.param("a: 1:30.5\n", "grid.yaml:1: '1:30.5' is a number in base 60", id="base 60"),
        pytest.param("<<: 1\n", "grid.yaml:1: not valid YAML", id="a number merged"),
        pytest.param("a: !!str {}\n", f"grid.yaml:1: the tag '{TAG}str' is none", id="tag of another kind"),
        pytest.param("a: !!set {b, c}\n", f"grid.yaml:1: the tag '{TAG}set' is none", id="set"),
        pytest.param(LAUGHS, "grid.yaml: unfolds to over 50,000 values", id="billion laughs"),
        pytest.param("a: &a {<<: *a}\n", "grid.yaml: unfolds to over", id="merged into itself"),
        pytest.param("a: " + "[" * 2000, "grid.yaml: not valid YAML (nested over 40", id="deep"),
        pytest.param("#" * (MAX_BYTES + 1), f"grid.yaml: over {MAX_BYTES:,} bytes", id="huge file"),
    ],
)
def test_anything_but_plain_yaml_is_refused(grid: Path, content: str | bytes, message: str) -> None:
    assert refusal(grid, content).startswith(message)


def test_a_python_tag_is_never_constructed(grid: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    message = refusal(grid, f"a: 1\nb: !!python/object/apply:os.mkdir ['{witness}']\n")
    assert message.startswith("grid.yaml:2: the tag 'tag:yaml.org,2002:python/object/apply:os.mkdir' is none")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &a [1, 2]\nb: *a\n", {"a": (1, 2), "b": (1, 2)}),
        ("c: &c {x: 1, y: 2}\nd: {<<: *c, y: 3}\n", {"c": {"x": 1, "y": 2}, "d": {"x": 1, "y": 3}}),
        ("name: 2026-01-02\n", {"name": "2026-01-02"}),
        ("\ufeffa: 1\r\n", {"a": 1}),
        ('---\n{"a": 1}\n...\n', {"a": 1}),
    ],
)
def test_plain_yaml_is_read(grid: Path, text: str, data: object) -> None:
    grid.write_bytes(text.encode())
    assert read(grid).data == data


def test_places_are_those_of_the_field_names(grid: Path) -> None:
    grid.write_text("a:\n  b:\n    - 1\n    - c: 2\n")
    source = read(grid)
    lines = {
        ("a", "b"): 2, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4, ("a", "b", 0, "x"): 3, ("z",): 1,
    }  # fmt: skip
    assert {at: source.where(at) for at in lines} == {at: f"{grid}:{line}" for at, line in lines.items()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quikstart.yaml", r"no such file \(did you mean 'quickstart.yaml'\?\)$"),
        ("configs/quickstart.yaml", r"no such file; its folder .*/configs is not there either$"),
        ("", "^[^']*: a folder, where a YAML file is expected$"),
        ("quickstart.yaml/more.yaml", "cannot be read"),
        ("a\0b", "not the name of a file"),
        ("pipe", "^[^']*/pipe: a device or a pipe, where a YAML file is expected$"),
        ("loop", "cannot be read"),
        ("dangling", "a link to a file that is not there"),
        ("/dev/zero", "a device or a pipe"),
    ],
)
def test_a_path_without_a_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "quickstart.yaml").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(BadInput, match=message):
        read(tmp_path / name)


class TestOverride:
    TEXT = "grid: {frames: [1], size: [[16, 16]]}\nbackends: [cpu, {name: x, from: cpu}]\nname: n\nempty:\n"

    @pytest.mark.parametrize(
        ("assignment", "place", "value"),
        [
            ("grid.frames=\n- 2\n- 3", ("grid", "frames"), (2, 3)),
            ("grid.frames.0=4", ("grid", "frames", 0), 4),
            ("backends.1.threads=1", ("backends", 1, "threads"), 1),
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
        before = read(grid)
        source = override(before, [assignment])
        found: object = source.data
        for part in place:
            found = found[part]  # type: ignore[index]
        assert found == value
        assert source.where(place) == f"--set {' '.join(assignment.split())}"
        assert before == read(grid)

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("grid", "--set grid: not of the form field.subfield=value, as in grid.batch=[2]"),
            ("grid..frames=1", "--set grid..frames=1: not of the form"),
            pytest.param(".".join("a" * 50) + "=1", "--set a.a.a", id="a long way down"),
            ("name.x=1", "--set name.x=1: 'n' has no field 'x'"),
            ("backends.2=cpu", "--set backends.2=cpu: '2' is no index of a list of 2"),
            pytest.param(f"backends.{'9' * 5000}=cpu", "--set backends.999", id="index without end"),
            ("grid.frames=[1", "--set grid.frames=[1: not valid YAML"),
            ("grid={a: 1, a: 2}", "--set grid={a: 1, a: 2}: the field 'a' is given twice"),
        ],
    )
    def test_refused(self, grid: Path, assignment: str, message: str) -> None:
        assert refusal(grid, self.TEXT, (assignment,)).startswith(message)

    def test_the_last_one_wins_and_is_the_place(self, grid: Path) -> None:
        grid.write_text(self.TEXT)
        source = override(read(grid), ["grid.frames=[5]", "grid={frames: [6]}", "grid.size=[[32, 32]]"])
        assert source.data["grid"] == {"frames": (6,), "size": ((32, 32),)}
        assert source.where(("grid", "frames")) == "--set grid={frames: [6]}"
        assert source.where(("grid", "size", 0)) == "--set grid.size=[[32, 32]]"


def test_nearest() -> None:
    assert nearest("cuddn", ["cpu", "cudnn"]) == " (did you mean 'cudnn'?)"
    assert nearest("zebra", ["cpu", "cudnn"]) == ""
