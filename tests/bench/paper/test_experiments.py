"""Which runs reproduce what; and that the presets say what the plan takes them to say."""

from dataclasses import replace

import pytest

from bench.grid import config, plan, presets
from bench.grid.config import Experiment
from bench.paper import method
from bench.paper.experiments import EXPERIMENTS, FAULTS, KEYS, METHODS, VERSIONS, Step, request, steps
from bench.paper.method import PAPER
from bench.paper.sources import PAPER_NAMES, Role
from vsr_model.errors import BadInput


def folders(*methods: str, figures: tuple[str, ...] = ()) -> list[str]:
    return [step.folder for step in steps(request(methods, figures))]


def loaded(step: Step) -> Experiment:
    return config.load(presets.find(step.preset), (), step.variants)[0]


def roles(experiment: Experiment) -> dict[str, str]:
    return {spec.name: spec.from_ or spec.name for spec in experiment.backends}


def test_everything_by_default() -> None:
    every = request(METHODS, [], version="quick")
    assert every.figures == KEYS
    assert every.experiments == tuple(EXPERIMENTS)
    found = [step.folder for step in steps(every)]
    assert found[:6] == [*(f"corrected/{name}" for name in EXPERIMENTS), "faithful/headline"]
    assert found[10:12] == ["faults/synchronisation/off", "faults/synchronisation/on"]
    assert len(found) == 2 * len(EXPERIMENTS) + 2 * len(FAULTS) == len(set(found))


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (("15",), ["corrected/frames"]),
        (("16", "15"), ["corrected/frames"]),
        (("table1", "14"), ["corrected/repetitions", "corrected/stages"]),
        (("headline",), ["corrected/headline"]),
    ],
)
def test_only_what_the_figures_need(figures: tuple[str, ...], expected: list[str]) -> None:
    assert folders("corrected", figures=figures) == expected


def test_a_figure_that_there_is_not() -> None:
    with pytest.raises(BadInput, match=r"--figures: no 'table2' \(did you mean 'table1'\?\); there are head"):
        request(METHODS, ["14", "table2"])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_step_is_a_preset_with_the_variants(version: str) -> None:
    for step in steps(request(METHODS, [], version=version)):
        assert plan.cells(loaded(step))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_faithful_method_is_what_the_papers_code_did(version: str) -> None:
    for step in steps(request(["faithful"], ["headline", "14", "15", "17", "19"], version=version)):
        experiment = loaded(step)
        measure = experiment.measure
        assert experiment.input[0].name == step.folder.partition("/")[2]
        assert roles(experiment) == {"CPU": "cpu", "CUDA": "cudnn", "cuDNN": "cudnn_autotune"}
        assert roles(experiment) == {name: str(role) for role, name in PAPER_NAMES.items()}
        assert step.method == replace(PAPER, one_process=experiment.input[0].name == "frames")
        assert (measure.warmup, measure.rounds, measure.allocator) == (0, 1, "system")
        (network,) = experiment.models
        assert {network.parameters[name] for name in ("base_upsample", "flow_resize")} == {"nearest"}
        asked = {"repetitions": 10, "stages": 3}.get(experiment.input[0].name, 1)
        assert (measure.repetitions.min, measure.repetitions.max) == (asked, asked)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_corrected_method_measures_every_backend_properly(version: str) -> None:
    for step in steps(request(["corrected"], ["headline", "14", "15", "17", "19"], version=version)):
        experiment = loaded(step)
        assert experiment.input[0].name == step.folder.partition("/")[2]
        assert list(roles(experiment).values()) == [str(role) for role in Role]
        assert step.method is None


def test_the_papers_sizes_are_those_of_the_paper() -> None:
    frames = {
        step.folder: [cell.frames for cell in plan.cells(loaded(step)) if cell.backend.name == "cpu"]
        for step in steps(request(["corrected"], ["headline", "14", "15", "17", "19"]))
    }
    assert frames == {
        "corrected/headline": [60],
        "corrected/repetitions": [30],
        "corrected/frames": list(range(1, 62, 3)),
        "corrected/memory": [40],
        "corrected/stages": [60],
    }


def differing(name: str) -> dict[str, tuple[object, object]]:
    off, on = (loaded(step) for step in steps(request(METHODS, ["faults"])) if f"/{name}/" in step.folder)
    assert [cell.clip_id for cell in plan.cells(off)] == [cell.clip_id for cell in plan.cells(on)]
    before, after = config.plain(off), config.plain(on)
    return {field: (before[field], after[field]) for field in before if before[field] != after[field]}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_one_thing(name: str) -> None:
    changed = differing(name)
    switched = method.FAULTS[name]
    assert set(changed) == ({"name", "backends"} if switched is None else set())
