"""The workflows' scripts, as processes, with a `gh` and a `vsr-bench` that only write down what they get."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from bench.commands import exits
from bench.commands.gate import MARKER
from bench.comparison.policy import REGRESSIONS
from bench.reporting.comparison.page import render
from tests.bench import compared

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPTS: Final = ROOT / ".github" / "scripts"
REPOSITORY: Final = "owner/project"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"

FAKE_GH: Final = """
import json, os, sys
from pathlib import Path
folder, arguments = Path(os.environ["FAKE"]), sys.argv[1:]
given = sys.stdin.read() if "--input" in arguments else ""
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([arguments, given]) + "\\n")
if arguments[:2] == ["run", "download"]:
    os.rename(folder / "comment.md", Path(arguments[arguments.index("--dir") + 1], "comment.md"))
else:
    place = next(argument for argument in arguments if argument.startswith("repos/"))
    answers = json.loads((folder / "answers").read_text())
    if place in answers:
        print(json.dumps(answers[place]))
    elif "--method" not in arguments or "GET" in arguments:
        sys.exit(f"gh: {place}: not found")
"""

FAKE_VSR_BENCH: Final = """
import json, os, signal, sys, time
from pathlib import Path
folder, arguments = Path(os.environ["FAKE"]), sys.argv[1:]
(folder / "arguments").write_text(json.dumps(arguments))
if (folder / "comment.md").exists():
    results = Path(arguments[arguments.index("--output") + 1])
    results.mkdir(parents=True)
    os.rename(folder / "comment.md", results / "comment.md")
if (folder / "waits").exists():
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    print("measuring", flush=True)
    time.sleep(60)
