"""vsr-bench ci, asked as on a command line: real repositories, and mostly times that are given."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
import yaml

from bench import cli
from bench.commands import ci, exits, gate
from bench.comparison import runs as compare_run
from bench.comparison.comparison import Comparison
from bench.records import JOURNAL_NAME, Status, read_journal
from bench.results.files import create_whole
from bench.results.run_folder import RunFolder
from tests.bench.instant import InstantRounds
from tests.bench.revised import ENLARGES, git, with_networks
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

Ask = Callable[..., int]


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> InstantRounds:
    """Replace the workers."""
    for function in (gate.start, gate.resume):
        monkeypatch.setitem(function.__kwdefaults__, "launch", lambda _, network: nullcontext(network))
    return InstantRounds(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory, beside a grid."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    return folder


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a tag for each of three networks; `same` computes what `base` does."""
    folder = tmp_path_factory.mktemp("revisions") / "repository"
    texts = {
        "base": ENLARGES,
        "same": f"{ENLARGES}\n# Nothing but words.\n",
        "other": ENLARGES.replace("return lrs", "return 0.9 * lrs"),
    }
    for name, found in zip(texts, with_networks(folder, *texts.values()), strict=True):
        git(folder, "tag", name, found)
    return folder


@pytest.fixture
def ask(revisions: Path, here: Path) -> Ask:
    """Return a function that runs `vsr-bench ci` on a grid and a repository, and returns its exit status.

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


TWO = ("--base", "base", "--head", "same", "--output", "out")


def pages(folder: Path) -> dict[str, str]:
    names = ("comment.md", "comparison.html", "comparison.md", "comparison.json", "junit.xml")
    return {name: (folder / name).read_text() for name in names}


def turns(folder: Path) -> list[str]:
    """Return the rounds of both sides in the order in which they began: `base0`."""
    begun = [
        (record.started_at, f"{side}{record.round}")
        for side in ("base", "head")
        for record in read_journal(folder / side / JOURNAL_NAME)
    ]
    return [name for _, name in sorted(begun)]


def test_two_revisions_by_real_workers(ask, revisions, here):
    out = here / "out"
    assert ask("--base", "base", "--head", "other", "--fail-on", "never", "--output", out) == exits.OK
    assert turns(out) == TURNS
    assert "The two sides do not give the same output" in (out / "comment.md").read_text()
    assert git(revisions, "status", "--porcelain") == ""


def test_a_slower_head_is_measured_twice_and_fails(ask, revisions, here, rounds, capsys):
    rounds.seconds["head"] = 0.2
    assert ask(*TWO) == exits.FOUND
    said = capsys.readouterr()
    first, progress, *_ = said.err.splitlines()
    assert first == "base and head are being loaded"
    assert progress.startswith(f"1/{2 * ROUNDS}  base {CELL}  ok")
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


@pytest.mark.usefixtures("rounds")
def test_a_revision_with_itself(ask, revisions, here, monkeypatch, capsys):
    monkeypatch.chdir(revisions)
    git(revisions, "checkout", "--quiet", "same")
    assert ask("--base", "HEAD", "--repository", ".", "--output", here / "out") == exits.OK
    said = "base and head have the same vsr_model: this compares a network with itself"
    assert said in capsys.readouterr().err.splitlines()
    comment = (here / "out" / "comment.md").read_text()
    assert "Both sides have the same vsr_model." in comment
    assert "\nThe smallest slowdown that 95 of 100 such comparisons would find is 3.0 %." in comment
    with pytest.raises(BadInput, match=r"out: holds a comparison of revisions already; .* by --resume"):
        ask("--base", "HEAD", "--output", here / "out")
    with pytest.raises(BadInput, match=r"out/base: holds a run, which is no comparison of revisions"):
        ask("--base", "HEAD", "--output", here / "out" / "base")


@pytest.mark.parametrize(
    ("base", "head", "fail_on", "status"),
    [
        (Status.OK, Status.ERROR, "slower", exits.FOUND),
        (Status.ERROR, Status.OK, "slower", exits.OK),
        (Status.ERROR, Status.ERROR, "slower", exits.SOME_FAILED),
        (Status.OK, Status.SKIPPED, "slower", exits.SOME_FAILED),
        (Status.OK, Status.SKIPPED, "any", exits.FOUND),
    ],
)
def test_cells_that_have_no_time(ask, here, rounds, base, head, fail_on, status):
    rounds.ends.update(base=base, head=head)
    assert ask(*TWO, "--fail-on", fail_on) == status
    assert "by its own fault" in (here / "out" / "comparison.md").read_text()
    assert (here / "out" / "second").exists() is (status == exits.FOUND)
    is_known = Status.ERROR in (base, head) and base is not head
    said = "Nothing is known of any cell, a regression as little as its absence ("
    assert (said in (here / "out" / "comment.md").read_text()) is not is_known


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs --base, the revision to compare with"),
        (["--base", "base", "--head", "nonesuch"], "--head 'nonesuch': no revision of"),
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


@pytest.mark.parametrize("done", [0, 2 * ROUNDS + 1])
def test_an_interrupt_keeps_what_is_done_and_resume_does_the_rest(ask, here, rounds, capsys, done):
    out = here / "out"
    rounds.ends["head"] = Status.ERROR
    rounds.stop(after=PREFLIGHTS + done)
    assert ask(*TWO) == exits.INTERRUPTED
    assert capsys.readouterr().out.endswith("interrupted; the rest: vsr-bench ci --resume out\n")
    assert len(rounds.log) == done
    assert not (out / "comment.md").exists()

    rounds.stop(after=-1)
    assert ask("--resume", "out") == exits.FOUND
    assert turns(out) == turns(out / "second") == TURNS
    made = pages(out)
    assert ask("--resume", "out") == exits.FOUND  # nothing is left to measure
    assert pages(out) == made


def test_an_interrupt_before_the_first_answer_keeps_nothing(ask, here, rounds):
    rounds.stop(after=0)
    assert ask(*TWO) == exits.INTERRUPTED
    assert list(here.iterdir()) == []


def test_intervals_of_the_second_look_are_those_of_all_cells_that_are_asked_about(ask, rounds, monkeypatch):
    own, families = compare_run.compare, []

    def compare(*given: Any, family: int, **more: Any) -> list[Comparison]:
        families.append(family)
        return own(*given, family=family, **more)

    monkeypatch.setattr(compare_run, "compare", compare)
    rounds.ends["head"] = Status.ERROR
    assert ask("--set", "grid.frames=[1, 2]", *TWO) == exits.FOUND
    assert families == [0, 2]


@pytest.mark.usefixtures("rounds")
def test_a_request_that_was_changed_since_is_refused(ask, here):
    assert ask(*TWO) == exits.OK
    path = here / "out" / "ci.json"
    before = json.loads(path.read_text())
    for change, said in (
        ({"head": {"asked": "same", "commit": "0" * 40}}, "--head same (000000000000): cannot be read "),
        ({"schema_version": 99}, "schema version 99"),
        ({"fail_on": ["slow"]}, "ci.json: fail_on.0: "),
    ):
        path.write_text(json.dumps({**before, **change}))
        with pytest.raises(BadInput) as caught:
            ask("--resume", "out")
        assert said in str(caught.value)


@pytest.mark.usefixtures("rounds")
def test_a_folder_that_cannot_be_filled_is_removed_again(ask, here, monkeypatch):
    def refuse(path: Path, text: str) -> None:
        if path.name == gate.CI_NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_whole(path, text)

    monkeypatch.setattr("bench.commands.requests.create_whole", refuse)
    with pytest.raises(BadInput, match=r"deep/out: cannot be written to \(No space left on device\)"):
        ask("--base", "base", "--head", "same", "--output", "deep/out")
    assert list(here.iterdir()) == []
