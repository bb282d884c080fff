"""Comparisons as people and programs read them: nothing is lost, nothing is obeyed, everything fits."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from bench.comparison.comparison import (
    MEANINGS,
    Amount,
    CellComparison,
    Change,
    Comparison,
    Limits,
    Side,
    Verdict,
)
from bench.comparison.policy import REGRESSIONS, Failing, failures
from bench.records import Status
from bench.reporting.comparison.formats import SCHEMA_VERSION, to_json, to_junit
from bench.reporting.comparison.page import render, render_page
from bench.reporting.comparison.terminal import tables
from bench.reporting.comparison.view import explanation, headline
from tests.bench import compared
from tests.bench.compared import EVERY_VERDICT, ODD_NAMES, cell, change, comparison, odd
from tests.html_page import Page
from vsr_model.one_line import visible

DOCS: Final = Path(__file__).resolve().parents[2] / "docs" / "compare.md"

MARKUP: Final = "<>[]()!|`*_#-+=~$\\&;:@/\"' \n\tabhtpsjvcriqGHw.=10"

UNSEEN: Final = "\u200b"


def shown(text: str) -> str:
    return visible(" ".join(text.split()))


def as_github(markdown: str) -> Page:
    """As a site that lets HTML through shows it, before it acts upon plain text."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


def rows(page: Page) -> int:
    """Rows of all tables, heads left out."""
    return page.tags.count("tr") - page.tags.count("table")


def section(markdown: str, title: str) -> list[list[str]]:
    """The cells of a folded section's table, its head first."""
    body = re.search(
        rf"<summary>{re.escape(title)} \(\d+\)</summary>\n\n(.*?)\n\n</details>", markdown, re.DOTALL
    )
    assert body is not None, title
    lines = [line for line in body[1].splitlines() if line.startswith("|") and not line.startswith("| --")]
    plain = [re.sub(r"\\([\[\]])", r"\1", line) for line in lines]
    return [[part.strip() for part in line.strip("|").split(" | ")] for line in plain]


# The summary.


def test_the_summary_says_what_fails_worst_first_and_why() -> None:
    summary = render([comparison()], REGRESSIONS).partition("<details>")[0]
    assert summary.startswith("## Benchmark: 4 of 13 cells fail\n\n13 cells: 2 slower, 1 worse, 2 unclear, ")
    assert "Failing: 1 worse, 2 slower, 1 accuracy, 1 memory." in summary
    assert re.findall(r"\| (?:main|head) +\| (\S+) +\| ([^|]+?) +\|", summary) == [
        ("1a2b3c4", "NVIDIA H200, torch 2.13.0"),
        ("5d6e7f8", "NVIDIA H200, torch 2.13.0"),
    ]
    assert [line for line in summary.splitlines() if line.startswith("* ")] == [
        "* **worse** basicvsr/noise/b1/t8/720x1280/cudnn: it was ok, and now 143 GiB are asked for",
        r"* **slower** basicvsr/noise/b1/t8/180x320/cudnn: time 1.210 \[1.180, 1.240\], 250 → 302 ms: mostly "
        "alignment 1.400, unclear by itself",
        r"* **slower, memory** basicvsr/noise/b1/t4/180x320/cudnn: time 1.100 \[1.080, 1.120\], "
        r"250 → 275 ms: "
        "propagation 1.170, aggregation 1.300; device peak 1.250 (1.00 → 1.25 GiB)",
        "* **accuracy** basicvsr/noise/b1/t8/180x320/cuda: PSNR 104.2 → 61.0 dB",
        r"* **stage** basicvsr/noise/b1/t4/180x320/cuda: upsampling 1.250 \[1.230, 1.270\]",
        "* the clocks sagged by 7 % in the base",
    ]
    places = [summary.index(title) for title in ("**What fails**", "**Worse, but does", "**Cautions**")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("cells", "failing", "said"),
    [
        ([], REGRESSIONS, "No cell was compared"),
        (EVERY_VERDICT[:1], REGRESSIONS, "No cell fails"),
        (EVERY_VERDICT, (), "4 of 13 cells became worse, and nothing fails"),
        ([*EVERY_VERDICT[:1], *EVERY_VERDICT[4:6]], REGRESSIONS, "No cell fails, 2 of 3 could not be told"),
        (EVERY_VERDICT[4:6], REGRESSIONS, "No cell fails, and none could be told"),
        (EVERY_VERDICT[4:6], (Failing.UNCLEAR,), "2 of 2 cells fail"),
        (EVERY_VERDICT[1:2], REGRESSIONS, "1 of 1 cell fails"),
        (EVERY_VERDICT, tuple(Failing), "10 of 13 cells fail"),
    ],
)
def test_the_headline(cells: list[CellComparison], failing: tuple[Failing, ...], said: str) -> None:
    one = comparison(cells)
    assert headline([one], failing) == said
    assert said.lower() in render([one], failing).splitlines()[0].lower()
    assert [*tables([one], failing)][-1].plain == said  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (compared.SLOW_TRUNK, "propagation 1.170, aggregation 1.300"),
        ((compared.stage("alignment", 1.2, Verdict.UNCLEAR),), "mostly alignment 1.200, unclear by itself"),
        (
            tuple(
                compared.stage(name, 1.03, Verdict.UNCLEAR) for name in ("alignment", "propagation", "other")
            ),
            "no stage stands out",
        ),
        (compared.SAME_STAGES, "most of the added time lies in no stage"),
        (
            (compared.stage("alignment", 1.04, Verdict.SLOWER),),
            "alignment 1.040, but most of the added time lies in no stage",
        ),
        ((compared.stage("alignment", 1.0, Verdict.SAME, base_s=0.01),), "no stage stands out"),
        ((), ""),
    ],
)
def test_what_explains_a_slower_cell(stages: Any, said: str) -> None:
    assert explanation(cell(verdict=Verdict.SLOWER, change=change(1.1, base_s=0.1), stages=stages)) == said