sys.exit(int((folder / "status").read_text()))
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A folder to work in, and what the fake programs answer and were asked."""

    folder: Path
    environment: dict[str, str]

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPTS / script)],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder / "work",
            env={**self.environment, **variables},
        )

    def event(self, event: Mapping[str, Any]) -> None:
        (self.folder / "event").write_text(json.dumps(event))

    def answers(self, answers: Mapping[str, Any]) -> None:
        (self.folder / "answers").write_text(json.dumps(answers))

    def calls(self) -> list[tuple[list[str], str]]:
        path = self.folder / "calls"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "work").mkdir()
    for name, text in (("gh", FAKE_GH), ("vsr-bench", FAKE_VSR_BENCH)):
        (programs / name).write_text(f"#!{sys.executable}\n{text}")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "FAKE": str(tmp_path),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_EVENT_PATH": str(tmp_path / "event"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return Stage(folder=tmp_path, environment=environment)


# comment.py

PULLS: Final = f"repos/{REPOSITORY}/pulls"
ARTEFACTS: Final = f"repos/{REPOSITORY}/actions/runs/77/artifacts?name=vsr-bench-comment"
COMMENTS: Final = f"repos/{REPOSITORY}/issues/5/comments?per_page=100"
LABEL: Final = ["api", "--method", "DELETE", f"repos/{REPOSITORY}/issues/5/labels/gpu"]


def run_of(**changes: Any) -> dict[str, Any]:
    run = {
        "id": 77,
        "path": ".github/workflows/gpu.yml",
        "event": "pull_request",
        "head_sha": COMMIT,
        "head_branch": "faster",
        "head_repository": {"full_name": "stranger/fork", "owner": {"login": "stranger"}},
        "html_url": f"https://github.com/{REPOSITORY}/actions/runs/77",
        "created_at": "2026-01-02T03:04:05Z",
        "pull_requests": [],
    }
    return {"workflow_run": {**run, **changes}, "repository": {"full_name": REPOSITORY}}


def pull(
    number: int = 5,
    *,
    fork: str | None = "stranger/fork",
    branch: str = "faster",
    labels: Sequence[str] = ("gpu",),
) -> dict[str, Any]:
    return {
        "number": number,
        "head": {"ref": branch, "repo": None if fork is None else {"full_name": fork}},
        "labels": [{"name": label} for label in labels],
    }


def comment(number: int, author: str | None, body: str) -> dict[str, Any]:
    return {"id": number, "user": author and {"login": author}, "body": body}


def posted(stage: str) -> list[tuple[list[str], str]]:
    """The calls that write, each with the body that it sends."""
    return [
        (arguments, json.loads(given)["body"])
        for arguments, given in stage.calls()
        if "POST" in arguments or "PATCH" in arguments
    ]


def told(stage: str, *, pulls: Sequence[Any], pages: Sequence[Any] = ((),), text: str = "") -> None:
    stage.answers({PULLS: pulls, ARTEFACTS: {"artifacts": [{"id": 1}]}, COMMENTS: pages})
    (stage.folder / "comment.md").write_text(text or f"{MARKER}## Benchmark\nslower\n")


def test_the_first_comment_is_posted_and_the_label_taken_off(stage: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull()])
    ended = stage.run("comment.py")
    assert ended.returncode == 0, ended.stderr
    [(arguments, body)] = posted(stage)
    assert arguments[1:4] == ["--method", "POST", f"repos/{REPOSITORY}/issues/5/comments"]
    assert body.startswith(f"{MARKER}## Benchmark\nslower\n")
    assert body.count(MARKER) == 1
    assert COMMIT in body
    assert f"(https://github.com/{REPOSITORY}/actions/runs/77)" in body
    assert stage.calls()[-1][0] == LABEL


def test_a_later_comment_takes_the_place_of_the_first(stage: str) -> None:
    """Not that of a person who copied the marker, nor of what the robot said in another matter."""
    stage.event(run_of())
    first = [
        comment(10, "stranger", f"{MARKER}mine"),
        comment(11, "github-actions[bot]", "the preview is ready"),
        comment(12, None, MARKER),
    ]
    second = [comment(13, "github-actions[bot]", "<!-- vsr-bench ci -->\r\nolder")]
    told(stage, pulls=[pull()], pages=[first, second])
    assert stage.run("comment.py").returncode == 0
    [(arguments, _)] = posted(stage)
    assert arguments[1:4] == ["--method", "PATCH", f"repos/{REPOSITORY}/issues/comments/13"]
    listed = next(arguments for arguments, _ in stage.calls() if COMMENTS in arguments)
    assert {"--paginate", "--slurp"} <= set(listed)


def test_the_pull_request_is_the_one_of_the_event_with_the_label(stage: str) -> None:
    stage.event(run_of())
    others = [
        pull(1, labels=("bug",)),
        pull(2, fork="stranger/other"),
        pull(3, fork=None),
        pull(4, branch="slower"),
    ]
    told(stage, pulls=[*others, pull()], text=f"{MARKER}pull request 1\n")
    assert stage.run("comment.py").returncode == 0
    assert len(posted(stage)) == 1
    assert f"repos/{REPOSITORY}/issues/5/comments" in posted(stage)[0][0]


def labelled(*times: str, label: str = "gpu") -> list[Any]:
    """Pages of a pull request's events."""
    put_on = [
        {"event": "labeled", "created_at": f"2026-01-02T{time}Z", "label": {"name": label}} for time in times
    ]
    return [[{"event": "head_ref_force_pushed", "created_at": "2026-01-02T03:04:04Z"}], put_on]


def two_bases(stage: str, first: Sequence[Any], second: Sequence[Any]) -> None:
    """The pull requests 5 and 6 of one branch, both labelled."""
    answers = {
        PULLS: [pull(5), pull(6)],
        ARTEFACTS: {"artifacts": [{"id": 1}]},
        **{f"repos/{REPOSITORY}/issues/{number}/comments?per_page=100": [[]] for number in (5, 6)},
        f"repos/{REPOSITORY}/issues/5/events?per_page=100": first,
        f"repos/{REPOSITORY}/issues/6/events?per_page=100": second,
    }
    stage.answers(answers)
    (stage.folder / "comment.md").write_text(f"{MARKER}## Benchmark\nslower\n")


