"""`vsr-bench upscale` as users start it: its lines, and what is left when it is stopped."""

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import sleep

import pytest
import torch
from rich.console import Console

from bench.cli import main
from bench.commands import exits
from bench.units import size_bytes
from bench.upscaling import progress
from bench.upscaling.progress import READING, UPSCALING, FileDisplay, Progress
from bench.upscaling.request import FrameFolder, output_of
from tests.textures import moving_texture
from vsr_model.frame_files import FramePattern
from vsr_model.media import VideoWriter, inspect, iterate_frames, write_image

SMALL = ("--mid-channels", "8", "--num-blocks", "1", "--random-weights")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    with VideoWriter(path, frame_rate=25, height=32, width=48) as writer:  # type: ignore[arg-type]
        for image in moving_texture(40, 32, 48, seed=5):
            writer.write(image)
    return path


def test_the_summary(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "out.mp4"
    options = (*SMALL, "--frames", "5", "--memory-plan", "disk", "--scratch", str(tmp_path))
    assert main(["upscale", str(clip), str(output), *options]) == exits.OK
    printed, errors = capsys.readouterr()
    assert errors == ""
    first, time, memory, *notes = printed.splitlines()
    assert first == f"{output}: 5 frames of 192x128 at 25 frames per second"
    assert re.fullmatch(r"time    \d+\.\d s", time)
    held = r"at most about [\d.]+ MiB of host memory, [\d.]+ [KM]iB on disk"
    assert re.fullmatch(f"memory  features wait on disk; {held}", memory)
    assert notes[:2] == [
        "The weights are random: the output shows that the network runs, and no more.",
        "Only the first 5 frames were taken, as --frames asks for.",
    ]
    assert inspect(output).frame_count == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--memory-limit", "much"), "is 'much', and a size such as 1.5GiB or 800M is allowed."),
        (("--frame-rate", "1e9"), "0.001 to 1000 frames per second are allowed, such as 25 or 30000/1001."),
        (("--frame-rate", "1/0"), "0.001 to 1000 frames per second are allowed, such as 25 or 30000/1001."),
        (("--tile", "512"), "dtype: bfloat16 halves what a frame takes."),
        (("--backend", "{from: cpu, memory_plan: disk}"), "memory_plan is --memory-plan here."),
    ],
)
def test_bad_options_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
):
    arguments = ["upscale", str(clip), str(tmp_path / "out.mp4"), *SMALL, *options]
    assert main(arguments) == exits.BAD_REQUEST
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.startswith("vsr-bench: ")
    assert errors.rstrip().endswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "path", "is_folder", "pattern"),
    [
        ("out.mp4", "out.mp4", False, None),
        ("out.xyz", "out.xyz", False, None),
        ("out.png", "out.png", False, None),
        ("100%d.mp4", "100%d.mp4", False, None),
        ("out", "out", True, None),
        ("out.mp4/", "out.mp4", True, None),
        ("there.v2", "there.v2", True, None),
        ("there.mp4", "there.mp4", False, None),
        ("o%d/im%03d.png", "o%d", True, FramePattern(before="im", digits=3, after=".png")),
        ("%08d.png", ".", True, FramePattern(before="", digits=8, after=".png")),
    ],
)
def test_which_outputs_are_folders_of_frames(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    path: str,
    is_folder: bool,
    pattern: FramePattern | None,
):
    monkeypatch.chdir(tmp_path)
    for name in ("there.v2", "there.mp4"):
        (tmp_path / name).mkdir()
    assert output_of(text) == (Path(path), FrameFolder(pattern=pattern) if is_folder else None)


def test_a_folder_of_frames_to_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "in").mkdir()
    for index, image in enumerate(moving_texture(3, 16, 20, seed=5)):
        write_image(tmp_path / "in" / f"{index:08d}.png", image)
    (tmp_path / "in" / "read\x1b[31m\nme.txt").touch()
    output = f"{tmp_path}/out.v1/"
    assert main(["upscale", str(tmp_path / "in"), output, *SMALL]) == exits.OK
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert printed.splitlines()[0] == f"{output.rstrip('/')}: 3 frames of 80x64"
    assert "In the input's folder, read\\x1b[31m me.txt was left out." in printed.splitlines()
    assert [frame.image.shape for frame in iterate_frames(output)] == [(3, 64, 80)] * 3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1.5GiB", 3 * 2**29), ("2 gb", 2**31), ("4096", 4096), ("", None), ("-1G", None), ("1e9", None),
        ("1.5.2G", None), ("٣", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None):
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    ("numbers", "status", "old"),
    [
        ((signal.SIGINT,), exits.INTERRUPTED, False),
        ((signal.SIGTERM, signal.SIGTERM), exits.INTERRUPTED, True),
        ((signal.SIGKILL,), -signal.SIGKILL, True),
    ],
)
def test_a_signal_leaves_the_old_output(
    clip: Path, tmp_path: Path, numbers: tuple[signal.Signals, ...], status: int, old: bool
):
    output = tmp_path / "out.mp4"
    if old:
        output.write_bytes(b"old")
    command = [sys.executable, "-m", "bench", "upscale", str(clip), str(output)]
    big = ("--random-weights", "--memory-plan", "disk")  # seconds of work
    with subprocess.Popen([*command, *big], stderr=subprocess.PIPE, text=True) as process:
        while not any(str(tmp_path) in name for name in open_files(process.pid)):
            assert process.poll() is None
            sleep(0.02)
        for number in numbers:
            sleep(0.2)
            process.send_signal(number)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == status
    assert errors == ("" if status < 0 else f"interrupted; {output} was not written\n")
    assert [path.name for path in tmp_path.iterdir()] == (["out.mp4"] if old else [])
    if old:
        assert output.read_bytes() == b"old"


def open_files(process: int) -> list[str]:
    """Return the open files of a process: the spool is one without a name."""
    names = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            names.append(str(file.readlink()))
    return names


def test_progress_is_printed_in_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    display = FileDisplay(Console())
    with display.bar:
        for clock[0], doing, done in (
            (0.0, READING, 0), (20.0, READING, 1), (40.0, READING, 7), (60.0, READING, 9),
            (60.0, UPSCALING, 0), (65.0, UPSCALING, 1), (4060.0, UPSCALING, 3), (4070.0, UPSCALING, 4),
        ):  # fmt: skip
            display(Progress(doing=doing, done=done, total=9))
    assert capsys.readouterr().out.splitlines() == [
        "reading (1 of 3): 7/9 frames, 0.175 frames/s, about 11 s left",
        "upscaling (3 of 3): 3/9 frames, 0.000750 frames/s, about 2.2 h left",
    ]


def test_progress_is_a_bar_on_a_terminal(tmp_path: Path):
    write_image(tmp_path / "in.png", torch.rand(3, 16, 20))
    ours, theirs = pty.openpty()
    command = ["upscale", str(tmp_path / "in.png"), str(tmp_path / "out.png"), *SMALL]
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *command], stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while read := os.read(ours, 4096):
                shown += read
        assert process.wait(600) == exits.OK
    os.close(ours)
    assert b"1/1 frames" in shown
    assert b"finishing the file" in shown
