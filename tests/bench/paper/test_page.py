"""The page's figures and tables: the ordinary ones, of all sources together."""

from dataclasses import replace

import pytest

from bench.paper import page
from bench.paper.experiments import KEYS, PAPER
from bench.paper.sources import published
from bench.reporting.markdown import table
from tests.bench.paper.made import CPU, CUDNN, TUNED, calls, memory, repeated, run, skipped, source, staged

CORRECTED = source(
    *(calls(CPU, "frames", repeated(0.2 * t), frames=t) for t in (1, 4)),
    *(calls(CUDNN, "frames", repeated(0.1 * t), frames=t) for t in (1, 4)),
    calls(CPU, "headline", repeated(10.0), frames=60), [skipped(CUDNN, "headline")],
    calls(CPU, "repetitions", repeated(1.0), cold=2.0), staged(CPU, 1, 3, 1, 2),
    memory(CPU, [400 + 20 * i for i in range(20)], lines={"x = self.trunk(y)": 5 * 2**20}),
)  # fmt: skip
FAITHFUL = source(calls(CPU, "headline", [3.0], frames=12), name="faithful", method=PAPER)
SOURCES = [published(), FAITHFUL, CORRECTED]


def rows(key: str) -> list[list[str]]:
    lines = table(page.section(key, SOURCES)["table"]).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


DRAWN = {
    "headline": ["headline-t12", "headline-t60"],
    "14": ["figure-14"],  # both are of 30 frames
    "15": ["figure-15"],
    "16": ["figure-16"],
    "17": ["figure-17-t10", "figure-17-t40"],
    "18": [],
    "19": ["figure-19-t30", "figure-19-t60"],
    "table1": [],
}


@pytest.mark.parametrize("key", DRAWN)
def test_each_figure_is_an_ordinary_one_and_has_a_section(key):
    assert [name for name, _ in page.drawings(key, SOURCES)] == DRAWN[key]
    text = page.markdown_of(key, SOURCES)
    assert text.startswith("## ")
    assert "None" not in text
    assert DRAWN.keys() == set(KEYS) - {"faults", "beyond"}


def test_the_papers_points_lie_behind_this_machines():
    ((_, drawing),) = page.drawings("15", SOURCES)
    (axes,) = drawing.axes
    shown = [text.get_text().split(",")[0] for legend in drawing.legends for text in legend.get_texts()]
    assert sorted(shown) == rows("15")[0][4:] + rows("15")[0][1:4]
    assert 61 in axes.lines[0].get_xdata()


def test_tables_have_the_numbers_of_each_source():
    assert rows("headline")[0] == ["source", "method", "t", "time", "speedup over the CPU"]
    assert ["paper", "CUDA", "60", "6.10 s", "2.36×"] in rows("headline")
    assert ["faithful", "cpu", "12", "3.00 s", "1.00× (1.00× to 1.00×)"] in rows("headline")
    series = ["paper: CPU", "paper: CUDA", "paper: cuDNN", "corrected: cpu", "corrected: cudnn"]
    assert rows("15")[0] == ["t", *series]
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


def test_a_fault_beside_the_same_without_it():
    off, on = (
        calls(role, "noise", repeated(seconds), cold=first)
        for role, seconds, first in ((CUDNN, 1.0, 2.0), (TUNED, 0.5, 4.0))
    )
    one = replace(CORRECTED, runs={"autotuning/off": run(off), "autotuning/on": run(on)})
    _, _, first, later = table(page.fault_section("autotuning", one)["table"]).splitlines()
    assert "cudnn and cudnn_autotune" in first
    assert "2.00 s" in first
    assert [line.rstrip(" |").rpartition(" ")[2] for line in (first, later)] == ["2.00×", "0.500×"]


def test_a_fault_that_was_not_run_or_has_no_gpu_says_so():
    assert page.fault_section("order", CORRECTED)["missing"] == "the runs of `order` (`--figures faults`)"
    none = run([skipped(CUDNN, "noise"), skipped(TUNED, "noise")])
    found = page.fault_section("order", replace(CORRECTED, runs={"order/off": none, "order/on": none}))
    assert (found["table"], found["missing"][:8]) == ([], "no GPU (")
