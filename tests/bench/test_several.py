"""Several runs as one table: speed over a reference, what does not compare, figures and devices.csv."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.grid.baseline import Baseline
from bench.plotting.groups import DRAWN, data, figure, in_parts, place_names
from bench.records import CellRecord, Status
from bench.reporting.cells import Row, rows_of
from bench.reporting.rendering import html, markdown
from bench.reporting.several import (
    DEVICES_COLUMNS,
    Cells,
    Reference,
    SideRun,
    cells_of,
    devices_table,
    relative_plots,
)
from bench.reporting.side_by_side import TEMPLATE, view_of
from bench.results.files import to_csv
from bench.results.identity import device_name
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.pages import documented_columns
from tests.html_page import Page
from vsr_model.errors import BadInput

CUDA, CUDNN = synthetic.GPU[1:3]


def side(
    name: str,
    records: Sequence[CellRecord],
    *,
    baseline: str = "cuda",
    devices: Mapping[str, str] | None = None,
) -> SideRun:
    names = devices or {record.backend: f"GPU of {name}" for record in records}
    over = Baseline.of(baseline)
    return SideRun(
        name=name, experiment="made up", baseline=over, tables=tables_of(records, over),
        environment={"cpu": name}, configuration={"name": name}, files=(), devices=names,
    )  # fmt: skip


def faster(times: float, machines: Sequence[synthetic.Machine] = (CUDA, CUDNN)) -> list[synthetic.Machine]:
    return [replace(machine, per_frame_s=machine.per_frame_s / times) for machine in machines]


def two(frames: Sequence[int] = (4,), **options: object) -> list[SideRun]:
    return [
        side("slow", synthetic.run((CUDA, CUDNN), frames=frames, **options)),  # type: ignore[arg-type]
        side("fast", synthetic.run(faster(2.0), frames=frames, **options)),  # type: ignore[arg-type]
    ]


def by_name(cells: Cells) -> dict[tuple[str, str], Row]:
    return {(row["run"], row["backend"]): row for row in rows_of(cells.table)}


def page(runs: Sequence[SideRun]) -> str:
    return markdown(TEMPLATE, view_of(runs, cells_of(runs), folder=Path(), plots=()))


def test_relative_speed_is_of_the_medians_and_above_one_where_faster() -> None:
    rows = by_name(cells_of(two(), "slow:cudnn"))
    base = rows["slow", "cudnn"]
    for key, row in rows.items():
        assert row["relative_speed"] == base["median_s"] / row["median_s"]
        assert row["is_reference"] == (key == ("slow", "cudnn"))
    ends = ("relative_speed", "relative_speed_low", "relative_speed_high")
    assert [base[name] for name in ends] == [1.0, 1.0, 1.0]
    value, low, high = (rows["fast", "cudnn"][name] for name in ends)
    assert low < value < high
    assert value == pytest.approx(2.0, rel=0.1)


def test_rates_are_of_all_clips_and_of_the_output() -> None:
    (row,) = rows_of(
        cells_of([side("one", synthetic.run((CUDA,), frames=(5,), batch=3, sizes=((20, 30),)))]).table
    )
    assert row["frames_per_s"] == 15 / row["median_s"]
    assert (row["frames_per_s_low"], row["frames_per_s_high"]) == (15 / row["high_s"], 15 / row["low_s"])
    assert row["output_megapixels_per_s"] == pytest.approx(row["frames_per_s"] * 80 * 120 / 1e6)


def test_content_does_not_count_but_the_place_does() -> None:
    sides = [
        side("a", synthetic.run((CUDA,), frames=(4,), inputs=("noise",))),
        side("b", synthetic.run((CUDA,), frames=(4,), inputs=("clip",))),
        side("c", synthetic.run((CUDA,), frames=(4,), inputs=("noise",), sizes=((32, 48),))),
    ]
    rows = by_name(cells_of(sides))
    assert rows["b", "cuda"]["reference_cell"] == rows["a", "cuda"]["cell"]
    assert (rows["c", "cuda"]["relative_speed"], rows["c", "cuda"]["why_not"]) == (None, "no reference")


def test_networks_compare_with_themselves_alone() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    small = [record.model_copy(update={"parameters": 1000}) for record in synthetic.run((CUDA,), frames=(4,))]
    sides = [
        side("slow", synthetic.run((CUDA,), nets=nets, frames=(4,)), baseline="basicvsr/cuda"),
        side("fast", synthetic.run(faster(2.0)[:1], nets=nets, frames=(4,))),
        side("other", synthetic.run((CUDA,), nets=(replace(nets[1], name="theirs"),), frames=(4,))),
        side("small", small),
    ]
    cells = cells_of(sides)
    assert cells.reference == Reference(run="slow", backend="cuda")
    rows = {(row["run"], row["model"]): row for row in rows_of(cells.table)}
    for net in nets:
        assert rows["fast", net.name]["reference_cell"] == rows["slow", net.name]["cell"]
        assert rows["fast", net.name]["relative_speed"] == pytest.approx(2.0, rel=0.1)
    assert rows["other", "theirs"]["why_not"] == "other network"
    assert rows["small", "basicvsr"]["why_not"] == "other network"  # of other parameters
    text = page(sides)
    assert "| network  |" in text
    assert "other network" in text


def test_an_inaccurate_cell_keeps_its_rate_and_gets_no_ratio() -> None:
    records = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cudnn" else record
        for record in synthetic.run((CUDA, CUDNN), frames=(4,))
    ]
    row = by_name(cells_of([side("one", records)]))["one", "cudnn"]
    assert row["frames_per_s"] > 0
    assert row["relative_speed"] is None
    assert by_name(cells_of([side("one", records)], "one:cudnn"))["one", "cuda"]["why_not"] == "no reference"


@pytest.mark.parametrize(("rounds", "marks"), [(1, 3 + 1), (6, 0)])
def test_a_ratio_within_one_process_is_marked(rounds: int, marks: int) -> None:
    assert page(two(rounds=rounds)).count("†") == marks  # all but the reference, and what it means


@pytest.mark.parametrize(
    ("named", "run", "backend"),
    [(None, "slow", "cuda"), ("fast", "fast", "cuda"), ("fast:cudnn", "fast", "cudnn")],
)
def test_the_reference_is_a_run_with_its_baseline_or_a_backend(
    named: str | None, run: str, backend: str
) -> None:
    assert cells_of(two(), named).reference == Reference(run=run, backend=backend)


def test_without_a_name_the_reference_is_the_first_that_has_a_figure() -> None:
    failed = side("first", [synthetic.ended(r, Status.OOM, "x") for r in synthetic.run((CUDA,), frames=(4,))])
    assert cells_of([failed, *two()]).reference == Reference(run="slow", backend="cuda")
    assert cells_of([failed]).reference is None
    assert relative_plots(cells_of([failed])) == []
    timed = side("second", synthetic.run((CUDNN,), frames=(4,)))
    assert "nothing to compare with" in page([failed, timed])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("slwo", r"--reference slwo: is none of the runs; name slow, fast, or one of them with .* slow:cuda"),
        ("slow:cpu", r"--reference slow:cpu: the run slow has no backend 'cpu'; it has cuda, cudnn"),
        (":cuda", "--reference :cuda: is none of the runs"),
    ],
)
def test_a_reference_that_is_none_is_refused(named: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        cells_of(two(), named)


def test_each_speedup_is_over_the_baseline_of_its_own_run() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    sides = [side(name, synthetic.run((CUDA,), nets=nets, frames=(4,)), baseline=over)
             for name, over in (("a", "basicvsr/cuda"), ("b", "cuda"))]  # fmt: skip
    rows = {(row["run"], row["model"]): row for row in rows_of(cells_of(sides).table)}
    assert rows["a", "mine"]["speedup"] == pytest.approx(2.0, rel=0.1)  # MINE takes half of the time
    assert [key for key, row in rows.items() if row["is_baseline"]] == [
        ("a", "basicvsr"), ("b", "basicvsr"), ("b", "mine"),
    ]  # fmt: skip


class TestFigures:
    def test_backends_have_one_colour_in_all_runs_and_runs_one_line(self) -> None:
        cells = cells_of(two(frames=(1, 4)))
        (group,) = data("time", cells.tables)
        assert list(group.table["label"].unique()) == [
            "slow: cuda",
            "fast: cuda",
            "slow: cudnn",
            "fast: cudnn",
        ]
        (axes,) = figure(group, baseline="cuda").axes
        first, second, third, fourth = axes.lines
        assert first.get_color() == second.get_color() != third.get_color() == fourth.get_color()
        assert first.get_marker() == third.get_marker() != second.get_marker() == fourth.get_marker()

    def test_relative_speed_has_the_points_of_the_table(self) -> None:
        cells = cells_of(two(frames=(1, 4)))
        (group,) = relative_plots(cells)
        table = cells.table[~cells.table["is_reference"]]
        assert (
            group.table[["value", "low", "high", "interval"]].values.tolist()
            == table[
                ["relative_speed", "relative_speed_low", "relative_speed_high", "relative_speed_interval"]
            ].values.tolist()
        )
        drawn = figure(group, baseline=str(cells.reference))
        assert len(drawn.axes[0].lines) == 1 + 3
        (legend,) = drawn.legends
        assert legend.get_texts()[0].get_text() == "slow:cuda"

    def test_networks_which_never_compare_have_a_figure_each(self) -> None:
        records = synthetic.run((CUDA, CUDNN), nets=(synthetic.BASICVSR, synthetic.MINE), frames=(1, 4))
        groups = relative_plots(cells_of([side("one", records)]))
        names = [synthetic.BASICVSR.name, synthetic.MINE.name]
        assert [group.labels.subject for group in groups] == names
        assert [set(group.table["model"]) for group in groups] == [{name} for name in names]
        assert place_names("relative", groups) == [f"relative-{name}-b1-64x64" for name in names]

    def test_a_backend_with_several_inputs_has_a_curve_each(self) -> None:
        cells = cells_of([*two(), side("both", synthetic.run((CUDA,), frames=(4,), inputs=("a", "b")))])
        (group,) = relative_plots(cells)
        assert [name for name in group.table["label"] if name.startswith("both")] == [
            "both: cuda, a", "both: cuda, b",
        ]  # fmt: skip

    def test_more_curves_than_one_figure_holds_go_on_in_another(self) -> None:
        cells = cells_of([side(f"run {number}", synthetic.run((CUDA, CUDNN), frames=(4,)))
                          for number in range(DRAWN // 2 + 1)])  # fmt: skip
        parts = in_parts(data("time", cells.tables)[0])
        assert [part.labels.part for part in parts] == ["1 of 2", "2 of 2"]
        assert [len(part.table) for part in parts] == [DRAWN, 2]

    @pytest.mark.parametrize("scale", [1e-310, 1e300])
    def test_a_ratio_that_no_clock_can_give_has_no_point(self, scale: float) -> None:
        made_up = [
            record.model_copy(
                update={
                    "samples": tuple(
                        sample.model_copy(update={"wall_s": sample.wall_s * scale})
                        for sample in record.samples
                    )
                }
            )
            for record in synthetic.run((CUDA, CUDNN), frames=(4,))
        ]
        sides = [*two(), side("made up", made_up)]
        (group,) = relative_plots(cells_of(sides))
        assert set(group.table["run"]) == {"slow", "fast"}
        assert not re.search(r"\d{20}", page(sides))


class TestTable:
    def test_the_document_has_its_columns(self) -> None:
        assert documented_columns("devices") == [*DEVICES_COLUMNS]

    def test_has_every_cell_of_every_run(self, tmp_path: Path) -> None:
        failed = [synthetic.ended(r, Status.ERROR, "=1+1") for r in synthetic.run((CUDA,), frames=(1,))]
        sides = [*two(frames=(1, 4), rounds=3), side("+sum: x", failed)]
        cells = cells_of(sides, "slow:cuda")
        (tmp_path / "devices.csv").write_text(to_csv(devices_table(cells)), encoding="utf-8")
        table = pd.read_csv(tmp_path / "devices.csv", keep_default_na=False, na_values=[""])
        assert list(table.columns) == [*DEVICES_COLUMNS]
        assert list(table["run"]) == ["slow"] * 4 + ["fast"] * 4 + ["'+sum: x"]
        last = table.iloc[-1]
        assert (last["cell"], last["reason"]) == (failed[0].cell, "'=1+1")
        assert pd.isna(last["frames_per_s"])
        (place,) = table.index[
            (table["run"] == "fast") & (table["frames"] == 4) & (table["backend"] == "cudnn")
        ]
        found = table.loc[place]
        (row,) = [
            row
            for row in rows_of(cells.table)
            if (row["run"], row["frames"], row["backend"]) == ("fast", 4, "cudnn")
        ]
        for name in (
            "relative_speed",
            "frames_per_s_low",
            "peak_device_bytes",
            "relative_speed_interval",
            "device",
        ):
            assert found[name] == row[name], name
        assert found["reference"] == "slow:cuda"
        assert found["reference_cell"] == "basicvsr/random/b1/t4/64x64/cuda"


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("cpu", "Fast CPU"), ("cuda", "Tesla K80"), ("cuda:0", "Tesla K80"), ("cuda:1", "H200 (cuda:1)"),
        ("cuda:2", "no CUDA device 2"),
    ],
)  # fmt: skip
def test_a_device_is_called_what_the_environment_says(device: str, name: str) -> None:
    devices = [{"name": "Tesla K80"}, {"name": "H200"}]
    assert device_name({"cpu": "Fast CPU", "torch": {"devices": devices}}, device) == name


@pytest.mark.parametrize(
    ("environment", "cpu", "cuda"),
    [
        ({}, "CPU, unknown", "GPU, unknown"),
        ({"torch": {"devices": "two"}}, "CPU, unknown", "GPU, unknown"),
        ({"cpu": 7, "torch": {"devices": ["H200"]}}, "7", "GPU, unknown"),
        ({"torch": {"devices": []}}, "CPU, unknown", "no CUDA device"),
    ],
)
def test_a_device_of_an_environment_that_says_little(
    environment: dict[str, object], cpu: str, cuda: str
) -> None:
    assert (device_name(environment, "cpu"), device_name(environment, "cuda")) == (cpu, cuda)


def test_names_stay_text() -> None:
    hostile = "<b>|](javascript:alert(1)) *x*"
    runs = [side(hostile, synthetic.run((CUDA,), frames=(4,)), devices={"cuda": hostile}), *two()]
    found = Page(html(TEMPLATE, view_of(runs, cells_of(runs), folder=Path(), plots=()), title=hostile))
    assert found.dangers() == []
    assert hostile in found.texts["td"]
    text = page(runs)
    assert "<b>" not in text
    assert "](javascript" not in text.replace("\\]", "")
