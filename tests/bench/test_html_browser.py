"""Pages in a real browser: they fit a phone and a desk, by day and by night, and load nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.figures import FIGURES
from bench.plotting.groups import data, figure
from bench.plotting.plots import save, write_plots
from bench.records import CellRecord, Status
from bench.reporting.page import unfinished, write
from bench.reporting.runs import ReportedRun, together
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.synthetic import BASELINE
from tests.browser import PROGRAMS, VARIABLE, Browser, find

LONG: Final = "a-name/without_end." * 20
HOSTILE: Final = (
    "<script>document.title='x'</script>\" onerror=alert(1) ](javascript:alert(1)) \u202e" + "w" * 400
)

LEAST_CONTRAST: Final = 4.5
"""WCAG 2.1's AA for text of normal size."""

LEAST_FIGURE_TEXT_PX: Final = 8.0
"""Tick labels on a phone. Figures are drawn 6.8 inches wide, with labels of 8.5 points."""

CONTRASTS: Final = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim()) continue;
    const pair = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    found.push([(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), element.tagName]);
  }
  return found.sort((a, b) => a[0] - b[0]);
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(PROGRAMS)}, and {VARIABLE} names none")
    with Browser(program) as found:
        yield found


def hostile(records: list[CellRecord]) -> list[CellRecord]:
    """The last cell fails for a reason that no one would write."""
    return [*records[:-1], synthetic.ended(records[-1], Status.ERROR, HOSTILE)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a run's page, and one of three runs side by side."""
    single = tmp_path_factory.mktemp("single")
    tables = tables_of(hostile(synthetic.run(synthetic.LONG_NAMES, frames=(1, 4, 7), rounds=3)), BASELINE)
    plots = write_plots(tables, baseline=BASELINE, kinds=FIGURES, folder=single / "plots")
    (single / "summary.csv").touch()
    run = ReportedRun(
        name="run", experiment=LONG, baseline=BASELINE, tables=tables,
        environment={"cpu": LONG, LONG: HOSTILE}, files=[single / "summary.csv"], note=str(unfinished(3)),
    )  # fmt: skip

    several = tmp_path_factory.mktemp("several")
    runs = {"a": synthetic.GPU, "b" * 60: synthetic.GPU[:3], HOSTILE[:90]: (synthetic.CPU, synthetic.CPU_1)}
    made = {
        name: tables_of(hostile(synthetic.run(machines, frames=(1, 4, 7))), BASELINE)
        for name, machines in runs.items()
    }
    cells = together([
        ReportedRun(name=name, experiment=LONG, baseline=BASELINE, tables=table, environment={"cpu": name},
                    configuration={"name": name}, note="not done")
        for name, table in made.items()
    ])  # fmt: skip
    images = [several / f"{kind}.png" for kind in ("time", "speedup")]
    for path in images:
        (group,) = data(path.stem, cells.tables)
        save(figure(group, baseline="cpu"), [path, path.with_suffix(".svg")])
    return {
        "single": write(single, together([run]), plots=plots.images).html,
        "several": write(several, cells, plots=images).html,
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["single", "several"])
def test_a_page_fits_loads_nothing_and_can_be_read(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    browser.open(pages[name], width=width, dark=dark)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= width
    assert browser.errors() == []
    assert browser.requests() == [pages[name].resolve().as_uri()]

    images = browser.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.width])")
    assert len(images) == {"single": 6, "several": 2}[name]
    assert all(complete and natural > 0 for complete, natural, _ in images)
    drawn_px = 6.8 * 96
    assert all(8.5 / 72 * 96 * shown / drawn_px >= LEAST_FIGURE_TEXT_PX for _, _, shown in images)

    (least, tag), *_ = browser.evaluate(CONTRASTS)
    assert least >= LEAST_CONTRAST, tag
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    cards = "[...document.querySelectorAll('figure')].map(f => getComputedStyle(f).backgroundColor)"
    assert set(browser.evaluate(cards)) == {"rgb(255, 255, 255)"}


def test_the_contents_stand_open_where_there_is_room(browser: Browser, pages: dict[str, Path]) -> None:
    seen = "document.querySelector('nav li').checkVisibility({contentVisibilityAuto: true})"
    for width, beside in ((360, False), (1280, True)):
        browser.open(pages["single"], width=width)
        assert browser.evaluate(seen) is beside
    assert browser.evaluate(
        "[...document.querySelectorAll('nav a')].every(a => document.getElementById("
        "decodeURIComponent(a.hash.slice(1))))"
    )


def test_the_checks_find_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "wrong.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'><p style='color: #999'>grey</p>"
        "<div style='width: 900px'>wide</div><img src=missing.png><script>nothing.here()</script>"
    )
    browser.open(page, width=360)
    assert browser.evaluate("document.scrollingElement.scrollWidth") > 360
    assert browser.evaluate("document.images[0].naturalWidth") == 0
    assert len(browser.errors()) == 2
    assert [Path(url).name for url in browser.requests()] == ["wrong.html", "missing.png"]
    assert browser.evaluate(CONTRASTS)[0][0] < LEAST_CONTRAST
