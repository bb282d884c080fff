"""vsr-bench ci, asked as on a command line: real repositories, and mostly times that are given."""

import errno
import json
import os
from collections.abc import Callable, Sequence
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

ROUNDS = 3
PREFLIGHTS = 2  # of both sides
CELL = "basicvsr/noise/b1/t1/16x16/cpu"
GRID = {
    "name": "gate",
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": {"name": "noise", "kind": "random"},
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": ["cpu"],
    "measure": {"warmup": 0, "repetitions": 1, "rounds": ROUNDS, "stages": "off", "memory": "off"},
    "plots": [],
}
TURNS = ["base0", "head0", "head1", "base1", "base2", "head2"]
INFO = preflight.NetworkInfo(title="BasicVSR", min_size=16, min_frames=1, arguments={})

Ask = Callable[..., int]


class Sides:
    """Stands in for the workers of both sides: each round has its calls, and its output, at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = {"base": 0.005, "head": 0.005}  # seconds of each call
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
            sample = Sample(
                pass_=Pass.END_TO_END, phase=Phase.STEADY, repetition=0, stage=FORWARD, start_s=0.0,
                wall_s=self.lasts[network.name],
            )  # fmt: skip
            known: dict[str, Any] = {"started_at": begun}
            if "ArithmeticError" in source:
                record = blank_record(job, Status.ERROR, "by its own fault")
            else:
                record = blank_record(job, Status.OK, "")
                known |= {"samples": (sample,), "measured_s": 1.0, "stages": STAGES}
            record = record.model_copy(update=known)
            run.references.mkdir(exist_ok=True)
            output = np.full((1, 1, 3, 4, 4), 0.9 if "0.9 * lrs" in source else 1.0, dtype=np.float32)
            np.save(run.references / ("-".join(job.cell.clip_id) + ".npy"), output)
            run.keep(record)
            observer.job_ended(job, record)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> Sides:
    return Sides(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, beside a grid."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    return folder


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a tag for each of some networks; those of `broken` and `old` cannot be used."""
    folder = tmp_path_factory.mktemp("revisions") / "repository"
    texts = {
        "base": ENLARGES,
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


@pytest.fixture
def ask(revisions: Path, here: Path) -> Ask:
    """The exit status of `vsr-bench ci` with these arguments, and a grid and a repository if none is given.

    Raises what the command raises.
    """

    def answer(*arguments: str | Path) -> int:
        app = typer.Typer()
        app.command()(ci.ci)
        source = [] if "--resume" in arguments else [here.parent / "grid.yaml"]
        place = [] if "--repository" in arguments else ["--repository", revisions]
        given = [str(argument) for argument in (*source, *place, *arguments)]
        return int(app(args=given, standalone_mode=False) or 0)

    return answer


def pages(folder: Path) -> dict[str, str]:
    names = ("comment.md", "comparison.html", "comparison.md", "comparison.json", "junit.xml")
    return {name: (folder / name).read_text() for name in names}


def turns(folder: Path) -> list[str]:
    """The rounds of both sides in the order in which they began: `base0`."""
    begun = [
        (record.started_at, f"{side}{record.round}")
        for side in ("base", "head")
        for record in read_journal(folder / side / JOURNAL_NAME)
    ]
    return [name for _, name in sorted(begun)]


def lose_the_last_round(folder: Path) -> None:
    journal = folder / JOURNAL_NAME
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))


def test_two_revisions_by_real_workers(ask, revisions, here):
    out = here / "out"
    assert ask("--base", "base", "--head", "other", "--fail-on", "never", "--output", out) == exits.OK
    assert turns(out) == TURNS
    assert "The two sides do not give the same output" in (out / "comment.md").read_text()
    assert git(revisions, "status", "--porcelain") == ""


def test_a_slower_head_is_measured_twice_and_fails(ask, revisions, here, sides, capsys):
    sides.lasts["head"] = 0.2
    assert ask("--base", "base", "--head", "same", "--output", "out") == exits.FOUND
    said = capsys.readouterr()
    assert "something fails: its cells are measured anew" in said.err
    second = (
        "1 cell was measured anew for failing at the first look. Failed again (figures of the second look): "
        f"{CELL}."
    )
    assert second in " ".join(said.out.split())

    out = here / "out"
    request = json.loads((out / "ci.json").read_text())
    for place in (out, out / "second"):
        assert turns(place) == TURNS
        for side, name in (("base", "base"), ("head", "same")):
            code = RunFolder.open(place / side).code
            assert code is not None
            assert code.git_commit == request[side]["commit"] == git(revisions, "rev-parse", name)
    made = pages(out)
    assert made["comment.md"].startswith(f"## Benchmark: 1 of 1 cell fails\n\n{second}")
    assert "<details>" in made["comparison.md"]
    assert "<details>" not in made["comment.md"]
    (found,) = json.loads(made["comparison.json"])["comparisons"]
    assert [(cell["verdict"], cell["change"]["method"]) for cell in found["cells"]] == [
        ("slower", "pairs, Student's t")
    ]
    assert ElementTree.fromstring(made["junit.xml"]).find(".//failure") is not None


