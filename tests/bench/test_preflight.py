"""What is asked before a run: media, devices, networks and their costs. Mostly in this process."""

import pickle
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.grid import plan
from bench.grid.yaml_source import places_named
from bench.measure import preflight
from bench.measure.preflight import Answer, skip_reason
from bench.process.launcher import Launcher, WorkerProcess
from tests.bench.fakes import experiment
from tests.networks import build_basicvsr
from tests.textures import moving_texture
from vsr_model.errors import BadInput
from vsr_model.media import VideoWriter, write_image

FRAMES, HEIGHT, WIDTH = 5, 32, 48
TINY = {"name": "basicvsr", "mid_channels": 8, "num_blocks": 1}
EGVSR = {"name": "egvsr", "num_blocks": 1}
OWN: Mapping[str, Any] = {
    "name": "own",
    "import": "benchmarks.stranger:Stranger",
    "folder": str(Path(__file__).parents[2]),
    "arguments": {"channels": 4, "blocks": 1},
    "stages": {"features": ["head", "body"], "upsampling": ["up*", "last"]},
}


class InThisProcess:
    """A launcher whose worker answers in a thread."""

    def spawn(self, _target: str) -> Any:
        ours, theirs = Pipe()
        Thread(target=preflight.main, args=(theirs,)).start()
        return SimpleNamespace(connection=ours)

    def exit_status(self, _worker: Any) -> int:
        return 0


def ask(launcher: Any = None, *, has_gpu: bool = False, **changes: Any) -> tuple[Answer, list[str | None]]:
    """Return the answer on an experiment, and why each of its cells would be skipped."""
    cells = plan.cells(experiment(**changes))
    with places_named(lambda at: f"grid.yaml: {'.'.join(at)}"):
        answer = preflight.ask(launcher or InThisProcess(), cells)
    if has_gpu:
        answer.unavailable.clear()
    return answer, [skip_reason(cell, answer) for cell in cells]


# Media.


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    images = moving_texture(FRAMES, HEIGHT, WIDTH, 0)
    write_image(folder / "picture.png", images[0])
    (folder / "frames").mkdir()
    for index, image in enumerate(images, start=1):
        write_image(folder / "frames" / f"im{index}.png", image)
    with VideoWriter(folder / "clip.mp4", frame_rate=Fraction(25), height=HEIGHT, width=WIDTH) as writer:
        for image in images:
            writer.write(image)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "weights.pth").write_bytes(b"these are no weights")
    torch.save(build_basicvsr(8, 1).state_dict(), folder / "fits.pth")
    torch.save(build_basicvsr(12, 1).state_dict(), folder / "wider.pth")
    return folder


def item(kind: str, path: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "it", "kind": kind, "path": str(path), **changes}


TOO_SHORT = "it has 5 frames; {} are asked for"
BEYOND = "it is 32x48; a crop of {} is larger"


@pytest.mark.parametrize(
    ("kind", "name", "fields", "grid", "reasons"),
    [
        ("video", "clip.mp4", {}, {"frames": [5, 6]}, [None, TOO_SHORT.format("6")]),
        (
            "video", "clip.mp4", {"stride": 2}, {"frames": [3, 4]},
            [None, TOO_SHORT.format("4 with a stride of 2")],
        ),
        ("video", "frames", {}, {"frames": [5, 6]}, [None, TOO_SHORT.format("6")]),
        (
            "video", "frames/im%d.png", {"stride": 2}, {"frames": [3, 4]},
            [None, TOO_SHORT.format("4 with a stride of 2")],
        ),
        ("image", "picture.png", {}, {"frames": [1, 2]}, [None, "it has 1 frames; 2 are asked for"]),
        (
            "video", "clip.mp4", {"fit": "crop"}, {"size": [[32, 48], [33, 48], [32, 49]]},
            [None, BEYOND.format("33x48"), BEYOND.format("32x49")],
        ),
        ("video", "clip.mp4", {"fit": "resize"}, {"size": [[33, 49]]}, [None]),
    ],
)  # fmt: skip
def test_media_fill_the_cells_that_they_are_large_enough_for(media, kind, name, fields, grid, reasons):
    grid = {"frames": [1], "size": [[16, 16]], **grid}
    answer, found = ask(input=item(kind, media / name, **fields), grid=grid)
    assert found == reasons
    assert (answer.media["it"].height, answer.media["it"].width) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("video", "none.mp4", "none.mp4 does not exist"),
        ("video", "text.mp4", r"text\.mp4 "),
        ("video", "picture.png", "picture.png is read as kind: image, and the input 'it' has kind: video"),
        ("image", "clip.mp4", "clip.mp4 is read as kind: video, and the input 'it' has kind: image"),
        ("image", "frames", "frames is read as kind: video, and the input"),
    ],
)
def test_media_that_cannot_be_used_are_refused(media, kind, name, sentence):
    with pytest.raises(BadInput, match=sentence):
        ask(input=item(kind, media / name))


