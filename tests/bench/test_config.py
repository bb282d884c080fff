"""YAML to Experiment: accepted forms, and for all else the place, the field, what was given and allowed."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.figures import DRAWN_UNASKED
from bench.grid import presets
from bench.grid.backend import BACKEND_NAMES, Backend, Convolution, Schedule, Transfer
from bench.grid.baseline import Baseline
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
OWN = "model={{name: mine, import: 'a:B', stages: {{trunk: body}}, {}}}"


def load_text(tmp_path: Path, text: str, *assignments: str) -> Experiment:
    path = tmp_path / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, assignments)[0]


def refusal(tmp_path: Path, text: str, *assignments: str) -> str:
    """Return the one line of the refusal, without its folder."""
    with pytest.raises(BadInput) as caught:
        load_text(tmp_path, text, *assignments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).replace(f"{tmp_path}{os.sep}", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: trial", "name: trial\ncolour: 1", "grid.yaml:2: unknown field 'colour'; allowed are"),
        ("{mid_c", "{import: 'a:B', mid_c", "grid.yaml:2: model: unknown field 'mid_channels'; allowed are"),
        ("    path", "    strid: 2\n    path", "grid.yaml:7: input[1]: unknown field 'strid' (did you mean"),
        ("[1, 2]", "{start: 1, stop: 2, stp: 1}", "grid.yaml:9: grid.frames: unknown field 'stp' (did you"),
        ("  size", "  sizes", "grid.yaml:10: grid: unknown field 'sizes' (did you mean 'size'?)"),
        ("kind: random", "kind: random, random: 1", "grid.yaml:4: input[0]: unknown field 'random'; allowed"),
        ("name: trial\n", "", "grid.yaml:1: name: is missing"),
        ("name: noise, ", "", "grid.yaml:4: input[0].name: is missing"),
        ("    kind: video\n", "", "grid.yaml:5: input[1]: the field 'kind' is missing; it should be"),
        ("name: noise", "name: street", "grid.yaml:5: input[1]: 'street' is given twice"),
        ("[1, 2]", "\n  - 1\n  - 0", "grid.yaml:11: grid.frames[1]: should be greater"),
        ("  - cpu\n", "  - gpu\n", "grid.yaml:12: backends[0]: 'gpu' is not known (did you mean 'cpu'?)"),
        (", threads: 1}", ",\n     device: cuda}", "grid.yaml:14: backends[1].device: 'slow' derives from"),
        ("  rounds: 2\n", "  rounds: 2\n  profile: true\n  isolation: backend\n",
         "grid.yaml:16: measure.profile: is true, which needs isolation: cell, not backend"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_refused_at_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert refusal(tmp_path, TEXT.replace(old, new, 1)).startswith(message)


WRONG = """
name=7                              name: should be text, not 7
name=                               name: should be text, not nothing
name=../../etc                      name: should consist of letters, digits, '.', '_' and '-', starting with
backends.1.name=a|b                 backends[1].name: should consist of letters, digits
model=                              model: should be a mapping (field: value), not nothing
model=[]                            model: is an empty list; at least 1 value is needed
model=egvrs                         model: should be basicvsr or
model=[basicvsr, {name: esrgan}]    model[1].name: should be basicvsr or
model=[egvsr, egvsr]                model[1]: 'egvsr' is given twice; each may be given once
model.seed=-1                       model.seed: should be greater than or equal to 0, not -1
model={seed: 1, checkpoint: w.pth}  model: has both a seed and a checkpoint; weights come from one of them
model.checkpoint="a\\0b"            model.checkpoint: should be the path of a file, neither empty nor with a
model={stages: {a: [b]}}            model.stages: is for a class of your own, and there is no import that nam
model={name: mine, import: nets}    model.import: should name a class as package.module:Class, not 'nets'
model={import: 'a:B', stages: {a: b}}  model.name: is missing; a class of your own needs one, for tables
model={name: egvsr, import: 'a:B', stages: {a: b}}  model.name: 'egvsr' is a network of the registry; give yo
model={name: mine, import: 'a:B'}   model.stages: is missing or empty; name a stage and its submodules, as in
model={name: mine, import: 'a:B', stages: {total: b}}  model.stages: 'total' is what tables call something e
OWN(window: 3)                      model.window: is for `input: window`, and this has `input: clip`
OWN(input: window, window: 4)       model.window: should be an odd number, so that it has a middle, not 4
OWN(output: [0])                    model.output: should be a key (text) or an index (a whole number), not [0
input=noise                         input: should be a mapping (field: value), not 'noise'
input.0.kind=rnadom                 input[0].kind: should be 'random', 'image' or 'video', not 'rnadom' (did
input.1.fit=stretch                 input[1].fit: should be 'resize' or 'crop', not 'stretch'
grid.batch=                         grid.batch: should be a list, as in [1, 2], not nothing
grid.frames=0                       grid.frames: should be greater than or equal to 1, not 0
grid.frames=[1.0]                   grid.frames[0]: should be a whole number, not 1.0
grid.frames=[true]                  grid.frames[0]: should be a whole number, not True
grid.frames=[2, 3, 2]               grid.frames[2]: 2 is given twice; each may be given once
grid.frames={start: 1}              grid.frames.stop: is missing
grid.frames={start: 4, stop: 3}     grid.frames: the range stops at 3, before it starts at 4
grid.frames={start: 1, stop: 10001}  grid.frames: a range of over 10,000 values
grid.size=[16, 0]                   grid.size[1]: should be greater than or equal to 1, not 0
grid.size=[[16, 65537]]             grid.size[0][1]: should be less than or equal to 65536, not 65537
grid.size=[[16, 16, 3]]             grid.size: [16, 16, 3] is no [height, width]; a size has two whole number
backends=cpu                        backends: should be a list, as in [1, 2], not 'cpu'
backends=[1]                        backends[0]: should be a mapping (field: value), not 1
backends.0=cuddn                    backends[0]: 'cuddn' is not known (did you mean 'cudnn'?); it should be c
backends.1.from=cppu                backends[1].from: should be 'cpu', 'cuda', 'cudnn' or 'cudnn_autotune', n
backends.1.device=tpu               backends[1].device: should be cpu, cuda or a GPU by its number as in cud
backends.1.dtype=float61            backends[1].dtype: should be 'float32', 'bfloat16' or 'float16', not 'flo
backends.1.compile=1                backends[1].compile: should be true or false, not 1
backends.1.min_psnr_db=.inf         backends[1].min_psnr_db: should be a finite number, not inf
backends.1.min_psnr_db=0            backends[1].min_psnr_db: should be greater than 0, not 0
baseline=slwo                       baseline: 'slwo' is none of the backends (did you mean 'slow'?); allowed
baseline=egvsr/slow                 baseline: 'egvsr' is none of the models; allowed are basicvsr
baseline=a/b/c                      baseline: should be the name of a backend, or of a network and a backend
measure.warmup=on                   measure.warmup: should be a whole number from 0 to 100,000, or auto, not T
measure.repetitions=[6, 60]         measure.repetitions: should be a whole number, or a mapping such as {min:
measure.repetitions={min: 61}       measure.repetitions.max: is 60, below the min of 61
measure.repetitions={target: two}   measure.repetitions.target: should be a share such as 2% or 0.02, not 'tw
measure.repetitions={min: 7, max: 7, target: 1%}  measure.repetitions.target: has no effect where min and max
measure.order=blocked,              measure.order: should be 'interleaved', 'blocked' or 'random', not 'blo
measure={order: blocked, isolation: backend}  measure.order: blocked needs isolation: cell, and isolation is
measure.stages=[off]                measure.stages: should be 'off', 'sync', 'events' or 'both', not [False]
measure.timeout_s=1e3               measure.timeout_s: should be a number, not '1e3' (YAML reads powers of te
plots=[tmie]                        plots[0]: should be 'time',
variants={quick: {name: x}}         variants: cannot be set from the command line; --variant chooses one
"""
"""Assignments, each with the beginning of what is said of it."""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_a_wrong_value_is_refused_with_what_is_allowed(tmp_path: Path, line: str) -> None:
    assignment, message = line.split("  ", 1)
    if assignment.startswith("OWN"):
        assignment = OWN.format(assignment.removeprefix("OWN(").removesuffix(")"))
    assert refusal(tmp_path, TEXT, assignment).startswith(f"--set {assignment}: {message.strip()}")


RETIRED_AT = {Backend: "backends.0.", Experiment: "", Measure: "measure."}
"""The place in a grid of each class with retired fields."""


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
    assert refusal(tmp_path, text, assignment).endswith(
        f"{field}: {retired} is no longer there; {kind.RETIRED[retired]}"
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("grid.batch={start: 1, stop: 10000}", "grid.yaml:8: grid: has 400,000,000 cells with networks, inp"),
        ("measure.rounds=1000", "grid.yaml:14: measure: asks for 1,000 rounds of 40,000 cells; at most 1,00"),
    ],
)
def test_a_grid_beyond_measure_is_refused(tmp_path: Path, assignment: str, message: str) -> None:
    assert refusal(tmp_path, TEXT, "grid.frames={start: 1, stop: 10000}", assignment).startswith(message)


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("measure.stages=off", lambda e: e.measure.stages, "off"),
        ("measure.repetitions=7", lambda e: (e.measure.repetitions.min, e.measure.repetitions.max), (7, 7)),
        ("measure.repetitions={target: 2.5%}", lambda e: e.measure.repetitions.target, 0.025),
        ("grid.frames={start: 1, stop: 10, step: 4}", lambda e: e.grid.frames, (1, 5, 9)),
        ("grid.frames=3", lambda e: e.grid.frames, (3,)),
        ("grid.size=[32, 48]", lambda e: e.grid.size, ((32, 48),)),
        ("plots=memory", lambda e: e.plots, ("memory",)),
        ("name=2026-01-02", lambda e: e.name, "2026-01-02"),
        ("input={name: a, kind: random}", lambda e: [item.name for item in e.input], ["a"]),
        ("backends.1={name: g, from: cuda, device: 'cuda:1'}", lambda e: e.backends[1].device, "cuda:1"),
        ("model=[basicvsr, {name: egvsr}]", lambda e: [m.name for m in e.models], ["basicvsr", "egvsr"]),
        ("model.num_blocks=3", lambda e: e.models[0].parameters, {"mid_channels": 8, "num_blocks": 3}),
        ("model={name: a, import: 'p:A.B', stages: {x: y}}", lambda e: e.models[0].stages, {"x": ("y",)}),
    ],
)  # fmt: skip
def test_short_forms(
    tmp_path: Path, assignment: str, read: Callable[[Experiment], object], value: object
) -> None:
    assert read(load_text(tmp_path, TEXT, assignment)) == value


def test_an_input_has_its_own_axes(tmp_path: Path) -> None:
    experiment = load_text(tmp_path, TEXT, "input.0.grid={frames: [7, 8, 9]}")
    noise, street = experiment.input
    assert experiment.axes_of(experiment.models[0], noise).frames == (7, 8, 9)
    assert experiment.axes_of(experiment.models[0], noise).size == ((16, 16),)
    assert experiment.axes_of(experiment.models[0], street).frames == (1, 2)
    assert experiment.cell_count() == (3 + 2) * 2


@pytest.mark.parametrize(("measure", "plots"), [("{}", ()), ("{ceilings: true}", ("roofline",))])
def test_defaults(tmp_path: Path, measure: str, plots: tuple[str, ...]) -> None:
    head = "{name: n, input: {name: a, kind: random}, grid: {frames: 1, size: [16, 16]}, "
    experiment = load_text(tmp_path, f"{head}backends: [cpu], measure: {measure}}}")
    assert experiment.grid.batch == (1,)
    assert experiment.plots == (*DRAWN_UNASKED, *plots)


@pytest.mark.parametrize(
    ("given", "dumped"),
    [
        ("{min: 7, max: 7}", 7),
        ("{min: 7, max: 9, target: 1%}", {"min": 7, "max": 9, "target": 0.01, "budget_s": 10.0}),
    ],
)
def test_repetitions_are_written_as_they_act(tmp_path: Path, given: str, dumped: Any) -> None:
    experiment = load_text(tmp_path, TEXT, f"measure.repetitions={given}")
    assert plain(experiment)["measure"]["repetitions"] == dumped


@pytest.mark.parametrize(
    ("text", "matched"),
    [("cpu", [("basicvsr", "cpu"), ("mine", "cpu")]), ("mine/cpu", [("mine", "cpu")])],
)
def test_a_baseline_is_a_backend_or_that_of_one_network(text: str, matched: list[tuple[str, str]]) -> None:
    baseline = Baseline.of(text)
    assert str(baseline) == text
    places = [(model, backend) for model in ("basicvsr", "mine") for backend in ("cpu", "cuda")]
    assert [place for place in places if baseline.matches(*place)] == matched


class TestPaths:
    def test_start_at_the_files_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "configs").mkdir()
        monkeypatch.chdir(tmp_path)
        experiment = load_text(tmp_path / "configs", TEXT, "model.checkpoint=../weights/w.pth")
        assert experiment.models[0].checkpoint == "weights/w.pth"
        assert experiment.input[1].path == "configs/street.mp4"  # type: ignore[union-attr]
        text = dump(experiment, tmp_path / "results" / "run")
        assert "path: ../../configs/street.mp4" in text
        assert str(tmp_path) not in text

    def test_an_import_starts_at_the_files_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "configs").mkdir()
        monkeypatch.chdir(tmp_path)
        own = load_text(tmp_path / "configs", TEXT, OWN.format("folder: ../nets"))
        assert own.models[0].folder == "nets"
        experiment = load_text(tmp_path / "configs", TEXT, OWN.format("scale: 2"))
        assert resolved(experiment, tmp_path / "run")["model"] == [
            {
                "name": "mine", "import": "a:B", "folder": "../configs", "arguments": {}, "scale": 2,
                "input": "clip", "stages": {"trunk": ["body"]},
            }
        ]  # fmt: skip

    def test_absolute_ones_stay(self, tmp_path: Path) -> None:
        experiment = load_text(tmp_path, TEXT, "input.1.path=/videos/street.mp4")
        assert experiment.input[1].path == "/videos/street.mp4"  # type: ignore[union-attr]
        assert "path: /videos/street.mp4" in dump(experiment, tmp_path)

    def test_lead_through_linked_folders(self, tmp_path: Path) -> None:
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

    def test_that_lead_beyond_the_root_start_at_the_runs_folder(self, tmp_path: Path) -> None:
        far = f"{'../' * 60}clip.mp4"
        written = load_text(tmp_path, TEXT, f"input={{name: clip, kind: video, path: {far}}}")
        begun = {"input": [{"name": "clip", "kind": "video", "path": far}]}
        there = in_folder(of_plain({**plain(written), **begun}), Path("/a/b"))
        assert resolved(there, Path("/a/b"))["input"][0]["path"] == "../../clip.mp4"


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
    st.fixed_dictionaries({"name": names, "kind": st.just("random"), "seed": seeds}),
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
            "input": st.sampled_from(["clip", "frame", "window"]),
            "output": st.text() | numbers,
        },
    ),
)


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=1, max_size=3, unique_by=lambda item: item["name"])


experiments = st.fixed_dictionaries(
    {
        "name": names,
        "model": some(models),
        "input": some(inputs),
        "grid": st.fixed_dictionaries({"batch": axes, "frames": axes, "size": sizes}),
        "backends": some(backends),
        "measure": st.fixed_dictionaries({"timeout_s": st.floats(min_value=1e-9, max_value=1e6)}),
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
    assert resolved(again, there) == resolved(experiment, there)


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
    message = ""
    try:
        load_text(folders[0], text)
    except BadInput as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


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
        assert all(about["additionalProperties"] is False for about in models.values())

    @pytest.mark.parametrize(
        ("section", "model", "elsewhere"),
        [("backends", Backend, {"name", "origin", "tuned_on"}), ("measure", Measure, set())],
    )
    def test_the_document_lists_every_field(
        self, section: str, model: type[Strict], elsewhere: set[str]
    ) -> None:
        page = Path(__file__).parents[2].joinpath("docs/grid.md").read_text(encoding="utf-8")
        listed = page.partition(f"\n## {section}\n")[2].partition("\n| field |")[2].partition("\n\n")[0]
        assert {*re.findall(r"^\| `(\w+)`", listed, re.MULTILINE)} == {*model.model_fields} - elsewhere

    def test_defaults_and_required_fields(self, schema: dict[str, Any]) -> None:
        assert schema["required"] == ["name", "input", "grid", "backends"]
        assert schema["$defs"]["Backend"]["required"] == ["name"]
        assert schema["$defs"]["Measure"]["properties"]["rounds"]["default"] == 1
        assert schema["$defs"]["Backend"]["properties"]["from"]["anyOf"][0]["enum"] == [*BACKEND_NAMES]

    @pytest.mark.parametrize("name", presets.names())
    def test_allows_the_presets(self, schema: dict[str, Any], name: str) -> None:
        load(presets.find(name))
        text = presets.find(name).read_text().replace(": off", ": 'off'")  # as editors read it, in YAML 1.2
        jsonschema.validate(yaml.safe_load(text), schema)

    @pytest.mark.parametrize(
        ("model", "allowed"),
        [
            ("egvsr", True),
            ("esrgan", False),
            ({"num_blocks": 3}, True),
            ({"name": "egvsr", "num_blocks": 0}, False),
            ({"name": "egvsr", "mid_channels": 3}, False),
            (["basicvsr", {"name": "mine", "import": "a:B", "stages": {"trunk": ["body"]}}], True),
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
