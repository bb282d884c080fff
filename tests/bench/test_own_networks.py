"""Networks of the user's own, from a YAML and a folder of modules alone."""

import csv
import json
import math
import os
import shutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.commands import exits
from bench.grid import config, plan
from bench.grid.yaml_source import places_named
from bench.measure import costs, preflight
from bench.measure.costs import CostTracer, Untraceable
from bench.measure.preflight import Answer
from bench.process.launcher import Launcher
from bench.records import JOURNAL_NAME, read_journal
from tests.bench.fakes import experiment
from tests.vsr_model.bad_files import CHECKPOINTS
from vsr_model.adapted import Adapted
from vsr_model.errors import BadField, BadInput

NETS: Final = Path(__file__).parents[1] / "data" / "own" / "nets.py"
STAGES: Final = {"trunk": ["head", "body"], "upsampling": ["up*"]}
MODELS: Final = [
    {"name": "clip", "import": "pkg.nets:Clip", "arguments": {"num_feat": 8}, "checkpoint": "clip.pth"},
    {"name": "frame", "import": "pkg.nets:Frame", "input": "frame"},
    {"name": "window", "import": "pkg.nets:Window", "input": "window", "ends": "repeat", "output": "sr"},
    {"name": "shared", "import": "pkg.nets:Shared", "input": "frame",
     "stages": {"trunk": ["head", "body.0"], "upsampling": ["tail"]}},
    {"name": "reads", "import": "pkg.nets:Reads", "input": "frame"},
]  # fmt: skip


