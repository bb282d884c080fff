"""The plan of runs, and the presets, which say what the plan takes them to say."""

import pytest

from bench.grid import config, plan, presets
from bench.grid.config import Experiment
from bench.paper.experiments import (
    BEYOND,
    EXPERIMENTS,
    FAULTS,
    KEYS,
    PAPER,
    Edition,
    Fault,
    Request,
    Step,
    Version,
    in_order,
    method_of,
    text_of,
)
from bench.paper.sources import PAPER_NAMES, Role
from vsr_model.errors import BadInput

FIGURES = ("headline", "14", "15", "17", "19")
"""One of each experiment."""


def loaded(step: Step) -> Experiment:
    return config.load(presets.find(step.preset), (), step.variants)[0]


def roles(experiment: Experiment) -> dict[str, str]:
    return {backend.name: backend.origin for backend in experiment.backends}


@pytest.mark.parametrize("version", Version)
def test_everything_by_default(version):
    every = Request(version=version)
    assert every.figures == KEYS
    assert all(plan.cells(loaded(step)) for step in every.steps)
    assert [step.folder for step in every.steps] == [
        *(f"corrected/{name}" for name in EXPERIMENTS),
        *(f"faithful/{name}" for name in EXPERIMENTS),
        *(f"faults/{name}/{which}" for name in FAULTS for which in ("off", "on")),
        *(f"beyond/{name}" for name in BEYOND),
    ]


def test_only_what_the_figures_need():
    steps = Request(methods=(Edition.CORRECTED,), figures=("table1", "14")).steps
    assert [step.folder for step in steps] == ["corrected/repetitions", "corrected/stages"]
    with pytest.raises(BadInput, match=r"--figures: no 'table2' \(did you mean 'table1'\?\); there are head"):
        in_order(("14", "table2"))


@pytest.mark.parametrize("version", Version)
def test_the_faithful_method_is_what_the_papers_code_did(version):
    for step in Request(methods=(Edition.FAITHFUL,), figures=FIGURES, version=version).steps:
        experiment, name = loaded(step), step.folder.partition("/")[2]
        measure = experiment.measure
        assert experiment.input[0].name == name
        assert roles(experiment) == {name: str(role) for role, name in PAPER_NAMES.items()}
        assert step.method == (PAPER | {Fault.ONE_PROCESS} if name == "frames" else PAPER)
        assert (measure.warmup, measure.rounds, measure.allocator) == (0, 1, "system")
        (network,) = experiment.models
        assert {network.parameters[name] for name in ("base_upsample", "flow_resize")} == {"nearest"}
        asked = {"repetitions": 10, "stages": 3}.get(name, 1)
        assert (measure.repetitions.min, measure.repetitions.max) == (asked, asked)


@pytest.mark.parametrize("version", [Version.FULL, Version.BRIEF])
def test_the_corrected_method_measures_every_backend_at_the_papers_sizes(version):
    steps = Request(methods=(Edition.CORRECTED,), figures=FIGURES, version=version).steps
    assert {tuple(roles(loaded(step)).values()) for step in steps} == {tuple(map(str, Role))}
    assert {step.method for step in steps} == {None}
    frames = [sorted({cell.frames for cell in plan.cells(loaded(step))}) for step in steps]
    assert frames == [[60], [30], [*range(1, 62, 3)], [40], [60]]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_one_thing(name):
    off, on = (step for step in Request(figures=("faults",)).steps if f"/{name}/" in step.folder)
    clips = [[cell.clip_id for cell in plan.cells(loaded(step))] for step in (off, on)]
    assert clips[0] == clips[1]
    before, after = (config.plain(loaded(step)) for step in (off, on))
    changed = {field for field in before if before[field] != after[field]}
    if FAULTS[name] is None:
        assert changed == {"name", "backends"}
    else:
        assert not changed
        assert len(set(on.method or ()) - set(off.method or ())) == 1


def test_a_method_is_read_from_its_text():
    for method in (set(), PAPER, *({fault} for fault in Fault)):
        assert method_of(text_of(method)) == method
    assert method_of(None) is None
