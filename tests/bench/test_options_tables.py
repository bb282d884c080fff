"""Runs that were measured otherwise than by default: what tables, cautions, plots and pages make of them."""

from collections.abc import Sequence
from io import StringIO

import pandas as pd
import pytest

from bench.cautions.caution import Caution
from bench.cautions.cautions import cautions
from bench.cautions.machine_state import machine_state
from bench.grid import plan
from bench.plotting import plot_data, plot_figures
from bench.progress import Display, ProgressConsole
from bench.records import (
    CALL,
    FORWARD,
    FORWARD_UNPROBED,
    OTHER,
    TOTAL,
    CellRecord,
    Pass,
    Phase,
    Sample,
    Status,
    TelemetryReading,
)
from bench.reporting import report_cells, report_figures, report_trust
from bench.reporting.report import render_markdown
from bench.results.analysis import (
    Tables,
    cells_table,
    perturbation_table,
    samples_table,
    summary_table,
    tables_of,
)
from bench.results.record_check import fault
from tests.bench import synthetic
from tests.bench.fakes import experiment, jobs_of
from vsr_model.stages import STAGES

BACKENDS = ("cpu", "cudnn")


def sample(stage: str, wall_s: float, *, number: int = 0, pass_: Pass = Pass.END_TO_END) -> Sample:
    return Sample(
        pass_=pass_, phase=Phase.STEADY, repetition=number, stage=stage, start_s=10.0 * number, wall_s=wall_s
    )


def record(backend: str, samples: Sequence[Sample], **changes: object) -> CellRecord:
    made = CellRecord(
        cell=f"noise/b2/t3/64x64/{backend}", round=0, input="noise", batch=2, frames=3, height=64, width=64,
        backend=backend, status=Status.OK, samples=tuple(samples),
    )  # fmt: skip
    return made.model_copy(update=changes)


def calls(backend: str, seconds: float, **changes: object) -> CellRecord:
    return record(backend, [sample(CALL, seconds, number=n) for n in range(6)], **changes)


def as_a_script(made: CellRecord) -> CellRecord:
    """The record as if `timed: call`, `synchronise: false`, `gradients: true` and `first_call: counted`."""
    samples = []
    for item in made.samples:
        if item.pass_ is Pass.END_TO_END and item.stage == FORWARD:
            samples.append(item.model_copy(update={"stage": CALL, "phase": Phase.STEADY, "device_s": None}))
        elif item.pass_ is not Pass.END_TO_END:
            samples.append(item)
    flags = {"synchronised": False, "gradients": True, "first_in_process": True} if samples else {}
    return made.model_copy(update={"samples": tuple(samples), **flags})


@pytest.fixture
def script() -> Tables:
    return tables_of([as_a_script(made) for made in synthetic.run(synthetic.GPU)], "cpu")


# Tables.


def test_a_call_has_frames_per_second_and_a_speedup_over_a_call():
    summary = summary_table([calls("cpu", 0.5), calls("cudnn", 0.125)], "cpu").set_index("backend")
    assert list(summary["stage"]) == [CALL, CALL]
    assert list(summary["frames_per_s"]) == [12.0, 48.0]
    assert list(summary["speedup"]) == [1.0, 4.0]
    assert list(summary["pass"]) == ["end_to_end"] * 2


def test_a_call_is_not_compared_with_a_forward():
    forwards = record("cpu", [sample(FORWARD, 0.5, number=n) for n in range(6)])
    summary = summary_table([forwards, calls("cudnn", 0.125)], "cpu").set_index("backend")
    assert pd.isna(summary.loc["cudnn", "speedup"])


