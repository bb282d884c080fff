"""The paper's experiments as a user meets them: processes, a folder that is gone on with, and the page.

The presets are stood in for by tiny ones of the same names, so that every run is real and none takes long.
"""

import errno
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

from bench import cli, paper_run
from bench.commands import paper as command
from bench.grid import presets
from bench.messages import RunStoppedError
from bench.paper import folder as folders
from bench.paper import page as pages
from bench.paper.experiments import EXPERIMENTS, Edition, Version, request
from bench.paper.method import FAULTS
from bench.records import Status, read_journal
from vsr_model.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
from pathlib import Path
import bench.grid.presets as presets
presets.folder = lambda: Path(sys.argv[1])
from bench.cli import main
sys.exit(main(sys.argv[2:]))
"""


WANTED = request(figures=["headline"], version=Version.QUICK)


def no_display(*_: Any) -> Any:
    raise AssertionError("nothing was to be measured")


def tiny(name: str) -> dict[str, Any]:
    """A preset with all that it says of how to measure, on a network and frames that take no time."""
    data: dict[str, Any] = yaml.safe_load((presets.folder() / f"{name}.yaml").read_text())
    data["model"] |= {"mid_channels": 4, "num_blocks": 1}
    data["grid"] = {"frames": [1, 2] if "frames" in name or "faults" in name else [2], "size": [[16, 16]]}
    measure = data["measure"]
    measure |= {"rounds": 1, "warmup": min(1, measure["warmup"]) if measure["warmup"] != "auto" else 1}
    if isinstance(measure["repetitions"], dict):
        measure["repetitions"] = {"min": 2, "max": 2}
    data.get("variants", {}).pop("quick", None)
    return data


@pytest.fixture(scope="session")
def tiny_presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    for name in (*(f"paper/{name}" for name in EXPERIMENTS), *(f"paper/faults/{name}" for name in FAULTS)):
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(tiny(name)))
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


def done(folder: Path, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = begun(folder, *arguments, cwd=cwd)
    out, said = process.communicate(timeout=600)
    return process.returncode, out, said


@pytest.fixture(scope="module")
def finished(tiny_presets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Both methods of two figures, and what was printed."""
    cwd = tmp_path_factory.mktemp("finished")
    status, out, said = done(tiny_presets, "--figures", "15, 16,17", "--output", "out", cwd=cwd)
    assert status == 0, said
    return cwd / "out", out, said


def test_runs_figures_claims_and_pages_are_there(finished: tuple[Path, str, str]) -> None:
    folder, out, said = finished
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    drawn = ("figure-15", "figure-17-t2", "figure-17-t40")  # the paper's clip is longer
    figures = {f"figures/{name}.{end}" for name in drawn for end in ("png", "svg")}
    assert made >= figures | {"paper.json", "report.md", "report.html", "claims.csv"}
    runs = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("journal.jsonl")}
    assert runs == {f"{edition}/{name}" for edition in Edition for name in ("frames", "memory")}
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


