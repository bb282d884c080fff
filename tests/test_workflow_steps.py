"""The shell of the workflows' steps, run with a `gh` and a `vsr-bench` that record their arguments."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

GITHUB: Final = Path(__file__).resolve().parent.parent / ".github"
GATE: Final = GITHUB / "scripts" / "runner_gate.sh"

RECORDER: Final = """
import json, sys
with open("calls", "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
print("5\\n7" if "list" in sys.argv else "")
"""


@dataclass(frozen=True)
class Job:
    """A folder to work in, and what its programs were called with."""

    folder: Path
    environment: dict[str, str]

    def run(self, workflow: str, **variables: str) -> list[list[str]]:
        steps = next(iter(yaml.safe_load((GITHUB / "workflows" / workflow).read_text())["jobs"].values()))
        [step] = [one for one in steps["steps"] if {"BASE", "GH_TOKEN"} & one.get("env", {}).keys()]
        subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            check=True,
            cwd=self.folder,
            env={**self.environment, **variables},
        )
        calls = self.folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def git(self, *arguments: str, days_ago: int = 0) -> str:
        date = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
        ended = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        return ended.stdout.strip()

    def commit(self, text: str, *, days_ago: int = 0, file: str = "vsr_model") -> str:
        (self.folder / file).write_text(text)
        self.git("add", file)
        self.git("commit", "--quiet", "--message", text, days_ago=days_ago)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for name in ("vsr-bench", "gh"):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{RECORDER}")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "THRESHOLD": "3%",
    }
    job = Job(tmp_path, environment)
    job.git("init", "--quiet", "--initial-branch=main")
    return job


def compared(calls: list[list[str]]) -> str:
    """Return the base of the one comparison."""
    [[command, _, base, *rest]] = calls
    assert command == "ci"
    assert rest == ["--head", "HEAD", "--threshold", "3%", "--output", "results/ci"]
    return base


def test_a_pull_request_is_compared_with_where_it_left_its_base(job: Job) -> None:
    left = job.commit("first")
    job.git("checkout", "--quiet", "-b", "faster")
    job.commit("mine")
    job.git("checkout", "--quiet", "main")
    base = job.commit("others went on")
    job.git("checkout", "--quiet", "faster")
    assert compared(job.run("gpu.yml", GITHUB_EVENT_NAME="pull_request", BASE=base)) == left


def test_by_hand_the_base_is_what_was_asked_for(job: Job) -> None:
    assert compared(job.run("gpu.yml", GITHUB_EVENT_NAME="workflow_dispatch", BASE="origin/main")) == (
        "origin/main"
    )


def test_a_night_is_compared_with_a_day_ago(job: Job) -> None:
    job.commit("of long ago", days_ago=9)
    yesterday = job.commit("of yesterday", days_ago=2)
    job.commit("of today")
    assert compared(job.run("gpu.yml", GITHUB_EVENT_NAME="schedule", BASE="")) == yesterday


@pytest.mark.parametrize("days", [(0,), (2, 0)], ids=["no yesterday", "same network"])
def test_a_night_without_a_change_measures_nothing(job: Job, days: tuple[int, ...]) -> None:
    for file, days_ago in zip(("vsr_model", "README"), days, strict=False):
        job.commit("text", days_ago=days_ago, file=file)
    assert job.run("gpu.yml", GITHUB_EVENT_NAME="schedule", BASE="") == []
    assert "Nothing to measure" in (job.folder / "summary").read_text()


def test_each_labelled_pull_request_of_the_commit_has_one_comment(job: Job) -> None:
    calls = job.run(
        "gpu-comment.yml", GH_REPO="owner/project", HEAD="0123abc", CONCLUSION="failure", RUN="https://run"
    )
    assert [call[:3] for call in calls[1:]] == [
        ["pr", "comment", "5"], ["api", "--method", "DELETE"],
        ["pr", "comment", "7"], ["api", "--method", "DELETE"],
    ]  # fmt: skip
    assert "GPU benchmark of 0123abc: **failure**. [What was found](https://run)" in calls[1][-1]
    assert {"--edit-last", "--create-if-none"} <= set(calls[1])
    assert calls[2][-1] == "repos/owner/project/issues/5/labels/gpu"


# The gate on the runner

LABELLED: Final = {"action": "labeled", "label": {"name": "gpu"}}


def gate(folder: Path, name: str, event: dict[str, Any] | None) -> subprocess.CompletedProcess[str]:
    path = folder / "event"
    if event is not None:
        path.write_text(json.dumps(event))
    return subprocess.run(
        ["bash", "-e", str(GATE)],  # as the runner does
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)},
    )


@pytest.mark.parametrize(
    ("name", "event"), [("schedule", {}), ("workflow_dispatch", {}), ("pull_request", LABELLED)]
)
def test_the_runner_takes(tmp_path: Path, name: str, event: dict[str, Any]) -> None:
    ended = gate(tmp_path, name, event)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("push", LABELLED),
        ("pull_request_target", LABELLED),
        ("pull_request", {}),
        # A pull request that changed the workflow to run on each push, while the label is still on.
        ("pull_request", {"action": "synchronize", "pull_request": {"labels": [{"name": "gpu"}]}}),
        ("pull_request", {"action": "unlabeled", "label": {"name": "gpu"}}),
        ("pull_request", {"action": "labeled", "label": {"name": "gpu; true"}}),
        ("pull_request", {"action": "labeled", "label": None}),
        ("pull_request", None),  # an event that cannot be read
    ],
)
def test_the_runner_refuses(tmp_path: Path, name: str, event: dict[str, Any] | None) -> None:
    ended = gate(tmp_path, name, event)
    assert ended.returncode == 1
    assert "only where the label gpu was just put on it" in ended.stderr
