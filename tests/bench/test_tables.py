"""Records to tables: exact figures from small runs made by hand."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import pytest

from bench.cautions.caution import Notice
from bench.grid.baseline import Baseline
from bench.grid.costs import StageCost
from bench.grid.spans import SPANS
from bench.records import (
    CellRecord,
    MemoryLine,
    MemoryPoint,
    OutputCheck,
    Pass,
    Phase,
    Sample,
    StageMemory,
    Status,
    TelemetryReading,
    WarmupEnd,
)
from bench.results.files import to_csv
from bench.results.tables import (
    COLUMNS,
    cells_table,
    costs_table,
    items_table,
    perturbation_table,
    summary_table,
    tables_of,
    warnings_table,
)
from bench.stats.intervals import IntervalKind
from bench.stats.stopping import Stop
from tests.bench.pages import TABLES, documented_columns
from tests.bench.synthetic import BASELINE

E2E, SYNC, EVENTS = Pass.END_TO_END, Pass.STAGE_SYNC, Pass.STAGE_EVENTS


def timed(
    pass_: Pass,
    stage: str,
    walls: Sequence[float],
    devices: Sequence[float] | None = None,
    phase: Phase = Phase.STEADY,
) -> list[Sample]:
    return [
        Sample(
            pass_=pass_, phase=phase, repetition=index, stage=stage, start_s=float(index), wall_s=wall,
            device_s=None if devices is None else devices[index],
        )
        for index, wall in enumerate(walls)
    ]  # fmt: skip


STAGES = ("alignment", "propagation", "aggregation", "upsampling")


def record(
    backend: str,
    samples: Sequence[Sample] = (),
    *,
    model: str = "basicvsr",
    frames: int = 4,
    number: int = 0,
    **fields: Any,
) -> CellRecord:
    given = {
        "cell": f"{model}/noise/b2/t{frames}/64x48/{backend}", "round": number, "model": model,
        "input": "noise", "batch": 2, "frames": frames, "height": 64, "width": 48, "backend": backend,
        "dtype": "float32", "fp32_precision": "ieee", "memory_format": "contiguous", "status": Status.OK,
        "stages": STAGES,
    }  # fmt: skip
    return CellRecord(**{**given, **fields}, samples=tuple(samples))


def row(table: pd.DataFrame, **where: object) -> dict[str, Any]:
    """The one row with these values."""
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    found: dict[str, Any] = table.iloc[0].to_dict()
    return found


SEVEN = [3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0]


class TestSummary:
    def test_figures_of_the_forward(self) -> None:
        found = row(summary_table([record("cpu", timed(E2E, "forward", SEVEN), threads=2)], BASELINE))
        expected = {
            "cell": "basicvsr/noise/b2/t4/64x48/cpu", "model": "basicvsr", "input": "noise", "batch": 2,
            "frames": 4, "height": 64, "width": 48, "backend": "cpu", "dtype": "float32",
            "fp32_precision": "ieee", "memory_format": "contiguous", "threads": 2, "status": "ok",
            "stage": "forward", "pass": "end_to_end", "clock": "wall", "n_rounds": 1, "n": 7,
            "median_s": 4.0, "q1_s": 2.5, "q3_s": 5.5, "low_s": 1.0, "high_s": 7.0,
            "interval": "within_process", "frames_per_s": 2.0,
            # The median distance from 4 is 2: 1.4826 x 1.140 (seven values) x 2 / 4.
            "spread_within": pytest.approx(1.4826 * 1.140 * 2 / 4),
            "speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0, "speedup_interval": "within_process",
        }  # fmt: skip
        assert {name: found[name] for name in expected} == expected
        missing = ("share", "spread_between", "flops", "bytes", "peak_bytes", "host_growth_bytes")
        assert [name for name in missing if not pd.isna(found[name])] == []

    def test_memory_of_stages_is_the_greatest_over_rounds(self) -> None:
        def taken(host: int, device: int | None = None) -> StageMemory:
            return StageMemory(
                host_growth_bytes=host, host_kept_bytes=host - 20, device_kept_bytes=device and device - 3
            )

        samples = [
            *timed(E2E, "forward", [9.0]),
            *timed(SYNC, "alignment", [3.0]),
            *timed(SYNC, "other", [1.0]),
        ]
        table = summary_table(
            [
                record(
                    "cpu", samples, number=number, host_growth_bytes=90 + number,
                    stage_memory={"alignment": taken(30 - number, 5), "other": taken(15)},
                )
                for number in (0, 1)
            ],
            BASELINE,
        )  # fmt: skip
        columns = ["stage", "host_growth_bytes", "host_kept_bytes", "peak_host_bytes", "device_kept_bytes"]
        assert to_csv(table[columns]) == (
            "stage,host_growth_bytes,host_kept_bytes,peak_host_bytes,device_kept_bytes\n"
            "alignment,30,10,,2\nother,15,-5,,\nforward,91,5,,\n"
        )

    def test_only_steady_samples_count(self) -> None:
        samples = [
            *timed(E2E, "forward", [100.0], phase=Phase.COLD),
            *timed(E2E, "forward", [50.0, 40.0], phase=Phase.WARMUP),
            *timed(E2E, "forward", [2.0]),
        ]
        found = row(summary_table([record("cpu", samples)], BASELINE), stage="forward")
        assert (found["n"], found["median_s"], found["interval"]) == (1, 2.0, "none")
        assert math.isnan(found["low_s"])

    def test_a_speedup_is_within_one_input_batch_frames_and_size(self) -> None:
        records = [
            record("cpu", timed(E2E, "forward", [4.0]), frames=1),
            record("fast", timed(E2E, "forward", [2.0]), frames=1),
            record("cpu", timed(E2E, "forward", [9.0]), frames=2),
            record("fast", timed(E2E, "forward", [3.0]), frames=2),
            record("fast", timed(E2E, "forward", [3.0]), frames=3),
        ]
        table = summary_table(records, BASELINE)
        assert row(table, backend="fast", frames=1)["speedup"] == 2.0
        assert row(table, backend="fast", frames=2)["speedup"] == 3.0
        assert math.isnan(row(table, backend="fast", frames=3)["speedup"])

    def test_transfers_stand_beside(self) -> None:
        spans = {"host_to_device": 0.25, "forward": 1.0, "device_to_host": 0.5, "total": 2.0}
        samples = [sample for stage, span in spans.items() for sample in timed(E2E, stage, [span])]
        table = summary_table([record("cuda", samples)], Baseline(backend="cuda"))
        assert dict(zip(table["stage"], table["median_s"], strict=True)) == spans
        assert row(table, stage="forward")["frames_per_s"] == 8.0
        assert row(table, stage="total")["frames_per_s"] == 4.0
        assert math.isnan(row(table, stage="host_to_device")["frames_per_s"])


STAGED = {"alignment": 4.0, "propagation": 3.0, "aggregation": 1.0, "upsampling": 1.5, "other": 0.5}


def staged(pass_: Pass, factor: float, device: float | None = None) -> list[Sample]:
    return [
        sample
        for stage, span in STAGED.items()
        for sample in timed(pass_, stage, [factor * span], None if device is None else [device * span])
    ]


class TestStages:
    def test_shares_sum_to_one(self) -> None:
        table = summary_table([record("cpu", [*timed(E2E, "forward", [9.0]), *staged(SYNC, 1.0)])], BASELINE)
        shares = table.set_index("stage")["share"].dropna()
        assert shares.to_dict() == {stage: span / 10 for stage, span in STAGED.items()}
        assert sum(shares) == pytest.approx(1.0)

    def test_events_are_taken_over_synchronising(self) -> None:
        samples = [*staged(SYNC, 2.0, 1.9), *staged(EVENTS, 0.1, 1.0)]
        table = summary_table([record("cuda", samples)], Baseline(backend="cuda"))
        assert set(table["pass"]) == {"stage_events"}
        assert set(table["clock"]) == {"device"}
        assert dict(zip(table["stage"], table["median_s"], strict=True)) == STAGED

    def test_each_stage_has_its_speedup(self) -> None:
        records = [record("cpu", staged(SYNC, 1.0)), record("cuda", staged(EVENTS, 1.0, 0.25))]
        table = summary_table(records, BASELINE)
        assert set(table[table["backend"] == "cuda"]["speedup"]) == {4.0}

    def test_a_stage_that_takes_no_time_has_no_speedup(self) -> None:
        records = [record("cpu", timed(SYNC, "alignment", [0.0]), frames=1)]
        found = row(summary_table(records, BASELINE), stage="alignment")
        assert found["median_s"] == 0.0
        assert math.isnan(found["speedup"])
        assert math.isnan(found["share"])


OWN = {"attention": 2.0, "alignment": 1.0, "other": 1.0}
"""Of another network, which shares a stage with the first."""


def cost(flops: int, peak: int) -> StageCost:
    return StageCost(flops=flops, bytes=10 * flops, fused_bytes=flops, peak_bytes=peak)


class TestNetworks:
    """Two networks with different stages in one run."""

    SECONDS: ClassVar = {
        ("basicvsr", "cpu"): 8.0, ("basicvsr", "fast"): 2.0, ("mine", "cpu"): 4.0, ("mine", "fast"): 4.0,
    }  # fmt: skip

    def records(self) -> list[CellRecord]:
        stages = {"basicvsr": STAGED, "mine": OWN}
        costs = {"basicvsr": {"other": cost(0, 50), "alignment": cost(3, 70)}, "mine": {}}
        return [
            record(
                backend,
                [
                    *timed(E2E, "forward", [seconds]),
                    *(one for stage, span in stages[model].items() for one in timed(SYNC, stage, [span])),
                ],
                model=model,
                stages=tuple(stages[model])[:-1],
                costs=costs[model],
                dtype="bfloat16" if backend == "fast" else "float32",
            )
            for (model, backend), seconds in self.SECONDS.items()
        ]

    def test_each_has_its_own_stages_then_other_and_the_forward(self) -> None:
        table = summary_table(self.records(), BASELINE)
        found = {cell: [*rows["stage"]] for cell, rows in table.groupby("cell") if "/cpu" in str(cell)}
        assert found == {
            "basicvsr/noise/b2/t4/64x48/cpu": [*STAGES, "other", "forward"],
            "mine/noise/b2/t4/64x48/cpu": ["attention", "alignment", "other", "forward"],
        }
        assert set(table["model"] + " " + table["dtype"]) == {
            "basicvsr float32", "basicvsr bfloat16", "mine float32", "mine bfloat16"
        }  # fmt: skip
        assert row(table, model="mine", backend="cpu", stage="alignment")["share"] == 0.25
        assert row(table, model="basicvsr", backend="cpu", stage="alignment")["share"] == 0.4

    @pytest.mark.parametrize(
        ("baseline", "speedups"), [("cpu", [1.0, 4.0, 1.0, 1.0]), ("basicvsr/cpu", [1.0, 4.0, 2.0, 2.0])]
    )
    def test_a_baseline_is_a_backend_of_each_or_of_one_for_all(
        self, baseline: str, speedups: list[float]
    ) -> None:
        table = summary_table(self.records(), Baseline.of(baseline))
        assert [*table[table["stage"] == "forward"]["speedup"]] == speedups
        # The other network's own stages have nothing to be compared with.
        own = row(table, model="mine", backend="fast", stage="attention")["speedup"]
        assert own == 1.0 if baseline == "cpu" else math.isnan(own)

    def test_costs_stand_beside_the_figures(self) -> None:
        table = summary_table(self.records(), BASELINE)
        names = ["flops", "bytes", "peak_bytes"]
        rows = table[(table["model"] == "basicvsr") & (table["backend"] == "cpu")].set_index("stage")[names]
        assert [*rows.loc["alignment"]] == [3, 30, 70]
        assert [*rows.loc["forward"]] == [3, 30, 70]
        assert rows.loc["propagation"].isna().all()
        assert table[table["model"] == "mine"][names].isna().all(axis=None)
        costs = costs_table(self.records())
        assert [*costs["stage"]] == ["alignment", "other"] * 2
        assert row(costs, stage="other", cell="basicvsr/noise/b2/t4/64x48/fast")["peak_bytes"] == 50

    def test_flops_that_no_machine_can_do(self) -> None:
        records = [record("cpu", timed(E2E, "forward", [1.0]), costs={"other": cost(2**70, 1)})]
        assert to_csv(summary_table(records, BASELINE)[["flops"]]) == f"flops\n{2**70}\n"


class TestStatuses:
    FORWARD = timed(E2E, "forward", [1.0])

    @pytest.mark.parametrize("status", ["skipped", "timeout", "oom", "error"])
    def test_a_cell_without_figures_is_there(self, status: str) -> None:
        table = summary_table(
            [record("cpu", self.FORWARD), record("cuda", status=status, reason="so")], BASELINE
        )
        found = row(table, backend="cuda")
        assert found["status"] == status
        assert found["stage"] is None or pd.isna(found["stage"])
        assert pd.isna(found["median_s"])
        assert pd.isna(found["n"])

    def test_the_worst_round_s_with_the_figures_of_the_others(self) -> None:
        timed_out = record("cuda", status="timeout", stages=())
        records = [
            record("cpu", self.FORWARD), timed_out,
            record("cuda", [*self.FORWARD, *timed(SYNC, "alignment", [0.5])], number=1),
        ]  # fmt: skip
        found = row(summary_table(records, BASELINE), backend="cuda", stage="forward")
        assert row(summary_table(records, BASELINE), backend="cuda", stage="alignment")["share"] == 1.0
        assert (found["status"], found["median_s"], found["n_rounds"]) == ("timeout", 1.0, 1)
        assert math.isnan(found["speedup"])

    def test_an_inaccurate_cell_has_times_and_no_speedup(self) -> None:
        records = [record("cpu", self.FORWARD), record("half", self.FORWARD, status="inaccurate")]
        found = row(summary_table(records, BASELINE), backend="half")
        assert (found["median_s"], found["frames_per_s"]) == (1.0, 8.0)
        assert math.isnan(found["speedup"])
        assert math.isnan(found["speedup_low"])

    @pytest.mark.parametrize("status", ["inaccurate", "timeout", "skipped"])
    def test_a_baseline_that_is_not_ok_is_none(self, status: str) -> None:
        records = [record("half", self.FORWARD, status=status), record("cpu", self.FORWARD)]
        assert summary_table(records, Baseline(backend="half"))["speedup"].isna().all()


class TestPerturbation:
    def test_is_the_median_of_the_ratios_of_pairs(self) -> None:
        off = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
        on = [1.1, 2.4, 4.4, 8.8, 17.6, 35.2]
        samples = [*timed(SYNC, "forward", on), *timed(SYNC, "forward_unprobed", off)]
        found = row(perturbation_table([record("cpu", samples)]), backend="cpu")
        assert (found["pass"], found["n"], found["interval"]) == ("stage_sync", 6, "within_process")
        assert found["ratio"] == pytest.approx(1.1)
        assert (found["low"], found["high"]) == (pytest.approx(1.1), pytest.approx(1.2))

    def test_pairs_stay_within_their_round(self) -> None:
        records = [
            record(
                "cpu",
                [*timed(SYNC, "forward", [2 * level]), *timed(SYNC, "forward_unprobed", [level])],
                number=number,
            )
            for number, level in enumerate((1.0, 10.0))
        ]  # fmt: skip
        assert row(perturbation_table(records), backend="cpu")["ratio"] == 2.0


class TestCells:
    def test_missing_is_empty_and_never_0(self) -> None:
        text = to_csv(cells_table([record("cuda", status="skipped", reason="no CUDA device")]))
        header, line = (part.split(",") for part in text.splitlines())
        values = {name: value for name, value in zip(header, line, strict=True) if value}
        assert values == {
            "cell": "basicvsr/noise/b2/t4/64x48/cuda", "model": "basicvsr",
            "input": "noise", "batch": "2", "frames": "4", "height": "64",
            "width": "48", "backend": "cuda", "round": "0", "status": "skipped", "reason": "no CUDA device",
            "dtype": "float32", "fp32_precision": "ieee", "memory_format": "contiguous",
        }  # fmt: skip

    def test_figures_are_kept_whole(self) -> None:
        """Integers beside missing ones, infinity, and texts that a spreadsheet would obey."""
        records = [
            record("cpu", parameters=2**53 + 1, output_psnr_db=math.inf, reason='said "no",\ntwice'),
            record("cuda", reason="=1+1", settings={"threads": "2", "compile": "True"}, warnings=("a", "b")),
        ]
        names = ["parameters", "output_psnr_db", "reason", "settings", "warnings"]
        assert to_csv(cells_table(records)[names]) == (
            "parameters,output_psnr_db,reason,settings,warnings\n"
            '9007199254740993,inf,"said ""no"", twice",,\n'
            ",,'=1+1,threads: 2; compile: True,a | b\n"
        )


def test_every_item_of_a_record_is_a_row_of_its_table() -> None:
    samples = [*timed(E2E, "forward", [9.0], phase=Phase.COLD), *timed(EVENTS, "alignment", [0.5], [0.25])]
    found = record(
        "cuda",
        samples,
        memory=(MemoryPoint(elapsed_s=0.5, host_bytes=20, device_bytes=7),),
        memory_lines=(
            MemoryLine(line=12, source="    x = 1", occurrences=3, increment_bytes=-5, host_bytes=20),
        ),
    )
    expected = {
        "samples": (
            "cell,round,pass,phase,repetition,stage,start_s,wall_s,device_s\n"
            "CELL,0,end_to_end,cold,0,forward,0.0,9.0,\n"
            "CELL,0,stage_events,steady,0,alignment,0.0,0.5,0.25\n"
        ),
        "memory": "cell,round,elapsed_s,host_bytes,device_bytes\nCELL,0,0.5,20,7\n",
        "memory_lines": (
            "cell,round,line,occurrences,increment_bytes,host_bytes,source\nCELL,0,12,3,-5,20,    x = 1\n"
        ),
    }
    for name, text in expected.items():
        assert to_csv(items_table([found, record("cpu")], name)) == text.replace("CELL", found.cell)


def test_telemetry_that_was_not_read_is_not_the_same_as_none() -> None:
    readings = (
        TelemetryReading(elapsed_s=0.5, busy_s=2.0, swap_pages=3),
        TelemetryReading(elapsed_s=1.5, throttle_reasons=("heat", "power cap")),
        TelemetryReading(elapsed_s=2.5, throttle_reasons=()),
    )
    found = items_table([record("cpu", telemetry=readings)], "telemetry")
    assert to_csv(found[["busy_s", "swap_pages", "throttle_reasons"]]) == (
        "busy_s,swap_pages,throttle_reasons\n2.0,3,\n,,heat; power cap\n,,none\n"
    )


WRITTEN = [name for name in COLUMNS if name != "costs"]


@pytest.mark.parametrize("records", [[], [record("cpu", status="skipped")]], ids=["none", "all skipped"])
def test_a_run_without_figures_has_every_table(records: list[CellRecord]) -> None:
    tables = tables_of(records, BASELINE)
    for name, columns in COLUMNS.items():
        assert to_csv(getattr(tables, name)).startswith(",".join(columns) + "\n")


@pytest.mark.parametrize("name", WRITTEN)
def test_the_columns_are_those_of_the_document(name: str) -> None:
    assert documented_columns(name) == [*COLUMNS[name]]


def test_the_document_names_every_word_of_a_closed_set() -> None:
    text = TABLES.read_text(encoding="utf-8")
    words = [
        *Status,
        *OutputCheck,
        *Pass,
        *Phase,
        *WarmupEnd,
        *Stop,
        *IntervalKind,
        *SPANS,
    ]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_csv_keeps_floats_to_the_last_bit() -> None:
    values = [0.1, 1 / 3, 2.0**-1074, 1.7976931348623157e308, 123456789.123456789, 1e-7, 5.0, math.inf]
    text = to_csv(pd.DataFrame({"value": values}))
    assert [float(value) for value in text.split()[1:]] == values


def test_warnings_name_their_remedy() -> None:
    notices = (
        Notice(code="drift", cell="a", round=2, seen="it drifts", remedy="warm up"),
        Notice(code="power_saving", seen="powersave", remedy="set another"),
    )
    assert to_csv(warnings_table(notices)) == (
        "code,cell,round,seen,remedy\ndrift,a,2,it drifts,warm up\npower_saving,,,powersave,set another\n"
    )