def test_what_is_done_is_not_done_again(tiny_presets: Path, finished: tuple[Path, str, str]) -> None:
    folder, _, _ = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, out, said = done(tiny_presets, "--figures", "15,16,17", "--output", "out", cwd=folder.parent)
    assert (status, said) == (0, "")
    assert "4 of 4 runs" in out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--figures", "14", "--output", "out"], "out: holds the paper's experiments as asked for otherwise"),
        (["--figures", "20"], "--figures: no '20'"),
        (["--figures", ""], "--figures: no ''"),
        (["--resume", "nothing"], "nothing: holds none of the paper's experiments"),
        (["--resume", "out", "--quick"], "--resume: method, figures and folder are those it began with"),
        (["--output", "out/corrected"], "out/corrected: is no empty folder"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    finished: tuple[Path, str, str],
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cwd = finished[0].parent
    before = sorted(cwd.rglob("*"))
    monkeypatch.chdir(cwd)
    assert cli.main(["paper", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"vsr-bench: {said}")
    assert error.count("\n") == 1
    assert sorted(cwd.rglob("*")) == before


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"schema_version": 9}', '{"schema_version": 2, "version": 1}']
)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "paper.json").write_text(damage)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "--resume", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vsr-bench: out/paper.json: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)],
    ids=lambda number: signal.Signals(number).name,
)
def test_an_interrupted_one_carries_on(tiny_presets: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = begun(tiny_presets, "--figures", "14", "--output", "out", cwd=tmp_path)
    journal = tmp_path / "out" / "faithful" / "repetitions" / "journal.jsonl"
    deadline = time.monotonic() + 600
    while not journal.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, _ = process.communicate(timeout=600)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; the rest: vsr-bench paper --resume out" in out
        assert "runs are not done yet" in (tmp_path / "out" / "report.md").read_text()
    assert not psutil.wait_procs(children, timeout=600)[1]
    first = (tmp_path / "out" / "corrected" / "repetitions" / "journal.jsonl").read_bytes()

    status, out, said = done(tiny_presets, "--resume", "out", cwd=tmp_path)
    assert status == 0, said
    assert "2 of 2 runs" in out
    assert "corrected" not in said
    assert (tmp_path / "out" / "corrected" / "repetitions" / "journal.jsonl").read_bytes() == first
    records = read_journal(journal)
    assert len({(record.cell, record.round) for record in records}) == len(records) == 3
    assert {record.status for record in records} <= {Status.OK, Status.SKIPPED}


def test_a_refuted_claim_is_an_exit_status_where_that_is_asked_for(
    tiny_presets: Path, finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    copytree(finished[0], tmp_path / "out")
    status, _, _ = done(tiny_presets, "--resume", "out", "--fail-on-refuted", cwd=tmp_path)
    claims = pd.read_csv(tmp_path / "out" / "claims.csv")
    own = claims[(claims["edition"] == "corrected") & (claims["verdict"] == "refuted")]
    # 8a tells of what the corrected method leaves out.
    assert status == (1 if set(own["claim"]) - {"8a"} else 0)


def test_a_place_that_is_taken_is_one_sentence(
    tiny_presets: Path, finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    copytree(finished[0], tmp_path / "out", ignore=ignore_patterns("figures"))
    (tmp_path / "out" / "figures").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, _, said = done(tiny_presets, "--resume", "out", cwd=tmp_path)
    again = "what is done is kept: vsr-bench paper --resume out"
    assert (status, said) == (2, f"vsr-bench: out/figures: File exists; {again}\n")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def refused(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *(() if path is None else (path,)))


def of_run(error: Exception, number: int) -> Exception:
    """Return a run's error for what the system refused."""
    error.__cause__ = refused(number)
    return error


OF_ONE_RUN = "; what is done is kept, and the rest is for vsr-bench run --resume a"
AGAIN = "; what is done is kept: vsr-bench paper --resume out"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (refused(errno.EROFS, "out/figures"), 2, f"out/figures: Read-only file system{AGAIN}"),
        (refused(errno.ENOSPC), 70, f"out: No space left on device{AGAIN}"),
        (OSError("no number"), 70, f"out: no number{AGAIN}"),
        # A run's own way to go on would do that run alone.
        (of_run(RunStoppedError(f"a;b: full{OF_ONE_RUN}"), errno.ENOSPC), 70, f"a;b: full{AGAIN}"),
        (of_run(BadInput("a: cannot be made"), errno.EACCES), 2, f"a: cannot be made{AGAIN}"),
        (BadInput("a run: begun with another cpu"), 2, "a run: begun with another cpu"),
    ],
    ids=lambda value: value if isinstance(value, str | int) else "",
)
@pytest.mark.parametrize("place", [(paper_run, "reproduce"), (pages, "write")], ids=["runs", "page"])
def test_an_error_says_how_to_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: tuple[Any, str],
    error: Exception,
    status: int,
    said: str,
) -> None:
    def end(*_: Any) -> Any:
        raise error

    monkeypatch.chdir(tmp_path)
    folders.begin(Path("out"), WANTED)
    monkeypatch.setattr(paper_run, "reproduce", lambda *_: None)
    monkeypatch.setattr(*place, end)
    assert cli.main(["paper", "--resume", "out"]) == status
    assert capsys.readouterr().err == f"vsr-bench: {said}\n"


def test_an_output_that_nobody_reads_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> Any:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(paper_run, "reproduce", end)
    with pytest.raises(BrokenPipeError):
        command.paper(resume=folders.begin(tmp_path / "out", WANTED))


