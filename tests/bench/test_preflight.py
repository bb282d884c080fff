"""What is asked before a run: media, devices, networks and their costs. Mostly in this process."""

import pickle
import pickletools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
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
ROOT = Path(__file__).parents[2]
OWN: Mapping[str, Any] = {
    "name": "own",
    "import": "benchmarks.stranger:Stranger",
    "folder": str(ROOT),
    "arguments": {"channels": 4, "blocks": 1},
    "stages": {"features": ["head", "body"], "upsampling": ["up*", "last"]},
}


class InThisProcess:
    """A launcher whose worker answers in this process."""

    def spawn(self, _target: str) -> Any:
        return SimpleNamespace(connection=Connection())

    def exit_status(self, _worker: Any) -> int:
        return 0


class Connection:
    def __init__(self) -> None:
        self._answers: deque[Any] = deque()
        self.recv = self._answers.popleft

    def send(self, question: preflight.Question) -> None:
        worker: Any = SimpleNamespace(recv=lambda: question, send=self._answers.append)
        preflight.main(worker)

    def poll(self, _timeout_s: float) -> bool:
        return True

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


@dataclass
class Asked:
    """An answer, and why each cell would be skipped."""

    answer: Answer
    reasons: list[str | None]


def ask(launcher: Any = None, **changes: Any) -> Asked:
    one = experiment(**changes)
    cells = plan.cells(one)
    with places_named(lambda at: f"grid.yaml: {'.'.join(at)}"):
        answer = preflight.ask(launcher or InThisProcess(), cells)
    return Asked(answer, [skip_reason(cell, answer) for cell in cells])


# Media.


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    images = moving_texture(FRAMES, HEIGHT, WIDTH, 0)
    write_image(folder / "picture.png", images[0])
    with VideoWriter(folder / "clip.mp4", frame_rate=Fraction(25), height=HEIGHT, width=WIDTH) as writer:
        for image in images:
            writer.write(image)
    (folder / "text.mp4").write_text("this is no video")
    (folder / "weights.pth").write_bytes(b"these are no weights")
    return folder


def item(kind: str, path: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "it", "kind": kind, "path": str(path), **changes}


@pytest.mark.parametrize(
    ("clip", "frames", "reasons"),
    [
        (("video", "clip.mp4", {}), [1, 5, 6], [None, None, "it has 5 frames; 6 are asked for"]),
        (
            ("video", "clip.mp4", {"stride": 2}),
            [3, 4],
            [None, "it has 5 frames; 4 with a stride of 2 are asked for"],
        ),
        (("image", "picture.png", {}), [1, 2], [None, "it has 1 frames; 2 are asked for"]),
    ],
)
def test_a_clip_fills_the_cells_that_it_has_frames_for(media, clip, frames, reasons):
    kind, name, fields = clip
    asked = ask(input=item(kind, media / name, **fields), grid={"frames": frames, "size": [[64, 64]]})
    assert asked.reasons == reasons
    size = asked.answer.media["it"]
    assert (size.height, size.width) == (HEIGHT, WIDTH)


def test_a_crop_that_is_too_large_is_a_reason(media):
    grid = {"frames": [1], "size": [[HEIGHT, WIDTH], [HEIGHT + 1, WIDTH], [HEIGHT, WIDTH + 1]]}
    assert ask(input=item("video", media / "clip.mp4", fit="crop"), grid=grid).reasons == [
        None,
        "it is 32x48; a crop of 33x48 is larger",
        "it is 32x48; a crop of 32x49 is larger",
    ]
    assert ask(input=item("video", media / "clip.mp4", fit="resize"), grid=grid).reasons == [None] * 3


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
def test_media_that_cannot_be_used(media, kind, name, sentence):
    with pytest.raises(BadInput, match=sentence):
        ask(input=item(kind, media / name))


# Networks.


def test_a_network_says_what_it_is_and_what_its_cells_cost():
    asked = ask(model=[TINY, EGVSR], grid={"frames": [1, 2], "size": [[16, 24]]})
    info = asked.answer.networks["basicvsr"]
    assert (info.title, info.min_size) == ("BasicVSR", 16)
    assert info.arguments == {
        "mid_channels": 8, "num_blocks": 1, "base_upsample": "bilinear", "flow_resize": "bilinear",
    }  # fmt: skip
    assert asked.reasons == [None] * 4
    flops = {name: sum(cost.flops for cost in costs.values()) for name, costs in asked.answer.costs.items()}
    assert list(flops) == [cell.id for cell in plan.cells(experiment(
        model=[TINY, EGVSR], grid={"frames": [1, 2], "size": [[16, 24]]}))]  # fmt: skip
    assert flops["egvsr/noise/b1/t2/16x24/cpu"] == 2 * flops["egvsr/noise/b1/t1/16x24/cpu"] > 0
    assert asked.answer.costs_missing == {}


def test_what_one_network_cannot_have_another_may(tmp_path):
    backends = [
        {"name": "planned", "from": "cpu", "memory_plan": "host"},
        {"name": "pipelined", "from": "cudnn", "schedule": "pipelined"},
    ]
    one = experiment(model=[TINY, EGVSR], grid={"frames": [2], "size": [[16, 16]]}, backends=backends)
    answer = preflight.ask(InThisProcess(), plan.cells(one))  # type: ignore[arg-type]
    answer.unavailable.clear()  # with a GPU
    assert [skip_reason(cell, answer) for cell in plan.cells(one)] == [
        None,
        None,
        "memory_plan: EGVSR takes a whole clip in one call only",
        "schedule: EGVSR knows sequential only",
    ]
    planned = plan.cells(one)[0]
    reference = answer.costs_of(planned.reference)  # the output check will need them
    assert reference is not None
    assert reference != answer.costs_of(planned)


