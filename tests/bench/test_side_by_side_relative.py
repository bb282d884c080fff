"""Curves of speed over one reference: whose they are, what they hold, and what is left out."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.grid.baseline import Baseline
from bench.plotting.plot_overlay import overlay_figure
from bench.records import CellRecord
from bench.reporting.devices import Devices, devices_of
from bench.reporting.report_cells import cells_of
from bench.reporting.side_by_side_figures import Side
from bench.reporting.side_by_side_relative import relative_overlays, relative_section
from bench.results.analysis import tables_of
from tests.bench import synthetic

CPU, CUDA, CUDNN = synthetic.GPU[:3]


def side(name: str, records: Sequence[CellRecord], baseline: str = "cuda") -> Side:
    over = Baseline.of(baseline)
    return Side(name=name, baseline=over, cells=cells_of(tables_of(records, over)))


def faster(times: float) -> tuple[synthetic.Machine, ...]:
    return tuple(replace(one, per_frame_s=one.per_frame_s / times) for one in (CUDA, CUDNN))


def two(frames: Sequence[int] = (1, 4), **options: object) -> list[Side]:
    return [
        side("slow", synthetic.run((CUDA, CUDNN), frames=frames, **options)),  # type: ignore[arg-type]
        side("fast", synthetic.run(faster(2.0), frames=frames, **options)),  # type: ignore[arg-type]
    ]


def values(devices: Devices) -> dict[tuple[str, str], list[tuple[int, float | None]]]:
    return {
        (row.run, row.cell.backend): [
            (other.cell.frames, None if other.relative is None else other.relative.speed.ratio)
            for other in devices.rows
            if (other.run, other.cell.backend) == (row.run, row.cell.backend)
        ]
        for row in devices.rows
    }


def test_every_run_has_its_curves_over_the_one_reference() -> None:
    devices = devices_of(two(), "fast:cudnn")
    ((stem, overlay),) = relative_overlays(devices)
    assert stem == "relative"
    assert [(overlay.runs[item.run], item.curve.backend) for item in overlay.curves] == [
        ("slow", "cuda"), ("fast", "cuda"), ("slow", "cudnn"),
    ]  # fmt: skip
    known = values(devices)
    for item in overlay.curves:
        drawn = [(point.frames, point.value) for point in item.curve.points]
        assert drawn == known[overlay.runs[item.run], item.curve.backend]
    last = overlay.curves[-1].curve.points
    assert [point.value for point in last] == pytest.approx([0.5, 0.5], rel=0.05)
    figure = overlay_figure(overlay)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "reference: fast:cudnn", "slow: cuda", "fast: cuda", "slow: cudnn",
    ]  # fmt: skip
    assert any("Speed relative to fast:cudnn: 64×64, batch 1" in text.get_text() for text in figure.texts)


def test_each_size_is_a_figure_whatever_its_input_is_called() -> None:
    sizes = ((64, 64), (32, 48))
    runs = [
        side("a", synthetic.run((CUDA,), frames=(1, 4), sizes=sizes, inputs=("noise",))),
        side("b", synthetic.run((CUDA,), frames=(1, 4), sizes=sizes, inputs=("clip", "film"))),
    ]
    found = relative_overlays(devices_of(runs))
    assert [stem for stem, _ in found] == ["relative-b1-64x64", "relative-b1-32x48"]
    for _, overlay in found:
        assert [(item.run, item.said) for item in overlay.curves] == [(1, ", clip"), (1, ", film")]


def test_without_a_ratio_there_is_no_figure_and_no_section() -> None:
    failed = devices_of([side("a", synthetic.all_failed()), side("b", synthetic.all_failed())])
    assert relative_overlays(failed) == []
    alone = devices_of([side("a", synthetic.run((CUDA,))), side("b", synthetic.all_failed())])
    assert relative_overlays(alone) == []
    assert relative_section(alone, "") == ""


def test_a_ratio_that_no_axis_holds_is_left_out() -> None:
    devices = devices_of([*two(), side("wild", synthetic.run(faster(1e14), frames=(1, 4)))])
    assert all(ratio is not None and ratio > 1e12 for _, ratio in values(devices)["wild", "cuda"])
    ((_, overlay),) = relative_overlays(devices)
    assert {item.run for item in overlay.curves} == {0, 1}
    overlay_figure(overlay)