def written(stage: str) -> list[str]:
    """The places that are written to."""
    return [
        next(argument for argument in arguments if argument.startswith("repos/"))
        for arguments, _ in stage.calls()
        if "--method" in arguments and "GET" not in arguments
    ]


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [
        (labelled("03:04:03"), labelled("03:05:00"), 5),  # the other's own run is still to come
        (labelled("02:00:00"), labelled("03:04:04"), 6),
        (labelled("01:00:00", "03:04:03", "04:00:00"), labelled("02:00:00"), 5),
        (labelled("03:00:00"), [*labelled("01:00:00"), *labelled("03:04:04", label="bug")], 5),
    ],
)
def test_of_a_branch_with_two_bases_only_the_measured_one_is_told(
    stage: str, first: Sequence[Any], second: Sequence[Any], number: int
) -> None:
    stage.event(run_of(pull_requests=[{"number": 5}, {"number": 6}]))
    two_bases(stage, first, second)
    ended = stage.run("comment.py")
    assert ended.returncode == 0, ended.stderr
    issue = f"repos/{REPOSITORY}/issues/{number}"
    assert written(stage) == [f"{issue}/comments", f"{issue}/labels/gpu"]


def test_the_number_that_the_event_knows_is_taken(stage: str) -> None:
    stage.event(run_of(pull_requests=[{"number": 6}]))
    two_bases(stage, [[]], [[]])
    assert stage.run("comment.py").returncode == 0
    issue = f"repos/{REPOSITORY}/issues/6"
    assert written(stage) == [f"{issue}/comments", f"{issue}/labels/gpu"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (labelled("03:04:00"), labelled("03:04:03")),  # either may have started it
        (labelled("03:10:00"), labelled("03:11:00")),  # labelled anew since
    ],
)
def test_where_the_measured_one_is_not_known_none_is_told(
    stage: str, first: Sequence[Any], second: Sequence[Any]
) -> None:
    stage.event(run_of())
    two_bases(stage, first, second)
    ended = stage.run("comment.py")
    assert ended.returncode == 1
    assert "pull requests 5, 6 are of one branch" in ended.stderr
    assert written(stage) == []


CALLED: Final = {
    "@owner/team": "@\u200bowner/team",
    "&#64;team": "&amp;#\u200b64;team",
    "&commat;team": "&amp;commat;team",
    "fixes #12": "fixes #\u200b12",
    "gh-12": "gh\u200b-12",
    "[a](https://b.example)": "[a]\u200b(https:\u200b//b.example)",
    "![a](//b.example/c.png)": "![a]\u200b(//b.example/c.png)",
    "[a][b]\n\n[b]: //c.example": "[a]\u200b[b]\n\n[b]\u200b: //c.example",
    "<https://b.example>": "&lt;https:\u200b//b.example>",
    "<a href=//b.example>c</a>": "&lt;a href=//b.example>c&lt;/a>",
    "<IMG src=//b.example>": "&lt;IMG src=//b.example>",
    "<details open>": "&lt;details open>",
    "<!-- the rest": "&lt;!-- the rest",
    "www.b.example": "www\u200b.b.example",
    "at 03:04:05, &lt;b&gt; &amp; 1.08": "at 03:04:05, &lt;b&gt; &amp; 1.08",
    "@&#8203;team": "@\u200bteam",
}


@pytest.mark.parametrize("text", CALLED)
def test_the_measured_code_calls_nobody_and_links_nothing(stage: str, text: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull()], text=f"{MARKER}{text}\n")
    assert stage.run("comment.py").returncode == 0
    [(_, body)] = posted(stage)
    assert body.startswith(f"{MARKER}{CALLED[text]}\n\nCommit {COMMIT}: [the log, ")
    assert f"](https://github.com/{REPOSITORY}/actions/runs/77)" in body