def test_the_smallest_slowdown_that_could_be_told_is_a_line_everywhere() -> None:
    cells = [cell("a", least_slowdown=0.0381), cell("b", least_slowdown=0.1201), cell("c")]
    said = (
        "The smallest slowdown that 95 of 100 such comparisons would tell is 13 % in b, the noisiest cell, "
        "and 3.9 % in the steadiest."
    )
    for one, line in (
        (comparison(cells), said),
        (comparison(cells[:1]), "The smallest slowdown that 95 of 100 such comparisons would tell is 3.9 %."),
    ):
        assert f"\n\n{line}\n\n" in render([one], REGRESSIONS)
        assert f"<p>{line}</p>" in render_page([one], REGRESSIONS)
        assert line in " ".join(printed(one).split())
        assert line in to_junit([one], REGRESSIONS)
    assert strict(to_json([comparison(cells)], REGRESSIONS))["comparisons"][0]["least_slowdown"] == 0.1201
    assert "smallest slowdown" not in render([comparison(cells[2:])], REGRESSIONS)


# The detail.


def test_every_cell_stands_in_the_table_of_all() -> None:
    text = render([comparison()], REGRESSIONS)
    head, *body = section(text, "All cells")
    assert head == [
        "size", "batch", "frames", "backend", "base (ms)", "new (ms)", "ratio", "interval", "verdict",
        "fails for", "rounds", "rounds that would settle it",
    ]  # fmt: skip
    verdict = head.index("verdict")
    assert [row[verdict] for row in body] == [one.verdict for one in EVERY_VERDICT]
    assert body[1] == [
        "180×320", "1", "4", "cudnn", "250.0", "275.0", "1.100", "[1.080, 1.120]", "slower",
        "slower, memory", "20 pairs", "",
    ]  # fmt: skip
    assert body[4][-2:] == ["20 pairs", "1,240"]
    assert body[5][4:] == ["250.0", "300.0", "1.200", "none", "unclear", "", "2", ""]


def test_every_reason_figure_and_difference_has_its_place() -> None:
    text = render([comparison()], REGRESSIONS)
    assert len(section(text, "Stages")) == 1 + sum(len(one.stages) for one in EVERY_VERDICT)
    assert len(section(text, "Memory")) == 1 + sum(len(one.memory) for one in EVERY_VERDICT)
    assert ["180×320", "1", "8", "cuda", "104.2", "61.0", "less"] in section(text, "Accuracy")
    assert ["64×64", "1", "4", "cudnn", "∞", "104.0", "same"] in section(text, "Accuracy")
    assert [(row[0], row[-2], row[-1]) for row in section(text, "Reasons")[1:]] == [
        (one.cell, one.verdict, one.why) for one in EVERY_VERDICT if one.why
    ]
    assert section(text, "Reasons")[5][1:3] == ["not there", "ok"]
    assert section(text, "Reasons")[3][1:3] == ["ok", "oom"]
    assert section(text, "What differs between the sides")[1:] == [
        ["code", "1a2b3c4", "5d6e7f8"], ["torch", "2.12.1", "2.13.0"],
    ]  # fmt: skip


