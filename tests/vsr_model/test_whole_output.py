"""Output files appear whole or not at all: real processes, killed; real folders."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from vsr_model.errors import BadInput
from vsr_model.media import VideoWriter, iterate_frames, whole_output, write_image
from vsr_model.media.whole_output import appearing

ROOT = Path(__file__).parents[2]
NOISE = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["nameless", "hidden"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the file while it is written: as this system does it, and as one without nameless files."""
    if request.param == "hidden":
        monkeypatch.setattr(whole_output, "_nameless", lambda folder: None)
    elif whole_output._nameless(ROOT) is None:
        pytest.skip("this file system has no nameless files")
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@contextmanager
def a_disk_of(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_appears_at_the_end(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with appearing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert len(names(tmp_path)) == {"nameless": 1, "hidden": 2}[kind]
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_failed_block_and_a_rehearsal_leave_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail() -> None:
        with appearing(path) as partial:
            partial.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with appearing(path, rehearsal=True) as partial:
        partial.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_name_as_long_as_names_can_be(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("ä" * 125 + ".webp")
    with appearing(path) as partial:
        partial.write_text("new")
    assert names(tmp_path) == [path.name]


def test_no_name_for_a_nameless_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with appearing(tmp_path / "out.txt") as partial:
        partial.write_text("hours of work")
    assert (tmp_path / "out.txt").read_text() == "hours of work"
    assert names(tmp_path) == ["out.txt"]


def killed_while_writing(path: Path, kind: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from vsr_model.media import whole_output\n"
        "if sys.argv[2] == 'hidden': whole_output._nameless = lambda folder: None\n"
        "with whole_output.appearing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, path, kind], cwd=ROOT, check=False, timeout=600)
    assert ended.returncode == -signal.SIGKILL


def test_a_killed_process_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    killed_while_writing(path, kind)
    assert path.read_text() == "old"
    left = ["out.txt"] if kind == "nameless" else ["out.txt", left_behind(tmp_path)]
    assert names(tmp_path) == sorted(left)
    # What a system without nameless files cannot help goes with the next of the same name, and only that.
    with appearing(tmp_path / "other.txt") as partial:
        partial.write_text("other")
    assert names(tmp_path) == sorted([*left, "other.txt"])
    with appearing(path) as partial:
        partial.write_text("new")
    assert names(tmp_path) == ["other.txt", "out.txt"]
    assert path.read_text() == "new"


def left_behind(folder: Path) -> str:
    (found,) = folder.glob(".out.*.partial.txt")
    assert found.read_text() == "half"
    return found.name


def test_videos_and_pictures_have_no_name_before_they_are_whole(tmp_path: Path, kind: str) -> None:
    for rehearsal in (True, False):
        with VideoWriter(
            tmp_path / "a.mp4", frame_rate=Fraction(25), height=64, width=96, rehearsal=rehearsal
        ) as writer:
            for _ in range(3):
                writer.write(NOISE)
            assert not (tmp_path / "a.mp4").exists()
            assert kind == "hidden" or names(tmp_path) == []
        write_image(tmp_path / "a.png", NOISE, rehearsal=rehearsal)
        assert names(tmp_path) == ([] if rehearsal else ["a.mp4", "a.png"])
    assert len(list(iterate_frames(tmp_path / "a.mp4"))) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_no_fault_of_the_request(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"

    def write_frames() -> None:
        with a_disk_of(3000), VideoWriter(path, frame_rate=Fraction(25), height=64, width=96) as writer:
            for _ in range(60):
                writer.write(torch.rand(3, 64, 96))

    with pytest.raises(OSError, match="File too large") as raised:
        write_frames()
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert not isinstance(raised.value, BadInput)
    assert names(tmp_path) == []


def test_a_full_disk_for_a_picture(tmp_path: Path) -> None:
    with a_disk_of(1000), pytest.raises(OSError, match="File too large") as raised:
        write_image(tmp_path / "a.jpg", NOISE)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path / "a.jpg"))
    assert names(tmp_path) == []


def test_a_link_leads_to_the_file_and_what_was_private_stays_so(tmp_path):
    target, link = tmp_path / "target.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    with appearing(link) as partial:
        partial.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.bin", "target.bin"]
