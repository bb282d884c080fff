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
from vsr_model.media import VideoWriter, image_folder, iterate_frames, whole_output, write_image
from vsr_model.media.whole_output import appearing, appearing_folder

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


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_appears_at_the_end_and_never_after_a_failure(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "out"
    if is_there:
        path.mkdir(0o700)
    before = names(tmp_path)

    def fail() -> None:
        with appearing_folder(path) as partial:
            (partial / "a.png").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with appearing_folder(path, rehearsal=True) as partial:
        (partial / "a.png").touch()
    assert names(tmp_path) == before
    with appearing_folder(path) as partial:
        (partial / "a.png").write_text("whole")
        assert not path.exists() or names(path) == []
    assert (names(tmp_path), names(path)) == (["out"], ["a.png"])
    assert (path.stat().st_mode & 0o777 == 0o700) == is_there


def test_a_killed_process_leaves_a_hidden_folder_that_the_next_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "out"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from vsr_model.media import whole_output\n"
        "with whole_output.appearing_folder(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'old.png').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, check=False, timeout=600)
    assert ended.returncode == -signal.SIGKILL
    [left] = names(tmp_path)
    assert left.startswith(".out.")
    with appearing_folder(path) as partial:
        (partial / "new.png").touch()
    assert (names(tmp_path), names(path)) == (["out"], ["new.png"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full", "full is a folder that is not empty, and frames are written to a new or an empty one."),
        ("file", "file is no folder, and one for frames is to be written."),
        ("no/out", "no/out is to be written, and the folder .* does not exist."),
        ("here", "here is where a disk or this program stands; name a new folder in it."),
    ],
)
def test_a_folder_that_cannot_appear_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".DS_Store").touch()
    (tmp_path / "file").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = names(tmp_path)
    with pytest.raises(BadInput, match=message), appearing_folder(tmp_path / name):
        pytest.fail("it began")
    assert names(tmp_path) == before


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


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a/0.png"])
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, name: str) -> None:
    def write() -> None:
        with a_disk_of(3000):
            if name == "a.jpg":
                write_image(tmp_path / name, NOISE)
                return
            if name == "a/0.png":
                with image_folder(tmp_path / "a") as write_frame:
                    write_frame("0.png", NOISE)
            with VideoWriter(tmp_path / name, frame_rate=Fraction(25), height=64, width=96) as writer:
                for _ in range(60):
                    writer.write(torch.rand(3, 64, 96))

    with pytest.raises(OSError, match="File too large") as raised:
        write()
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path / name))
    assert not isinstance(raised.value, BadInput)
    assert names(tmp_path) == []
