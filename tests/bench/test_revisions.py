"""Revisions of real repositories, taken out by the real git."""

import os
from pathlib import Path

import pytest

from bench.commands.revisions import AS_THEY_LIE, Repository
from tests.bench.revised import commit, git, repository
from vsr_model.errors import BadInput

FIRST = {"vsr_model/__init__.py": "", "vsr_model/net.py": "FIRST = 1\n"}
SECOND = {"vsr_model/__init__.py": "", "vsr_model/net.py": "SECOND = 2\n"}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, str, str]:
    """Make a repository with two commits of a tiny package."""
    folder = repository(tmp_path / "two")
    (folder / "README.md").write_text("about it")
    first = commit(folder, __init__="", net="FIRST = 1\n")
    git(folder, "tag", "v1")
    return folder, first, commit(folder, net="SECOND = 2\n")


def taken_out(folder: Path, asked: str, into: Path) -> dict[str, str]:
    """Return the files that a revision gives, by their path."""
    into.mkdir()
    known = Repository(folder)
    known.extract(known.revision(asked, "--head"), into, "--head")
    return {path.relative_to(into).as_posix(): path.read_text() for path in into.rglob("*") if path.is_file()}


@pytest.mark.parametrize("asked", ["v1", "HEAD~1", "in short"])
def test_a_revision_by_any_of_its_names(two, tmp_path, asked):
    folder, first, _ = two
    asked = first[:8] if asked == "in short" else asked
    found = Repository(folder).revision(asked, "--base")
    assert (found.asked, found.commit, found.dirty, found.described) == (asked, first, False, first)
    assert taken_out(folder, asked, tmp_path / "out") == FIRST


def test_the_repository_is_as_it_was(two, tmp_path):
    folder, _, _ = two
    (folder / "vsr_model" / "net.py").write_text("UNCOMMITTED = 3\n")
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    taken_out(folder, "v1", tmp_path / "out")
    taken_out(folder, AS_THEY_LIE, tmp_path / "lies")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.parametrize("place", ["a bare clone", "another worktree", "a hook's variables"])
def test_revisions_are_found_from_anywhere(two, tmp_path, monkeypatch, place):
    folder, _, second = two
    here = folder
    if place == "a bare clone":
        git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
        here = tmp_path / "bare.git"
    elif place == "another worktree":
        git(folder, "worktree", "add", "--quiet", "--detach", str(tmp_path / "beside"), "v1")
        here = tmp_path / "beside"
        assert Repository(here).revision("HEAD", "--head").commit == git(folder, "rev-parse", "v1")
    else:
        other = repository(tmp_path / "other")
        for name, value in (("GIT_DIR", ".git"), ("GIT_WORK_TREE", "."), ("GIT_INDEX_FILE", "index")):
            monkeypatch.setenv(name, str(other / value))
    assert Repository(here).revision("main", "--head").commit == second
    assert taken_out(here, "main", tmp_path / "out") == SECOND


def test_files_as_they_lie(two, tmp_path):
    folder, _, second = two
    network = folder / "vsr_model"
    (folder / ".gitignore").write_text("*.so\n__pycache__/\n*.pyc\n")
    (network / "__pycache__").mkdir()
    (network / "__pycache__" / "net.pyc").touch()
    (network / "old.pyc").touch()
    assert not Repository(network).revision(AS_THEY_LIE, "--head").dirty
    (network / "fast.so").touch()  # git ignores it, and it is measured
    assert Repository(folder).revision(AS_THEY_LIE, "--head").dirty

    (network / "net.py").write_text("THIRD = 3\n")
    (network / ".#net.py").symlink_to("somebody@host.1234:5678")
    (network / "around").symlink_to(".")
    os.mkfifo(network / "pipe")
    found = Repository(network).revision(AS_THEY_LIE, "--head")
    assert (found.commit, found.dirty, found.described) == (second, True, f"{second}-dirty")
    assert taken_out(network, AS_THEY_LIE, tmp_path / "out") == {
        "vsr_model/__init__.py": "", "vsr_model/net.py": "THIRD = 3\n", "vsr_model/fast.so": "",
    }  # fmt: skip