def written(folder: Path, *models: dict[str, Any], plots: tuple[str, ...] = ()) -> Path:
    """A grid of the networks, from its third line on, beside their package."""
    (folder / "pkg").mkdir()
    shutil.copy(NETS, folder / "pkg")
    path = folder / "grid.yaml"
    path.write_text(
        "name: own\nmodel:\n"
        + "".join(f"  - {json.dumps({'scale': 2, 'stages': STAGES, **model})}\n" for model in models)
        + "input: {name: noise, kind: random}\n"
        "grid: {frames: [2], size: [[16, 16]]}\n"
        "backends: [{name: one, from: cpu, threads: 1}]\n"
        "measure: {warmup: 0, repetitions: 2, stages: sync, isolation: experiment, timeout_s: 300}\n"
        f"plots: {json.dumps(plots)}\n"
    )
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_they_are_measured_resumed_compared_and_reported(
    tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "elsewhere").mkdir()
    written(tmp_path / "grids", *MODELS, plots=("stages",))
    torch.save(_weights(), tmp_path / "grids" / "clip.pth")
    assert command(tmp_path, "run", "grids/grid.yaml", "--output", "run") == exits.OK, capfd.readouterr()
    run = tmp_path / "run"
    assert {row["model"]: row["status"] for row in table(run / "cells.csv")} == {
        model["name"]: "ok" for model in MODELS
    }
    rows = {(row["model"], row["stage"]): row for row in table(run / "summary.csv")}
    assert {stage for _, stage in rows} == {"trunk", "upsampling", "other", "forward", "total"}
    for name in ("frame", "reads"):
        flops = {stage: float(rows[name, stage]["flops"]) for stage in ("trunk", "upsampling", "other")}
        assert flops == {
            "trunk": 2 * 2 * 256 * 9 * (3 * 4 + 2 * 4 * 4),
            "upsampling": 2 * 2 * 256 * 9 * 4 * 12,
            "other": 0,
        }
    # One of the records is lost, and what is left to do is done from another folder.
    journal = (run / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
    (run / JOURNAL_NAME).write_bytes(b"".join(journal[:-1]))
    assert command(tmp_path / "elsewhere", "run", "--resume", "../run") == exits.OK, capfd.readouterr()
    assert [record.model for record in read_journal(run / JOURNAL_NAME)] == [
        model["name"] for model in MODELS
    ]
    shutil.copytree(run, tmp_path / "copy")
    assert command(tmp_path, "compare", "run", "copy") == exits.OK, capfd.readouterr()
    report = (run / "report.md").read_text()
    assert all(model["name"] in report for model in MODELS)
    assert "other" in report


def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    conv = {
        "head": (8, 3), "body.0": (8, 8), "body.1": (8, 8), "upconv": (12, 8)
    }  # fmt: skip
    weights = {f"{name}.weight": torch.rand(*shape, 3, 3) / 10 for name, shape in conv.items()}
    weights |= {f"{name}.bias": torch.rand(shape[0]) for name, shape in conv.items()}
    norm = {
        name: torch.ones(8) for name in ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    }
    return {"state_dict": weights | norm | {"norm.num_batches_tracked": torch.tensor(7)}}


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


def ask(launcher: Launcher, path: Path) -> Answer:
    experiment, source = config.load(path)
    with places_named(source.named):
        return preflight.ask(launcher, plan.cells(experiment))


def own(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": "mine", "import": f"pkg.nets:{name}", "input": "frame", **fields}


def code() -> bytes:
    _, make, _ = CHECKPOINTS["code beside weights"]
    return make()


FILES: Final[dict[str, Callable[[], bytes]]] = {
    "needs.py": lambda: b"import torch\nimport nowhere\n",
    "broken.py": lambda: b"import torch\n\nx = = 1\n",
    "fails.py": lambda: b"\nraise RuntimeError('no license')\n",
    "leaves.py": lambda: b"import sys\nsys.exit('no license')\n",
    "types.py": lambda: b"from pkg.nets import Frame\n",
    "code.pth": code,
}
BAD: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a missing module": (
        own("", **{"import": "pkg.net:Net"}),
        "import: there is no module 'pkg.net', neither in FOLDER nor on Python's path",
    ),
    "a module that needs a missing one": (
        own("", **{"import": "needs:Net"}),
        "import: needs needs the module 'nowhere', which is not installed, needs.py:2",
    ),
    "a syntax error": (
        own("", **{"import": "broken:Net"}),
        "import: broken cannot be imported (SyntaxError: invalid syntax (broken.py, line 3))",
    ),
    "an import that fails": (
        own("", **{"import": "fails:Net"}),
        "import: fails cannot be imported (RuntimeError: no license, fails.py:2)",
    ),
    "an import that leaves": (
        own("", **{"import": "leaves:Net"}),
        "import: leaves cannot be imported (SystemExit: no license, leaves.py:2)",
    ),
    "a name of Python's own": (
        own("", **{"import": "types:Frame"}),
        f"import: the name 'types' is taken by {types.__file__}, which hides FOLDER/types.py; give it "
        "another name",
    ),
    "a class that is not there": (own("Frames"), "import: pkg.nets has no 'Frames' (did you mean 'Frame'?)"),
    "a class that is no module": (
        own("NoModule"), "import: pkg.nets:NoModule is no class of torch.nn.Module"
    ),
    "a function": (own("make_net"), "import: pkg.nets:make_net is no class of torch.nn.Module"),
    "arguments that it refuses": (
        own("Frame", arguments={"num_features": 4}),
        "arguments: Frame cannot be made (TypeError: Net.__init__() got an unexpected keyword argument "
        "'num_features'; it takes num_feat)",
    ),
    "a class that leaves": (
        own("Leaves"), "import: Leaves cannot be made (SystemExit: 3, nets.py:"
    ),
    "a stage that is no submodule": (
        own("Frame", stages={"trunk": ["bdy"]}),
        "stages: trunk: 'bdy' is no submodule of Frame (did you mean 'body'?); its own are head, body, norm, "
        "upconv",
    ),
    "a stage inside another": (
        own("Frame", stages={"trunk": ["body"], "first": ["body.0"]}),
        "stages: first: 'body.0' lies inside 'body', which is of trunk; stages may not contain each other",
    ),
    "a stage that is not called": (
        own("Idle", stages={"trunk": ["body"], "rest": ["unused"]}),
        "stages: 'unused' is not called in a forward pass, so that there is nothing to time",
    ),
    "an output of another scale": (
        own("Frame", scale=4),
        "scale: 4 makes (1, 2, 3, 64, 64) of a clip (1, 2, 3, 16, 16), and (1, 2, 3, 32, 32) comes out",
    ),
    "a dict": (
        own("Window", input="window"),
        "output: a dict with 'sr', 'middle' comes out, and a tensor is needed; give the key or the index "
        "of the enlarged frames",
    ),
    "a key that is not there": (
        own("Window", input="window", output="hr"), "output: 'hr' is not in what comes out, a dict"
    ),
    "an overridden __call__": (
        own("Unhooked", arguments={"why": "call"}),
        "stages: 'body' overrides __call__ in CallsItself, so that its hooks never fire; use forward",
    ),
    "a compiled submodule": (
        own("Unhooked", arguments={"why": "compile"}),
        "stages: 'body' was compiled, so that its hooks do not fire; leave that to `compile: true` of a "
        "backend",
    ),
    "a submodule in torch.compile's wrapper": (
        own("Unhooked", arguments={"why": "wrapper"}),
        "stages: 'body' was compiled, so that its hooks do not fire; leave that to `compile: true` of a "
        "backend",
    ),
    "a network compiled as a whole": (
        own("Unhooked", arguments={"why": "whole"}),
        "stages: 'head' lies in the network, which was compiled, so that its hooks do not fire; leave that "
        "to `compile: true` of a backend",
    ),
    "a scripted submodule": (
        own("Unhooked", arguments={"why": "script"}),
        "stages: 'body' was scripted or traced, and takes no hooks; leave it as it is written",
    ),
    "a checkpoint that is code": (
        own("Frame", checkpoint="code.pth"),
        "checkpoint: code.pth was not loaded because it holds more than tensors, which could run code; save "
        "only its state dict.",
    ),
    "a checkpoint that is not there": (
        own("Frame", checkpoint="no.pth"), "checkpoint: The checkpoint no.pth does not exist."
    ),
}  # fmt: skip
"""By what is wrong with it: the network, and the sentence from its field on."""


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("what", BAD)
def test_a_network_that_cannot_be_measured_is_refused_by_its_field(
    what: str, tmp_path: Path, launcher: Launcher
) -> None:
    model, message = BAD[what]
    path = written(tmp_path, {"name": "good", "import": "pkg.nets:Frame", "input": "frame"}, model)
    for name, make in FILES.items():
        (tmp_path / name).write_bytes(make())
    with pytest.raises(BadInput) as refused:
        ask(launcher, path)
    shown = str(refused.value).replace(os.path.relpath(tmp_path), "FOLDER").replace(str(tmp_path), "FOLDER")
    assert (
        shown.replace("FOLDER/code", "code")
        .replace("FOLDER/no", "no")
        .startswith(f"FOLDER/grid.yaml:4: model[1].{message}")
    )


