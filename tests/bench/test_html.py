"""Pages of HTML: whole, and of themselves."""

import re
from pathlib import Path

import pytest

from bench.reporting.rendering import POLICY, Contents, File, html
from bench.reporting.report import TEMPLATE, view_of
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.synthetic import BASELINE
from tests.html_page import Page

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PNG = b"\x89PNG\r\n\x1a\n0000"


@pytest.mark.parametrize("failed", [False, True])
def test_a_page_says_what_it_is_and_allows_nothing_else(failed: bool) -> None:
    records = synthetic.all_failed() if failed else synthetic.run(synthetic.GPU, frames=(4,))
    view = view_of(tables_of(records, BASELINE), folder=Path(), title="t", baseline=BASELINE,
                   environment={}, plots=())  # fmt: skip
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
    assert linked == ([] if failed else page.values("id")[1:])  # one heading needs no table of contents


def test_a_picture_is_inside_as_svg_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a (b)" / "time-c d.png"
    picture = File.beside(path, tmp_path / "out")
    assert (picture.target, picture.kind) == ("../a%20%28b%29/time-c%20d.png", "time")
    assert picture.data() is None
    path.parent.mkdir()
    path.write_bytes(PNG)
    assert picture.data() == "data:image/png;base64,iVBORw0KGgowMDAw"
    path.with_suffix(".svg").write_bytes(SVG)
    assert str(picture.data()).startswith("data:image/svg+xml;base64,")


def test_headings_have_ids_of_their_own_and_the_deepest_are_not_listed() -> None:
    contents = Contents()
    headings = ((1, "T"), (2, "A `b` & c"), (3, "A b  c"), (2, "A b c"), (4, "deep"), (2, "街 !"), (2, "!"))
    ids = [contents.add(level, text) for level, text in headings]
    assert ids == ["t", "a-b--c", "a-b--c-1", "a-b-c", "deep", "街", "section"]
    assert [name for _, name, _ in contents.entries] == ["a-b--c", "a-b--c-1", "a-b-c", "街", "section"]
