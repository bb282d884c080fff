"""Hostile checkpoints, pictures and videos: refused in one line, no code run, no time or memory spent."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from tests.fuzzing import damaged
from tests.networks import build_basicvsr
from tests.vsr_model.bad_files import CANARY, CHECKPOINTS, LYING, MEDIA, encoded, picture, saved, weights
from vsr_model.checkpoint import load_checkpoint
from vsr_model.errors import BadInput
from vsr_model.media import inspect, iterate_frames

EXAMPLES: Final = [40, pytest.param(3000, marks=pytest.mark.slow)]
"""Examples of each fuzz test in make test, and in make test-slow."""

WAIT_S: Final = 120
"""Far longer than any of the files takes, on a busy machine too."""


class _WaitedError(Exception):
    """Raised where a file makes its reader wait, or work for long."""


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test may wait, and none may run the code in a file."""

    def waited(*_: object) -> None:
        raise _WaitedError

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, waited)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / CANARY).exists()


def refusal(call: object, *arguments: object) -> str:
    signal.alarm(WAIT_S)
    with pytest.raises(BadInput) as caught:
        call(*arguments)  # type: ignore[operator]
    signal.alarm(0)
    assert str(caught.value).isprintable()
    return str(caught.value)


@contextmanager
def harmless() -> Iterator[None]:
    """The block ends in time, and well or by a refusal."""
    signal.alarm(WAIT_S)
    with suppress(BadInput):
        yield
    signal.alarm(0)


DAMAGE: Final = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 8),
        st.binary(max_size=4) | st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"]),
    ),
    min_size=1,
    max_size=6,
)
"""Position (as a share), number of bytes that are removed, and bytes in their place."""


# Checkpoints.


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_basicvsr(mid_channels=4, num_blocks=1, seed=0)


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_bad_checkpoint(what: str, network: nn.Module, tmp_path: Path) -> None:
    name, make, message = CHECKPOINTS[what]
    (tmp_path / name).write_bytes(make())
    sentence = refusal(load_checkpoint, network, tmp_path / name)
    assert name in sentence
    assert re.search(message, sentence)
    assert all(torch.equal(tensor, weights()[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "loop", "terabyte"])
def test_a_checkpoint_that_is_no_file(kind: str, suffix: str, network: nn.Module, tmp_path: Path) -> None:
    place(tmp_path / f"a{suffix}", kind)
    assert f"a{suffix}" in refusal(load_checkpoint, network, tmp_path / f"a{suffix}")


def place(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "terabyte":
        path.touch()
        os.truncate(path, 10**12)


class Small(nn.Module):
    """A part of the network, so that each example takes milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.aggregation = nn.ModuleDict({"fusion": nn.Conv2d(2, 2, 1)})


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("suffix", [".pth", ".old.pth", ".safetensors"])
def test_any_damage_to_a_checkpoint_is_harmless_or_refused(
    examples: int, suffix: str, tmp_path: Path
) -> None:
    network = Small()
    content = dict(network.state_dict())
    good = {
        ".pth": lambda: saved({"params": content}),
        ".old.pth": lambda: saved(content, _use_new_zipfile_serialization=False),
        ".safetensors": lambda: save(content),
    }[suffix]()
    path = tmp_path / f"a{suffix}"

    @settings(max_examples=examples)
    @given(DAMAGE)
    def check(damage: list[tuple[float, int, bytes]]) -> None:
        path.write_bytes(damaged(good, damage))
        with harmless():
            load_checkpoint(network, path)
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())

    check()


# Pictures and videos.


READERS: Final = inspect, lambda path: sum(1 for _ in iterate_frames(path, limit=50))


@pytest.mark.parametrize("what", MEDIA)
def test_a_bad_picture_or_video(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name, make, message = MEDIA[what]
    (tmp_path / name).write_bytes(make())
    sentence = refusal(inspect, tmp_path / name)
    assert name in sentence
    assert re.search(message, sentence)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", LYING)
def test_a_header_that_lies_is_not_believed(what: str, tmp_path: Path) -> None:
    name, make, _ = LYING[what]
    (tmp_path / name).write_bytes(make())
    for read in READERS:
        with harmless():
            found = read(tmp_path / name)
            # The file holds six frames, or a picture.
            assert not isinstance(found, int) or found in (1, 6)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "loop"])
def test_a_picture_that_is_no_file(kind: str, tmp_path: Path) -> None:
    place(tmp_path / "a.png", kind)
    for read in READERS:
        assert "a.png" in refusal(read, tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["a" * 300, "a\0b", "http://127.0.0.1:1/a.mp4", "concat:a|b", "pipe:0", ""], ids=ascii
)
def test_a_name_that_is_no_file(name: str) -> None:
    for read in READERS:
        refusal(read, name)


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    names = []
    for what in ("a PNG of 60,000 x 60,000", "a GIF of 25 large frames in 1 KB", "a BMP of 30,000 x 30,000"):
        name, make, _ = MEDIA[what]
        names.append(f"{len(names)}{name}")
        (tmp_path / names[-1]).write_bytes(make())
    program = (
        "import resource, sys\n"
        "from vsr_model.errors import BadInput\n"
        "from vsr_model.media import inspect\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        "    try: inspect(name)\n"
        "    except BadInput: continue\n"
        "    sys.exit(name)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    known = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program, *names]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300 * 1024  # KiB; one of them as it claims to be takes 10 GiB


@pytest.mark.parametrize("examples", [15, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "form", ["mp4", "avi", "matroska", "PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "AVIF"]
)
def test_any_damage_to_a_picture_or_video_is_read_or_refused(
    examples: int, form: str, tmp_path: Path
) -> None:
    name = f"a.{form.lower()}"
    good = picture(form) if form.isupper() else encoded(form, "mpeg4")

    @settings(max_examples=examples)
    @given(DAMAGE)
    def check(damage: list[tuple[float, int, bytes]]) -> None:
        (tmp_path / name).write_bytes(damaged(good, damage))
        with harmless():
            inspect(tmp_path / name)
            sum(1 for _ in iterate_frames(tmp_path / name, limit=10))

    check()