@pytest.mark.usefixtures("sides")
def test_a_revision_with_itself(ask, revisions, here, monkeypatch, capsys):
    monkeypatch.chdir(revisions)
    git(revisions, "checkout", "--quiet", "same")
    assert ask("--base", "HEAD", "--repository", ".", "--output", here / "out") == exits.OK
    first, same, progress, *_ = capsys.readouterr().err.splitlines()
    assert first == "base and head are being loaded"
    assert same == "base and head have the same vsr_model: this compares a network with itself"
    assert progress.startswith(f"1/{2 * ROUNDS}  base {CELL}  ok")
    comment = (here / "out" / "comment.md").read_text()
    assert "Both sides have the same vsr_model." in comment
    assert "\nThe smallest slowdown that 95 of 100 such comparisons would tell is 3.0 %." in comment
    assert git(revisions, "status", "--porcelain") == ""


@pytest.mark.usefixtures("sides")
def test_files_that_are_not_committed(ask, revisions, here, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(revisions), str(clone))
    git(clone, "checkout", "--quiet", "base")
    changed = clone / "vsr_model" / f"{BASICVSR}.py"
    changed.write_text(changed.read_text() + "\n# Not yet.\n")
    arguments = ("--base", "HEAD", "--head", ".", "--repository", clone)
    assert ask(*arguments, "--output", "out") == exits.OK
    base, head = (RunFolder.open(here / "out" / side).code for side in ("base", "head"))
    assert base is not None
    assert head is not None
    assert base.git_commit == head.git_commit == git(clone, "rev-parse", "HEAD")
    assert (base.dirty, head.dirty) == (False, True)

    for folder, said in (
        ("out", r"out: holds a comparison of revisions already; .* by --resume out"),
        ("out/base", r"out/base: holds a run, which is no comparison .*; name another folder"),
    ):
        with pytest.raises(BadInput, match=said):
            ask(*arguments, "--output", folder)

    changed.write_text(changed.read_text() + "\n# Other words.\n")
    lose_the_last_round(here / "out" / "head")
    with pytest.raises(BadInput, match=r"/head: begun with other code"):
        ask("--resume", "out", "--repository", clone)


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(
    ("base", "head", "status"),
    [
        ("base", "failing", exits.FOUND),
        ("failing", "base", exits.OK),
        ("failing", "failing", exits.SOME_FAILED),
    ],
)
def test_cells_that_fail(ask, here, base, head, status):
    assert ask("--base", base, "--head", head, "--output", "out") == status
    assert "by its own fault" in (here / "out" / "comparison.md").read_text()
    assert (here / "out" / "second").exists() is (status == exits.FOUND)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "ImportError: cannot import name 'what_is_not_there'"),
        ("old", "it has no vsr_model.network, by which networks are measured: "),
    ],
)
def test_a_revision_that_this_program_cannot_use(revisions, here, capsys, name, said):
    options = ("--repository", str(revisions), "--base", name, "--head", "base")
    assert cli.main(["ci", str(here.parent / "grid.yaml"), *options]) == exits.BAD_REQUEST
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
        (["--base", "base", "--threshold", "3"], "--threshold: should be a percentage"),
        (["--base", "base", "--fail-on", "slow"], "--fail-on: 'slow' is none of"),
        (["--base", "base", "--variant", "gpu"], "no variant 'gpu'"),
        (["--base", "base", "--filter", "backend=cuda"], "--filter backend=cuda: "),
        (["--base", "base", "--set", "measure.rounds=2"],
         "measure.rounds: is 2; a gate has an interval, and so a verdict, from 3 rounds on, and one without "
         "an assumption from 6 on: give more"),
        (["--base", "base", "--output", ".."], "is not empty"),
        (["--base", "base", "--set", "backends=[{name: far, from: cudnn, device: 'cuda:99'}]"],
         "none of the 1 cells can be measured here: no "),
        (["--resume", "nowhere"], "nowhere: holds no comparison of revisions (there is no ci.json in it)"),
        (["--resume", "nowhere", "--once"], "--resume: all but --repository is as it began; give nothing"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_met_writes_nothing(ask, here, arguments, said):
    with pytest.raises(BadInput) as caught:
        ask(*arguments)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list(here.iterdir()) == []


def test_the_preset_and_the_usual_limits_are_taken_if_nothing_is_said(revisions, here, monkeypatch):
    asked: list[Any] = []

    def start(request: Any, experiment: Any, *_: Any, output: Path | None) -> gate.Found:
        asked.append((request, experiment.name, output))
        return gate.Found(folder=Path("ci"), request=request)

    monkeypatch.setattr(gate, "start", start)
    options = ("--variant", "cpu", "--once", "--threshold", "5%", "--fail-on", "never")
    for given in ((), options):
        assert cli.main(["ci", "--base", "base", "--repository", str(revisions), *given]) == exits.INTERRUPTED
    (request, name, output), (other, other_name, _) = asked
    assert (name, output, request.head.asked) == ("ci", None, "HEAD")
    assert (request.limits.threshold, request.limits.memory_threshold) == (0.03, 0.1)
    assert request.second_look
    assert (other_name, other.limits.threshold) == ("ci-cpu", 0.05)
    assert (other.second_look, other.fail_on) == (False, ())


@pytest.mark.parametrize("rounds", [0, 3, 2 * ROUNDS + 1])
def test_an_interrupt_keeps_what_is_done_and_resume_does_the_rest(ask, here, sides, capsys, rounds):
    out = here / "out"
    sides.stop(PREFLIGHTS + rounds + 1)
    assert ask("--base", "base", "--head", "failing", "--output", "out") == exits.INTERRUPTED
    assert capsys.readouterr().out.endswith("interrupted; the rest: vsr-bench ci --resume out\n")
    first, second = (turns(place) if place.exists() else [] for place in (out, out / "second"))
    assert len(first + second) == rounds
    assert not (out / "comment.md").exists()

    sides.stop(0)
    assert ask("--resume", "out") == exits.FOUND
    assert turns(out) == turns(out / "second") == TURNS
    made = pages(out)
    assert ask("--resume", "out") == exits.FOUND  # nothing is left to measure
    assert pages(out) == made


def test_an_interrupt_before_the_first_round_says_that_nothing_was_measured(ask, here, sides, capsys):
    arguments = ("--base", "base", "--head", "same", "--output", "out")
    sides.stop(1)
    assert ask(*arguments) == exits.INTERRUPTED
    assert capsys.readouterr().out == "interrupted before anything was measured; nothing is kept\n"
    assert list(here.iterdir()) == []

    sides.stop(PREFLIGHTS + 2)
    assert ask(*arguments) == exits.INTERRUPTED
    capsys.readouterr()
    sides.stop(1)
    assert ask("--resume", "out") == exits.INTERRUPTED
    assert capsys.readouterr().out == (
        "interrupted before anything more was measured; the rest: vsr-bench ci --resume out\n"
    )
    assert turns(here / "out") == ["base0"]


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
    ask, here, monkeypatch, capsys, fields, fail_on, status
):
    own = compare_run.compare

    def compare(*given: Any, **more: Any) -> list[Comparison]:
        (found,) = own(*given, **more)
        return [replace(found, cells=tuple(replace(cell, why="so", **fields) for cell in found.cells))]

    monkeypatch.setattr(compare_run, "compare", compare)
    arguments = ("--base", "base", "--head", "same", "--fail-on", fail_on, "--output", "out")
    assert ask(*arguments) == status
    said = "Nothing is known of any cell, a regression as little as its absence ("
    for text in ((here / "out" / "comment.md").read_text(), " ".join(capsys.readouterr().out.split())):
        assert (said in text) is (status != exits.OK)


