"""The paper's figures and tables: what they show, exactly; no text overlaps; the same bytes each time."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from subprocess import run as run_process
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from bench.paper.editions import (
    CORRECTED,
    FAITHFUL,
    PAPER,
    PAPER_NAMES,
    Edition,
    Memory,
    Role,
    StageTiming,
    Timing,
)
from bench.paper.experiments import EXPERIMENTS
from bench.paper.figure_tables import TABLES, PaperTable, markdown, tables_of
from bench.paper.figures import FIGURES, figure
from bench.plotting.plot_style import style
from bench.plotting.plots import save
from bench.records import MemoryLine, Status
from bench.statistics.stats import IntervalKind

MIB = 1024**2
NO_CUDA = "no CUDA device"
FAITHFUL_NAMES = dict(PAPER_NAMES)
CORRECTED_NAMES = {role: str(role) for role in Role}

PAPER_S = {Role.CPU: 0.2, Role.CUDNN: 0.07, Role.CUDNN_AUTOTUNE: 0.06}  # per frame


def timing(role: Role, backend: str, frames: int, *rounds: Sequence[float], **more: Any) -> Timing:
    middle = median(value for calls in rounds for value in calls)
    every = tuple(map(tuple, rounds))
    given: dict[str, Any] = {"rounds": every, "steady": every, "median_s": middle, **more}
    return Timing(
        role=role,
        backend=backend,
        frames=frames,
        height=64,
        width=64,
        **{"status": Status.OK, "reason": "", **given},
    )


def edition(
    name: str,
    names: Mapping[Role, str],
    per_frame_s: Mapping[Role, float],
    *,
    counts: Sequence[int] = (1, 4, 7),
    frames: int = 30,
    processes: int = 1,
    interval: bool = False,
    synchronised: bool | None = True,
    **more: Any,
) -> Edition:
    """Made up: a call takes its frames, the first a second more; roles without a speed were skipped."""

    def timings(lengths: Sequence[int], calls: int) -> tuple[Timing, ...]:
        made: list[Timing] = []
        for role, backend in names.items():
            for t in lengths:
                if role not in per_frame_s:
                    made.append(
                        replace(
                            timing(role, backend, t, [1.0]),
                            status=Status.SKIPPED,
                            reason=NO_CUDA,
                            rounds=(),
                            median_s=None,
                        )
                    )
                    continue
                value = per_frame_s[role] * t
                speedup = per_frame_s[Role.CPU] / per_frame_s[role]
                its = [value + 1.0, *[value] * (calls - 1)] if calls > 1 else [value]
                bounds: dict[str, Any] = {}
                if interval:
                    bounds = {
                        "low_s": value * 0.9,
                        "high_s": value * 1.1,
                        "interval": IntervalKind.BETWEEN_ROUNDS_T,
                        "speedup_low": speedup * 0.9,
                        "speedup_high": speedup * 1.1,
                    }
                made.append(
                    timing(
                        role,
                        backend,
                        t,
                        *[its] * processes,
                        median_s=value,
                        speedup=speedup,
                        synchronised=synchronised,
                        **bounds,
                    )
                )
        return tuple(made)

    def whether(role: Role) -> tuple[Status, str]:
        return (Status.OK, "") if role in per_frame_s else (Status.SKIPPED, NO_CUDA)

    def memory(role: Role, backend: str) -> Memory:
        status, reason = whether(role)
        given: dict[str, Any] = {}
        if status is Status.OK:
            length = per_frame_s[role] * frames
            given = {
                "elapsed_s": (0.0, length / 2, length),
                "host_bytes": (400 * MIB, 500 * MIB, 600 * MIB),
                "before_bytes": 400 * MIB,
                "peak_bytes": 600 * MIB,
                "gradients": name != CORRECTED,
            }
        return Memory(
            role=role,
            backend=backend,
            frames=frames,
            height=64,
            width=64,
            status=status,
            reason=reason,
            **given,
        )

    def stages(role: Role, backend: str) -> StageTiming:
        status, reason = whether(role)
        whole = per_frame_s.get(role, 0.0) * frames
        shares = {"alignment": 0.25, "propagation": 0.5, "aggregation": 0.05, "upsampling": 0.2}
        seconds = {stage: (whole * share * 0.9, whole * share * 1.1) for stage, share in shares.items()}
        return StageTiming(
            role=role,
            backend=backend,
            frames=frames,
            height=64,
            width=64,
            status=status,
            reason=reason,
            seconds=seconds if whole else {},
            low_s={},
            high_s={},
            pass_="stage_sync" if synchronised else "stage_launch",
        )

    given = {
        "headline": timings((60,), 1),
        "repetitions": timings((frames,), 10),
        "frames": timings(counts, 1),
        "memory": tuple(memory(role, backend) for role, backend in names.items()),
        "stages": tuple(stages(role, backend) for role, backend in names.items()),
    }
    return Edition(name=name, **{"machine": f"machine of {name}", **given, **more})


PAPERS = edition(PAPER, CORRECTED_NAMES | {Role.CUDA: "none"}, PAPER_S, synchronised=False)
WITHOUT_CUDA: Mapping[str, Any] = {
    experiment: tuple(cell for cell in getattr(PAPERS, experiment) if cell.role is not Role.CUDA)
    for experiment in EXPERIMENTS
}
PAPERS = replace(PAPERS, **WITHOUT_CUDA)
CPU_ONLY = {
    PAPER: PAPERS,
    FAITHFUL: edition(
        FAITHFUL, FAITHFUL_NAMES, {Role.CPU: 1.0}, frames=4, version="quick", synchronised=False
    ),
    CORRECTED: edition(CORRECTED, CORRECTED_NAMES, {Role.CPU: 0.9}, interval=True, processes=3),
}
FAST = {Role.CPU: 0.1, Role.CUDA: 0.002, Role.CUDNN: 0.0015, Role.CUDNN_AUTOTUNE: 0.001}
GPU = {
    PAPER: PAPERS,
    FAITHFUL: edition(
        FAITHFUL,
        FAITHFUL_NAMES,
        {role: FAST[role] / 2 for role in FAITHFUL_NAMES},
        synchronised=False,
    ),
    CORRECTED: edition(CORRECTED, CORRECTED_NAMES, FAST, interval=True, processes=3),
}
ODD_NAMES = {role: f"_$a_{role}$ {'very-' * 6}long_name" for role in Role}
ODD = {
    PAPER: PAPERS,
    CORRECTED: edition(
        CORRECTED,
        ODD_NAMES,
        {role: value / 1e4 for role, value in FAST.items()} | {Role.CPU: 5.0},
        counts=(1,),
        frames=1,
        machine="A processor with " + "a long name and " * 12,
    ),
}


def drawn(key: str, editions: Mapping[str, Edition]) -> Figure:
    made = figure(key, editions)
    assert made is not None
    return made


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """The data of the panel's lines; the line at 1 is none, nor is a line of the paper's."""
    return [
        (list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata())))
        for line in axes.get_lines()
        if line.get_linestyle() == "-" and line.get_color() != "black"
    ]


def theirs(axes: Axes) -> list[tuple[list[float], list[float]]]:
    return [
        (list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata())))
        for line in axes.get_lines()
        if line.get_linestyle() == "--"
    ]


def said(made: Figure) -> list[str]:
    """The figure's notes, each in one line."""
    notes = made.texts[1].get_text().replace("\n", " ")
    return [f"{note}." for note in notes.removesuffix(".").split(". ")]


