"""vsr-bench ci, asked as on a command line: real repositories, and mostly times that are given."""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
import yaml

from bench import cli
from bench.commands import ci, exits, gate, in_turn
from bench.commands.gate import CI_NAME
from bench.comparison import runs as compare_run
from bench.comparison.comparison import Comparison, Verdict
from bench.grid.plan import Cell, Job
from bench.grid.spans import FORWARD
from bench.measure import preflight
from bench.messages import blank_record
from bench.process.runner import Observer, Run
from bench.records import JOURNAL_NAME, Pass, Phase, Sample, Status, read_journal
from bench.results.files import create_whole
from bench.results.run_folder import RunFolder
from tests.bench.revised import BASICVSR, ENLARGES, commit, git, with_networks
from tests.networks import STAGES
from vsr_model.errors import BadInput

ROUNDS = 6
FEW = 3

GATE = {
    "name": "gate",
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": {"name": "noise", "kind": "random"},
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": ["cpu"],
    "measure": {"warmup": 0, "repetitions": 3, "rounds": ROUNDS, "stages": "off", "memory": "off"},
    "plots": [],
}
CELL = "basicvsr/noise/b1/t1/16x16/cpu"

FAST = {**GATE, "measure": {**GATE["measure"], "repetitions": 1, "rounds": FEW}}
"""As GATE, where what is measured does not matter."""


INFO = preflight.NetworkInfo(title="BasicVSR", min_size=16, min_frames=1, arguments={})


@pytest.fixture
def lasts() -> dict[str, float]:
    """Seconds that each call of a side takes."""
    return {"base": 0.005, "head": 0.005}


