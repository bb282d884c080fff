"""Output files appear whole or not at all, also where the process is killed."""

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
    """The file while it is written: without a name, or hidden where the system has no nameless files."""
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


def test_a_file_appears_at_the_end_and_never_after_a_failure(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("ä" * 125 + ".txt")  # as long as names can be

    def fail() -> None:
        with appearing(path) as partial:
            partial.write_text("half")
            raise KeyError

    with appearing(path, rehearsal=True) as partial:
        partial.write_text("rehearsed")
    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []
    with appearing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert len(names(tmp_path)) == {"nameless": 0, "hidden": 1}[kind]
    (tmp_path / "plain.txt").touch()
    assert path.read_text() == "new"
    assert path.stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_links_and_permissions_stay(tmp_path: Path, kind: str) -> None:
    target, link = tmp_path / "target.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    with appearing(link) as partial:
        partial.write_bytes(b"new")
    assert link.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o600)
    assert names(tmp_path) == ["link.bin", "target.bin"]


def test_a_nameless_file_that_cannot_be_named_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with appearing(tmp_path / "out.txt") as partial:
        partial.write_text("hours of work")
    assert (tmp_path / "out.txt").read_text() == "hours of work"
    assert names(tmp_path) == ["out.txt"]


def test_a_killed_process_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
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
    assert path.read_text() == "old"
    left = [file.name for file in tmp_path.glob(".out.*.partial.txt")]
    assert len(left) == {"nameless": 0, "hidden": 1}[kind]
    # A hidden file is taken over by the next of the same name, and by no other.
    with appearing(tmp_path / "other.txt") as partial:
        partial.write_text("other")
    assert names(tmp_path) == sorted([*left, "other.txt", "out.txt"])
    with appearing(path) as partial:
        partial.write_text("new")
    assert names(tmp_path) == ["other.txt", "out.txt"]
    assert path.read_text() == "new"


def test_videos_and_pictures_have_no_name_before_they_are_whole(tmp_path: Path, kind: str) -> None:
    size = {"frame_rate": Fraction(25), "height": 64, "width": 96}
    for rehearsal in (True, False):
        with VideoWriter(tmp_path / "a.mp4", rehearsal=rehearsal, **size) as writer:
            for _ in range(3):
                writer.write(NOISE)
            assert not (tmp_path / "a.mp4").exists()
            assert kind == "hidden" or names(tmp_path) == []
        write_image(tmp_path / "a.png", NOISE, rehearsal=rehearsal)
        assert names(tmp_path) == ([] if rehearsal else ["a.mp4", "a.png"])
    assert len(list(iterate_frames(tmp_path / "a.mp4"))) == 3


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg"])
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, name: str) -> None:
    def write() -> None:
        with a_disk_of(3000):
            if name == "a.jpg":
                write_image(tmp_path / name, NOISE)
                return
            with VideoWriter(tmp_path / name, frame_rate=Fraction(25), height=64, width=96) as writer:
                for _ in range(60):
                    writer.write(torch.rand(3, 64, 96))

    with pytest.raises(OSError, match="File too large") as raised:
        write()
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path / name))
    assert not isinstance(raised.value, BadInput)
    assert names(tmp_path) == []
