"""Comparisons as people and programs read them: nothing is lost, nothing is obeyed, everything fits.

`tests/data/comparison` has each format of the comparison that `compared` makes up, exactly.
"""

import json
import re
from collections.abc import Iterator
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

from bench.comparison.comparison import MEANINGS, Amount, CellComparison, Change, Comparison, Limits, Verdict
from bench.comparison.policy import REGRESSIONS, Failing
from bench.reporting.comparison.formats import to_json, to_junit
from bench.reporting.comparison.page import render, render_page
from bench.reporting.comparison.terminal import tables
from bench.reporting.comparison.view import explanation, headline, view
from tests.bench import compared
from tests.bench.compared import EVERY_VERDICT, cell, change, comparison, odd, stage
from tests.html_page import Page
from vsr_model.one_line import visible

TESTS: Final = Path(__file__).resolve().parents[1]
DOCS: Final = TESTS.parent / "docs" / "compare.md"

MARKUP: Final = "<>[]()!|`*_#-+=~$\\&;:@/\"' \n\tabhtpsjvcriqGHw.=10"

UNSEEN: Final = "\u200b"


def printed(*comparisons: Comparison, failing: tuple[Failing, ...] = REGRESSIONS, width: int = 80) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        for part in tables(comparisons, failing):
            console.print(part)
    return re.sub(r"\x1b\[[\d;]*m", "", capture.get())


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ["comparison.md", "terminal.txt", "comparison.json", "junit.xml"])
def test_each_format_is_exact(name: str) -> None:
    one = comparison(limits=Limits(apart=0.02, across=frozenset({"torch", "device"})))
    few = comparison((*EVERY_VERDICT[:2], EVERY_VERDICT[8]), cautions=())
    made = {
        "comparison.md": lambda: render([one], REGRESSIONS, look="A second look found the same."),
        "terminal.txt": lambda: "".join(f"{line.rstrip()}\n" for line in printed(one).splitlines()),
        "comparison.json": lambda: to_json([few], REGRESSIONS),
        "junit.xml": lambda: to_junit([one], REGRESSIONS),
    }[name]()
    assert made == (TESTS / "data" / "comparison" / name).read_text(encoding="utf-8")
    if name == "terminal.txt":
        assert max(map(len, made.splitlines())) <= 80
    if name == "comparison.md":  # GitHub reads Markdown within HTML only behind a blank line
        for line, following in pairwise(made.splitlines()):
            assert not line.startswith(("<summary>", "</details>")) or following == ""


def test_the_html_page_has_the_same_open() -> None:
    one = comparison()
    html = Page(render_page([one], REGRESSIONS, look="Looked at twice."))
    markdown = render([one], REGRESSIONS, look="Looked at twice.")
    assert html.texts["title"] == ["Comparison: main → head"]
    assert html.texts["h1"] == ["Benchmark: 4 of 13 cells fail"]
    assert html.texts["h2"] == ["main → head", "How to read this"]
    assert [*html.texts["h3"], "How to read this"] == re.findall(r"<summary>(.*)</summary>", markdown)
    shown = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert html.tags.count("tr") == shown.tags.count("tr")
    assert html.tags.count("details") == 1  # the table of contents
    assert html.texts["p"][0] == shown.texts["p"][0] == "Looked at twice."
    assert html.dangers() == []


@pytest.mark.parametrize(
    ("cells", "failing", "said"),
    [
        ([], REGRESSIONS, "No cell was compared"),
        (EVERY_VERDICT[:1], REGRESSIONS, "No cell fails"),
        (EVERY_VERDICT, (), "4 of 13 cells became worse, and nothing fails"),
        ([*EVERY_VERDICT[:1], *EVERY_VERDICT[4:6]], REGRESSIONS, "No cell fails, 2 of 3 could not be told"),
        (EVERY_VERDICT[4:6], REGRESSIONS, "No cell fails, and none could be told"),
        (EVERY_VERDICT[1:2], REGRESSIONS, "1 of 1 cell fails"),
        (EVERY_VERDICT, tuple(Failing), "10 of 13 cells fail"),
    ],
)
def test_the_headline(cells: list[CellComparison], failing: tuple[Failing, ...], said: str) -> None:
    assert headline([comparison(cells)], failing) == said


