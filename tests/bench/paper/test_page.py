"""The page's figures and tables: the ordinary ones, of all sources together."""

from dataclasses import replace

import pytest

from bench.paper import page, published
from bench.paper.experiments import FAULTS, KEYS
from bench.paper.method import PAPER
from bench.paper.sources import together
from tests.bench.paper.made import CPU, CUDNN, TUNED, calls, memory, repeated, run, skipped, source, staged

CORRECTED = source(
    *(calls(CPU, "frames", repeated(0.2 * t), frames=t) for t in (1, 4)),
    *(calls(CUDNN, "frames", repeated(0.1 * t), frames=t) for t in (1, 4)),
    calls(CPU, "headline", repeated(10.0), frames=60), [skipped(CUDNN, "headline")],
    calls(CPU, "repetitions", repeated(1.0), cold=2.0), staged(CPU, 1, 3, 1, 2),
    memory(CPU, [400 + 20 * i for i in range(20)], lines={"x = self.trunk(y)": 5 * 2**20}),
)  # fmt: skip
FAITHFUL = replace(source(calls(CPU, "headline", [3.0], frames=12), method=PAPER), name="faithful")
SOURCES = [published.source(), FAITHFUL, CORRECTED]


def rows(key: str) -> list[list[str]]:
    lines = page.section(key, SOURCES)["table"].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tables_of_several_sources_keep_their_cells_apart():
    tables = together(SOURCES, "headline")
    assert tables is not None
    assert set(tables.summary["backend"]) == {
        "paper: CPU", "paper: CUDA", "paper: cuDNN", "faithful: cpu",
        "corrected: cpu", "corrected: cudnn",
    }  # fmt: skip
    assert tables.cells["cell"].is_unique
    only = together(SOURCES, "headline", frames=12)
    assert only is not None
    assert set(only.cells["backend"]) == {"faithful: cpu"}
    gpus = together(SOURCES, "frames", gpus=True)
    assert gpus is not None
    assert set(gpus.cells["backend"]) == {"paper: CUDA", "paper: cuDNN", "corrected: cudnn"}
    assert together([FAITHFUL], "stages") is None


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("headline", ["headline-t12", "headline-t60"]),
        ("14", ["figure-14"]),  # both are of 30 frames
        ("15", ["figure-15"]),
        ("16", ["figure-16"]),
        ("17", ["figure-17-t10", "figure-17-t40"]),
        ("18", []),
        ("19", ["figure-19-t30", "figure-19-t60"]),
        ("table1", []),
    ],
)
def test_the_papers_figures_are_the_ordinary_ones(key, names):
    assert [name for name, _ in page.drawings(key, SOURCES)] == names


def test_the_papers_points_lie_behind_this_machines():
    ((_, drawing),) = page.drawings("15", SOURCES)
    (axes,) = drawing.axes
    shown = {text.get_text() for legend in drawing.legends for text in legend.get_texts()}
    assert shown == {
        "paper: CPU", "paper: CUDA", "paper: cuDNN", "corrected: cpu", "corrected: cudnn"
    }  # fmt: skip
    assert 61 in axes.lines[0].get_xdata()


def test_tables_have_the_numbers_of_each_source():
    assert rows("headline")[0] == ["source", "method", "t", "time", "speedup over the CPU"]
    assert ["paper", "CUDA", "60", "6.10 s", "2.36×"] in rows("headline")
    assert ["faithful", "cpu", "12", "3.00 s", "1.00× (1.00× to 1.00×)"] in rows("headline")
    assert rows("15")[0] == [
        "t",
        "paper: CPU",
        "paper: CUDA",
        "paper: cuDNN",
        "corrected: cpu",
        "corrected: cudnn",
    ]
    assert len(rows("15")) == 2 + 21
    assert rows("16")[2][1] == "0.137×"
    growth = next(row for row in rows("17") if row[0] == "paper")
    assert growth[3:6] == ["381 MiB", "10.6 GiB", "65.2 KiB"]
    assert rows("18")[2][-2:] == ["x = self.trunk(y)", "5.00 MiB"]
    assert rows("table1")[2][3] == "3.01 s"


def test_what_is_missing_is_said_once():
    said = page.section("headline", SOURCES)["missing"]
    assert said == "Not shown: of corrected, no GPU (no CUDA device: torch finds no driver or no GPU)."
    assert page.section("19", SOURCES)["missing"] == "Not shown: of faithful, it was not run."


@pytest.mark.parametrize("key", [key for key in KEYS if key != "faults"])
def test_each_has_a_section_for_a_notebook(key):
    text = page.markdown_of(key, SOURCES)
    assert text.startswith("## ")
    assert "None" not in text


def test_a_fault_beside_the_same_without_it():
    off, on = (
        calls(CUDNN, "noise", repeated(seconds), cold=first) for seconds, first in ((1.0, 2.0), (0.5, 4.0))
    )
    tuned = [one.model_copy(update={"backend": "cudnn_autotune", "cell": "t"}) for one in on]
    one = replace(CORRECTED, runs={"autotuning/off": run(off), "autotuning/on": run(tuned)})
    lines = page._fault("autotuning", one)["table"].splitlines()
    assert len(lines) == 4
    assert "2.00 s" in lines[2]
    assert lines[2].rstrip(" |").endswith("2.00×")
    assert lines[3].rstrip(" |").endswith("0.500×")
    assert "cudnn and cudnn_autotune" in lines[2]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_was_not_run_or_has_no_gpu_says_so(name):
    assert page._fault(name, CORRECTED)["missing"] == f"the runs of `{name}` (`--figures faults`)"
    none = run([skipped(CUDNN, "noise"), skipped(TUNED, "noise")])
    found = page._fault(name, replace(CORRECTED, runs={f"{name}/off": none, f"{name}/on": none}))
    assert (found["table"], found["missing"][:8]) == ("", "no GPU (")