def headings(made: Figure) -> list[str]:
    return [axes.get_title(loc="left").replace("\n", " ") for axes in made.axes]


def legend(made: Figure) -> list[str]:
    return [text.get_text() for box in made.legends for text in box.get_texts()]


def near(values: Sequence[float]) -> Any:
    return pytest.approx(list(values))


def test_figure_14_has_a_line_per_method_and_the_papers_behind_this_machines() -> None:
    made = drawn("14", CPU_ONLY)
    paper, faithful, corrected = made.axes
    calls = list(range(1, 11))
    papers = [(calls, near([s * 30 + 1.0, *[s * 30] * 9])) for s in PAPER_S.values()]
    assert lines(paper) == papers
    assert theirs(paper) == []
    assert lines(faithful) == [(calls, near([5.0, *[4.0] * 9]))]
    assert theirs(faithful) == papers
    assert lines(corrected) == [(calls, near([28.0, *[27.0] * 9]))] * 3
    assert headings(made) == [
        "Paper, t=30, 64×64: machine of paper",
        "Faithful, this machine (quick version), t=4, 64×64: machine of faithful",
        "Corrected, this machine, t=30, 64×64: machine of corrected",
    ]
    assert legend(made) == ["CPU", "CUDA", "cuDNN", "the paper's, for comparison"]
    assert said(made) == [
        "A line per process (up to 3).",
        "What the paper calls CUDA is cuDNN by its heuristics, and its cuDNN is cuDNN autotuned.",
        "The clips differ: paper t=30, 64×64; faithful (quick) t=4, 64×64; corrected t=30, 64×64.",
        "GPU times read without waiting for the GPU: paper.",
        f"Not shown of faithful (quick): CUDA, cuDNN (skipped: {NO_CUDA}).",
        f"Not shown of corrected: cuda, cudnn, cudnn_autotune (skipped: {NO_CUDA}).",
    ]


