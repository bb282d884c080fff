"""Read revisions of a git repository, and extract the network of each into a folder.

Files are read object by object, byte for byte as they were committed, and the repository is only read. `git
worktree` would need to write to it, would leave a registration there where it is killed, and would run the
hooks, filters and line ends that the repository's configuration asks for, as `git archive` runs some of them.
"""

import os
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from shutil import copy
from typing import Final

from bench.results.identity import CACHES, NETWORK, SHOWN, package_files
from vsr_model.errors import BadInput

AS_THEY_LIE: Final = "."
"""Name for the files in the working tree, committed or not."""

TIMEOUT_S: Final = 120
"""Limit for one call of git; one that has to fetch what a partial clone has left out takes seconds."""

_PROGRAM: Final = "100755"
_FILES: Final = ("100644", "100664", _PROGRAM)
"""Modes of plain files."""

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
    def described(self) -> str:
        """The commit as environment.json has it."""
        return f"{self.commit}-dirty" if self.dirty else self.commit

    @property
    def named(self) -> str:
        """The revision as messages write it."""
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
        self._git_dir = os.fsdecode(found.stdout).rstrip("\n")

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
        status = ("status", "--porcelain", "--ignored", "--", f":/{NETWORK}", *_CACHES)
        return Revision(asked=asked, commit=commit, dirty=bool(_git(self._folder, *status).stdout.strip()))

    def extract(self, revision: Revision, folder: Path, option: str) -> None:
        """Put the revision's vsr_model into the folder, which is there.

        Raises BadInput, which names the option, where the revision has none or it is more than plain files.
        """
        place = f"{option} {revision.named}"
        if revision.asked == AS_THEY_LIE:
            self._copy(folder, place)
        else:
            self._lay_out(revision.commit, folder, place)

    def _copy(self, folder: Path, place: str) -> None:
        top = _git(self._folder, "rev-parse", "--show-toplevel")
        tree = Path(os.fsdecode(top.stdout).rstrip("\n"))
        if top.returncode or not (tree / NETWORK / "__init__.py").is_file():
            raise BadInput(f"{place}: {self._folder} has no files in {NETWORK}/ to measure")
        for path in package_files(tree, NETWORK):
            to = folder / path.relative_to(tree)
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                copy(path, to)
            except PermissionError as error:
                raise BadInput(f"{place}: {path} cannot be read ({error.strerror})") from error

    def _lay_out(self, commit: str, folder: Path, place: str) -> None:
        listed = self._run("ls-tree", "-r", "-z", "--full-tree", commit, "--", NETWORK)
        if listed.returncode:
            raise BadInput(f"{place}: cannot be read ({_why(listed)}) from {self._here()}")
        entries = [line.partition(b"\t") for line in listed.stdout.split(b"\0") if line]
        files = {os.fsdecode(path): about.decode().split() for about, _, path in entries}
        for path, (mode, kind, _) in files.items():
            if mode not in _FILES or ".." in path.split("/"):
                what = "link" if kind == "blob" else "submodule"
                raise BadInput(f"{place}: {path} is a {what}, and only files in {NETWORK}/ are measured")
        if f"{NETWORK}/__init__.py" not in files:
            raise BadInput(f"{place}: has no package {NETWORK}/, which is what would be measured")
        names = "".join(f"{name}\n" for _, _, name in files.values())
        batch = self._run("cat-file", "--batch", given=names.encode())
        contents = BytesIO(batch.stdout)
        for path, (mode, _, name) in files.items():
            _, *about = contents.readline().split()
            if batch.returncode or len(about) != 2:
                raise BadInput(f"{place}: the object {name} of {path} is not in {self._here()}")
            to = folder / path
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(contents.read(int(about[1])))
            contents.readline()
            if mode == _PROGRAM:
                to.chmod(0o755)

    def _here(self) -> str:
        """Return the repository as text, with a hint where the revision may exist elsewhere."""
        here = f"the repository at {self._folder}"
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            return (
                f"{here}, which is a shallow clone: `git fetch --unshallow` brings the rest (in GitHub's "
                "checkout action: fetch-depth: 0)"
            )
        return f"{here}; perhaps `git fetch` brings it"

    def _run(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run git on the repository, wherever in it the folder lies: paths start at its top."""
        return _git(Path(self._git_dir), f"--git-dir={self._git_dir}", *arguments, given=given)


def _git(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=given,
            capture_output=True,
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


def _why(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's error message."""
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else f"exit status {ended.returncode}"
