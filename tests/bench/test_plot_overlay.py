"""Several runs in one figure: what is drawn, told apart, and left out."""

from pathlib import Path

import pytest

from bench.plotting.plot_overlay import OverlaidRun, overlay_figure, overlays
from bench.plotting.plots import place_names, save
from bench.records import Status
from bench.results.analysis import tables_of
from tests.bench import synthetic


def overlaid(
    name: str, machines: tuple[synthetic.Machine, ...], baseline: str = "cpu", **options: object
) -> OverlaidRun:
    records = synthetic.run(machines, **options)  # type: ignore[arg-type]
    return OverlaidRun(name=name, baseline=baseline, tables=tables_of(records, baseline))


def test_a_curve_per_run_and_backend_as_the_summaries_have_them() -> None:
    runs = [
        overlaid("a", synthetic.GPU[:2], frames=(1, 4)),
        overlaid("b", synthetic.GPU[1:3], "cudnn", frames=(4, 7)),
    ]
    (time,) = overlays("time", runs)
    assert [(item.run, item.curve.backend) for item in time.curves] == [
        (0, "cpu"), (0, "cuda"), (1, "cuda"), (1, "cudnn"),
    ]  # fmt: skip
    assert time.frames == (1, 4, 7)
    assert time.backends == ("cpu", "cuda", "cudnn")
    summary = runs[1].tables.summary
    rows = summary[(summary["stage"] == "forward") & (summary["backend"] == "cuda")]
    assert [(p.frames, p.value, p.low, p.high) for p in time.curves[2].curve.points] == [
        *rows[["frames", "median_s", "low_s", "high_s"]].itertuples(index=False, name=None)
    ]
    (speedup,) = overlays("speedup", runs)
    assert [(item.run, item.curve.backend) for item in speedup.curves] == [(0, "cuda"), (1, "cuda")]
    assert speedup.baselines == ("cpu", "cudnn")


def test_a_backend_has_one_colour_and_a_run_one_line() -> None:
    runs = [overlaid(name, synthetic.GPU[:2], frames=(1, 4)) for name in ("a", "b")]
    (time,) = overlays("time", runs)
    drawn = overlay_figure(time)
    lines = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn.axes[0].lines]
    cpu_a, cpu_b, cuda_a, cuda_b = lines
    assert cpu_a[0] == cpu_b[0] != cuda_a[0] == cuda_b[0]
    assert cpu_a[1:] == cuda_a[1:] != cpu_b[1:] == cuda_b[1:]
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a: cpu", "b: cpu", "a: cuda", "b: cuda"]
    assert drawn.axes[0].get_yscale() == "log"  # the backends are far apart
    figure = overlay_figure(overlays("speedup", runs)[0])
    assert any("Speedup over cpu: random, 64×64, batch 1" in text.get_text() for text in figure.texts)


def test_one_frame_count_is_a_row_each() -> None:
    runs = [overlaid("a", synthetic.GPU[:2], frames=(4,)), overlaid("b", (synthetic.CPU,), frames=(4,))]
    (time,) = overlays("time", runs)
    axes = overlay_figure(time).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a: cpu", "b: cpu", "a: cuda"]
    assert len(axes.texts) == 3


def test_places_are_figures_of_their_own_and_empty_ones_none() -> None:
    runs = [
        overlaid("a", (synthetic.CPU,), inputs=("noise", "clip"), frames=(1, 2)),
        overlaid("b", (synthetic.CPU,), sizes=((32, 48),), inputs=("noise",), frames=(1, 2)),
    ]
    found = overlays("time", runs)
    assert place_names("time", found) == ["time-noise-b1-64x64", "time-clip-b1-64x64", "time-noise-b1-32x48"]
    assert overlays("speedup", runs) == []
    failed = OverlaidRun(name="c", baseline="cpu", tables=tables_of(synthetic.all_failed(), "cpu"))
    assert overlays("time", [failed]) == []


def test_what_did_not_end_ok_is_not_drawn() -> None:
    records = synthetic.run(synthetic.GPU[:2], frames=(1, 4))
    wrong = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cuda" else record
        for record in records
    ]
    (time,) = overlays("time", [OverlaidRun(name="a", baseline="cpu", tables=tables_of(wrong, "cpu"))])
    assert [item.curve.backend for item in time.curves] == ["cpu"]


@pytest.mark.parametrize("kind", ["time", "speedup"])
def test_many_runs_with_long_names_are_the_same_file_each_time(tmp_path: Path, kind: str) -> None:
    runs = [
        overlaid(f"{name}$_\u202e街", synthetic.LONG_NAMES, frames=(1, 4))
        for name in ("a" * 80, "_b", "c-" * 30)
    ]
    for name in ("one", "two"):
        (overlay,) = overlays(kind, runs)
        save(overlay_figure(overlay), [tmp_path / name / "figure.svg"])
    assert (tmp_path / "one" / "figure.svg").read_bytes() == (tmp_path / "two" / "figure.svg").read_bytes()