def staged(pass_: Pass, seconds: float) -> list[Sample]:
    return [
        sample(stage, seconds, number=n, pass_=pass_)
        for n in range(6)
        for stage in (*map(str, STAGES), OTHER, FORWARD, FORWARD_UNPROBED)
    ]


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ([Pass.STAGE_LAUNCH], Pass.STAGE_LAUNCH),
        ([Pass.STAGE_SYNC, Pass.STAGE_LAUNCH], Pass.STAGE_SYNC),
    ],
)
def test_stages_are_of_launches_where_there_is_nothing_better(passes, expected):
    samples = [item for n, pass_ in enumerate(passes) for item in staged(pass_, 1.0 + n)]
    summary = summary_table([record("cpu", samples)], "cpu").set_index("stage")
    for stage in (*map(str, STAGES), OTHER):
        assert (summary.loc[stage, "pass"], summary.loc[stage, "clock"]) == (expected, "wall")
        assert summary.loc[stage, "median_s"] == 1.0
        assert summary.loc[stage, "share"] == 0.2


def test_what_launch_probes_cost():
    samples = [
        *(sample(FORWARD, 1.5, number=n, pass_=Pass.STAGE_LAUNCH) for n in range(6)),
        *(sample(FORWARD_UNPROBED, 1.0, number=n, pass_=Pass.STAGE_LAUNCH) for n in range(6)),
    ]
    (row,) = perturbation_table([record("cpu", samples)]).to_dict("records")
    assert (row["pass"], row["n"], row["ratio"]) == (Pass.STAGE_LAUNCH, 6, 1.5)


def test_how_a_round_was_measured_stands_beside_its_figures():
    flags = {"synchronised": False, "gradients": True, "first_in_process": False}
    records = [calls("cpu", 0.5, **flags), calls("cudnn", 0.5)]
    cells = cells_table(records)
    for name, value in flags.items():
        assert cells[name].dtype == "boolean"
        assert cells[name][0] is value or bool(cells[name][0]) is value
        assert pd.isna(cells[name][1])
    samples = samples_table(records)
    assert samples["synchronised"].isna().tolist() == [False] * 6 + [True] * 6
    text = cells[["backend", *flags]].to_csv(index=False)
    assert text == "backend,synchronised,gradients,first_in_process\ncpu,False,True,False\ncudnn,,,\n"
    assert pd.read_csv(StringIO(text))["synchronised"].isna().tolist() == [False, True]


def test_a_call_of_no_time_is_none():
    (job,) = jobs_of(experiment())
    cell = job.cell
    assert cell == plan.cells(experiment())[0]

    def found(seconds: float) -> str | None:
        made = record("cpu", [sample(CALL, seconds)], cell=cell.id, input="noise", batch=1, frames=1,
                      height=16, width=16)  # fmt: skip
        return fault(made, cell, 1)

    assert found(0.5) is None
    assert found(0.0) == "samples.0.wall_s: 0 s of call"


# Cautions, and the machine meanwhile.


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "ask for more `warmup`, or for `warmup: auto`"),
        ({"first_call": "apart"}, "ask for more `warmup`, or for `warmup: auto`"),
        ({"first_call": "counted"}, "use `first_call: apart`, which keeps it and counts it for nothing"),
    ],
)
def test_a_slow_first_call_that_was_counted_on_purpose(settings, remedy):
    walls = [5.0, *(1.0 + 0.001 * (n % 3) for n in range(20))]
    samples = [sample(CALL, wall, number=n) for n, wall in enumerate(walls)]
    found = cautions([record("cpu", samples, settings=settings)], {})
    assert [notice.remedy for notice in found if notice.code is Caution.FIRST_OUTLIER] == [remedy]


def test_one_counted_call_is_too_few_and_nothing_else():
    only = record("cpu", [sample(CALL, 5.0)], settings={"first_call": "counted"}, first_forward_s=5.0)
    assert [notice.code for notice in cautions([only], {})] == [Caution.FEW_SAMPLES]


@pytest.mark.parametrize("stage", [TOTAL, CALL])
def test_energy_is_of_either_kind_of_call(stage):
    samples = [sample(stage, 5.0, number=n) for n in range(2)]
    readings = tuple(TelemetryReading(elapsed_s=at, energy_j=10.0 * at) for at in (0.0, 20.0))
    assert machine_state(record("cpu", samples, telemetry=readings)).energy_per_frame_j == 200 / (2 * 2 * 3)


# Without an end-to-end pass.


