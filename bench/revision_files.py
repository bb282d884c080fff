"""The network's files of a commit, laid out in a folder byte for byte as the repository keeps them.

`git archive` and a checkout do what the commit's .gitattributes say: they leave files out, write the commit's
name into others, change line ends and run filters. What is measured is what was committed.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

from bench.results.identity import NETWORK

_LINK: Final = "120000"
_PROGRAM: Final = "100755"
_FILES: Final = ("100644", "100664", _PROGRAM)


class NotLaidOutError(Exception):
    """A commit whose files cannot be laid out; the reason is without a full stop."""


class Git(Protocol):
    """Asks git about a repository."""

    def __call__(
        self, *arguments: str, given: bytes = b"", stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]: ...


def lay_out(git: Git, commit: str, folder: Path) -> None:
    """Put the commit's vsr_model into the folder. Raises NotLaidOutError, as for a link out of it."""
    listed = git("ls-tree", "-r", "-z", "--full-tree", commit, "--", NETWORK)
    if listed.returncode:
        raise NotLaidOutError(why(listed))
    entries = [_entry(line) for line in listed.stdout.split(b"\0") if line]
    wanted = "".join(f"{name}\n" for _, name, _ in entries).encode()
    links = []
    with tempfile.TemporaryFile() as contents:
        done = git("cat-file", "--batch", given=wanted, stdout=contents.fileno())
        if done.returncode:
            raise NotLaidOutError(why(done))
        contents.seek(0)
        for (mode, _, path), content in zip(entries, _contents(contents, len(entries)), strict=True):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if mode == _LINK:
                links.append((place, content))
                continue
            place.write_bytes(content)
            if mode == _PROGRAM:
                place.chmod(0o755)
    _link(links, folder / NETWORK)


def why(ended: subprocess.CompletedProcess[bytes]) -> str:
    """What git said where it failed."""
    lines: Sequence[str] = ended.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else f"exit status {ended.returncode}"


def _entry(line: bytes) -> tuple[str, str, str]:
    """Mode, name of the object and path."""
    about, _, path = line.partition(b"\t")
    mode, _, name = about.decode().split()
    told = os.fsdecode(path)
    if mode not in (*_FILES, _LINK):
        raise NotLaidOutError(f"{told}: is a submodule, whose files are elsewhere")
    if any(part in ("", ".", "..") for part in told.split("/")):
        raise NotLaidOutError(f"{told}: leads out of it")
    return mode, name, told


def _contents(batch: IO[bytes], count: int) -> Iterator[bytes]:
    """Of so many objects, as `git cat-file --batch` writes them."""
    for _ in range(count):
        name, *about = batch.readline().decode().split()
        if len(about) != 2:
            raise NotLaidOutError(f"the repository lacks its object {name}")
        content = batch.read(int(about[1]))
        batch.readline()
        yield content


def _link(links: Sequence[tuple[Path, bytes]], top: Path) -> None:
    """After the files, so that none is written through a link."""
    for place, target in links:
        place.symlink_to(os.fsdecode(target))
    for place, _ in links:
        if not _stays(place, top):
            place.unlink()
            raise NotLaidOutError(f"{place.relative_to(top.parent)}: is a link that leads out of it")


def _stays(link: Path, top: Path) -> bool:
    try:
        return not link.readlink().is_absolute() and link.resolve().is_relative_to(top.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False