def test_the_page_folds_where_html_is_let_through() -> None:
    text = render([comparison()], REGRESSIONS, look="A second look found the same.")
    page = as_github(text)
    assert page.tags.count("details") == page.tags.count("summary") == 7
    assert page.tags.count("table") == 7  # the sides, and each section's but that on how to read
    assert page.texts["p"][0] == "A second look found the same."
    # GitHub reads Markdown within HTML only behind a blank line.
    for line, following in pairwise(text.splitlines()):
        assert not line.startswith(("<summary>", "</details>")) or following == ""
    assert "\n\n\n" not in text


def test_how_to_read_names_verdicts_thresholds_and_what_fails() -> None:
    assert {*MEANINGS} == {*Verdict}
    limits = Limits(threshold=0.05, apart=0.02, across=frozenset({"torch", "device"}))
    guide = render([comparison(limits=limits)], (Failing.SLOWER,)).partition("How to read this")[2]
    assert all(f"* **{verdict}**: " in guide for verdict in Verdict)
    assert (
        "* Thresholds: time 5 %; memory 10 %; accuracy 3 dB; the machine itself may have changed by 2 % "
        "between runs; device and torch may differ." in guide
    )
    assert "* Here slower fails. Not: worse, memory " in guide
    assert "Here nothing fails." in render([comparison()], ())
    assert "Not:" not in render([comparison()], tuple(Failing))
    two = render([comparison(limits=limits), comparison(), comparison()], REGRESSIONS)
    assert two.count("* Thresholds: ") == 2


def test_the_summary_alone_fits_a_comment_however_much_there_is_to_say() -> None:
    cells = [cell(f"basicvsr/noise/b1/t{n + 1}/64x64/cudnn", verdict=Verdict.WORSE, why="w" * 5_000)
             for n in range(400)]  # fmt: skip
    text = render([comparison(cells)], REGRESSIONS, look="Looked at twice.", whole=False)
    assert len(text) < 65_536  # what GitHub takes
    assert text.startswith("## Benchmark: 400 of 400 cells fail\n\nLooked at twice.\n\n400 cells: 400 worse.")
    assert text.count("* **worse** basicvsr/noise/b1/") == 10
    assert "* and 390 more\n" in text
    assert "<details>" not in text
    assert "How to read this" not in text


# Text of unknown origin.


def acted_upon(page: str) -> list[str]:
    """What GitHub would act upon in the plain text of HTML: people, issues, addresses and emoji."""
    texts: list[str] = []

    class _Texts(HTMLParser):
        def handle_data(self, data: str) -> None:
            texts.append(data)

    parser = _Texts()
    parser.feed(page)
    parser.close()
    acting = r"@[\w-]|#\d|\bGH-\d|https?://|\bwww\.|:(?!\d\d:)[\w+-]+:"
    return re.findall(acting, "".join(texts), re.IGNORECASE)


def check_text(name: str) -> None:
    one = odd(name)
    text = render([one], tuple(Failing))
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = Page(rendered)
    allowed = {
        "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "em", "ul", "li", "details",
        "summary", "code",
    }  # fmt: skip
    assert {*page.tags} <= allowed
    assert {*page.attributes} == {("th", "style", "text-align:right"), ("td", "style", "text-align:right")}
    assert acted_upon(rendered) == []
    rows_expected = {
        "All cells": len(one.cells), "Stages": 2, "Memory": 1 + 2, "Accuracy": 2,
        "Reasons": len(one.cells),
    }  # fmt: skip
    for title, number in rows_expected.items():
        assert f"{title} ({number})" in page.texts["summary"]
    said = shown(name)
    cells = [value.replace(UNSEEN, "") for value in page.texts["td"]]
    assert cells.count(said) >= len(one.cells)
    html = Page(render_page([one], tuple(Failing)))
    assert html.dangers() == []
    assert html.texts["td"].count(said) >= len(one.cells)


@settings(max_examples=40)
@given((st.text(MARKUP) | st.text()).filter(lambda text: shown(text) != "" and len(text) < 100))
@example("@")
@example("@\u200bx")
@example("@@a##1")
@example(":a:b:")
def test_any_name_is_shown_and_never_obeyed(name: str) -> None:
    check_text(name)


# HTML.


