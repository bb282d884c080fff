"""Post what gpu.yml measured to its pull request: one comment, which later runs bring up to date.

Runs by `workflow_run`, with a token that may write. The run that it follows has executed a pull request's
code, so nothing of it is trusted:

- the artefact is read as text, cut to what a comment holds, and never executed; nobody is notified by it, and
  nothing is linked but the run;
- run, commit and branch come from GitHub's event, and the pull request's number from GitHub's API;
- only a pull request that has the label `gpu` gets a comment. The label is then taken off: it was for that
  commit. Where a branch has several, with different bases, it is the one that was labelled just before the
  run.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

WORKFLOW = ".github/workflows/gpu.yml"
ARTEFACT = "vsr-bench-comment"
LABEL = "gpu"
MARKER = "<!-- vsr-bench ci -->\n"
AUTHOR = "github-actions[bot]"
CHARACTERS = 65_536
"""What GitHub takes as a comment."""
APART = timedelta(seconds=10)
"""Between two labels put on: of less it is not known which of two runs each of them started."""

INVISIBLE = "\u200b"
ENTITY = re.compile(r"&(?!(?:amp|lt|gt);)")
TAG = re.compile(r"<(?!/?(?:details|summary)>)")
"""What is not of the few that a page of `vsr-bench` has."""
CALLS = re.compile(
    r"(?<=@)|(?<=#)(?=\d)|(?<=GH)(?=-\d)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\])(?=[(\[:])|"
    r"(?<=:)(?!\d\d:)(?=[\w+-]+:)",
    re.IGNORECASE,
)
"""Where GitHub would find somebody to notify, an issue to refer to, an address, a link or a picture."""

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
        return
    number = numbers[0] if len(numbers) == 1 else _started(repository, run, numbers)
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
    labelled = [
        int(pull["number"])
        for pull in pulls
        if pull["head"]["ref"] == run["head_branch"]
        and (pull["head"]["repo"] or {}).get("full_name") == run["head_repository"]["full_name"]
        and any(label["name"] == LABEL for label in pull["labels"])
    ]
    # The event knows none of a fork; otherwise all of that branch, and not which of them started the run.
    named = {int(pull["number"]) for pull in run.get("pull_requests") or ()}
    return [number for number in labelled if number in named] or labelled


def _started(repository: str, run: Json, numbers: list[int]) -> int:
    """Which of several pull requests of one branch the run is of: a base's figures are not another's."""
    created = _time(run["created_at"])
    labelled = [
        (at, number) for number in numbers for at in _times_labelled(repository, number) if at <= created
    ]
    newest = max(labelled, default=None)
    if newest is None or any(number != newest[1] and newest[0] - at < APART for at, number in labelled):
        sys.exit(
            f"comment.py: the pull requests {', '.join(map(str, numbers))} are of one branch and have the "
            f"label {LABEL}, and it is not known which of them was measured; label one after the other"
        )
    return newest[1]


def _times_labelled(repository: str, number: int) -> list[datetime]:
    pages = _gh("--paginate", "--slurp", f"repos/{repository}/issues/{number}/events?per_page=100")
    return [
        _time(event["created_at"])
        for page in pages
        for event in page
        if event["event"] == "labeled" and event["label"]["name"] == LABEL
    ]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _body(run: Json, text: str) -> str:
    last = f"\n\nCommit {run['head_sha']}: [the log, and the runs as an artefact]({run['html_url']})\n"
    return (
        MARKER + _unheard(text.removeprefix(MARKER))[: CHARACTERS - len(MARKER) - len(last)].rstrip() + last
    )


def _unheard(text: str) -> str:
    """The text as it reads: it says nothing to anybody in the robot's name, and leads nowhere.

    As bench/reporting/comparison/page.py has it for what it writes; this text may be of anybody's making.
    """
    plain = text.replace("&#8203;", "").replace(INVISIBLE, "")
    return CALLS.sub(INVISIBLE, TAG.sub("&lt;", ENTITY.sub("&amp;", plain)))


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
