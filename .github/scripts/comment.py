"""Post what gpu.yml measured to its pull request: one comment, which later runs bring up to date.

Runs by `workflow_run`, with a token that may write. The run that it follows has executed a pull request's
code, so nothing of it is trusted:

- the artefact is read as text, cut to what a comment holds, and never executed;
- run, commit and branch come from GitHub's event, and the pull request's number from GitHub's API;
- only a pull request that has the label `gpu` gets a comment. The label is then taken off: it was for that
  commit.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WORKFLOW = ".github/workflows/gpu.yml"
ARTEFACT = "vsr-bench-comment"
LABEL = "gpu"
MARKER = "<!-- vsr-bench ci -->\n"
AUTHOR = "github-actions[bot]"
CHARACTERS = 65_536
"""What GitHub takes as a comment."""

Json = dict[str, Any]


def main() -> None:
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    run, repository = event["workflow_run"], event["repository"]["full_name"]
    if run["path"].partition("@")[0] != WORKFLOW or run["event"] != "pull_request":
        sys.exit(f"comment.py: the run is not {WORKFLOW}'s of a pull request")
    text = _artefact(repository, run["id"])
    if text is None:
        print("The run left nothing to tell.")
        return
    numbers = _labelled(repository, run)
    if not numbers:
        print(f"No open pull request of that branch has the label {LABEL}.")
    for number in numbers:
        _post(repository, number, _body(run, text))
        _gh("--method", "DELETE", f"repos/{repository}/issues/{number}/labels/{LABEL}")
        print(f"Told pull request {number}.")


def _artefact(repository: str, run: int) -> str | None:
    """None where there is none."""
    found = _gh(f"repos/{repository}/actions/runs/{run}/artifacts?name={ARTEFACT}")
    if not found["artifacts"]:
        return None
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--repo", repository, "--name", ARTEFACT, "--dir", folder]
        subprocess.run(["gh", "run", "download", str(run), *chosen], check=True)
        path = Path(folder, "comment.md")
        if path.is_symlink() or not path.is_file():
            sys.exit("comment.py: the artefact holds no comment.md")
        with path.open("rb") as file:
            return file.read(4 * CHARACTERS).decode(errors="replace")


def _labelled(repository: str, run: Json) -> list[int]:
    """The open pull requests of the run's branch with the label: one, but for a branch that has several."""
    if run["head_repository"] is None:  # the fork is gone
        return []
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    pulls = _gh(
        "--method", "GET", f"repos/{repository}/pulls",
        "--raw-field", "state=open", "--raw-field", f"head={head}", "--raw-field", "per_page=100",
    )  # fmt: skip
    return [
        int(pull["number"])
        for pull in pulls
        if pull["head"]["ref"] == run["head_branch"]
        and (pull["head"]["repo"] or {}).get("full_name") == run["head_repository"]["full_name"]
        and any(label["name"] == LABEL for label in pull["labels"])
    ]


def _body(run: Json, text: str) -> str:
    last = f"\n\nCommit {run['head_sha']}: [the log, and the runs as an artefact]({run['html_url']})\n"
    return MARKER + text.removeprefix(MARKER)[: CHARACTERS - len(MARKER) - len(last)].rstrip() + last


def _post(repository: str, number: int, body: str) -> None:
    pages = _gh("--paginate", "--slurp", f"repos/{repository}/issues/{number}/comments?per_page=100")
    ours = [
        comment["id"]
        for page in pages
        for comment in page
        # Anybody may write the marker; its end of line may come back as another one.
        if (comment["user"] or {}).get("login") == AUTHOR and comment["body"].startswith(MARKER.strip())
    ]
    if ours:
        _gh("--method", "PATCH", f"repos/{repository}/issues/comments/{ours[0]}", "--input", "-", body=body)
    else:
        _gh("--method", "POST", f"repos/{repository}/issues/{number}/comments", "--input", "-", body=body)


def _gh(*arguments: str, body: str | None = None) -> Any:
    """What GitHub's API answers."""
    given = None if body is None else json.dumps({"body": body})
    command = ["gh", "api", *arguments]
    answer = subprocess.run(command, check=True, input=given, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return json.loads(answer) if answer.strip() else None


if __name__ == "__main__":
    main()
