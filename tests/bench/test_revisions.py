"""Revisions of real repositories, taken out by the real git."""

import os
from pathlib import Path

import pytest

from bench.revisions import AS_THEY_LIE, Repository
from tests.bench.revised import commit, git, repository
from vsr_model.errors import BadInput


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, str, str]:
    """A repository with two commits of a tiny package."""
    folder = repository(tmp_path / "two")
    (folder / "README.md").write_text("about it")
    first = commit(folder, __init__="", net="FIRST = 1\n")
    git(folder, "tag", "v1")
    git(folder, "branch", "topic")
    return folder, first, commit(folder, net="SECOND = 2\n")


def taken_out(folder: Path, asked: str, into: Path) -> dict[str, str]:
    """The files that a revision gives, by their path."""
    into.mkdir()
    known = Repository(folder)
    known.extract(known.revision(asked, "--base"), into, "--base")
    return {path.relative_to(into).as_posix(): path.read_text() for path in into.rglob("*") if path.is_file()}


FIRST = {"vsr_model/__init__.py": "", "vsr_model/net.py": "FIRST = 1\n"}
SECOND = {"vsr_model/__init__.py": "", "vsr_model/net.py": "SECOND = 2\n"}


@pytest.mark.parametrize("asked", ["v1", "topic", "HEAD~1", "main^", "the commit", "in short"])
def test_a_revision_by_any_of_its_names(two, tmp_path, asked):
    folder, first, _ = two
    asked = {"the commit": first, "in short": first[:8]}.get(asked, asked)
    found = Repository(folder).revision(asked, "--base")
    assert (found.asked, found.commit, found.dirty) == (asked, first, False)
    assert found.described == first
    assert taken_out(folder, asked, tmp_path / "out") == FIRST


def test_the_repository_is_as_it_was(two, tmp_path):
    folder, _, _ = two
    (folder / "vsr_model" / "net.py").write_text("UNCOMMITTED = 3\n")
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    taken_out(folder, "v1", tmp_path / "out")
    taken_out(folder, AS_THEY_LIE, tmp_path / "lies")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    assert git(folder, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    "place", ["a folder below", "a bare clone", "another worktree", "a hook's variables"]
)
def test_wherever_one_stands(two, tmp_path, monkeypatch, place):
    folder, _, second = two
    here = folder
    if place == "a folder below":
        here = folder / "vsr_model"
    elif place == "a bare clone":
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
    assert not Repository(folder).revision(AS_THEY_LIE, "--head").dirty
    cache = folder / "vsr_model" / "__pycache__"
    cache.mkdir()
    (cache / "net.pyc").touch()
    assert not Repository(folder / "vsr_model").revision(AS_THEY_LIE, "--head").dirty
    (folder / "README.md").write_text("about something else")
    assert not Repository(folder).revision(AS_THEY_LIE, "--head").dirty

    (folder / "vsr_model" / "net.py").write_text("THIRD = 3\n")
    (folder / "vsr_model" / "new.py").touch()
    found = Repository(folder / "vsr_model").revision(AS_THEY_LIE, "--head")
    assert (found.commit, found.dirty, found.described) == (second, True, f"{second}-dirty")
    assert taken_out(folder / "vsr_model", AS_THEY_LIE, tmp_path / "out") == {
        "vsr_model/__init__.py": "", "vsr_model/net.py": "THIRD = 3\n", "vsr_model/new.py": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    ["nonesuch", "", "-x", "--all", "--git-dir=/", "v1:vsr_model", "HEAD^{tree}", "a b", "f" * 40, "ü\n"],
)
def test_what_is_no_revision(two, asked):
    with pytest.raises(
        BadInput, match=r"^--base '.*': no revision of the repository at .*`git fetch`"
    ) as caught:
        Repository(two[0]).revision(asked, "--base")
    assert len(str(caught.value).splitlines()) == 1


def test_a_name_that_no_command_line_can_carry(two):
    with pytest.raises(BadInput, match="holds a NUL character"):
        Repository(two[0]).revision("a\0b", "--base")


def test_a_shallow_clone_without_it(two, tmp_path):
    folder, first, second = two
    git(tmp_path, "clone", "--quiet", "--depth=1", folder.as_uri(), "shallow")
    known = Repository(tmp_path / "shallow")
    assert known.revision("HEAD", "--head").commit == second
    for asked in (first, "HEAD~1", "v1"):
        with pytest.raises(BadInput, match=r"shallow clone: `git fetch --unshallow`.*fetch-depth: 0\)$"):
            known.revision(asked, "--base")


def test_no_repository(tmp_path):
    with pytest.raises(BadInput, match=r"holds no git repository .*not a git repository"):
        Repository(tmp_path)
    with pytest.raises(BadInput, match=r"^--repository .*/nowhere: is no folder"):
        Repository(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="'HEAD': no revision"):
        Repository(repository(tmp_path / "new")).revision("HEAD", "--head")


def test_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="git is not installed here"):
        Repository(tmp_path)


def test_a_revision_without_the_network(tmp_path):
    folder = repository(tmp_path / "one")
    (folder / "README.md").touch()
    first = commit(folder)
    for asked in ("HEAD", AS_THEY_LIE):
        known = Repository(folder)
        with pytest.raises(BadInput, match=r"^--base .*vsr_model/"):
            known.extract(known.revision(asked, "--base"), tmp_path, "--base")
    (folder / "vsr_model").mkdir()
    (folder / "vsr_model" / "net.py").touch()
    commit(folder)
    known = Repository(folder)
    with pytest.raises(BadInput, match=rf"^--base {first[:9]} \({first[:12]}\): has no package vsr_model/"):
        known.extract(known.revision(first[:9], "--base"), tmp_path, "--base")
    with pytest.raises(BadInput, match="has no package vsr_model/"):
        known.extract(known.revision("HEAD", "--base"), tmp_path, "--base")


def test_a_revision_that_would_reach_outside(two, tmp_path):
    folder, _, _ = two
    (folder / "vsr_model" / "out").symlink_to("../../../outside")
    commit(folder)
    into = tmp_path / "into"
    into.mkdir()
    known = Repository(folder)
    with pytest.raises(BadInput, match=r"--head HEAD .*: its vsr_model/ cannot be laid out \("):
        known.extract(known.revision("HEAD", "--head"), into, "--head")
    assert not os.path.lexists(into / "vsr_model" / "out")