def test_the_committed_reproduction_is_what_its_runs_say(tmp_path: Path) -> None:
    committed = ROOT / "results" / "paper-quick-cpu"
    copytree(committed, tmp_path / "run")
    for name in ("report.md", "claims.csv"):
        (tmp_path / "run" / name).unlink()
    wanted = folders.read_request(tmp_path / "run")
    page = pages.write(tmp_path / "run", wanted)
    assert wanted.version == "quick"
    for name in ("report.md", "claims.csv"):
        assert (tmp_path / "run" / name).read_text() == (committed / name).read_text(), name
    # What the README says of it.
    claims = pd.read_csv(page.claims, keep_default_na=False)
    counts = claims[claims["form"] == "paper"]["verdict"].value_counts()
    told = f"{counts['supported']} of its claims hold in its own words, {counts['refuted']} do not, and "
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{told}{counts['cannot tell']} cannot be told" in readme
    growth = {row["edition"]: row["verdict"] for _, row in claims[claims["claim"] == "8a"].iterrows()}
    assert growth == {"paper": "supported", "faithful": "supported", "corrected": "refuted"}


class TestGoingOn:
    """What stands between a begun folder and the rest of its runs. Nothing is measured."""

    @pytest.fixture
    def begun(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The committed headline as it is done, on this machine, and the faithful one yet to be done."""
        folder = folders.begin(tmp_path / "out", WANTED)
        committed = ROOT / "results" / "paper-quick-cpu" / "corrected" / "headline"
        copytree(committed, folder / "corrected" / "headline")
        described = json.loads((committed / "environment.json").read_text())
        monkeypatch.setattr("bench.machine.environment.collect", lambda *_, **__: described)
        return folder

    def test_what_a_journal_holds_is_not_removed(self, begun: Path) -> None:
        run = begun / "corrected" / "headline"
        (run / "run.json").unlink()
        before = sorted(run.iterdir())
        with pytest.raises(BadInput, match=r"corrected/headline: holds no run that can be gone on with"):
            paper_run.reproduce(begun, WANTED, no_display, lambda *_: None)
        assert sorted(run.iterdir()) == before

    def test_only_one_process_makes_the_runs(self, begun: Path) -> None:
        with (begun / "paper.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(BadInput, match="out: another process is measuring there"):
                command.paper(resume=begun)

    @pytest.mark.parametrize(
        ("name", "was", "becomes", "said"),
        [
            ("environment.json", '"cpu": "', '"cpu": "Another ', "begun with another cpu"),
            ("run.json", '"source_sha256": "', '"source_sha256": "0', "begun with other code"),
            ("config.yaml", "num_blocks: 30", "num_blocks: 29", "begun with model.0.num_blocks: 30"),
        ],
    )
    def test_another_machines_runs_are_not_laid_beside_those_that_are_there(
        self, begun: Path, name: str, was: str, becomes: str, said: str
    ) -> None:
        """Whatever its allocator, which the methods differ in."""
        run = begun / "corrected" / "headline"
        text = (run / name).read_text()
        assert was in text
        (run / name).write_text(text.replace(was, becomes))
        with pytest.raises(BadInput, match=f"corrected/headline: {said}"):
            paper_run.reproduce(begun, WANTED, no_display, lambda *_: None)
        assert not (begun / "faithful").exists()

    @pytest.mark.parametrize("kept", ["notes.txt", "cells.csv"])
    def test_what_is_someones_is_not_removed(self, begun: Path, kept: str) -> None:
        (begun / "faithful" / "headline").mkdir(parents=True)
        for name in ("config.yaml", kept):
            (begun / "faithful" / "headline" / name).touch()
        with pytest.raises(BadInput, match="faithful/headline: holds no run that can be gone on with"):
            paper_run.reproduce(begun, WANTED, no_display, lambda *_: None)
        assert (begun / "faithful" / "headline" / kept).exists()

    def test_what_was_killed_after_its_last_record_gets_its_tables(self, begun: Path) -> None:
        wanted = request([Edition.CORRECTED], ["headline"], Version.QUICK)
        run = begun / "corrected" / "headline"
        (run / "report.md").unlink()
        (run / ".references").mkdir()
        ended = paper_run.reproduce(begun, wanted, no_display, lambda *_: None)
        assert (ended.done, ended.interrupted) == (1, False)
        assert (run / "summary.csv").exists()
        assert (run / "report.md").exists()
        assert not (run / ".references").exists()

    def test_an_interrupt_while_a_run_begins_is_one_like_any_other(
        self, begun: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr("bench.commands.lifecycle.preflight.ask", interrupt)
        ended = paper_run.reproduce(begun, WANTED, no_display, lambda *_: None)
        assert (ended.interrupted, ended.done, ended.planned) == (True, 1, 2)
        assert not (begun / "faithful").exists()