def test_the_html_page_has_the_same_open() -> None:
    one = comparison()
    html = Page(render_page([one], REGRESSIONS, look="Looked at twice."))
    assert html.texts["title"] == ["Comparison: main → head"]
    assert html.texts["h1"] == ["Benchmark: 4 of 13 cells fail"]
    assert html.texts["h2"] == ["main → head", "How to read this"]
    titles = re.findall(r"<summary>(.*)</summary>", render([one], REGRESSIONS))
    assert [*html.texts["h3"], "How to read this"] == titles
    assert html.tags.count("details") == 1  # the table of contents
    assert rows(html) == rows(as_github(render([one], REGRESSIONS)))
    assert html.texts["p"][0] == "Looked at twice."
    assert html.dangers() == []


# JSON.


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_the_json_has_every_field() -> None:
    one = comparison(limits=Limits(across=frozenset({"torch", "device", "network"})))
    document = strict(to_json([one], REGRESSIONS))
    assert [*document] == ["schema_version", "failing", "failed", "comparisons"]
    assert document["schema_version"] == SCHEMA_VERSION == 1
    assert document["failing"] == ["slower", "worse", "memory", "accuracy"]
    assert document["failed"] is True
    (got,) = document["comparisons"]
    assert {*got} == {field.name for field in fields(Comparison)} | {"counts", "failures", "least_slowdown"}
    assert {*got["base"]} == {field.name for field in fields(Side)}
    assert got["limits"]["across"] == ["device", "network", "torch"]
    assert got["counts"] == {verdict: one.counts[verdict] for verdict in Verdict}
    assert got["differing"] == {
        name: {"base": base, "new": new} for name, (base, new) in one.differing.items()
    }
    expected = [
        {"cell": found.cell, "kind": found.kind, "what": found.what} for found in failures(one, REGRESSIONS)
    ]
    assert got["failures"] == expected
    assert len(expected) == 5
    for is_, meant in zip(got["cells"], one.cells, strict=True):
        assert {*is_} == {field.name for field in fields(CellComparison)}
        assert (is_["cell"], is_["verdict"], is_["why"]) == (meant.cell, meant.verdict, meant.why)
        assert is_["change"] == (None if meant.change is None else asdict(meant.change))
        assert [item["ratio"] for item in is_["memory"]] == [item.ratio for item in meant.memory]
    assert got["cells"][0]["accuracy"]["base_psnr_db"] == "Infinity"
    assert got["cells"][10]["base_status"] is None
    assert got["cells"][8]["new_status"] == Status.OOM


def test_the_json_is_strict_and_the_same_each_time() -> None:
    worst = cell(
        change=Change(
            base_s=0.0, new_s=float("nan"), ratio=float("inf"), low=float("-inf"), high=None,
            method=compared.Method.APART, confidence=0.95, rounds=0,
        )
    )  # fmt: skip
    text = to_json([comparison([worst])], ())
    figures = strict(text)["comparisons"][0]["cells"][0]["change"]
    assert (figures["new_s"], figures["ratio"], figures["low"]) == ("NaN", "Infinity", "-Infinity")
    assert text == to_json([comparison([worst])], ())
    assert strict(to_json([], ())) == {
        "schema_version": 1, "failing": [], "failed": False, "comparisons": [],
    }  # fmt: skip