UNCLEAR_STAGES = tuple(stage(name, 1.03, Verdict.UNCLEAR) for name in ("alignment", "propagation", "other"))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (compared.SLOW_TRUNK, "propagation 1.170, aggregation 1.300"),
        ((stage("alignment", 1.2, Verdict.UNCLEAR),), "mostly alignment 1.200, unclear by itself"),
        (UNCLEAR_STAGES, "no stage stands out"),
        ((), ""),
    ],
)  # fmt: skip
def test_stages_explain_a_slower_cell(stages: Any, said: str) -> None:
    assert explanation(cell(verdict=Verdict.SLOWER, change=change(1.1, base_s=0.1), stages=stages)) == said


def test_the_smallest_slowdown_that_could_be_told_is_a_line_everywhere() -> None:
    cells = [cell("a", least_slowdown=0.0381), cell("b", least_slowdown=0.1201), cell("c")]
    said = "The smallest slowdown that 95 of 100 such comparisons would find is"
    one = comparison(cells)
    line = f"{said} 13 % in b, the noisiest cell, and 3.9 % in the steadiest."
    assert f"\n\n{line}\n\n" in render([one], REGRESSIONS, whole=False)
    assert line in " ".join(printed(one).split())
    assert line in to_junit([one], REGRESSIONS)
    assert strict(to_json([one], REGRESSIONS))["comparisons"][0]["least_slowdown"] == 0.1201
    assert view(comparison(cells[:1]), REGRESSIONS).sensitivity == f"{said} 3.9 %."
    assert view(comparison(cells[2:]), REGRESSIONS).sensitivity == ""


def test_the_summary_alone_fits_a_comment_however_much_there_is_to_say() -> None:
    cells = [cell(f"basicvsr/noise/b1/t{n + 1}/64x64/cudnn", verdict=Verdict.WORSE, why="w" * 5_000)
             for n in range(400)]  # fmt: skip
    text = render([comparison(cells)], REGRESSIONS, look="Looked at twice.", whole=False)
    assert len(text) < 65_536  # what GitHub takes
    assert text.startswith("## Benchmark: 400 of 400 cells fail\n\nLooked at twice.\n\n400 cells: 400 worse.")
    assert text.count("* **worse** basicvsr/noise/b1/") == 10
    assert "* and 390 more\n" in text
    assert "<details>" not in text


# Text of unknown origin.


def acted_upon(page: str) -> list[str]:
    """Return what GitHub would act upon in the plain text of HTML: people, issues, addresses and emoji."""
    texts: list[str] = []

    class _Texts(HTMLParser):
        def handle_data(self, data: str) -> None:
            texts.append(data)

    parser = _Texts()
    parser.feed(page)
    parser.close()
    acting = r"@[\w-]|#\d|\bGH-\d|https?://|\bwww\.|:(?!\d\d:)[\w+-]+:"
    return re.findall(acting, "".join(texts), re.IGNORECASE)


@settings(max_examples=40)
@given((st.text(MARKUP) | st.text()).filter(lambda text: visible(text).strip() != "" and len(text) < 100))
@example("@")
@example("@\u200bx")
@example("@@a##1")
@example(":a:b:")
def test_any_name_is_shown_and_never_obeyed(name: str) -> None:
    one = odd(name)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(render([one], tuple(Failing)))
    page, html = Page(rendered), Page(render_page([one], tuple(Failing)))
    allowed = {
        "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "em", "ul", "li", "details",
        "summary", "code",
    }  # fmt: skip
    assert {*page.tags} <= allowed
    assert {*page.attributes} == {("th", "style", "text-align:right"), ("td", "style", "text-align:right")}
    assert acted_upon(rendered) == []
    assert html.dangers() == []
    said = visible(" ".join(name.split()))
    for cells in (page.texts["td"], html.texts["td"]):
        assert [text.replace(UNSEEN, "") for text in cells].count(said.replace(UNSEEN, "")) >= len(one.cells)


