"""What a fault did, on made-up runs without it and with it; and why there is nothing to say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bench.paper.editions import Role
from bench.paper.faults import FAULTS, Explanation, explain
from bench.paper.reading import RunOfPaper
from bench.records import CellRecord, Pass, Phase, Sample, Status
from bench.results.analysis import tables_of
from tests.bench.paper.made import NO_GPU, repeated

MIB = 2**20
STAGES = ("alignment", "propagation", "aggregation", "upsampling")
Samples = Sequence[tuple[Pass, Phase, str, float]]


def record(role: str, samples: Samples = (), *, frames: int = 10, **fields: Any) -> CellRecord:
    made = CellRecord(
        cell=f"noise/b1/t{frames}/64x64/{role}", round=0, input="noise", batch=1, frames=frames,
        height=64, width=64, backend=role, status=Status.OK,
        samples=tuple(
            Sample(**{"pass": pass_}, phase=phase, repetition=i, stage=stage, start_s=i, wall_s=s, device_s=s)
            for i, (pass_, phase, stage, s) in enumerate(samples)
        ),
    )  # fmt: skip
    return made.model_copy(update=fields)


def run(*records: CellRecord) -> RunOfPaper:
    roles = {str(role): role for role in Role}
    return RunOfPaper(tables=tables_of(records, "cpu"), roles=roles, machine="m", baseline="cudnn")


def skipped(*roles: str) -> RunOfPaper:
    return run(*(record(role, status=Status.SKIPPED, reason=NO_GPU) for role in roles))


def calls(stage: str, seconds: float, cold: float | None = None) -> Samples:
    steady = [(Pass.END_TO_END, Phase.STEADY, stage, s) for s in repeated(seconds)]
    first = [] if cold is None else [(Pass.END_TO_END, Phase.COLD, "forward", cold)]
    return [*first, *steady]


def staged(pass_: Pass, *medians: float) -> Samples:
    return [
        (pass_, Phase.STEADY, stage, s) for stage, m in zip(STAGES, medians, strict=True) for s in repeated(m)
    ]


def memory(role: str, frames: int, host_mib: int, device_mib: int | None = None) -> CellRecord:
    return record(
        role,
        frames=frames,
        host_before_bytes=400 * MIB,
        peak_host_bytes=(400 + host_mib) * MIB,
        peak_device_bytes=None if device_mib is None else device_mib * MIB,
    )


def copies(there: float, back: float) -> CellRecord:
    return record(
        "cudnn",
        [*calls("forward", 0.9), *calls("host_to_device", there), *calls("device_to_host", back)],
        frames=40,
    )


def by_column(explanation: Explanation, column: str) -> Mapping[str, str]:
    place = explanation.columns.index(column)
    return {row[0]: row[place] for row in explanation.rows}


def test_launching_takes_less_than_running() -> None:
    found = explain(
        "synchronisation",
        run(record("cudnn", staged(Pass.STAGE_EVENTS, 1, 4, 0.5, 0.5))),
        run(record("cudnn", staged(Pass.STAGE_LAUNCH, 0.2, 0.1, 0.1, 0.2))),
    )
    assert found.sentences == (
        "Without waiting, a clock around the stages reads 600 ms where they run for 6.00 s: 10.0 % of it.",
        "By stage it reads between 2.50 % (propagation) and 40.0 % (upsampling) of the time that "
        "the stage runs.",
    )
    assert by_column(found, "launched / runs") == dict(
        zip(STAGES, ("20.0 %", "2.50 %", "20.0 %", "40.0 %"), strict=True)
    )
    assert by_column(found, "share of runs")["propagation"] == "66.7 %"
    assert by_column(found, "share of launches")["propagation"] == "16.7 %"


def test_launches_are_not_taken_from_a_run_that_waited() -> None:
    waited = run(record("cudnn", staged(Pass.STAGE_EVENTS, 1, 4, 0.5, 0.5)))
    assert (
        explain("synchronisation", waited, waited).skipped
        == "the stages of cudnn were not timed by launching"
    )


@pytest.mark.parametrize(
    ("later", "ending"),
    [(0.9, "At that rate 20 later calls make up for it."), (1.2, "Later calls do not make up for it.")],
)
def test_autotuning_is_paid_for_in_the_first_call(later: float, ending: str) -> None:
    found = explain(
        "autotuning",
        run(record("cudnn", calls("forward", 1.0, cold=2.0))),
        run(record("cudnn_autotune", calls("forward", later, cold=4.0))),
    )
    assert "The first call takes 4.00 s with autotuning and 2.00 s without: 2.00 s more." in found.sentences
    assert found.sentences[-1] == ending
    assert by_column(found, "first call") == {"cudnn": "2.00 s", "cudnn_autotune": "4.00 s"}
    assert re.match(r"1\.00 s \(\d+ ms to 1\.00 s\)|1\.00 s", by_column(found, "later calls")["cudnn"])


def test_who_comes_second_has_a_cheap_first_point() -> None:
    def points(cudnn: float, autotuned: float) -> RunOfPaper:
        pairs = (("cudnn", cudnn), ("cudnn_autotune", autotuned))
        return run(
            *(
                record(role, [(Pass.END_TO_END, Phase.STEADY, "call", s if t == 1 else 0.4)], frames=t)
                for role, s in pairs
                for t in (1, 4)
            )
        )

    found = explain("order", points(2.0, 3.0), points(2.0, 0.03))
    assert found.sentences[0].endswith("takes 3.00 s; in one that cudnn has started, 30.0 ms: 1.00 % of it.")
    assert (
        "is 1.50× where each starts for itself, and 0.0150× where cudnn pays for both" in found.sentences[1]
    )
    assert [row[:2] for row in found.rows] == [
        ("cudnn", "1"),
        ("cudnn_autotune", "1"),
        ("cudnn", "4"),
        ("cudnn_autotune", "4"),
    ]


def test_gradients_keep_memory_by_the_frame() -> None:
    off = run(
        *(memory("cpu", t, 20 + 2 * t) for t in (2, 5, 8)),
        *(memory("cudnn", t, 1, 60 + t) for t in (2, 5, 8)),
    )
    on = run(
        *(memory("cpu", t, 260 * t) for t in (2, 5, 8)), *(memory("cudnn", t, 1, 260 * t) for t in (2, 5, 8))
    )
    found = explain("gradients", off, on)
    assert [re.sub(r" \(.*?\)", "", text) for text in found.sentences] == [
        "On cpu a frame adds 260 MiB of host memory with gradients, and 2.00 MiB without: 130× as much.",
        "On cudnn a frame adds 0 GiB of host memory with gradients, and 0 GiB without.",
        "On cudnn a frame adds 260 MiB of device memory with gradients, and 1.00 MiB without: 260× as much.",
    ]
    assert found.rows[0] == ("cpu", "2", "24.0 MiB", "520 MiB", "–", "–")


def test_gradients_on_a_machine_without_a_gpu_are_told_of_its_cpu() -> None:
    missing = record("cudnn", status=Status.SKIPPED, reason=NO_GPU)
    off, on = (run(*(memory("cpu", t, g * t) for t in (2, 5)), missing) for g in (2, 260))
    found = explain("gradients", off, on)
    assert found.skipped == ""
    assert found.sentences[-1] == f"Not known: no GPU (cudnn: {NO_GPU})."
    assert {row[0] for row in found.rows} == {"cpu"}


def test_pinned_memory_is_copied_faster() -> None:
    found = explain("transfers", run(copies(0.02, 0.08)), run(copies(0.01, 0.04)))
    assert found.sentences == (
        "At t = 40 the copies there and back take 100 ms from pageable memory, 10.0 % of copies and forward "
        "together, and 50.0 ms from pinned memory.",
    )
    # 12 bytes for each of 40 * 64 * 64 pixels, and sixteen times that.
    assert by_column(found, "size") == {"host_to_device": "1.88 MiB", "device_to_host": "30.0 MiB"}
    assert by_column(found, "pageable rate") == {
        "host_to_device": "93.8 MiB/s",
        "device_to_host": "375 MiB/s",
    }
    assert by_column(found, "pageable / pinned")["host_to_device"].startswith("2.00×")


def test_tf32_is_faster_and_further_from_the_answer() -> None:
    exact = record("cudnn", calls("forward", 1.0), output_max_abs_error=2e-6, output_psnr_db=114.0)
    rounded = record("cudnn", calls("forward", 0.5), output_max_abs_error=1e-3, output_psnr_db=70.0)
    found = explain("tf32", run(exact), run(rounded))
    assert "2.00×" in found.sentences[0]
    assert "is 1000e-6 instead of 2.00e-6, 500× as much" in found.sentences[1]
    assert by_column(found, "PSNR against the CPU") == {"ieee": "114 dB", "tf32": "70.0 dB"}


def test_tf32_without_a_check_of_the_output_says_nothing_of_it() -> None:
    found = explain(
        "tf32", run(record("cudnn", calls("forward", 1.0))), run(record("cudnn", calls("forward", 0.5)))
    )
    assert len(found.sentences) == 1
    assert by_column(found, "largest output error") == {"ieee": "–", "tf32": "–"}


def test_the_warp_off_cudnn_shows_in_alignment() -> None:
    found = explain(
        "cudnn_warp",
        run(record("cudnn", staged(Pass.STAGE_EVENTS, 1, 2, 0.5, 0.5))),
        run(record("cudnn", staged(Pass.STAGE_EVENTS, 1.4, 2, 0.5, 0.5))),
    )
    assert re.sub(r" \(.*?\)", "", found.sentences[0]) == (
        "Alignment takes 1.40 s without cuDNN's warp and 1.00 s with it: 1.40× the time."
    )
    assert "changes the four stages together by 10.0 %" in found.sentences[1]
    assert by_column(found, "off / on")["propagation"].startswith("1.00×")


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_gpu_each_is_skipped_with_the_reason(name: str) -> None:
    roles = ("cudnn", "cudnn_autotune") if name == "order" else ("cudnn",)
    found = explain(name, skipped(*roles), skipped(*roles))
    assert found.skipped.startswith("no GPU (cudnn")
    assert NO_GPU in found.skipped
    assert (found.sentences, found.rows) == ((), ())
    assert found.question.endswith("?")
    assert found.title


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_that_was_never_made_is_named_as_such(name: str) -> None:
    assert explain(name, run(), run()).skipped == "nothing was run"


@pytest.mark.parametrize("name", FAULTS)
def test_every_row_has_a_text_for_each_column(name: str) -> None:
    cell = record(
        "cudnn",
        [
            *staged(Pass.STAGE_EVENTS, 1, 2, 0.5, 0.5),
            *calls("forward", 1.0, cold=2.0),
            *calls("host_to_device", 0.1),
            *calls("device_to_host", 0.2),
        ],
        host_before_bytes=1,
        peak_host_bytes=2,
    )
    tuned = cell.model_copy(update={"cell": "t", "backend": "cudnn_autotune"})
    launched = record("cudnn", staged(Pass.STAGE_LAUNCH, 1, 2, 0.5, 0.5))
    on = run(launched) if name == "synchronisation" else run(cell, tuned)
    found = explain(name, run(cell, tuned) if name == "order" else run(cell), on)
    assert found.skipped == ""
    assert found.rows
    assert {len(row) for row in found.rows} == {len(found.columns)}
