"""Read revisions of a git repository, and take the network of each out of it; the repository is only read.

`git worktree` would write to it, and would leave a registration there where it is killed.
"""

import os
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from shutil import copy
from typing import Final
from zipfile import ZipFile

from bench.machine import variables
from bench.results.identity import CACHES, NETWORK, SHOWN, package_files
from vsr_model.errors import BadInput

AS_THEY_LIE: Final = "."
"""Name for the files in the working tree, committed or not."""

TIMEOUT_S: Final = 120
"""Limit for one call of git; one that has to fetch what a partial clone has left out takes seconds."""

_NO_CACHES: Final = [f":(top,exclude,glob)**/{name}" for name in (*CACHES, "__pycache__/**")]


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A state of the network."""

    asked: str  # as it was named
    commit: str  # 40 hexadecimal digits, or 64; of AS_THEY_LIE the one that is checked out
    dirty: bool = False  # whether vsr_model differs from that commit

    @property
    def described(self) -> str:
        """Return the commit as environment.json has it."""
        return f"{self.commit}-dirty" if self.dirty else self.commit

    @property
    def named(self) -> str:
        """Return the revision as messages write it."""
        return self.asked if self.asked == AS_THEY_LIE else f"{self.asked} ({self.commit[:12]})"


class Repository:
    """A git repository on this disk, clone or bare."""

    def __init__(self, folder: Path) -> None:
        """Find the repository of the folder or of one above it. Raises BadInput for none, and without git."""
        if not folder.is_dir():
            raise BadInput(f"--repository {folder}: is no folder")
        self._folder = folder
        found = _git(folder, "rev-parse", "--absolute-git-dir")
        if found.returncode:
            raise BadInput(
                f"{folder}: holds no git repository whose revisions could be measured ({_why(found)})"
            )
        self._git_dir = _path(found)

    def revision(self, asked: str, option: str) -> Revision:
        """Return the revision of that name. Raises BadInput, which names the option, where there is none."""
        name = "HEAD" if asked == AS_THEY_LIE else asked
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        commit = found.stdout.decode(errors="replace").strip()
        if found.returncode or not commit or commit.startswith("^"):  # ^HEAD: all that HEAD has not
            shown = asked if len(asked) <= SHOWN else f"{asked[: SHOWN - 3]}..."
            raise BadInput(f"{option} {shown!r}: no revision of {self._here()}")
        if asked != AS_THEY_LIE:
            return Revision(asked=asked, commit=commit)
        status = _git(self._folder, "status", "--porcelain", "--ignored", "--", f":/{NETWORK}", *_NO_CACHES)
        return Revision(asked=asked, commit=commit, dirty=bool(status.stdout.strip()))

    def extract(self, revision: Revision, folder: Path, option: str) -> None:
        """Put the revision's vsr_model into the folder, which is there.

        Raises BadInput, which names the option, where the revision has none or it is more than plain files.
        """
        place = f"{option} {revision.named}"
        if revision.asked == AS_THEY_LIE:
            found = _git(self._folder, "rev-parse", "--show-toplevel")
            if found.returncode:  # its path would be the working directory, which has files of another
                raise BadInput(f"{place}: {self._folder} has no working tree, whose files would be measured")
            top = _path(found)
            for path in package_files(top, NETWORK):
                to = folder / path.relative_to(top)
                to.parent.mkdir(parents=True, exist_ok=True)
                copy(path, to)
        else:
            self._unpack(revision.commit, folder, place)
        if not (folder / NETWORK / "__init__.py").is_file():
            raise BadInput(f"{place}: has no package {NETWORK}/, which is what would be measured")

    def _unpack(self, commit: str, folder: Path, place: str) -> None:
        listed = self._run("ls-tree", "-r", "-z", "--full-tree", commit, "--", NETWORK)
        for entry in listed.stdout.split(b"\0")[:-1]:
            about, _, path = entry.partition(b"\t")
            if not about.startswith(b"100"):  # the mode of a plain file
                what = "link" if b" blob " in about else "submodule"
                raise BadInput(
                    f"{place}: {os.fsdecode(path)} is a {what}, and only files in {NETWORK}/ are measured"
                )
        if not (listed.stdout or listed.returncode):
            return  # it has no such folder
        packed = self._run("archive", "--format=zip", "-0", commit, "--", NETWORK)
        if packed.returncode:
            raise BadInput(f"{place}: cannot be read ({_why(packed)}) from {self._here()}")
        with ZipFile(BytesIO(packed.stdout)) as files:
            files.extractall(folder)

    def _here(self) -> str:
        """Return the repository as text, with a hint where the revision may exist elsewhere."""
        here = f"the repository at {self._folder}"
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            return (
                f"{here}, which is a shallow clone: `git fetch --unshallow` brings the rest (in GitHub's "
                "checkout action: fetch-depth: 0)"
            )
        return f"{here}; perhaps `git fetch` brings it"

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run git on the repository, wherever in it the folder lies: paths start at its top."""
        return _git(self._git_dir, f"--git-dir={self._git_dir}", *arguments)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=variables.for_git(os.environ),
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise BadInput("git is not installed here; revisions are read by it") from None
    except ValueError:  # a NUL in a name
        raise BadInput("a revision's name holds a NUL character") from None
    except subprocess.TimeoutExpired:
        raise BadInput(f"{folder}: git did not answer within {TIMEOUT_S} s") from None


def _path(ended: subprocess.CompletedProcess[bytes]) -> Path:
    return Path(os.fsdecode(ended.stdout).rstrip("\n"))


def _why(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's error message."""
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else f"exit status {ended.returncode}"
