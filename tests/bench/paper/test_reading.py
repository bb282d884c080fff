"""A run's tables become an edition of the paper's experiments."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.paper.claims import findings
from bench.paper.editions import Role
from bench.paper.experiments import EXPERIMENTS
from bench.paper.method import PAPER
from bench.paper.reading import RunOfPaper, cells_of, edition_of, stage_timing_of
from bench.paper.verdict import Form
from bench.paper_page import paper_edition
from bench.records import CellRecord, MemoryLine, Pass, Phase, Sample, Status
from bench.results.analysis import tables_of
from tests.bench import synthetic

ROLES = {role: Role(role) for role in ("cpu", "cuda", "cudnn", "cudnn_autotune")}


def run_of(records: Sequence[CellRecord], machine: str = "a machine") -> RunOfPaper:
    return RunOfPaper(tables=tables_of(records, "cpu"), roles=ROLES, machine=machine, baseline="cpu")


def test_cells_go_to_the_experiment_that_their_input_is_named_for() -> None:
    records = synthetic.run(synthetic.GPU, inputs=(*EXPERIMENTS, "something else"), frames=(1, 10))
    edition = edition_of("corrected", [run_of(records)], version="quick")
    assert (edition.name, edition.machine, edition.thin) == ("corrected", "a machine", True)
    for experiment in EXPERIMENTS:
        cells = getattr(edition, experiment)
        assert [(cell.frames, cell.backend, cell.role) for cell in cells] == [
            (frames, role, role) for frames in (1, 10) for role in ROLES
        ]


def test_a_run_each_is_the_same_as_one_run_of_all() -> None:
    apart = [run_of(synthetic.run(inputs=(name,))) for name in EXPERIMENTS]
    together = run_of(synthetic.run(inputs=tuple(EXPERIMENTS)))
    assert edition_of("corrected", apart, version="full") == edition_of(
        "corrected", [together], version="full"
    )
    two = edition_of("faithful", [apart[0], run_of([], machine="another")], version="full")
    assert two.machine == "a machine and another"


def test_a_timing_has_every_call_and_the_summarys_figures() -> None:
    records = synthetic.run(synthetic.GPU, inputs=("frames",), frames=(4,), rounds=2)
    run = run_of(records)
    (cudnn,) = (cell for cell in edition_of("x", [run], version="full").frames if cell.role is Role.CUDNN)
    row = run.tables.summary.query("backend == 'cudnn' and stage == 'forward'").iloc[0]
    assert (cudnn.median_s, cudnn.low_s, cudnn.high_s) == (row.median_s, row.low_s, row.high_s)
    assert (cudnn.speedup, cudnn.speedup_low, cudnn.speedup_high) == (
        row.speedup,
        row.speedup_low,
        row.speedup_high,
    )
    assert cudnn.interval == row.interval
    assert [len(calls) for calls in cudnn.rounds] == [10, 10]  # cold, two of warm-up, seven
    assert [len(calls) for calls in cudnn.steady] == [7, 7]
    assert cudnn.rounds[0][0] > max(cudnn.steady[0])
    assert not cudnn.first_counts


def test_a_first_call_that_counts_is_among_the_steady_ones() -> None:
    record = synthetic.run((synthetic.CPU,), inputs=("repetitions",), frames=(4,))[0]
    calls = [
        Sample(
            **{"pass": Pass.END_TO_END},
            phase=Phase.STEADY,
            repetition=i,
            stage="forward",
            start_s=i,
            wall_s=s,
        )
        for i, s in enumerate((3.0, 1.0, 1.1))
    ]
    counted = record.model_copy(update={"samples": tuple(reversed(calls))})
    run = replace(run_of([counted]), method=PAPER)
    (timing,) = edition_of("faithful", [run], version="full").repetitions
    assert timing.rounds == timing.steady == ((3.0, 1.0, 1.1),)
    assert timing.first_counts
    assert timing.median_s == pytest.approx(1.1)
    assert not timing.synchronised


def test_a_cell_without_samples_keeps_its_status_and_reason() -> None:
    records = synthetic.run(inputs=tuple(EXPERIMENTS), frames=(4,))
    edition = edition_of("corrected", [run_of(records)], version="full")
    for experiment in EXPERIMENTS:
        cell = next(cell for cell in getattr(edition, experiment) if cell.role is Role.CUDNN)
        assert cell.status is Status.SKIPPED
        assert cell.reason.startswith("no CUDA device on this machine")
    assert edition.frames[1].median_s is None
    assert edition.stages[1].seconds == {}
    assert edition.memory[1].host_bytes == ()


def test_the_worst_round_gives_a_cell_its_status_and_reason() -> None:
    first, second = synthetic.run((synthetic.CPU,), inputs=("frames",), frames=(4,), rounds=2)
    lost = synthetic.ended(second, Status.OOM, "killed")
    (cell,) = cells_of(run_of([first, lost]))
    assert (cell.status, cell.reason, len(cell.rows)) == (Status.OOM, "killed", 2)


def test_stages_come_from_events_where_there_are_some() -> None:
    run = run_of(synthetic.run(synthetic.GPU, inputs=("stages",), frames=(4,)))
    cpu, _, cudnn, _ = edition_of("corrected", [run], version="full").stages
    assert (cpu.pass_, cpu.clock) == (Pass.STAGE_SYNC, "wall")
    assert (cudnn.pass_, cudnn.clock) == (Pass.STAGE_EVENTS, "device")
    row = run.tables.summary.query("backend == 'cudnn' and stage == 'propagation'").iloc[0]
    assert (cudnn.low_s["propagation"], cudnn.high_s["propagation"]) == (row.low_s, row.high_s)
    assert [len(values) for values in cudnn.seconds.values()] == [7] * 5
    cell = next(cell for cell in cells_of(run) if cell.role is Role.CUDNN)
    synchronised = stage_timing_of(run.tables, cell, Pass.STAGE_SYNC)
    assert (synchronised.pass_, synchronised.clock) == (Pass.STAGE_SYNC, "wall")
    assert synchronised.seconds["propagation"] != cudnn.seconds["propagation"]


def test_memory_is_of_one_round_and_starts_at_nought() -> None:
    records = synthetic.run(synthetic.GPU, inputs=("memory",), frames=(4,), rounds=2)
    line = MemoryLine(line=3, source="x = f(y)", occurrences=2, increment_bytes=5, host_bytes=7)
    records[0] = records[0].model_copy(update={"memory_lines": (line,)})
    cpu, _, cudnn, _ = edition_of("corrected", [run_of(records)], version="full").memory
    assert (len(cpu.host_bytes), cpu.elapsed_s[0]) == (12, 0.0)
    assert cpu.host_bytes == tuple(point.host_bytes for point in records[0].memory)
    assert (cpu.before_bytes, cpu.peak_bytes) == (records[0].host_before_bytes, records[0].peak_host_bytes)
    assert cpu.device_bytes is None
    assert cpu.lines == (line,)
    assert (cpu.height, cpu.width, cpu.batch) == (64, 64, 1)
    assert not cpu.gradients
    assert cudnn.device_bytes is not None
    assert cudnn.peak_device_bytes == records[2].peak_device_bytes


def test_backends_without_a_role_are_left_out() -> None:
    edition = edition_of(
        "corrected", [run_of(synthetic.run(inputs=("frames",), frames=(4,)))], version="full"
    )
    assert [cell.backend for cell in edition.frames] == ["cpu", "cuda", "cudnn"]


def test_claims_are_judged_on_real_tables() -> None:
    """The made-up GPU takes 0.00052 s a frame, the CPU 0.024 s."""
    records = synthetic.run(
        synthetic.GPU, inputs=tuple(EXPERIMENTS), frames=(1, 4, 7, 10, 13, 16, 19), rounds=3, spread=0.005
    )
    found = {
        finding.claim: finding
        for finding in findings([edition_of("corrected", [run_of(records)], version="full")])
        if finding.form is Form.GENERAL
    }
    expected = {
        "1a": "supported", "1c": "supported", "2a": "refuted", "3a": "supported", "3c": "supported",
        "4d": "supported", "5a": "supported", "6": "supported", "11a": "supported", "11c": "refuted",
        "12": "supported",
    }  # fmt: skip
    assert {claim: str(found[claim].verdict) for claim in expected} == expected


def test_an_experiments_configuration_is_that_of_its_run() -> None:
    inputs = [{"name": "frames"}, {"name": "something else"}, {"name": "headline"}]
    run = replace(run_of([]), configuration={"name": "x", "input": inputs})
    edition = edition_of("corrected", [run, run_of([])], version="brief")
    assert (edition.version, edition.thin) == ("brief", True)
    assert edition.configurations == {"frames": run.configuration, "headline": run.configuration}
    assert not edition_of("corrected", [], version="full").thin


def test_a_folders_edition_knows_what_its_run_was_asked_for() -> None:
    asked = paper_edition().configurations
    assert asked.keys() == EXPERIMENTS.keys()
    assert asked["stages"]["script"]["unsynchronised"] is True