def test_a_page_of_ours_reads_in_a_comment_as_it_was_written(stage: str) -> None:
    comparisons = [compared.comparison(), *map(compared.odd, compared.ODD_NAMES)]
    page = render(comparisons, REGRESSIONS, look="@someone, see www.example.org", limit=60_000)
    stage.event(run_of())
    told(stage, pulls=[pull()], text=MARKER + page)
    assert stage.run("comment.py").returncode == 0
    [(_, body)] = posted(stage)
    assert "<details>\n<summary>" in page
    assert "@&#8203;someone" in page
    told_text = body.partition("\n\nCommit ")[0]
    assert "@\u200bsomeone" in told_text
    assert told_text.replace("\u200b", "") == (MARKER + page).replace("&#8203;", "").rstrip()


def test_without_the_label_nothing_is_written(stage: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull(labels=())])
    ended = stage.run("comment.py")
    assert ended.returncode == 0
    assert "has the label gpu" in ended.stdout
    assert not any("--method" in arguments and "GET" not in arguments for arguments, _ in stage.calls())


def test_a_branch_of_any_name_is_one_argument(stage: str) -> None:
    name = "$(touch${IFS}bad)&head=owner:main;'\"`"
    stage.event(run_of(head_branch=name))
    told(stage, pulls=[pull(branch=name)])
    assert stage.run("comment.py").returncode == 0
    asked = next(arguments for arguments, _ in stage.calls() if PULLS in arguments)
    assert f"head=stranger:{name}" in asked
    assert asked[asked.index(f"head=stranger:{name}") - 1] == "--raw-field"  # not the one that reads @files
    assert len(posted(stage)) == 1
    assert list((stage.folder / "work").iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"path": ".github/workflows/other.yml"}, {"event": "push"}], ids=["workflow", "event"]
)
def test_another_run_is_refused_before_anything_is_asked(stage: str, changes: dict[str, str]) -> None:
    stage.event(run_of(**changes))
    ended = stage.run("comment.py")
    assert ended.returncode == 1
    assert "the run is not .github/workflows/gpu.yml's" in ended.stderr
    assert stage.calls() == []


def test_a_path_may_name_its_branch(stage: str) -> None:
    stage.event(run_of(path=".github/workflows/gpu.yml@refs/pull/5/merge"))
    told(stage, pulls=[pull()])
    assert stage.run("comment.py").returncode == 0
    assert len(posted(stage)) == 1


def test_a_run_without_an_artefact_has_no_comment(stage: str) -> None:
    stage.event(run_of())
    stage.answers({ARTEFACTS: {"artifacts": []}})
    ended = stage.run("comment.py")
    assert (ended.returncode, ended.stdout) == (0, "The run left nothing to tell.\n")
    assert len(stage.calls()) == 1


def test_a_fork_that_is_gone_has_no_comment(stage: str) -> None:
    stage.event(run_of(head_repository=None))
    told(stage, pulls=[pull(fork=None)])
    assert stage.run("comment.py").returncode == 0
    assert posted(stage) == []


@pytest.mark.parametrize("character", ["x", "ü", "𝄞"])
def test_a_comment_is_no_longer_than_github_takes(stage: str, character: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull()], text=MARKER + character * 300_000)
    assert stage.run("comment.py").returncode == 0
    [(_, body)] = posted(stage)
    assert len(body) == 65_536
    assert COMMIT in body[-400:]


def test_a_text_that_is_none_is_shown_as_far_as_it_is(stage: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull()])
    (stage.folder / "comment.md").write_bytes(b"\xff\xfe\x00bad")
    assert stage.run("comment.py").returncode == 0
    assert posted(stage)[0][1].startswith(f"{MARKER}��")


def test_a_link_in_the_artefact_is_not_followed(stage: str) -> None:
    stage.event(run_of())
    told(stage, pulls=[pull()])
    secret = stage.folder / "secret"
    secret.write_text("token")
    (stage.folder / "comment.md").unlink()
    (stage.folder / "comment.md").symlink_to(secret)
    ended = stage.run("comment.py")
    assert ended.returncode == 1
    assert "holds no comment.md" in ended.stderr
    assert posted(stage) == []


def test_an_answer_that_is_an_error_fails(stage: str) -> None:
    stage.event(run_of())
    stage.answers({})
    assert stage.run("comment.py").returncode == 1


# commits.py


