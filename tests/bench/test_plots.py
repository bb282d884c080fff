"""Figures: what they show, exactly; that files come out, the same each time; that no text overlaps."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex
from matplotlib.text import Text

from bench.figures import DRAWN_UNASKED, FIGURES
from bench.grid.baseline import Baseline
from bench.places import ROOT
from bench.plotting.axes import panels
from bench.plotting.curves import scale_of
from bench.plotting.groups import PlotGroup, data, figure, place_names
from bench.plotting.plots import EmptyPlot, write_plots
from bench.plotting.style import COLOURS, backend_places, plain, stage_looks, style, wrapped
from bench.records import CellRecord, Phase, Status
from bench.results.tables import Tables, tables_of
from tests.bench import rooflines, synthetic
from tests.bench.synthetic import BASELINE
from vsr_model.errors import BadInput


def only(kind: str, records: list[CellRecord]) -> PlotGroup:
    (group,) = data(kind, rooflines.tables(records))
    return group


@pytest.fixture(scope="module")
def quickstart() -> Tables:
    return tables_of(synthetic.run(), BASELINE)


@pytest.fixture(scope="module")
def gpu() -> list[CellRecord]:
    return synthetic.run(synthetic.GPU, frames=(1, 4), rounds=2)


def test_settings_of_the_users_own_neither_change_nor_break_figures(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("backend: nothing\nlines.linewidth: 20\n")
    code = (
        "import os, bench.plotting.sheet, matplotlib as m;"
        "assert m.rcParams['lines.linewidth'] == m.rcParamsDefault['lines.linewidth'];"
        "assert os.environ['MPLBACKEND'] == 'nothing'"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": "nothing", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


# What is shown.


def test_time_shows_the_medians_and_intervals_of_the_summary(quickstart: Tables) -> None:
    (group,) = data("time", quickstart)
    rows = quickstart.summary[(quickstart.summary["stage"] == "forward")].sort_values(["backend", "frames"])
    assert (
        group.table[["backend", "frames", "value", "low", "high", "interval"]].values.tolist()
        == rows[["backend", "frames", "median_s", "low_s", "high_s", "interval"]].values.tolist()
    )
    assert list(group.table["backend"].unique()) == ["cpu", "cpu-1-thread"]
    assert group.labels.backends == ("cpu", "cpu-1-thread", "cuda", "cudnn")
    assert group.labels.not_shown == (
        "cuda, cudnn (skipped: no CUDA device on this machine (torch was built without CUDA))",
    )


def test_speedup_leaves_out_what_is_the_baseline_everywhere(quickstart: Tables) -> None:
    (group,) = data("speedup", quickstart)
    assert set(group.table["backend"]) == {"cpu-1-thread"}
    found = quickstart.summary.set_index(["backend", "frames", "stage"])["speedup"]
    assert list(group.table["value"]) == [found["cpu-1-thread", t, "forward"] for t in (1, 4, 7, 10)]


@pytest.mark.parametrize("kind", FIGURES)
def test_an_inaccurate_cell_is_in_no_figure_and_is_named(gpu: list[CellRecord], kind: str) -> None:
    wrong = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cudnn" else record
        for record in gpu
    ]
    group = only(kind, wrong)
    assert set(group.table["backend"]) | {"cpu"} == {"cpu", "cuda", "cudnn_autotune"}
    assert group.labels.not_shown == ("cudnn (inaccurate: 12 dB)",)


def test_a_cell_that_failed_at_some_frame_counts_is_named_with_them(gpu: list[CellRecord]) -> None:
    short = [
        synthetic.ended(record, Status.OOM, "12 GiB\n of 8")
        if record.cell.endswith("t4/64x64/cuda")
        else record
        for record in gpu
    ]
    group = only("time", short)
    assert group.labels.not_shown == ("cuda at 4 frames (oom: 12 GiB of 8)",)
    assert list(group.table[group.table["backend"] == "cuda"]["frames"]) == [1]
    # One frame count at which all four can be compared, and not the greatest, with three.
    assert set(only("repetitions", short).table["frames"]) == {1}


def test_without_its_baseline_a_speedup_is_named_as_missing(gpu: list[CellRecord]) -> None:
    lost = [
        synthetic.ended(r, Status.ERROR, "") if r.cell == "basicvsr/random/b1/t4/64x64/cpu" else r
        for r in gpu
    ]
    assert only("speedup", lost).labels.not_shown == (
        "cpu at 4 frames (error)",
        "cuda, cudnn, cudnn_autotune at 4 frames (the baseline was not measured there)",
    )


def test_stages_keep_their_order_and_name_their_clock(gpu: list[CellRecord]) -> None:
    table = only("stages", gpu).table
    clocks = table.drop_duplicates("backend").set_index("backend")["clock"]
    assert dict(clocks) == {"cpu": "wall", **dict.fromkeys(("cuda", "cudnn", "cudnn_autotune"), "device")}
    for _, rows in table.groupby("cell"):
        assert dict(zip(rows["stage"], rows["share"], strict=True)) == pytest.approx(
            synthetic.BASICVSR.shares
        )


def test_networks_have_figures_of_their_own_and_their_stages_one_look() -> None:
    other = replace(synthetic.MINE, name="other", shares={"tail": 0.75, "mixing": 0.125, "other": 0.125})
    nets = (synthetic.BASICVSR, synthetic.MINE, other)
    records = synthetic.run(synthetic.GPU[:2], nets=nets, frames=(4,))
    tables = tables_of(records, Baseline(model="basicvsr", backend="cpu"))
    groups = {group.labels.model: group for group in data("stages", tables)}
    assert groups["mine"].labels.subject == "mine, random"
    assert place_names("stages", [*groups.values()]) == [f"stages-{net.name}_random" for net in nets]

    looks = {}
    for name, group in groups.items():
        pie = figure(group, baseline="basicvsr/cpu").axes[0]
        tints = [(to_hex(wedge.get_facecolor()), wedge.get_hatch()) for wedge in pie.patches]
        looks[name] = dict(zip(group.table["stage"].unique(), tints, strict=True))
    assert {name: list(of) for name, of in looks.items()} == {net.name: list(net.shares) for net in nets}
    assert looks["mine"]["alignment"] == looks["basicvsr"]["alignment"]
    assert looks["mine"]["tail"] == looks["other"]["tail"]
    assert len({*looks["mine"].values(), looks["other"]["mixing"]}) == 5
    # The baseline of one network is a point like any other among those of another.
    shown = {group.labels.model: [*group.table["label"]] for group in data("speedup", tables)}
    assert (shown["basicvsr"], shown["mine"]) == (["cuda"], ["cpu", "cuda"])


def test_repetitions_keep_every_call_with_its_phase(gpu: list[CellRecord]) -> None:
    table = only("repetitions", gpu).table
    record = next(r for r in gpu if r.backend == "cpu" and r.frames == 4)
    first = table[(table["backend"] == "cpu") & (table["round"] == 0)]
    samples = [s for s in record.samples if s.pass_ == "end_to_end" and s.stage == "forward"]
    assert first[["phase", "seconds"]].values.tolist() == [[s.phase, s.wall_s] for s in samples]
    assert list(first["call"]) == list(range(1, 11))
    assert first["phase"].iloc[0] == Phase.COLD


def test_memory_is_growth_on_the_host_and_level_on_the_device(gpu: list[CellRecord]) -> None:
    table = only("memory", gpu).table
    host, device = (table[table["backend"] == name] for name in ("cpu", "cudnn"))
    record = next(r for r in gpu if r.backend == "cudnn" and r.frames == 4)
    assert host["device_bytes"].isna().all()
    assert list(host[["elapsed_s", "host_growth_bytes"]].iloc[0]) == [0, 0]
    assert host["host_growth_bytes"].max() == record.host_growth_bytes
    own = device[device["round"] == record.round]
    assert list(own["device_bytes"]) == [point.device_bytes for point in record.memory]


def test_peaks_are_the_greatest_of_the_rounds(gpu: list[CellRecord]) -> None:
    table = only("peak_memory", gpu).table
    for row in table.to_dict("records"):
        rounds = [record for record in gpu if record.cell == row["cell"]]
        assert row["host_bytes"] == max(record.host_growth_bytes or 0 for record in rounds)
        on_device = [record.peak_device_bytes for record in rounds if record.peak_device_bytes]
        assert [row["device_bytes"]] == [max(on_device)] if on_device else pd.isna(row["device_bytes"])


# Along the axes of the grid.


SIZES = ((64, 64), (96, 96), (128, 128), (180, 320))


def swept(machines: Sequence[synthetic.Machine] = synthetic.GPU) -> list[CellRecord]:
    """Return four sizes, two batches and three frame counts."""
    return [
        record
        for batch in (1, 2)
        for record in synthetic.run(machines, frames=(1, 4, 15), sizes=SIZES, batch=batch)
    ]


def test_a_swept_grid_has_few_figures_with_a_panel_per_axis(tmp_path: Path) -> None:
    tables = rooflines.tables(swept())
    written = write_plots(tables, baseline=BASELINE, kinds=FIGURES, folder=tmp_path)
    assert len(written.images) == len(FIGURES) <= 10
    titles = {}
    for kind in ("time", "speedup", "stages", "peak_memory", "stage_memory"):
        (group,) = data(kind, tables)
        axes = figure(group, baseline="cpu").axes
        titles[kind] = [one.get_title() for one in axes if one.get_title()]
        assert {one.get_xlabel() for one in axes} - {""} == {"frames", "height × width", "batch"}
    assert set(map(tuple, titles.values())) == {
        (
            "against frames\nat 180×320, batch 2",
            "against pixels\nat 15 frames, batch 2",
            "against batch\nat 15 frames, 180×320",
        )
    }


def test_a_panel_holds_the_other_axes_where_most_cells_are_shown() -> None:
    failed = [
        synthetic.ended(record, Status.OOM, "")
        if record.batch == 2 and record.height > 100 and record.backend != "cpu"
        else record
        for record in swept()
    ]
    shown = {panel.axis.name: panel for panel in panels(only("time", failed).table)}
    assert {name: panel.held for name, panel in shown.items()} == {
        "frames": "180×320, batch 1", "size": "15 frames, batch 1", "batch": "15 frames, 96×96",
    }  # fmt: skip
    assert set(shown["batch"].rows["batch"]) == {1, 2}
    # Axes that vary together at no place in common have nothing to compare.
    apart = [record for record in swept() if (record.frames, record.height) in ((1, 64), (4, 96))]
    assert [panel.axis.name for panel in panels(only("time", apart).table)] == ["batch"]


def test_sizes_of_as_many_pixels_have_places_of_their_own() -> None:
    records = synthetic.run((synthetic.CPU,), frames=(4,), sizes=((64, 64), (64, 256), (128, 128)))
    (panel,) = panels(only("time", records).table)
    scale = scale_of(panel)
    assert scale.ticks == {0: "64×64", 1: "64×256", 2: "128×128"}
    spread = scale_of(panels(only("time", swept()).table)[1])
    assert spread.ticks == {64 * 64: "64×64", 96 * 96: "96×96", 128 * 128: "128×128", 180 * 320: "180×320"}


def test_a_single_shape_has_pies_and_several_have_shares_along_their_axes(gpu: list[CellRecord]) -> None:
    one = [record for record in gpu if record.frames == 4]
    pies = figure(only("stages", one), baseline="cpu").axes
    assert [axes.get_title() for axes in pies] == [*dict.fromkeys(record.backend for record in one), ""]
    shares = figure(only("stages", gpu), baseline="cpu").axes
    assert [{round(bar.get_height()) for bar in axes.patches} for axes in shares] == [{42, 44, 1, 12}] * 4


@pytest.mark.parametrize(("speed", "note"), [(0.5, "Nothing gained"), (1.004, "No certain gain"), (3.0, "")])
def test_a_speedup_figure_says_where_nothing_is_gained(speed: float, note: str) -> None:
    other = replace(synthetic.CPU, name="other", per_frame_s=synthetic.CPU.per_frame_s / speed)
    records = synthetic.run((synthetic.CPU, other), frames=(4,), repetitions=60)
    notes = " ".join(text.get_text() for text in figure(only("speedup", records), baseline="cpu").texts)
    assert (note in notes) if note else ("gain" not in notes)


@pytest.mark.parametrize(("frames", "scale"), [((1, 10), "linear"), ((10, 1000), "log")])
def test_times_of_very_different_lengths_have_a_logarithmic_axis(frames: tuple[int, ...], scale: str) -> None:
    (axes,) = figure(only("time", synthetic.run((synthetic.CPU,), frames=frames)), baseline="cpu").axes
    assert axes.get_xscale() == axes.get_yscale() == scale
    assert [round(tick) for tick in sorted(axes.get_xticks())] == list(frames)


def test_memory_of_stages_is_the_peak_on_a_device_and_growth_on_the_host(gpu: list[CellRecord]) -> None:
    table = only("stage_memory", gpu).table.set_index(["backend", "frames", "stage"])
    record = next(one for one in gpu if one.backend == "cudnn" and one.frames == 4)
    for stage, memory in record.stage_memory.items():
        found = table.loc[("cudnn", 4, stage)]
        assert (found["place"], found["size_bytes"]) == ("device", memory.peak_device_bytes)
        assert found["traced_bytes"] == record.costs[stage].peak_bytes
    assert set(table.loc["cpu"]["place"]) == {"host"}


def test_backends_and_stages_have_colours_of_their_own_that_stay() -> None:
    own = ("cpu", "cpu-1-thread", "cpu-bf16")
    found = backend_places(own)
    assert found == {"cpu": 0, "cpu-1-thread": 4, "cpu-bf16": 5}
    assert backend_places(("CPU", *own, "cuDNN"))["CPU"] == found["cpu"]
    assert backend_places(("cuDNN",))["cuDNN"] == backend_places(("cudnn", "cuda"))["cudnn"]
    many = backend_places(tuple(f"b{number}" for number in range(20)))
    assert sorted(many.values()) == list(range(20))
    stages = stage_looks([*synthetic.BASICVSR.shares, *"abcdef"]).values()
    assert len({tint for tint, _ in stages}) == len(stages)
    assert not {tint for tint, _ in stages} & {*COLOURS}


def test_labels_of_a_pie_lie_in_or_beside_their_wedges() -> None:
    net = replace(
        synthetic.BASICVSR,
        shares={
            "alignment": 0.9,
            "propagation": 0.03,
            "aggregation": 0.004,
            "upsampling": 0.056,
            "other": 0.01,
        },
    )
    group = only("stages", synthetic.run((synthetic.CPU,), nets=(net,), frames=(4,)))
    drawn = figure(group, baseline="cpu")
    with style():
        drawn.draw_without_rendering()
    labels = [text for text in drawn.axes[0].texts if text.get_text().endswith("%")]
    assert [text.get_text() for text in labels] == ["90 %", "3 %", "0.4 %", "6 %", "1.0 %"]
    for one, other in combinations([Text.get_window_extent(text) for text in labels], 2):
        assert not one.overlaps(other)


# Files.


def test_nothing_to_draw_gives_no_file_and_a_reason_each(tmp_path: Path) -> None:
    for name in ("time.png", "time-noise-b1-64x64.svg", "long_clips.png"):  # of an earlier call or version
        (tmp_path / name).touch()
    tables = tables_of(synthetic.all_failed(), BASELINE)
    written = write_plots(tables, baseline=BASELINE, kinds=FIGURES, folder=tmp_path)
    assert written.files == ()
    assert written.empty == tuple(EmptyPlot(name=kind, reason="no cell ended ok") for kind in FIGURES)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.png").touch()
    unmeasured = write_plots(tables_of([], BASELINE), baseline=BASELINE, kinds=FIGURES, folder=tmp_path)
    assert unmeasured.empty == tuple(EmptyPlot(name=kind, reason="there is no cell") for kind in FIGURES)
    assert (tmp_path / "mine.png").exists()
    with pytest.raises(BadInput, match="no plot is called 'pie'; there are time, speedup"):
        data("pie", tables)


def test_a_pass_that_was_off_and_a_baseline_alone_say_so() -> None:
    bare = [
        record.model_copy(
            update={"memory": (), "samples": tuple(s for s in record.samples if s.pass_ == "end_to_end")}
        )
        for record in synthetic.run((synthetic.CPU,), frames=(1,))
    ]
    reasons = {kind: only(kind, bare).empty for kind in ("speedup", "stages", "memory")}
    assert reasons == {
        "speedup": "only the baseline itself has a speedup",
        "stages": "no stage pass",
        "memory": "no memory pass",
    }
    with pytest.raises(ValueError, match="no stage pass"):
        figure(only("stages", bare), baseline="cpu")


def test_files_are_the_same_each_time_and_matplotlib_is_left_as_it_was(
    gpu: list[CellRecord], tmp_path: Path
) -> None:
    before = rcParams.copy()
    first, again = (
        write_plots(rooflines.tables(gpu), baseline=BASELINE, kinds=FIGURES, folder=tmp_path / name)
        for name in ("a", "b")
    )
    assert [path.name for path in first.images] == [f"{kind}.png" for kind in FIGURES]
    assert {*(tmp_path / "a").iterdir()} == {*first.files}
    for one, other in zip(first.files, again.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert rcParams.copy() == before
    assert {*DRAWN_UNASKED} < FIGURES.keys()


def test_several_groups_are_called_by_their_place() -> None:
    records = synthetic.run((synthetic.CPU,), frames=(4,), inputs=("a/b", "a b", "$x_ 街"), sizes=((16, 24),))
    assert place_names("time", data("time", tables_of(records, BASELINE))) == [
        "time-a_b", "time-a_b-2", "time-x",
    ]  # fmt: skip


# Looks.


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(synthetic.run(synthetic.LONG_NAMES, frames=(1, 5)), id="long names"),
        pytest.param(synthetic.run(synthetic.LONG_NAMES[::3], frames=(1,), spread=0.5), id="one frame count"),
        pytest.param(swept(synthetic.LONG_NAMES), id="swept"),
    ],
)
@pytest.mark.parametrize("kind", FIGURES)
def test_no_text_leaves_the_figure_or_covers_another(records: list[CellRecord], kind: str) -> None:
    group = only(kind, records)
    if group.empty:
        pytest.skip(group.empty)
    drawn = figure(group, baseline="cpu")
    with style():
        drawn.draw_without_rendering()
        placed = [(text.get_text(), text.get_window_extent()) for text in drawn.texts if text.get_text()]
        placed += [("legend", legend.get_window_extent()) for legend in drawn.legends]
        for axes in drawn.axes:
            if axes.get_xlabel():
                box = axes.get_tightbbox()
                assert box is not None
                placed.append((axes.get_xlabel(), box))
            elif axes.get_title():
                placed.append((axes.get_title(), axes.title.get_window_extent()))
    for name, box in placed:
        assert drawn.bbox.x0 <= box.x0 <= box.x1 <= drawn.bbox.x1, name
        assert drawn.bbox.y0 <= box.y0 <= box.y1 <= drawn.bbox.y1, name
    for (name, box), (other, its) in combinations(placed, 2):
        assert not box.overlaps(its), (name, other)


def test_text_that_the_font_lacks_is_replaced_and_names_wrap_at_their_joints() -> None:
    assert plain("a\n街  b") == "a ? b"
    assert wrapped("cudnn_autotune-bfloat16", 15) == "cudnn_autotune-\nbfloat16"
    assert wrapped("one-two-three-four", 4, lines=2) == "one-\ntwo…"