def test_figure_14_shows_as_many_calls_as_the_paper_and_says_so() -> None:
    many = replace(
        CPU_ONLY[CORRECTED], repetitions=(timing(Role.CPU, "cpu", 30, [float(n) for n in range(1, 26)]),)
    )
    made = drawn("14", {CORRECTED: many})
    assert lines(made.axes[0]) == [(list(range(1, 11)), [float(n) for n in range(1, 11)])]
    assert said(made) == ["The first 10 calls of each process of more: corrected."]


def test_figure_15_shows_medians_with_their_bands() -> None:
    paper, _, corrected = drawn("15", CPU_ONLY).axes
    assert lines(paper) == [([1, 4, 7], near([s, 4 * s, 7 * s])) for s in PAPER_S.values()]
    assert lines(corrected) == [([1, 4, 7], near([0.9, 3.6, 6.3]))]
    (band,) = [its for its in corrected.collections if type(its).__name__ == "FillBetweenPolyCollection"]
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in np.asarray(band.get_paths()[0].vertices)}
    assert corners == {(1, 0.81), (1, 0.99), (4, 3.24), (4, 3.96), (7, 5.67), (7, 6.93)}
    assert [axes.get_ylabel() for axes in (paper, corrected)] == ["time (s)", "time (s), log scale"]


def test_the_papers_own_panel_is_linear_and_one_odd_point_makes_no_axis_logarithmic() -> None:
    odd = replace(PAPERS, frames=(*PAPERS.frames[:-3], timing(Role.CUDNN_AUTOTUNE, "x", 1, [0.0001])))
    close = edition(CORRECTED, CORRECTED_NAMES, {Role.CPU: 0.2})
    paper, own = drawn("15", {PAPER: odd, CORRECTED: close}).axes
    assert [axes.get_yscale() for axes in (paper, own)] == ["linear", "linear"]
    far = edition(CORRECTED, CORRECTED_NAMES, {Role.CPU: 200.0})
    paper, own = drawn("15", {PAPER: odd, CORRECTED: far}).axes
    assert [axes.get_yscale() for axes in (paper, own)] == ["linear", "log"]


def test_the_papers_series_go_no_further_than_this_machines_where_those_are_short() -> None:
    long = edition(PAPER, FAITHFUL_NAMES, PAPER_S, counts=range(1, 62, 3))
    short = edition(CORRECTED, CORRECTED_NAMES, {Role.CPU: 0.3}, counts=(1, 4))
    _, own = drawn("15", {PAPER: long, CORRECTED: short}).axes
    assert [x for x, _ in theirs(own)] == [[1, 4]] * 3
    half = edition(CORRECTED, CORRECTED_NAMES, {Role.CPU: 0.3}, counts=(1, 31))
    _, own = drawn("15", {PAPER: long, CORRECTED: half}).axes
    assert [len(x) for x, _ in theirs(own)] == [21] * 3


