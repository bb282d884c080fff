from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.grid import plan
from bench.measure import preflight
from bench.measure.preflight import Answer, skip_reason
from bench.measure.workload import build_model
from bench.process.launcher import Launcher, WorkerProcess
from tests.bench.fakes import experiment
from vsr_model import video
from vsr_model.errors import BadInput

FRAMES, HEIGHT, WIDTH = 5, 32, 48


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    images = video.moving_texture(FRAMES, HEIGHT, WIDTH, 0)
    video.write_image(folder / "picture.png", images[0])
    with video.VideoWriter(
        folder / "clip.mp4", frame_rate=Fraction(25), height=HEIGHT, width=WIDTH
    ) as writer:
        for image in images:
            writer.write(image)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "weights.pth").write_bytes(b"these are no weights")
    return folder


@dataclass
class Asked:
    """An answer, and why each cell would be skipped, by its id."""

    answer: Answer
    reasons: dict[str, str | None]


def ask(launcher: Launcher, **changes: Any) -> Asked:
    one = experiment(**changes)
    cells = plan.cells(one)
    answer = preflight.ask(launcher, one.model, cells)
    return Asked(answer, {cell.id: skip_reason(cell, answer) for cell in cells})


def item(kind: str, path: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "it", "kind": kind, "path": str(path), **changes}


def test_noise_on_the_cpu_needs_nothing(launcher):
    asked = ask(launcher)
    assert asked.answer.refusal is None
    assert asked.answer.media == {}
    assert asked.answer.unavailable == {}
    assert asked.answer.torch["torch"] == torch.__version__
    assert asked.answer.torch["threads"] == torch.get_num_threads()
    assert list(asked.reasons.values()) == [None]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_backends_that_are_not_there(launcher):
    asked = ask(launcher, backends=["cpu", "cuda", "cudnn_autotune"])
    assert sorted(asked.answer.unavailable) == ["cuda", "cudnn_autotune"]
    on_cpu, *others = asked.reasons.values()
    assert on_cpu is None
    assert all(reason.startswith("no CUDA") for reason in others)


def test_a_device_that_no_machine_has(launcher):
    asked = ask(launcher, backends=[{"name": "far", "from": "cuda", "device": "cuda:99"}])
    assert list(asked.reasons.values()) == [asked.answer.unavailable["far"]]


def test_a_video_that_fits(launcher, media):
    asked = ask(launcher, input=item("video", media / "clip.mp4"),
                grid={"frames": [1, 5], "size": [[64, 64]]})  # fmt: skip
    assert set(asked.reasons.values()) == {None}
    size = asked.answer.media["it"]
    assert (size.frames, size.height, size.width) == (FRAMES, HEIGHT, WIDTH)


def test_too_few_frames_is_a_reason(launcher, media):
    asked = ask(launcher, input=item("video", media / "clip.mp4"),
                grid={"frames": [5, 6], "size": [[16, 16]]})  # fmt: skip
    assert list(asked.reasons.values()) == [None, "it has 5 frames; 6 are asked for"]


def test_a_stride_reaches_further(launcher, media):
    asked = ask(launcher, input=item("video", media / "clip.mp4", stride=2),
                grid={"frames": [3, 4], "size": [[16, 16]]})  # fmt: skip
    assert list(asked.reasons.values()) == [
        None, "it has 5 frames; 4 with a stride of 2 are asked for",
    ]  # fmt: skip


def test_a_picture_has_one_frame(launcher, media):
    asked = ask(launcher, input=item("image", media / "picture.png"),
                grid={"frames": [1, 2], "size": [[16, 16]]})  # fmt: skip
    first, second = asked.reasons.values()
    assert first is None
    assert second.startswith("it has 1 frame")


def test_a_crop_that_is_too_large_is_a_reason(launcher, media):
    sizes = [[HEIGHT, WIDTH], [HEIGHT + 1, WIDTH], [HEIGHT, WIDTH + 1]]
    grid = {"frames": [1], "size": sizes}
    asked = ask(launcher, input=item("video", media / "clip.mp4", fit="crop"), grid=grid)
    assert list(asked.reasons.values()) == [
        None,
        "it is 32x48; a crop of 33x48 is larger",
        "it is 32x48; a crop of 32x49 is larger",
    ]
    resized = ask(launcher, input=item("video", media / "clip.mp4", fit="resize"), grid=grid)
    assert set(resized.reasons.values()) == {None}


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("video", "none.mp4", "none.mp4 does not exist"),
        ("video", "text.mp4", r"text\.mp4 "),
        ("video", "picture.png", "picture.png is an image, and the input 'it' has kind: video"),
        ("image", "clip.mp4", "clip.mp4 is a video, and the input 'it' has kind: image"),
        ("video", "", "is a folder"),
    ],
)
def test_media_that_cannot_be_used(launcher, media, kind, name, sentence):
    with pytest.raises(BadInput, match=sentence):
        ask(launcher, input=item(kind, media / name))


def test_checkpoints(launcher, media, tmp_path):
    tiny = {"mid_channels": 8, "num_blocks": 1}
    fitting, wider = tmp_path / "fits.pth", tmp_path / "wider.pth"
    torch.save(build_model(experiment(model=tiny).model).state_dict(), fitting)
    torch.save(build_model(experiment(model={**tiny, "mid_channels": 12}).model).state_dict(), wider)

    assert ask(launcher, model={**tiny, "checkpoint": str(fitting)}).answer.refusal is None
    with pytest.raises(BadInput, match=r"wider\.pth"):
        ask(launcher, model={**tiny, "checkpoint": str(wider)})
    with pytest.raises(BadInput, match=r"none\.pth does not exist"):
        ask(launcher, model={**tiny, "checkpoint": str(tmp_path / "none.pth")})
    with pytest.raises(BadInput, match=r"weights\.pth is not a checkpoint"):
        ask(launcher, model={**tiny, "checkpoint": str(media / "weights.pth")})


@pytest.mark.parametrize(
    ("target", "end"),
    [("exits_3", "3"), ("is_killed", "-9"), ("raises", r"1 \(LookupError: these are the last words\)")],
)
def test_a_worker_that_dies_over_it(launcher, monkeypatch, target, end):
    """Also where it has not read the question: the connection is then reset."""
    spawn = launcher.spawn

    def spawn_faulty(_target: str) -> WorkerProcess:
        worker = spawn(f"tests.bench.faulty_workers:{target}")
        worker.connection.poll(10)  # until it has ended
        return worker

    monkeypatch.setattr(launcher, "spawn", spawn_faulty)
    launcher.forget_words()
    with pytest.raises(
        BadInput, match=rf"devices: the process that looks at them ended with exit status {end}$"
    ):
        ask(launcher)
    monkeypatch.undo()
    assert ask(launcher).answer.refusal is None