@pytest.mark.parametrize(
    ("size", "reason"),
    [([16, 16], None), ([8, 24], "BasicVSR needs a height and a width of at least 16, and this is 8x24")],
)
def test_a_size_that_one_network_takes_is_skipped_for_another(size, reason):
    grid = {"frames": [1], "size": [size]}
    assert ask(model=[TINY, EGVSR], grid=grid).reasons == [reason, None]


def test_a_size_that_no_network_takes_is_a_slip():
    with pytest.raises(
        BadInput, match=r"^grid.yaml: grid.size: \[7, 24\] is too small for BasicVSR or EGVSR; at"
    ):
        ask(model=[TINY, EGVSR], grid={"frames": [1], "size": [[16, 16], [7, 24]]})


def test_a_network_of_the_users_own_is_traced_as_others_are():
    asked = ask(model=dict(OWN))
    (costs,) = asked.answer.costs.values()
    assert set(costs) == {"features", "upsampling", "other"}
    assert costs["features"].flops == 2 * 16 * 16 * 9 * (3 * 4 + 4 * 4)


NETS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, lrs):
        self.look_at(lrs)
        return self.used(lrs).repeat_interleave(4, 3).repeat_interleave(4, 4)

    def look_at(self, lrs):
        pass

class Looks(Net):
    def look_at(self, lrs):
        assert lrs.max().item() <= 1

class Fails(Net):
    def look_at(self, lrs):
        raise LookupError("as it is meant to")
"""


@pytest.fixture
def net(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    name = f"nets_{abs(hash(tmp_path))}"  # imported once per name
    (tmp_path / f"{name}.py").write_text(NETS)
    return lambda kind, stages: {
        "name": "own", "import": f"{name}:{kind}", "folder": str(tmp_path), "stages": stages,
    }  # fmt: skip


def test_a_stage_that_is_never_called_is_a_slip(net):
    said = r"^grid.yaml: model.own.stages: 'unused' is not called in a forward pass, so that there is"
    with pytest.raises(BadInput, match=said):
        ask(model=net("Net", {"one": ["used"], "two": ["unused"]}))


def test_a_network_that_looks_at_values_is_traced_on_the_cpu_where_clips_are_small(net, monkeypatch):
    grid = {"frames": [1], "size": [[16, 16], [400, 400]]}
    answer = ask(model=net("Looks", {"one": ["used"]}), grid=grid).answer
    assert list(answer.costs) == ["own/noise/b1/t1/16x16/cpu"]
    said = answer.costs_missing["own"]
    assert said.startswith("the network does not run on the meta device (")
    assert said.endswith("), and a clip of this size is not tried on the CPU for it")


def test_a_network_that_fails_is_measured_without_costs(net):
    asked = ask(model=net("Fails", {"one": ["used"]}))
    assert (asked.answer.costs, asked.reasons) == ({}, [None])
    assert asked.answer.costs_missing["own"].endswith(
        "nor in a trial on the CPU (LookupError: as it is meant to)"
    )


def test_an_argument_that_is_not_allowed_is_named_with_its_place():
    with pytest.raises(BadInput, match=r"^grid.yaml: model.basicvsr.mid_channel: basicvsr has no"):
        ask(model=[EGVSR, {"name": "basicvsr", "mid_channel": 8}])


def test_checkpoints(media, tmp_path):
    fitting, wider = tmp_path / "fits.pth", tmp_path / "wider.pth"
    torch.save(build_basicvsr(8, 1).state_dict(), fitting)
    torch.save(build_basicvsr(12, 1).state_dict(), wider)
    assert ask(model={**TINY, "checkpoint": str(fitting)}).reasons == [None]
    for path, said in (
        (wider, r"wider\.pth"),
        (tmp_path / "none.pth", r"none\.pth does not exist"),
        (media / "weights.pth", r"weights\.pth is not a checkpoint"),
    ):
        with pytest.raises(BadInput, match=said):
            ask(model={**TINY, "checkpoint": str(path)})


# Devices, and the process that is asked.


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_backends_that_are_not_there_and_a_worker_that_says_so(launcher):
    asked = ask(launcher, backends=["cpu", "cuda", {"name": "far", "from": "cuda", "device": "cuda:99"}])
    assert sorted(asked.answer.unavailable) == ["cuda", "far"]
    on_cpu, *others = asked.reasons
    assert on_cpu is None
    assert all(str(reason).startswith("no CUDA") for reason in others)
    assert asked.answer.torch["torch"] == torch.__version__


def test_an_answer_holds_no_class_of_torch_which_its_reader_would_import(launcher):
    message = pickle.dumps(preflight.ask(launcher, ()), protocol=2)
    classes = [name for code, name, _ in pickletools.genops(message) if code.name == "GLOBAL"]
    assert "bench.measure.preflight Answer" in classes
    assert not [name for name in classes if name.startswith("torch")]


def test_nothing_is_needed_where_no_cells_are_asked_about():
    assert preflight.ask(InThisProcess(), ()).torch["threads"] == torch.get_num_threads()  # type: ignore[arg-type]


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
    launcher.clear_output()
    with pytest.raises(
        BadInput, match=rf"devices: the process that looks at them ended with exit status {end}$"
    ):
        ask(launcher)
