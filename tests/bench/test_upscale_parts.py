"""Parts of upscaling: writing beside the network, and the estimate of memory."""

import os
import re
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event, Timer
from time import sleep
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.grid.backend import BUILT_IN
from bench.grid.config_model import Model
from bench.measure.costs import Prepared
from bench.measure.networks import build
from bench.upscaling import memory
from bench.upscaling.memory import OUTPUTS_WAITING, Needs, Work, limits_of
from bench.upscaling.request import Request
from bench.upscaling.upscale import _one_thread, _written, upscale
from tests.bench.held_memory import held_bytes
from tests.compiler import needs_compiler
from tests.textures import moving_texture
from vsr_model.convolutions.winograd.kernel import release_scratch, thread_bytes
from vsr_model.errors import BadInput
from vsr_model.media import MediaInfo, VideoWriter, iterate_frames
from vsr_model.memory_plan import MemoryPlan
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.stages import StageProbe
from vsr_model.streaming import upscale_frames

TINY = Model(mid_channels=8, num_blocks=1, seed=3)


def request_of(folder: Path, **fields: object) -> Request:
    known: dict[str, Any] = {
        "source": Path("in.mp4"),
        "output": folder / "out.mp4",
        "model": Model(num_blocks=1),
        "backend": BUILT_IN["cpu"],
    }
    return Request(**known | fields)


def work_of(request: Request, height: int = 180, width: int = 320) -> Work:
    info = MediaInfo(
        path=request.source, kind="video", width=width, height=height, frame_count=None, eight_bit=True
    )
    return Work(request, info, build(request.model))


@pytest.mark.parametrize("place", [None, "device", "host", "disk", "recompute"])
def test_the_frames_are_the_networks_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | None):
    images: list[Tensor] = []
    write = VideoWriter.write

    def kept(writer: VideoWriter, image: Tensor, time_s: float | None = None) -> float:
        images.append(image.clone())
        return write(writer, image, time_s)

    source = tmp_path / "in.mp4"
    with VideoWriter(source, frame_rate=Fraction(25), height=32, width=48) as writer:
        for image in moving_texture(6, 32, 48, seed=5):
            writer.write(image)
    lrs = torch.stack([frame.image for frame in iterate_frames(source)])[None]
    with torch.inference_mode():
        expected: Tensor = build(TINY)(lrs)[0]
    monkeypatch.setattr(VideoWriter, "write", kept)
    upscale(request_of(tmp_path, source=source, model=TINY, random_weights=True, place=place))
    assert float((torch.stack(images[1:]) - expected).abs().max()) <= 1e-5  # after the rehearsal's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


# Writing behind ---------------------------------------------------------------------------------------------


def output_of(index: int) -> Tensor:
    return torch.full((1, 3, 2, 2), float(index))


def test_frames_are_written_in_order_while_the_next_are_computed():
    go, seen, made = Event(), [], []

    def outputs() -> Iterator[Tensor]:
        for index in range(5):
            made.append(index)
            if index == OUTPUTS_WAITING:
                assert seen == []
                go.set()
            yield output_of(index)

    def write(image: Tensor, index: int) -> float:
        assert go.wait(600)
        seen.append((float(image[0, 0, 0]), index))
        return index / 10

    with _one_thread() as thread:
        shares = []
        for done, share in enumerate(_written(outputs(), write, thread)):
            shares.append(share)
            assert len(made) <= done + OUTPUTS_WAITING + 1
    assert seen == [(float(index), index) for index in range(5)]
    assert shares == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_an_error_in_writing_is_raised():
    def write(_image: Tensor, index: int) -> float:
        if index == 4:
            raise BadInput("the disk is made of cheese.")
        return 0.0

    def all_of_them() -> None:
        with _one_thread() as thread:
            list(_written(map(output_of, range(5)), write, thread))

    with pytest.raises(BadInput, match="cheese"):
        all_of_them()


def test_a_second_interrupt_waits_for_the_thread():
    began, sent, ended = Event(), Event(), []

    def work() -> None:
        began.set()
        sent.wait()
        sleep(0.1)
        ended.append(True)

    def send() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()

    def twice() -> None:
        with _one_thread() as thread:
            thread.submit(work)
            began.wait()
            Timer(0.1, send).start()

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert ended == [True]


# What it takes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ((9, 9, 9), "device"),
        ((9, 4, 9), "host"),
        ((2, 4, 9), "disk"),
        ((2, 4, 0), "recompute"),
        ((2, 2, 0), "2 MiB of device memory: the least that works is 4 MiB of device memory, with the"),
        ((8, 2, 9), "2 MiB of device memory: the least that works is 3 MiB of device memory, with the"),
        ((0, 3, 9), "0 MiB of host memory: the least that works is 1 MiB of host memory, with the"),
    ],
)
def test_the_first_plan_within_the_limits_or_the_least_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int, int], found: str
):
    def mebibytes(host: int, device: int, on_disk: int) -> Needs:
        return Needs(host_bytes=host * 2**20, device_bytes=device * 2**20, disk_bytes=on_disk * 2**20)

    def name_of(plan: MemoryPlan) -> str:
        return "recompute" if plan.interval > 1 else plan.place

    def needs(_work: Work, plan: MemoryPlan, _frames: int) -> Needs:
        by_plan = {"device": (1, 9, 0), "host": (7, 3, 0), "disk": (1, 3, 6), "recompute": (1, 4, 0)}
        return mebibytes(*by_plan[name_of(plan)])

    work = work_of(request_of(tmp_path), 16, 24)
    monkeypatch.setattr(Work, "needs", needs)
    if "MiB" not in found:
        assert name_of(work.plan(10, mebibytes(*limits))) == found
        return
    with pytest.raises(BadInput, match=f"in.mp4: the clip does not fit into {found} memory plan"):
        work.plan(10, mebibytes(*limits))