class Sides:
    """Stands in for the workers of both sides: each round has its calls, and its output, at once."""

    def __init__(self, lasts: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
        self._lasts = lasts
        self._begun = count()
        self._left = 0
        for function in (gate.start, gate.resume):
            monkeypatch.setitem(function.__kwdefaults__, "launch", lambda _, network: nullcontext(network))
        monkeypatch.setattr(in_turn.preflight, "ask", self._ask)
        monkeypatch.setattr(in_turn, "execute", self._execute)

    def stop(self, after: int) -> None:
        """Have the user press Ctrl-C where so many answers and rounds have begun; 0: not at all."""
        self._left = after

    def _begin(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt

    def _ask(self, _launcher: object, cells: Sequence[Cell], **_: object) -> preflight.Answer:
        self._begin()
        devices = {cell.backend.name: "no CUDA here" for cell in cells if cell.backend.is_cuda}
        return preflight.Answer(networks={"basicvsr": INFO}, unavailable=devices, torch={"threads": 1})

    def _execute(self, jobs: Sequence[Job], run: Run, network: Any, observer: Observer) -> None:
        source = (network / "vsr_model" / f"{BASICVSR}.py").read_text()
        for job in jobs:
            self._begin()
            begun = datetime.fromtimestamp(1e9 + 10 * next(self._begun), UTC).isoformat()
            wall_s = self._lasts[network.name]
            samples = tuple(
                Sample(
                    pass_=Pass.END_TO_END, phase=Phase.STEADY, repetition=number, stage=FORWARD,
                    start_s=number * wall_s, wall_s=wall_s,
                )
                for number in range(run.experiment.measure.repetitions.max)
            )  # fmt: skip
            record = blank_record(job, Status.OK, "").model_copy(
                update={"samples": samples, "started_at": begun, "measured_s": 1.0, "stages": STAGES}
            )
            if "ArithmeticError" in source:
                record = blank_record(job, Status.ERROR, "by its own fault")
                record = record.model_copy(update={"started_at": begun})
            run.references.mkdir(exist_ok=True)
            output = np.full((1, 1, 3, 4, 4), 0.9 if "0.9 * lrs" in source else 1.0, dtype=np.float32)
            np.save(run.references / ("-".join(job.cell.clip_id) + ".npy"), output)
            run.keep(record)
            observer.job_ended(job, record)


@pytest.fixture
def sides(lasts: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Sides:
    return Sides(lasts, monkeypatch)


def ask(*arguments: str | Path) -> int:
    """The exit status of `vsr-bench ci` with these arguments. Raises what the command raises."""
    app = typer.Typer()
    app.command()(ci.ci)
    return int(app(args=[str(argument) for argument in arguments], standalone_mode=False) or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with grids."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, grid in (("gate", GATE), ("fast", FAST)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(grid))
    return folder


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A commit for each text: base, of other words or outputs, and two broken ones."""
    folder = tmp_path_factory.mktemp("revisions") / "repository"
    texts = {
        "base": ENLARGES,
        "slower": f"{ENLARGES}\n# Other words.\n",
        "same": f"{ENLARGES}\n# Nothing but words.\n",
        "broken": "\nfrom vsr_model.layers import what_is_not_there\n",
        "other": ENLARGES.replace("return lrs", "return 0.9 * lrs"),
        "failing": ENLARGES.replace("return", "raise ArithmeticError('by its own fault')\n    return", 1),
    }
    commits = with_networks(folder, *texts.values())
    for name, found in zip(texts, commits, strict=True):
        git(folder, "tag", name, found)
    git(folder, "rm", "--quiet", "vsr_model/network.py")
    git(folder, "tag", "old", commit(folder))
    return folder


def pages(folder: Path) -> dict[str, str]:
    names = ("comment.md", "comparison.html", "comparison.md", "comparison.json", "junit.xml")
    return {name: (folder / name).read_text() for name in names}


def began(folder: Path) -> list[tuple[str, str, int]]:
    """When each round of both sides began, its side and its number, in order."""
    return sorted(
        (record.started_at, side, record.round)
        for side in ("base", "head")
        for record in read_journal(folder / side / JOURNAL_NAME)
    )


def test_two_revisions_by_real_workers(revisions, here):
    out = here / "out"  # in full, as the servers are in another folder
    status = ask(here.parent / "fast.yaml", "--base", "base", "--head", "other", "--repository", revisions,
                 "--fail-on", "never", "--output", out)  # fmt: skip
    assert status == exits.OK
    turns = [f"{side}{number}" for _, side, number in began(out)]
    assert turns == ["base0", "head0", "head1", "base1", "base2", "head2"]
    assert "The two sides do not give the same output" in (out / "comment.md").read_text()
    assert git(revisions, "status", "--porcelain") == ""


@pytest.mark.usefixtures("sides")
def test_a_slower_head_is_told(revisions, here, capsys, lasts):
    lasts["head"] = 0.2
    status = ask(here.parent / "gate.yaml", "--base", "base", "--head", "slower", "--repository", revisions,
                 "--output", "out")  # fmt: skip
    assert status == exits.FOUND
    said = capsys.readouterr()
    assert "something fails: its cells are measured anew" in said.err
    said_in_one_line = " ".join(said.out.split())
    assert (
        f"1 cell was measured anew for failing at the first look. Failed again: {CELL}." in said_in_one_line
    )

    out = here / "out"
    for place in (out, out / "second"):
        turns = [f"{side}{number}" for _, side, number in began(place)]
        assert turns[:6] == ["base0", "head0", "head1", "base1", "base2", "head2"]
        assert len(turns) == 2 * ROUNDS
    request = json.loads((out / "ci.json").read_text())
    for side, name in (("base", "base"), ("head", "slower")):
        assert request[side]["asked"] == name
        for place in (out, out / "second"):
            code = RunFolder.open(place / side).code
            assert code is not None
            assert code.git_commit == request[side]["commit"] == git(revisions, "rev-parse", name)

    made = pages(out)
    assert made["comment.md"].startswith("<!-- vsr-bench ci -->\n## Benchmark: 1 of 1 cell")
    assert "measured anew" in made["comment.md"]
    (found,) = json.loads(made["comparison.json"])["comparisons"]
    (cell,) = found["cells"]
    assert cell["verdict"] == "slower"
    assert cell["change"]["method"] == "pairs"
    assert ElementTree.fromstring(made["junit.xml"]).find(".//failure") is not None


@pytest.mark.usefixtures("sides")
def test_a_revision_with_itself(revisions, here, monkeypatch, capsys):
    """Asked where the repository is, with all that can be left out left out."""
    monkeypatch.chdir(revisions)
    git(revisions, "checkout", "--quiet", "same")
    status = ask(here.parent / "fast.yaml", "--base", "HEAD", "--output", here / "out")
    assert status == exits.OK
    said = capsys.readouterr()
    assert "base and head have the same vsr_model: this compares a network with itself" in said.err
    comment = (here / "out" / "comment.md").read_text()
    assert "Both sides have the same vsr_model." in comment
    assert "\nThe smallest slowdown that 95 of 100 such comparisons would tell is 3.0 %." in comment
    assert said.err.splitlines()[0] == "base and head are being loaded"
    assert said.err.splitlines()[2].startswith(f"1/{2 * FEW}  base {CELL}  ok")
    codes = {RunFolder.open(here / "out" / side).code for side in ("base", "head")}
    assert len(codes) == 1
    assert git(revisions, "status", "--porcelain") == ""


@pytest.mark.usefixtures("sides")
def test_a_head_that_answers_otherwise_is_told(revisions, here):
    arguments = (here.parent / "fast.yaml", "--base", "base", "--repository", revisions)
    out, same = here / "out", here / "same"
    assert ask(*arguments, "--head", "other", "--output", out) == exits.OK
    said = "The two sides do not give the same output"
    assert said in (out / "comment.md").read_text()
    assert ask(*arguments, "--head", "same", "--output", same) == exits.OK
    assert said not in (same / "comment.md").read_text()


@pytest.mark.usefixtures("sides")
def test_files_that_are_not_committed(revisions, here, monkeypatch, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(revisions), str(clone))
    git(clone, "checkout", "--quiet", "base")
    changed = clone / "vsr_model" / f"{BASICVSR}.py"
    changed.write_text(changed.read_text() + "\n# Not yet.\n")
    arguments = (here.parent / "fast.yaml", "--base", "HEAD", "--head", ".", "--repository", clone)
    assert ask(*arguments, "--output", "out") == exits.OK
    base, head = (RunFolder.open(here / "out" / side).code for side in ("base", "head"))
    assert base is not None
    assert head is not None
    assert base.git_commit == head.git_commit == git(clone, "rev-parse", "HEAD")
    assert (base.dirty, head.dirty) == (False, True)
    assert base.source_sha256 != head.source_sha256

    with pytest.raises(BadInput, match=r"out: holds a comparison of revisions already; .* by --resume out"):
        ask(*arguments, "--output", "out")
    with pytest.raises(BadInput, match=r"out/base: holds a run, which is no comparison .*; name another fol"):
        ask(*arguments, "--output", "out/base")

    # Gone on with, it is refused once the files are others.
    changed.write_text(changed.read_text() + "\n# Other words.\n")
    lose_the_last_round(here / "out" / "head")
    with pytest.raises(BadInput, match=r"/head: begun with other code"):
        ask("--resume", "out", "--repository", clone)


def lose_the_last_round(folder: Path) -> None:
    journal = folder / JOURNAL_NAME
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.usefixtures("sides")
def test_a_head_that_fails_where_base_does_not(revisions, here, capsys):
    arguments = (here.parent / "fast.yaml", "--repository", revisions)
    assert ask(*arguments, "--base", "base", "--head", "failing", "--output", "worse") == exits.FOUND
    assert "by its own fault" in (here / "worse" / "comment.md").read_text()
    assert (here / "worse" / "second" / "head" / JOURNAL_NAME).exists()
    assert ask(*arguments, "--base", "failing", "--head", "base", "--output", "mended") == exits.OK
    both = ("--base", "failing", "--head", "failing", "--output", "both")
    assert ask(*arguments, *both) == exits.SOME_FAILED


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "ImportError: cannot import name 'what_is_not_there'"),
        ("old", "it has no vsr_model.network, by which networks are measured: "),
    ],
)
def test_a_revision_that_this_program_cannot_use(revisions, here, capsys, name, said):
    options = ("--repository", str(revisions), "--base", name, "--head", "base")
    assert cli.main(["ci", str(here.parent / "fast.yaml"), *options]) == exits.BAD_REQUEST
    commit = git(revisions, "rev-parse", "--short=12", name)
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(
        f"vsr-bench: --base {name} ({commit}): its vsr_model cannot be measured by this program ({said}"
    )
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs --base, the revision to compare with"),
        (["--base", "nonesuch"], "--base 'nonesuch': no revision of"),
        (["--base", "base", "--head", "nonesuch"], "--head 'nonesuch': no revision of"),
        (["--base", "base", "--repository", "nowhere"], "--repository nowhere: is no folder"),
        (["--base", "base", "--repository", "/"], "/: holds no git repository"),
        (["--base", "base", "--threshold", "3"], "--threshold: should be a percentage"),
        (["--base", "base", "--memory-threshold", "0"], "--memory-threshold: should be a percentage"),
        (["--base", "base", "--fail-on", "slow"], "--fail-on: 'slow' is none of"),
        (["--base", "base", "--variant", "gpu"], "no variant 'gpu'"),
        (["--base", "base", "--filter", "backend=cuda"], "--filter backend=cuda: "),
        (["--base", "base", "--set", "measure.round=3"], "round"),
        (["--base", "base", "--set", "measure.rounds=2"],
         "measure.rounds: is 2; a gate has an interval, and so a verdict, from 3 rounds on, and one without "
         "an assumption from 6 on: give more"),
        (["--base", "base", "--output", ".."], "is not empty"),
        (["--base", "base", "--set", "backends=[{name: far, from: cudnn, device: 'cuda:99'}]"],
         "none of the 1 cells can be measured here: no "),
        (["--resume", "nowhere"], "nowhere: holds no comparison of revisions (there is no ci.json in it)"),
        (["--resume", "nowhere", "--set", "plots=[]"], "--resume: all but --repository is as it began"),
        (["--resume", "nowhere", "--threshold", "3%"], "--resume: all but --repository is as it began"),
        (["--resume", "nowhere", "--once"], "--resume: all but --repository is as it began; give nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_writes_nothing(revisions, here, arguments, said):
    source = [] if "--resume" in arguments else [here.parent / "fast.yaml"]
    place = [] if "--repository" in arguments else ["--repository", revisions]
    with pytest.raises(BadInput) as caught:
        ask(*source, *place, *arguments)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list(here.iterdir()) == []


def test_the_preset_and_the_usual_limits_are_taken_if_nothing_is_said(revisions, here, monkeypatch):
    asked: list[Any] = []

    def start(request: Any, experiment: Any, *_: Any, output: Path | None) -> gate.Found:
        asked.append((request, experiment.name, output))
        return gate.Found(folder=Path("ci"), request=request)

    monkeypatch.setattr(gate, "start", start)
    assert ask("--base", "base", "--repository", revisions) == exits.INTERRUPTED
    ((request, name, output),) = asked
    assert (name, output, request.head.asked) == ("ci", None, "HEAD")
    assert (request.limits.threshold, request.limits.memory_threshold) == (0.03, 0.1)
    assert request.second_look
    options = ("--variant", "cpu", "--once", "--threshold", "5%", "--fail-on", "never")
    assert ask("--base", "base", "--repository", revisions, *options) == exits.INTERRUPTED
    request, name, _ = asked[1]
    assert (name, request.limits.threshold) == ("ci-cpu", 0.05)
    assert (request.second_look, request.fail_on) == (False, ())


# Interrupted, and gone on with.


PREFLIGHTS = 2  # of both sides


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_an_interrupt_keeps_what_is_done(revisions, here, sides, capsys, rounds):
    sides.stop(PREFLIGHTS + rounds + 1)
    arguments = (here.parent / "fast.yaml", "--repository", revisions)
    status = ask(*arguments, "--base", "base", "--head", "failing", "--output", "out")
    assert status == exits.INTERRUPTED
    assert capsys.readouterr().out.endswith("interrupted; the rest: vsr-bench ci --resume out\n")
    assert len(began(here / "out")) == rounds
    assert not (here / "out" / "comment.md").exists()
    before = began(here / "out")

    sides.stop(0)
    assert ask("--resume", "out", "--repository", revisions) == exits.FOUND
    assert began(here / "out")[:rounds] == before
    turns = [f"{side}{number}" for _, side, number in began(here / "out")]
    assert turns == ["base0", "head0", "head1", "base1", "base2", "head2"]
    assert (here / "out" / "comment.md").exists()


def test_an_interrupt_before_the_first_round_says_that_nothing_was_measured(revisions, here, sides, capsys):
    arguments = (here.parent / "fast.yaml", "--repository", revisions, "--base", "base", "--head", "same")
    sides.stop(1)
    assert ask(*arguments, "--output", "out") == exits.INTERRUPTED
    assert capsys.readouterr().out == "interrupted before anything was measured; nothing is kept\n"
    assert list(here.iterdir()) == []

    sides.stop(PREFLIGHTS + 2)
    assert ask(*arguments, "--output", "out") == exits.INTERRUPTED
    capsys.readouterr()
    sides.stop(1)
    assert ask("--resume", "out", "--repository", revisions) == exits.INTERRUPTED
    assert capsys.readouterr().out == (
        "interrupted before anything more was measured; the rest: vsr-bench ci --resume out\n"
    )
    assert len(began(here / "out")) == 1


def test_an_interrupt_in_the_second_look(revisions, here, sides):
    sides.stop(PREFLIGHTS + 2 * FEW + 2)
    arguments = (here.parent / "fast.yaml", "--repository", revisions)
    status = ask(*arguments, "--base", "base", "--head", "failing", "--output", "out")
    assert status == exits.INTERRUPTED
    assert len(began(here / "out" / "second")) == 1
    sides.stop(0)
    assert ask("--resume", "out", "--repository", revisions) == exits.FOUND
    assert len(began(here / "out" / "second")) == 2 * FEW
    made = pages(here / "out")
    assert ask("--resume", "out", "--repository", revisions) == exits.FOUND  # nothing is left to measure
    assert pages(here / "out") == made


@pytest.mark.usefixtures("sides")
def test_the_second_look_is_one_at_all_the_cells_that_are_asked_about(revisions, here, monkeypatch):
    own, families = compare_run.compare, []

    def compare(*given: Any, family: int, **more: Any) -> list[Comparison]:
        families.append(family)
        return own(*given, family=family, **more)

    monkeypatch.setattr(compare_run, "compare", compare)
    arguments = (here.parent / "fast.yaml", "--set", "grid.frames=[1, 2]", "--repository", revisions)
    assert ask(*arguments, "--base", "base", "--head", "failing", "--output", "out") == exits.FOUND
    assert families == [0, 2]


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(
    ("fields", "fail_on", "status"),
    [
        ({"verdict": Verdict.MISSING, "change": None}, "slower", exits.SOME_FAILED),
        ({"verdict": Verdict.UNCLEAR, "change": None}, "never", exits.SOME_FAILED),
        ({"verdict": Verdict.UNCLEAR, "change": None}, "any", exits.FOUND),
        ({"verdict": Verdict.UNCLEAR}, "slower", exits.OK),  # its interval is something
    ],
)
def test_where_nothing_is_known_of_any_cell_it_is_not_passed(
    revisions, here, monkeypatch, capsys, fields, fail_on, status
):
    own = compare_run.compare

    def compare(*given: Any, **more: Any) -> list[Comparison]:
        (found,) = own(*given, **more)
        return [replace(found, cells=tuple(replace(cell, why="so", **fields) for cell in found.cells))]

    monkeypatch.setattr(compare_run, "compare", compare)
    arguments = (here.parent / "fast.yaml", "--repository", revisions, "--base", "base", "--head", "same")
    assert ask(*arguments, "--fail-on", fail_on, "--output", "out") == status
    said = "Nothing is known of any cell, a regression as little as its absence ("
    for text in ((here / "out" / "comment.md").read_text(), " ".join(capsys.readouterr().out.split())):
        assert (said in text) is (status != exits.OK)


@pytest.mark.usefixtures("sides")
def test_going_on_elsewhere(revisions, here, tmp_path):
    arguments = (here.parent / "fast.yaml", "--repository", revisions)
    assert ask(*arguments, "--base", "base", "--head", "same", "--output", "out") == exits.OK
    lose_the_last_round(here / "out" / "head")
    with pytest.raises(BadInput, match="holds no git repository"):
        ask("--resume", "out", "--repository", "/")
    for change, said in (
        (
            {"head": {"asked": "same", "commit": git(revisions, "rev-parse", "slower")}},
            "/head: begun with other code",
        ),
        ({"head": {"asked": "same", "commit": "0" * 40}}, "--head same (000000000000): cannot be read "),
        ({"schema_version": 99}, "schema version 99"),
        ({"fail_on": ["slow"]}, "ci.json: fail_on.0: "),
        ({"head": None}, "ci.json: head: "),
    ):
        path = here / "out" / "ci.json"
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), **change}))
        with pytest.raises(BadInput) as caught:
            ask("--resume", "out", "--repository", revisions)
        assert said in str(caught.value)
        path.write_text(before)
    assert ask("--resume", "out", "--repository", revisions) == exits.OK


@pytest.mark.usefixtures("sides")
def test_a_folder_that_cannot_be_filled_is_removed_again(revisions, here, monkeypatch):
    def refuse(path: Path, text: str) -> None:
        if path.name == CI_NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_whole(path, text)

    monkeypatch.setattr("bench.commands.requests.create_whole", refuse)
    arguments = (here.parent / "fast.yaml", "--repository", revisions, "--base", "base", "--head", "same")
    with pytest.raises(BadInput, match=r"deep/out: cannot be written to \(No space left on device\)"):
        ask(*arguments, "--output", "deep/out")
    assert list(here.iterdir()) == []