def test_a_bare_repository_has_no_files_that_lie_anywhere(two, tmp_path, monkeypatch):
    folder, _, _ = two
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
    monkeypatch.chdir(folder)  # which has a vsr_model
    with pytest.raises(BadInput, match=r"^--head \.: .*bare\.git has no working tree"):
        taken_out(tmp_path / "bare.git", AS_THEY_LIE, tmp_path / "out")


def test_files_of_any_content_and_name_are_taken_out(two, tmp_path):
    folder, _, _ = two
    raw = bytes(range(256)) * 300 + b"\n\n"
    (folder / "vsr_model" / "deep").mkdir()
    (folder / "vsr_model" / "deep" / "ümlaut.bin").write_bytes(raw)
    commit(folder)
    known = Repository(folder)
    known.extract(known.revision("HEAD", "--base"), tmp_path, "--base")
    assert (tmp_path / "vsr_model" / "deep" / "ümlaut.bin").read_bytes() == raw


@pytest.mark.parametrize("asked", ["nonesuch", "", "--git-dir=/", "v1:vsr_model", "^HEAD"])
def test_a_name_of_no_revision_is_refused(two, asked):
    with pytest.raises(
        BadInput, match=r"^--base '.*': no revision of the repository at .*`git fetch`"
    ) as caught:
        Repository(two[0]).revision(asked, "--base")
    assert len(str(caught.value).splitlines()) == 1


def test_a_shallow_clone_without_it(two, tmp_path):
    folder, first, second = two
    git(tmp_path, "clone", "--quiet", "--depth=1", folder.as_uri(), "shallow")
    known = Repository(tmp_path / "shallow")
    assert known.revision("HEAD", "--head").commit == second
    with pytest.raises(BadInput, match=r"shallow clone: `git fetch --unshallow`.*fetch-depth: 0\)$"):
        known.revision(first, "--base")


def test_no_repository_and_no_git(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"holds no git repository .*not a git repository"):
        Repository(tmp_path)
    with pytest.raises(BadInput, match=r"^--repository .*/nowhere: is no folder"):
        Repository(tmp_path / "nowhere")
    known = Repository(repository(tmp_path / "new"))
    with pytest.raises(BadInput, match="'HEAD': no revision"):
        known.revision("HEAD", "--head")
    with pytest.raises(BadInput, match="holds a NUL character"):
        known.revision("a\0b", "--base")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="git is not installed here"):
        Repository(tmp_path)


def refused(folder: Path, asked: str, into: Path) -> str:
    """Return why a revision cannot be taken out; nothing is left of it."""
    with pytest.raises(BadInput) as caught:
        taken_out(folder, asked, into)
    assert list(into.iterdir()) == []
    return str(caught.value)


def test_a_revision_without_the_network_is_refused(tmp_path):
    folder = repository(tmp_path / "one")
    (folder / "README.md").touch()
    first = commit(folder)
    for asked, named in (("HEAD", f"HEAD ({first[:12]})"), (AS_THEY_LIE, ".")):
        assert refused(folder, asked, tmp_path / f"into{asked}") == (
            f"--head {named}: has no package vsr_model/, which is what would be measured"
        )


@pytest.mark.parametrize("what", ["link", "network", "submodule"])
def test_a_revision_of_more_than_files_is_refused(two, tmp_path, what):
    folder, first, _ = two
    if what == "link":
        (folder / "vsr_model" / "other").symlink_to("net.py")
    elif what == "network":
        (folder / "vsr_model").rename(folder / "elsewhere")
        (folder / "vsr_model").symlink_to("elsewhere")
    else:
        git(folder, "update-index", "--add", "--cacheinfo", f"160000,{first},vsr_model/other")
        git(folder, "commit", "--quiet", "-m", "a submodule")
    made = git(folder, "rev-parse", "HEAD") if what == "submodule" else commit(folder)
    path = "vsr_model is a link" if what == "network" else f"vsr_model/other is a {what}"
    assert refused(folder, "HEAD", tmp_path / "into") == (
        f"--head HEAD ({made[:12]}): {path}, and only files in vsr_model/ are measured"
    )


def test_an_object_that_is_lost_is_named(two, tmp_path):
    folder, _, _ = two
    lost = git(folder, "rev-parse", "HEAD:vsr_model/net.py")
    (folder / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    assert lost in refused(folder, "HEAD", tmp_path / "into")