# Networks.


def test_a_network_says_what_it_is_and_what_its_cells_cost():
    fields: dict[str, Any] = {"model": [TINY, EGVSR], "grid": {"frames": [1, 2], "size": [[16, 24]]}}
    answer, reasons = ask(**fields)
    info = answer.networks["basicvsr"]
    assert (info.title, info.min_size) == ("BasicVSR", 16)
    assert info.arguments == {
        "mid_channels": 8, "num_blocks": 1, "base_upsample": "bilinear", "flow_resize": "bilinear",
    }  # fmt: skip
    assert reasons == [None] * 4
    flops = {name: sum(cost.flops for cost in costs.values()) for name, costs in answer.costs.items()}
    assert list(flops) == [cell.id for cell in plan.cells(experiment(**fields))]
    assert flops["egvsr/noise/b1/t2/16x24/cpu"] == 2 * flops["egvsr/noise/b1/t1/16x24/cpu"] > 0
    assert answer.costs_missing == {}


def test_a_backend_that_one_network_cannot_have_is_skipped_for_it_alone():
    backends = [
        {"name": "planned", "from": "cpu", "memory_plan": "host"},
        {"name": "winograd", "from": "cpu", "convolution": "winograd"},
        {"name": "pipelined", "from": "cudnn", "schedule": "pipelined"},
    ]
    fields = {"grid": {"frames": [2], "size": [[16, 16]]}, "backends": backends}
    answer, reasons = ask(model=[TINY, EGVSR], has_gpu=True, **fields)
    assert reasons == [
        *[None] * 3,
        "memory_plan: EGVSR takes a whole clip in one call only",
        "convolution: winograd: the kernel has no module of EGVSR to take the place of",
        "schedule: EGVSR knows sequential only",
    ]
    planned = plan.cells(experiment(model=[TINY], **fields))[0]
    reference = answer.costs_of(planned.reference)  # the output check will need them
    assert reference is not None
    assert reference != answer.costs_of(planned)


@pytest.mark.parametrize(
    ("size", "reason"),
    [([16, 16], None), ([8, 24], "BasicVSR needs a height and a width of at least 16, and this is 8x24")],
)
def test_a_size_that_one_network_takes_is_skipped_for_another(size, reason):
    _, reasons = ask(model=[TINY, EGVSR], grid={"frames": [1], "size": [size]})
    assert reasons == [reason, None]


NETS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, lrs):
        return self.used(lrs).repeat_interleave(4, 3).repeat_interleave(4, 4)

class Fails(Net):
    def forward(self, lrs):
        raise LookupError("as it is meant to")
