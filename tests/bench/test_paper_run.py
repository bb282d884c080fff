"""The paper's experiments as a user meets them: runs, a folder that is gone on with, and the page.

The presets are stood in for by tiny ones of the same names, so that every run is real and none takes long.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from bench import cli
from bench.commands import paper as command
from bench.grid import presets
from bench.paper import page
from bench.paper.experiments import Edition, Request, Version
from bench.records import read_journal
from vsr_model.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "results" / "paper-quick-cpu"

PROGRAM = """
import sys
from pathlib import Path
import bench.grid.presets as presets
presets.folder = lambda: Path(sys.argv[1])
from bench.cli import main
sys.exit(main(sys.argv[2:]))
"""

WANTED = Request(figures=("headline",), version=Version.QUICK)


def go_on(folder: Path, wanted: Any = WANTED) -> command.Reproduced:
    def no_display(*_: Any) -> Any:
        raise AssertionError("nothing was to be measured")

    return command.reproduce(folder, wanted, no_display, lambda *_: None)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny_presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The presets with all that they say of how to measure, on a network and frames that take no time."""
    folder = tmp_path_factory.mktemp("presets")
    (folder / "paper").mkdir()
    for path in (presets.folder() / "paper").glob("*.yaml"):
        data = yaml.safe_load(path.read_text())
        data["model"] |= {"mid_channels": 4, "num_blocks": 1}
        data["grid"] = {"frames": [1, 2] if path.stem == "frames" else [2], "size": [[16, 16]]}
        measure = data["measure"]
        measure |= {"rounds": 1, "warmup": 1 if measure["warmup"] == "auto" else 0}
        if isinstance(measure["repetitions"], dict):
            measure["repetitions"] = {"min": 2, "max": 2}
        (folder / "paper" / path.name).write_text(yaml.safe_dump(data))
    return folder


