"""The roofline: what limits a stage, by hand; its tables, figure and page."""

import re
from pathlib import Path

import pandas as pd
import pytest

from bench.grid.backend import BUILT_IN
from bench.grid.baseline import Baseline
from bench.grid.ceilings import (
    Ceiling,
    CeilingKind,
    Moment,
    best,
    precision_of,
    wanted,
)
from bench.plotting.groups import data, figure
from bench.records import CellRecord
from bench.results.roofline import (
    COMPUTE,
    MEMORY,
    MIXED,
    Bound,
    Part,
    bound,
    with_roofline,
)
from bench.results.tables import tables_of
from tests.bench import rooflines, synthetic
from tests.bench.pages import render_markdown
from tests.bench.synthetic import BASELINE
from tests.networks import STAGES

CPU = BUILT_IN["cpu"]
BFLOAT16 = CPU.replace(name="cpu-bfloat16", dtype="bfloat16")


def part(flops: int, moved: int, precision: str = "float32") -> Part:
    return Part(precision=precision, flops=flops, layers_bytes=moved, fused_bytes=moved // 2)


class TestWhatIsMeasured:
    def test_a_cpu_in_float32(self) -> None:
        specs = wanted([CPU, CPU.replace(name="cpu-channels_last", memory_format="channels_last")])
        assert [(spec.kind, spec.precision) for spec in specs] == [
            *[(CeilingKind.MATMUL, "float32")] * 2,
            *[(CeilingKind.CONVOLUTION, "float32")] * 4,
            (CeilingKind.COPY, None),
        ]
        assert {(spec.height, spec.width, spec.memory_format) for spec in specs[2:6]} == {
            (height, width, layout)
            for height, width in ((180, 320), (64, 64))
            for layout in ("contiguous", "channels_last")
        }

    def test_float32_stages_stand_beside_narrow_ones(self) -> None:
        assert [precision_of(BFLOAT16, "any", dtype) for dtype in ("float32", "bfloat16")] == [
            "float32", "bfloat16",
        ]  # fmt: skip
        assert {spec.precision for spec in wanted([BFLOAT16])} == {None, "float32", "bfloat16"}
        blocks = BFLOAT16.replace(convolution="winograd")
        found = {stage: precision_of(blocks, stage, "float32") for stage in STAGES}
        assert found == {**dict.fromkeys(STAGES, "float32"), "propagation": "bfloat16"}

    def test_a_gpu_has_transfers_and_no_threads(self) -> None:
        specs = wanted(
            [BUILT_IN["cuda"].replace(name="gpu", device="cuda:1", fp32_precision="tf32", threads=3)]
        )
        assert {spec.precision for spec in specs} == {None, "tf32"}
        assert {(spec.device, spec.threads) for spec in specs} == {("cuda:1", None)}
        assert sum("host" in spec.kind for spec in specs) == 4

    def test_other_threads_have_ceilings_of_their_own_and_several_processes_none(self) -> None:
        assert len(wanted([CPU, CPU.replace(name="one", threads=1)])) == 2 * len(wanted([CPU]))
        assert wanted([CPU.replace(name="two", processes=2)]) == ()


class TestBound:
    def test_the_longer_of_computing_and_moving_binds(self) -> None:
        found = bound([part(1000, 10)], {"float32": 100.0}, 2.0)
        assert found == Bound(compute_s=10.0, memory_s=0.0)
        assert (found.binds, found.seconds) == (COMPUTE, 10.0)
        found = bound([part(1000, 30)], {"float32": 100.0}, 2.0)
        assert found == Bound(compute_s=0.0, memory_s=15.0)
        assert (found.binds, found.seconds) == (MEMORY, 15.0)

    def test_each_part_has_its_own_limit_unless_they_overlap(self) -> None:
        parts = [part(1000, 8), part(300, 14)]  # 10 s of computing and 4 of moving, then 3 and 7
        found = bound(parts, {"float32": 100.0}, 2.0)
        assert found == Bound(compute_s=10.0, memory_s=7.0)
        assert found.seconds == sum(bound([one], {"float32": 100.0}, 2.0).seconds for one in parts)  # type: ignore[union-attr]
        beside = bound(parts, {"float32": 100.0}, 2.0, overlapping=True)
        assert beside == Bound(compute_s=13.0, memory_s=0.0)

    def test_without_a_ceiling_there_is_none(self) -> None:
        assert bound([part(1, 1)], {"float32": None}, 1.0) is None
        assert bound([part(1, 1)], {}, 1.0) is None
        assert bound([part(1, 1)], {"float32": 1.0}, None) is None


def test_the_best_is_over_sizes_formats_and_moments_and_of_no_other_precision() -> None:
    convolutions = [spec for spec in wanted([BFLOAT16]) if spec.kind is CeilingKind.CONVOLUTION]
    found = [
        rooflines.measured(spec, moment, rate=1000.0 + 10 * place + (moment is Moment.AFTER))
        for place, spec in enumerate(convolutions)
        for moment in Moment
    ]
    assert best(found, CeilingKind.CONVOLUTION, BFLOAT16, "float32") == pytest.approx(1031)
    assert best(found, CeilingKind.CONVOLUTION, BFLOAT16, "bfloat16") == pytest.approx(1071)
    assert best(found, CeilingKind.CONVOLUTION, CPU.replace(name="one", threads=1), "float32") is None
    assert best(found, CeilingKind.COPY, BFLOAT16) is None


class TestTable:
    RECORDS = synthetic.run((synthetic.CPU, synthetic.CPU_1), frames=(1, 4))

    def row(self, stage: str, backend: str = "cpu", frames: int = 4) -> dict[str, object]:
        table = rooflines.tables(self.RECORDS).roofline
        of_backend = table[(table["backend"] == backend) & (table["frames"] == frames)]
        (found,) = of_backend[of_backend["stage"] == stage].to_dict("records")
        return found

    def test_a_backend_of_several_processes_has_no_row(self) -> None:
        experiment = rooflines.experiment_of(self.RECORDS)
        divided = [
            spec.model_copy(update={"processes": 2}) if spec.name == "cpu" else spec
            for spec in experiment.backends
        ]
        experiment = experiment.model_copy(update={"backends": divided})
        known = rooflines.ceilings_of(rooflines.experiment_of(self.RECORDS))
        table = with_roofline(tables_of(self.RECORDS, BASELINE), experiment, known).roofline
        assert set(table["backend"]) == {"cpu-1-thread"}

    def test_a_stage_by_hand(self) -> None:
        row = self.row("propagation")
        tables = tables_of(self.RECORDS, BASELINE)
        (timed,) = tables.summary[
            (tables.summary["cell"] == row["cell"]) & (tables.summary["stage"] == "propagation")
        ].to_dict("records")
        cost = self.RECORDS[2].costs["propagation"]
        assert (row["flops"], row["bytes"], row["bytes_fused"]) == (cost.flops, cost.bytes, cost.fused_bytes)
        assert (timed["flops"], timed["bytes"]) == (cost.flops, cost.bytes)
        assert row["intensity"] == cost.flops / cost.bytes
        assert row["median_s"] == timed["median_s"]
        assert row["flops_per_s"] == cost.flops / timed["median_s"]
        assert (row["flops_per_s_low"], row["flops_per_s_high"]) == (
            cost.flops / timed["high_s"],
            cost.flops / timed["low_s"],
        )
        assert row["limit_flops_per_s"] == pytest.approx(2e12)
        assert row["share"] == pytest.approx(cost.flops / timed["median_s"] / 2e12)
        assert row["share_low"] < row["share"] < row["share_high"]  # type: ignore[operator]
        assert (row["binds"], row["binds_fused"]) == (COMPUTE, COMPUTE)
        assert row["convolution_limit_flops_per_s"] == pytest.approx(1.4e12)
        assert row["convolution_share"] == pytest.approx(cost.flops / timed["median_s"] / 1.4e12)

    def test_what_moves_much_is_bound_by_memory(self) -> None:
        row = self.row("aggregation")
        assert (row["binds"], row["binds_fused"]) == (MEMORY, MEMORY)
        assert row["limit_flops_per_s"] == pytest.approx(4e10 * float(str(row["intensity"])))

    def test_a_backend_is_held_against_its_own_threads(self) -> None:
        assert self.row("propagation", "cpu-1-thread")["matmul_flops_per_s"] == pytest.approx(1e12)
        assert self.row("propagation", "cpu-1-thread")["copy_bytes_per_s"] == pytest.approx(2.5e10)

    def test_a_forward_is_its_stages_together_and_what_does_no_work_has_no_row(self) -> None:
        table = rooflines.tables(self.RECORDS).roofline
        of_one = table[(table["backend"] == "cpu") & (table["frames"] == 4)]
        assert list(of_one["stage"]) == [*STAGES, "forward"]
        costs = self.RECORDS[2].costs
        whole = self.row("forward")
        assert (whole["flops"], whole["bytes"]) == (
            sum(cost.flops for cost in costs.values()),
            sum(cost.bytes for cost in costs.values()),
        )
        assert (whole["precision"], whole["pass"]) == ("float32", "end_to_end")
        # Stages one after another, each at its own limit; `other` moves its bytes.
        least_s = sum(max(cost.flops / 2e12, cost.bytes / 4e10) for cost in costs.values())
        assert whole["limit_flops_per_s"] == pytest.approx(whole["flops"] / least_s)  # type: ignore[operator]

    def test_precisions_that_differ_are_mixed(self) -> None:
        machine = synthetic.Machine(name="cpu-bfloat16", per_frame_s=0.01)
        table = rooflines.tables(
            synthetic.run((machine,), frames=(2,)), Baseline(backend="cpu-bfloat16")
        ).roofline
        found = dict(zip(table["stage"], table["precision"], strict=True))
        assert found == {
            "alignment": "float32", "propagation": "bfloat16", "aggregation": "bfloat16",
            "upsampling": "bfloat16", "forward": MIXED,
        }  # fmt: skip
        assert pd.isna(table[table["stage"] == "forward"].iloc[0]["matmul_flops_per_s"])

    def test_without_ceilings_there_is_nothing(self) -> None:
        experiment = rooflines.experiment_of(self.RECORDS)
        tables = with_roofline(tables_of(self.RECORDS, BASELINE), experiment, [])
        assert len(tables.roofline) == len(tables.ceilings) == 0
        (group,) = data("roofline", tables)
        assert group.empty == "no stage times, or no ceilings to hold them against"

    def test_a_ceiling_that_failed_leaves_its_columns_empty(self) -> None:
        experiment = rooflines.experiment_of(self.RECORDS)
        known = [
            Ceiling(spec=ceiling.spec, moment=ceiling.moment, reason="no memory")
            if ceiling.spec.kind is CeilingKind.MATMUL
            else ceiling
            for ceiling in rooflines.ceilings_of(experiment)
        ]
        tables = with_roofline(tables_of(self.RECORDS, BASELINE), experiment, known)
        row = tables.roofline.iloc[0]
        assert pd.isna(row["matmul_flops_per_s"])
        assert row["share"] == row["convolution_share"] > 0
        failed = tables.ceilings[tables.ceilings["ceiling"] == "matmul"]
        assert set(failed["reason"]) == {"no memory"}
        assert set(failed["n"]) == {0}


def of_gpu() -> list[CellRecord]:
    return synthetic.run(synthetic.GPU, frames=(1, 4))


class TestFigure:
    def test_it_shows_the_points_of_the_table(self) -> None:
        tables = rooflines.tables(of_gpu())
        (group,) = data("roofline", tables)
        rows = tables.roofline[(tables.roofline["frames"] == 4) & (tables.roofline["stage"] != "forward")]
        columns = ["backend", "frames", "stage", "intensity", "flops_per_s", "flops_per_s_low"]
        assert group.table[columns].values.tolist() == rows[columns].values.tolist()
        assert list(group.table["backend"].unique()) == ["cpu", "cuda", "cudnn", "cudnn_autotune"]

    def test_roofs_are_drawn_where_they_were_measured(self) -> None:
        (group,) = data("roofline", rooflines.tables(of_gpu()))
        (axes,) = figure(group, baseline="cpu").axes
        levels = {
            float(line.get_ydata()[0])  # type: ignore[index, arg-type]
            for line in axes.lines
            if len(line.get_ydata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]  # type: ignore[arg-type, index]
        }
        assert sorted(levels) == pytest.approx([1.4, 2.0, 42.0, 60.0])  # TFLOP/s
        slopes = {
            round(float(y[1] / x[1]), 3)  # type: ignore[index]
            for line in axes.lines
            if len(x := line.get_xdata()) == 2 and (y := line.get_ydata())[1] > y[0] and x[1] > x[0]  # type: ignore[arg-type, index]
        }
        assert slopes == {0.04, 2.0}  # TB/s
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")

    def test_a_line_of_the_report_names_the_farthest(self) -> None:
        tables = rooflines.tables(of_gpu())
        page = render_markdown(tables, plots=[Path("roofline.png")])
        said = page.partition("## Roofline\n\n")[2].partition("\n\n## ")[0]
        stages = tables.roofline[tables.roofline["stage"] != "forward"]
        last = stages.loc[stages["share"].idxmin()]
        assert (
            f"Farthest from its limit is {last['stage']} on {last['backend']} (64×64, {last['frames']} "
            f"frames), with {100 * last['share']:.1f} % of it"
        ) in said
        assert "![roofline](roofline.png)" in said
        assert len(re.findall(r"^\| *\d", said, flags=re.MULTILINE)) == len(tables.roofline)
        measured = page.partition("## What limits the machine\n\n")[2].partition("\n\n## ")[0]
        assert "| host to device pinned " in measured
        assert "Between the two" not in measured  # there is one alone

    def test_how_far_the_ceilings_drifted_is_told(self) -> None:
        records = synthetic.run((synthetic.CPU,), frames=(2,))
        known = [
            rooflines.measured(spec, moment, rate=rooflines.rate_of(spec) * factor)
            for spec in wanted([CPU])
            for moment, factor in (
                (Moment.BEFORE, 1.0),
                (Moment.AFTER, 0.8 if spec.kind is CeilingKind.COPY else 0.9),
            )
        ]
        tables = with_roofline(tables_of(records, BASELINE), rooflines.experiment_of(records), known)
        page = render_markdown(tables)
        assert "Between the two the best differ by 25.0 % at most (copy)" in page

    def test_more_than_all_of_a_limit_is_explained(self) -> None:
        fast = synthetic.Machine(name="cpu", per_frame_s=0.001, psnr_db=None)
        page = render_markdown(
            rooflines.tables(synthetic.run((fast,), frames=(2,))),
            plots=[],
        )  # fmt: skip
        assert "More than 100 % is no mistake" in page
        slow = synthetic.Machine(name="cpu", per_frame_s=1.0, psnr_db=None)
        tables = rooflines.tables(synthetic.run((slow,), frames=(2,)))
        assert "More than 100 %" not in render_markdown(tables)