"""


@pytest.fixture
def net(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    name = f"nets_{abs(hash(tmp_path))}"  # imported once per name
    (tmp_path / f"{name}.py").write_text(NETS)
    return lambda kind, *stages: {
        "name": "own", "import": f"{name}:{kind}", "folder": str(tmp_path),
        "stages": {stage: [stage] for stage in stages},
    }  # fmt: skip


def test_a_network_of_the_users_own_is_traced_as_others_are():
    answer, _ = ask(model=dict(OWN))
    (costs,) = answer.costs.values()
    assert set(costs) == {"features", "upsampling", "other"}
    assert costs["features"].flops == 2 * 16 * 16 * 9 * (3 * 4 + 4 * 4)


def test_a_network_that_fails_is_measured_without_costs(net):
    answer, reasons = ask(model=net("Fails", "used"))
    assert (answer.costs, reasons) == ({}, [None])
    said = answer.costs_missing["own"]
    assert said.startswith("the network does not run on the meta device (")
    assert said.endswith("nor in a trial on the CPU (LookupError: as it is meant to)")


def test_a_stage_that_is_never_called_is_refused_with_its_place(net):
    said = r"^grid.yaml: model.own.stages: 'unused' is not called in a forward pass, so that there is"
    with pytest.raises(BadInput, match=said):
        ask(model=net("Net", "used", "unused"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"model": [TINY, EGVSR], "grid": {"frames": [1], "size": [[16, 16], [7, 24]]}},
            r"grid.size: \[7, 24\] is too small for BasicVSR or EGVSR; at least 8",
        ),
        (
            {"model": [EGVSR, {"name": "basicvsr", "mid_channel": 8}]},
            "model.basicvsr.mid_channel: basicvsr has no",
        ),
    ],
)
def test_a_field_that_no_network_accepts_is_refused_with_its_place(fields, said):
    with pytest.raises(BadInput, match=f"^grid.yaml: {said}"):
        ask(**fields)


@pytest.mark.parametrize(
    ("name", "said"),
    [("wider.pth", ""), ("none.pth", " does not exist"), ("weights.pth", " is not a checkpoint")],
)
def test_a_checkpoint_that_does_not_fit_is_refused(media, name, said):
    assert ask(model={**TINY, "checkpoint": str(media / "fits.pth")})[1] == [None]
    with pytest.raises(BadInput, match=re.escape(name) + said):
        ask(model={**TINY, "checkpoint": str(media / name)})


# Devices, and the process that is asked.


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_backend_whose_device_is_missing_is_skipped(launcher):
    far = {"name": "far", "from": "cuda", "device": "cuda:99"}
    answer, (on_cpu, *others) = ask(launcher, backends=["cpu", "cuda", far])
    assert sorted(answer.unavailable) == ["cuda", "far"]
    assert on_cpu is None
    assert all(str(reason).startswith("no CUDA") for reason in others)
    assert answer.torch["torch"] == torch.__version__


def test_an_answer_holds_no_class_of_torch_which_its_reader_would_import(launcher):
    message = pickle.dumps(preflight.ask(launcher, ()), protocol=2)  # also without cells
    classes = [name for code, name, _ in pickletools.genops(message) if code.name == "GLOBAL"]
    assert "bench.measure.preflight Answer" in classes
    assert not [name for name in classes if name.startswith("torch")]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("exits_3", "the process that looked at it ended with exit status 3"),
        ("is_killed", "the process that looked at it was killed by SIGKILL"),
        ("raises", r"the process .* exit status 1 \(LookupError: these are the last words\)"),
        ("hangs_with_family", "not looked at within 0 s"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_an_error(launcher, monkeypatch, target, said):
    """Also where it has not read the question: the connection is then reset."""
    spawn = launcher.spawn

    def spawn_faulty(_target: str) -> WorkerProcess:
        worker = spawn(f"tests.bench.faulty_workers:{target}")
        worker.connection.poll(10)  # until it has ended, or begun to hang
        if target == "hangs_with_family":
            worker.connection.recv()
        return worker

    monkeypatch.setattr(launcher, "spawn", spawn_faulty)
    monkeypatch.setattr(preflight, "TIMEOUT_S", 0.2 if target == "hangs_with_family" else 10.0)
    launcher.clear_output()
    with pytest.raises(BadInput, match=f"^this machine: {said}$"):
        ask(launcher)


@pytest.mark.parametrize(
    ("where", "statement", "said"),
    [
        ("__init__", "os._exit(7)", "as it is built from ends:Ends: .* ended with exit status 7$"),
        ("forward", "os._exit(7)", r"as it is called for cell mine/\S+/cpu: .* ended with exit status 7$"),
        ("forward", "os.kill(os.getpid(), 11)", "as it is called for cell .* was killed by SIGSEGV"),
        ("forward", "raise KeyboardInterrupt", r"as it is called for cell .* \(KeyboardInterrupt\)$"),
    ],
)
def test_a_network_that_ends_the_process_is_named(launcher, tmp_path, where, statement, said):
    does = {"__init__": "pass", "forward": "pass", where: statement}
    (tmp_path / "ends.py").write_text(
        "import os\nfrom torch import nn\n\nclass Ends(nn.Module):\n"
        "    def __init__(self):\n"
        f"        super().__init__()\n        self.body = nn.ReLU()\n        {does['__init__']}\n"
        f"    def forward(self, lrs):\n        {does['forward']}\n"
    )
    mine = {"name": "mine", "import": "ends:Ends", "folder": str(tmp_path), "stages": {"body": ["body"]}}
    launcher.clear_output()
    with pytest.raises(BadInput, match=f"^network mine, {said}"):
        ask(launcher, model=mine)
