"""Devices beside each other: rates, ratios to a reference, what does not compare, and their CSV."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.grid.baseline import Baseline
from bench.plotting.plot_devices import GROUPS, devices_figure
from bench.plotting.plots import save
from bench.records import CellRecord, Status
from bench.reporting.devices import DeviceRow, Devices, Reference, devices_of
from bench.reporting.devices_table import DEVICES_COLUMNS, devices_table
from bench.reporting.report_cells import cells_of
from bench.reporting.side_by_side_devices import devices_plots, devices_section
from bench.reporting.side_by_side_figures import Side
from bench.results.analysis import tables_of
from bench.results.devices import device_name
from bench.results.run_folder import to_csv
from tests.bench import synthetic
from vsr_model.errors import BadInput

DOCUMENT = Path(__file__).parents[2] / "docs" / "tables.md"

CUDA, CUDNN = synthetic.GPU[1:3]


def side(
    name: str,
    records: Sequence[CellRecord],
    *,
    baseline: str = "cuda",
    devices: Mapping[str, str] | None = None,
) -> Side:
    names = devices or {record.backend: f"GPU of {name}" for record in records}
    over = Baseline.of(baseline)
    return Side(name=name, baseline=over, cells=cells_of(tables_of(records, over)), devices=names)


def faster(times: float, machines: Sequence[synthetic.Machine] = (CUDA, CUDNN)) -> list[synthetic.Machine]:
    return [
        synthetic.Machine(**{**vars(machine), "per_frame_s": machine.per_frame_s / times})
        for machine in machines
    ]


def two(frames: Sequence[int] = (4,), **options: object) -> list[Side]:
    return [
        side("slow", synthetic.run((CUDA, CUDNN), frames=frames, **options)),  # type: ignore[arg-type]
        side("fast", synthetic.run(faster(2.0), frames=frames, **options)),  # type: ignore[arg-type]
    ]


def on_page(devices: Devices) -> dict[tuple[str, str], DeviceRow]:
    (place,) = devices.places
    return {(row.run, row.cell.backend): row for row in place.rows}


def median_s(row: DeviceRow) -> float:
    assert row.cell.figure is not None
    value: float = row.cell.figure["median_s"]
    return value


class TestRates:
    def test_of_all_clips_and_of_the_output(self) -> None:
        records = synthetic.run((CUDA,), frames=(5,), batch=3, sizes=((20, 30),))
        (row,) = devices_of([side("one", records)]).rows
        rate = row.frames_rate
        figure = row.cell.figure
        assert rate is not None
        assert figure is not None
        assert rate.per_s == 15 / figure["median_s"] == figure["frames_per_s"]
        assert (rate.low_per_s, rate.high_per_s) == (15 / figure["high_s"], 15 / figure["low_s"])
        assert row.output_megapixels_per_s == pytest.approx(rate.per_s * 80 * 120 / 1e6)


class TestRatio:
    def test_is_of_the_medians_above_one_where_faster(self) -> None:
        rows = on_page(devices_of(two(), "slow:cudnn"))
        base = rows["slow", "cudnn"]
        for key, row in rows.items():
            assert row.relative is not None
            assert row.relative.speed.ratio == median_s(base) / median_s(row)
            assert row.is_reference == (key == ("slow", "cudnn"))
        own = base.relative
        assert own is not None
        assert (own.speed.ratio, own.speed.low, own.speed.high) == (1.0, 1.0, 1.0)
        other = rows["fast", "cudnn"].relative
        assert other is not None
        assert 1.8 < other.speed.ratio < 2.2
        assert other.speed.low is not None
        assert other.speed.high is not None
        assert other.speed.low < other.speed.ratio < other.speed.high

    def test_within_one_process_is_marked_and_between_rounds_is_not(self) -> None:
        section = devices_section(devices_of(two(rounds=1)), "")
        assert section.count("†") == 3 + 1  # all but the reference, and what it means
        assert "within one process" in section
        section = devices_section(devices_of(two(rounds=6)), "")
        assert "†" not in section
        assert section.count(" … ") == 4 + 3

    def test_content_does_not_count_but_the_place_does(self) -> None:
        sides = [
            side("a", synthetic.run((CUDA,), frames=(4,), inputs=("noise",))),
            side("b", synthetic.run((CUDA,), frames=(4,), inputs=("clip",))),
            side("c", synthetic.run((CUDA,), frames=(4,), inputs=("noise",), sizes=((32, 48),))),
        ]
        devices = devices_of(sides)
        found = {row.run: row for row in devices.rows}
        assert found["b"].relative is not None
        assert found["b"].relative.cell == found["a"].cell.cell
        assert (found["c"].relative, found["c"].why_not) == (None, "no reference")
        assert [(place.height, place.width) for place in devices.places] == [(64, 64), (32, 48)]

    def test_networks_compare_with_themselves_alone(self) -> None:
        nets = (synthetic.BASICVSR, synthetic.MINE)
        sides = [
            side("slow", synthetic.run((CUDA,), nets=nets, frames=(4,)), baseline="basicvsr/cuda"),
            side("fast", synthetic.run(faster(2.0)[:1], nets=nets, frames=(4,))),
            side("other", synthetic.run((CUDA,), nets=(replace(nets[1], name="theirs"),), frames=(4,))),
        ]
        devices = devices_of(sides)
        assert devices.reference == Reference(run="slow", backend="cuda")
        rows = {(row.run, row.cell.model): row for row in devices.rows}
        for net in nets:
            relative = rows["fast", net.name].relative
            assert relative is not None
            assert relative.cell == rows["slow", net.name].cell.cell
            assert 1.8 < relative.speed.ratio < 2.2
        assert rows["other", "theirs"].why_not == "other network"
        section = devices_section(devices, "")
        assert "| network " in section
        (plot,) = devices_plots(devices)
        assert [bar.label for bar in plot.groups[0].bars] == ["cuda, basicvsr", "cuda, mine"]

    def test_networks_of_one_name_that_differ_in_parameters_do_not_compare(self) -> None:
        small = [
            record.model_copy(update={"parameters": 1000}) for record in synthetic.run((CUDA,), frames=(4,))
        ]
        devices = devices_of([*two(), side("small", small)])
        row = on_page(devices)["small", "cuda"]
        assert (row.relative, row.why_not) == (None, "other network")
        assert row.frames_rate is not None
        assert "other network" in devices_section(devices, "")

    def test_an_inaccurate_cell_keeps_its_rate_and_gets_no_ratio(self) -> None:
        records = [
            synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cudnn" else record
            for record in synthetic.run((CUDA, CUDNN), frames=(4,))
        ]
        row = on_page(devices_of([side("one", records)]))["one", "cudnn"]
        assert row.frames_rate is not None
        assert row.relative is None
        devices = devices_of([side("one", records)], "one:cudnn")
        assert on_page(devices)["one", "cuda"].why_not == "no reference"


class TestReference:
    @pytest.mark.parametrize(
        ("named", "run", "backend"),
        [(None, "slow", "cuda"), ("fast", "fast", "cuda"), ("fast:cudnn", "fast", "cudnn")],
    )
    def test_is_a_run_with_its_baseline_or_a_backend(self, named: str | None, run: str, backend: str) -> None:
        assert devices_of(two(), named).reference == Reference(run=run, backend=backend)

    def test_without_a_name_it_is_the_first_that_has_a_figure(self) -> None:
        failed = [synthetic.ended(record, Status.OOM, "x") for record in synthetic.run((CUDA,), frames=(4,))]
        devices = devices_of([side("first", failed), *two()])
        assert devices.reference == Reference(run="slow", backend="cuda")
        devices = devices_of([side("first", failed)])
        assert devices.reference is None
        assert "nothing to compare with" in devices_section(devices, "")
        assert devices_plots(devices) == []

    @pytest.mark.parametrize(
        ("named", "said"),
        [
            (
                "slwo",
                r"--reference slwo: is none of the runs; name slow, fast, or one of them with .* slow:cuda",
            ),
            ("slow:cpu", r"--reference slow:cpu: the run slow has no backend 'cpu'; it has cuda, cudnn"),
            ("", "--reference : is none of the runs"),
            (":cuda", "--reference :cuda: is none of the runs"),
        ],
    )
    def test_what_is_none_is_refused(self, named: str, said: str) -> None:
        with pytest.raises(BadInput, match=said):
            devices_of(two(), named)


class TestPlaces:
    def test_have_the_most_frames_that_all_have(self) -> None:
        sides = [
            side("a", synthetic.run((CUDA, CUDNN), frames=(1, 4, 9))),
            side("b", synthetic.run((CUDA,), frames=(1, 4, 7))),
        ]
        (place,) = devices_of(sides).places
        assert place.frames == 4
        assert [(row.run, row.cell.backend, row.cell.frames) for row in place.rows] == [
            ("a", "cuda", 4), ("a", "cudnn", 4), ("b", "cuda", 4),
        ]  # fmt: skip
        assert "4 is the greatest frame count that all of them have." in devices_section(
            devices_of(sides), ""
        )

    def test_without_a_common_one_each_row_says_its_own(self) -> None:
        sides = [
            side("a", synthetic.run((CUDA,), frames=(4, 7))),
            side("b", synthetic.run((CUDA,), frames=(4, 7))),
            side("c", synthetic.run((CUDA,), frames=(1, 60))),
        ]
        devices = devices_of(sides)
        (place,) = devices.places
        assert place.frames is None
        assert [row.cell.frames for row in place.rows] == [7, 7, 60]
        assert [row.why_not for row in place.rows] == ["", "", "no reference"]
        section = devices_section(devices, "")
        assert "No frame count is common to all" in section
        assert "| frames |" in section
        assert [bar.label for group in devices_plots(devices)[0].groups for bar in group.bars] == [
            "cuda, t=7", "cuda, t=7", "cuda, t=60",
        ]  # fmt: skip


class TestDeviceName:
    @pytest.mark.parametrize(
        ("device", "name"),
        [
            ("cpu", "Fast CPU"), ("cuda", "Tesla K80"), ("cuda:0", "Tesla K80"), ("cuda:1", "H200 (cuda:1)"),
            ("cuda:2", "no CUDA device 2"),
        ],
    )  # fmt: skip
    def test_is_what_the_environment_says(self, device: str, name: str) -> None:
        devices = [{"name": "Tesla K80"}, {"name": "H200"}]
        assert device_name({"cpu": "Fast CPU", "torch": {"devices": devices}}, device) == name

    @pytest.mark.parametrize(
        ("environment", "cpu", "cuda"),
        [
            ({}, "CPU, unknown", "GPU, unknown"),
            ({"torch": None}, "CPU, unknown", "GPU, unknown"),
            ({"torch": {"devices": "two"}}, "CPU, unknown", "GPU, unknown"),
            ({"cpu": 7, "torch": {"devices": ["H200"]}}, "7", "GPU, unknown"),
            ({"torch": {"devices": []}}, "CPU, unknown", "no CUDA device"),
        ],
    )
    def test_of_an_environment_that_says_little(
        self, environment: dict[str, object], cpu: str, cuda: str
    ) -> None:
        assert device_name(environment, "cpu") == cpu
        assert device_name(environment, "cuda") == cuda


class TestTable:
    def test_the_document_has_its_columns(self) -> None:
        section = DOCUMENT.read_text(encoding="utf-8").partition("\n### devices.csv\n")[2].partition("\n#")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == [*DEVICES_COLUMNS]

    def test_has_every_cell_of_every_run(self, tmp_path: Path) -> None:
        hostile = [
            record.model_copy(
                update={"cell": record.cell, "reason": "=1+1", "status": Status.ERROR, "samples": ()}
            )
            for record in synthetic.run((CUDA,), frames=(1,))
        ]
        sides = [*two(frames=(1, 4), rounds=3), side("+sum", hostile)]
        devices = devices_of(sides, "slow:cuda")
        (tmp_path / "devices.csv").write_text(to_csv(devices_table(devices)), encoding="utf-8")
        table = pd.read_csv(tmp_path / "devices.csv", keep_default_na=False, na_values=[""])
        assert list(table.columns) == [*DEVICES_COLUMNS]
        assert len(table) == 2 * 4 + 1
        assert list(table["run"])[-1] == "'+sum"
        assert list(table["reason"])[-1] == "'=1+1"
        assert math.isnan(list(table["frames_per_s"])[-1])
        fast = table[(table["run"] == "fast") & (table["frames"] == 4) & (table["backend"] == "cudnn")].iloc[
            0
        ]
        row = on_page(devices_of(two(frames=(1, 4), rounds=3), "slow:cuda"))["fast", "cudnn"]
        assert row.relative is not None
        assert row.frames_rate is not None
        assert fast["relative_speed"] == row.relative.speed.ratio
        assert fast["relative_speed_interval"] == "between_rounds_t"
        assert fast["frames_per_s_low"] == row.frames_rate.low_per_s
        assert fast["reference"] == "slow:cuda"
        assert fast["peak_device_bytes"] == row.cell.over_rounds("peak_device_bytes", max)
        assert fast["device"] == "GPU of fast"


class TestPlots:
    def test_a_bar_per_row_with_its_interval_and_the_reference_marked(self) -> None:
        devices = devices_of(two(), "slow:cudnn")
        (plot,) = devices_plots(devices)
        assert plot.stem == "devices"
        assert [group.title for group in plot.groups] == ["slow: GPU of slow", "fast: GPU of fast"]
        drawn = devices_figure(plot)
        (axes,) = drawn.axes
        rows = on_page(devices)
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == [row.frames_rate.per_s for row in rows.values() if row.frames_rate]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["cuda", "cudnn"] * 2
        colours = [bar.get_facecolor() for bar in axes.patches]
        assert colours[:2] == colours[2:]
        assert colours[0] != colours[1]
        (legend,) = drawn.legends
        assert [text.get_text() for text in legend.get_texts()] == ["reference: slow:cudnn"]
        assert [bar.said for group in plot.groups for bar in group.bars][1].endswith("reference")
        assert len(axes.containers) == 4 * 2  # a bar and its whisker each

    @pytest.mark.parametrize("scale", [1e-310, 1e300])
    def test_a_rate_that_no_clock_can_give_has_no_bar(self, scale: float) -> None:
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
        (plot,) = devices_plots(devices_of([*two(), side("made up", made_up)]))
        assert [bar.per_s is None for group in plot.groups for bar in group.bars] == [False] * 4 + [True] * 2
        assert len(devices_figure(plot).axes[0].patches) == 4
        assert devices_plots(devices_of([side("made up", made_up)])) == []
        assert not re.search(r"\d{20}", devices_section(devices_of([*two(), side("made up", made_up)]), ""))

    def test_a_gpu_that_is_not_there_is_named_and_has_no_bar(self) -> None:
        records = synthetic.run((synthetic.CPU, *synthetic.NO_CUDA), frames=(4,))
        names = {"cpu": "Fast CPU", "cuda": "no CUDA device", "cudnn": "no CUDA device"}
        devices = devices_of([*two(), side("desk", records, devices=names)])
        assert [row.cell.status for row in devices.places[0].rows].count(Status.SKIPPED) == 2
        (plot,) = devices_plots(devices)
        assert [group.title for group in plot.groups][2:] == ["desk: Fast CPU"]
        assert "Not shown: GPUs that are not there (desk)." in plot.notes
        assert devices_plots(devices_of([side("desk", records, devices=names)])) == []

    def test_many_devices_go_on_in_another_figure(self, tmp_path: Path) -> None:
        sides = [
            side(
                f"{number}-$x_{'n' * 90}\u202e街",
                synthetic.run(synthetic.LONG_NAMES, frames=(4,)),
                baseline="cpu",
            )
            for number in range(GROUPS + 1)
        ]
        plots = devices_plots(devices_of(sides))
        assert [plot.stem for plot in plots] == ["devices-1", "devices-2"]
        assert [len(plot.groups) for plot in plots] == [GROUPS, 1]
        for name in ("one", "two"):
            save(devices_figure(plots[1]), [tmp_path / name / "figure.svg"])
        drawn = [(tmp_path / name / "figure.svg").read_bytes() for name in ("one", "two")]
        assert drawn[0] == drawn[1]


def test_names_stay_text() -> None:
    hostile = "<b>|](javascript:alert(1)) *x*"
    sides = [
        side(hostile, synthetic.run((CUDA, CUDNN), frames=(4,)), devices={"cuda": hostile, "cudnn": hostile})
    ]
    section = devices_section(devices_of(sides), "")
    assert "<b>" not in section
    assert "](javascript" not in section.replace("\\]", "")
    assert section.count("&lt;b&gt;") == 1 + 2 * 2