def git(stage: str, *arguments: str, days_ago: float = 0) -> str:
    at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=stage.folder / "work",
        env={**stage.environment, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at},
    ).stdout.strip()


def commit(stage: str, network: str, *, days_ago: float = 0, file: str = "vsr_model/net.py") -> str:
    path = stage.folder / "work" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(network)
    git(stage, "add", "--all")
    git(stage, "commit", "--quiet", "--message", network, days_ago=days_ago)
    return git(stage, "rev-parse", "HEAD")


@pytest.fixture
def history(stage: str) -> list[str]:
    """Four commits on main: of ten days, five days, two days and an hour ago."""
    git(stage, "init", "--quiet", "--initial-branch=main")
    return [commit(stage, f"network {days}", days_ago=days) for days in (10, 5, 2, 1 / 24)]


def outputs(stage: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in stage.text("output").splitlines())


def test_a_pull_request_is_compared_with_where_it_left_its_base(stage: str, history: list[str]) -> None:
    """Its base went on meanwhile."""
    git(stage, "checkout", "--quiet", "-b", "faster", history[1])
    head = commit(stage, "mine")
    git(stage, "checkout", "--quiet", "main")
    stage.event({"pull_request": {"base": {"sha": history[3]}, "head": {"sha": head}}})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="pull_request")
    assert ended.returncode == 0, ended.stderr
    assert outputs(stage) == {"base": history[1], "head": head}


def test_a_pull_request_without_a_common_commit_is_told(stage: str, history: list[str]) -> None:
    git(stage, "checkout", "--quiet", "--orphan", "other")
    head = commit(stage, "mine")
    stage.event({"pull_request": {"base": {"sha": history[3]}, "head": {"sha": head}}})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="pull_request")
    assert ended.returncode == 1
    assert ended.stderr == (
        f"commits.py: {head} and its base {history[3]} have no commit in common: nothing to compare\n"
    )
    assert outputs(stage) == {}


def test_a_base_that_is_not_there_is_told(stage: str, history: list[str]) -> None:
    stage.event({"pull_request": {"base": {"sha": COMMIT}, "head": {"sha": history[3]}}})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="pull_request")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"commits.py: where {history[3]} left its base {COMMIT} cannot be found; git says why above"
    )
    assert "Traceback" not in ended.stderr


def test_by_hand_it_is_what_was_asked_for(stage: str, history: list[str]) -> None:
    git(stage, "tag", "v1", history[0])
    git(stage, "update-ref", "refs/remotes/origin/topic", history[2])
    stage.event({"inputs": {"base": "v1", "head": "topic", "threshold": ""}})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="workflow_dispatch", GITHUB_SHA=history[3])
    assert ended.returncode == 0, ended.stderr
    assert outputs(stage) == {"base": history[0], "head": history[2]}


@pytest.mark.parametrize("inputs", [None, {}, {"base": "", "head": ""}], ids=["none", "empty", "blank"])
def test_by_hand_it_is_main_and_the_chosen_branch_unless_said(
    stage: str, history: list[str], inputs: dict[str, str] | None
) -> None:
    """A checkout of GitHub's has only the chosen branch as its own: main is where the remote has it."""
    git(stage, "update-ref", "refs/remotes/origin/main", history[1])
    stage.event({"inputs": inputs})
    assert (
        stage.run("commits.py", GITHUB_EVENT_NAME="workflow_dispatch", GITHUB_SHA=history[3]).returncode == 0
    )
    assert outputs(stage) == {"base": history[1], "head": history[3]}


@pytest.mark.parametrize("name", ["nowhere", "--all", "v1\nhead=0", "main:vsr_model", COMMIT, "é"])
def test_a_revision_that_is_none_is_told(stage: str, history: list[str], name: str) -> None:
    stage.event({"inputs": {"base": name}})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="workflow_dispatch", GITHUB_SHA=history[3])
    assert ended.returncode == 1
    assert ended.stderr == f"commits.py: {name!a} is no branch, tag or commit of this repository\n"
    assert outputs(stage) == {}