@pytest.mark.parametrize(
    "name", ["[red]markup[/red] [/]", "two\nlines\r\n# a", "\x00\x1b[31m\x07\u202e", "w" * 300]
)
def test_a_terminal_obeys_no_name(name: str) -> None:
    text = printed(odd(name), width=2_000)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert text.count(" ".join(name.splitlines()) if name.isprintable() else visible(name)) > 3
    assert max(map(len, printed(odd(name)).splitlines())) <= 80


def test_the_json_is_strict() -> None:
    worst = Change(
        base_s=0.0, new_s=float("nan"), ratio=float("inf"), low=float("-inf"), high=None,
        method=compared.Method.APART, confidence=0.95, rounds=0,
    )  # fmt: skip
    found = strict(to_json([comparison([cell("\udcff", change=worst)])], ()))["comparisons"][0]["cells"][0]
    figures = found["change"]
    assert (figures["new_s"], figures["ratio"], figures["low"]) == ("NaN", "Infinity", "-Infinity")
    assert found["cell"] == "\\udcff"
    assert strict(to_json([], ())) == {
        "schema_version": 1, "failing": [], "failed": False, "comparisons": [],
    }  # fmt: skip


def test_the_documentation_names_every_field_verdict_and_kind() -> None:
    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from value
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from names(inner)

    text = DOCS.read_text(encoding="utf-8")
    document = strict(to_json([comparison(differing={})], REGRESSIONS))
    assert {*MEANINGS} == {*Verdict}
    for name in {*names(document), *Verdict, *Failing, *Amount}:
        assert f"`{name}`" in text, name


TOKEN: Final = re.compile(r"\S+( \S+)*")
COUNT: Final = re.compile(r"\d+")
DECIMAL: Final = re.compile(r"\d+(\.\d+)?")
SUITE: Final = {
    "name": TOKEN, "package": TOKEN, "id": COUNT, "hostname": TOKEN, "tests": COUNT, "failures": COUNT,
    "errors": COUNT, "skipped": COUNT, "time": DECIMAL,
    "timestamp": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"),
}  # fmt: skip


@settings(max_examples=100)
@given(st.text(st.characters()))
@example("main")
@example("\x00\x0b\ufffe\udcff]]>")
@example("")
@example("9999-12-31T23:59:59-14:00")  # beyond the calendar in UTC
def test_junit_keeps_to_its_schemas_whatever_names_hold(name: str) -> None:
    """JUnit.xsd of github.com/windyroad/JUnit-Schema is the stricter: it has these attributes, all of them,
    and this order of elements. By Jenkins' junit-10.xsd a suite's time has no sign and no exponent."""
    root = ElementTree.fromstring(to_junit([odd(name), comparison()], REGRESSIONS).encode())
    assert (root.tag, root.attrib) == ("testsuites", {})
    for number, suite in enumerate(root):
        assert {*suite.attrib} in ({*SUITE}, {*SUITE} - {"timestamp"})
        assert all(SUITE[key].fullmatch(value) for key, value in suite.attrib.items())
        assert suite.attrib["id"] == str(number)
        tests = suite.findall("testcase")
        tags = ["properties", *["testcase"] * len(tests), "system-out", "system-err"]
        assert [child.tag for child in suite] == tags
        for test in tests:
            assert [*test.attrib] == ["classname", "name", "time"]
            assert all(TOKEN.fullmatch(value) for value in test.attrib.values())
            assert DECIMAL.fullmatch(test.attrib["time"])
            assert [child.tag for child in test] in ([], ["failure"], ["skipped"])
        for count, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            assert suite.attrib[count] == str(len([*suite.iter(tag)]))
    named = {test.attrib["name"] for test in root[0].findall("testcase")}
    assert named == {" ".join(visible(name).split()) or "unnamed"}
