"""Several runs on one page: speed over a reference, what does not compare, figures and devices.csv."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.cautions.caution import Notice
from bench.grid.baseline import Baseline
from bench.plotting.groups import DRAWN, data, figure, in_parts, place_names
from bench.records import CellRecord, Status
from bench.reporting.page import IN_COLUMNS, TEMPLATE, View
from bench.reporting.rendering import markdown
from bench.reporting.runs import (
    DEVICES_COLUMNS,
    ReportedRun,
    Runs,
    devices_table,
    relative_plots,
    together,
)
from bench.results.files import to_csv
from bench.results.identity import device_name
from bench.results.tables import Row, tables_of, warnings_table
from tests.bench import synthetic
from tests.bench.pages import documented_columns, rows, section
from vsr_model.errors import BadInput

CUDA, CUDNN = synthetic.GPU[1:3]


def run(
    name: str,
    records: Sequence[CellRecord],
    *,
    baseline: str = "cuda",
    devices: Mapping[str, str] | None = None,
) -> ReportedRun:
    names = devices or {record.backend: f"GPU of {name}" for record in records}
    over = Baseline.of(baseline)
    return ReportedRun(
        name=name, experiment="made up", baseline=over, tables=tables_of(records, over),
        environment={"cpu": name}, configuration={"name": name}, devices=names,
    )  # fmt: skip


def faster(times: float, machines: Sequence[synthetic.Machine] = (CUDA, CUDNN)) -> list[synthetic.Machine]:
    return [replace(machine, per_frame_s=machine.per_frame_s / times) for machine in machines]


def two(frames: Sequence[int] = (4,), rounds: int = 1) -> list[ReportedRun]:
    return [
        run("slow", synthetic.run((CUDA, CUDNN), frames=frames, rounds=rounds)),
        run("fast", synthetic.run(faster(2.0), frames=frames, rounds=rounds)),
    ]


def by_name(found: Runs) -> dict[tuple[str, str], Row]:
    return {(row["run"], row["backend"]): row for row in found.rows}


def page(runs: Sequence[ReportedRun]) -> str:
    return markdown(TEMPLATE, View(cells=together(runs), folder=Path()))


def test_relative_speed_is_of_the_medians_and_above_one_where_faster() -> None:
    found = by_name(together(two(), "slow:cudnn"))
    base = found["slow", "cudnn"]
    for key, row in found.items():
        assert row["relative_speed"] == base["median_s"] / row["median_s"]
        assert row["is_reference"] == (key == ("slow", "cudnn"))
    ends = ("relative_speed", "relative_speed_low", "relative_speed_high")
    assert [base[name] for name in ends] == [1.0, 1.0, 1.0]
    value, low, high = (found["fast", "cudnn"][name] for name in ends)
    assert low < value < high
    assert value == pytest.approx(2.0, rel=0.1)


def test_rates_are_of_all_clips_and_of_the_output() -> None:
    records = synthetic.run((CUDA,), frames=(5,), batch=3, sizes=((20, 30),))
    (row,) = together([run("one", records)]).rows
    assert row["frames_per_s"] == 15 / row["median_s"]
    assert (row["frames_per_s_low"], row["frames_per_s_high"]) == (15 / row["high_s"], 15 / row["low_s"])
    assert row["output_megapixels_per_s"] == pytest.approx(row["frames_per_s"] * 80 * 120 / 1e6)


def test_content_does_not_count_but_the_place_does() -> None:
    found = by_name(together([
        run("a", synthetic.run((CUDA,), frames=(4,), inputs=("noise",))),
        run("b", synthetic.run((CUDA,), frames=(4,), inputs=("clip",))),
        run("c", synthetic.run((CUDA,), frames=(4,), inputs=("noise",), sizes=((32, 48),))),
    ]))  # fmt: skip
    assert found["b", "cuda"]["reference_cell"] == "basicvsr/noise/b1/t4/64x64/cuda"
    assert (found["c", "cuda"]["relative_speed"], found["c", "cuda"]["why_not"]) == (None, "no reference")


def test_networks_compare_with_themselves_alone() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    small = [record.model_copy(update={"parameters": 1000}) for record in synthetic.run((CUDA,), frames=(4,))]
    runs = [
        run("slow", synthetic.run((CUDA,), nets=nets, frames=(4,)), baseline="basicvsr/cuda"),
        run("fast", synthetic.run(faster(2.0)[:1], nets=nets, frames=(4,))),
        run("other", synthetic.run((CUDA,), nets=(replace(nets[1], name="theirs"),), frames=(4,))),
        run("small", small),
    ]
    cells = together(runs)
    assert str(cells.reference) == "slow:cuda"
    found = {(row["run"], row["model"]): row for row in cells.rows}
    for net in nets:
        assert found["slow", net.name]["cell"] == f"slow: {found['fast', net.name]['reference_cell']}"
        assert found["fast", net.name]["relative_speed"] == pytest.approx(2.0, rel=0.1)
    assert found["other", "theirs"]["why_not"] == "other network"
    assert found["small", "basicvsr"]["why_not"] == "other network"  # of other parameters
    # Each speedup is over the baseline of its own run.
    assert found["slow", "mine"]["speedup"] == pytest.approx(2.0, rel=0.1)  # MINE takes half of the time
    assert [key for key, row in found.items() if row["is_baseline"]][:3] == [
        ("slow", "basicvsr"), ("fast", "basicvsr"), ("small", "basicvsr"),
    ]  # fmt: skip
    text = page(runs)
    assert "| network  |" in text
    assert "other network" in text
    # Nor do they in a figure.
    groups = relative_plots(cells)
    assert [set(group.table["model"]) for group in groups] == [{name} for name in ("basicvsr", "mine")]
    assert place_names("relative", groups) == [f"relative-{net.name}" for net in nets]


def test_an_inaccurate_cell_keeps_its_rate_and_gets_no_ratio() -> None:
    records = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cudnn" else record
        for record in synthetic.run((CUDA, CUDNN), frames=(4,))
    ]
    runs = [run("one", records), two()[1]]
    row = by_name(together(runs))["one", "cudnn"]
    assert row["frames_per_s"] > 0
    assert row["relative_speed"] is None
    assert by_name(together(runs, "one:cudnn"))["one", "cuda"]["why_not"] == "no reference"


@pytest.mark.parametrize(("rounds", "marks"), [(1, 3 + 1), (6, 0)])
def test_a_ratio_within_one_process_is_marked(rounds: int, marks: int) -> None:
    assert page(two(rounds=rounds)).count("†") == marks  # all but the reference, and what it means


@pytest.mark.parametrize(
    ("named", "reference"), [(None, "slow:cuda"), ("fast", "fast:cuda"), ("fast:cudnn", "fast:cudnn")]
)
def test_the_reference_is_a_run_with_its_baseline_or_a_backend(named: str | None, reference: str) -> None:
    assert str(together(two(), named).reference) == reference


def test_without_a_name_the_reference_is_the_first_that_has_a_figure() -> None:
    failed = run("first", [synthetic.ended(r, Status.OOM, "x") for r in synthetic.run((CUDA,), frames=(4,))])
    assert str(together([failed, *two()]).reference) == "slow:cuda"
    none = [failed, run("second", synthetic.run((CUDNN,), frames=(4,)))]
    assert together(none).reference is None
    assert relative_plots(together(none)) == []
    assert "nothing to compare with" in page(none)


def test_each_speedup_is_over_the_baseline_of_its_own_run() -> None:
    records = synthetic.run((CUDA,), nets=(synthetic.BASICVSR, synthetic.MINE), frames=(4,))
    found = together(
        [run(name, records, baseline=over) for name, over in (("a", "basicvsr/cuda"), ("b", "cuda"))]
    )
    by_model = {(row["run"], row["model"]): row for row in found.rows}
    assert by_model["a", "mine"]["speedup"] == pytest.approx(2.0, rel=0.1)  # MINE takes half of the time
    assert {key for key, row in by_model.items() if not row["is_baseline"]} == {("a", "mine")}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("slwo", r"--reference slwo: is none of the runs, and no backend .* slow, fast, or .* in slow:cuda"),
        ("slow:cpu", "--reference slow:cpu: is none of the runs, and no backend of one"),
        (":cuda", "--reference :cuda: is none of the runs"),
    ],
)
def test_a_reference_that_is_none_is_refused(named: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        together(two(), named)


def test_every_table_has_a_column_for_the_run() -> None:
    slow, fast = two(frames=(1, 4), rounds=3)
    failed = [synthetic.ended(r, Status.ERROR, "broken") for r in synthetic.run((CUDA,), frames=(1,))]
    notice = Notice(code="drift", cell=slow.tables.cells["cell"][0], seen="it is slower", remedy="warm up")
    slow = replace(slow, tables=replace(slow.tables, warnings=warnings_table([notice])))
    text = page([slow, fast, run("failed", failed)])
    assert text.startswith(
        "# Side by side: slow, fast, failed\n\n9 cells in 25 rounds: **8 ok**, **1 error**."
    )
    assert "The baseline cuda of failed was not measured" in text
    assert "1 of 4 cells are in all runs. [devices.csv](devices.csv) has every cell of every run." in text
    for title in ("Forward time and speedup", "Stages", "How the samples were taken", "Output check"):
        header, *cells = rows(section(text, title))
        assert header[:3] == ["frames", "backend", "run"]
        assert [row[:3] for row in cells] == [
            [frames, backend, name]
            for frames in ("1", "4") for backend in ("cuda", "cudnn") for name in ("slow", "fast")
        ]  # fmt: skip
    assert rows(section(text, "Cells that did not end ok"))[1:] == [
        ["failed", "cuda", "t=1", "error", "broken"]
    ]
    warning = "* **drift** (slow: t=1, cuda): it is slower. *What to do:* warm up."
    assert section(text, "Warnings").strip() == warning


@pytest.mark.parametrize("number", [IN_COLUMNS, IN_COLUMNS + 1])
def test_what_differs_has_a_column_per_run_and_of_many_runs_a_row_per_value(number: int) -> None:
    records = synthetic.run((CUDA,), frames=(4,))
    runs = [
        replace(run(f"r{place}", records), environment={"cpu": "Fast" if place < 2 else "Slow", "os": "x"})
        for place in range(number)
    ]
    found = rows(section(page(runs), "What differs in the environments"))
    assert found == (
        [["what", "r0", "r1", "r2", "r3"], ["cpu", "Fast", "Fast", "Slow", "Slow"]]
        if number == IN_COLUMNS
        else [
            ["what", "value", "runs", "which"],
            ["cpu", "Fast", "2", "r0, r1"],
            ["cpu", "Slow", "3", "r2, r3, r4"],
        ]
    )


class TestFigures:
    def test_backends_have_one_colour_in_all_runs_and_runs_one_line(self) -> None:
        (group,) = data("time", together(two(frames=(1, 4))).tables)
        assert list(group.table["label"].unique()) == [
            "slow: cuda", "fast: cuda", "slow: cudnn", "fast: cudnn",
        ]  # fmt: skip
        (axes,) = figure(group, baseline="cuda").axes
        first, second, third, fourth = axes.lines
        assert first.get_color() == second.get_color() != third.get_color() == fourth.get_color()
        assert first.get_marker() == third.get_marker() != second.get_marker() == fourth.get_marker()

    def test_relative_speed_has_the_points_of_the_table(self) -> None:
        cells = together(two(frames=(1, 4)))
        (group,) = relative_plots(cells)
        names = ("relative_speed", "relative_speed_low", "relative_speed_high", "relative_speed_interval")
        assert group.table[["value", "low", "high", "interval"]].values.tolist() == [
            [row[name] for name in names] for row in cells.rows if not row["is_reference"]
        ]
        drawn = figure(group, baseline=str(cells.reference))
        assert len(drawn.axes[0].lines) == 1 + 3
        (legend,) = drawn.legends
        assert legend.get_texts()[0].get_text() == "slow:cuda"

    def test_a_backend_with_several_inputs_has_a_curve_each(self) -> None:
        both = run("both", synthetic.run((CUDA,), frames=(4,), inputs=("a", "b")))
        (group,) = relative_plots(together([*two(), both]))
        assert [name for name in group.table["label"] if name.startswith("both")] == [
            "both: cuda, a", "both: cuda, b",
        ]  # fmt: skip

    def test_more_curves_than_one_figure_holds_go_on_in_another(self) -> None:
        records = synthetic.run((CUDA, CUDNN), frames=(4,))
        cells = together([run(f"run {number}", records) for number in range(DRAWN // 2 + 1)])
        parts = in_parts(data("time", cells.tables)[0])
        assert [part.labels.part for part in parts] == ["1 of 2", "2 of 2"]
        assert [len(part.table) for part in parts] == [DRAWN, 2]

    @pytest.mark.parametrize("scale", [1e-310, 1e300])
    def test_a_ratio_that_no_clock_can_give_has_no_point(self, scale: float) -> None:
        def scaled(record: CellRecord) -> CellRecord:
            samples = [one.model_copy(update={"wall_s": one.wall_s * scale}) for one in record.samples]
            return record.model_copy(update={"samples": tuple(samples)})

        made_up = [scaled(record) for record in synthetic.run((CUDA, CUDNN), frames=(4,))]
        runs = [*two(), run("made up", made_up)]
        (group,) = relative_plots(together(runs))
        assert set(group.table["run"]) == {"slow", "fast"}
        assert not re.search(r"\d{20}", page(runs))


def test_devices_csv_has_every_cell_of_every_run(tmp_path: Path) -> None:
    assert documented_columns("devices") == [*DEVICES_COLUMNS]
    failed = [synthetic.ended(r, Status.ERROR, "=1+1") for r in synthetic.run((CUDA,), frames=(1,))]
    cells = together([*two(frames=(1, 4), rounds=3), run("+sum: x", failed)], "slow:cuda")
    (tmp_path / "devices.csv").write_text(to_csv(devices_table(cells)), encoding="utf-8")
    table = pd.read_csv(tmp_path / "devices.csv", keep_default_na=False, na_values=[""])
    assert list(table.columns) == [*DEVICES_COLUMNS]
    assert list(table["run"]) == ["slow"] * 4 + ["fast"] * 4 + ["'+sum: x"]
    last = table.iloc[-1]
    assert (last["cell"], last["reason"]) == (failed[0].cell, "'=1+1")
    assert pd.isna(last["frames_per_s"])
    place = ["fast", 4, "cudnn"]
    (found,) = table[(table[["run", "frames", "backend"]] == place).all(axis=1)].to_dict("records")
    (row,) = [row for row in cells.rows if [row["run"], row["frames"], row["backend"]] == place]
    names = ("relative_speed", "frames_per_s_low", "peak_device_bytes", "relative_speed_interval", "device")
    assert [found[name] for name in names] == [row[name] for name in names]
    assert found["reference"] == "slow:cuda"
    assert found["reference_cell"] == "basicvsr/random/b1/t4/64x64/cuda"


@pytest.mark.parametrize(
    ("environment", "device", "name"),
    [
        ({"cpu": "Fast CPU"}, "cpu", "Fast CPU"),
        ({"torch": {"devices": [{"name": "Tesla K80"}]}}, "cuda", "Tesla K80"),
        ({"torch": {"devices": [{"name": "Tesla K80"}]}}, "cuda:0", "Tesla K80"),
        ({"torch": {"devices": [{"name": "Tesla K80"}, {"name": "H200"}]}}, "cuda:1", "H200 (cuda:1)"),
        ({"torch": {"devices": [{"name": "Tesla K80"}]}}, "cuda:2", "no CUDA device 2"),
        ({"torch": {"devices": []}}, "cuda", "no CUDA device"),
        ({}, "cpu", "CPU, unknown"),
        ({}, "cuda", "GPU, unknown"),
        ({"cpu": 7}, "cpu", "7"),
        ({"torch": {"devices": "two"}}, "cuda", "GPU, unknown"),
        ({"torch": {"devices": ["H200"]}}, "cuda", "GPU, unknown"),
    ],
)
def test_a_device_is_called_what_the_environment_says(
    environment: dict[str, object], device: str, name: str
) -> None:
    assert device_name(environment, device) == name
