"""Real git repositories for tests, each commit with a network of its own."""

import os
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Final

from bench.places import ROOT

BASICVSR: Final = "networks/basicvsr"

ENLARGES: Final = dedent(
    """
    def _forward(self, lrs, probe=no_probe):
        return lrs.repeat_interleave(SCALE, 3).repeat_interleave(SCALE, 4)


    BasicVSR.forward = _forward
    """
)
"""Replaces BasicVSR's work by next to none."""


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user of no name, and return its output."""
    known = {
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "Nobody", "GIT_AUTHOR_EMAIL": "nobody@example.org",
        "GIT_COMMITTER_NAME": "Nobody", "GIT_COMMITTER_EMAIL": "nobody@example.org",
    }  # fmt: skip
    return subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **known}, capture_output=True, text=True,
        check=True, timeout=600,
    ).stdout.strip()  # fmt: skip


def repository(folder: Path) -> Path:
    """Make a repository without a commit, on the branch main."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def commit(folder: Path, **files: str) -> str:
    """Commit files into vsr_model/, each named without its .py; return the commit."""
    for name, text in files.items():
        path = folder / "vsr_model" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "a state of the network")
    return git(folder, "rev-parse", "HEAD")


def with_networks(folder: Path, *added: str) -> list[str]:
    """Make a repository with a commit for each text, which is appended to BasicVSR's source there."""
    repository(folder)
    shutil.copytree(ROOT / "vsr_model", folder / "vsr_model", ignore=shutil.ignore_patterns("__pycache__"))
    own = (folder / "vsr_model" / f"{BASICVSR}.py").read_text()
    return [commit(folder, **{BASICVSR: own + text}) for text in added]