@pytest.mark.usefixtures("sides")
def test_intervals_of_the_second_look_are_those_of_all_cells_that_are_asked_about(ask, monkeypatch):
    own, families = compare_run.compare, []

    def compare(*given: Any, family: int, **more: Any) -> list[Comparison]:
        families.append(family)
        return own(*given, family=family, **more)

    monkeypatch.setattr(compare_run, "compare", compare)
    arguments = ("--set", "grid.frames=[1, 2]", "--base", "base", "--head", "failing", "--output", "out")
    assert ask(*arguments) == exits.FOUND
    assert families == [0, 2]


@pytest.mark.usefixtures("sides")
def test_a_comparison_goes_on_only_as_it_began(ask, revisions, here):
    assert ask("--base", "base", "--head", "same", "--output", "out") == exits.OK
    lose_the_last_round(here / "out" / "head")
    with pytest.raises(BadInput, match="holds no git repository"):
        ask("--resume", "out", "--repository", "/")
    path = here / "out" / "ci.json"
    before = path.read_text()
    other = {"asked": "same", "commit": git(revisions, "rev-parse", "other")}
    for change, said in (
        ({"head": other}, "/head: begun with other code"),
        ({"head": {**other, "commit": "0" * 40}}, "--head same (000000000000): cannot be read "),
        ({"schema_version": 99}, "schema version 99"),
        ({"fail_on": ["slow"]}, "ci.json: fail_on.0: "),
        ({"head": None}, "ci.json: head: "),
    ):
        path.write_text(json.dumps({**json.loads(before), **change}))
        with pytest.raises(BadInput) as caught:
            ask("--resume", "out")
        assert said in str(caught.value)
    path.write_text(before)
    assert ask("--resume", "out") == exits.OK


@pytest.mark.usefixtures("sides")
def test_a_folder_that_cannot_be_filled_is_removed_again(ask, here, monkeypatch):
    def refuse(path: Path, text: str) -> None:
        if path.name == CI_NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_whole(path, text)

    monkeypatch.setattr("bench.commands.requests.create_whole", refuse)
    with pytest.raises(BadInput, match=r"deep/out: cannot be written to \(No space left on device\)"):
        ask("--base", "base", "--head", "same", "--output", "deep/out")
    assert list(here.iterdir()) == []
