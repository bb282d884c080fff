"""Figures: what they show, exactly; that files come out, the same each time; that no text overlaps."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex

from bench.figures import DRAWN_UNASKED, FIGURES
from bench.grid.baseline import Baseline
from bench.plotting.groups import PlotGroup, data, figure, place_names
from bench.plotting.plots import EmptyPlot, write_plots
from bench.plotting.style import plain, style, wrapped
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
        "cuda, cudnn (skipped: no CUDA device on this machine (torch was built without CUD…)",
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
    assert group.labels.not_shown == ("cuda at t=4 (oom: 12 GiB of 8)",)
    assert list(group.table[group.table["backend"] == "cuda"]["frames"]) == [1]
    # One frame count at which all four can be compared, and not the greatest, with three.
    assert set(only("stages", short).table["frames"]) == {1}


def test_without_its_baseline_a_speedup_is_named_as_missing(gpu: list[CellRecord]) -> None:
    lost = [
        synthetic.ended(r, Status.ERROR, "") if r.cell == "basicvsr/random/b1/t4/64x64/cpu" else r
        for r in gpu
    ]
    assert only("speedup", lost).labels.not_shown == (
        "cpu at t=4 (error)",
        "cuda at t=4, cudnn at t=4, cudnn_autotune at t=4 (the baseline was not measured there)",
    )


def test_stages_are_of_the_most_frames_and_keep_their_order(gpu: list[CellRecord]) -> None:
    table = only("stages", gpu).table
    assert set(table["frames"]) == {4}
    clocks = table.drop_duplicates("backend").set_index("backend")["clock"]
    assert dict(clocks) == {"cpu": "wall", **dict.fromkeys(("cuda", "cudnn", "cudnn_autotune"), "device")}
    for _, rows in table.groupby("backend"):
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
    assert place_names("stages", [*groups.values()]) == [f"stages-{net.name}_random-b1-64x64" for net in nets]

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


# Files.


def test_nothing_to_draw_gives_no_file_and_a_reason_each(tmp_path: Path) -> None:
    (tmp_path / "time.png").touch()  # of an earlier call
    tables = tables_of(synthetic.all_failed(), BASELINE)
    written = write_plots(tables, baseline=BASELINE, kinds=FIGURES, folder=tmp_path)
    assert written.files == ()
    assert written.empty == tuple(EmptyPlot(name=kind, reason="no cell ended ok") for kind in FIGURES)
    assert list(tmp_path.iterdir()) == []
    unmeasured = write_plots(tables_of([], BASELINE), baseline=BASELINE, kinds=FIGURES, folder=tmp_path)
    assert unmeasured.empty == tuple(EmptyPlot(name=kind, reason="there is no cell") for kind in FIGURES)
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
        "time-a_b-b1-16x24", "time-a_b-b1-16x24-2", "time-x-b1-16x24",
    ]  # fmt: skip


# Looks.


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(synthetic.run(synthetic.LONG_NAMES, frames=(1, 5)), id="long names"),
        pytest.param(synthetic.run(synthetic.LONG_NAMES[::3], frames=(1,), spread=0.5), id="one frame count"),
    ],
)
@pytest.mark.parametrize("kind", FIGURES)
def test_no_text_leaves_the_figure_or_covers_another(records: list[CellRecord], kind: str) -> None:
    drawn = figure(only(kind, records), baseline="cpu")
    with style():
        drawn.draw_without_rendering()
        placed = [(text.get_text(), text.get_window_extent()) for text in drawn.texts if text.get_text()]
        placed += [("legend", legend.get_window_extent()) for legend in drawn.legends]
        for axes in drawn.axes:
            if axes.get_title():
                placed.append((axes.get_title(), axes.title.get_window_extent()))
            if axes.get_xlabel():
                box = axes.get_tightbbox()
                assert box is not None
                placed.append((axes.get_xlabel(), box))
    for name, box in placed:
        assert drawn.bbox.x0 <= box.x0 <= box.x1 <= drawn.bbox.x1, name
        assert drawn.bbox.y0 <= box.y0 <= box.y1 <= drawn.bbox.y1, name
    for (name, box), (other, its) in combinations(placed, 2):
        assert not box.overlaps(its), (name, other)


def test_text_that_the_font_lacks_is_replaced_and_names_wrap_at_their_joints() -> None:
    assert plain("a\n街  b") == "a ? b"
    assert wrapped("cudnn_autotune-bfloat16", 15) == "cudnn_autotune-\nbfloat16"
    assert wrapped("one-two-three-four", 4, lines=2) == "one-\ntwo…"
