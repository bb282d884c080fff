"""What a fault did, on made-up runs without it and with it; and why there is nothing to say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.paper.editions import Role
from bench.paper.faults import FAULTS, Explanation, explain
from bench.paper.method import Method
from bench.paper.reading import RunOfPaper
from bench.records import CellRecord, Pass, Phase, Sample, Status
from bench.results.analysis import tables_of
from tests.bench.paper.made import NO_GPU, repeated

MIB = 2**20
STAGES = ("alignment", "propagation", "aggregation", "upsampling")
Samples = Sequence[tuple[Pass, Phase, str, float]]


def record(role: str, samples: Samples = (), *, frames: int = 10, **fields: Any) -> CellRecord:
    made = CellRecord(
        cell=f"basicvsr/noise/b1/t{frames}/64x64/{role}", round=0, input="noise", batch=1, frames=frames,
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


def launched(*records: CellRecord) -> RunOfPaper:
    return replace(run(*records), method=Method(unsynchronised=True))


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
        launched(record("cudnn", staged(Pass.STAGE_SYNC, 0.2, 0.1, 0.1, 0.2))),
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


def tuned(
    later: Sequence[float], cold: float, *, later_without: Sequence[float] | None = None, processes: int = 1
) -> Explanation:
    """The first call without autotuning takes 2 s and a later one 1 s."""

    def one(role: str, first: float, seconds: Sequence[float], round_: int) -> CellRecord:
        steady = [(Pass.END_TO_END, Phase.STEADY, "forward", s) for s in seconds]
        return record(role, [(Pass.END_TO_END, Phase.COLD, "forward", first), *steady], round=round_)

    # Of more than one process the first calls scatter by a tenth.
    firsts = [1 + 0.1 * (i % 3 - 1) for i in range(processes)] if processes > 1 else [1.0]
    return explain(
        "autotuning",
        run(*(one("cudnn", 2.0 * f, later_without or repeated(1.0), i) for i, f in enumerate(firsts))),
        run(*(one("cudnn_autotune", cold * f, later, i) for i, f in enumerate(firsts))),
    )


@pytest.mark.parametrize(
    ("later", "ending"),
    [
        (repeated(0.9), "20 later calls make up for it (19 to 22 by the interval of their speed)."),
        (repeated(1.2), "Later calls do not make up for it."),
        (
            repeated(0.99, spread=0.2),
            "Whether later calls make up for it is not known: their intervals do not tell them apart.",
        ),
        ([0.9], "Whether later calls make up for it is not known: their times have no interval."),
    ],
)
def test_autotuning_is_paid_for_in_the_first_call(later: Sequence[float], ending: str) -> None:
    found = tuned(later, cold=4.0)
    assert found.sentences[0] == (
        "The first call takes 4.00 s with autotuning and 2.00 s without (one process each): 2.00 s more."
    )
    assert found.sentences[-1] == ending
    assert by_column(found, "first call") == {"cudnn": "2.00 s", "cudnn_autotune": "4.00 s"}
    assert re.match(r"1\.00 s \(\d+ ms to 1\.00 s\)|1\.00 s", by_column(found, "later calls")["cudnn"])


def test_first_calls_that_scatter_over_each_other_are_not_told_apart() -> None:
    found = tuned(repeated(0.9), cold=2.02, processes=6)
    assert "(6 processes each), which their intervals do not tell apart." in found.sentences[0]
    assert len(found.sentences) == 2
    apart = tuned(repeated(0.9), cold=4.0, processes=6)
    assert apart.sentences[0].endswith("(6 processes each): 2.00 s more.")
    assert "later calls make up for it (" in apart.sentences[-1]


def test_who_comes_second_has_a_cheap_first_point() -> None:
    def points(cudnn: float, autotuned: float) -> RunOfPaper:
        pairs = (("cudnn", cudnn), ("cudnn_autotune", autotuned))
        return run(
            *(
                record(role, [(Pass.END_TO_END, Phase.STEADY, "forward", s if t == 1 else 0.4)], frames=t)
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
    assert found.sentences[0].endswith(" without: 130× (130× to 130×) as much.")
    assert [re.sub(r" \(.*?\)", "", text) for text in found.sentences] == [
        "On cpu a frame adds 260 MiB of host memory with gradients, and 2.00 MiB without: 130× as much.",
        "On cudnn a frame adds 0 GiB of host memory with gradients, and 0 GiB without.",
        "On cudnn a frame adds 260 MiB of device memory with gradients, and 1.00 MiB without: 260× as much.",
    ]
    assert found.rows[0] == ("cpu", "2", "24.0 MiB", "520 MiB", "–", "–")


@pytest.mark.parametrize(
    ("without_mib", "ratio"),
    [
        ({2: 5, 5: 8, 8: 20}, None),  # 2.5 MiB a frame, from less than nothing to more
        ({2: 4, 5: 11, 8: 17}, "120× (76.7× to 275×) as much."),
        ({2: 4, 5: 10}, None),  # through two points a line always goes
    ],
)
def test_what_gradients_add_is_a_ratio_only_to_what_is_known_to_be_added(
    without_mib: Mapping[int, int], ratio: str | None
) -> None:
    off = run(*(memory("cpu", t, mib) for t, mib in without_mib.items()))
    on = run(*(memory("cpu", t, 260 * t) for t in without_mib))
    (sentence,) = explain("gradients", off, on).sentences
    assert sentence.endswith(f": {ratio}") if ratio else "as much" not in sentence


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
    on = (
        launched(record("cudnn", staged(Pass.STAGE_SYNC, 1, 2, 0.5, 0.5)))
        if name == "synchronisation"
        else run(cell, tuned)
    )
    found = explain(name, run(cell, tuned) if name == "order" else run(cell), on)
    assert found.skipped == ""
    assert found.rows
    assert {len(row) for row in found.rows} == {len(found.columns)}