def without_calls(made: CellRecord) -> CellRecord:
    """The record as if `end_to_end: false`: probed calls, and memory."""
    samples = tuple(
        item for item in made.samples if item.pass_ is not Pass.END_TO_END and item.stage != FORWARD_UNPROBED
    )
    nothing = dict.fromkeys(("warmup_end", "tuning_calls", "stop_end_to_end", "page_faults_per_forward"))
    return made.model_copy(update={"samples": samples, **nothing})


def test_stages_alone_have_figures_and_nothing_else_does():
    records = [without_calls(made) for made in synthetic.run(synthetic.GPU)]
    tables = tables_of(records, "cpu")
    assert set(tables.summary["stage"].dropna()) == {*map(str, STAGES), OTHER}
    assert not tables.summary["share"].isna().all()
    assert tables.perturbation.empty
    cells = report_cells.cells_of(tables)
    text = report_figures.stages(cells)
    assert text
    assert "forward above" not in text
    assert not report_figures.headline(cells, "cpu")
    assert not report_figures.perturbation(tables, cells)
    assert not report_trust.sampling(cells)
    assert report_figures.cold(cells)
    for kind in ("stages", "memory"):
        assert any(group.series for group in plot_data.data(kind, tables))
    for kind in ("time", "speedup", "repetitions"):
        assert all(group.empty for group in plot_data.data(kind, tables) if not group.series)


def test_memory_alone_is_told_of_as_measured():
    records = [
        without_calls(made).model_copy(update={"samples": (), "first_forward_s": None})
        for made in synthetic.run(synthetic.GPU)
    ]
    tables = tables_of(records, "cpu")
    assert tables.samples.empty
    assert tables.summary["stage"].isna().all()
    assert not [notice for notice in cautions(records, {}) if notice.code is Caution.FEW_SAMPLES]
    page = render_markdown(tables, title="a run", baseline="cpu", environment={}, plots=())
    assert "was not measured" not in page
    assert "## Memory" in page
    assert "## Stages" not in page


# Plots and pages.


def test_plots_say_that_they_show_calls(script):
    for kind, said in (("time", "call time"), ("repetitions", "call time")):
        (group,) = plot_data.data(kind, script)
        assert group.series, group.empty
        figure = plot_figures.figure(group, baseline="cpu")
        assert figure.axes[0].get_ylabel().startswith(said)
        titles = " ".join(text.get_text() for text in figure.texts)
        assert "forward" not in titles.lower()
    (group,) = plot_data.data("speedup", script)
    assert group.series, group.empty


def test_pages_say_that_they_show_calls(script):
    cells = report_cells.cells_of(script)
    text = report_figures.headline(cells, "cpu")
    assert text.startswith("## Call time and speedup\n\nSpeedup is over cpu. A call is what a script's timer")
    assert "without waiting for the device" in text
    assert "Autograd recorded the calls." in text
    assert "forward" not in text
    assert "first call" in report_figures.cold(cells)
    assert report_figures.output_check(cells)
    assert "the call's interval" in report_trust.sampling(cells)


@pytest.mark.parametrize(("pass_", "says"), [(Pass.STAGE_LAUNCH, True), (Pass.STAGE_SYNC, False)])
def test_pages_say_what_a_launch_is(pass_, says):
    samples = [*staged(pass_, 1.0), *(sample(FORWARD, 5.0, number=n) for n in range(6))]
    cells = report_cells.cells_of(tables_of([record("cpu", samples)], "cpu"))
    assert ("time to launch its work" in report_figures.stages(cells)) is says


def test_pages_of_forwards_say_nothing_of_it():
    tables = tables_of(synthetic.run(synthetic.GPU), "cpu")
    text = report_figures.headline(report_cells.cells_of(tables), "cpu")
    assert text.startswith("## Forward time and speedup\n\nSpeedup is over cpu.\n\n|")


def test_the_terminal_says_what_was_timed(capsys):
    (job,) = jobs_of(experiment())
    with Display([job], experiment().measure, ProgressConsole()) as display:
        display.job_started(job)
        display.job_ended(job, calls("cpu", 0.5))
    assert "ok  call 500 ms (median of 6)" in capsys.readouterr().err