def test_figure_16_has_every_gpu_backend_and_no_cpu() -> None:
    made = drawn("16", GPU)
    paper, faithful, corrected = made.axes
    assert lines(paper) == [([1, 4, 7], near([ratio] * 3)) for ratio in (0.2 / 0.07, 0.2 / 0.06)]
    assert [y[0] for _, y in lines(faithful)] == near([0.1 / 0.0015, 100])
    assert [y[0] for _, y in lines(corrected)] == near([50, 0.1 / 0.0015, 100])
    assert all(any(line.get_color() == "black" for line in axes.get_lines()) for axes in made.axes)
    assert legend(made) == [
        "not in the paper (corrected: cuda)",
        "CUDA (corrected: cudnn)",
        "cuDNN (corrected: cudnn_autotune)",
        "the paper's, for comparison",
    ]
    assert said(made)[-1] == "GPU times read without waiting for the GPU: paper, faithful."


def test_without_a_gpu_figure_16_is_the_papers_and_says_why() -> None:
    made = drawn("16", CPU_ONLY)
    assert headings(made) == ["Paper, 64×64: machine of paper"]
    assert said(made)[-2:] == [
        f"Not shown of faithful (quick): CUDA, cuDNN (skipped: {NO_CUDA}).",
        f"Not shown of corrected: cuda, cudnn, cudnn_autotune (skipped: {NO_CUDA}).",
    ]


def test_figure_17_is_in_mib_with_calls_of_unlike_length_apart() -> None:
    made = drawn("17", GPU)
    assert [heading.split(":")[0] for heading in headings(made)] == [
        "Paper, t=30, 64×64",
        "CPU. Faithful, this machine, t=30, 64×64",
        "CUDA, cuDNN. Faithful, this machine, t=30, 64×64",
        "cpu. Corrected, this machine, t=30, 64×64",
        "cuda, cudnn, cudnn_autotune. Corrected, this machine, t=30, 64×64",
    ]
    assert lines(made.axes[3]) == [(near([0, 1.5, 3.0]), [400, 500, 600])]
    assert [len(theirs(axes)) for axes in made.axes] == [0, 3, 0, 3, 0]
    assert {axes.get_yscale() for axes in made.axes} == {"linear"}
    assert said(made)[:2] == [
        "The paper's trace is 6.0 s long and left out beside faithful's of CUDA, cuDNN, 22 ms.",
        "The paper's trace is 6.0 s long and left out beside corrected's of cuda, cudnn, cudnn_autotune,"
        " 60 ms.",
    ]


def test_no_memory_points_are_named_as_missing() -> None:
    bare = replace(
        CPU_ONLY[CORRECTED],
        memory=(
            Memory(role=Role.CPU, backend="cpu", frames=1, height=64, width=64, status=Status.OK, reason=""),
        ),
    )
    assert figure("17", {CORRECTED: bare}) is None
    made = drawn("17", {PAPER: PAPERS, CORRECTED: bare})
    assert said(made)[-1] == "Not shown of corrected: cpu (no memory over time)."


def test_figure_19_has_a_pie_per_method_of_the_stages_means() -> None:
    made = drawn("19", GPU)
    pies = [axes for axes in made.axes if axes.patches]
    assert [axes.get_title() for axes in pies] == [
        "CPU\n6.00 s", "CUDA\n2.10 s", "cuDNN\n1.80 s",
        "CPU\n1.50 s", "CUDA\n22.5 ms", "cuDNN\n15.0 ms",
        "cpu\n3.00 s", "cuda\n60.0 ms", "cudnn\n45.0 ms", "cudnn_autotune\n30.0 ms",
    ]  # fmt: skip
    for axes in pies:
        spans = [patch.theta2 - patch.theta1 for patch in axes.patches if isinstance(patch, Wedge)]
        assert [abs(span) / 360 for span in spans] == pytest.approx([0.25, 0.5, 0.05, 0.2, 0], abs=1e-6)
        shares = [text.get_text() for text in axes.texts if "%" in text.get_text()]
        assert shares == ["25 %", "50 %", "5 %", "20 %"]
    beside = [text.get_text() for text in made.texts[2:]]
    assert beside.count("cuDNN off:\nnot measured") == 2
    assert legend(made) == ["alignment", "propagation", "aggregation", "upsampling"]