@pytest.mark.parametrize("name", ["run", "plan"])
def test_such_a_request_is_one_sentence_and_writes_nothing(
    name: str, tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, own("Frame", stages={"trunk": ["bdy"]}))
    before = sorted(tmp_path.rglob("*"))
    assert command(tmp_path, name, "grid.yaml") == exits.BAD_REQUEST
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(
        "vsr-bench: grid.yaml:3: model[0].stages: trunk: 'bdy' is no submodule of Frame (did"
    )
    after = [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts]
    assert after == before


def test_a_module_may_print_fork_and_take_its_time(tmp_path: Path, launcher: Launcher) -> None:
    (tmp_path / "odd.py").write_text(
        "import os, sys, time\n"
        "print('loading', flush=True)\n"
        "print('weights', file=sys.stderr)\n"
        "if os.fork() == 0:\n"
        "    time.sleep(0.2)\n"
        "time.sleep(0.5)\n"
        "from pkg.nets import Pairs\n"
    )
    path = written(tmp_path, own("Pairs", **{"import": "odd:Pairs", "input": "clip"}))
    answer = ask(launcher, path)
    assert answer.costs_missing == {}
    assert ask(launcher, path).costs == answer.costs  # and the next one has its answer, no copy's


def test_what_longer_clips_call_may_be_a_stage_of_a_grid_of_single_frames(
    tmp_path: Path, launcher: Launcher
) -> None:
    stages = {**STAGES, "alignment": ["flow"]}
    path = written(tmp_path, own("Pairs", input="clip", stages=stages))
    path.write_text(path.read_text().replace("frames: [2]", "frames: [1]"))
    (costs,) = ask(launcher, path).costs.values()
    assert "alignment" not in costs


# Networks that do not run on the meta device, or not as they should.


class Looking(nn.Module):
    """Enlarges frames by two, after a look at them."""

    def __init__(self, look: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 1)
        self.look = look

    def forward(self, frame: Tensor) -> Tensor:
        self.look(frame)
        return F.pixel_shuffle(self.conv(frame), 2)


LARGE: Final = plan.cells(experiment(grid={"frames": [2], "size": [[256, 256]]}))[0]


def tracer_of(look: Callable[[Tensor], object], scale: int = 2) -> CostTracer:
    adapted = Adapted(Looking(look), title="mine", stages={"all": ("conv",)}, scale=scale, takes="frame")
    return CostTracer({"basicvsr": adapted})


def test_a_network_without_costs_for_a_large_clip_is_tried_small() -> None:
    def reads(frame: Tensor) -> None:
        frame.mean().item()

    tracer = tracer_of(reads)
    with pytest.raises(Untraceable, match=r"meta device .* a clip of this size is not tried on the CPU"):
        tracer.costs(LARGE)
    assert tracer.uncalled(LARGE) is None
    with pytest.raises(BadField, match=r"scale: 4 makes \(1, 2, 3, .* comes out"):
        tracer_of(reads, scale=4).costs(LARGE)
    with pytest.raises(BadField, match=r"import: .*:Looking writes into its input"):
        tracer_of(lambda frame: frame.sub_(0.5)).costs(LARGE)


def test_a_trial_that_takes_long_is_ended_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(frame: Tensor) -> None:
        while frame.mean().item() < 2:
            frame = frame + 0

    monkeypatch.setitem(costs.LIMITS_S, "cpu", 0.2)
    tracer = tracer_of(waits)
    for _ in range(2):
        with pytest.raises(Untraceable, match="a trial on the CPU took over 0 s"):
            tracer.costs(LARGE)
        monkeypatch.setitem(costs.LIMITS_S, "cpu", math.inf)  # it would not end
    assert tracer.uncalled(LARGE) is None