def test_the_documentation_names_every_field_verdict_and_kind() -> None:
    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield name
                yield from names(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from names(inner)

    one = comparison(differing={})
    text = DOCS.read_text(encoding="utf-8")
    for name in {*names(strict(to_json([one], REGRESSIONS))), *Verdict, *Failing, *Amount}:
        assert f"`{name}`" in text, name


# JUnit.


TOKEN: Final = re.compile(r"\S+( \S+)*")
COUNT: Final = re.compile(r"\d+")
DECIMAL: Final = re.compile(r"\d+(\.\d+)?")
SUITE: Final = {
    "name": TOKEN, "package": TOKEN, "id": COUNT, "hostname": TOKEN, "tests": COUNT, "failures": COUNT,
    "errors": COUNT, "skipped": COUNT, "time": DECIMAL,
    "timestamp": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"),
}  # fmt: skip


def valid(text: str) -> ElementTree.Element:
    """The document's root, where it keeps to JUnit.xsd of github.com/windyroad/JUnit-Schema, the stricter of
    the two schemas: its attributes, all of them, and its order of elements. By Jenkins' junit-10.xsd a
    suite's time has no sign and no exponent."""
    root = ElementTree.fromstring(text.encode())
    assert (root.tag, root.attrib) == ("testsuites", {})
    for number, suite in enumerate(root):
        assert suite.tag == "testsuite"
        assert {*suite.attrib} in ({*SUITE}, {*SUITE} - {"timestamp"})
        assert all(SUITE[name].fullmatch(value) for name, value in suite.attrib.items())
        assert suite.attrib["id"] == str(number)
        tags = [child.tag for child in suite]
        tests = suite.findall("testcase")
        assert tags == ["properties", *["testcase"] * len(tests), "system-out", "system-err"]
        for prop in suite[0]:
            assert (prop.tag, [*prop.attrib]) == ("property", ["name", "value"])
        for test in tests:
            assert {*test.attrib} == {"name", "classname", "time"}
            assert TOKEN.fullmatch(test.attrib["name"])
            assert TOKEN.fullmatch(test.attrib["classname"])
            assert DECIMAL.fullmatch(test.attrib["time"])
            assert [child.tag for child in test] in ([], ["failure"], ["skipped"])
            for child in test:
                assert {*child.attrib} == ({"message", "type"} if child.tag == "failure" else {"message"})
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            assert suite.attrib[name] == str(len([*suite.iter(tag)]))
    return root


def test_a_cell_is_a_test() -> None:
    (suite,) = valid(to_junit([comparison()], REGRESSIONS))
    assert suite.attrib | {"time": ""} == {
        "name": "main → head", "package": "ci", "id": "0", "hostname": "localhost", "tests": "13",
        "failures": "4", "errors": "0", "skipped": "5", "time": "", "timestamp": "2026-11-20T10:00:03",
    }  # fmt: skip
    tests = suite.findall("testcase")
    assert [test.attrib["name"] for test in tests] == [one.cell for one in EVERY_VERDICT]
    assert tests[1].attrib == {"name": EVERY_VERDICT[1].cell, "classname": "ci", "time": "0.275000000"}
    assert tests[1][0].attrib["type"] == "slower, memory"
    assert (tests[1][0].text or "").splitlines() == [
        EVERY_VERDICT[1].cell,
        "time 1.100 [1.080, 1.120], 250 → 275 ms: propagation 1.170, aggregation 1.300",
        "device peak 1.250 (1.00 → 1.25 GiB)",
    ]
    assert tests[8].attrib["time"] == "0.000000000"
    skipped = {
        test.attrib["name"]: test[0].attrib["message"] for test in tests if test.find("skipped") is not None
    }
    assert [message.partition(":")[0] for message in skipped.values()] == [
        "unclear", "unclear", "missing", "incomparable", "failed",
    ]  # fmt: skip
    assert skipped[EVERY_VERDICT[4].cell].startswith("unclear: time 1.030 [0.980, 1.080]; about 1240 rounds")
    assert "the clocks sagged" in str(suite.findtext("system-out"))


@settings(max_examples=100)
@given(st.text(st.characters()))
@example("\x00\x0b\ufffe\udcff]]>")
@example("")
def test_no_name_breaks_the_xml(name: str) -> None:
    one = odd(name)
    (suite,) = valid(to_junit([one], REGRESSIONS))
    names = [test.attrib["name"] for test in suite.findall("testcase")]
    assert names == [" ".join(visible(name).split()) or "unnamed"] * len(one.cells)


# The terminal.


def printed(*comparisons: Comparison, failing: tuple[Failing, ...] = REGRESSIONS, width: int = 80) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        for part in tables(comparisons, failing):
            console.print(part)
    return capture.get()


def test_the_terminal_says_it_in_words_within_eighty_columns() -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", printed(comparison()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for one in EVERY_VERDICT:
        (line,) = [line for line in lines if line.startswith(f"{one.cell} ") and one.verdict in line][:1]
        assert (", fails" in line) is bool(failures(comparison([one]), REGRESSIONS))
    assert "basicvsr/noise/b1/t4/180x320/cudnn   1.100  [1.080, 1.120]  slower, fails" in text
    joined = " ".join(text.split())
    assert "basicvsr/noise/b1/t4/180x320/cuda: upsampling 1.250 [1.230, 1.270] slower" in joined
    assert "caution: the clocks sagged by 7 % in the base" in joined
    for one in EVERY_VERDICT:
        assert one.why in joined
    assert lines[-1].strip() == "4 of 13 cells fail"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_terminal_obeys_no_name(name: str) -> None:
    text = re.sub(r"\x1b\[(0|1|2|3\d|1;3\d)?m", "", printed(odd(name), width=2_000))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert text.count(" ".join(name.splitlines()) if name.isprintable() else visible(name)) > 3
    folded = re.sub(r"\x1b\[[\d;]*m", "", printed(odd(name)))
    assert max(map(len, folded.splitlines())) <= 80