def begun(folder: Path, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), "paper", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def finished(tiny_presets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Both methods of two figures, and what was printed."""
    cwd = tmp_path_factory.mktemp("finished")
    process = begun(tiny_presets, "--figures", "15, 16,17", "--output", "out", cwd=cwd)
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return cwd / "out", out, said


def test_runs_figures_claims_and_pages_are_there(finished):
    folder, out, said = finished
    made = {path.relative_to(folder).as_posix() for path in contents(folder)}
    drawn = ("figure-15", "figure-17-t2", "figure-17-t40")  # the paper's clip is longer
    figures = {f"figures/{name}.{end}" for name in drawn for end in ("png", "svg")}
    runs = {f"{edition}/{name}/journal.jsonl" for edition in Edition for name in ("frames", "memory")}
    assert made >= figures | runs | {"paper.json", "report.md", "report.html", "claims.csv"}
    assert "4 of 4 runs" in out
    assert "[1/4] corrected/frames" in said
    assert "[4/4] faithful/memory" in said
    assert set(pd.read_csv(folder / "claims.csv")["edition"]) == {"paper", "faithful", "corrected"}
    headings = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("## F")]
    assert [line[:12] for line in headings] == ["## Figure 15", "## Figure 16", "## Figure 17"]
    assert json.loads((folder / "paper.json").read_text()) == {
        "schema_version": 2,
        "methods": ["corrected", "faithful"],
        "figures": ["15", "16", "17"],
        "version": "full",
    }


def test_what_is_done_is_not_done_again_and_a_refuted_claim_is_an_exit_status(
    finished, tiny_presets, monkeypatch, capsys
):
    folder, _, _ = finished
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(presets, "folder", lambda: tiny_presets)
    before = contents(folder)
    assert cli.main(["paper", "--figures", "15,16,17", "--output", "out"]) == 0
    assert "4 of 4 runs" in capsys.readouterr().out
    assert contents(folder) == before
    claims = pd.read_csv(folder / "claims.csv")
    own = claims[(claims["edition"] == "corrected") & (claims["verdict"] == "refuted")]
    # 8a tells of what the corrected method leaves out.
    status = 1 if set(own["claim"]) - {"8a"} else 0
    assert cli.main(["paper", "--resume", "out", "--fail-on-refuted"]) == status


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--figures", "14", "--output", "out"], "out: holds the paper's experiments as asked for otherwise"),
        (["--quick", "--brief"], "--quick and --brief: give one of the two"),
        (
            ["--resume", "nothing"],
            "nothing: holds no reproduction of the course paper (there",
        ),
        (["--resume", "out", "--quick"], "--resume: method, figures and folder are those it began with"),
        (["--output", "out/corrected"], "out/corrected: is no empty folder"),
        (["--resume", "old"], "old/paper.json: schema version 9"),
        (["--resume", "taken"], "taken/figures: File exists"),
    ],
)
def test_a_wrong_request_is_one_sentence(finished, tiny_presets, arguments, said, monkeypatch, capsys):
    cwd = finished[0].parent
    (cwd / "old").mkdir(exist_ok=True)
    (cwd / "old" / "paper.json").write_text('{"schema_version": 9}')
    if not (cwd / "taken").exists():
        copytree(finished[0], cwd / "taken", ignore=ignore_patterns("figures"))
        (cwd / "taken" / "figures").touch()
    before = contents(cwd)
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(presets, "folder", lambda: tiny_presets)
    assert cli.main(["paper", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vsr-bench: {said}")
    assert error.count("\n") == 1
    assert contents(cwd) == before


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)],
    ids=lambda number: signal.Signals(number).name,
)
def test_an_interrupted_one_carries_on(tiny_presets, tmp_path, number, monkeypatch, capsys):
    process = begun(tiny_presets, "--figures", "14", "--output", "out", cwd=tmp_path)
    journal = tmp_path / "out" / "faithful" / "repetitions" / "journal.jsonl"
    deadline = time.monotonic() + 600
    while not journal.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, said = process.communicate(timeout=600)
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert "interrupted; the rest: vsr-bench paper --resume out" in out
        assert "runs are not done yet" in (tmp_path / "out" / "report.md").read_text()
    assert not psutil.wait_procs(children, timeout=600)[1]
    first = (tmp_path / "out" / "corrected" / "repetitions" / "journal.jsonl").read_bytes()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "folder", lambda: tiny_presets)
    assert cli.main(["paper", "--resume", "out"]) == 0
    out, said = capsys.readouterr()
    assert "2 of 2 runs" in out
    assert "corrected" not in said
    assert (tmp_path / "out" / "corrected" / "repetitions" / "journal.jsonl").read_bytes() == first
    records = read_journal(journal)
    assert len({record.cell for record in records}) == len(records) == 3


def test_the_committed_reproduction_is_what_its_runs_say(tmp_path):
    copytree(COMMITTED, tmp_path / "run", ignore=ignore_patterns("report.md", "claims.csv"))
    made = page.write(tmp_path / "run", command.asked(tmp_path / "run"))
    for name in ("report.md", "claims.csv"):
        assert (tmp_path / "run" / name).read_text() == (COMMITTED / name).read_text(), name
    # What the README says of it.
    claims = pd.read_csv(made.claims, keep_default_na=False)
    counts = claims[claims["form"] == "paper"]["verdict"].value_counts()
    told = f"{counts['supported']} of its claims hold in its own words, {counts['refuted']} do not, and "
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{told}{counts['cannot tell']} cannot be decided" in readme
    growth = claims[claims["claim"] == "8a"].set_index("edition")["verdict"]
    assert (growth["faithful"], growth["corrected"]) == ("supported", "refuted")


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed headline as it is done, on this machine, and the faithful one yet to be done."""
    folder = command.begin(tmp_path / "out", WANTED)
    copytree(COMMITTED / "corrected" / "headline", folder / "corrected" / "headline")
    described = json.loads((folder / "corrected" / "headline" / "environment.json").read_text())
    monkeypatch.setattr("bench.machine.environment.collect", lambda *_, **__: described)
    return folder


def test_only_one_process_makes_the_runs(half):
    with (half / "paper.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="out: another process is measuring there"):
            command.paper(resume=half)


def test_runs_of_another_machine_are_not_laid_beside_it(half):
    path = half / "corrected" / "headline" / "environment.json"
    path.write_text(path.read_text().replace('"cpu": "', '"cpu": "Another '))
    with pytest.raises(BadInput, match="corrected/headline: begun with another cpu"):
        go_on(half)
    assert not (half / "faithful").exists()


def test_what_was_killed_after_its_last_record_gets_its_tables(half):
    run = half / "corrected" / "headline"
    (run / "report.md").unlink()
    ended = go_on(half, Request(methods=(Edition.CORRECTED,), figures=("headline",), version=Version.QUICK))
    assert (ended.done, ended.interrupted) == (1, False)
    assert (run / "summary.csv").exists()
    assert (run / "report.md").exists()


def test_an_interrupt_while_a_run_begins_is_one_like_any_other(half, monkeypatch):
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.commands.lifecycle.preflight.ask", interrupt)
    ended = go_on(half)
    assert (ended.interrupted, ended.done) == (True, 1)
    assert not (half / "faithful").exists()