def artefact(commit: str, day: int, *, branch: str = "main", fork: bool = False) -> dict[str, Any]:
    run = {"head_sha": commit, "head_branch": branch, "repository_id": 1, "head_repository_id": 1 + fork}
    return {"created_at": f"2026-01-{day:02}T03:17:00Z", "workflow_run": run}


def night(stage: str, head: str, artefacts: Sequence[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    place = f"repos/{REPOSITORY}/actions/artifacts?name=vsr-bench-nightly&per_page=100"
    stage.answers({place: {"artifacts": artefacts}})
    stage.event({"repository": {"default_branch": "main"}, "schedule": "17 3 * * *"})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="schedule", GITHUB_SHA=head)
    assert ended.returncode == 0, ended.stderr


def test_a_night_begins_where_the_last_one_ended(stage: str, history: list[str]) -> None:
    """Nights without a comparison leave nothing, so that none of what came since is passed over."""
    night(stage, history[3], [artefact(history[0], 3), artefact(history[1], 9), artefact(history[0], 5)])
    assert outputs(stage) == {"base": history[1], "head": history[3]}


def test_a_night_does_not_believe_a_pull_request(stage: str, history: list[str]) -> None:
    git(stage, "checkout", "--quiet", "--orphan", "elsewhere")
    elsewhere = commit(stage, "elsewhere")
    believed = artefact(history[0], 1)
    others = [
        artefact(history[1], 5, fork=True),  # from a fork's branch that is called main
        artefact(history[1], 6, branch="topic"),
        artefact("--help", 7),
        artefact(COMMIT, 8),  # unknown, as after a forced push
        artefact(elsewhere, 9),  # no ancestor
    ]
    night(stage, history[3], [*others, believed])
    assert outputs(stage) == {"base": history[0], "head": history[3]}


def test_the_first_night_compares_with_yesterday(stage: str, history: list[str]) -> None:
    night(stage, history[3], [])
    assert outputs(stage) == {"base": history[2], "head": history[3]}


def test_what_was_merged_today_is_of_today_however_old_it_is(stage: str, history: list[str]) -> None:
    git(stage, "checkout", "--quiet", "-b", "topic", history[1])
    commit(stage, "other", days_ago=1.5, file="vsr_model/other.py")
    git(stage, "checkout", "--quiet", "main")
    git(stage, "merge", "--quiet", "--no-ff", "--no-edit", "topic")
    head = git(stage, "rev-parse", "HEAD")
    night(stage, head, [])
    assert outputs(stage) == {"base": history[2], "head": head}


def test_a_night_is_left_out_where_the_network_is_the_same(stage: str, history: list[str]) -> None:
    head = commit(stage, "words", file="README.md")
    night(stage, head, [artefact(history[3], 3)])
    assert outputs(stage) == {}
    assert "Nothing to measure" in stage.text("summary")


def test_a_repository_of_today_has_no_night(stage: str) -> None:
    git(stage, "init", "--quiet", "--initial-branch=main")
    head = commit(stage, "first")
    night(stage, head, [])
    assert outputs(stage) == {}


def test_an_event_of_another_kind_is_refused(stage: str) -> None:
    stage.event({})
    ended = stage.run("commits.py", GITHUB_EVENT_NAME="push")
    assert (ended.returncode, ended.stderr) == (1, "commits.py: knows no event push\n")


# measure.py

ASKED: Final = {"BASE": "a" * 40, "HEAD": "b" * 40, "THRESHOLD": "2.5%"}
WORDS: Final = {
    exits.OK: "No regression was found.",
    exits.FOUND: "A regression: cells that failed were measured anew",
    exits.BAD_REQUEST: "Not measured",
    exits.SOME_FAILED: "some cells that fail on both sides, or of any cell at all",
    exits.FAILED: "the machine or the program failed",
    exits.INTERRUPTED: "cancelled, or out of time",
    99: "not known here (status 99)",
}


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("status", WORDS)
def test_each_exit_status_has_its_own_words(stage: str, status: int, compared: bool) -> None:
    (stage.folder / "status").write_text(str(status))
    if compared:
        (stage.folder / "comment.md").write_text(f"{MARKER}## Benchmark\n")
    ended = stage.run("measure.py", **ASKED)
    assert ended.returncode == status
    kind = "error" if status else "notice"
    assert ended.stdout.startswith(f"::{kind} title=vsr-bench ci::")
    told = stage.text("work/results/comment/comment.md")
    assert WORDS[status] in ended.stdout
    assert [words for words in WORDS.values() if words in ended.stdout] == [WORDS[status]]
    assert (WORDS[status] in told) == (not compared or status not in (exits.OK, exits.FOUND))
    assert ("## Benchmark" in told) == compared
    assert told.startswith(MARKER)
    assert told.count(MARKER) == 1
    assert stage.text("summary") == told


def test_it_asks_for_the_two_commits(stage: str) -> None:
    (stage.folder / "status").write_text("0")
    stage.run("measure.py", **ASKED)
    arguments = json.loads(stage.text("arguments"))
    asked = ["--base", "a" * 40, "--head", "b" * 40, "--threshold", "2.5%", "--output", "results/ci"]
    assert arguments == ["ci", *asked]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_job_is_told_to_what_measures(stage: str, number: signal.Signals) -> None:
    (stage.folder / "waits").touch()
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / "measure.py")],
        cwd=stage.folder / "work",
        env={**stage.environment, **ASKED},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=600)
    assert process.returncode == exits.INTERRUPTED
    assert WORDS[exits.INTERRUPTED] in out
    assert WORDS[exits.INTERRUPTED] in stage.text("work/results/comment/comment.md")


