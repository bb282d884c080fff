"""`vsr-bench compare` on run folders: what is printed, what is written, what is refused."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.commands import exits
from bench.grid import plan
from bench.grid.config import Experiment
from bench.results.run_folder import RunFolder
from tests.bench.sides import ENVIRONMENT, experiment, in_turn, record

TEN = (1.0, 1.001, 0.999, 1.002, 0.998, 1.0005, 0.9995, 1.0015, 0.9985, 1.0)


def run_folder(
    path: Path,
    seconds: Sequence[float] = TEN,
    *,
    of: Experiment | None = None,
    begun_s: Sequence[float] | None = None,
    environment: Mapping[str, Any] = ENVIRONMENT,
    derived: bool = True,
    **changes: Any,
) -> Path:
    """Write a run whose cells have rounds of these seconds."""
    wanted = of or experiment(measure={"rounds": len(seconds)})
    folder = RunFolder.create(path, wanted, {**environment, "git_commit": None}, ())
    begun = begun_s or [10.0 * n for n in range(len(seconds))]
    with folder.journal() as journal:
        for cell in plan.cells(wanted):
            for number, value in enumerate(seconds):
                journal.append(record(cell, number, value, begun_s=begun[number], **changes))
    if derived:
        folder.write_tables()
    return path


def slowed(factor: float) -> list[float]:
    return [factor * value for value in TEN[::-1]]


def test_a_regression_ends_with_1_unless_it_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = run_folder(tmp_path / "base"), run_folder(tmp_path / "new", slowed(1.1))
    assert main(["compare", str(base), str(new)]) == exits.FOUND
    assert "slower, fails" in capsys.readouterr().out
    assert main(["compare", str(new), str(base)]) == exits.OK
    assert "faster" in capsys.readouterr().out
    for text in ("15%", "0.15", " 14.5 % ", "100%"):
        assert main(["compare", str(base), str(new), "--threshold", text, "--apart", "0"]) == exits.OK
    assert main(["compare", str(base), str(new), "--fail-on", "never"]) == exits.OK


def test_every_page_is_written_and_json_is_what_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"name": "mine", "import": "here:Mine", "stages": {"body": ["body"]}, "folder": str(tmp_path)}
    both = experiment(model=["basicvsr", own], measure={"rounds": 10})
    base, new = run_folder(tmp_path / "base", of=both), run_folder(tmp_path / "new", slowed(1.1), of=both)
    out = tmp_path / "out"
    options = ("--output", str(out), "--format", "json")
    assert main(["compare", str(base), str(new), *options]) == exits.FOUND
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.html", "comparison.json", "comparison.md", "junit.xml"
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert printed == (out / "comparison.json").read_text()
    cells = json.loads(printed)["comparisons"][0]["cells"]
    assert [(cell["model"], cell["cell"], cell["base_cell"], cell["verdict"]) for cell in cells] == [
        (name, f"{name}/noise/b1/t2/64x64/cpu", None, "slower") for name in ("basicvsr", "mine")
    ]
    assert len(ET.parse(out / "junit.xml").getroot().findall(".//failure")) == 2
    assert "| network " in (out / "comparison.md").read_text()


@pytest.mark.parametrize("later_s", [0.0, 1000.0])
def test_runs_apart_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], later_s: float
) -> None:
    a, b = in_turn(10)
    base = run_folder(tmp_path / "a", begun_s=a)
    new = run_folder(tmp_path / "b", TEN[::-1], begun_s=[at + later_s for at in b])
    assert main(["compare", str(base), str(new)]) == exits.OK
    assert ("not measured in turn" in " ".join(capsys.readouterr().out.split())) is bool(later_s)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["compare", *map(str, arguments)]) == exits.BAD_REQUEST
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    return line


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = run_folder(tmp_path / "base"), run_folder(tmp_path / "new")
    before = sorted(tmp_path.rglob("*"))
    for text in ("3", "", "three", "nan", "1e400", "0%", "101%", "٣%", "3%%"):
        assert "--threshold: should be a percentage" in refused(capsys, base, new, "--threshold", text)
    assert "--apart: should be a percentage" in refused(capsys, base, new, "--apart", "-1%")
    assert "did you mean 'slower'" in refused(capsys, base, new, "--fail-on", "slow")
    assert "did you mean 'device'" in refused(capsys, base, new, "--across", "devices")
    assert "named twice" in refused(capsys, base, base)
    assert "holds no run" in refused(capsys, base, tmp_path)
    assert "holds a run" in refused(capsys, base, new, "--output", new)
    assert sorted(tmp_path.rglob("*")) == before
    config = new / "config.yaml"
    config.write_text(config.read_text().replace("mid_channels: 8", "mid_channels: 16"))
    assert "begun with model.0.mid_channels" in refused(capsys, base, new)
    other = run_folder(tmp_path / "other", of=experiment(grid={"frames": [7]}, measure={"rounds": 10}))
    assert "has no cell in common with" in refused(capsys, base, other)


def test_a_table_that_lacks_lines_is_refused_until_it_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = run_folder(tmp_path / "base"), run_folder(tmp_path / "new")
    table = new / "samples.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert "samples.csv" in refused(capsys, base, new)
    RunFolder.open(new).write_tables()
    assert main(["compare", str(base), str(new)]) == exits.OK


def test_a_run_with_no_record_is_refused_and_one_that_is_not_whole_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = run_folder(tmp_path / "base"), run_folder(tmp_path / "new", TEN[::-1], derived=False)
    lines = (new / "journal.jsonl").read_text().splitlines(keepends=True)
    (new / "journal.jsonl").write_text("".join(lines[:7]) + lines[7][:100])
    assert main(["compare", str(base), str(new)]) == exits.OK
    assert "not whole: 3 of its rounds are missing" in " ".join(capsys.readouterr().out.split())
    (new / "journal.jsonl").write_text("")
    assert "its journal holds no record yet" in refused(capsys, base, new)