def test_disks_are_checked_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free_bytes", lambda _folder: 1000)
    (tmp_path / "scratch").mkdir()
    request = request_of(tmp_path, scratch=tmp_path / "scratch")
    with monkeypatch.context() as patched:
        patched.setattr(memory, "_is_same_disk", lambda folder, other: folder == other)
        assert memory.room_for_features(request, spool_bytes=900, output_bytes=800) == 100
    with pytest.raises(
        BadInput, match=r"needs about 1.66 KiB for decoded frames and the output in .*scratch,"
    ):
        memory.room_for_features(request, spool_bytes=900, output_bytes=800)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm")
def test_a_scratch_folder_in_memory_counts_as_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert memory.is_in_memory(Path("/dev/shm"))
    assert not memory.is_in_memory(Path("/proc"))
    plan = MemoryPlan(place="disk", folder=tmp_path)
    held = []
    for in_memory in (False, True):
        monkeypatch.setattr(memory, "is_in_memory", lambda _folder, in_memory=in_memory: in_memory)
        held.append(work_of(request_of(tmp_path, memory_limit_bytes=1)).needs(plan, 100).host_bytes)
    assert held[1] - held[0] == 100 * 180 * 320 * 3 + 99 * 64 * 4 * 180 * 320


class NewFrames:
    """Frames that exist only while someone holds them, as a decoder's."""

    def __init__(self, frames: int, height: int, width: int) -> None:
        self.shape = 1, frames, 3, height, width

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        return (torch.zeros(1, *self.shape[2:]) for _ in range(start, stop))


@pytest.mark.parametrize(
    ("fields", "frames", "convolution"),
    [
        ({}, 1, "library"),
        ({"place": "disk"}, 36, "library"),  # more than is traced
        ({"interval": 3}, 9, "library"),
        ({"interval": 12, "chunk": 2}, 20, "library"),  # a segment that is longer than what is traced
        ({}, 9, "im2col"),
        ({"interval": 3}, 9, "fft"),
        pytest.param({}, 9, "winograd", marks=needs_compiler),
    ],
)
def test_the_traced_memory_is_that_of_a_real_call(
    tmp_path: Path, fields: dict[str, Any], frames: int, convolution: str
):
    """To the byte, or with the features of one frame more, which may wait elsewhere meanwhile."""
    plan = MemoryPlan(**fields, folder=tmp_path if fields.get("place") == "disk" else None)
    backend = BUILT_IN["cpu"].replace(convolution=convolution)
    work = work_of(request_of(tmp_path, model=TINY, backend=backend), 16, 24)
    per_frame = work.features_bytes if plan.place == "disk" else work.storage_bytes
    traced = work.working_bytes(plan, frames) + len(plan.kept_frames(frames)) * per_frame

    release_scratch()
    real = Prepared.of(build(TINY), backend, torch.device("cpu"))
    assert isinstance(real.network, BasicVSR)

    def forward(_lrs: Tensor, probe: StageProbe) -> None:
        for output in upscale_frames(real.network, NewFrames(frames, 16, 24), plan, probe):
            del output

    costs = real.tracer.trace(forward, torch.empty(0), holds_clip=False)
    held = max(cost.peak_bytes for cost in costs.values())
    if convolution == "winograd":
        held += torch.get_num_threads() * thread_bytes(64 + 256)  # which the kernel allocates
    assert 0 <= traced - held <= work.storage_bytes


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not count")
@pytest.mark.parametrize(
    ("frames", "height", "width", "convolution"),
    [
        (12, 32, 48, "library"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (120, 64, 64, "library"),
                (8, 180, 320, "library"),
                (8, 180, 320, "im2col"),
                (8, 180, 320, "fft"),
            )
        ),
        pytest.param(300, 16, 24, "winograd", marks=[pytest.mark.slow, needs_compiler]),
    ],
)
def test_a_process_keeps_to_the_least_limit_that_works(
    tmp_path: Path, frames: int, height: int, width: int, convolution: str
):
    backend = BUILT_IN["cpu"].replace(convolution=convolution)
    request = request_of(tmp_path, memory_limit_bytes=2**20, backend=backend)
    with pytest.raises(BadInput) as caught:
        work_of(request, height, width).plan(frames, limits_of(request, disk_bytes=2**40))
    [least] = re.findall(r"the least that works is (\d+) MiB", str(caught.value))
    limit_bytes = int(least) * 2**20
    held = held_bytes(
        tmp_path, frames=frames, height=height, width=width, convolution=convolution, limit_bytes=limit_bytes
    )
    assert 0 < held <= limit_bytes
