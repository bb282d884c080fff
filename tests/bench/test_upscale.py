"""Real pictures and videos through a network whose residual is zero: the output is the bilinear base."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from torch import Tensor

from bench.grid.backend import BUILT_IN, CPU
from bench.grid.config_model import Model
from bench.measure.backends import unavailable
from bench.measure.networks import build
from bench.upscaling import upscale as subject
from bench.upscaling.progress import FINISHING, LOOKING_AHEAD, READING, UPSCALING, Progress
from bench.upscaling.request import FrameFolder, Request, output_of
from bench.upscaling.upscale import Upscaled, upscale
from vsr_model.errors import BadInput
from vsr_model.media import VideoWriter, inspect, iterate_frames, write_image
from vsr_model.media.colour import Colour

RATE = Fraction(30000, 1001)
TINY = {"mid_channels": 8, "num_blocks": 1}
SHADES = (0.2, 0.35, 0.5, 0.65, 0.8)


def checkpoint(path: Path, bias: float = 0.0) -> Model:
    """A model whose output is the enlarged input plus `bias`: its last convolution is zero."""
    network = build(Model(**TINY, seed=3))
    state = network.state_dict()
    state["upsampling.conv_last.weight"].zero_()
    state["upsampling.conv_last.bias"].fill_(bias)
    torch.save(state, path)
    return Model(**TINY, checkpoint=str(path))


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return checkpoint(tmp_path_factory.mktemp("weights") / "bilinear.pth")


def marked(height: int, width: int, shade: float = 0.5) -> Tensor:
    """Grey of a shade that tells the frame, with a reddish mark in the top left."""
    image = torch.full((3, height, width), shade)
    image[:, : height // 4, : width // 4] = torch.tensor((0.9, 0.1, 0.1))[:, None, None]
    return image


def video(path: Path, height: int = 48, width: int = 80, times: Sequence[float] = ()) -> Path:
    with VideoWriter(path, frame_rate=RATE, height=height, width=width) as writer:
        for index, shade in enumerate(SHADES):
            writer.write(marked(height, width, shade), times[index] if times else None)
    return path


def stored(path: Path, height: int, width: int, codec: str, pix_fmt: str, rotation: int = 0) -> Path:
    """A video of RGB planes as they are, with a display matrix: what the project's writer never makes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qp": "0"} if "264" in codec else {})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for shade in SHADES[:3]:
            pixels = (marked(height, width, shade) * 255).round().byte().permute(1, 2, 0).numpy()
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def run(
    source: Path,
    output: Path,
    model: Model,
    listener: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> Upscaled:
    options = {"backend": BUILT_IN["cpu"]} | options
    return upscale(Request(source=source, output=output, model=model, **options), listener)


def frames_in(folder: Path, names: Sequence[str], **options: Any) -> Path:
    folder.mkdir()
    for name, shade in zip(names, SHADES, strict=True):
        Image.fromarray((marked(48, 80, shade) * 255).byte().permute(1, 2, 0).numpy()).save(
            folder / name, **options
        )
    return folder


def read_image(path: Path) -> Tensor:
    return next(iterate_frames(path)).image


def enlarged(image: Tensor) -> Tensor:
    return F.interpolate(image[None], scale_factor=4, mode="bilinear", align_corners=False)[0]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_enlarged(source: Path, output: Path, frames: int = len(SHADES)) -> None:
    """Check that the output shows the source's first frames, in order, upright and in their colours."""
    before = [frame.image for frame in iterate_frames(source, limit=frames)]
    after = [frame.image for frame in iterate_frames(output)]
    assert len(before) == len(after) == frames
    for small, large in zip(before, after, strict=True):
        assert float((large - enlarged(small)).abs().mean()) < 1.5 / 255


# Outputs ----------------------------------------------------------------------------------------------------


def test_a_video_is_enlarged_and_otherwise_the_same(tmp_path: Path, model: Model):
    source, output = video(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    output.write_bytes(b"old")
    calls: list[Progress] = []
    done = run(source, output, model, calls.append, place="recompute")
    assert_enlarged(source, output)
    info = inspect(output)
    assert (info.kind, info.height, info.width) == ("video", 192, 320)
    assert info.frame_rate == RATE
    assert (done.output, done.frames, done.height, done.width) == (output, 5, 192, 320)
    assert (done.frame_rate, done.notes, done.plan.interval) == (RATE, (), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", output.name]
    assert [(call.doing, call.done) for call in calls] == [
        *((READING, count) for count in range(1, 6)),
        (LOOKING_AHEAD, 0),  # flow of three pairs is estimated at once
        (LOOKING_AHEAD, 4),
        *((UPSCALING, count) for count in range(6)),
        (FINISHING, 5),
    ]
    assert {call.total for call in calls} == {5}


def test_an_image_is_exact_to_rounding(tmp_path: Path, model: Model):
    write_image(tmp_path / "in.png", torch.rand(3, 33, 47, generator=torch.Generator().manual_seed(1)))
    done = run(tmp_path / "in.png", tmp_path / "out.PNG", model)
    error = 255 * (read_image(tmp_path / "out.PNG") - enlarged(read_image(tmp_path / "in.png"))).abs().max()
    assert float(error) <= 0.501  # a tie may fall to either side
    assert (done.frames, done.height, done.width, done.frame_rate, done.notes) == (1, 132, 188, None, ())


def test_a_turned_video_becomes_upright(tmp_path: Path, model: Model):
    source = stored(tmp_path / "in.mp4", 48, 80, "libx264rgb", "rgb24", rotation=90)
    done = run(source, tmp_path / "out.mp4", model)
    info = inspect(tmp_path / "out.mp4")
    assert (info.height, info.width, info.turned) == (320, 192, False)
    assert_enlarged(source, tmp_path / "out.mp4", 3)
    # PyAV turns counter-clockwise: a quarter brings what is stored top left to the bottom left.
    mark = read_image(tmp_path / "out.mp4")[:, 280, 24]
    assert mark.tolist() == pytest.approx([0.9, 0.1, 0.1], abs=5 / 255)
    assert done.notes == ("The frames are stored turned; they were turned upright.",)


@pytest.mark.parametrize(
    ("name", "times", "notes"),
    [
        ("in.mp4", (0.0, 0.1, 0.15, 0.4, 0.5), ("The frame rate varies; each frame kept its time.",)),
        ("in.mkv", tuple(float(index / RATE) for index in range(5)), ()),  # in milliseconds: constant
    ],
)
def test_times_are_kept(tmp_path: Path, model: Model, name: str, times: tuple[float, ...], notes: object):
    done = run(video(tmp_path / name, times=times), tmp_path / "out.mp4", model)
    after = [frame.time_s for frame in iterate_frames(tmp_path / "out.mp4")]
    assert after == pytest.approx(times, abs=1e-4 if notes else 1e-6)
    assert done.notes == notes


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        (2, "Only the first 2 frames were taken, as --frames asks for."),
        (9, "The input has 5 frames, fewer than the 9 that --frames asks for."),
    ],
)
def test_the_first_frames_alone(tmp_path: Path, model: Model, asked: int, note: str):
    source = video(tmp_path / "in.mp4")
    done = run(source, tmp_path / "out.mp4", model, frames=asked)
    assert (done.frames, done.notes) == (min(asked, 5), (note,))
    assert_enlarged(source, tmp_path / "out.mp4", done.frames)


def test_sound_is_copied_unless_no_sound_is_asked_for(tmp_path: Path, model: Model):
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        for track, frame in ((stream, av.VideoFrame(32, 32, "yuv420p")), (sound, silence)):
            container.mux([*track.encode(frame), *track.encode(None)])
    assert run(source, tmp_path / "out.mp4", model).notes == ()
    assert inspect(tmp_path / "out.mp4").has_audio
    done = run(source, tmp_path / "out.mp4", model, sound=False)
    assert done.notes == ("The sound was left out, as --no-sound asks for.",)
    assert not inspect(tmp_path / "out.mp4").has_audio


def test_an_input_that_changes_meanwhile_is_reported(tmp_path: Path, model: Model):
    source = video(tmp_path / "in.mp4")

    def change(now: Progress) -> None:
        if now.doing == FINISHING:
            source.unlink()

    assert "The input changed meanwhile" in run(source, tmp_path / "out.mp4", model, change).notes[-1]


IM = [f"im{number}.png" for number in range(8, 13)]
NO_PROFILE = "The colour profile was left out, which the output cannot hold."
NO_RATE = "Frames in files state no rate; 25 a second were taken (--frame-rate sets it)."


@pytest.mark.parametrize(
    ("names", "asked", "written"),
    [
        (IM, "out/", IM),
        (
            ["a.png", "b.png", "c.png", "d.png", "e.png"],
            "out/f%02d.png",
            [f"f{number:02d}.png" for number in range(5)],
        ),
        (IM, "out/f%02d.tif", [f"f{number:02d}.tif" for number in range(8, 13)]),
        ([f"{number:03d}.ppm" for number in range(5)], "out", [f"{number:03d}.png" for number in range(5)]),
        (None, "out/", [f"{number:08d}.png" for number in range(5)]),
    ],
)
def test_a_folder_of_frames_is_written(
    tmp_path: Path, model: Model, names: list[str] | None, asked: str, written: list[str]
):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if names is None:
        source = video(tmp_path / "in.mp4", times=(0.0, 0.1, 0.15, 0.4, 0.5))
    else:
        options = {} if names[0].endswith(".ppm") else {"icc_profile": profile}
        source = frames_in(tmp_path / "in", names, **options)
    output, frame_folder = output_of(str(tmp_path) + "/" + asked)
    assert output == tmp_path / "out"
    done = run(source, output, model, frame_folder=frame_folder)
    assert sorted(path.name for path in output.iterdir()) == sorted(written)
    assert_enlarged(source, output)
    with Image.open(output / written[0]) as first:
        assert first.info.get("icc_profile") == (profile if names and names[0].endswith(".png") else None)
    assert (done.output, done.frames, done.height, done.frame_rate) == (output, 5, 192, None)
    assert done.notes == (("The frame rate varies; frames in files have no times.",) if names is None else ())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("rate", "notes"), [(None, (NO_RATE,)), (Fraction(24000, 1001), ())], ids=["25", "given"]
)
def test_frames_in_files_become_a_video(tmp_path: Path, model: Model, rate: Fraction | None, notes: object):
    source = frames_in(tmp_path / "in", IM)
    done = run(source / "im%d.png", tmp_path / "out.mp4", model, frame_rate=rate)
    assert (done.notes, done.frame_rate) == (notes, rate or 25)
    assert inspect(tmp_path / "out.mp4").frame_rate == (rate or 25)
    assert_enlarged(source, tmp_path / "out.mp4")