def test_what_the_stages_do_not_cover_is_never_less_than_nothing() -> None:
    (cell, *_) = CPU_ONLY[CORRECTED].stages
    odd = replace(cell, seconds={"alignment": (1.0,), "propagation": (3.0,), "other": (-0.01,)})
    made = drawn("19", {CORRECTED: replace(CPU_ONLY[CORRECTED], stages=(odd,))})
    shares = [text.get_text() for text in made.axes[0].texts if text.get_text()]
    assert shares == ["25 %", "75 %"]
    assert "other" not in legend(made)


def test_the_headline_has_seconds_ratios_and_the_papers_marks() -> None:
    made = drawn("headline", CPU_ONLY)
    paper, faithful, corrected = made.axes
    assert [text.get_text() for text in paper.texts] == ["12.0 s (1.00×)", "4.20 s (2.86×)", "3.60 s (3.33×)"]
    assert [text.get_text() for text in corrected.texts] == ["54.0 s (1.00×)"]
    marks = [line for line in corrected.get_lines() if line.get_markerfacecolor() == "none"]
    assert [list(np.asarray(line.get_xdata())) for line in marks] == [near([12.0])]
    assert [axes.get_xscale() for axes in made.axes] == ["log"] * 3
    assert [text.get_text() for text in faithful.get_yticklabels()] == ["CPU"]
    assert said(made)[0].startswith("Medians with 95 % intervals (between three to five processes")


def test_one_length_is_compared_and_the_one_that_most_methods_have() -> None:
    mixed = replace(
        CPU_ONLY[CORRECTED],
        headline=(
            timing(Role.CPU, "cpu", 60, [6.0]),
            timing(Role.CPU, "cpu", 10, [1.0]),
            timing(Role.CUDNN, "cudnn", 10, [0.5]),
        ),
    )
    made = drawn("headline", {CORRECTED: mixed})
    assert headings(made) == ["Corrected, this machine, t=10, 64×64: machine of corrected"]
    assert [text.get_text() for text in made.axes[0].texts] == ["1.00 s", "500 ms"]


def test_a_cell_that_did_not_end_well_is_in_no_figure() -> None:
    wrong = replace(GPU[CORRECTED].frames[-1], status=Status.INACCURATE, reason="12 dB")
    spoilt = replace(GPU[CORRECTED], frames=(*GPU[CORRECTED].frames[:-1], wrong))
    made = drawn("15", {CORRECTED: spoilt})
    assert [x for x, _ in lines(made.axes[0])] == [[1, 4, 7]] * 3 + [[1, 4]]
    assert said(made)[-1] == "Not shown of corrected: cudnn_autotune at t=7 (inaccurate: 12 dB)."


@pytest.mark.parametrize("key", TABLES)
def test_nothing_to_show_is_no_figure_and_no_table(key: str) -> None:
    empty = {CORRECTED: Edition(name=CORRECTED, machine="")}
    assert tables_of(key, empty) == []
    assert tables_of(key, {}) == []
    if key in FIGURES:
        assert figure(key, empty) is None
        assert said(drawn(key, {PAPER: PAPERS, **empty}))[-1] == "Not shown of corrected: not run."


