"""YAML to Experiment: what is accepted, and for all else the place, the field, what was given and allowed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.grid import presets
from bench.grid.backend import BACKEND_NAMES, Backend, Convolution, Schedule, Transfer
from bench.grid.config import Experiment, dump, in_folder, json_schema, load, of_plain, plain, resolved
from bench.grid.config_measure import Measure
from bench.grid.strict import Strict
from vsr_model.errors import BadInput
from vsr_model.registry import NETWORKS, arguments_of, network_class

TEXT = """\
name: trial
model: {mid_channels: 8}
input:
  - {name: noise, kind: random}
  - name: street
    kind: video
    path: street.mp4
grid:
  frames: [1, 2]
  size: [[16, 16]]
backends:
  - cpu
  - {name: slow, from: cpu, threads: 1}
measure:
  rounds: 2
plots: [time]
"""


def load_text(tmp_path: Path, text: str, *assignments: str) -> Experiment:
    path = tmp_path / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, assignments)[0]


def refusal(tmp_path: Path, text: str, *assignments: str) -> str:
    """The message without its folder; one line."""
    with pytest.raises(BadInput) as caught:
        load_text(tmp_path, text, *assignments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).replace(f"{tmp_path}{os.sep}", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "name: trial",
            "name: trial\ncolour: 1",
            "grid.yaml:2: unknown field 'colour'; allowed are name, model",
        ),
        ("measure:", "mesure:", "grid.yaml:14: unknown field 'mesure' (did you mean 'measure'?); allowed"),
        (
            "{mid_c",
            "{import: 'a:B', mid_c",
            "grid.yaml:2: model: unknown field 'mid_channels'; allowed are name",
        ),
        (
            "kind: random",
            "kind: random, sede: 1",
            "grid.yaml:4: input[0]: unknown field 'sede' (did you mean",
        ),
        (
            "    path",
            "    strid: 2\n    path",
            "grid.yaml:7: input[1]: unknown field 'strid' (did you mean 'stride'",
        ),
        (
            "    path",
            "    grid: {frame: [1]}\n    path",
            "grid.yaml:7: input[1].grid: unknown field 'frame' (did",
        ),
        (
            "  size",
            "  sizes",
            "grid.yaml:10: grid: unknown field 'sizes' (did you mean 'size'?); allowed are batch",
        ),
        (
            "[1, 2]",
            "{start: 1, stop: 2, stp: 1}",
            "grid.yaml:9: grid.frames: unknown field 'stp' (did you mean",
        ),
        ("threads", "thread", "grid.yaml:13: backends[1]: unknown field 'thread' (did you mean 'threads'?)"),
        ("rounds", "round", "grid.yaml:15: measure: unknown field 'round' (did you mean 'rounds'?)"),
        ("kind: random", "kind: random, random: 1", "grid.yaml:4: input[0]: unknown field 'random'; allowed"),
    ],
)
def test_unknown_fields(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert refusal(tmp_path, TEXT.replace(old, new, 1)).startswith(said)


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("name: trial\n", "grid.yaml:1: name: is missing"),
        ("name: noise, ", "grid.yaml:4: input[0].name: is missing"),
        ("    path: street.mp4\n", "grid.yaml:5: input[1].path: is missing"),
        (
            "    kind: video\n",
            "grid.yaml:5: input[1]: the field 'kind' is missing; it should be random, image or video",
        ),
        ("  frames: [1, 2]\n", "grid.yaml:8: grid.frames: is missing"),
        ("  size: [[16, 16]]\n", "grid.yaml:8: grid.size: is missing"),
        ("name: slow, ", "grid.yaml:13: backends[1].name: is missing"),
    ],
)
def test_missing_fields(tmp_path: Path, old: str, said: str) -> None:
    assert refusal(tmp_path, TEXT.replace(old, "", 1)) == said


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (
            "{profile: true, isolation: backend}",
            "profile: is true, which needs isolation: cell, not backend; a process that was profiled is no "
            "longer one to time the next cell in",
        ),
    ],
)
def test_ways_of_measuring_that_do_not_agree(tmp_path: Path, measure: str, said: str) -> None:
    begin = TEXT.index("measure:")
    text = f"{TEXT[:begin]}measure: {measure}\n"
    line = text.count("\n")
    assert refusal(tmp_path, text) == f"grid.yaml:{line}: measure.{said}"


RETIRED_AT = {Backend: "backends.0.", Measure: "measure."}
"""Where in a grid a class with retired fields stands."""


@pytest.mark.parametrize(
    ("kind", "retired"),
    [pytest.param(kind, retired, id=retired) for kind in Strict.__subclasses__() for retired in kind.RETIRED],
)
def test_a_retired_field_is_refused_with_what_replaces_it(
    tmp_path: Path, kind: type[Strict], retired: str
) -> None:
    field, _, value = retired.partition("=")
    assignment = f"{RETIRED_AT[kind]}{field}={value or 1}"
    text = TEXT.replace("  - cpu\n", "  - {name: cpu}\n")
    dotted = f"{RETIRED_AT[kind]}{field}".replace(".0.", "[0].")
    assert refusal(tmp_path, text, assignment) == (
        f"--set {assignment}: {dotted}: {retired} is no longer there; {kind.RETIRED[retired]}"
    )


@pytest.mark.parametrize("field", ["input", "grid", "backends"])
def test_missing_sections(tmp_path: Path, field: str) -> None:
    data = {name: value for name, value in yaml.safe_load(TEXT).items() if name != field}
    assert refusal(tmp_path, yaml.safe_dump(data)) == f"grid.yaml:1: {field}: is missing"


NAME = "should consist of letters, digits, '.', '_' and '-', starting with a letter or a digit, not"
KINDS = "should be 'random', 'image' or 'video', not"
LIST = "should be a list, as in [1, 2], not"
RULE = "should be a whole number, or a mapping such as {min: 6, max: 60, target: 2%, budget_s: 10}, not"
LEAST_1 = "should be greater than or equal to 1, not"
PATH = "should be the path of a file, neither empty nor with a NUL character, not"
ORIGINS = "should be 'cpu', 'cuda', 'cudnn' or 'cudnn_autotune', not"
PLOTS = "should be 'time', 'speedup', 'stages', 'repetitions', 'memory', 'long_clips' or 'roofline', not"
ONCE = "stands there twice; each may stand there once"
NETWORK = f"should be {' or '.join(NETWORKS)}, or name a class of your own by import, not"
NO_IMPORT = "for a class of your own, and there is no import that names one"
NO_STAGES = "is missing or empty; name a stage and its submodules, as in {trunk: [body]}"
OWN = "model={{name: mine, import: 'a:B', stages: {{trunk: body}}, {}}}"


def derive(name: str) -> str:
    return (
        "it should be cpu, cuda, cudnn, cudnn_autotune, or derive from one of them as in "
        f"{{name: {name}, from: cpu, threads: 1}}"
    )


@pytest.mark.parametrize(
    ("assignment", "field", "said"),
    [
        # Names
        ("name=7", "name", "should be text, not 7"),
        ("name=", "name", "should be text, not nothing"),
        ("name=../../etc", "name", f"{NAME} '../../etc'"),
        ("name=.hidden", "name", f"{NAME} '.hidden'"),
        ("name=''", "name", f"{NAME} ''"),
        ("name='=1+1'", "name", f"{NAME} '=1+1'"),
        ("name='-x'", "name", f"{NAME} '-x'"),
        ("name=é", "name", f"{NAME} 'é'"),
        ("input.0.name=<b>", "input[0].name", f"{NAME} '<b>'"),
        ("backends.1.name=a|b", "backends[1].name", f"{NAME} 'a|b'"),
        ('name="a\\n"', "name", f"{NAME} 'a\\n'"),
        (f"name={'x' * 65}", "name", f"should have at most 64 characters, not '{'x' * 56}..."),
        # Networks
        ("model=", "model", "should be a mapping (field: value), not nothing"),
        ("model=[]", "model", "is an empty list; at least 1 value is needed"),
        ("model=egvrs", "model", f"{NETWORK} 'egvrs' (did you mean 'egvsr'?)"),
        ("model=[basicvsr, {name: esrgan}]", "model[1].name", f"{NETWORK} 'esrgan'"),
        ("model=[basicvsr, {name: basicvsr, num_blocks: 3}]", "model[1]", f"'basicvsr' {ONCE}"),
        ("model.name=a/b", "model.name", f"{NAME} 'a/b'"),
        ("model.seed=-1", "model.seed", "should be greater than or equal to 0, not -1"),
        (f"model.seed={2**63}", "model.seed", f"should be less than 9223372036854775808, not {2**63}"),
        (
            "model={seed: 1, checkpoint: w.pth}",
            "model",
            "has both a seed and a checkpoint; weights come from one of them",
        ),
        ('model.checkpoint="a\\0b"', "model.checkpoint", f"{PATH} 'a\\x00b'"),
        ("model={stages: {a: [b]}}", "model.stages", f"is {NO_IMPORT}"),
        ("model={name: basicvsr, scale: 2}", "model.scale", f"is {NO_IMPORT}"),
        # A class of the user's own
        (
            "model={name: mine, import: nets}",
            "model.import",
            "should name a class as package.module:Class, not 'nets'",
        ),
        (
            "model={import: 'a:B', stages: {trunk: body}}",
            "model.name",
            "is missing; a class of your own needs one, for tables and plots",
        ),
        (
            "model={name: egvsr, import: 'a:B', stages: {trunk: body}}",
            "model.name",
            "'egvsr' is a network of the registry; give your class another name",
        ),
        ("model={name: mine, import: 'a:B'}", "model.stages", NO_STAGES),
        ("model={name: mine, import: 'a:B', stages: {}}", "model.stages", NO_STAGES),
        (
            "model={name: mine, import: 'a:B', stages: {trunk: []}}",
            "model.stages.trunk",
            "is an empty list; at least 1 value is needed",
        ),
        (OWN.format("scale: 0"), "model.scale", f"{LEAST_1} 0"),
        (
            OWN.format("input: frames"),
            "model.input",
            "should be 'clip', 'frame' or 'window', not 'frames' (did you mean 'frame'?)",
        ),
        (OWN.format("ends: wrap"), "model.ends", "should be 'mirror' or 'repeat', not 'wrap'"),
        (OWN.format("window: 3"), "model.window", "is for `input: window`, and this has `input: clip`"),
        (
            OWN.format("input: window, window: 4"),
            "model.window",
            "should be an odd number, so that it has a middle, not 4",
        ),
        (
            OWN.format("output: [0]"),
            "model.output",
            "should be a key (text) or an index (a whole number), not [0]",
        ),
        (OWN.format("arguments: [1]"), "model.arguments", "should be a mapping (field: value), not [1]"),
        # Inputs
        ("input=[]", "input", "is an empty list; at least 1 value is needed"),
        ("input=noise", "input", "should be a mapping (field: value), not 'noise'"),
        ("input.0.kind=rnadom", "input[0].kind", f"{KINDS} 'rnadom' (did you mean 'random'?)"),
        ("input.0.kind=", "input[0].kind", f"{KINDS} nothing"),
        ("input.1.fit=stretch", "input[1].fit", "should be 'resize' or 'crop', not 'stretch'"),
        ("input.1.stride=0", "input[1].stride", f"{LEAST_1} 0"),
        ("input={name: a, kind: random, seed: x}", "input.seed", "should be a whole number, not 'x'"),
        ("input.0.grid={size: [[0, 16]]}", "input[0].grid.size[0][0]", f"{LEAST_1} 0"),
        # Axes
        ("grid=[1]", "grid", "should be a mapping (field: value), not [1]"),
        ("grid.frames=[]", "grid.frames", "is an empty list; at least 1 value is needed"),
        ("grid.batch=", "grid.batch", f"{LIST} nothing"),
        ("grid.frames=2.5", "grid.frames", f"{LIST} 2.5"),
        ("grid.frames=0", "grid.frames", f"{LEAST_1} 0"),
        ("grid.frames=[1, 0]", "grid.frames[1]", f"{LEAST_1} 0"),
        ("grid.frames=[1.0]", "grid.frames[0]", "should be a whole number, not 1.0"),
        ("grid.frames=[true]", "grid.frames[0]", "should be a whole number, not True"),
        ("grid.frames=[10000000]", "grid.frames[0]", "should be less than or equal to 1000000, not 10000000"),
        ("grid.frames=[2, 3, 2]", "grid.frames[2]", f"2 {ONCE}"),
        ("grid.frames={start: 1}", "grid.frames.stop", "is missing"),
        ("grid.frames={start: 4, stop: 3}", "grid.frames", "the range stops at 3, before it starts at 4"),
        ("grid.frames={start: 0, stop: 3}", "grid.frames.start", f"{LEAST_1} 0"),
        ("grid.frames={start: 1, stop: 3, step: 0}", "grid.frames.step", f"{LEAST_1} 0"),
        ("grid.frames={start: 1, stop: 10001}", "grid.frames", "a range of over 10,000 values"),
        (
            "grid.frames={start: 1, stop: 9000000000}",
            "grid.frames.stop",
            "should be less than or equal to 1000000, not 9000000000",
        ),
        # Sizes
        ("grid.size=64", "grid.size", f"{LIST} 64"),
        ("grid.size=[16, 0]", "grid.size[1]", f"{LEAST_1} 0"),
        ("grid.size=[[16, 16], [16, 0]]", "grid.size[1][1]", f"{LEAST_1} 0"),
        ("grid.size=[[16, 65537]]", "grid.size[0][1]", "should be less than or equal to 65536, not 65537"),
        (
            "grid.size=[[16, 16, 3]]",
            "grid.size",
            "[16, 16, 3] is no [height, width]; a size has two whole numbers",
        ),
        ("grid.size=[[16, 16], [16, 16]]", "grid.size[1]", f"[16, 16] {ONCE}"),
        # Backends
        ("backends=cpu", "backends", f"{LIST} 'cpu'"),
        ("backends=[cpu, cpu]", "backends[1]", f"'cpu' {ONCE}"),
        ("backends=[1]", "backends[0]", "should be a mapping (field: value), not 1"),
        (
            "backends.0=cuddn",
            "backends[0]",
            f"'cuddn' is not known (did you mean 'cudnn'?); {derive('cuddn')}",
        ),
        ("backends.1.from=cppu", "backends[1].from", f"{ORIGINS} 'cppu' (did you mean 'cpu'?)"),
        (
            "backends.0={name: cpu, from: cuda}",
            "backends[0].from",
            "'cpu' cannot derive from 'cuda'; give it another name",
        ),
        (
            "backends.1.device=cuda:0",
            "backends[1].device",
            "'slow' derives from 'cpu' and cannot be on 'cuda:0'; for that it should derive from cuda, cudnn "
            "or cudnn_autotune",
        ),
        (
            "backends.1={name: g, from: cudnn, device: cpu}",
            "backends[1].device",
            "'g' derives from 'cudnn' and cannot be on 'cpu'; for that it should derive from cpu",
        ),
        (
            "backends.1.device=tpu",
            "backends[1].device",
            "should be cpu, cuda or a GPU by its number as in cuda:1, not 'tpu'",
        ),
        (
            "backends.1.dtype=float61",
            "backends[1].dtype",
            "should be 'float32', 'bfloat16' or 'float16', not 'float61' (did you mean 'float16'?)",
        ),
        ("backends.1.threads=0", "backends[1].threads", f"{LEAST_1} 0"),
        ("backends.1.compile=1", "backends[1].compile", "should be true or false, not 1"),
        ("backends.1.min_psnr_db=-1", "backends[1].min_psnr_db", "should be greater than 0, not -1"),
        ("backends.1.min_psnr_db=.inf", "backends[1].min_psnr_db", "should be a finite number, not inf"),
        (
            "baseline=slwo",
            "baseline",
            "'slwo' is none of the backends (did you mean 'slow'?); allowed are cpu, slow",
        ),
        ("baseline=egvsr/slow", "baseline", "'egvsr' is none of the models; allowed are basicvsr"),
        (
            "baseline=a/b/c",
            "baseline",
            "should be the name of a backend, or of a network and a backend as in basicvsr/cpu, not 'a/b/c'",
        ),
        # Measuring
        (
            "measure.warmup=atuo",
            "measure.warmup",
            "should be a whole number from 0 to 100,000, or auto, not 'atuo'",
        ),
        ("measure.repetitions=true", "measure.repetitions", f"{RULE} True"),
        ("measure.repetitions=[6, 60]", "measure.repetitions", f"{RULE} [6, 60]"),
        ("measure.repetitions={min: 9, max: 8}", "measure.repetitions.max", "is 8, below the min of 9"),
        ("measure.repetitions={min: 61}", "measure.repetitions.max", "is 60, below the min of 61"),
        (
            "measure.repetitions={target: 2}",
            "measure.repetitions.target",
            "should be less than or equal to 0.5, not 2",
        ),
        (
            "measure.repetitions={target: 0%}",
            "measure.repetitions.target",
            "should be greater than 0, not 0.0",
        ),
        (
            "measure.repetitions={target: two}",
            "measure.repetitions.target",
            "should be a share such as 2% or 0.02, not 'two'",
        ),
        (
            "measure.repetitions={budget: 2}",
            "measure.repetitions",
            "unknown field 'budget' (did you mean 'budget_s'?); allowed are min, max, target, budget_s",
        ),
        ("measure.rounds=1001", "measure.rounds", "should be less than or equal to 1000, not 1001"),
        (
            "measure.order=rand",
            "measure.order",
            "should be 'interleaved', 'blocked' or 'random', not 'rand' (did you mean 'random'?)",
        ),
        (
            "measure.isolation=cells",
            "measure.isolation",
            "should be 'cell', 'backend' or 'experiment', not 'cells' (did you mean 'cell'?)",
        ),
        (
            "measure.stages=on",
            "measure.stages",
            "should be 'off', 'sync', 'events' or 'both', not True",
        ),
        (
            "measure.stages=[off]",
            "measure.stages",
            "should be 'off', 'sync', 'events' or 'both', not [False]",
        ),
        ("measure.memory=on", "measure.memory", "should be 'off', 'curve' or 'lines', not True"),
        ("measure.timeout_s=.nan", "measure.timeout_s", "should be a finite number, not nan"),
        ("measure.timeout_s=0", "measure.timeout_s", "should be greater than 0, not 0"),
        (
            "measure.timeout_s=1e3",
            "measure.timeout_s",
            "should be a number, not '1e3' (YAML reads powers of ten only as in 1.0e+3)",
        ),
        (
            "measure.timeout_s=1.0e+300",
            "measure.timeout_s",
            "should be less than or equal to 1000000, not 1e+300",
        ),
        ("measure.allocator=malloc", "measure.allocator", "should be 'retain' or 'system', not 'malloc'"),
        # Plots
        ("plots=[tmie]", "plots[0]", f"{PLOTS} 'tmie' (did you mean 'time'?)"),
        ("plots=tmie", "plots", f"{PLOTS} 'tmie' (did you mean 'time'?)"),
        ("plots=[time, time]", "plots[1]", f"'time' {ONCE}"),
    ],
)
def test_wrong_values(tmp_path: Path, assignment: str, field: str, said: str) -> None:
    shown = " ".join(assignment.split())
    assert refusal(tmp_path, TEXT, assignment) == f"--set {shown}: {field}: {said}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("street.mp4", '""', "grid.yaml:7: input[1].path: should be the path of a file"),
        ("name: noise", "name: street", "grid.yaml:5: input[1]: 'street' stands there twice"),
        ("[1, 2]", "[1, 0]", "grid.yaml:9: grid.frames[1]: should be greater"),
        ("[1, 2]", "\n  - 1\n  - 0", "grid.yaml:11: grid.frames[1]: should be greater"),
        ("  - cpu\n", "  - gpu\n", "grid.yaml:12: backends[0]: 'gpu' is not known (did you mean 'cpu'?)"),
        (
            "from: cpu, threads: 1}",
            "\n    device: cuda}",
            "grid.yaml:13: backends[1].name: 'slow' is not known",
        ),
        (", threads: 1}", ",\n     device: cuda}", "grid.yaml:14: backends[1].device: 'slow' derives from"),
        ("plots: [time]", "baseline: gpu", "grid.yaml:16: baseline: 'gpu' is none of the backends (did"),
        (
            "  rounds: 2\n",
            "  stages: on\n",
            "grid.yaml:15: measure.stages: should be 'off', 'sync', 'events'",
        ),
        (
            "  rounds: 2\n",
            "  rounds: 2\n  rounds: 3\n",
            "grid.yaml:16: the field 'rounds' stands there twice",
        ),
    ],
)
def test_wrong_values_in_the_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert refusal(tmp_path, TEXT.replace(old, new, 1)).startswith(said)


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (
            ["grid.frames={start: 1, stop: 10000}", "grid.batch={start: 1, stop: 10000}"],
            "grid.yaml:8: grid: has 400,000,000 cells with networks, inputs and backends; at most 100,000 "
            "are allowed",
        ),
        (
            ["grid.frames={start: 1, stop: 10000}", "measure.rounds=1000"],
            "grid.yaml:14: measure: asks for 1,000 rounds of 40,000 cells; at most 1,000,000 rounds are "
            "allowed altogether",
        ),
    ],
    ids=["cells", "rounds"],
)
def test_grids_beyond_measure(tmp_path: Path, assignments: list[str], said: str) -> None:
    assert refusal(tmp_path, TEXT, *assignments) == said


class TestAccepted:
    @pytest.mark.parametrize(
        ("assignment", "read", "value"),
        [
            ("measure.stages=off", lambda e: e.measure.stages, "off"),
            ("measure.stages='off'", lambda e: e.measure.stages, "off"),
            ("measure.memory=off", lambda e: e.measure.memory, "off"),
            ("measure.timeout_s=60", lambda e: e.measure.timeout_s, 60.0),
            ("measure.timeout_s=6.0e+2", lambda e: e.measure.timeout_s, 600.0),
            ("grid.frames=3", lambda e: e.grid.frames, (3,)),
            ("grid.frames={start: 1, stop: 10, step: 3}", lambda e: e.grid.frames, (1, 4, 7, 10)),
            ("grid.frames={start: 1, stop: 9, step: 3}", lambda e: e.grid.frames, (1, 4, 7)),
            ("grid.frames={start: 2, stop: 2}", lambda e: e.grid.frames, (2,)),
            ("grid.size=[32, 48]", lambda e: e.grid.size, ((32, 48),)),
            ("grid.size=[[32, 48], [16, 16]]", lambda e: e.grid.size, ((32, 48), (16, 16))),
            ("plots=memory", lambda e: e.plots, ("memory",)),
            ("plots=[]", lambda e: e.plots, ()),
            ("name=2026-01-02", lambda e: e.name, "2026-01-02"),
            ("input={name: a, kind: random}", lambda e: [item.name for item in e.input], ["a"]),
            ("backends=[cudnn]", lambda e: [item.name for item in e.backends], ["cudnn"]),
            ("backends.1={name: g, from: cuda, device: 'cuda:1'}", lambda e: e.backends[1].device, "cuda:1"),
            ("baseline=slow", lambda e: e.baseline, "slow"),
            ("baseline=basicvsr/slow", lambda e: e.baseline, "basicvsr/slow"),
            ("model=egvsr", lambda e: [model.name for model in e.models], ["egvsr"]),
            ("model={name: egvsr, num_blocks: 3}", lambda e: e.models[0].parameters, {"num_blocks": 3}),
            ("model=[basicvsr, {name: egvsr}]", lambda e: [m.name for m in e.models], ["basicvsr", "egvsr"]),
            ("model.num_blocks=3", lambda e: e.models[0].parameters, {"mid_channels": 8, "num_blocks": 3}),
            (OWN.format("output: 0"), lambda e: e.models[0].output, 0),
            (OWN.format("input: window, window: 3"), lambda e: e.models[0].window, 3),
            ("model={name: a, import: 'p:A.B', stages: {x: y}}", lambda e: e.models[0].stages, {"x": ("y",)}),
        ],
    )  # fmt: skip
    def test_forms(self, tmp_path: Path, assignment: str, read: Any, value: object) -> None:
        assert read(load_text(tmp_path, TEXT, assignment)) == value

    def test_aliases(self, tmp_path: Path) -> None:
        text = TEXT.replace("[1, 2]", "&few [1, 2]").replace("  size", "  batch: *few\n  size")
        assert load_text(tmp_path, text).grid.batch == (1, 2)

    def test_an_input_has_its_own_axes(self, tmp_path: Path) -> None:
        experiment = load_text(tmp_path, TEXT, "input.0.grid={frames: [7, 8, 9]}")
        noise, street = experiment.input
        assert experiment.axes_of(noise).frames == (7, 8, 9)
        assert experiment.axes_of(noise).size == ((16, 16),)
        assert experiment.axes_of(street).frames == (1, 2)
        assert experiment.cell_count() == (3 + 2) * 2

    def test_defaults(self, tmp_path: Path) -> None:
        text = "{name: n, input: {name: a, kind: random}, grid: {frames: 1, size: [16, 16]}, backends: [cpu]}"
        experiment = load_text(tmp_path, text)
        assert experiment.measure == Measure()
        assert experiment.grid.batch == (1,)
        assert experiment.plots == ("time", "speedup", "stages", "repetitions", "memory")

    @pytest.mark.parametrize("name", presets.names())
    def test_the_presets(self, name: str) -> None:
        load(presets.find(name))


class TestPaths:
    def test_start_at_the_file_s_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "configs").mkdir()
        monkeypatch.chdir(tmp_path)
        experiment = load_text(tmp_path / "configs", TEXT, "model.checkpoint=../weights/w.pth")
        assert experiment.models[0].checkpoint == "weights/w.pth"
        assert experiment.input[1].path == "configs/street.mp4"  # type: ignore[union-attr]

    def test_an_import_starts_at_the_file_s_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "configs").mkdir()
        monkeypatch.chdir(tmp_path)
        own = load_text(tmp_path / "configs", TEXT, OWN.format("folder: ../nets")).models[0]
        assert own.folder == "nets"
        experiment = load_text(tmp_path / "configs", TEXT, OWN.format("scale: 2"))
        assert experiment.models[0].folder == "configs"
        assert yaml.safe_load(dump(experiment, tmp_path / "run"))["model"] == [
            {
                "name": "mine",
                "import": "a:B",
                "folder": "../configs",
                "arguments": {},
                "scale": 2,
                "input": "clip",
                "stages": {"trunk": ["body"]},
            }
        ]

    def test_absolute_ones_stay(self, tmp_path: Path) -> None:
        experiment = load_text(tmp_path, TEXT, "input.1.path=/videos/street.mp4")
        assert experiment.input[1].path == "/videos/street.mp4"  # type: ignore[union-attr]
        assert "path: /videos/street.mp4" in dump(experiment, tmp_path)

    def test_a_dump_names_no_folder_above(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("configs", "results/run"):
            (tmp_path / folder).mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        text = dump(load_text(tmp_path / "configs", TEXT), tmp_path / "results" / "run")
        assert "path: ../../configs/street.mp4" in text
        assert str(tmp_path) not in text

    def test_through_linked_folders(self, tmp_path: Path) -> None:
        (tmp_path / "disk" / "results" / "run").mkdir(parents=True)
        (tmp_path / "clone").mkdir()
        (tmp_path / "clone" / "results").symlink_to(tmp_path / "disk" / "results")
        (tmp_path / "clone" / "street.mp4").touch()
        experiment = load_text(tmp_path / "clone", TEXT)
        run = tmp_path / "clone" / "results" / "run"
        (run / "config.yaml").write_text(dump(experiment, run))
        again, _ = load(run / "config.yaml")
        assert again == experiment
        assert Path(again.input[1].path).exists()  # type: ignore[union-attr]


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True) | st.sampled_from(
    ["off", "1", "1e3", "2026-01-02", "null", "0x10", "1_000", "yes", "1.5", "a-"]
)
paths = st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text and not text.isspace())
numbers = st.integers(min_value=1, max_value=9)
axes = st.lists(numbers, min_size=1, max_size=3, unique=True)
sizes = st.lists(st.tuples(*[st.integers(16, 64)] * 2).map(list), min_size=1, max_size=2, unique_by=tuple)
own_axes = st.fixed_dictionaries({}, optional={"batch": axes, "frames": axes, "size": sizes})
seeds = st.integers(0, 2**63 - 1)
media = {"path": paths, "fit": st.sampled_from(["resize", "crop"]), "grid": own_axes}
inputs = st.one_of(
    st.fixed_dictionaries(
        {"name": names, "kind": st.just("random"), "seed": seeds}, optional={"grid": own_axes}
    ),
    st.fixed_dictionaries({"name": names, "kind": st.just("image"), **media}),
    st.fixed_dictionaries({"name": names, "kind": st.just("video"), **media, "stride": numbers}),
)
backends = st.fixed_dictionaries(
    {"name": names.filter(lambda name: name not in BACKEND_NAMES), "from": st.just("cudnn")},
    optional={
        "device": st.sampled_from(["cuda", "cuda:1"]),
        "dtype": st.sampled_from(["float32", "bfloat16"]),
        "threads": numbers,
        "compile": st.booleans(),
        "convolution": st.sampled_from(get_args(Convolution)),
        "schedule": st.sampled_from(get_args(Schedule)),
        "cuda_graph": st.booleans(),
        "transfer": st.sampled_from(get_args(Transfer)),
        "min_psnr_db": st.floats(min_value=1e-9, max_value=1e9),
    },
)
models = st.one_of(
    st.fixed_dictionaries(
        {"name": st.sampled_from(list(NETWORKS)), "num_blocks": numbers}, optional={"checkpoint": paths}
    ),
    st.fixed_dictionaries(
        {
            "name": names.filter(lambda name: name not in NETWORKS),
            "import": st.just("nets:Net"),
            "stages": st.dictionaries(names, st.lists(st.text(min_size=1), min_size=1), min_size=1),
        },
        optional={
            "arguments": st.dictionaries(st.text(), axes | st.booleans() | st.text()),
            "folder": paths,
            "seed": seeds,
            "input": st.sampled_from(["clip", "frame", "window"]),
            "output": st.text() | numbers,
        },
    ),
)
experiments = st.fixed_dictionaries(
    {
        "name": names,
        "model": st.lists(models, min_size=1, max_size=3, unique_by=lambda item: item["name"]),
        "input": st.lists(inputs, min_size=1, max_size=3, unique_by=lambda item: item["name"]),
        "grid": st.fixed_dictionaries({"batch": axes, "frames": axes, "size": sizes}),
        "backends": st.lists(backends | st.just("cpu"), min_size=1, max_size=3, unique_by=str).filter(
            lambda items: len({item if item == "cpu" else item["name"] for item in items}) == len(items)
        ),
        "measure": st.fixed_dictionaries(
            {
                "timeout_s": st.floats(min_value=1e-9, max_value=1e6),
                "stages": st.sampled_from(["off", "both"]),
            }
        ),
    }
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("dump")
    for name in ("configs", "results/run"):
        (root / name).mkdir(parents=True)
    return root / "configs", root / "results" / "run"


@settings(max_examples=30)
@given(data=experiments)
def test_a_dump_loads_to_an_equal_experiment(folders: tuple[Path, Path], data: dict[str, Any]) -> None:
    here, there = folders
    experiment = load_text(here, yaml.safe_dump(data, allow_unicode=True))
    (there / "config.yaml").write_text(dump(experiment, there), encoding="utf-8")
    again, _ = load(there / "config.yaml")
    assert again == experiment


fields = st.sampled_from(
    [
        "name",
        "model",
        "input",
        "grid",
        "backends",
        "measure",
        "plots",
        "kind",
        "frames",
        "size",
        "random",
        "from",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | fields,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(fields | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(data=anything, into=st.none() | st.sampled_from(["", *yaml.safe_load(TEXT)]))
def test_any_data_loads_or_is_refused(folders: tuple[Path, Path], data: Any, into: str | None) -> None:
    """On its own, or in a good experiment in place of one of its fields."""
    text = yaml.safe_dump({**yaml.safe_load(TEXT), into: data} if into is not None else data)
    said = ""
    try:
        load_text(folders[0], text)
    except BadInput as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    networks = {name: arguments_of(network_class(name)) for name in NETWORKS}
    written: dict[str, Any] = json.loads(json.dumps(json_schema(networks), allow_nan=False))
    return written


class TestJsonSchema:
    def test_is_a_schema_with_every_reference_resolved(self, schema: dict[str, Any]) -> None:
        jsonschema.Draft202012Validator.check_schema(schema)
        for node in nodes(schema):
            if "$ref" in node:
                start, _, name = node["$ref"].rpartition("/")
                assert start == "#/$defs"
                assert name in schema["$defs"]

    def test_every_field_is_described_and_none_other_allowed(self, schema: dict[str, Any]) -> None:
        models = {name: about for name, about in schema["$defs"].items() if "properties" in about}
        models["Experiment"] = schema
        undescribed = [
            f"{model}.{name}"
            for model, about in models.items()
            for name, field in about["properties"].items()
            if not field.get("description")
        ]
        assert undescribed == []
        assert {
            model for model, about in models.items() if about["additionalProperties"] is not False
        } == set()

    def test_defaults_and_required_fields(self, schema: dict[str, Any]) -> None:
        assert schema["required"] == ["name", "input", "grid", "backends"]
        assert schema["$defs"]["Measure"]["properties"]["rounds"]["default"] == 1
        assert schema["$defs"]["Backend"]["properties"]["from"]["anyOf"][0]["enum"] == [
            "cpu", "cuda", "cudnn", "cudnn_autotune",
        ]  # fmt: skip

    @pytest.mark.parametrize("name", presets.names())
    def test_allows_the_presets(self, schema: dict[str, Any], name: str) -> None:
        text = presets.find(name).read_text().replace(": off", ": 'off'")  # as editors read it, in YAML 1.2
        jsonschema.validate(yaml.safe_load(text), schema)

    @pytest.mark.parametrize(
        ("model", "allowed"),
        [
            ("egvsr", True),
            ("esrgan", False),
            ({"num_blocks": 3}, True),
            ({"name": "egvsr", "num_blocks": 3}, True),
            ({"name": "egvsr", "num_blocks": 0}, False),
            ({"name": "egvsr", "mid_channels": 3}, False),
            (
                ["basicvsr", {"name": "mine", "import": "a:B", "stages": {"trunk": ["body"]}, "scale": 2}],
                True,
            ),
            ({"name": "mine", "import": "a:B"}, False),
            ({"name": "mine", "import": "a:B", "stages": {"trunk": ["body"]}, "num_blocks": 2}, False),
        ],
        ids=str,
    )
    def test_knows_the_parameters_of_networks(
        self, schema: dict[str, Any], model: Any, *, allowed: bool
    ) -> None:
        data = {**yaml.safe_load(TEXT), "model": model}
        assert jsonschema.Draft202012Validator(schema).is_valid(data) is allowed


def nodes(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        if not isinstance(data.get("type"), dict):  # a mapping of field names may have a field `type`
            yield data
        for item in data.values():
            yield from nodes(item)
    elif isinstance(data, list):
        for item in data:
            yield from nodes(item)


@pytest.mark.parametrize(
    ("given", "dumped"),
    [
        ("7", 7),
        ("{min: 7, max: 7}", 7),
        ("{min: 7, max: 9, target: 1%}", {"min": 7, "max": 9, "target": 0.01, "budget_s": 10.0}),
    ],
)
def test_repetitions_are_written_as_they_act(tmp_path: Path, given: str, dumped: Any) -> None:
    experiment = load_text(tmp_path, TEXT, f"measure.repetitions={given}")
    assert yaml.safe_load(dump(experiment, tmp_path))["measure"]["repetitions"] == dumped


@pytest.mark.parametrize("idle", ["target: 1%", "budget_s: 3"])
def test_a_rule_that_has_no_say_is_refused(tmp_path: Path, idle: str) -> None:
    said = refusal(tmp_path, TEXT, f"measure.repetitions={{min: 7, max: 7, {idle}}}")
    assert said.endswith("has no effect where min and max are both 7; leave it out, or raise max")


def test_paths_that_lead_beyond_the_root_are_those_of_where_a_folder_lies(tmp_path: Path) -> None:
    far = f"{'../' * 60}clip.mp4"
    written = load_text(tmp_path, TEXT, f"input={{name: clip, kind: video, path: {far}}}")
    begun = {"input": [{"name": "clip", "kind": "video", "path": far}]}
    there = in_folder(of_plain({**plain(written), **begun}), Path("/a/b"))
    assert resolved(there, Path("/a/b"))["input"][0]["path"] == "../../clip.mp4"