def test_the_first_frames_of_a_folder_are_taken_whatever_follows(tmp_path: Path, model: Model):
    source = frames_in(tmp_path / "in", IM)
    (source / "im11.png").write_bytes(b"broken")
    done = run(source, tmp_path / "out.mp4", model, frames=3)
    assert done.notes == ("Only the first 3 frames were taken, as --frames asks for.", NO_RATE)
    assert_enlarged(source, tmp_path / "out.mp4", 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_colour_profile_is_kept_or_its_loss_reported(tmp_path: Path, model: Model, suffix: str):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "in.png", icc_profile=profile)
    done = run(tmp_path / "in.png", tmp_path / f"out{suffix}", model)
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.info.get("icc_profile") == (None if suffix == ".bmp" else profile)
    assert done.notes == ((NO_PROFILE,) if suffix == ".bmp" else ())


@pytest.mark.parametrize(
    ("name", "asked", "notes"),
    [
        ("deep.png", "out.png", ()),
        ("deep.png", "out.tif", ()),
        ("deep.png", "out.jpg", ("The samples have 16 bits, and 8 of them were kept.",)),
        ("p3.webp", "out.mp4", (NO_PROFILE,)),
        ("bt2020.mp4", "out.webm", ("The samples have 10 bits, and 8 of them were kept.",)),
        ("bt2020.mp4", "out/", ()),
    ],
)
def test_what_the_values_mean_is_kept_or_its_loss_reported(
    tmp_path: Path, model: Model, name: str, asked: str, notes: tuple[str, ...]
):
    source, wide = tmp_path / name, Colour(primaries=9, transfer=1)
    profile = wide.picture_profile()
    shades = [marked(16, 16, shade) for shade in SHADES[:2]]
    if name == "deep.png":
        write_image(source, shades[0], profile, deep=True)
    elif name == "p3.webp":
        pictures = [Image.fromarray((s * 255).byte().permute(1, 2, 0).numpy()) for s in shades]
        pictures[0].save(source, save_all=True, append_images=pictures[1:], icc_profile=profile)
    else:
        with av.open(str(source), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p10le"
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace = 9, 1, 9
            frames = [av.VideoFrame(16, 16, "yuv420p10le") for _ in shades]
            container.mux([*(p for frame in frames for p in stream.encode(frame)), *stream.encode(None)])
    output, frame_folder = output_of(f"{tmp_path}/{asked}")
    done = run(source, output, model, frame_folder=frame_folder)
    written = output if frame_folder is None else output / "00000000.png"
    assert done.notes == notes
    info = inspect(written)
    is_kept = (wide if info.kind == "video" else Colour(profile=profile)) == info.colour
    assert is_kept == (NO_PROFILE not in notes)
    assert info.eight_bit == (written.suffix not in (".png", ".tif"))


def test_clamping_is_reported(tmp_path: Path):
    brighter = checkpoint(tmp_path / "brighter.pth", bias=0.5)
    image = torch.zeros(3, 16, 32)
    image[:, :, 16:] = 0.8
    write_image(tmp_path / "in.png", image)
    done = run(tmp_path / "in.png", tmp_path / "out.png", brighter)
    share = float((enlarged(read_image(tmp_path / "in.png")) + 0.5 > 1).double().mean())
    assert done.notes == (f"{100 * share:.0f} % of the values lay outside [0, 1] and were clamped.",)


def test_an_animation_with_random_weights(tmp_path: Path):
    pictures = [Image.new("RGB", (32, 16), colour) for colour in ("red", "lime", "blue")]
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=40)
    done = run(tmp_path / "in.gif", tmp_path / "out.mp4", Model(**TINY), random_weights=True)
    assert (done.frames, done.frame_rate) == (3, 25)
    assert done.notes[0].startswith("The weights are random")


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_a_gpu_gives_the_same_video(tmp_path: Path, place: str):
    if reason := unavailable(BUILT_IN["cudnn"]):
        pytest.skip(reason)
    source = video(tmp_path / "in.mp4")
    for name in ("cpu", "cudnn"):
        random: dict[str, Any] = {"model": Model(**TINY, seed=1), "random_weights": True}
        run(source, tmp_path / f"{name}.mp4", backend=BUILT_IN[name], place=place, **random)
    both = zip(iterate_frames(tmp_path / "cpu.mp4"), iterate_frames(tmp_path / "cudnn.mp4"), strict=True)
    errors = [float((ours.image - theirs.image).abs().mean()) for ours, theirs in both]
    assert len(errors) == len(SHADES)
    assert max(errors) < 2 / 255


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of inputs and an old output, where the network must not run."""
    video(tmp_path / "in.mp4")
    write_image(tmp_path / "in.png", marked(32, 48))
    write_image(tmp_path / "small.png", marked(15, 48))
    write_image(tmp_path / "wide.png", marked(16, 4200))
    (tmp_path / "out.mp4").write_bytes(b"old")
    (tmp_path / "link.mp4").hardlink_to(tmp_path / "in.mp4")
    (tmp_path / "folder.mp4").mkdir()
    frames_in(tmp_path / "frames", IM)
    (frames_in(tmp_path / "broken", IM) / "im11.png").write_bytes(b"broken")
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.setattr(subject, "upscale_frames", lambda *_: pytest.fail("the network ran"))
    return tmp_path


def refused(folder: Path, source: str, output: str, model: Model, **options: Any) -> str:
    """Return the sentence of a refusal, which changes nothing in the folder."""
    before = files(folder)
    with pytest.raises(BadInput, match=r"^[^\n]*\.$") as caught:
        run(folder / source, folder / output, model, **options)
    assert files(folder) == before
    assert not list(folder.glob(".*"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "output", "options", "message"),
    [
        ("no.mp4", "out.mp4", {}, "does not exist"),
        ("in.mp4", "new.png", {}, "is a video, and .*new.png must end in .mp4, "),
        ("in.mp4", "link.mp4", {}, "is the input itself"),
        ("in.mp4", "folder.mp4", {}, "is a folder"),
        ("in.mp4", "pipe.mp4", {}, "is a device or a pipe, and a file is to be written"),
        ("in.mp4", "out.mp4", {"frames": 0}, "--frames is 0, and 1 or more"),
        ("in.png", "new.png", {"frames": 1}, "--frames is for videos"),
        (
            "in.png",
            "new",
            {"frame_folder": FrameFolder()},
            "in.png is an image, and the output is to be a folder",
        ),
        ("frames", "frames", {"frame_folder": FrameFolder()}, "frames is a folder that is not empty"),
        ("frames", "new.png", {}, "is a folder of frames, and .*new.png must end in .*, in / to be a folder"),
        ("broken", "new.mp4", {}, "im11.png is no picture of a kind that is read"),
        ("in.mp4", "new.mp4", {"frame_rate": RATE}, "in.mp4 is a video, and .*new.mp4 is to be a file"),
        (
            "frames/im%d.png",
            "new",
            {"frame_rate": RATE, "frame_folder": FrameFolder()},
            "is a pattern of frames, and .*new is to be a folder of frames",
        ),
        ("small.png", "new.png", {}, "frames of 15 x 48, and BasicVSR needs at least 16 x 16"),
        ("wide.png", "new.webp", {}, "new.webp cannot be written as a picture of 64 x 16800"),
        ("in.mp4", "out.mp4", {"random_weights": True}, "exclude each other"),
        ("in.mp4", "out.mp4", {"model": Model(**TINY)}, "noise .* --random-weights"),
        ("in.mp4", "new.mp4", {"memory_limit_bytes": 0}, "--memory-limit is 0 GiB, and more than 0 is"),
        ("in.mp4", "new.mp4", {"device_memory_limit_bytes": 1}, "is for GPUs, and the backend cpu computes"),
        ("in.mp4", "new.mp4", {"place": "attic"}, "is 'attic', and device, host, disk and recompute are"),
        (
            "in.mp4",
            "new.mp4",
            {"backend": CPU.replace(compile=True)},
            "compile: a memory_plan's calls are",
        ),
        ("in.mp4", "new.mp4", {"scratch": Path("/nowhere")}, "--scratch is /nowhere, and that is no folder"),
    ],
)
def test_bad_requests_are_refused(
    folder: Path, model: Model, source: str, output: str, options: dict[str, Any], message: str
):
    assert re.search(message, refused(folder, source, output, **{"model": model} | options))


def full_memory(*_: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("patched", "by", "message"),
    [
        (
            "upscale.inspect",
            lambda path: replace(inspect(path), colour=Colour(transfer=16)),
            r"in.mp4 is HDR \(PQ or HLG\), .* tone-map it to BT.709 first",
        ),
        (
            "upscale.backends.unavailable",
            lambda _: "no CUDA device: none",
            r"^The backend cpu cannot run here: no CUDA device: none\.$",
        ),
        (
            "memory.host_memory.available_bytes",
            lambda: 10 * 2**20,
            "not fit into 8 MiB of host memory",
        ),
        (
            "memory.free_bytes",
            lambda _: 2**14,
            "for decoded frames and the output in .*, whose disk has 16.0 KiB left; free some, or name a",
        ),
        (
            "upscale.upscale_frames",
            full_memory,
            "ran out of memory, of which about .* enough; set --memory-limit below",
        ),
    ],
)
def test_what_the_machine_or_file_lacks_is_refused(
    folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch, patched: str, by: object, message: str
):
    monkeypatch.setattr(f"bench.upscaling.{patched}", by)
    assert re.search(message, refused(folder, "in.mp4", "new.mp4", model))


def test_a_damaged_video(folder: Path, model: Model):
    damaged = bytearray((folder / "in.mp4").read_bytes())
    with av.open(str(folder / "in.mp4")) as container:
        third = [packet for packet in container.demux(video=0) if packet.size][2]
        assert third.pos is not None
        damaged[third.pos + 4 : third.pos + third.size] = b"\xff" * (third.size - 4)
    (folder / "damaged.mp4").write_bytes(damaged)
    assert "damaged" in refused(folder, "damaged.mp4", "out.mp4", model)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([(32, "libx264rgb", "rgb24"), (48, "libx264rgb", "rgb24")], "size"),
        ([(32, "libx264", "yuv420p"), (32, "libx264", "yuv420p10le")], "depth"),
    ],
)
def test_a_video_that_changes_its_form(folder: Path, model: Model, parts: list[Any], what: str):
    both = [stored(folder / "part.h264", height, 64, *kind).read_bytes() for height, *kind in parts]
    (folder / "both.h264").write_bytes(b"".join(both))
    assert f"changes its {what} after 3 frames" in refused(folder, "both.h264", "out.mp4", model)


def test_times_that_do_not_grow_are_refused(folder: Path, model: Model):
    video(folder / "twice.mp4", times=(0.0, 0.00005, 0.2, 0.3, 0.4))
    message = refused(folder, "twice.mp4", "out.mp4", model)
    assert "shows frame 1 at 0 s and the next at 5e-05 s" in message


@pytest.mark.parametrize("source", ["in.mp4", "in.png"])
def test_the_least_limit_that_is_named_works(tmp_path: Path, model: Model, source: str):
    video(tmp_path / "in.mp4")
    write_image(tmp_path / "in.png", marked(32, 48))
    output = f"out{Path(source).suffix}"
    message = refused(tmp_path, source, output, model, memory_limit_bytes=2**20)
    assert message.startswith(f"{tmp_path / source}: the clip does not fit into 1 MiB of host memory: ")
    [least] = re.findall(r"the least that works is (\d+) MiB of host memory", message)
    enough = int(least) * 2**20
    assert least in refused(tmp_path, source, output, model, memory_limit_bytes=enough - 2**20)
    done = run(tmp_path / source, tmp_path / output, model, memory_limit_bytes=enough)
    assert done.needs.host_bytes <= enough


# Interruption -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_folder", [None, FrameFolder()], ids=["file", "folder"])
@pytest.mark.parametrize("doing", [READING, LOOKING_AHEAD, UPSCALING, FINISHING])
def test_an_interrupt_leaves_what_was_there(
    tmp_path: Path, model: Model, doing: str, frame_folder: FrameFolder | None
):
    source = video(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    if frame_folder is None:
        output.write_bytes(b"old")
    else:
        output.mkdir()
    before = files(tmp_path)

    def interrupt(now: Progress) -> None:
        if now.doing == doing and (now.done >= 3 or doing == LOOKING_AHEAD):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(source, output, model, interrupt, frame_folder=frame_folder)
    assert files(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_an_output_that_is_not_finite_leaves_what_was_there(tmp_path: Path):
    broken = checkpoint(tmp_path / "broken.pth", bias=float("nan"))
    write_image(tmp_path / "in.png", marked(16, 20))
    assert "not finite" in refused(tmp_path, "in.png", "out.png", broken)
