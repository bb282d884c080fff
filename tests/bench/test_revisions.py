"""Revisions of real repositories, taken out by the real git."""

import errno
import os
from pathlib import Path

import pytest

from bench.commands import revisions
from bench.commands.revisions import AS_THEY_LIE, Repository
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
    [
        "nonesuch",
        "",
        "--git-dir=/",
        "v1:vsr_model",
        "^HEAD",
        "f" * 40,
        "ü\n",
    ],
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


def test_a_revision_is_what_was_committed_whatever_its_attributes_say(two, tmp_path):
    folder, _, _ = two
    (folder / ".gitattributes").write_text(
        "vsr_model/left.py export-ignore\nvsr_model/named.py export-subst\nvsr_model/ends.py text eol=crlf\n"
        "vsr_model/made.py filter=made ident\n"
    )
    git(folder, "config", "filter.made.smudge", "echo changed")
    texts = {
        "left.py": "LEFT = 1\n", "named.py": "NAME = '$Format:%H$'\n", "ends.py": "ENDS = 1\n",
        "made.py": "MADE = '$Id$'\n", "ümlaut.json": "[1]", "deep/er.cu": "//",
    }  # fmt: skip
    (folder / "vsr_model" / "deep").mkdir()
    for name, text in texts.items():
        (folder / "vsr_model" / name).write_text(text)
    commit(folder)
    found = taken_out(folder, "HEAD", tmp_path / "out")
    assert found == {**SECOND, **{f"vsr_model/{name}": text for name, text in texts.items()}}


def test_bytes_and_programs_are_kept(two, tmp_path):
    folder, _, _ = two
    raw = bytes(range(256)) * 300 + b"\n\n"
    (folder / "vsr_model" / "weights.bin").write_bytes(raw)
    (folder / "vsr_model" / "empty").touch()
    (folder / "vsr_model" / "tool").write_text("#!/bin/sh\n")
    (folder / "vsr_model" / "tool").chmod(0o755)
    commit(folder)
    known = Repository(folder)
    known.extract(known.revision("HEAD", "--base"), tmp_path, "--base")
    out = tmp_path / "vsr_model"
    assert (out / "weights.bin").read_bytes() == raw
    assert (out / "empty").read_bytes() == b""
    assert os.access(out / "tool", os.X_OK)
    assert not os.access(out / "net.py", os.X_OK)


def test_what_git_ignores_is_measured_and_so_it_is_a_change(two):
    folder, _, _ = two
    (folder / ".gitignore").write_text("*.so\n__pycache__/\n*.pyc\n")
    commit(folder)
    (folder / "vsr_model" / "__pycache__").mkdir()
    (folder / "vsr_model" / "__pycache__" / "net.pyc").touch()
    (folder / "vsr_model" / "old.pyc").touch()
    assert not Repository(folder).revision(AS_THEY_LIE, "--head").dirty
    (folder / "vsr_model" / "fast.so").touch()
    assert Repository(folder).revision(AS_THEY_LIE, "--head").dirty


def refused(folder: Path, asked: str, into: Path) -> str:
    """What is said of a revision that cannot be taken out, of which nothing is left."""
    into.mkdir()
    known = Repository(folder)
    with pytest.raises(BadInput) as caught:
        known.extract(known.revision(asked, "--head"), into, "--head")
    assert list(into.iterdir()) == []
    return str(caught.value)


def test_a_link_is_refused(two, tmp_path):
    folder, _, _ = two
    (folder / "vsr_model" / "out").symlink_to("net.py")
    made = commit(folder)
    assert refused(folder, "HEAD", tmp_path / "into") == (
        f"--head HEAD ({made[:12]}): vsr_model/out is a link, and only files in vsr_model/ are measured"
    )


def test_a_network_that_is_a_link_is_refused(two, tmp_path):
    folder, _, _ = two
    (folder / "vsr_model").rename(folder / "elsewhere")
    (folder / "vsr_model").symlink_to("elsewhere")
    commit(folder)
    assert ": vsr_model is a link, and only files" in refused(folder, "HEAD", tmp_path / "into")


def test_a_submodule_is_refused(two, tmp_path):
    folder, first, _ = two
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{first},vsr_model/other")
    git(folder, "commit", "--quiet", "-m", "a submodule")
    assert ": vsr_model/other is a submodule, and only files" in refused(folder, "HEAD", tmp_path / "into")


def test_an_object_that_is_lost_is_named(two, tmp_path):
    folder, _, _ = two
    lost = git(folder, "rev-parse", "HEAD:vsr_model/net.py")
    (folder / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    known = Repository(folder)
    with pytest.raises(
        BadInput, match=rf"the object {lost} of vsr_model/net.py is not in the repository at "
    ):
        known.extract(known.revision("HEAD", "--head"), tmp_path, "--head")


def test_what_lies_about_and_holds_nothing_is_left_out(two, tmp_path):
    folder, _, _ = two
    network = folder / "vsr_model"
    (network / ".#net.py").symlink_to("somebody@host.1234:5678")
    (network / "itself").symlink_to("itself")
    (network / "around").symlink_to(".")
    (network / "alias.py").symlink_to("net.py")
    os.mkfifo(network / "pipe")
    found = taken_out(folder, AS_THEY_LIE, tmp_path / "out")
    assert found == {**SECOND, "vsr_model/alias.py": "SECOND = 2\n"}


def test_files_that_cannot_be_copied(two, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(revisions, "copy", refuse)
    known = Repository(two[0])
    with pytest.raises(BadInput, match=r"^--head \.: .*/__init__.py cannot be read \(Permission denied\)$"):
        known.extract(known.revision(AS_THEY_LIE, "--head"), tmp_path, "--head")
