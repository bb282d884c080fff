"""The page of a run: its sections, their figures, and text that must not become markup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.cautions.caution import Notice
from bench.grid.baseline import Baseline
from bench.records import CellRecord, MemoryLine, StageMemory, Status, TelemetryReading, WarmupEnd
from bench.reporting.markdown import Column, table
from bench.reporting.page import TEMPLATE, View, write
from bench.reporting.rendering import POLICY, Contents, File, html, markdown
from bench.results.tables import tables_of, warnings_table
from bench.stats.stopping import Stop
from bench.units import BYTES, significant, unit_for, with_unit
from tests.bench import synthetic
from tests.bench.pages import one_run, render_markdown, rows, section
from tests.bench.synthetic import BASELINE
from tests.html_page import Page
from vsr_model.one_line import visible

MARKUP = "<>[]()!|`*_#-+=~$\\&;:/\"' \n\tabhtpsjvcriq.=10{}%"


def render(records: list[CellRecord], baseline: str = "cpu", **options: object) -> str:
    over = Baseline.of(baseline)
    return render_markdown(tables_of(records, over), baseline=over, **options)


def headings(report: str) -> list[str]:
    return re.findall(r"^## (.*)$", report, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def gpu() -> str:
    return render(
        synthetic.run(synthetic.GPU, frames=(1, 4), rounds=6),
        environment={
            "cpu": "A | B", "cpu_physical_cores": 2, "flags": ["x", "y"], "none": None,
            "torch": {"torch": "2.13", "threads": 4, "devices": [{"name": "G"}]},
        },
        plots=[Path(f"plots/{name}.png") for name in ("memory-a", "time-a b", "other", "stages-a")],
        files=[Path("summary.csv"), Path("../a (b)/cells.csv")],
        note="Interrupted.",
    )  # fmt: skip


def test_sections_stand_in_order(gpu: str) -> None:
    assert headings(gpu) == [
        "What was measured", "Forward time and speedup", "Figures", "How time grows", "Stages",
        "How the samples were taken",
        "What the stage probes cost", "Cold start", "Memory", "Memory by stage", "Costs",
        "Output check", "What the harness costs", "How to read this", "Environment",
    ]  # fmt: skip
    assert gpu.startswith(
        "# a run\n\n> Interrupted.\n\n8 cells in 48 rounds: **8 ok**. On A \\| B, 2 cores, "
    )
    assert "* backends: cpu (baseline), cuda, cudnn, cudnn_autotune\n" in gpu
    assert "* tables: [summary.csv](summary.csv), [cells.csv](../a%20%28b%29/cells.csv)\n" in gpu


def test_a_figure_stands_before_the_table_of_what_it_shows(gpu: str) -> None:
    for title, image in (
        ("Forward time and speedup", "time-a b"), ("Stages", "stages-a"), ("Memory", "memory-a"),
    ):  # fmt: skip
        before, _, after = section(gpu, title).partition(f"\n\n![{image}]")
        assert "|" not in before
        assert "\n\n|" in after
    assert section(gpu, "Figures").strip() == "![other](plots/other.png)"
    assert gpu.count("![") == 4


def test_the_headline_gives_the_figures_of_the_summary(gpu: str) -> None:
    header, *cells = rows(section(gpu, "Forward time and speedup"))
    assert header == [
        "frames", "backend", "forward (ms)", "95 % interval (ms)", "its kind", "rounds × calls", "frames/s",
        "speedup", "95 % interval",
    ]  # fmt: skip
    assert [row[:2] for row in cells] == [
        [frames, backend] for frames in ("1", "4") for backend in ("cpu", "cuda", "cudnn", "cudnn_autotune")
    ]
    summary = tables_of(synthetic.run(synthetic.GPU, frames=(1, 4), rounds=6), BASELINE).summary
    row = summary[
        (summary["stage"] == "forward") & (summary["frames"] == 4) & (summary["backend"] == "cudnn")
    ].iloc[0]
    assert cells[6][2:] == [
        f"{1e3 * row.median_s:.3f}",
        f"{1e3 * row.low_s:.3f} … {1e3 * row.high_s:.3f}",
        "between rounds",
        "6 × 7",
        f"{row.frames_per_s:.0f}",
        f"{row.speedup:.1f}×",
        f"{row.speedup_low:.1f} … {row.speedup_high:.1f}",
    ]
    assert cells[0][7:] == ["baseline", ""]


def test_stages_name_their_share_and_clock(gpu: str) -> None:
    header, first, second, *_ = rows(section(gpu, "Stages"))
    assert header[2:7] == [f"{name} (ms)" for name in synthetic.BASICVSR.shares]
    assert (first[2][-8:], first[-2:], second[-2:]) == (
        "(42.0 %)", ["stage_sync", "wall"], ["stage_events", "device"],
    )  # fmt: skip


def test_networks_are_a_column_with_their_own_stages_and_costs() -> None:
    nets = (synthetic.BASICVSR, synthetic.MINE)
    records = synthetic.run(synthetic.GPU[:2], nets=nets, frames=(4,), rounds=3)
    report = render(records)
    assert "* networks: basicvsr, mine\n" in report
    _, first, second = section(report, "Stages").strip().split("\n\n")
    for text, net in ((first, nets[0]), (second, nets[1])):
        header, *cells = rows(text)
        assert header == ["network", "backend", *(f"{name} (ms)" for name in net.shares), "pass", "clock"]
        assert [row[:2] for row in cells] == [[net.name, "cpu"], [net.name, "cuda"]]
    header, *costs = rows(section(report, "Costs"))
    assert header == ["network", "backend", "stage", "work (GFLOP)", "moved (MiB)", "peak (MiB)"]
    assert [row[:3] for row in costs] == [[net.name, "cpu", stage] for net in nets for stage in net.shares]

    report = render(records, "basicvsr/cpu")
    assert "* backends: cpu, cuda\n* baseline: basicvsr/cpu\n" in report
    own, _, other, _ = [row[-2:] for row in rows(section(report, "Forward time and speedup"))[1:]]
    assert own == ["baseline", ""]
    assert float(other[0].removesuffix("×")) == pytest.approx(2.0, rel=0.1)  # MINE takes half of the time
    assert "The baseline basicvsr/cuda2 was not measured" in render(records, "basicvsr/cuda2")


def test_the_harness_is_shown_per_backend_and_for_all() -> None:
    made = synthetic.run(synthetic.GPU[:2], frames=(1, 4))
    of_all = {"worker_start_s": 0.02, "setup_s": 0.03, "round_wall_s": 1.0}
    records = [
        record.model_copy(update={"harness_s": cost, **of_all})
        for record, cost in zip(made, (0.05, 0.1, 0.07, 0.3), strict=True)
    ]
    report = render(records, environment={"timer": {"cost_s": 5e-8, "resolution_s": 1e-9}})
    text = section(report, "What the harness costs")
    assert "In all 520 ms, 13.0 % of the rounds' 4.00 s. A sample is too long by" in text
    assert "50.0 ns; the timer's smallest step is 1.00 ns." in text
    for timer in ({"cost_s": "5e-8", "resolution_s": 1e-9}, {"cost_s": 5e-8}, "fast", None):
        assert "smallest step" not in render(records, environment={"timer": timer})
    assert [row[:4] for row in rows(text)[1:]] == [
        ["cpu", "2", "60.0", "70.0"], ["cuda", "2", "200", "300"], ["all", "4", "85.0", "300"],
    ]  # fmt: skip


def test_the_output_check_tells_the_reference_from_the_unchecked() -> None:
    unchecked = synthetic.Machine(name="cpu-2", per_frame_s=0.1, psnr_db=None)
    equal = synthetic.Machine(name="cpu-3", per_frame_s=0.1, psnr_db=float("inf"))
    text = section(render(synthetic.run((synthetic.CPU, unchecked, equal), frames=(1,))), "Output check")
    assert rows(text)[1:] == [
        ["cpu", "reference itself", ""],
        ["cpu-2", "not checked", ""],
        ["cpu-3", "0.00e+00", "∞"],
    ]


def test_an_inaccurate_cell_keeps_its_time_and_gets_no_speedup() -> None:
    records = [
        synthetic.ended(record, Status.INACCURATE, "12 dB") if record.backend == "cuda" else record
        for record in synthetic.run(synthetic.GPU, frames=(4,))
    ]
    report = render(records)
    row = next(row for row in rows(section(report, "Forward time and speedup")) if row[0] == "cuda")
    assert row[-2:] == ["(inaccurate)", ""]
    assert "**3 ok**, **1 inaccurate**" in report
    assert ["cuda", "t=4", "inaccurate", "12 dB"] in rows(section(report, "Cells that did not end ok"))


def test_a_run_that_failed_has_no_empty_sections_and_reasons_stay_text() -> None:
    report = render(synthetic.all_failed())
    assert headings(report) == ["What was measured", "Cells that did not end ok"]
    assert "The baseline cpu was not measured" in report
    assert rows(report)[1:] == [
        ["cuda", "t=4", "skipped", "no CUDA device"],
        ["cpu", "t=4", "oom", r"killed at 3.9 GiB of 4 GiB \| dmesg said &lt;oom&gt;"],
        ["cpu-1-thread", "t=4", "timeout", "no answer within 60 s"],
        ["cpu-bf16", "t=4", "error", r"RuntimeError: \`mkldnn\` has no bfloat16 \*here\*"],
    ]


def test_failures_are_one_row_per_reason_with_their_places() -> None:
    records = [
        synthetic.ended(r, Status.OOM, "12 GiB of 8") if r.backend == "cuda" and r.frames > 1 else r
        for r in synthetic.run((synthetic.CPU, synthetic.GPU[1]), inputs=("a", "b"), frames=(1, 2, 3, 4))
    ]
    assert rows(section(render(records), "Cells that did not end ok"))[1:] == [
        ["cuda", "a, t=2; a, t=3; a, t=4; b, t=2; and 2 more", "oom", "12 GiB of 8"]
    ]


def test_memory_by_stage_is_the_devices_where_there_is_one(gpu: str) -> None:
    memory = {
        "propagation": StageMemory(host_growth_bytes=58 << 20, host_kept_bytes=-(5 << 20)),
        "other": StageMemory(host_kept_bytes=3 << 20),  # of a kernel that cannot reset its mark
    }
    [record] = synthetic.run((synthetic.CPU,), frames=(1,))
    report = render([record.model_copy(update={"stage_memory": memory})])
    assert rows(section(report, "Memory by stage")) == [
        ["backend", "propagation (MiB)", "memory of"], ["cpu", "58 (-5)", "host"],
    ]  # fmt: skip
    places = {row[1]: row[-1] for row in rows(section(gpu, "Memory by stage"))[1:]}
    assert {places["cuda"], places["cudnn"]} == {"device"}


def test_memory_by_line_shows_the_cell_that_grew_most() -> None:
    def lines(*levels: int) -> tuple[MemoryLine, ...]:
        return tuple(
            MemoryLine(line=10 + i, source=f"    x[{i}] | y", occurrences=1 + i,
                       increment_bytes=level * 2**20, host_bytes=level * 2**20)
            for i, level in enumerate(levels)
        )  # fmt: skip

    small, large = synthetic.run(synthetic.GPU[:2], frames=(1,))
    records = [
        small.model_copy(update={"memory_lines": lines(1, 1)}),
        large.model_copy(update={"memory_lines": lines(1, 3)}),
    ]
    text = section(render(records), "Memory by line")
    assert f"cell {large.cell};" in text
    assert rows(text)[1:] == [
        ["10", "1.00", "", "1", "x\\[0\\] \\| y"],
        ["11", "3.00", "3.00", "2", "x\\[1\\] \\| y"],
    ]


def test_why_sampling_ended_is_named_for_each_round() -> None:
    first, second = synthetic.run([synthetic.CPU], frames=(1,), rounds=2)[:2]
    ended = {"warmup_end": WarmupEnd.STEADY, "tuning_calls": 1, "stop_end_to_end": Stop.TARGET}
    records = [
        first.model_copy(update=ended),
        second.model_copy(update=ended | {"tuning_calls": 3, "stop_end_to_end": Stop.BUDGET}),
    ]
    _, cell = rows(section(render(records), "How the samples were taken"))
    assert cell[1:4] == ["steady", "3", "target met, time spent"]  # tuning calls: of the round with most


def test_the_machine_has_columns_of_what_was_read() -> None:
    (record,) = synthetic.run([synthetic.CPU], frames=(1,))
    ends = (0.0, 10.0 + max(sample.start_s + sample.wall_s for sample in record.samples))
    readings = tuple(
        TelemetryReading(elapsed_s=at, busy_s=2 * at, own_cpu_s=at, cpu_mhz=3000.0 + at) for at in ends
    )
    report = render([record.model_copy(update={"telemetry": readings})])
    header, cell = rows(section(report, "The machine meanwhile"))
    assert header[-2:] == ["cores busy with others", "CPU clock (MHz)"]  # no GPU, no columns of one
    assert cell[-2] == "1.00"


def test_each_warning_names_its_cells_and_its_remedy() -> None:
    tables = tables_of(synthetic.run([synthetic.CPU], frames=(1, 3, 4, 7, 10)), BASELINE)
    ids = list(dict.fromkeys(tables.cells["cell"]))
    drifts = [
        Notice(code="drift", cell=cell, seen=f"it is *{place}* % slower", remedy="warm up")
        for place, cell in enumerate(ids[:5])
    ]
    governor = Notice(code="power_saving", seen="powersave", remedy="set another")
    text = render_markdown(replace(tables, warnings=warnings_table([*drifts, governor])))
    first, second = section(text, "Warnings").strip().splitlines()
    assert first.startswith("* **drift** (t=1, ")
    assert "and 2 more): it is \\*0\\* % slower; and 4 like it. *What to do:* warm up." in first
    assert second == "* **power_saving**: powersave. *What to do:* set another."


@settings(max_examples=50)
@given((st.text(MARKUP) | st.text()).filter(lambda text: text.strip() != ""))
@example("</main></style><!-- --> &lt;b&gt; \u202e")
@example("](javascript:alert(1)) ![y](http://evil.example/y.png) {{ 1 }}")
@example("[x](javascript:alert(1)) <https://evil.example> https://evil.example")
@example("a\n\n# b\n\n| c | d |\n| - | - |")
@example("1. a | b #")
@example("=")
@example("---")
@example("_a_ *b* `c` C:\\")
@example("\x00\ud800")
def test_any_text_is_shown_as_it_is_and_never_obeyed(text: str) -> None:
    run = one_run(tables_of([], BASELINE), experiment=text, environment={"name": text}, note=text)
    view = View(cells=run, folder=Path())
    shown = visible(" ".join(text.split()))
    # The page itself, and what a repository site would make of its Markdown.
    site = MarkdownIt("commonmark").enable("table")
    for source in (html(TEMPLATE, view, title=text), site.render(markdown(TEMPLATE, view))):
        page = Page(source)
        assert page.dangers() == []
        assert page.texts["h1"] == [shown]
        assert page.texts["blockquote"][0].strip() == shown
        assert page.texts["td"] == ["name", shown]


@pytest.mark.parametrize("failed", [False, True])
def test_a_page_of_html_says_what_it_is_and_allows_nothing_else(failed: bool) -> None:
    records = synthetic.all_failed() if failed else synthetic.run(synthetic.GPU, frames=(4,))
    view = View(cells=one_run(tables_of(records, BASELINE)), folder=Path())
    source = html(TEMPLATE, view, title="a & b")
    page = Page(source)
    assert source.startswith('<!doctype html>\n<html lang="en">')
    assert page.dangers() == []
    assert page.texts["title"] == ["a & b"]
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert ("meta", "content", POLICY) in page.attributes
    assert "default-src 'none'" in POLICY
    assert page.texts["style"][0].count("prefers-color-scheme: dark") == 1
    assert "@media print" in page.texts["style"][0]
    assert not re.search(r"url\(|@import", page.texts["style"][0])
    assert source == html(TEMPLATE, view, title="a & b")
    linked = [value.removeprefix("#") for value in page.values("href")]
    headed = page.values("id")[1:]
    # Few headings need no table of contents; behind it, answers lead to some of them.
    assert linked[: len(headed)] == ([] if failed else headed)
    assert {*linked} <= {*headed}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag(theme: str) -> None:
    style = Page(html(TEMPLATE, View(cells=one_run(tables_of([], BASELINE)), folder=Path()), title="t"))
    blocks = re.findall(r":root \{(.*?)\}", style.texts["style"][0], flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z]+): #([0-9a-f]{6})", blocks[theme == "dark"]))

    def luminance(name: str) -> float:
        parts = [int(colours[name][place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text, behind in (
        ("text", "paper"), ("faint", "paper"), ("link", "paper"), ("text", "shade"), ("text", "note"),
    ):  # fmt: skip
        dim, bright = sorted((luminance(text), luminance(behind)))
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, behind)


def test_headings_have_ids_of_their_own_and_the_deepest_are_not_listed() -> None:
    contents = Contents()
    headings = ((1, "T"), (2, "A `b` & c"), (3, "A b  c"), (2, "A b c"), (4, "deep"), (2, "街 !"), (2, "!"))
    ids = [contents.add(level, text) for level, text in headings]
    assert ids == ["t", "a-b--c", "a-b--c-1", "a-b-c", "deep", "街", "section"]
    assert [name for _, name, _ in contents.entries] == ["a-b--c", "a-b--c-1", "a-b-c", "街", "section"]


def test_a_picture_is_inside_as_svg_where_there_is_one_and_named_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a (b)" / "time-c d.png"
    picture = File.beside(path, tmp_path / "out")
    assert (picture.target, picture.kind) == ("../a%20%28b%29/time-c%20d.png", "time")
    pages = write(tmp_path, one_run(tables_of(synthetic.all_failed(), BASELINE)), plots=[path])
    assert "![time-c d](a%20%28b%29/time-c%20d.png)" in pages.markdown.read_text(encoding="utf-8")
    assert "(no picture: time-c d)" in pages.html.read_text(encoding="utf-8")
    assert sorted(tmp_path.iterdir()) == [pages.html, pages.markdown]
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n0000")
    assert picture.data() == "data:image/png;base64,iVBORw0KGgowMDAw"
    path.with_suffix(".svg").write_bytes(b"<svg/>")
    assert picture.data() == "data:image/svg+xml;base64,PHN2Zy8+"


def test_a_table_leaves_out_empty_columns() -> None:
    columns = [
        Column(title="a", cells=["1", "22"], numeric=True),
        Column(title="none", cells=["", ""]),
        Column(title="long", cells=["x", "|"]),
    ]
    assert table(columns) == "|   a | long |\n| --: | ---- |\n|   1 | x    |\n|  22 | \\|   |"
    assert table([Column(title="none", cells=[])]) == ""


def test_units_suit_one_value_and_the_middle_of_many() -> None:
    assert [significant(value) for value in (0.0, 9.999, 12345.6, 0.00123456, -2.5, 1e300, float("inf"))] == [
        "0", "10.0", "12346", "0.00123", "-2.50", "1.00e+300", "∞",
    ]  # fmt: skip
    assert with_unit(0.9996) == "1.00 s"
    assert with_unit(0.0123) == "12.3 ms"
    assert with_unit(3 * 1024.0**2, BYTES) == "3.00 MiB"
    assert unit_for([0.0002, 5.0]).name == "ms"
    assert unit_for([]).name == "s"
    assert unit_for([1e-10]).name == "ns"
