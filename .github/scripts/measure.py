"""Compare $BASE with $HEAD by `vsr-bench ci`, and say in words what came of it.

results/ci             what `vsr-bench ci` leaves
results/comment        comment.md, with what a pull request is told, whether there was a comparison or not

The words are the step's annotation, too, and the job's summary holds the comment. The exit status is that of
`vsr-bench ci`: anything but 0 makes the check red.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

RESULTS = Path("results/ci")
COMMENT = Path("results/comment/comment.md")
MARKER = "<!-- vsr-bench ci -->\n"

WORDS = {
    0: "No regression was found.",
    1: "A regression: cells that failed were measured anew and failed again, or had ended in an error, "
    "without memory or with a wrong output.",
    2: "Not measured: the request was wrong, or one of the revisions cannot be measured. The log says why.",
    3: "No regression was found, but nothing is known of some cells that fail on both sides, or of any cell "
    "at all. The comment says why.",
    70: "Not finished: the machine or the program failed, not the network. The log says why.",
    130: "Not finished: cancelled, or out of time.",
}


def main() -> int:
    command = ["vsr-bench", "ci", "--base", os.environ["BASE"], "--head", os.environ["HEAD"]]
    command += ["--threshold", os.environ["THRESHOLD"], "--output", str(RESULTS)]
    status = _run(command)
    words = WORDS.get(status, f"vsr-bench ci ended in a way that is not known here (status {status}).")
    found = RESULTS / "comment.md"
    text = found.read_text(encoding="utf-8") if found.is_file() else MARKER
    if status not in (0, 1):  # a page of a comparison says those two itself
        text = MARKER + f"**{words}**\n\n" + text.removeprefix(MARKER)
    elif text == MARKER:
        text += words + "\n"
    COMMENT.parent.mkdir(parents=True, exist_ok=True)
    COMMENT.write_text(text, encoding="utf-8")
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
        summary.write(text)
    print(f"::{'error' if status else 'notice'} title=vsr-bench ci::{words}")
    return status if status >= 0 else 128 - status


def _run(command: list[str]) -> int:
    """Its exit status. A cancelled job sends SIGINT, then SIGTERM, to this process only."""
    with subprocess.Popen(command) as process:

        def interrupt(_signal: int, _frame: FrameType | None) -> None:
            process.send_signal(signal.SIGINT)

        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
