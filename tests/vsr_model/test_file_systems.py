"""File systems that lack what most have, by the system's own errors."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from vsr_model import file_systems


def refused(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", sorted(file_systems.LACKING))
def test_a_call_that_is_not_there_is_done_without(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refused(number))
    for name in ("fsync", "link", "posix_fallocate"):
        monkeypatch.setattr(os, name, refused(number))
    with (tmp_path / "file").open("wb") as file:
        file_systems.to_disk(file.fileno())
        file_systems.claim(file.fileno(), 2**20)
        said = file_systems.lock(file.fileno())
    assert said is not None
    assert said.startswith(f"its file system has no locks ({os.strerror(number)})")
    (tmp_path / "whole").write_text("text")
    file_systems.name_first(tmp_path / "whole", tmp_path / "name")
    assert (tmp_path / "name").read_text() == "text"


@pytest.mark.parametrize("number", [None, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_of_several_that_name_a_file_one_succeeds(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number is not None:  # as where there are no hard links
        monkeypatch.setattr(os, "link", refused(number))
    for text in ("first", "second"):
        (tmp_path / text).write_text(text)
    file_systems.name_first(tmp_path / "first", tmp_path / "name")
    with pytest.raises(FileExistsError):
        file_systems.name_first(tmp_path / "second", tmp_path / "name")
    assert (tmp_path / "name").read_text() == "first"


def test_what_fails_for_another_reason_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, number in (
        (fcntl, "flock", errno.EIO), (os, "fsync", errno.ENOSPC), (os, "posix_fallocate", errno.ENOSPC),
        (os, "link", errno.ENOSPC),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refused(number))
    with (tmp_path / "file").open("wb") as file:
        for call in (
            lambda: file_systems.lock(file.fileno()),
            lambda: file_systems.to_disk(file.fileno()),
            lambda: file_systems.claim(file.fileno(), 1),
            lambda: file_systems.name_first(tmp_path / "file", tmp_path / "name"),
        ):
            with pytest.raises(OSError, match=r"Input/output error|No space left"):
                call()


def test_a_file_is_locked_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as ours, (tmp_path / "file").open("rb") as theirs:
        assert file_systems.lock(ours.fileno()) is None
        with pytest.raises(BlockingIOError):
            file_systems.lock(theirs.fileno())