# runner_gate.sh

LABELLED: Final = {"action": "labeled", "label": {"name": "gpu"}}


def gate(stage: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", str(SCRIPTS / "runner_gate.sh")],  # as the runner does
        check=False,
        capture_output=True,
        text=True,
        env={**stage.environment, "GITHUB_EVENT_NAME": name},
    )


@pytest.mark.parametrize(
    ("name", "event"), [("schedule", {}), ("workflow_dispatch", {}), ("pull_request", LABELLED)]
)
def test_the_runner_takes(stage: str, name: str, event: dict[str, Any]) -> None:
    stage.event(event)
    assert (gate(stage, name).returncode, gate(stage, name).stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("push", LABELLED),
        ("pull_request_target", LABELLED),
        ("issue_comment", LABELLED),
        ("", LABELLED),
        ("pull_request", {}),
        ("pull_request", {"action": "opened"}),
        # A pull request that changed the workflow to run on each push, while the label is still on.
        ("pull_request", {"action": "synchronize", "pull_request": {"labels": [{"name": "gpu"}]}}),
        ("pull_request", {"action": "unlabeled", "label": {"name": "gpu"}}),
        ("pull_request", {"action": "labeled", "label": {"name": "gpu; true"}}),
        ("pull_request", {"action": "labeled", "label": {"name": "bug"}}),
        ("pull_request", {"action": "labeled", "label": None}),
    ],
)
def test_the_runner_refuses(stage: str, name: str, event: dict[str, Any]) -> None:
    stage.event(event)
    ended = gate(stage, name)
    assert ended.returncode == 1
    assert "only where the label gpu was just put on it" in ended.stderr


def test_the_label_lets_any_workflow_pass_and_the_guide_says_so(stage: str) -> None:
    """A pull request may bring one that no environment guards."""
    stage.environment["GITHUB_WORKFLOW_REF"] = f"{REPOSITORY}/.github/workflows/second.yml@refs/pull/5/merge"
    stage.event(LABELLED)
    assert gate(stage, "pull_request").returncode == 0
    guide = " ".join((ROOT / "docs" / "ci.md").read_text(encoding="utf-8").split())
    assert "**Putting it on is what starts the pull request's code on the machine**" in guide
    assert "bring a second workflow for `labeled` that asks for no reviewer" in guide


def test_the_runner_refuses_an_event_that_it_cannot_read(stage: str) -> None:
    assert gate(stage, "pull_request").returncode == 1
