"""Pages of HTML: whole, of themselves, and with text that stays text."""

import base64
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reporting.html import render_html
from bench.reporting.html_files import write_pages
from bench.reporting.html_layout import POLICY
from tests.html_page import Page

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PNG = b"\x89PNG\r\n\x1a\n0000"


def render(markdown: str, **images: bytes) -> Page:
    return Page(render_html(markdown, title="t", images=images))


MARKUP = "<>[]()!|`*_#-+=~$\\&;:/\"' \n\tabhtpsjvcriq.=10"


@settings(max_examples=100)
@given(st.text(MARKUP))
def test_no_markdown_makes_a_page_that_does_something(markdown: str) -> None:
    assert render(markdown).dangers() == []


def test_a_page_says_what_it_is_and_allows_nothing_else() -> None:
    source = render_html("# a", title="a & b", images={})
    page = Page(source)
    assert source.startswith('<!doctype html>\n<html lang="en">')
    assert page.texts["title"] == ["a & b"]
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert ("meta", "content", POLICY) in page.attributes
    assert "default-src 'none'" in POLICY
    assert page.texts["style"][0].count("prefers-color-scheme: dark") == 1
    assert "@media print" in page.texts["style"][0]
    assert not re.search(r"url\(|@import", page.texts["style"][0])
    assert source == render_html("# a", title="a & b", images={})


def test_pictures_are_inside() -> None:
    page = Page(
        render_html(
            '![a <b>](plots/a%20b.png)\n\ntext ![p](p.png) text\n\n![q](q.png)\n![c](c.svg "Said <so>")\n',
            title="",
            images={"plots/a%20b.png": SVG, "p.png": PNG, "c.svg": SVG},
        )
    )
    kinds = [re.match(r"data:image/([^;]*);base64,", value) for value in page.values("src")]
    assert [kind and kind[1] for kind in kinds] == ["svg+xml", "png", "svg+xml"]
    assert base64.b64decode(page.values("src")[0].partition(",")[2]) == SVG
    assert page.values("alt") == ["a <b>", "p", "c"]
    assert page.tags.count("figure") == 2  # a picture within text is none
    assert page.texts["em"] == ["(no picture: q)"]
    assert page.texts["figcaption"] == ["Said <so>"]
    assert page.dangers() == []


def test_links_lead_into_the_folder_or_nowhere() -> None:
    page = render(
        "[a](summary.csv) [b](../x%20y/c.csv) [c](#d) [out](https://e.example/?a&b) <https://f.example> "
        "[abs](/etc/passwd) [host](//e.example) [**mail**](mailto:a@b.c) [colon](a%3Ab.csv)"
    )
    assert page.values("href") == ["summary.csv", "../x%20y/c.csv", "#d", "a%3Ab.csv"]
    assert page.texts["p"] == [
        "a b c out (https://e.example/?a&b) https://f.example abs (/etc/passwd) host (//e.example) "
        "mail (mailto:a@b.c) colon"
    ]


def test_headings_have_ids_of_their_own_and_a_table_of_contents() -> None:
    page = render("# T\n\n## A `b` & c\n\n### A b  c\n\n## A b c\n\n#### deep\n\n## 街 !\n\n## !\n")
    assert page.values("id") == ["t", "a-b--c", "a-b--c-1", "a-b-c", "deep", "街", "section"]
    linked = [value for value in page.values("href") if value.startswith("#")]
    assert linked == ["#a-b--c", "#a-b--c-1", "#a-b-c", "#街", "#section"]
    assert "nav" not in render("# T\n\n## A\n\n## B\n").tags


def test_the_two_pages_are_written_whole(tmp_path: Path) -> None:
    plots = tmp_path / "else (where)"
    plots.mkdir()
    (plots / "a b.svg").write_bytes(SVG)
    (plots / "a b.png").write_bytes(PNG)
    (plots / "c.png").write_bytes(PNG)
    (tmp_path / "out").mkdir()
    text = "![a b](../else%20%28where%29/a%20b.png)\n\n![c](../else%20%28where%29/c.png)\n"
    pages = write_pages(
        tmp_path / "out", text, title="t", pictures=[plots / "a b.png", plots / "c.png"], stem="paper"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["paper.html", "paper.md"]
    assert pages.markdown.read_text(encoding="utf-8") == text
    sources = Page(pages.html.read_text(encoding="utf-8")).values("src")
    assert [value[:15] for value in sources] == ["data:image/svg+", "data:image/png;"]
