"""Several runs in one figure: what is drawn, told apart, and left out."""

from dataclasses import replace

import pytest

from bench.grid.baseline import Baseline
from bench.plotting.plot_overlay import DRAWN, OverlaidRun, overlay_figure, overlays
from bench.plotting.plot_style import MARKERS, marker
from bench.plotting.plots import place_names
from bench.results.analysis import tables_of
from tests.bench import synthetic
from tests.bench.synthetic import BASELINE


def overlaid(
    name: str, machines: tuple[synthetic.Machine, ...], baseline: str = "cpu", **options: object
) -> OverlaidRun:
    records = synthetic.run(machines, **options)  # type: ignore[arg-type]
    over = Baseline.of(baseline)
    return OverlaidRun(name=name, baseline=over, tables=tables_of(records, over))


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


def test_the_baseline_of_one_network_is_a_curve_of_the_others() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    found = overlays("speedup", [overlaid("a", synthetic.GPU[:2], "basicvsr/cpu", nets=nets, frames=(1, 4))])
    assert [(one.subject, [item.curve.backend for item in one.curves]) for one in found] == [
        ("basicvsr, random", ["cuda"]), ("mine, random", ["cpu", "cuda"]),
    ]  # fmt: skip
    (title, *_) = [text.get_text() for text in overlay_figure(found[1]).texts]
    assert title.startswith("Speedup over basicvsr/cpu: mine, random")


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
    failed = OverlaidRun(name="c", baseline=BASELINE, tables=tables_of(synthetic.all_failed(), BASELINE))
    assert overlays("time", [failed]) == []


class TestMoreCurvesThanAFigureHolds:
    @pytest.mark.parametrize("runs", [1, 4, 5, 9, 23])
    @pytest.mark.parametrize("kind", ["time", "speedup"])
    def test_every_curve_is_in_one_figure_and_none_holds_too_many(self, runs: int, kind: str) -> None:
        every = [overlaid(f"r{place}", synthetic.GPU[:3], frames=(1, 4)) for place in range(runs)]
        parts = overlays(kind, every)
        backends = synthetic.GPU[:3] if kind == "time" else synthetic.GPU[1:3]
        drawn = [(item.run, item.curve.backend) for part in parts for item in part.curves]
        assert sorted(drawn) == sorted((run, one.name) for run in range(runs) for one in backends)
        assert [(part.part, part.parts) for part in parts] == [
            (number + 1, len(parts)) for number in range(len(parts))
        ]
        for part in parts:
            assert len(part.curves) <= DRAWN
            looks = {marker(run) for run in {item.run for item in part.curves}}
            assert len(looks) == len({item.run for item in part.curves})
        fitting = DRAWN // len(backends)
        assert len(parts) == -(-runs // fitting)

    def test_runs_that_would_look_alike_are_apart(self) -> None:
        every = [overlaid(f"r{place}", synthetic.GPU[:1], frames=(1, 4)) for place in range(len(MARKERS) + 1)]
        assert [len(part.curves) for part in overlays("time", every)] == [len(MARKERS), 1]

    def test_the_parts_have_the_same_axes_and_say_which_they_are(self) -> None:
        slow = [replace(synthetic.CPU, per_frame_s=synthetic.CPU.per_frame_s * (1 + n)) for n in range(9)]
        runs = [overlaid(f"r{place}", (one,), frames=(1, 4 + place)) for place, one in enumerate(slow)]
        figures = [overlay_figure(part) for part in overlays("time", runs)]
        assert len(figures) == 2
        one, two = (figure.axes[0] for figure in figures)
        assert one.get_ylim() == two.get_ylim()
        assert one.get_xlim() == two.get_xlim()
        assert one.get_ylabel() == two.get_ylabel()
        for number, figure in enumerate(figures, start=1):
            assert any(f"({number} of 2)" in text.get_text() for text in figure.texts)
