"""The roofline: what limits a stage, by hand; its tables, figure and page."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.grid.backend import BUILT_IN
from bench.grid.baseline import Baseline
from bench.grid.ceilings import Ceiling, CeilingKind, best, precision_of, wanted
from bench.plotting.groups import data, figure
from bench.results.roofline import COMPUTE, MEMORY, MIXED, Bound, Part, bound, with_roofline
from bench.results.tables import tables_of
from tests.bench import rooflines, synthetic
from tests.bench.pages import render_markdown
from tests.bench.synthetic import BASELINE
from tests.networks import STAGES

CPU = BUILT_IN["cpu"]
BFLOAT16 = CPU.replace(name="cpu-bfloat16", dtype="bfloat16")


class TestWhatIsMeasured:
    def test_each_precision_of_a_cpu_has_products_convolutions_and_all_have_one_copy(self) -> None:
        specs = wanted([CPU, BFLOAT16, CPU.replace(name="other", memory_format="channels_last")])
        arithmetic = [CeilingKind.MATMUL] * 2 + [CeilingKind.CONVOLUTION] * 4
        assert [(spec.kind, spec.precision) for spec in specs] == [
            *[(kind, "float32") for kind in arithmetic],
            (CeilingKind.COPY, None),
            *[(kind, "bfloat16") for kind in arithmetic],
        ]
        assert {(spec.height, spec.width, spec.memory_format) for spec in specs[2:6]} == {
            (height, width, layout)
            for height, width in ((180, 320), (64, 64))
            for layout in ("contiguous", "channels_last")
        }

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


def test_a_stage_has_the_precision_of_its_features_and_winograd_that_of_its_blocks() -> None:
    assert [precision_of(BFLOAT16, "any", dtype) for dtype in ("float32", "bfloat16")] == [
        "float32", "bfloat16",
    ]  # fmt: skip
    blocks = BFLOAT16.replace(convolution="winograd")
    found = {stage: precision_of(blocks, stage, "float32") for stage in STAGES}
    assert found == {**dict.fromkeys(STAGES, "float32"), "propagation": "bfloat16"}


def test_the_best_is_over_sizes_and_formats_and_of_no_other_precision() -> None:
    convolutions = [spec for spec in wanted([BFLOAT16]) if spec.kind is CeilingKind.CONVOLUTION]
    found = [rooflines.measured(spec, rate=1000 + 10 * place) for place, spec in enumerate(convolutions)]
    assert best(found, CeilingKind.CONVOLUTION, BFLOAT16, "float32") == pytest.approx(1030)
    assert best(found, CeilingKind.CONVOLUTION, BFLOAT16, "bfloat16") == pytest.approx(1070)
    assert best(found, CeilingKind.CONVOLUTION, CPU.replace(name="one", threads=1), "float32") is None
    assert best(found, CeilingKind.COPY, BFLOAT16) is None


@pytest.mark.parametrize(
    ("work", "overlapping", "compute_s", "memory_s", "binds"),
    [
        ([(1000, 10)], False, 10.0, 0.0, COMPUTE),
        ([(1000, 30)], False, 0.0, 15.0, MEMORY),
        ([(1000, 8), (300, 14)], False, 10.0, 7.0, COMPUTE),  # each has its own limit
        ([(1000, 8), (300, 14)], True, 13.0, 0.0, COMPUTE),
    ],
)
def test_the_longer_of_computing_and_moving_binds(work, overlapping, compute_s, memory_s, binds):
    parts = [
        Part(precision="float32", flops=flops, layers_bytes=moved, fused_bytes=0) for flops, moved in work
    ]
    found = bound(parts, {"float32": 100.0}, 2.0, overlapping=overlapping)
    assert found == Bound(compute_s=compute_s, memory_s=memory_s)
    assert (found.binds, found.seconds) == (binds, compute_s + memory_s)
    for peaks, copy in (({"float32": None}, 1.0), ({}, 1.0), ({"float32": 1.0}, None)):
        assert bound(parts, peaks, copy) is None


class TestTable:
    RECORDS = synthetic.run((synthetic.CPU, synthetic.CPU_1), frames=(1, 4))

    def row(self, stage: str, backend: str = "cpu", frames: int = 4) -> dict[Any, Any]:
        table = rooflines.tables(self.RECORDS).roofline
        of_backend = table[(table["backend"] == backend) & (table["frames"] == frames)]
        (found,) = of_backend[of_backend["stage"] == stage].to_dict("records")
        return found

    def test_a_stage_by_hand(self) -> None:
        row = self.row("propagation")
        summary = tables_of(self.RECORDS, BASELINE).summary
        (timed,) = summary[
            (summary["cell"] == row["cell"]) & (summary["stage"] == "propagation")
        ].to_dict("records")  # fmt: skip
        cost = self.RECORDS[2].costs["propagation"]
        rate, low, high = (cost.flops / timed[name] for name in ("median_s", "high_s", "low_s"))
        assert {name: row[name] for name in ("flops", "bytes", "bytes_fused", "intensity", "median_s")} == {
            "flops": cost.flops, "bytes": cost.bytes, "bytes_fused": cost.fused_bytes,
            "intensity": cost.flops / cost.bytes, "median_s": timed["median_s"],
        }  # fmt: skip
        assert (row["flops_per_s"], row["flops_per_s_low"], row["flops_per_s_high"]) == (rate, low, high)
        assert row["limit_flops_per_s"] == pytest.approx(2e12)
        assert [row["share_low"], row["share"], row["share_high"]] == pytest.approx(
            [low / 2e12, rate / 2e12, high / 2e12]
        )
        assert (row["binds"], row["binds_fused"]) == (COMPUTE, COMPUTE)
        assert row["convolution_limit_flops_per_s"] == pytest.approx(1.4e12)
        assert row["convolution_share"] == pytest.approx(rate / 1.4e12)

    def test_a_stage_that_moves_much_is_bound_by_memory(self) -> None:
        row = self.row("aggregation")
        assert (row["binds"], row["binds_fused"]) == (MEMORY, MEMORY)
        assert row["limit_flops_per_s"] == pytest.approx(4e10 * row["intensity"])

    def test_a_backend_is_held_against_its_own_threads(self) -> None:
        row = self.row("propagation", "cpu-1-thread")
        assert row["matmul_flops_per_s"] == pytest.approx(1e12)
        assert row["copy_bytes_per_s"] == pytest.approx(2.5e10)

    def test_a_forward_is_its_stages_together_and_a_stage_without_work_has_no_row(self) -> None:
        table = rooflines.tables(self.RECORDS).roofline
        of_one = table[(table["backend"] == "cpu") & (table["frames"] == 4)]
        assert list(of_one["stage"]) == [*STAGES, "forward"]
        costs = self.RECORDS[2].costs
        whole = self.row("forward")
        assert whole["flops"] == sum(cost.flops for cost in costs.values())
        assert whole["bytes"] == sum(cost.bytes for cost in costs.values())
        assert (whole["precision"], whole["pass"]) == ("float32", "end_to_end")
        # Stages one after another, each at its own limit; `other` moves its bytes.
        least_s = sum(max(cost.flops / 2e12, cost.bytes / 4e10) for cost in costs.values())
        assert whole["limit_flops_per_s"] == pytest.approx(whole["flops"] / least_s)

    def test_precisions_that_differ_are_mixed(self) -> None:
        machine = synthetic.Machine(name="cpu-bfloat16", per_frame_s=0.01)
        records = synthetic.run((machine,), frames=(2,))
        table = rooflines.tables(records, Baseline(backend="cpu-bfloat16")).roofline
        assert list(table["precision"]) == ["float32", "bfloat16", "bfloat16", "bfloat16", MIXED]
        assert pd.isna(table.iloc[-1]["matmul_flops_per_s"])

    def test_rows_need_a_ceiling_and_a_single_process(self) -> None:
        tables, experiment = tables_of(self.RECORDS, BASELINE), rooflines.experiment_of(self.RECORDS)
        nothing = with_roofline(tables, experiment, [])
        assert len(nothing.roofline) == len(nothing.ceilings) == 0
        (group,) = data("roofline", nothing)
        assert group.empty == "no stage times, or no ceilings to hold them against"
        known = rooflines.ceilings_of(experiment)
        cpu, *others = experiment.backends
        backends = [cpu.model_copy(update={"processes": 2}), *others]
        divided = experiment.model_copy(update={"backends": backends})
        assert set(with_roofline(tables, divided, known).roofline["backend"]) == {"cpu-1-thread"}

    def test_a_ceiling_that_failed_leaves_its_columns_empty(self) -> None:
        experiment = rooflines.experiment_of(self.RECORDS)
        known = [
            Ceiling(spec=ceiling.spec, reason="no memory")
            if ceiling.spec.kind is CeilingKind.MATMUL
            else ceiling
            for ceiling in rooflines.ceilings_of(experiment)
        ]
        tables = with_roofline(tables_of(self.RECORDS, BASELINE), experiment, known)
        row = tables.roofline.iloc[0]
        assert pd.isna(row["matmul_flops_per_s"])
        assert row["share"] == row["convolution_share"] > 0
        failed = tables.ceilings[tables.ceilings["ceiling"] == "matmul"]
        assert (set(failed["reason"]), set(failed["n"])) == ({"no memory"}, {0})


class TestShown:
    TABLES = rooflines.tables(synthetic.run(synthetic.GPU, frames=(1, 4)))

    def test_a_figure_has_the_points_of_the_table_under_the_measured_roofs(self) -> None:
        (group,) = data("roofline", self.TABLES)
        table = self.TABLES.roofline
        rows = table[(table["frames"] == 4) & (table["stage"] != "forward")]
        columns = ["backend", "frames", "stage", "intensity", "flops_per_s", "flops_per_s_low"]
        assert group.table[columns].values.tolist() == rows[columns].values.tolist()
        (axes,) = figure(group, baseline="cpu").axes
        lines: list[Any] = [(line.get_xdata(), line.get_ydata()) for line in axes.lines]
        roofs = [(x, y) for x, y in lines if len(y) == 2 and x[1] > x[0]]
        levels = {float(y[0]) for _, y in roofs if y[0] == y[1]}
        assert sorted(levels) == pytest.approx([1.4, 2.0, 42.0, 60.0])  # TFLOP/s
        assert {round(float(y[1] / x[1]), 3) for x, y in roofs if y[1] > y[0]} == {0.04, 2.0}  # TB/s
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")

    def test_a_report_names_the_farthest_stage_and_lists_the_ceilings(self) -> None:
        page = render_markdown(self.TABLES, plots=[Path("roofline.png")])
        said = page.partition("## Roofline\n\n")[2].partition("\n\n## ")[0]
        stages = self.TABLES.roofline[self.TABLES.roofline["stage"] != "forward"]
        last = stages.loc[stages["share"].idxmin()]
        assert (
            f"Farthest from its limit is {last['stage']} on {last['backend']} (64×64, {last['frames']} "
            f"frames), with {100 * last['share']:.1f} % of it"
        ) in said
        assert "![roofline](roofline.png)" in said
        assert len(re.findall(r"^\| *\d", said, flags=re.MULTILINE)) == len(self.TABLES.roofline)
        measured = page.partition("## What limits the machine\n\n")[2].partition("\n\n## ")[0]
        assert measured.count("\n| ") == 2 + len(self.TABLES.ceilings)
        assert "| host to device pinned " in measured

    @pytest.mark.parametrize(("per_frame_s", "is_passed"), [(0.001, True), (1.0, False)])
    def test_more_than_all_of_a_limit_is_explained(self, per_frame_s: float, is_passed: bool) -> None:
        machine = synthetic.Machine(name="cpu", per_frame_s=per_frame_s, psnr_db=None)
        page = render_markdown(rooflines.tables(synthetic.run((machine,), frames=(2,))))
        assert ("More than 100 % is no mistake" in page) is is_passed