@pytest.mark.parametrize("editions", [CPU_ONLY, GPU, ODD], ids=["cpu only", "gpu", "odd"])
@pytest.mark.parametrize("key", FIGURES)
def test_no_text_leaves_the_figure_or_covers_another(editions: Mapping[str, Edition], key: str) -> None:
    made = drawn(key, editions)
    with style():
        made.draw_without_rendering()
        placed = {text.get_text(): text.get_window_extent() for text in made.texts if text.get_text()}
        # What of the axes stands furthest out: their labels, their titles, the annotations beside them.
        placed |= {f"axes {place}": axes.get_tightbbox() for place, axes in enumerate(made.axes)}  # type: ignore[misc]
        placed |= {f"legend {place}": box.get_window_extent() for place, box in enumerate(made.legends)}
    for name, box in placed.items():
        assert made.bbox.x0 <= box.x0, name
        assert box.x1 <= made.bbox.x1, name
        assert made.bbox.y0 <= box.y0, name
        assert box.y1 <= made.bbox.y1, name
    names = list(placed)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            assert not placed[one].overlaps(placed[other]), (one, other)


@pytest.mark.parametrize("key", FIGURES)
def test_the_same_editions_give_the_same_svg(key: str, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save(drawn(key, ODD), [tmp_path / name])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def columns(shown: PaperTable) -> dict[str, list[str]]:
    return {column.title: list(column.cells) for column in shown.columns}


def test_the_headlines_table() -> None:
    (only,) = tables_of("headline", CPU_ONLY)
    assert columns(only) == {
        "source": ["paper", "paper", "paper", "faithful (quick)", "corrected"],
        "method": ["CPU", "CUDA", "cuDNN", "CPU", "cpu"],
        "t": ["60"] * 5,
        "time (s)": ["12.0", "4.20", "3.60", "60.0", "54.0 [48.6, 59.4]"],
        "speedup over the CPU": ["1.00", "2.86", "3.33", "1.00", "1.00 [0.900, 1.10]"],
    }
    assert only.notes[-1] == f"Not shown of corrected: cuda, cudnn, cudnn_autotune (skipped: {NO_CUDA})."


def test_figure_14s_tables_are_the_calls() -> None:
    paper, faithful, corrected = tables_of("14", CPU_ONLY)
    assert columns(paper)["CUDA (s)"] == ["3.10", *["2.10"] * 9, "2.10"]
    assert columns(faithful) == {
        "call": [*map(str, range(1, 11)), "median of those that count"],
        "CPU (s)": ["5.00", *["4.00"] * 9, "4.00"],
    }
    assert columns(corrected)["cpu (s)"] == ["28.0", *["27.0"] * 9, "27.0 [24.3, 29.7]"]
    assert corrected.notes[0] == "Each call's median over up to 3 processes."
    assert paper.notes == ()


def test_figure_14s_table_shows_every_call_that_its_median_is_of() -> None:
    """The first apart and ten steady: eleven calls, of which the figure draws ten."""
    calls = [[9.0, *[2.0] * 9, 4.0], [7.0, *[2.0] * 9, 4.0]]
    apart = timing(Role.CPU, "cpu", 30, *calls, steady=tuple(tuple(its[1:]) for its in calls), median_s=2.0)
    (only,) = tables_of("14", {CORRECTED: replace(CPU_ONLY[CORRECTED], repetitions=(apart,))})
    assert columns(only) == {
        "call": [*map(str, range(1, 12)), "median of those that count"],
        "cpu (s)": ["8.00*", *["2.00"] * 9, "4.00", "2.00"],
    }
    assert only.notes == (
        "Each call's median over up to 2 processes.",
        "* does not count: first calls and warm-up are kept apart.",
        "The figure has the first 10 calls of each process of more: corrected.",
    )


def test_figure_14s_table_says_where_it_ends() -> None:
    many = timing(Role.CPU, "cpu", 30, [1.0] * 61)
    (only,) = tables_of("14", {CORRECTED: replace(CPU_ONLY[CORRECTED], repetitions=(many,))})
    assert columns(only)["call"] == [*map(str, range(1, 61)), "median of those that count"]
    assert only.notes[-1] == "The table has the first 60 calls of each process of more: corrected."


def test_figures_15_and_16_have_a_row_per_frame_count() -> None:
    _, _, corrected = tables_of("15", GPU)
    assert columns(corrected)["frames"] == ["1", "4", "7"]
    assert columns(corrected)["cudnn (s)"] == [
        "0.00150 [0.00135, 0.00165]",
        "0.00600 [0.00540, 0.00660]",
        "0.0105 [0.00945, 0.0116]",
    ]
    paper, _, corrected = tables_of("16", GPU)
    assert columns(paper) == {
        "frames": ["1", "4", "7"],
        "CUDA (×)": ["2.86"] * 3,
        "cuDNN (×)": ["3.33"] * 3,
    }
    assert columns(corrected)["cuda (×)"] == ["50.0 [45.0, 55.0]"] * 3


def test_figures_17_and_18_are_the_papers_numbers_and_the_lines_of_forward() -> None:
    papers = replace(
        PAPERS,
        memory=(replace(PAPERS.memory[0], frames=40, before_bytes=381 * MIB, peak_bytes=10805 * MIB),),
    )
    lined = replace(
        CPU_ONLY[CORRECTED].memory[0],
        lines=(
            MemoryLine(
                line=7, source="  x = $a_|b|_", occurrences=3, increment_bytes=MIB, host_bytes=401 * MIB
            ),
        ),
    )
    editions = {PAPER: papers, CORRECTED: replace(CPU_ONLY[CORRECTED], memory=(lined,))}
    (only,) = tables_of("17", editions)
    assert columns(only) == {
        "source": ["paper", "corrected"],
        "method": ["CPU", "cpu"],
        "t": ["40", "30"],
        "gradients": ["kept", "none"],
        "duration (s)": ["6.00", "27.0"],
        "host before (MiB)": ["381", "400"],
        "host peak (MiB)": ["10,805", "600"],
        "grown (MiB)": ["10,424", "200"],
    }
    paper, own = tables_of("18", editions)
    assert paper.title == "Figure 18. CPU. Paper, t=40, 64×64: machine of paper"
    assert columns(paper) == {"when": ["before the call", "at its peak"], "host (MiB)": ["381", "10,805"]}
    assert columns(own) == {
        "line": ["7"],
        "source": ["x = $a_|b|_"],
        "times": ["3"],
        "added (MiB)": ["1.0"],
        "host after (MiB)": ["401"],
    }
    assert "x = \\$a\\_\\|b\\|\\_" in markdown(own)


def test_figure_19_and_table_1_are_the_stages() -> None:
    (shares,) = tables_of("19", CPU_ONLY)
    assert columns(shares)["propagation (%)"] == ["50.0"] * 5
    assert columns(shares)["sum of means (s)"] == ["6.00", "2.10", "1.80", "4.00", "27.0"]
    assert "other (%)" not in columns(shares)
    (cell, *_) = CPU_ONLY[CORRECTED].stages
    measured = replace(
        cell,
        seconds={"alignment": (1.0, 2.0, 3.0, 4.0), "propagation": (2.0, 2.0, 2.0, 2.0)},
        low_s={"alignment": 1.5},
        high_s={"alignment": 3.5},
    )
    (table,) = tables_of("table1", {CORRECTED: replace(CPU_ONLY[CORRECTED], stages=(measured,))})
    assert columns(table) == {
        "method": ["cpu"] * 5,
        "repetition": ["1", "2", "3", "mean of 4", "median, interval"],
        "alignment (s)": ["1.00", "2.00", "3.00", "2.50", "2.50 [1.50, 3.50]"],
        "propagation (s)": ["2.00", "2.00", "2.00", "2.00", ""],
    }


def test_the_figures_need_no_pyplot_and_no_torch_and_leave_matplotlib_as_it_was() -> None:
    code = """
import matplotlib, sys
before = matplotlib.rcParams.copy()
from bench.paper.figures import FIGURES, figure
from bench.paper.editions import Edition, Role, Timing
from bench.records import Status
cell = Timing(role=Role.CPU, backend="cpu", frames=1, height=8, width=8, status=Status.OK, reason="",
              rounds=((1.0,),), median_s=1.0)
assert figure("14", {"corrected": Edition(name="corrected", machine="", repetitions=(cell,))})
assert matplotlib.rcParams.copy() == before
assert not {"torch", "matplotlib.pyplot"} & set(sys.modules)
"""
    run_process([sys.executable, "-c", code], check=True)
