"""Revisions of a git repository, and the network of each laid out in a folder.

Files are taken out object by object (bench.revision_files): no worktree, no lock and no ref is left in the
repository, and what its attributes say of exports and line ends changes nothing.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from shutil import Error, copytree, ignore_patterns
from typing import Final

from bench.results.identity import CACHES, NETWORK, SHOWN
from bench.revision_files import NotLaidOutError, lay_out, why
from vsr_model.errors import BadInput

AS_THEY_LIE: Final = "."
"""The word for the files as they lie in the working tree, committed or not."""

TIMEOUT_S: Final = 120
"""For one call of git; one that has to fetch what a partial clone has left out takes seconds."""

_LINK: Final = b"120000 "
"""How git lists a symbolic link."""

_CACHES: Final = (
    *(f":(top,exclude,glob)**/{cache}" for cache in CACHES),
    ":(top,exclude,glob)**/__pycache__/**",
)

_OF_ANOTHER_REPOSITORY: Final = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
)  # fmt: skip
"""Variables that a git hook has, and that would overrule the folder that was named."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A state of the network."""

    asked: str  # as it was named
    commit: str  # 40 hexadecimal digits, or 64; of AS_THEY_LIE the one that is checked out
    dirty: bool = False  # whether vsr_model differs from that commit

    @property
    def as_it_lies(self) -> bool:
        return self.asked == AS_THEY_LIE

    @property
    def described(self) -> str:
        """As environment.json has a commit."""
        return f"{self.commit}-dirty" if self.dirty else self.commit


class Repository:
    """A git repository on this disk, clone or bare."""

    def __init__(self, folder: Path) -> None:
        """Of the folder or of one above it. Raises BadInput where there is none, or no git."""
        if not folder.is_dir():
            raise BadInput(f"--repository {folder}: is no folder")
        self._folder = folder
        found = _git(folder, "rev-parse", "--absolute-git-dir")
        if found.returncode:
            raise BadInput(
                f"{folder}: holds no git repository whose revisions could be measured ({why(found)})"
            )
        self._git_dir = found.stdout.decode(errors="surrogateescape").rstrip("\n")

    def revision(self, asked: str, option: str) -> Revision:
        """The revision of that name. Raises BadInput, which names the option, for one that is not here."""
        name = "HEAD" if asked == AS_THEY_LIE else asked
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        commit = found.stdout.decode(errors="replace").strip()
        if found.returncode or not commit or commit.startswith("^"):  # ^HEAD: all that HEAD has not
            shown = asked if len(asked) <= SHOWN else f"{asked[: SHOWN - 3]}..."
            raise BadInput(
                f"{option} {shown!r}: no revision of the repository at {self._folder}{self._hint()}"
            )
        if asked != AS_THEY_LIE:
            return Revision(asked=asked, commit=commit)
        changed = self._in_the_tree("status", "--porcelain", "--ignored", "--", f":/{NETWORK}", *_CACHES)
        return Revision(asked=asked, commit=commit, dirty=bool(changed.stdout.strip()))

    def extract(self, revision: Revision, folder: Path, option: str) -> None:
        """Put the revision's vsr_model into the folder, which is there. Raises BadInput if it has none."""
        if revision.as_it_lies:
            self._copy(folder, option)
            return
        if self._run("cat-file", "-e", f"{revision.commit}^{{commit}}").returncode:
            place = f"is not in the repository at {self._folder}"
            raise BadInput(
                f"{option} {revision.asked!r}: its commit {revision.commit[:12]} {place}{self._hint()}"
            )
        place = f"{option} {revision.asked} ({revision.commit[:12]})"
        if self._run("ls-tree", "--full-tree", revision.commit, "--", NETWORK).stdout.startswith(_LINK):
            raise BadInput(f"{place}: its {NETWORK} is a link, which is not followed")
        if self._run("cat-file", "-e", f"{revision.commit}:{NETWORK}/__init__.py").returncode:
            raise BadInput(f"{place}: has no package {NETWORK}/, which is what would be measured")
        try:
            lay_out(self._run, revision.commit, folder)
        except NotLaidOutError as error:
            raise BadInput(f"{place}: its {NETWORK}/ cannot be laid out ({error})") from None

    def _copy(self, folder: Path, option: str) -> None:
        top = self._in_the_tree("rev-parse", "--show-toplevel")
        tree = Path(os.fsdecode(top.stdout).rstrip("\n")) if not top.returncode else None
        if tree is None or not (tree / NETWORK / "__init__.py").is_file():
            raise BadInput(f"{option} {AS_THEY_LIE}: {self._folder} has no files in {NETWORK}/ to measure")
        try:
            copytree(tree / NETWORK, folder / NETWORK, ignore=_left_out)
        except Error as error:  # of every file that could not be read
            why_not = error.args[0][0][-1]
            raise BadInput(f"{option} {AS_THEY_LIE}: its {NETWORK}/ cannot be copied ({why_not})") from error

    def _hint(self) -> str:
        """What a revision that is there elsewhere may want."""
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            return (
                ", which is a shallow clone: `git fetch --unshallow` brings the rest (in GitHub's checkout "
                "action: fetch-depth: 0)"
            )
        return "; a branch, a tag or a commit is one, and perhaps `git fetch` brings it"

    def _run(
        self, *arguments: str, given: bytes = b"", stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        """git on what the repository holds, wherever in it the folder lies: paths start at its top."""
        where = f"--git-dir={self._git_dir}"
        return _git(Path(self._git_dir), where, *arguments, given=given, stdout=stdout)

    def _in_the_tree(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return _git(self._folder, *arguments)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Caches, links that lead nowhere (an editor's locks) or around in a circle, pipes and devices."""
    return {*ignore_patterns(*CACHES)(folder, names)} | {
        name for name in names if not _is_copied(Path(folder, name))
    }


def _is_copied(path: Path) -> bool:
    if path.is_dir():
        return not (path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()))
    return path.is_file()


def _git(
    folder: Path, *arguments: str, given: bytes = b"", stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=given,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**inherited, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise BadInput("git is not installed here; revisions are read by it") from None
    except ValueError:  # a NUL in a name
        raise BadInput("a revision's name holds a NUL character") from None
    except subprocess.TimeoutExpired:
        raise BadInput(f"{folder}: git did not answer within {TIMEOUT_S} s") from None
