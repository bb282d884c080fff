"""Which two commits gpu.yml measures: the step's outputs `base` and `head`; none where nothing is to be done.

pull_request       the pull request's commit of this event, against where it left its base
workflow_dispatch  what was asked for
schedule           HEAD, against what the last night measured; where no night is known, against HEAD a day ago

A night is left out if `vsr_model` is the same in both. Its base is found by the artefact of the last night
that came to a comparison, so that after nights without one nothing is passed over.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NIGHTLY = "vsr-bench-nightly"
"""The artefact's name."""

COMMIT = re.compile(r"[0-9a-f]{40}")

Event = dict[str, Any]


def main() -> None:
    name = os.environ["GITHUB_EVENT_NAME"]
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    if name == "pull_request":
        base, head = _of_pull_request(event)
    elif name == "workflow_dispatch":
        base, head = _asked_for(event)
    elif name == "schedule":
        base, head = _of_night(event)
        if not base or _same(base, head):
            _append("GITHUB_STEP_SUMMARY", "Nothing to measure: vsr_model is what it was.")
            return
    else:
        sys.exit(f"commits.py: knows no event {name}")
    _append("GITHUB_STEP_SUMMARY", f"Base {base}, head {head}.")
    _append("GITHUB_OUTPUT", f"base={base}\nhead={head}")


def _of_pull_request(event: Event) -> tuple[str, str]:
    """Not the base's newest commit: what others have made faster there since is no fault of this one."""
    base, head = event["pull_request"]["base"]["sha"], event["pull_request"]["head"]["sha"]
    command = ["git", "merge-base", base, head]
    found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if found.returncode == 1:  # git's own word for none; where it fails it says why, with another status
        sys.exit(f"commits.py: {head} and its base {base} have no commit in common: nothing to compare")
    if found.returncode:
        sys.exit(f"commits.py: where {head} left its base {base} cannot be found; git says why above")
    return found.stdout.strip(), head


def _asked_for(event: Event) -> tuple[str, str]:
    inputs = event.get("inputs") or {}
    return _commit(inputs.get("base") or "main"), _commit(inputs.get("head") or os.environ["GITHUB_SHA"])


def _of_night(event: Event) -> tuple[str, str]:
    head = os.environ["GITHUB_SHA"]
    return _last_night(event["repository"]["default_branch"], head) or _yesterday(head), head


def _last_night(branch: str, head: str) -> str:
    place = f"repos/{os.environ['GITHUB_REPOSITORY']}/actions/artifacts?name={NIGHTLY}&per_page=100"
    answer = subprocess.run(["gh", "api", place], check=True, stdout=subprocess.PIPE, text=True).stdout
    for artefact in sorted(json.loads(answer)["artifacts"], key=lambda one: one["created_at"], reverse=True):
        run = artefact["workflow_run"]
        # A pull request's run may leave an artefact of any name.
        ours = run["head_branch"] == branch and run["head_repository_id"] == run["repository_id"]
        if ours and COMMIT.fullmatch(run["head_sha"]) and _is_ancestor(run["head_sha"], head):
            return str(run["head_sha"])
    return ""


def _yesterday(head: str) -> str:
    return _git("rev-list", "--first-parent", "--max-count=1", "--before=24 hours ago", head)


def _is_ancestor(commit: str, head: str) -> bool:
    """False as well where the commit is gone, as after a forced push."""
    command = ["git", "merge-base", "--is-ancestor", commit, head]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _same(base: str, head: str) -> bool:
    return (
        subprocess.run(["git", "diff", "--quiet", base, head, "--", "vsr_model"], check=False).returncode == 0
    )


def _commit(revision: str) -> str:
    for name in (f"refs/remotes/origin/{revision}", revision):
        command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
        found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    sys.exit(f"commits.py: {revision!a} is no branch, tag or commit of this repository")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _append(variable: str, text: str) -> None:
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    main()
